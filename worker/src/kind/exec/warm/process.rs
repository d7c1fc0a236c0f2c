//! One warm process: started, made ready, lent to one attempt after another, and ended.

use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::OwnedSemaphorePermit;

use super::errors::Errors;
use super::pool::Key;
use super::wire::Wire;
use crate::handler::{Context, NodeError};
use crate::kind::exec::child::{PIPES_AFTER_END, how};
use crate::kind::exec::command::Start;
use crate::kind::exec::group::Group;
use crate::kind::exec::supervisor::Pipes;
use crate::metrics::{Counted, Metrics, WarmState};

/// How long a process that has no task may take to end once it was told to: it has nothing to finish.
pub(super) const END_GRACE: Duration = Duration::from_secs(1);

/// A process that is kept. Dropped, it is killed with its group.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) key: Key,
    pub(super) group: Group,
    pub(super) wire: Wire,
    errors: Errors,
    state: Counted,
    metrics: Metrics,
    /// Its place among those that there may be.
    _room: OwnedSemaphorePermit,
}

impl Process {
    /// Starts a process for an attempt, and waits until it can take tasks: within `limit`, and only as long as there is
    /// no reason to end the attempt.
    pub(super) async fn start(
        (start, key): (Start, Key),
        room: OwnedSemaphorePermit,
        (ctx, metrics): (&Context, &Metrics),
        limit: Duration,
    ) -> Result<Self, NodeError> {
        let state = metrics.warm(WarmState::Starting);
        let started = Group::spawn(&start, ctx.clone(), metrics.clone()).await;
        let (group, pipes) = started.map_err(|error| start.failed(&error))?;
        metrics.warm_starts.inc();
        let Pipes { stdin, stdout, stderr } = pipes;
        let mut process = Self {
            group,
            wire: Wire::new(stdin, stdout),
            errors: Errors::read(stderr)?,
            key,
            state,
            metrics: metrics.clone(),
            _room: room,
        };
        let ready = tokio::select! {
            biased;
            ready = process.wire.ready() => ready.map(Some),
            _ = ctx.stopped() => Err(NodeError::Stopped),
            () = tokio::time::sleep(limit) => Ok(None),
        };
        match ready {
            Ok(Some(true)) => {
                ctx.sign_of_life();
                Ok(process)
            }
            Ok(Some(false)) => Err(process.ended_early("before it was ready").await),
            Ok(None) => {
                let what = format!("was not ready within {}", coxswain_shared::duration::show(limit));
                let remedy = "a warm process prints {\"ready\": true} once it can take tasks";
                Err(process.fail(format!("{what}: {remedy}")).await)
            }
            Err(error) => Err(process.discard(error).await),
        }
    }

    /// Makes it work for an attempt.
    pub(super) fn lend(&mut self, ctx: &Context) {
        self.group.lend(Some(ctx.clone()));
        self.errors.forget();
        self.state = self.metrics.warm(WarmState::Busy);
    }

    /// Makes it work for nobody.
    pub(super) fn rest(&mut self) {
        self.group.lend(None);
        self.state = self.metrics.warm(WarmState::Idle);
    }

    /// Why it cannot be given a task; none if it can.
    pub(super) fn unfit(&mut self) -> Option<String> {
        if self.group.has_ended() { Some("it has ended".to_owned()) } else { self.wire.unfit() }
    }

    /// Ends it when it has no task: tells it, and kills it if it does not end.
    pub(super) async fn end(mut self) {
        self.wire.close();
        self.group.signal(Signal::SIGTERM);
        let _ = tokio::time::timeout(END_GRACE, self.group.wait_for_all()).await;
        self.kill().await;
    }

    /// The failure of a process that has ended by itself; it is gone then, with all of its group.
    pub(super) async fn ended_early(mut self, when: &str) -> NodeError {
        // Its output has ended, and so it has ended too or is about to. One that goes on all the same is killed.
        let ended = tokio::time::timeout(PIPES_AFTER_END, self.group.wait()).await;
        let how = match ended {
            Ok(Ok(status)) => how(status),
            Ok(Err(error)) => return self.discard(error.into()).await,
            Err(_) => "closed its output".to_owned(),
        };
        self.fail(format!("{how} {when}")).await
    }

    /// Kills it, and adds to the error what it wrote to its standard error.
    pub(super) async fn discard(mut self, mut error: NodeError) -> NodeError {
        self.kill().await;
        match &mut error {
            NodeError::Retryable(failure)
            | NodeError::Fatal(failure)
            | NodeError::Later { failure, .. }
            | NodeError::PutOff { failure, .. }
            | NodeError::TimedOut { failure, .. } => failure.chain.extend(self.errors.whole().await),
            NodeError::Stopped => {}
        }
        error
    }

    /// What it has written to its standard error for this task, so far.
    pub(super) fn told(&self) -> Option<String> {
        self.errors.so_far()
    }

    async fn fail(self, what: String) -> NodeError {
        let failure = NodeError::retryable(format!("the warm process `{}` {what}", self.key.program()));
        self.discard(failure).await
    }

    async fn kill(&mut self) -> Option<ExitStatus> {
        self.group.signal(Signal::SIGKILL);
        self.group.wait_for_all().await.ok()
    }
}
