//! Deals with one delivery, from the claim to the ack: the steps in their order, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use coxswain_shared::broker::Delivery;
use coxswain_shared::crashpoint::CrashPoint;
use coxswain_shared::graph::Graph;
use coxswain_shared::id::{NodeName, TaskKey};
use coxswain_shared::limits::Limit;
use coxswain_shared::outcome::{Failure, FailureKind};
use coxswain_shared::policing::Halt;
use coxswain_shared::priority::Lane;
use coxswain_shared::sandbox::Evaluations;
use coxswain_shared::stop::EndReason;
use coxswain_shared::store::Lease;
use tokio::time::Instant;

use super::claim::{Answer, Granted, claim};
use super::classify::{self, Consequence, Finish, classify};
use super::close::{Closing, Report};
use super::police::{Barred, may_begin};
use super::supervise::{Ended, supervise};
use super::{Meter, Presence, Shared, Switch};
use crate::clock::StoreClock;
use crate::events::Buffer;
use crate::graphs;
use crate::handler::{Assignment, Context, NodeError};
use crate::hint::hint;
use crate::metrics::DeliveryEnd;
use crate::pause::Pause;

/// What is to be done with a delivery whose attempt has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dealt {
    /// It is dealt with, here or by others.
    Ack,
    /// What became of it could not be written, or it was handed back.
    GiveBack,
}

/// Deals with one delivery of a lane; one that is to be passed on to another worker is given back.
pub(crate) async fn attend(
    shared: Arc<Shared>,
    delivery: Box<dyn Delivery>,
    lane: &Lane,
    mut presence: Presence,
) -> Option<Box<dyn Delivery>> {
    let task = match delivery.task() {
        Ok(task) => task,
        Err(error) => {
            tracing::error!(%error, "a message cannot be read, and goes to the dead letters");
            shared.metrics.delivery(DeliveryEnd::Unreadable);
            delivery.bury(&reason_of(&error)).await;
            return None;
        }
    };
    CrashPoint::Received.reach().await;
    match claim(&shared, &task, lane, &mut presence).await {
        Answer::Granted(granted) => {
            shared.metrics.delivery(DeliveryEnd::Leased);
            match work_on(&shared, *granted).await {
                Dealt::Ack => ack(delivery).await,
                Dealt::GiveBack => delivery.give_back().await,
            }
        }
        Answer::Nothing(end) => {
            shared.metrics.delivery(end);
            ack(delivery).await;
        }
        Answer::Bury(end, why) => {
            tracing::error!(run.id = %task.run.id, task = %task.task, why, "a message goes to the dead letters");
            shared.metrics.delivery(end);
            delivery.bury(&why).await;
        }
        Answer::GiveBack => {
            shared.metrics.delivery(DeliveryEnd::GivenBack);
            delivery.give_back().await;
        }
        Answer::PassOn => return Some(delivery),
    }
    None
}

async fn ack(delivery: Box<dyn Delivery>) {
    // `false` means that it will be delivered again, here or elsewhere; a claim will find it stale.
    let _is_known = delivery.ack().await;
    CrashPoint::Acked.reach().await;
}

async fn work_on(shared: &Arc<Shared>, granted: Granted) -> Dealt {
    let Granted { task, lease, switch, hold } = granted;
    CrashPoint::Claimed.reach().await;
    tracing::debug!(run.id = %task.run.id, task = %task.task, attempt = %lease.attempt, fence = %lease.fence, "claimed");
    let Tried { ctx, ended, begun, halt } = attempt(shared, &task, &lease, (&switch, hold.meter())).await;
    CrashPoint::Ran.reach().await;
    let kind = ctx.as_ref().map_or("unknown", |ctx| ctx.definition().kind.name());
    let (report, consequence) = conclude(shared, &task, &lease, ctx.as_ref(), ended, begun);
    let consequence = match (halt, consequence) {
        // Whatever else has come up meanwhile, an order or a lost lease, prevails.
        (Some(halt), Consequence::HandBack) => Consequence::StopByPolicy(halt),
        (_, consequence) => consequence,
    };
    Closing { shared, kind, fence: lease.fence, switch, hold, report, task, ctx }.close(consequence).await
}

/// An attempt that has come to its end.
struct Tried {
    ctx: Option<Context>,
    ended: Ended,
    /// When the work began; absent if it did not.
    begun: Option<Instant>,
    /// The policy that stops the run instead.
    halt: Option<Box<Halt>>,
}

/// Finds out what there is to do, whether it may be done, and does it.
async fn attempt(shared: &Arc<Shared>, task: &TaskKey, lease: &Lease, (switch, meter): (&Switch, Meter)) -> Tried {
    let without = |ctx, finish| Tried { ctx, ended: Ended::without_work(finish, switch), begun: None, halt: None };
    let refused = |error| Finish::Returned(Err(error));
    let fetched = tokio::select! {
        biased;
        fetched = fetch_graph(shared, lease) => fetched,
        _ = switch.given() => Err(NodeError::Stopped),
    };
    let graph = match fetched.and_then(|graph| check_node(graph, task)) {
        Ok(graph) => graph,
        Err(error) => return without(None, refused(error)),
    };
    let events = Buffer::new(task.clone(), switch.clone(), shared.flusher.clone());
    let permit = may_begin(shared, task, lease, switch).await;
    let limits_cost = lease.limits_cost || matches!(permit, Ok(true));
    let assignment = assign(&shared.clock, task.clone(), Lease { limits_cost, ..lease.clone() }, graph);
    let is_wanted = {
        let switch = switch.clone();
        move || switch.notice().is_none()
    };
    let evaluations = Evaluations::of_attempt(shared.sandbox.clone(), is_wanted);
    let ctx = Context::new(assignment, switch.clone(), meter, events, evaluations);
    match permit {
        Err(Barred::Later(error)) => return without(Some(ctx), refused(error)),
        Err(Barred::Stopped(halt)) => return Tried { halt: Some(halt), ..without(Some(ctx), Finish::Dropped) },
        Ok(_) => {}
    }
    match shared.kinds.start(ctx.clone()) {
        Ok(_) if switch.notice().is_some() => without(Some(ctx), Finish::Dropped),
        Ok(work) => {
            let begun = Some(Instant::now());
            let ended = supervise(&shared.place, &ctx, work).await;
            Tried { ctx: Some(ctx), ended, begun, halt: None }
        }
        Err(error) => without(Some(ctx), refused(error)),
    }
}

