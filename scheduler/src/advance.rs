//! Advances runs: take them, plan each, write the plan, and send its tasks.

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use coxswain_shared::crashpoint::CrashPoint;
use coxswain_shared::graph::Graph;
use coxswain_shared::id::{Nonce, Partition, TaskKey};
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::limits::LOST_PLANS_MAX;
use coxswain_shared::outcome::{Failure, FailureKind};
use coxswain_shared::plan::{Planned, Then};
use coxswain_shared::policing::Policing;
use coxswain_shared::priority::Lane;
use coxswain_shared::run::RunStatus;
use coxswain_shared::store::{Advance, Advanced, Error, Held, Ready, Run, Store, Taken, values_of_children};
use coxswain_shared::task::{Dispatch, NewTask};
use futures_util::future::join_all;

use crate::base::base;
use crate::config::SchedulerConfig;
use crate::dirty::Dirty;
use crate::graphs::{Graphs, Missing};
use crate::metrics::SchedulerMetrics;
use crate::outbox::{Message, Outbox};
use crate::planner::{Materials, Planner, Unmade};

/// How often a hold is renewed within its length.
const HOLDS: u32 = 3;

/// One of a scheduler's advancers.
#[derive(Debug)]
pub(crate) struct Advancer {
    pub(crate) config: SchedulerConfig,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) graphs: Arc<Graphs>,
    pub(crate) policing: Arc<Policing>,
    pub(crate) planner: Planner,
    pub(crate) tasks: Tasks,
    pub(crate) outbox: Outbox,
    pub(crate) metrics: SchedulerMetrics,
}

impl Advancer {
    /// Advances the runs of dirty partitions until the tasks drain.
    pub(crate) async fn run(self: Arc<Self>, dirty: Arc<Dirty>) {
        loop {
            let partition = tokio::select! {
                () = self.tasks.draining() => return,
                partition = dirty.take() => partition,
            };
            let taken = self.partition(partition).await;
            if taken == self.config.batch {
                dirty.mark(partition);
            }
        }
    }

    /// Advances one batch of a partition's runs; returns how many there were. What takes long stays hidden from others.
    async fn partition(self: &Arc<Self>, partition: Partition) -> usize {
        match self.store.take_ready(partition, self.config.batch, self.config.hold).await {
            Ok(batch) => {
                let taken: Vec<Taken> = batch.iter().map(|ready| taken(&ready.run)).collect();
                let advancing = join_all(batch.into_iter().map(|ready| self.advance(ready)));
                let left: Vec<Taken> =
                    self.keep_hidden(partition, &taken, advancing).await.into_iter().flatten().collect();
                self.give_back(partition, &left).await;
                taken.len()
            }
            Err(error) => {
                self.metrics.store_failed();
                tracing::warn!(%error, %partition, "no runs could be taken");
                0
            }
        }
    }

    /// Advances one run, or begins to: what is planned apart holds up no other run. Gives the run back if it is left as it is.
    async fn advance(self: &Arc<Self>, ready: Ready) -> Option<Taken> {
        CrashPoint::Taken.reach().await;
        let run = taken(&ready.run);
        match self.prepare(ready).await {
            Ok(Prepared::Failed(advance)) => {
                self.finish(*advance).await;
                None
            }
            Ok(Prepared::Materials(materials)) => {
                let started = Instant::now();
                if let Some(made) = Planner::at_once(&materials) {
                    self.metrics.planned(started.elapsed());
                    return self.follow(&materials.ready.run, made).await;
                }
                let this = Arc::clone(self);
                drop(self.tasks.spawn(async move { this.advance_apart(*materials).await }));
                None
            }
            Err(unplanned) => Some(self.leave(run, &unplanned)),
        }
    }

    async fn advance_apart(&self, materials: Materials) {
        let run = materials.ready.run.clone();
        let started = Instant::now();
        let making = self.planner.apart(materials, &self.tasks);
        let made = self.keep_hidden(run.key.partition, &[taken(&run)], making).await;
        self.metrics.planned(started.elapsed());
        if let Some(left) = self.follow(&run, made).await {
            self.give_back(run.key.partition, &[left]).await;
        }
    }

