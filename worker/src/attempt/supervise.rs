//! Runs the work of one attempt to its end, whatever ends it, and cleans up: the escalation ladder.
//!
//! 1. The reason is visible to the handler (the switch).
//! 2. Its future is dropped: at once, or when the grace is over if it asked for that.
//! 3. Cleanup hooks run, for what is left of the grace.
//! 4. A process is sent SIGTERM, then its group SIGKILL: the kind `exec` does that, as its last words.
//! 5. A handler that blocks is given up a tenth of a second after the grace: fenced, its slot reported stuck.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use coxswain_shared::limits::Limit;
use coxswain_shared::stop::EndReason;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::classify::Finish;
use super::job::{Job, JobEnd};
use super::state::{Event, State};
use super::switch::Notice;
use super::{Switch, WorkPlace};
use crate::handler::{Context, Hook, NodeError, Product};
use crate::kind::Work;

/// How long after the grace a future that does not yield is given up.
const STUCK_AFTER: Duration = Duration::from_millis(100);

/// How an attempt came to its end.
pub(crate) struct Ended {
    pub(crate) finish: Finish,
    /// Why it was to end, if there was a reason.
    pub(crate) notice: Option<Notice>,
    /// When the work was gone.
    pub(crate) gone: Instant,
    /// When cleanup was through.
    pub(crate) cleaned: Option<Instant>,
    /// Resolves when what is stuck does not block any more.
    pub(crate) stuck: Option<BoxFuture<'static, ()>>,
}

impl Ended {
    /// The end of an attempt whose work did not even begin.
    pub(crate) fn without_work(finish: Finish, switch: &Switch) -> Self {
        let now = Instant::now();
        Self { finish, notice: switch.notice(), gone: now, cleaned: Some(now), stuck: None }
    }
}

/// An attempt's state, for the transitions that its table allows.
struct Life(Option<State>);

impl Life {
    fn step(&mut self, event: Event) {
        let state = self.0.take().expect("a life has a state between two steps");
        self.0 = Some(state.next(event).expect("the supervisor follows the table of attempt states"));
    }

    fn told(&mut self, switch: &Switch) {
        if let Some(notice) = switch.notice() {
            self.step(Event::Told(notice.reason));
        }
    }
}

/// Runs the work to its end and cleans up.
pub(crate) async fn supervise(place: &WorkPlace, ctx: &Context, work: Work) -> Ended {
    let mut life = Life(Some(State::Claimed));
    life.step(Event::Started);
    let Work { future, wants_grace, last_words } = work;
    let checked = {
        let ctx = ctx.clone();
        async move {
            let reply = future.await?;
            Product::of(reply, &ctx.assignment().graph, ctx.definition())
        }
    };
    let mut job = Job::start(place, Box::pin(checked));
    let end = match until_due(ctx, &mut job).await {
        Some(end) => {
            life.step(Event::Ended);
            Some(end)
        }
        None => end_work(ctx, &mut job, &mut life, (wants_grace, last_words)).await,
    };
    let gone = Instant::now();
    let Some(end) = end else {
        let stuck = async move { drop(job.ended().await) };
        let notice = ctx.switch().notice();
        return Ended { finish: Finish::Stuck, notice, gone, cleaned: None, stuck: Some(Box::pin(stuck)) };
    };
    let finish = finish_of(end);
    let stuck = clean_up(place, ctx, &finish).await;
    life.told(ctx.switch());
    life.step(Event::Cleaned);
    Ended { finish, notice: ctx.switch().notice(), gone, cleaned: Some(Instant::now()), stuck }
}

fn finish_of(end: JobEnd<Result<Product, NodeError>>) -> Finish {
    match end {
        JobEnd::Returned(result) => Finish::Returned(result),
        JobEnd::Panicked(message) => Finish::Panicked(message),
        JobEnd::Dropped => Finish::Dropped,
    }
}

/// Waits until the work has ended by itself; none if there is a reason to end it.
async fn until_due<T: Send + 'static>(ctx: &Context, job: &mut Job<T>) -> Option<JobEnd<T>> {
    tokio::select! {
        biased;
        end = job.ended() => Some(end),
        _ = ctx.switch().given() => None,
        limit = limit_hit(ctx) => {
            ctx.switch().give(EndReason::DeadlineExceeded(limit), false);
            None
        }
    }
}

