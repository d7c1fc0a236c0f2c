//! A child and its process group: signalled as a whole, reaped, and killed if it is forgotten.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::handler::Context;

/// How often it is looked whether a group is empty: nothing tells of the end of processes that are not our children.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A child's three pipes.
pub(super) struct Pipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

/// A child that leads a process group of its own.
#[derive(Debug)]
pub(super) struct Group {
    child: Child,
    id: Pid,
    reaped: bool,
    ctx: Context,
}

impl Group {
    /// Starts a child.
    pub(super) fn spawn(mut command: Command, ctx: Context) -> io::Result<(Self, Pipes)> {
        let mut child = command.spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let id = Pid::from_raw(pid.expect("a child that was just started has an id"));
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let pipes = Pipes {
            stdin: stdin.expect("it was started with a pipe"),
            stdout: stdout.expect("it was started with a pipe"),
            stderr: stderr.expect("it was started with a pipe"),
        };
        Ok((Self { child, id, reaped: false, ctx }, pipes))
    }

    /// Waits for the child's own end, and reaps it. Cancel safe.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.reaped = true;
        Ok(status)
    }

    /// Waits for the child's end, and until nothing of its group is left. Cancel safe.
    pub(super) async fn wait_for_all(&mut self) -> io::Result<ExitStatus> {
        let status = self.wait().await?;
        while !self.is_empty() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(status)
    }

    /// Sends a signal to the whole group; nobody being left is fine. A group's number is not given to another one while
    /// any process of it lives, and is not given again soon after.
    pub(super) fn signal(&self, signal: Signal) {
        if let Err(error) = killpg(self.id, signal)
            && error != Errno::ESRCH
        {
            tracing::warn!(group = %self.id, %signal, %error, "a process group was not signalled");
        }
    }

    fn is_empty(&self) -> bool {
        killpg(self.id, None) == Err(Errno::ESRCH)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(Signal::SIGKILL);
            // Killed, but nobody has seen it end.
            self.ctx.runs_on();
        }
    }
}
