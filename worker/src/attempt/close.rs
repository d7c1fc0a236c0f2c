//! Writes what became of an attempt: settles it, releases it with proof, or writes nothing.
//!
//! A call that the store does not answer is repeated for as long as the lease may still be ours, and not longer: from
//! then on another attempt may own the task.

use std::sync::Arc;
use std::time::Duration;

use coxswain_shared::crashpoint::CrashPoint;
use coxswain_shared::duration;
use coxswain_shared::id::{Fence, NodeName, TaskKey};
use coxswain_shared::limits::Limit;
use coxswain_shared::outcome::{Failure, FailureKind, Outcome, OutcomeKind};
use coxswain_shared::policing::Halt;
use coxswain_shared::policy::Usage;
use coxswain_shared::spend::Spend;
use coxswain_shared::stop::{Cause, EndReason, NewOrder, StopOrder, StopProof};
use coxswain_shared::store::{self, NewEvent, Release, Released, Settle, Settled, StopAnswer, Verdict};
use coxswain_shared::task::HandedBack;
use coxswain_shared::time::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use super::attend::Dealt;
use super::classify::Consequence;
use super::switch::Notice;
use super::{Shared, Switch};
use crate::handler::Context;
use crate::leases::{Hold, LossCause, Lost};
use crate::metrics::{AttemptEnd, DeliveryEnd, StopStage};
use crate::pause::Pause;

/// How long it may take to tell of a task that was handed back; what becomes of the task never waits longer for it.
const TELL_WITHIN: Duration = Duration::from_secs(1);
/// Calls that are made after the lease was lost, before an outcome is given up.
const CALLS_AFTER_LOSS: u32 = 3;

/// How an attempt came to its end, for its proof and the metrics.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) notice: Option<Notice>,
    /// When the work began; absent if it did not.
    pub(crate) begun: Option<Instant>,
    pub(crate) gone: Instant,
    pub(crate) cleaned: Option<Instant>,
    pub(crate) is_good: bool,
    pub(crate) is_stuck: bool,
}

/// An attempt that has ended, and of which nothing is written yet.
#[derive(Debug)]
pub(crate) struct Closing<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) kind: &'static str,
    pub(crate) task: TaskKey,
    pub(crate) fence: Fence,
    pub(crate) switch: Switch,
    /// The lease is renewed until this goes.
    pub(crate) hold: Hold,
    pub(crate) report: Report,
    pub(crate) ctx: Option<Context>,
}

impl Consequence {
    /// The same consequence, with its failure laid at a node's door.
    pub(crate) fn at(self, node: &NodeName) -> Self {
        let settle = |verdict| Self::Settle(verdict);
        match self {
            Self::Settle(Verdict::Retry { failure, after }) => {
                settle(Verdict::Retry { failure: failure.at(node), after })
            }
            Self::Settle(Verdict::PutOff { failure, after }) => {
                settle(Verdict::PutOff { failure: failure.at(node), after })
            }
            Self::Settle(Verdict::Done(Outcome::Failed { failure })) => {
                settle(Verdict::Done(Outcome::Failed { failure: failure.at(node) }))
            }
            Self::Settle(Verdict::Done(Outcome::TimedOut { limit, failure })) => {
                settle(Verdict::Done(Outcome::TimedOut { limit, failure: failure.at(node) }))
            }
            other => other,
        }
    }
}

