//! Advances runs: take them, plan each, write the plan, and send its tasks.

use std::sync::Arc;
use std::time::Instant;

use coxswain_shared::crashpoint::CrashPoint;
use coxswain_shared::graph::Graph;
use coxswain_shared::id::{Nonce, Partition, TaskKey};
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::outcome::{Failure, FailureKind};
use coxswain_shared::plan::{PlanInput, Planned, Then, plan};
use coxswain_shared::policing::Policing;
use coxswain_shared::priority::Lane;
use coxswain_shared::run::RunStatus;
use coxswain_shared::store::{Advance, Advanced, Error, Ready, Store, values_of_children};
use coxswain_shared::task::{Dispatch, NewTask};
use coxswain_shared::time::Clock;
use futures_util::future::join_all;

use crate::base::base;
use crate::config::SchedulerConfig;
use crate::dirty::Dirty;
use crate::graphs::{Graphs, Missing};
use crate::metrics::SchedulerMetrics;
use crate::outbox::{Message, Outbox};

/// One of a scheduler's advancers.
#[derive(Debug)]
pub(crate) struct Advancer {
    pub(crate) config: SchedulerConfig,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) graphs: Arc<Graphs>,
    pub(crate) policing: Arc<Policing>,
    pub(crate) outbox: Outbox,
    pub(crate) metrics: SchedulerMetrics,
}

impl Advancer {
    /// Advances the runs of dirty partitions until the tasks drain.
    pub(crate) async fn run(self, dirty: Arc<Dirty>, tasks: Tasks) {
        loop {
            let partition = tokio::select! {
                () = tasks.draining() => return,
                partition = dirty.take() => partition,
            };
            let taken = self.partition(partition).await;
            if taken == self.config.batch {
                dirty.mark(partition);
            }
        }
    }

    /// Advances one batch of a partition's runs; returns how many there were.
    async fn partition(&self, partition: Partition) -> usize {
        match self.store.take_ready(partition, self.config.batch, self.config.hold).await {
            Ok(batch) => {
                let taken = batch.len();
                join_all(batch.into_iter().map(|ready| self.advance(ready))).await;
                taken
            }
            Err(error) => {
                self.metrics.store_failed();
                tracing::warn!(%error, %partition, "no runs could be taken");
                0
            }
        }
    }

    /// Advances one run. A run whose plan cannot be made or written now is taken again after the hold.
    async fn advance(&self, ready: Ready) {
        CrashPoint::Taken.reach().await;
        let advance = match self.plan(&ready).await {
            Ok(advance) => advance,
            Err(Unplanned::Store(error)) => {
                self.metrics.store_failed();
                tracing::warn!(%error, run.id = %ready.run.key.id, "a run could not be planned now");
                return;
            }
            Err(Unplanned::Paused) => return self.metrics.advanced("paused"),
            Err(Unplanned::Records(error)) => {
                self.metrics.advanced("unreadable");
                tracing::error!(%error, run.id = %ready.run.key.id, "a run's records cannot be planned by this build");
                return;
            }
        };
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

    /// Plans a run. A mistake in the run itself is a plan as well: its failure.
    async fn plan(&self, ready: &Ready) -> Result<Advance, Unplanned> {
        let run = &ready.run;
        // Of many runs that wait for room the first one asks; nearly all begin with a step, so the others need no plan to wait.
        if ready.checkpoint.is_none() && self.policing.is_known_full(run) {
            return Err(Unplanned::Paused);
        }
        let graph: Arc<Graph> = match self.graphs.get(self.store.as_ref(), &run.graph_hash).await {
            Ok(graph) => graph,
            Err(Missing::Store(error)) => return Err(error.into()),
            Err(error @ (Missing::Lost(_) | Missing::Unusable { .. })) => {
                let failure = Failure::from_error(FailureKind::BadInput, &error);
                return Ok(failed(run.key.clone(), run.revision, failure));
            }
        };
        let base = base(self.store.as_ref(), ready).await?;
        let children = values_of_children(self.store.as_ref(), &ready.tasks).await?;
        let started = Instant::now();
        let planned = plan(&PlanInput {
            graph: &graph,
            run: &run.key.id,
            depth: run.parent.as_ref().map_or(0, |parent| parent.depth),
            spec: &run.spec,
            checkpoint: ready.checkpoint.as_ref(),
            values: &ready.values,
            tasks: &ready.tasks,
            resumed: ready.resumed,
            base: base.as_ref(),
            children: &children,
            now: Clock::system().now(),
            run_deadline: run.deadline_at,
        });
        self.metrics.planned(started.elapsed());
        if let Ok(Planned { then: Then::Step { .. }, .. }) = &planned
            && let Some(halt) = self.policing.may_plan(run).await?
        {
            tracing::debug!(run.id = %run.key.id, reason = %halt.reached, "a run is held up by a policy");
            return Err(Unplanned::Paused);
        }
        Ok(match planned {
            Ok(Planned { checkpoint, changed, then }) => Advance {
                run: run.key.clone(),
                expected: run.revision,
                nonce: Nonce::fresh(),
                checkpoint,
                changed,
                then,
            },
            Err(error) => return Err(Unplanned::Records(error)),
        })
    }
}

/// Why there is no plan now. The run is left as it is; its deadline holds.
#[derive(Debug, thiserror::Error)]
enum Unplanned {
    #[error("the store did not answer")]
    Store(#[from] Error),
    #[error("a policy has no room for it now")]
    Paused,
    #[error("the records do not fit")]
    Records(#[source] coxswain_shared::plan::Error),
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
