//! One process of the sandbox, as its program sees it: a thread that hands it messages, and an end that can be had at once.

use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::{ARGUMENT, frame};

/// How often one looks whether an answer is still wanted.
const GLANCE: Duration = Duration::from_millis(5);
/// Bytes that are read of what a process said before it ended.
const WORDS_MAX: u64 = 2_048;

/// A process that waits for messages. It is killed when it is dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    errors: Option<ChildStderr>,
    requests: SyncSender<Arc<[u8]>>,
    replies: Receiver<io::Result<Option<Vec<u8>>>>,
    /// Bytes that it was sent so far.
    pub(super) served: usize,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Lost {
    /// It took too long.
    TimedOut,
    /// Nobody wants it any more.
    Unwanted,
    /// The process ended, with its last words.
    Died(String),
}

impl Process {
    /// Starts a process of a program.
    pub(super) fn start(program: &Path) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.arg(ARGUMENT).env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A signal from the terminal is for the program that asks, which ends this one.
        command.process_group(0);
        let mut child = command.spawn()?;
        let (Some(mut input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("a process without pipes"));
        };
        let errors = child.stderr.take();
        let (requests, asked) = sync_channel::<Arc<[u8]>>(1);
        let (answered, replies) = sync_channel(1);
        let exchange = move || {
            while let Ok(message) = asked.recv() {
                let reply = frame::write(&mut input, &message).and_then(|()| frame::read(&mut output));
                if answered.send(reply).is_err() {
                    return;
                }
            }
        };
        // It ends with the process: both pipes close then, and nobody sends it anything.
        let thread = std::thread::Builder::new().name("cox-sandbox".to_owned()).spawn(exchange);
        if let Err(error) = thread {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
        Ok(Self { child, errors, requests, replies, served: 0 })
    }

    /// Asks, and waits for the answer. After anything but an answer the process is of no use.
    pub(super) fn ask(
        &mut self,
        message: Arc<[u8]>,
        limit: Duration,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<Vec<u8>, Lost> {
        let until = Instant::now() + limit;
        self.served = self.served.saturating_add(message.len());
        if self.requests.send(message).is_err() {
            return Err(Lost::Died(self.last_words()));
        }
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.replies.recv_timeout(left.min(GLANCE)) {
                Ok(Ok(Some(reply))) => return Ok(reply),
                Ok(Ok(None) | Err(_)) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(Lost::Died(self.last_words()));
                }
                Err(RecvTimeoutError::Timeout) if !is_wanted() => return Err(Lost::Unwanted),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Err(Lost::TimedOut),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// What it said before it ended, and how it ended.
    fn last_words(&mut self) -> String {
        let _ = self.child.kill();
        let mut words = Vec::new();
        if let Some(errors) = self.errors.take() {
            let _ = errors.take(WORDS_MAX).read_to_end(&mut words);
        }
        let ended = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        format!("{ended}: {}", String::from_utf8_lossy(&words).trim())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