    /// Does something, and keeps runs hidden from other schedulers meanwhile. What is not done when this scheduler dies is
    /// taken by another one after the hold.
    async fn keep_hidden<T>(&self, partition: Partition, runs: &[Taken], doing: impl Future<Output = T>) -> T {
        let mut doing = pin!(doing);
        loop {
            match tokio::time::timeout(self.config.hold / HOLDS, &mut doing).await {
                Ok(done) => return done,
                Err(_) => self.hold(partition, runs, Held::InWork).await,
            }
        }
    }

    /// Says of runs that were left as they are that it was not their fault.
    async fn give_back(&self, partition: Partition, runs: &[Taken]) {
        if !runs.is_empty() {
            self.hold(partition, runs, Held::GivenBack).await;
        }
    }

    async fn hold(&self, partition: Partition, runs: &[Taken], state: Held) {
        if let Err(error) = self.store.hold_ready(partition, runs, self.config.hold, state).await {
            tracing::debug!(%error, %partition, "runs could not be kept from other schedulers");
        }
    }

    /// Writes a plan that was made, if policies let it. Gives the run back if they do not.
    async fn follow(&self, run: &Run, made: Result<Planned, Unmade>) -> Option<Taken> {
        match self.permit(run, made).await {
            Ok(advance) => {
                self.finish(advance).await;
                None
            }
            Err(unplanned) => Some(self.leave(taken(run), &unplanned)),
        }
    }

    /// Leaves a run as it is. It is taken again after the hold.
    fn leave(&self, run: Taken, unplanned: &Unplanned) -> Taken {
        match unplanned {
            Unplanned::Store(error) => {
                self.metrics.store_failed();
                tracing::warn!(%error, run.id = %run.run, "a run could not be planned now");
            }
            Unplanned::Paused => self.metrics.advanced("paused"),
            Unplanned::Unmade(Unmade::Passing(why)) => {
                self.metrics.advanced("unplanned");
                tracing::warn!(%why, run.id = %run.run, "a run could not be planned now");
            }
            Unplanned::Unmade(Unmade::Records(error)) => {
                self.metrics.advanced("unreadable");
                tracing::error!(%error, run.id = %run.run, "a run's records cannot be planned by this build");
            }
        }
        run
    }

    /// Writes an advance, and sends its tasks.
    async fn finish(&self, advance: Advance) {
        let (run, messages, end) = (advance.run.clone(), messages(&advance), end(&advance.then));
        CrashPoint::Planned.reach().await;
        match self.write(advance).await {
            Ok(Advanced::Ok) => {
                CrashPoint::Advanced.reach().await;
                self.metrics.advanced("ok");
                if let Some((status, cause)) = end {
                    tracing::info!(run.id = %run.id, %status, cause, "a run has ended");
                }
                self.outbox.put(messages);
            }
            Ok(Advanced::Conflict) => self.metrics.advanced("conflict"),
            Ok(Advanced::Frozen) => self.metrics.advanced("frozen"),
            Err(error) => {
                self.metrics.store_failed();
                tracing::warn!(%error, run.id = %run.id, "a plan could not be written now");
            }
        }
    }

    /// Writes a plan. One that is too large to be stored fails its run instead, or it would be tried for ever.
    async fn write(&self, advance: Advance) -> Result<Advanced, Error> {
        let (run, expected) = (advance.run.clone(), advance.expected);
        match self.store.advance(advance).await {
            Err(error @ (Error::TooLarge { .. } | Error::Corrupt { .. } | Error::Format { .. })) => {
                tracing::warn!(%error, run.id = %run.id, "a plan was refused; the run fails");
                let failure = Failure::from_error(FailureKind::TooLarge, &error);
                self.store.advance(failed(run, expected, failure)).await
            }
            answer => answer,
        }
    }

