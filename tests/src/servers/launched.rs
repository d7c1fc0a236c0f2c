//! What every private server has: a folder, a log, and a process that can be ended and launched again over both.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::guard::Guarded;
use crate::wait::poll;

/// How many lines of a server's log a failure shows.
const TAIL_LINES: usize = 40;

/// How long a server may take to end after SIGTERM; a broker syncs its queues first.
const END_WITHIN: Duration = Duration::from_secs(30);

/// A server's process, or its absence, over a folder that stays.
#[derive(Debug)]
pub(super) struct Launched {
    name: &'static str,
    // Before the folder: dropped in this order, the server ends before its data goes.
    process: Option<Guarded>,
    folder: TempDir,
}

impl Launched {
    /// Makes the folder; nothing runs yet.
    pub(super) fn new(name: &'static str) -> Self {
        let folder = tempfile::Builder::new().prefix(&format!("coxswain-{name}-")).tempdir();
        let folder = folder.expect("a temporary folder can be made");
        Self { name, process: None, folder }
    }

    /// The server's folder.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process id of the running server.
    pub(super) fn id(&self) -> u32 {
        self.running().id()
    }

    /// Starts the command in the folder, its output appended to the log.
    pub(super) fn launch(&mut self, mut command: Command) {
        assert!(self.process.is_none(), "{} is launched once at a time", self.name);
        let out = self.open_log();
        let err = out.try_clone().expect("the log's handle can be doubled");
        command.current_dir(self.folder()).stdout(out).stderr(err);
        let guarded = Guarded::spawn(command, Some(self.folder.path()));
        self.process = Some(guarded.unwrap_or_else(|error| panic!("{} does not start: {error}", self.name)));
    }

    /// Waits until `probe` succeeds; panics with the log's tail when time is up or the process has ended.
    pub(super) async fn ready(&mut self, within: Duration, probe: impl AsyncFn() -> Result<(), String>) {
        let process = self.process.as_mut().expect("readiness is asked of a launched server");
        let came = poll(within, async || match process.exited() {
            Some(status) => Ok(Err(format!("it ended with {status}"))),
            None => probe().await.map(Ok),
        });
        let came = came.await.unwrap_or_else(|last| Err(format!("not ready within {within:?}, last: {last}")));
        if let Err(why) = came {
            panic!("{}: {why}; the end of its log:\n{}", self.name, self.log_tail());
        }
    }

    /// Ends the process with the signal, and waits for it. Nothing happens to one that has ended.
    pub(super) async fn end(&mut self, signal: Signal) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        // A paused process would never see a polite signal.
        process.signal_group(signal);
        process.signal_group(Signal::SIGCONT);
        let ended = process.wait(END_WITHIN).await;
        assert!(ended.is_some(), "{} did not end within {END_WITHIN:?} of {signal}:\n{}", self.name, self.log_tail());
    }

    /// Signals the running server and what it started.
    pub(super) fn signal(&mut self, signal: Signal) {
        let name = self.name;
        let process = self.process.as_mut();
        process.unwrap_or_else(|| panic!("{name} runs when it is signalled")).signal_group(signal);
    }

    /// What the server has written so far.
    pub(super) fn log(&self) -> String {
        std::fs::read(self.log_file()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        tail(&self.log(), TAIL_LINES)
    }

    fn running(&self) -> &Guarded {
        self.process.as_ref().unwrap_or_else(|| panic!("{} has been launched and not ended", self.name))
    }

    fn log_file(&self) -> PathBuf {
        self.folder().join("server.log")
    }

    fn open_log(&self) -> File {
        let file = OpenOptions::new().create(true).append(true).open(self.log_file());
        file.expect("the server's log can be written")
    }
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
