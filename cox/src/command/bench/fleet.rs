//! The fleet under measurement: a scheduler and a worker in this process, over watched adapters, and the runs it is given.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use coxswain_scheduler::{Scheduler, SchedulerConfig};
use coxswain_shared::backend::{Backend, BackendConfig, StoreChoice};
use coxswain_shared::broker::{Broker, LocalBroker, RabbitBroker};
use coxswain_shared::config::Source;
use coxswain_shared::control::{self, Submission};
use coxswain_shared::graph::Graph;
use coxswain_shared::id::{GraphHash, PoolName, RunId};
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::run::RunStatus;
use coxswain_shared::stop::{Cause, NewOrder};
use coxswain_shared::store::Store as _;
use coxswain_shared::store::redis::RedisStore;
use coxswain_shared::telemetry::Metrics;
use coxswain_worker::{Config as WorkerConfig, Context, Ended, NodeError, Reply, Worker};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::board::{Awaited, Board};
use super::broker::Counted;
use super::store::{Tallies, Watched};
use crate::exit::Exit;
use crate::failure::{Failed, whole};

/// The pool of its tasks: workers of others do not serve it.
pub(super) const POOL: &str = "bench";
/// The handler that does nothing but count.
pub(super) const COUNT: &str = "bench_count";
/// The handler that waits for ever.
pub(super) const HANG: &str = "bench_hang";
/// How the report names a queue on a server.
const REMOTE_QUEUE: &str = "RabbitMQ";
/// How often the store is asked about a run whose end was not seen: another scheduler has ended it.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long it may take until the last run is stopped in the end, and until scheduler and worker have ended.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest that many runs may take to stop.
pub(super) const WITHIN_STOP: Duration = Duration::from_mins(5);
/// Stop orders that are given at once in the end.
const ORDERS_AT_ONCE: usize = 64;
/// How long the connection to a broker may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);

/// The fleet.
#[derive(Debug)]
pub(super) struct Fleet {
    store: Arc<Watched>,
    redis: Option<Arc<RedisStore>>,
    broker: Arc<Counted>,
    place: String,
    queue: &'static str,
    hangs: Arc<Hangs>,
    /// Runs that are not known to have ended.
    live: Mutex<BTreeSet<RunId>>,
    /// Draining this ends scheduler and worker.
    tasks: Tasks,
    services: Tasks,
    /// What the adapters need in the background.
    adapters: Tasks,
}

/// The fleet's worker, for the one who watches it.
#[derive(Debug)]
pub(super) struct Working(JoinHandle<Option<Result<Ended, coxswain_worker::Error>>>);

/// What becomes of the handlers that wait for ever.
#[derive(Debug, Default)]
pub(super) struct Hangs {
    /// When they started.
    pub(super) started: Board,
    /// When their futures were dropped.
    pub(super) dropped: Board,
}

/// A run under way.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) id: RunId,
    pub(super) ended: Awaited,
}

/// What was counted up to a moment.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) at: Instant,
    pub(super) tallies: Tallies,
    pub(super) messages: u64,
    pub(super) round_trips: Option<u64>,
}

impl Fleet {
    /// Connects the adapters that the settings name, and starts scheduler and worker.
    pub(super) async fn start(source: &Source, slots: u16) -> Result<(Self, Working), Failed> {
        let adapters = Tasks::new();
        let (backend, redis) = connect(source, &adapters).await?;
        let queue = if backend.broker.is_some() { REMOTE_QUEUE } else { "in the process" };
        let is_remote = !backend.is_embedded;
        let broker: Arc<dyn Broker> = match backend.broker {
            Some(broker) => broker,
            None if is_remote => {
                return Err(Failed::usage(
                    "a fleet on this store needs a broker",
                    "name it: --broker amqp://HOST, or COX_BROKER",
                ));
            }
            None => Arc::new(LocalBroker::new()),
        };
        let (store, broker) = (Arc::new(Watched::new(backend.store)), Arc::new(Counted::new(broker)));
        let (hangs, metrics) = (Arc::new(Hangs::default()), Metrics::new());
        let pools = vec![PoolName::new(POOL).expect("a constant name is well formed")];
        let config = WorkerConfig { slots, pools, drain_grace: Duration::ZERO, ..WorkerConfig::read(source)? };
        let worker = build_worker(config, Arc::clone(&store), Arc::clone(&broker), &hangs, &metrics)?;
        let scheduler = Scheduler::new(
            SchedulerConfig::read(source)?,
            Arc::clone(&store) as Arc<_>,
            Arc::clone(&broker) as Arc<_>,
            &metrics,
        );
        let (tasks, services) = (Tasks::new(), Tasks::new());
        services.spawn(scheduler.run(tasks.clone()));
        let working = Working(services.spawn(worker.run(tasks.clone())));
        let (place, live) = (backend.place, Mutex::default());
        Ok((Self { store, redis, broker, place, queue, hangs, live, tasks, services, adapters }, working))
    }