    /// Gathers what the plan is made from. A mistake in the run itself is a plan as well: its failure.
    async fn prepare(&self, ready: Ready) -> Result<Prepared, Unplanned> {
        let run = &ready.run;
        if ready.lost_plans >= LOST_PLANS_MAX {
            let message = format!(
                "{} schedulers died over its plan, one after the other: it is not planned again, so that no more of them do",
                ready.lost_plans
            );
            let failure = Failure::new(FailureKind::Exhausted, message);
            tracing::error!(run.id = %run.key.id, plans = ready.lost_plans, "a run fails: schedulers die over its plan");
            return Ok(Prepared::Failed(Box::new(failed(run.key.clone(), run.revision, failure))));
        }
        // Of many runs that wait for room the first one asks; nearly all begin with a step, so the others need no plan to wait.
        if ready.checkpoint.is_none() && self.policing.is_known_full(run) {
            return Err(Unplanned::Paused);
        }
        let graph: Arc<Graph> = match self.graphs.get(self.store.as_ref(), &run.graph_hash).await {
            Ok(graph) => graph,
            Err(Missing::Store(error)) => return Err(error.into()),
            Err(error @ (Missing::Lost(_) | Missing::Unusable { .. })) => {
                let failure = Failure::from_error(FailureKind::BadInput, &error);
                return Ok(Prepared::Failed(Box::new(failed(run.key.clone(), run.revision, failure))));
            }
        };
        let base = base(self.store.as_ref(), &ready).await?;
        let children = values_of_children(self.store.as_ref(), &ready.tasks).await?;
        Ok(Prepared::Materials(Box::new(Materials::new(ready, graph, base, children))))
    }

    /// Asks policies whether a plan may be carried out.
    async fn permit(&self, run: &Run, made: Result<Planned, Unmade>) -> Result<Advance, Unplanned> {
        if let Ok(Planned { then: Then::Step { .. }, .. }) = &made
            && let Some(halt) = self.policing.may_plan(run).await?
        {
            tracing::debug!(run.id = %run.key.id, reason = %halt.reached, "a run is held up by a policy");
            return Err(Unplanned::Paused);
        }
        let Planned { checkpoint, changed, then } = made?;
        let (run, expected) = (run.key.clone(), run.revision);
        let then = self.in_known_pools(then);
        Ok(Advance { run, expected, nonce: Nonce::fresh(), checkpoint, changed, then })
    }

    /// A step that needs a pool that nobody may name fails its run.
    fn in_known_pools(&self, then: Then) -> Then {
        let Then::Step { tasks, .. } = &then else { return then };
        let refusal = |task: &NewTask| {
            let why = self.config.known_pools.refusal(&lane(task)?.pool)?;
            Some(Failure::new(FailureKind::BadInput, why).at(&task.id.node))
        };
        match tasks.iter().find_map(refusal) {
            Some(failure) => Then::Fail { failure, order: None },
            None => then,
        }
    }
}

/// What there is before a plan.
enum Prepared {
    /// What it is made from.
    Materials(Box<Materials>),
    /// The run cannot be planned at all: this ends it.
    Failed(Box<Advance>),
}

/// Why there is no plan now. The run is left as it is; its deadline holds.
#[derive(Debug, thiserror::Error)]
enum Unplanned {
    #[error("the store did not answer")]
    Store(#[from] Error),
    #[error("a policy has no room for it now")]
    Paused,
    #[error("no plan could be made")]
    Unmade(#[from] Unmade),
}

fn taken(run: &Run) -> Taken {
    Taken { run: run.key.id.clone(), revision: run.revision }
}

fn failed(run: coxswain_shared::id::RunKey, expected: coxswain_shared::id::Revision, failure: Failure) -> Advance {
    Advance {
        run,
        expected,
        nonce: Nonce::fresh(),
        checkpoint: None,
        changed: std::collections::BTreeMap::new(),
        then: Then::Fail { failure, order: None },
    }
}

/// The messages of the tasks that workers are to do.
fn messages(advance: &Advance) -> Vec<Message> {
    let Then::Step { tasks, .. } = &advance.then else { return Vec::new() };
    let message = |task: &NewTask| Some((lane(task)?, TaskKey { run: advance.run.clone(), task: task.id.clone() }));
    tasks.iter().filter_map(message).collect()
}

fn lane(task: &NewTask) -> Option<Lane> {
    match &task.dispatch {
        Dispatch::Queue { .. } => task.dispatch.lane(),
        Dispatch::Pending { .. }
        | Dispatch::Wait { .. }
        | Dispatch::Human { .. }
        | Dispatch::Child { .. }
        | Dispatch::PendingChild { .. }
        | Dispatch::Settled { .. } => None,
    }
}

/// The status and cause of the end that a plan brings, for the log.
fn end(then: &Then) -> Option<(RunStatus, &'static str)> {
    match then {
        Then::Step { .. } | Then::Pause { .. } => None,
        Then::Succeed => Some((RunStatus::Succeeded, "none")),
        Then::Fail { order: None, .. } => Some((RunStatus::Failed, "none")),
        Then::Fail { order: Some(order), .. } => Some((order.cause.end(), order.cause.name())),
    }
}
