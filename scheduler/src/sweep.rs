//! The reaper: looks for what is overdue, in every partition in turn; at once in one that says that tasks became due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coxswain_shared::broker::Broker;
use coxswain_shared::id::{Partition, RunId, TaskKey};
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::policing::Policing;
use coxswain_shared::policy::{Measure, Usage};
use coxswain_shared::priority::Lane;
use coxswain_shared::store::{Sending, Store, SweepLimits, Swept};
use coxswain_shared::wire;
use rand::RngExt as _;

use crate::config::SchedulerConfig;
use crate::dirty::Dirty;
use crate::metrics::SchedulerMetrics;
use crate::outbox::Outbox;

/// How far apart, in the time at which they fall due again, tasks are taken to be that were sent before the start and after it.
const APART: Duration = Duration::from_millis(100);

/// The reaper of one scheduler.
#[derive(Debug)]
pub(crate) struct Sweeper {
    pub(crate) config: SchedulerConfig,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) outbox: Outbox,
    pub(crate) policing: Arc<Policing>,
    pub(crate) metrics: SchedulerMetrics,
}

impl Sweeper {
    /// Sends again what was sent before the start, if the queue has lost it. To be done before anything else is sent:
    /// what is on its way looks like what is lost, and would be sent twice.
    pub(crate) async fn catch_up(&self, tasks: &Tasks) {
        if !self.config.broker_starts_empty {
            return;
        }
        let resend_after = self.config.resend_after;
        // Until then all falls due again that was sent before the start, and nothing that is sent from now on.
        let lost_until = Instant::now() + resend_after.saturating_sub(APART);
        let mut ahead = resend_after * 2;
        // A task whose own time is up sooner than that falls due again and again: it is sent once.
        let mut found = BTreeSet::new();
        while !ahead.is_zero() && !tasks.is_draining() {
            match self.round(ahead, &mut found).await {
                Some(true) => ahead = lost_until.saturating_duration_since(Instant::now()),
                Some(false) => return,
                None => tokio::select! {
                    () = tokio::time::sleep(self.pause()) => {}
                    () = tasks.draining() => return,
                },
            }
        }
    }

    /// Sweeps until the tasks drain; `due` are the partitions that are nudged in between.
    pub(crate) async fn run(self, due: Arc<Dirty>, tasks: Tasks) {
        loop {
            let more = self.round(Duration::ZERO, &mut BTreeSet::new()).await;
            let pause = if more == Some(true) { Duration::ZERO } else { self.pause() };
            let mut next_round = std::pin::pin!(tokio::time::sleep(pause));
            loop {
                tokio::select! {
                    () = tasks.draining() => return,
                    () = &mut next_round => break,
                    partition = due.take() => self.nudged(partition).await,
                }
            }
        }
    }

    /// Sweeps a partition in which tasks have become due between two rounds.
    async fn nudged(&self, partition: Partition) {
        if let Some(swept) = self.partition(partition, Duration::ZERO).await {
            let doubtful = self.take_action(swept).await;
            self.resend(doubtful, false).await;
        }
    }

    /// The time until the next round, spread so that many schedulers do not sweep in step.
    fn pause(&self) -> Duration {
        self.config.sweep_every.mul_f64(rand::rng().random_range(0.75..1.25))
    }

    /// Sweeps every partition once. Whether any has more to do at once; absent if the store is away. `found` are tasks that
    /// were sent before and are not to be found again.
    async fn round(&self, ahead: Duration, found: &mut BTreeSet<TaskKey>) -> Option<bool> {
        let mut doubtful = Vec::new();
        let (mut more, mut is_away) = (false, false);
        for index in 0..self.store.partitions() {
            let Some(swept) = self.partition(Partition::new(index), ahead).await else {
                // The other partitions can wait for the next round as well; what was handed out cannot.
                is_away = true;
                break;
            };
            more |= swept.more;
            doubtful.extend(self.take_action(swept).await);
        }
        if ahead > Duration::ZERO {
            doubtful.retain(|sending| found.insert(sending.task.clone()));
            more &= !doubtful.is_empty();
        }
        self.resend(doubtful, ahead > Duration::ZERO).await;
        self.metrics.broker_reconnects(self.broker.reconnects());
        (!is_away).then_some(more)
    }

    async fn partition(&self, partition: Partition, ahead: Duration) -> Option<Swept> {
        let batch = self.config.sweep_batch;
        let limits = SweepLimits { tasks: batch, runs: batch, resend_after: self.config.resend_after, ahead };
        match self.store.sweep(partition, limits).await {
            Ok(swept) => Some(swept),
            Err(error) => {
                self.metrics.store_failed();
                tracing::warn!(%error, %partition, "a partition could not be swept");
                None
            }
        }
    }

    /// Acts on what was found; returns the tasks that were sent before.
    async fn take_action(&self, swept: Swept) -> Vec<Sending> {
        self.metrics.swept(&swept);
        for run in &swept.overdue {
            tracing::info!(run.id = %run.id, "a run was ordered to stop at its deadline");
        }
        for task in &swept.poisoned {
            tracing::warn!(run.id = %task.run.id, task = %task.task, "a task has crashed too often and was given up");
            self.count_failure(&task.run.id).await;
            if let Err(error) = self.broker.bury(&wire::encode(task), "crashed").await {
                tracing::warn!(%error, run.id = %task.run.id, task = %task.task, "a dead letter could not be written");
            }
        }
        let (doubtful, fresh): (Vec<_>, Vec<_>) = swept.send.into_iter().partition(|sending| sending.again);
        self.outbox.put_missing(fresh.into_iter().map(|sending| (sending.lane, sending.task)).collect());
        doubtful
    }

    /// Counts a task that the store itself has settled as a failure for the operators' policies; stops the run if that is too much.
    async fn count_failure(&self, run: &RunId) {
        let counted = self.policing.has_ended(run, &Usage::of(Measure::Failures, 1)).await;
        let stopped = match counted {
            Ok(None) => return,
            Ok(Some(halt)) => {
                tracing::warn!(run.id = %halt.top, reason = %halt.reached, "a policy stops a run");
                self.store.stop(&halt.top, halt.reached.order()).await.map(|_| ())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = stopped {
            tracing::warn!(%error, run.id = %run, "the policies were not told of a failure");
        }
    }

    /// Sends again what was sent before, where the queue is shorter than what should be on it: then messages are lost.
    async fn resend(&self, doubtful: Vec<Sending>, broker_is_empty: bool) {
        let mut by_lane: BTreeMap<Lane, Vec<Sending>> = BTreeMap::new();
        for sending in doubtful {
            by_lane.entry(sending.lane.clone()).or_default().push(sending);
        }
        self.outbox.lanes().note(by_lane.keys());
        for (lane, sendings) in by_lane {
            let waiting = match self.broker.backlog(&lane).await {
                Ok(waiting) => waiting.unwrap_or(0),
                Err(error) => {
                    tracing::debug!(%error, %lane, "the backlog is not known; nothing is sent again");
                    continue;
                }
            };
            if broker_is_empty || waiting < sendings.len() as u64 {
                self.metrics.sent("again", sendings.len());
                self.outbox.put_missing(sendings.into_iter().map(|sending| (sending.lane, sending.task)).collect());
            }
        }
    }
}
