//! A scheduler and a worker inside this process: the embedded mode.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use coxswain_scheduler::{Scheduler, SchedulerConfig};
use coxswain_shared::backend::Backend;
use coxswain_shared::broker::{Broker, LocalBroker};
use coxswain_shared::config::Source;
use coxswain_shared::id::PoolName;
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::telemetry::{Health, Metrics};
use coxswain_worker::{Config as WorkerConfig, Ended, Worker};
use tokio::task::JoinHandle;

use crate::exit::Exit;
use crate::failure::{Failed, whole};

/// How long both may take to end beyond the worker's own grace.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long both may take to end with a store that does not do its work: what they would write is not taken.
const ABANDON_WITHIN: Duration = Duration::from_secs(2);

/// A scheduler and a worker that run until their tasks drain.
#[derive(Debug)]
pub(crate) struct Embedded {
    /// Draining this ends both.
    tasks: Tasks,
    /// Both themselves: the worker must outlive an abort of the tasks for a moment.
    services: Tasks,
    worker: JoinHandle<Option<Result<Ended, coxswain_worker::Error>>>,
    patience: Duration,
    /// Whether the worker is at work.
    pub(crate) health: Health,
}

/// What the embedded mode is set up for.
#[derive(Debug, Default)]
pub(crate) struct Purpose {
    /// Pools that are served beside those of the settings.
    pub(crate) pools: BTreeSet<PoolName>,
    /// Whether what is in hand is handed back at once in the end, since nobody waits for it here.
    pub(crate) ends_at_once: bool,
}

impl Embedded {
    /// Starts both.
    pub(crate) fn start(
        source: &Source,
        backend: &Backend,
        metrics: &Metrics,
        tasks: Tasks,
        purpose: Purpose,
    ) -> Result<Self, Failed> {
        let (broker, is_fresh): (Arc<dyn Broker>, bool) = match &backend.broker {
            Some(broker) => (Arc::clone(broker), false),
            None if backend.is_embedded => (Arc::new(LocalBroker::new()), true),
            None => return Err(without_broker()),
        };
        let read = SchedulerConfig::read(source)?;
        let config = if is_fresh { SchedulerConfig { broker_starts_empty: true, ..read } } else { read };
        let scheduler = Scheduler::new(config, Arc::clone(&backend.store), Arc::clone(&broker), metrics);
        let config = worker_config(source, purpose)?;
        let patience = config.drain_grace + PATIENCE;
        let worker = Worker::builder(config)
            .build(Arc::clone(&backend.store), broker, metrics)
            .map_err(|error| Failed::bare(Exit::Internal, whole(&error)))?;
        let health = worker.health();
        let services = Tasks::new();
        services.spawn(scheduler.run(tasks.clone()));
        let worker = services.spawn(worker.run(tasks.clone()));
        Ok(Self { tasks, services, worker, patience, health })
    }

    /// Waits until both are told to end, or the worker ends by itself: then it says why. Cancel safe.
    pub(crate) async fn ended(&mut self) -> Result<(), Failed> {
        tokio::select! {
            () = self.tasks.draining() => Ok(()),
            ended = &mut self.worker => Err(Self::reason(ended.ok().flatten())),
        }
    }

    /// Ends both: no new work, and what is in hand is finished or handed back.
    pub(crate) async fn finish(self) {
        self.tasks.start_drain();
        self.services.join(self.patience).await;
    }

    /// Ends both without waiting for what they would still write: the store does not take it.
    pub(crate) async fn abandon(self) {
        self.tasks.start_drain();
        self.services.join(ABANDON_WITHIN).await;
    }

    fn reason(ended: Option<Result<Ended, coxswain_worker::Error>>) -> Failed {
        match ended {
            Some(Err(error)) => Failed::bare(Exit::Unavailable, format!("the worker ended: {}", whole(&error))),
            Some(Ok(Ended::Stuck)) => Failed {
                remedy: Some("start it again; a handler must not block without awaiting".to_owned()),
                ..Failed::bare(Exit::Internal, "the worker ended: its slots are stuck in handlers that block")
            },
            Some(Ok(Ended::Drained | Ended::BrokerClosed)) | None => {
                Failed::bare(Exit::Internal, "the worker ended before its time")
            }
        }
    }
}

fn worker_config(source: &Source, purpose: Purpose) -> Result<WorkerConfig, Failed> {
    let mut config = WorkerConfig::read(source)?;
    let missing: Vec<_> = purpose.pools.into_iter().filter(|pool| !config.pools.contains(pool)).collect();
    config.pools.extend(missing);
    if purpose.ends_at_once {
        config.drain_grace = Duration::ZERO;
    }
    Ok(config)
}

fn without_broker() -> Failed {
    Failed::usage(
        "a scheduler and a worker need a broker beside this store",
        "name it: --broker amqp://HOST, or COX_BROKER",
    )
}
