//! A child and all that descends from it, held together by a supervisor of its own: signalled as a whole, and killed if it
//! is forgotten.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use futures_util::FutureExt as _;
use nix::sys::signal::Signal;

use super::command::Start;
use super::supervisor::{Launched, Pipes, Report, end_orphans, launch};
use super::trace;
use crate::handler::Context;
use crate::metrics::Metrics;

/// A child with its supervisor.
#[derive(Debug)]
pub(super) struct Group {
    supervisor: Launched,
    /// How the child itself has ended.
    status: Option<ExitStatus>,
    /// Whether nothing is left, neither the child nor what it has started.
    is_gone: bool,
    killed: bool,
    /// The attempt that it works for; none while it works for nobody.
    owner: Option<Context>,
    metrics: Metrics,
}

impl Group {
    /// Starts a child.
    pub(super) async fn spawn(start: &Start, owner: Context, metrics: Metrics) -> io::Result<(Self, Pipes)> {
        let (supervisor, pipes) = launch(&start.environment, start.cwd.as_deref())?;
        let mut group = Self { supervisor, status: None, is_gone: false, killed: false, owner: Some(owner), metrics };
        group.supervisor.give(&start.job).await?;
        group.work_for_owner();
        match group.supervisor.report().await {
            Some(Report::Started) => Ok((group, pipes)),
            Some(Report::Failed(number)) => {
                group.is_gone = group.supervisor.ended().await?;
                Err(io::Error::from_raw_os_error(number))
            }
            Some(Report::Exited(_)) | None => Err(group.lost().await),
        }
    }

    /// Makes it work for this attempt, or for nobody.
    pub(super) fn lend(&mut self, owner: Option<Context>) {
        self.owner = owner;
        self.work_for_owner();
    }

    fn work_for_owner(&self) {
        let name = self.owner.as_ref().map(|ctx| trace::name_of(ctx.run(), ctx.task(), ctx.fence()));
        self.supervisor.work_for(&name.unwrap_or_default());
    }

    /// Waits for the child's own end. Cancel safe.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        match self.supervisor.report().await {
            Some(Report::Exited(status)) => Ok(*self.status.insert(ExitStatus::from_raw(status))),
            Some(Report::Started | Report::Failed(_)) | None => Err(self.lost().await),
        }
    }

    /// Whether the child has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        self.wait().now_or_never().is_some()
    }

    /// Waits for the child's end, and until nothing is left of what it has started, wherever that has gone. Cancel safe.
    pub(super) async fn wait_for_all(&mut self) -> io::Result<ExitStatus> {
        let status = self.wait().await?;
        if !self.is_gone {
            self.is_gone = self.supervisor.ended().await? || end_orphans().await;
        }
        if self.is_gone { Ok(status) } else { Err(io::Error::other("processes run on that their supervisor has lost")) }
    }

    /// Sends a signal to all that the child has started, wherever it has gone: SIGTERM once, SIGKILL until none is left.
    pub(super) fn signal(&self, signal: Signal) {
        self.supervisor.order(signal);
    }

    /// Sends all a signal that is to end them, as a rung of the ladder, and counts it.
    pub(super) fn end(&mut self, signal: Signal) {
        self.note(signal);
        self.signal(signal);
    }

    fn note(&mut self, signal: Signal) {
        self.killed |= signal == Signal::SIGKILL;
        self.metrics.kill(signal);
    }

    /// The supervisor has ended before its child: it was killed. Ends what it has left, as far as that is found.
    async fn lost(&mut self) -> io::Error {
        let ended = self.supervisor.ended().await;
        self.is_gone = matches!(ended, Ok(true)) || end_orphans().await;
        io::Error::other("the process that supervises it has ended before it; it may have been killed by it")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_gone {
            if !self.killed {
                self.note(Signal::SIGKILL);
            }
            // The supervisor kills all when its orders are over; but nobody sees the end.
            if let Some(owner) = &self.owner {
                owner.runs_on();
            }
        }
    }
}