    /// Where the store is.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Where tasks are queued.
    pub(super) const fn queue(&self) -> &str {
        self.queue
    }

    /// The broker, if it is a server of its own.
    pub(super) fn remote_broker(&self) -> Option<&Arc<dyn Broker>> {
        (self.queue == REMOTE_QUEUE).then(|| self.broker.inner())
    }

    /// What becomes of handlers that wait for ever.
    pub(super) fn hangs(&self) -> &Hangs {
        &self.hangs
    }

    /// Keeps a graph in the store.
    pub(super) async fn deploy(&self, graph: &Graph) -> Result<GraphHash, Failed> {
        Ok(control::deploy(self.store.as_ref(), graph).await?)
    }

    /// Begins a run of a graph that is kept.
    pub(super) async fn begin(&self, id: RunId, graph: &Graph, hash: &GraphHash) -> Result<Begun, Failed> {
        let ended = self.store.ended.expect(&id);
        self.begin_unwatched(id.clone(), graph, hash).await?;
        Ok(Begun { id, ended })
    }

    /// The same, where nobody waits for the end of this run by itself.
    pub(super) async fn begin_unwatched(&self, id: RunId, graph: &Graph, hash: &GraphHash) -> Result<(), Failed> {
        self.live().insert(id.clone());
        let labels = BTreeMap::from([("cox".to_owned(), "bench".to_owned())]);
        let submission = Submission { id: Some(id), labels, ..Submission::new(graph.clone(), "cox bench") };
        control::create(self.store.as_ref(), hash.clone(), submission).await?;
        Ok(())
    }

    /// These runs are known to have ended.
    pub(super) fn forget(&self, runs: &BTreeSet<RunId>) {
        self.live().retain(|run| !runs.contains(run));
    }

    /// The store.
    pub(super) fn store(&self) -> &Watched {
        &self.store
    }

    /// Waits until a run has ended, and says when. Fails if it has not ended like this.
    pub(super) async fn end(&self, mut begun: Begun, wanted: RunStatus) -> Result<Instant, Failed> {
        let mut at = None;
        while at.is_none() {
            at = tokio::select! {
                told = &mut begun.ended => told.ok(),
                () = tokio::time::sleep(LOOK_EVERY) => self.has_ended(&begun.id).await?,
            };
        }
        self.live().remove(&begun.id);
        self.check(&begun.id, wanted).await?;
        Ok(at.expect("the loop ends with a time"))
    }

    /// Whether a run has ended as it should have: figures about other runs would say nothing.
    async fn check(&self, run: &RunId, wanted: RunStatus) -> Result<(), Failed> {
        let found = self.store.run(run).await?;
        let status = found.as_ref().map(|run| run.status);
        if status == Some(wanted) {
            return Ok(());
        }
        let failure = found.and_then(|run| run.failure).map(|failure| format!(": {failure}")).unwrap_or_default();
        let status = status.map_or("gone".to_owned(), |status| status.to_string());
        let message = format!("the run {run} of the bench is {status}, not {wanted}{failure}");
        Err(Failed::bare(Exit::RunFailed, message))
    }

    async fn has_ended(&self, run: &RunId) -> Result<Option<Instant>, Failed> {
        let found = self.store.run(run).await?;
        Ok(found.is_none_or(|run| run.status.is_final()).then(Instant::now))
    }

    /// Orders a run to stop; the order is durable when this returns.
    pub(super) async fn stop(&self, run: &RunId) -> Result<(), Failed> {
        self.store.stop(run, order()).await?;
        Ok(())
    }

