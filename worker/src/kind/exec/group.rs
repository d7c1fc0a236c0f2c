//! A child and its process group: signalled as a whole, reaped, and killed if it is forgotten.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::mark::Mark;
use crate::handler::Context;
use crate::metrics::Metrics;

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
    /// By which those are found that have left the group.
    mark: Mark,
    reaped: bool,
    killed: bool,
    /// The attempt that it works for; none while it works for nobody.
    pub(super) owner: Option<Context>,
    metrics: Metrics,
}

impl Group {
    /// Starts a child.
    pub(super) fn spawn(mut command: Command, owner: Context, metrics: Metrics) -> io::Result<(Self, Pipes)> {
        let mark = Mark::fresh();
        let (name, value) = mark.variable();
        let mut child = command.env(name, value).spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let id = Pid::from_raw(pid.expect("a child that was just started has an id"));
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let pipes = Pipes {
            stdin: stdin.expect("it was started with a pipe"),
            stdout: stdout.expect("it was started with a pipe"),
            stderr: stderr.expect("it was started with a pipe"),
        };
        Ok((Self { child, id, mark, reaped: false, killed: false, owner: Some(owner), metrics }, pipes))
    }

    /// Waits for the child's own end, and reaps it. Cancel safe.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.reaped = true;
        Ok(status)
    }

    /// Whether the child has ended; if so it is reaped.
    pub(super) fn has_ended(&mut self) -> bool {
        self.reaped |= matches!(self.child.try_wait(), Ok(Some(_)));
        self.reaped
    }

    /// Waits for the child's end, and until nothing is left of its group, or has left it. Cancel safe.
    pub(super) async fn wait_for_all(&mut self) -> io::Result<ExitStatus> {
        let status = self.wait().await?;
        loop {
            while !self.is_empty() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            let mut strays = self.strays().await;
            if strays.is_empty() {
                return Ok(status);
            }
            while !strays.is_empty() {
                tokio::time::sleep(LOOK_EVERY).await;
                strays.retain(|stray| self.mark.is_on(*stray));
            }
        }
    }

    /// Sends a signal to all that the child has started, wherever it has gone. Those that have left the group get it
    /// some milliseconds later: they are looked for among all processes.
    pub(super) async fn signal_all(&self, signal: Signal) {
        self.signal(signal);
        end_strays(&self.strays().await, signal);
    }

    /// Those that have left the group.
    async fn strays(&self) -> Vec<Pid> {
        let (mark, group) = (self.mark.clone(), self.id);
        tokio::task::spawn_blocking(move || mark.strays_of(group)).await.unwrap_or_default()
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

    /// Sends all a signal that is to end them, as a rung of the ladder, and counts it.
    pub(super) async fn end(&mut self, signal: Signal) {
        self.note(signal);
        self.signal_all(signal).await;
    }

    fn note(&mut self, signal: Signal) {
        self.killed |= signal == Signal::SIGKILL;
        self.metrics.kill(signal);
    }

    fn is_empty(&self) -> bool {
        killpg(self.id, None) == Err(Errno::ESRCH) || has_only_dead(self.id)
    }
}

fn end_strays(strays: &[Pid], signal: Signal) {
    for stray in strays {
        tracing::debug!(process = %stray, %signal, "a process that left its group is signalled");
        // One that has ended meanwhile needs no signal.
        let _ = kill(*stray, signal);
    }
}

/// Whether all that is left of a group has ended and only waits to be reaped. A signal still finds it, and whoever is
/// its parent now may be slow to reap it, or never do: as process 1 of a container without an init.
fn has_only_dead(group: Pid) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    let stats = processes.flatten().filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok());
    !stats.into_iter().any(|stat| is_alive_in(&stat, group))
}

/// Whether a line of `/proc/PID/stat`, `pid (name) state parent group …`, is that of a live member of the group.
fn is_alive_in(stat: &str, group: Pid) -> bool {
    // The name may have spaces and brackets in it; what follows the last bracket has neither.
    let Some((_, fields)) = stat.rsplit_once(')') else { return false };
    let mut fields = fields.split_whitespace();
    let (state, member_of) = (fields.next(), fields.nth(1));
    member_of.and_then(|text| text.parse().ok()) == Some(group.as_raw()) && !matches!(state, Some("Z" | "X"))
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.reaped {
            if !self.killed {
                self.note(Signal::SIGKILL);
            }
            self.signal(Signal::SIGKILL);
            end_strays(&self.mark.strays_of(self.id), Signal::SIGKILL);
            // Killed, but nobody has seen it end.
            if let Some(owner) = &self.owner {
                owner.runs_on();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_only_waits_to_be_reaped_is_not_alive() {
        let group = Pid::from_raw(77);
        assert!(is_alive_in("80 (sleep) S 1 77 77 0 -1", group));
        assert!(is_alive_in("80 (a) b (c) R 1 77 77 0 -1", group));
        assert!(!is_alive_in("80 (sleep) Z 1 77 77 0 -1", group));
        assert!(!is_alive_in("80 (sleep) S 1 78 77 0 -1", group));
        assert!(!is_alive_in("", group));
    }

    #[test]
    fn the_group_of_a_live_process_is_not_empty() {
        let own = nix::unistd::getpgrp();
        assert!(!has_only_dead(own));
    }
}
