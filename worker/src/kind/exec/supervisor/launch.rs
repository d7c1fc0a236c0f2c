//! The worker's side of a supervisor: how one is started, and what it reports.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, PipeReader, PipeWriter, pipe};
use std::os::fd::{OwnedFd, RawFd};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::park_timeout;
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use coxswain_shared::sandbox;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tokio::io::{AsyncWriteExt as _, BufReader, Lines};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::Instant;

use super::Job;
use super::tree::own_children;

/// The first argument of a program that is started again as a supervisor.
pub(crate) const ARGUMENT: &str = "supervise-a-command";

/// The descriptors that a supervisor inherits.
pub(super) const ORDERS: RawFd = 3;
pub(super) const REPORTS: RawFd = 4;
pub(super) const INPUT: RawFd = 5;
pub(super) const OUTPUT: RawFd = 6;
pub(super) const ERRORS: RawFd = 7;

/// The order to ask all to end. Orders are lines.
pub(super) const TERMINATE: &str = "terminate";
/// The order to kill all.
const KILL: &str = "kill";
/// What comes before the name of the attempt that the command works for from now on; it may be none.
pub(super) const WORK_FOR: &str = "work for ";

/// How long the worker tries to end what a killed supervisor has left.
const ORPHANS_MAX: Duration = Duration::from_secs(2);

/// Whether all children of this process are supervisors, and it is the parent of what a killed one leaves.
static OWNS_CHILDREN: AtomicBool = AtomicBool::new(false);
/// The supervisors of this process.
static SUPERVISORS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// What a supervisor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kind::exec) enum Report {
    /// The command has been started.
    Started,
    /// It could not be started, for this error of the system.
    Failed(i32),
    /// It has ended, with this status as the kernel writes it.
    Exited(i32),
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("started"),
            Self::Failed(number) => write!(f, "failed {number}"),
            Self::Exited(status) => write!(f, "exited {status}"),
        }
    }
}

impl Report {
    fn read(line: &str) -> Option<Self> {
        match line.split_once(' ') {
            None if line == "started" => Some(Self::Started),
            Some(("failed", number)) => number.parse().ok().map(Self::Failed),
            Some(("exited", status)) => status.parse().ok().map(Self::Exited),
            None | Some(_) => None,
        }
    }
}

/// A command's three pipes.
pub(in crate::kind::exec) struct Pipes {
    pub(in crate::kind::exec) stdin: ChildStdin,
    pub(in crate::kind::exec) stdout: ChildStdout,
    pub(in crate::kind::exec) stderr: ChildStderr,
}

/// A supervisor that runs. Dropped, it kills all that it has, and ends: its orders are over.
#[derive(Debug)]
pub(in crate::kind::exec) struct Launched {
    process: Child,
    id: i32,
    orders: Sender,
    reports: Lines<BufReader<Receiver>>,
}

/// Notes that the children of this process are supervisors all, and that it adopts what a killed one leaves.
pub(crate) fn claim_children() {
    let is_adopting = nix::sys::prctl::set_child_subreaper(true).is_ok();
    OWNS_CHILDREN.store(is_adopting, Ordering::SeqCst);
    AVAILABLE.store(true, Ordering::SeqCst);
}

/// Whether this program can be started again as a supervisor.
static AVAILABLE: AtomicBool = AtomicBool::new(cfg!(test));

/// Whether this program can be started again as a supervisor: it began with [`crate::begin`].
pub(in crate::kind::exec) fn is_available() -> bool {
    AVAILABLE.load(Ordering::SeqCst)
}

/// This very program, also if its file was replaced meanwhile.
const PROGRAM: &str = "/proc/self/exe";
#[cfg(not(test))]
const ARGUMENTS: [&str; 1] = [ARGUMENT];
/// This crate's tests are a program of the test harness: one of the tests becomes the supervisor.
#[cfg(test)]
const ARGUMENTS: [&str; 4] = super::serve::AS_TEST;