/// The graph of a lease; repeats the call for as long as the store is unavailable.
async fn fetch_graph(shared: &Shared, lease: &Lease) -> Result<Arc<Graph>, NodeError> {
    let mut pause = Pause::new();
    loop {
        match shared.graphs.get(shared.store.as_ref(), &lease.graph_hash).await {
            Ok(graph) => return Ok(graph),
            Err(error) if error.is_retryable() => pause.wait().await,
            Err(error @ graphs::Error::Unreadable { .. }) => {
                return Err(NodeError::Fatal(Failure::from_error(FailureKind::Unknown, &error)));
            }
            Err(error) => return Err(NodeError::Fatal(Failure::from_error(FailureKind::BadInput, &error))),
        }
    }
}

fn check_node(graph: Arc<Graph>, task: &TaskKey) -> Result<Arc<Graph>, NodeError> {
    let name = &task.task.node;
    if graph.nodes.contains_key(name) {
        return Ok(graph);
    }
    let known = hint(name.as_str(), graph.nodes.keys().map(NodeName::as_str));
    let message = format!("the graph `{}` has no node `{name}`{known}", graph.name);
    Err(NodeError::refused(FailureKind::BadInput, message))
}

/// Puts the lease and the graph together, and finds the deadline: the earliest of the try's, the task's and the run's.
fn assign(clock: &StoreClock, task: TaskKey, lease: Lease, graph: Arc<Graph>) -> Assignment {
    let now = Instant::now();
    let limits = [
        // The first of equals holds: a run whose time is up is stopped, whatever else is due.
        (lease.run_deadline, Limit::RunTimeout),
        (lease.task_deadline, Limit::Timeout),
        (lease.now.after(lease.task.attempt_timeout), Limit::AttemptTimeout),
    ];
    let (deadline_at, deadline_limit) =
        limits.into_iter().min_by_key(|(at, _)| *at).expect("there are three limits to choose from");
    let deadline = clock.instant_of(deadline_at, now);
    Assignment { task, lease, graph, deadline, deadline_at, deadline_limit }
}

/// Classifies the end of an attempt, and lays what is stored of it at its node's door.
fn conclude(
    shared: &Shared,
    task: &TaskKey,
    lease: &Lease,
    ctx: Option<&Context>,
    ended: Ended,
    begun: Option<Instant>,
) -> (Report, Consequence) {
    let Ended { finish, notice, gone, cleaned, stuck } = ended;
    let is_stuck = stuck.is_some();
    if let Some(freed) = stuck {
        tracing::error!(run.id = %task.run.id, task = %task.task, "a handler blocks without awaiting: its slot is stuck");
        shared.stuck.add(freed, shared.terms.stuck_max);
    }
    let reason = notice.as_ref().map(|notice| &notice.reason);
    let policy = ctx.map(|ctx| ctx.definition().policy.clone()).unwrap_or_default();
    let retries = ctx.and_then(Context::retries);
    let over_budget = retries.as_ref().and_then(|retries| retries.take().err());
    let is_paid = over_budget.is_none();
    let terms = classify::Terms {
        retry: &policy.retry,
        attempt: lease.attempt,
        remaining: shared.clock.instant_of(lease.task_deadline, gone).saturating_duration_since(gone),
        length: reason.map_or(Duration::ZERO, |reason| length_of(reason, lease, policy.idle_timeout)),
        over_budget,
        come: ctx.and_then(Context::take_come),
    };
    let is_good = finish.is_good();
    let consequence = classify(finish, reason, &terms, &mut rand::rng()).at(&task.task.node);
    if let Some(retries) = retries.filter(|_| is_paid && !consequence.is_retry()) {
        retries.give_back();
    }
    (Report { notice, begun, gone, cleaned, is_good, is_stuck }, consequence)
}

/// How long the limit was that a reason names.
fn length_of(reason: &EndReason, lease: &Lease, idle_timeout: Option<Duration>) -> Duration {
    let EndReason::DeadlineExceeded(limit) = reason else { return Duration::ZERO };
    match limit {
        Limit::Timeout => lease.task.timeout,
        Limit::AttemptTimeout => lease.task.attempt_timeout,
        Limit::IdleTimeout => idle_timeout.unwrap_or(limit.default()),
        Limit::RunTimeout | Limit::QueueTimeout | Limit::ConnectTimeout | Limit::FirstByteTimeout | Limit::Grace => {
            limit.default()
        }
    }
}

fn reason_of(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}