    /// What was counted until now.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            at: Instant::now(),
            tallies: self.store.tallies(),
            messages: self.broker.messages(),
            round_trips: self.redis.as_ref().map(|redis| redis.round_trips()),
        }
    }

    /// Stops what is left, and ends scheduler and worker. True if all of it had stopped in time.
    pub(super) async fn finish(self) -> bool {
        let left: Vec<_> = self.live().iter().cloned().collect();
        let stopping = async {
            for some in left.chunks(ORDERS_AT_ONCE) {
                join_all(some.iter().map(|run| self.stop_and_see(run))).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, stopping).await.is_ok();
        self.tasks.start_drain();
        self.services.join(PATIENCE).await;
        self.adapters.abort();
        self.adapters.join(PATIENCE).await;
        in_time
    }

    /// Stops a run and waits for its end. What cannot be reached now is stopped by its own deadline.
    async fn stop_and_see(&self, run: &RunId) {
        let ended = self.store.ended.expect(run);
        match self.stop(run).await {
            Ok(()) if matches!(self.has_ended(run).await, Ok(None)) => drop(ended.await),
            Ok(()) => {}
            Err(failed) => tracing::warn!(run.id = %run, why = %failed.message, "a run could not be stopped"),
        }
    }

    /// Runs that are not known to have ended.
    #[cfg(test)]
    pub(super) fn live_runs(&self) -> usize {
        self.live().len()
    }

    /// The store, beyond the fleet's own end.
    #[cfg(test)]
    pub(super) fn watched(&self) -> Arc<Watched> {
        Arc::clone(&self.store)
    }

    fn live(&self) -> std::sync::MutexGuard<'_, BTreeSet<RunId>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Working {
    /// Waits until the worker ends before its time, and says why. Cancel safe.
    pub(super) async fn ended(&mut self) -> Failed {
        let why = match (&mut self.0).await {
            Ok(Some(Err(error))) => whole(&error),
            Ok(Some(Ok(ended))) => format!("{ended:?}"),
            Ok(None) | Err(_) => "aborted".to_owned(),
        };
        Failed::bare(Exit::Unavailable, format!("the worker ended before its time: {why}"))
    }
}

/// How the bench stops what it has made.
pub(super) fn order() -> NewOrder {
    NewOrder {
        cause: Cause::Cancelled,
        reason: Some("measured".to_owned()),
        actor: "cox bench".to_owned(),
        grace: None,
        force: false,
    }
}

async fn connect(source: &Source, adapters: &Tasks) -> Result<(Backend, Option<Arc<RedisStore>>), Failed> {
    let config = BackendConfig::read(source, "cox bench")?;
    let StoreChoice::Redis(url) = &config.store else {
        return Ok((Backend::connect(&config, adapters).await?, None));
    };
    let settings = config.redis(url);
    let place = settings.place();
    let store = Arc::new(RedisStore::connect(settings, adapters).await?);
    let broker: Option<Arc<dyn Broker>> = match &config.broker {
        Some(settings) => Some(connect_broker(settings.clone()).await?),
        None => None,
    };
    Ok((Backend { store: Arc::clone(&store) as Arc<_>, broker, place, is_embedded: false }, Some(store)))
}

async fn connect_broker(settings: coxswain_shared::broker::RabbitConfig) -> Result<Arc<dyn Broker>, Failed> {
    let unavailable = |error: coxswain_shared::broker::Error| Failed::bare(Exit::Unavailable, whole(&error));
    let broker = RabbitBroker::start(settings).map_err(unavailable)?;
    broker.connected(CONNECT_WITHIN).await.map_err(unavailable)?;
    Ok(Arc::new(broker))
}

fn build_worker(
    config: WorkerConfig,
    store: Arc<Watched>,
    broker: Arc<Counted>,
    hangs: &Arc<Hangs>,
    metrics: &Metrics,
) -> Result<Worker, Failed> {
    let hangs = Arc::clone(hangs);
    let hang = move |ctx: Context, _: Value| {
        let hangs = Arc::clone(&hangs);
        async move {
            // Lives in the future: it is dropped with it.
            let hung = Hung { hangs, run: ctx.run().clone() };
            hung.hangs.started.happened(&hung.run);
            std::future::pending::<Result<Reply, NodeError>>().await
        }
    };
    Worker::builder(config)
        .handler(COUNT, |_: Context, _: Value| async { Ok::<_, NodeError>(json!({"count": 1})) })
        .handler(HANG, hang)
        .build(store, broker, metrics)
        .map_err(|error| Failed::bare(Exit::Internal, whole(&error)))
}

/// Says when the future that it is in is dropped.
struct Hung {
    hangs: Arc<Hangs>,
    run: RunId,
}

impl Drop for Hung {
    fn drop(&mut self) {
        self.hangs.dropped.happened(&self.run);
    }
}
