//! One scheduler: builds its parts and runs them until it is told to drain.

use std::sync::Arc;
use std::time::Duration;

use coxswain_shared::broker::Broker;
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::policing::Policing;
use coxswain_shared::store::{Signal, Store};
use coxswain_shared::telemetry::Metrics;
use tokio::sync::broadcast::error::RecvError;

use crate::advance::Advancer;
use crate::config::SchedulerConfig;
use crate::dirty::Dirty;
use crate::graphs::Graphs;
use crate::metrics::SchedulerMetrics;
use crate::outbox::Outbox;
use crate::overload::Overseer;
use crate::planner::Planner;
use crate::survey::Surveyor;
use crate::sweep::Sweeper;

/// How long parts may take to end once the scheduler drains; what they leave, another scheduler does.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);

/// A scheduler, ready to run.
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    store: Arc<dyn Store>,
    broker: Arc<dyn Broker>,
    metrics: SchedulerMetrics,
}

impl Scheduler {
    /// A scheduler over these ports.
    pub fn new(config: SchedulerConfig, store: Arc<dyn Store>, broker: Arc<dyn Broker>, metrics: &Metrics) -> Self {
        Self { config, store, broker, metrics: SchedulerMetrics::new(metrics) }
    }

    /// Plans, sends and sweeps until the tasks drain.
    pub async fn run(self, tasks: Tasks) {
        let parts = tasks.child();
        let outbox = Outbox::start(
            Arc::clone(&self.store),
            Arc::clone(&self.broker),
            self.config.resend_after,
            self.metrics.clone(),
            &parts,
        );
        let policing = Arc::new(Policing::new(Arc::clone(&self.store)));
        let sweeper = Sweeper {
            config: self.config.clone(),
            store: Arc::clone(&self.store),
            broker: Arc::clone(&self.broker),
            outbox: outbox.clone(),
            policing: Arc::clone(&policing),
            metrics: self.metrics.clone(),
        };
        sweeper.catch_up(&parts).await;
        let (dirty, due) = (Arc::new(Dirty::default()), Arc::new(Dirty::default()));
        let (graphs, planner) = (Arc::new(Graphs::default()), Planner::default());
        parts.spawn(Arc::clone(&policing).keep_fresh(parts.clone()));
        for _ in 0..self.config.advancers {
            let advancer = Arc::new(Advancer {
                config: self.config.clone(),
                store: Arc::clone(&self.store),
                graphs: Arc::clone(&graphs),
                policing: Arc::clone(&policing),
                planner: planner.clone(),
                tasks: parts.clone(),
                outbox: outbox.clone(),
                metrics: self.metrics.clone(),
            });
            parts.spawn(advancer.run(Arc::clone(&dirty)));
        }
        let surveyor = Surveyor {
            store: Arc::clone(&self.store),
            broker: Arc::clone(&self.broker),
            lanes: outbox.lanes().clone(),
            overseer: Overseer::new(&self.config, Arc::clone(&self.store), Arc::clone(&graphs), self.metrics.clone()),
            metrics: self.metrics.clone(),
        };
        parts.spawn(surveyor.run(parts.clone()));
        parts.spawn(crate::report::run(Arc::clone(&self.store), parts.clone()));
        parts.spawn(sweeper.run(Arc::clone(&due), parts.clone()));
        // The parts have their own: the outbox ends with the last of them.
        drop(outbox);
        self.mark_dirty(&dirty, &due, &parts).await;
        if !parts.join(DRAIN_PATIENCE).await {
            tracing::warn!("the scheduler was cut short while draining; what it left, another scheduler does");
        }
    }

    /// Marks partitions as dirty, or as having tasks due, when they are nudged; and all of them as dirty on every poll.
    async fn mark_dirty(&self, dirty: &Dirty, due: &Dirty, tasks: &Tasks) {
        let mut signals = self.store.signals();
        let mut poll = tokio::time::interval(self.config.poll);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut pushing = true;
        loop {
            tokio::select! {
                () = tasks.draining() => return,
                _ = poll.tick() => dirty.mark_all(self.store.partitions()),
                signal = signals.recv(), if pushing => match signal {
                    Ok(Signal::Ready(partition)) => dirty.mark(partition),
                    Ok(Signal::Due(partition)) => due.mark(partition),
                    Ok(Signal::Stop { .. } | Signal::StopTasks { .. }) => {}
                    Ok(Signal::Lost) | Err(RecvError::Lagged(_)) => dirty.mark_all(self.store.partitions()),
                    Err(RecvError::Closed) => pushing = false,
                },
            }
        }
    }
}