/// Starts a supervisor, with the environment and the folder that its command is to have. The command itself is started
/// when the supervisor has got its job.
pub(in crate::kind::exec) fn launch(
    environment: &BTreeMap<String, String>,
    folder: Option<&str>,
) -> io::Result<(Launched, Pipes)> {
    let ((for_orders, orders), (reports, for_reports)) = (pipe()?, pipe()?);
    let ((for_input, input), (output, for_output), (errors, for_errors)) = (pipe()?, pipe()?, pipe()?);
    let pipes = Pipes {
        stdin: ChildStdin::from_std(OwnedFd::from(input).into())?,
        stdout: ChildStdout::from_std(OwnedFd::from(output).into())?,
        stderr: ChildStderr::from_std(OwnedFd::from(errors).into())?,
    };
    let (orders, reports) = (sender(orders)?, receiver(reports)?);
    let mut command = Command::new(PROGRAM);
    command.args(ARGUMENTS).env_clear().envs(environment);
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mapped = |(parent_fd, child_fd)| FdMapping { parent_fd, child_fd };
    let inherited: [(OwnedFd, RawFd); 5] = [
        (for_orders.into(), ORDERS),
        (for_reports.into(), REPORTS),
        (for_input.into(), INPUT),
        (for_output.into(), OUTPUT),
        (for_errors.into(), ERRORS),
    ];
    let inherited = inherited.map(mapped).into();
    command.fd_mappings(inherited).expect("the five descriptors differ");
    let process = {
        // Under the lock: nobody may take it for an orphan meanwhile.
        let mut supervisors = supervisors();
        let process = command.spawn()?;
        supervisors.extend(process.id().map(u32::cast_signed));
        process
    };
    let id = process.id().expect("a process that was just started has an id").cast_signed();
    let reports = tokio::io::AsyncBufReadExt::lines(BufReader::with_capacity(256, reports));
    Ok((Launched { process, id, orders, reports }, pipes))
}

fn sender(pipe: PipeWriter) -> io::Result<Sender> {
    Sender::from_owned_fd(pipe.into())
}

fn receiver(pipe: PipeReader) -> io::Result<Receiver> {
    Receiver::from_owned_fd(pipe.into())
}

impl Launched {
    /// Gives it its job.
    pub(in crate::kind::exec) async fn give(&mut self, job: &Job) -> io::Result<()> {
        let mut line = serde_json::to_vec(job).expect("texts and numbers serialise");
        line.push(b'\n');
        self.orders.write_all(&line).await
    }

    /// Waits for its next report; none if it has no more to say. Cancel safe.
    pub(in crate::kind::exec) async fn report(&mut self) -> Option<Report> {
        let line = self.reports.next_line().await.ok().flatten()?;
        Report::read(&line)
    }

    /// Orders it to send all a signal that is to end them. A supervisor that has ended needs no order.
    pub(in crate::kind::exec) fn order(&self, signal: Signal) {
        self.say(if signal == Signal::SIGKILL { KILL } else { TERMINATE });
    }

    /// Tells it for which attempt the command works from now on, if for any.
    pub(in crate::kind::exec) fn work_for(&self, attempt: &str) {
        self.say(&format!("{WORK_FOR}{attempt}"));
    }

    fn say(&self, order: &str) {
        // There are so few of them that the pipe has room for each as a whole.
        let _ = self.orders.try_write(format!("{order}\n").as_bytes());
    }

    /// Waits for its end. True if it ended because nothing is left. Cancel safe.
    pub(in crate::kind::exec) async fn ended(&mut self) -> io::Result<bool> {
        let status = self.process.wait().await?;
        supervisors().remove(&self.id);
        Ok(status.success())
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        // Once it has ended, its number may be another's.
        if self.process.id().is_none() {
            supervisors().remove(&self.id);
        }
    }
}

fn supervisors() -> MutexGuard<'static, BTreeSet<i32>> {
    SUPERVISORS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends what a killed supervisor has left, as far as it has become this process's: all children but the supervisors. True
/// if none of them is left.
pub(in crate::kind::exec) async fn end_orphans() -> bool {
    let is_done = OWNS_CHILDREN.load(Ordering::SeqCst);
    is_done && tokio::task::spawn_blocking(kill_orphans).await.unwrap_or(false)
}

/// Whether it evaluates expressions for this process. This program, so started, does nothing else, whoever started it.
fn is_of_sandbox(child: Pid) -> bool {
    let program = |process: &str| std::fs::read_link(format!("/proc/{process}/exe")).ok();
    let is_this = program("self").is_some_and(|own| program(&child.to_string()) == Some(own));
    let line = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
    is_this && line.split(|byte| *byte == 0).nth(1) == Some(sandbox::ARGUMENT.as_bytes())
}

fn kill_orphans() -> bool {
    let begun = Instant::now();
    while begun.elapsed() < ORPHANS_MAX {
        let orphans: Vec<Pid> = {
            let supervisors = supervisors();
            own_children()
                .into_iter()
                .filter(|child| !supervisors.contains(&child.as_raw()) && !is_of_sandbox(*child))
                .collect()
        };
        if orphans.is_empty() {
            return true;
        }
        for orphan in orphans {
            tracing::warn!(process = %orphan, "what a killed supervisor has left is ended");
            let _ = kill(orphan, Signal::SIGKILL);
            let _ = waitpid(orphan, Some(WaitPidFlag::WNOHANG));
        }
        park_timeout(Duration::from_millis(1));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_as_it_was_written() {
        for report in [Report::Started, Report::Failed(2), Report::Exited(256)] {
            assert_eq!(Report::read(&report.to_string()), Some(report));
        }
        assert_eq!(Report::read("running 1 test"), None);
    }
}