/// Waits until one of the attempt's time limits is hit.
async fn limit_hit(ctx: &Context) -> Limit {
    let assignment = ctx.assignment();
    // A call to the outside watches its own silence, which begins with the first byte.
    let node = ctx.definition();
    let idle_timeout = node.policy.idle_timeout.filter(|_| !node.kind.is_outside());
    loop {
        let idle = idle_timeout.map(|idle| ctx.last_sign() + idle);
        let due = idle.map_or(assignment.deadline, |idle| idle.min(assignment.deadline));
        if due <= Instant::now() {
            let is_idle = due < assignment.deadline;
            return if is_idle { Limit::IdleTimeout } else { assignment.deadline_limit };
        }
        tokio::time::sleep_until(due).await;
    }
}

/// Ends the work by the ladder; none if it is stuck.
async fn end_work<T: Send + 'static>(
    ctx: &Context,
    job: &mut Job<T>,
    life: &mut Life,
    (wants_grace, last_words): (bool, Duration),
) -> Option<JobEnd<T>> {
    let since = ctx.switch().given().await.since;
    life.told(ctx.switch());
    let mut end = None;
    if wants_grace || !last_words.is_zero() {
        let spared = async {
            if wants_grace {
                ctx.work_grace_over().await;
            }
            tokio::time::sleep(last_words).await;
        };
        end = tokio::select! {
            biased;
            end = job.ended() => Some(end),
            () = spared => None,
        };
    }
    if end.is_none() {
        job.drop_now();
        end = tokio::select! {
            biased;
            end = job.ended() => Some(end),
            () = give_up(ctx, since) => None,
        };
    }
    life.told(ctx.switch());
    life.step(match end {
        Some(JobEnd::Returned(_) | JobEnd::Panicked(_)) => Event::Ended,
        Some(JobEnd::Dropped) => Event::Gone,
        None => Event::Stuck,
    });
    end
}

async fn give_up(ctx: &Context, since: Instant) {
    let own = ctx.assignment().lease.task.grace;
    ctx.switch().grace_over(since, own).await;
    tokio::time::sleep(STUCK_AFTER).await;
}

/// Runs the hooks if the attempt did not succeed, within what is left of the grace. Gives what is stuck, if one blocks.
async fn clean_up(place: &WorkPlace, ctx: &Context, finish: &Finish) -> Option<BoxFuture<'static, ()>> {
    let hooks = ctx.take_hooks();
    let notice = ctx.switch().notice();
    if hooks.is_empty() || !is_needed(finish, notice.as_ref().map(|notice| &notice.reason)) {
        return None;
    }
    let since = notice.map_or_else(Instant::now, |notice| notice.since);
    let mut job = Job::start(place, Box::pin(run_hooks(hooks)));
    let own = ctx.assignment().lease.task.grace;
    tokio::select! {
        biased;
        () = ctx.switch().grace_over(since, own) => {}
        _ = job.ended() => return None,
    }
    tracing::warn!(run.id = %ctx.run(), task = %ctx.task(), "cleanup hooks did not end within the grace, and were dropped");
    job.drop_now();
    tokio::select! {
        biased;
        _ = job.ended() => None,
        () = tokio::time::sleep(STUCK_AFTER) => {
            ctx.runs_on();
            Some(Box::pin(async move { drop(job.ended().await) }))
        }
    }
}

/// Whether cleanup is needed: not after a success that counts.
fn is_needed(finish: &Finish, reason: Option<&EndReason>) -> bool {
    match reason {
        None | Some(EndReason::Shutdown) => !finish.is_good(),
        Some(EndReason::DeadlineExceeded(_) | EndReason::StopOrdered(_) | EndReason::LeaseLost) => true,
    }
}

async fn run_hooks(hooks: Vec<Hook>) {
    for hook in hooks {
        let run = async move { hook().await };
        if AssertUnwindSafe(run).catch_unwind().await.is_err() {
            tracing::error!("a cleanup hook panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_success_that_counts_needs_no_cleanup() {
        let good = || Finish::Returned(Ok(Product::default()));
        assert!(!is_needed(&good(), None) && !is_needed(&good(), Some(&EndReason::Shutdown)));
        assert!(is_needed(&good(), Some(&EndReason::LeaseLost)));
        assert!(is_needed(&good(), Some(&EndReason::DeadlineExceeded(Limit::AttemptTimeout))));
        assert!(is_needed(&Finish::Dropped, Some(&EndReason::Shutdown)));
        assert!(is_needed(&Finish::Panicked("boom".into()), None));
    }
}