impl Closing<'_> {
    /// Writes the consequence.
    pub(crate) async fn close(self, consequence: Consequence) -> Dealt {
        self.count_limit();
        self.finish_events(&consequence).await;
        let halt = self.count_for_policies(&consequence).await;
        match consequence {
            Consequence::Settle(verdict) => self.settle(verdict, halt).await,
            Consequence::Release { refused_result, confirmed } => {
                let since = self.ordered_at();
                self.release(refused_result, confirmed, since).await
            }
            Consequence::StopRun { confirmed } => self.stop_run(confirmed).await,
            Consequence::StopByPolicy(halt) => self.stop_by_policy(&halt).await,
            Consequence::HandBack => self.hand_back().await,
            Consequence::Abandon => self.abandon(),
        }
    }

    async fn finish_events(&self, consequence: &Consequence) {
        let Some(ctx) = &self.ctx else { return };
        if matches!(consequence, Consequence::Settle(_) | Consequence::HandBack) {
            ctx.flush_events(self.shared.store.as_ref(), &self.shared.metrics).await;
        }
    }

    async fn settle(self, verdict: Verdict, halt: Option<Halt>) -> Dealt {
        let end = if self.report.is_stuck { AttemptEnd::Stuck } else { end_of(&verdict) };
        let (run, task) = (&self.task.run.id, &self.task.task);
        if let Verdict::PutOff { failure, after } = &verdict {
            tracing::debug!(run.id = %run, task = %task, fence = %self.fence, %failure, ?after, "a task is put off");
            if self.report.begun.is_some() {
                self.shared.put_off.add(self.task.clone());
            }
        } else if let Some(failure) = failure_of(&verdict) {
            tracing::warn!(run.id = %run, task = %task, fence = %self.fence, %failure, "an attempt ended badly");
        }
        let settle = Settle { task: self.task.clone(), fence: self.fence, verdict, spent: self.spent() };
        self.hold.is_closing();
        let answer = match self.persist(|| self.shared.store.settle(settle.clone())).await {
            // It passed our own limit, and the store's is another: what fails is the node, not the worker.
            Err(store::Error::TooLarge { what, size, max }) => {
                let message = format!("{what} has {size}, over the limit of {max}");
                let failure = Failure::new(FailureKind::TooLarge, message).at(&self.task.task.node);
                let verdict = Verdict::Done(Outcome::Failed { failure });
                let smaller = Settle { verdict, ..settle };
                self.persist(|| self.shared.store.settle(smaller.clone())).await
            }
            answer => answer,
        };
        match answer {
            Ok(Settled::Accepted { .. }) => {
                CrashPoint::Settled.reach().await;
                self.shared.metrics.attempt(self.kind, end);
                if let Some(halt) = halt {
                    self.order_by_policy(&halt).await;
                }
                Dealt::Ack
            }
            Ok(Settled::Stale) => self.lost(),
            Ok(Settled::Frozen) => {
                let (refused_result, confirmed) = (self.report.is_good, !self.report.is_stuck);
                let since = self.ordered_at();
                self.release(refused_result, confirmed, since).await
            }
            Err(_) => self.give_up(),
        }
    }

    /// Stops the run, whose time is up; then releases. The scheduler would find it too, but later, and the attempt's
    /// outcome would fail the run for another reason before.
    async fn stop_run(self, confirmed: bool) -> Dealt {
        let order = NewOrder {
            cause: Cause::Deadline,
            reason: Some(format!("{} passed while node {} ran", Limit::RunTimeout, self.task.task.node)),
            actor: format!("worker {}", self.shared.id),
            grace: None,
            force: false,
        };
        match self.persist(|| self.shared.store.stop(&self.task.run.id, order.clone())).await {
            Ok(answer) => {
                let since = self.due_at(&answer);
                self.release(false, confirmed, since).await
            }
            Err(_) => self.give_up(),
        }
    }

    /// Stops the run, or the one at the top of its tree, for which a policy has no room; then releases.
    async fn stop_by_policy(self, halt: &Halt) -> Dealt {
        let Some(answer) = self.order_by_policy(halt).await else { return self.give_up() };
        let since = match answer {
            StopAnswer::Accepted(report) | StopAnswer::Already { report, .. } => Some(report.order.at),
            StopAnswer::Finished(_) | StopAnswer::Early => None,
        };
        self.release(false, true, since).await
    }

    async fn order_by_policy(&self, halt: &Halt) -> Option<StopAnswer> {
        let order = halt.reached.order();
        tracing::warn!(run.id = %halt.top, reason = %halt.reached, "a policy stops a run");
        self.persist(|| self.shared.store.stop(&halt.top, order.clone())).await.ok()
    }

    /// Tells the policies what the try has come to, also where nothing of it is written: it was spent. Answers if one stops the run.
    async fn count_for_policies(&self, consequence: &Consequence) -> Option<Halt> {
        let took = self.report.gone.saturating_duration_since(self.report.begun?);
        let outcome = match consequence {
            Consequence::Settle(Verdict::Done(outcome)) => Some(outcome),
            Consequence::Settle(Verdict::Retry { .. } | Verdict::PutOff { .. })
            | Consequence::Release { .. }
            | Consequence::StopRun { .. }
            | Consequence::StopByPolicy(_)
            | Consequence::HandBack
            | Consequence::Abandon => None,
        };
        let usage = Usage::of_try(&self.spent(), took, outcome);
        let halt = self.persist(|| self.shared.policing.has_ended(&self.task.run.id, &usage)).await.ok()??;
        self.shared.metrics.policy_halt(&halt);
        Some(halt)
    }

    /// Lets go of the lease. `since` is when the attempt was to end, for the figures.
    async fn release(self, refused_result: bool, confirmed: bool, since: Option<Timestamp>) -> Dealt {
        let proof = self.proof(refused_result, confirmed);
        if let Some(since) = since {
            self.time_stop(&proof, since);
        }
        let release = Release::Stopped(proof);
        self.hold.is_closing();
        let (task, fence) = (&self.task, self.fence);
        match self.persist(|| self.shared.store.release(task, fence, release.clone())).await {
            Ok(Released::Accepted { .. }) => {
                let end = if self.report.is_stuck { AttemptEnd::Stuck } else { AttemptEnd::Stopped };
                self.shared.metrics.attempt(self.kind, end);
                Dealt::Ack
            }
            Ok(Released::HandedBack(back)) => {
                self.shared.metrics.stops_without_order.inc();
                let (run, task, order) = (&self.task.run.id, &self.task.task, self.order());
                tracing::error!(run.id = %run, task = %task, fence = %self.fence, order, times = back.times, again_in = ?back.pause(),
                    "an attempt was ended by a stop order that the store does not have: its task is tried again");
                self.went_back(back).await
            }
            Ok(Released::Stale) => self.lost(),
            Err(_) => self.give_up(),
        }
    }

    /// The order that the attempt has seen, for a log.
    fn order(&self) -> String {
        match self.switch.notice().map(|notice| notice.reason) {
            Some(EndReason::StopOrdered(StopOrder { order, at })) => {
                format!("{} by {} at {at}", order.cause, order.actor)
            }
            _ => "none".to_owned(),
        }
    }

    /// The task is to be tried again, and this was no try: by the message at hand, or by one that follows later.
    async fn went_back(self, back: HandedBack) -> Dealt {
        self.shared.metrics.attempt(self.kind, AttemptEnd::HandedBack);
        if back.is_remarkable() {
            let again_in = duration::show(back.pause());
            let value = json!({ "times": back.times, "without_order": back.without_order, "again_in": again_in });
            let event = NewEvent { task: self.task.task.clone(), kind: "handed_back".to_owned(), value };
            let told = self.shared.store.emit(&self.task.run, vec![event]);
            if !matches!(tokio::time::timeout(TELL_WITHIN, told).await, Ok(Ok(()))) {
                self.shared.metrics.events_dropped.inc();
            }
        }
        if back.pause().is_zero() {
            self.shared.metrics.delivery(DeliveryEnd::GivenBack);
            Dealt::GiveBack
        } else {
            Dealt::Ack
        }
    }

    async fn hand_back(self) -> Dealt {
        let (task, fence, spent) = (&self.task, self.fence, self.spent());
        self.hold.is_closing();
        match self.persist(|| self.shared.store.release(task, fence, Release::HandedBack(spent))).await {
            Ok(Released::HandedBack(back)) => {
                if back.is_remarkable() {
                    let (run, task) = (&self.task.run.id, &self.task.task);
                    tracing::warn!(run.id = %run, task = %task, times = back.times, again_in = ?back.pause(),
                        "a task was handed back again: its workers end before it does");
                }
                self.went_back(back).await
            }
            // It was under an order.
            Ok(Released::Accepted { .. }) => {
                self.shared.metrics.attempt(self.kind, AttemptEnd::HandedBack);
                self.shared.metrics.delivery(DeliveryEnd::GivenBack);
                Dealt::GiveBack
            }
            Ok(Released::Stale) => self.lost(),
            Err(_) => self.give_up(),
        }
    }

    fn abandon(self) -> Dealt {
        self.shared.metrics.attempt(self.kind, AttemptEnd::Abandoned);
        let (run, task) = (&self.task.run.id, &self.task.task);
        tracing::warn!(run.id = %run, task = %task, fence = %self.fence, "nothing is written: the lease is lost, or the handler blocks");
        Dealt::Ack
    }

    fn lost(self) -> Dealt {
        // A heartbeat may have found it before.
        if self.switch.lose() {
            let lost = Lost { task: self.task.clone(), fence: self.fence, cause: LossCause::Stale };
            self.shared.note_lost(&lost);
        }
        self.abandon()
    }

    fn give_up(self) -> Dealt {
        self.shared.metrics.attempt(self.kind, AttemptEnd::Abandoned);
        Dealt::GiveBack
    }

    /// Repeats a call until the store answers it, or the lease is lost; then a few times more, since a lease also
    /// reads as lost when an earlier call was carried out and its reply was not heard, and an outcome until its task's time
    /// is up. The fence makes that harmless.
    async fn persist<T, F>(&self, call: impl Fn() -> F) -> Result<T, store::Error>
    where
        F: Future<Output = Result<T, store::Error>>,
    {
        let mut pause = Pause::new();
        let mut calls_left = CALLS_AFTER_LOSS;
        loop {
            let error = match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let is_lost = self.switch.notice().is_some_and(|notice| notice.reason == EndReason::LeaseLost);
            if is_lost && !self.may_still_be_taken() {
                calls_left -= 1;
            }
            if !error.is_retryable() || calls_left == 0 {
                let (run, task) = (&self.task.run.id, &self.task.task);
                tracing::error!(run.id = %run, task = %task, fence = %self.fence, %error, "what became of an attempt cannot be written");
                return Err(error);
            }
            pause.wait().await;
        }
    }

    /// Whether the attempt came to its own end, and its task's time is not up: then its outcome is worth more calls, since a store
    /// that was away for longer than a lease lives takes it as long as nobody else has the task.
    fn may_still_be_taken(&self) -> bool {
        let Some(ctx) = self.ctx.as_ref().filter(|_| self.report.notice.is_none()) else { return false };
        let (now, deadline) = (Instant::now(), ctx.assignment().lease.task_deadline);
        now < self.shared.clock.instant_of(deadline, now)
    }

    fn proof(&self, refused_result: bool, confirmed: bool) -> StopProof {
        let at = |instant| self.shared.clock.at(instant);
        let observed = match self.switch.notice() {
            Some(Notice { reason: EndReason::StopOrdered(_), observed, .. }) => observed,
            // The order was learned from a refused settle.
            _ => Instant::now(),
        };
        let doubt = self.ctx.as_ref().and_then(Context::why_in_doubt);
        StopProof {
            observed_at: Some(at(observed)),
            stopped_at: confirmed.then(|| at(self.report.gone)),
            cleaned_at: self.report.cleaned.map(at),
            refused_result,
            confirmed: confirmed && doubt.is_none(),
            doubt,
            partial: self.ctx.as_ref().and_then(Context::take_partial),
            spent: self.spent(),
        }
    }

    fn spent(&self) -> Spend {
        self.ctx.as_ref().map(Context::spent).unwrap_or_default()
    }

    /// When the order was given that the attempt has seen.
    fn ordered_at(&self) -> Option<Timestamp> {
        match self.switch.notice()?.reason {
            EndReason::StopOrdered(order) => Some(order.at),
            EndReason::Shutdown | EndReason::DeadlineExceeded(_) | EndReason::LeaseLost => None,
        }
    }

    /// When a run was to end whose time is up: at its deadline, before this worker has ordered it; or by an order that
    /// was given earlier, and of which it had not heard.
    fn due_at(&self, answer: &StopAnswer) -> Option<Timestamp> {
        let deadline = self.ctx.as_ref()?.assignment().lease.run_deadline;
        match answer {
            StopAnswer::Accepted(report) | StopAnswer::Already { report, .. } => Some(deadline.min(report.order.at)),
            StopAnswer::Finished(_) | StopAnswer::Early => None,
        }
    }

    fn time_stop(&self, proof: &StopProof, since: Timestamp) {
        // A deadline was observed when it was hit, not when the worker's own order came back to it.
        let own = self
            .report
            .notice
            .as_ref()
            .filter(|notice| notice.reason == EndReason::DeadlineExceeded(Limit::RunTimeout));
        let observed = own.map(|notice| self.shared.clock.at(notice.observed)).or(proof.observed_at);
        let stages = [
            (StopStage::Observed, observed),
            (StopStage::Dropped, proof.stopped_at),
            (StopStage::Cleaned, proof.cleaned_at),
        ];
        for (stage, at) in stages {
            if let Some(at) = at {
                self.shared.metrics.stop(stage, at.since(since));
            }
        }
    }

    fn count_limit(&self) {
        if let Some(Notice { reason: EndReason::DeadlineExceeded(limit), .. }) = &self.report.notice {
            self.shared.metrics.limit(*limit);
        }
    }
}

const fn end_of(verdict: &Verdict) -> AttemptEnd {
    match verdict {
        Verdict::Retry { .. } => AttemptEnd::Retried,
        Verdict::PutOff { .. } => AttemptEnd::PutOff,
        Verdict::Done(outcome) => match outcome.kind() {
            OutcomeKind::Succeeded => AttemptEnd::Succeeded,
            OutcomeKind::Failed | OutcomeKind::Crashed => AttemptEnd::Failed,
            OutcomeKind::TimedOut => AttemptEnd::TimedOut,
            OutcomeKind::Stopped => AttemptEnd::Stopped,
        },
    }
}

fn failure_of(verdict: &Verdict) -> Option<&Failure> {
    match verdict {
        Verdict::Retry { failure, .. } | Verdict::PutOff { failure, .. } => Some(failure),
        Verdict::Done(outcome) => outcome.failure(),
    }
}
