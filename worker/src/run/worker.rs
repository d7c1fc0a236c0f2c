//! The worker itself: start, run, drain, end.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use coxswain_shared::broker::Broker;
use coxswain_shared::duration::DURATION_MAX;
use coxswain_shared::id::WorkerId;
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::policing::Policing;
use coxswain_shared::sandbox::Sandbox;
use coxswain_shared::store::Store;
use coxswain_shared::telemetry::Health;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::builder::{Builder, Error};
use super::drain::drain;
use super::heartbeat::run_heartbeat;
use super::intake::Intake;
use super::report::{Report, run_report};
use super::servers::Servers;
use super::signals::run_signals;
use crate::attempt::{PutOff, Shared, Stuck, Terms, WorkPlace};
use crate::config::Config;
use crate::events::run_flusher;
use crate::graphs::Graphs;
use crate::kind::{ExecKind, Kinds};
use crate::leases::Leases;
use crate::metrics::Metrics;
use crate::waits::Waits;

/// The exit code of a process whose worker drained itself because too many slots were stuck (`EX_SOFTWARE`): its
/// supervisor restarts it.
pub const EXIT_STUCK: u8 = 70;

/// Why a worker came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to drain.
    Drained,
    /// Its broker was shut down by its owner.
    BrokerClosed,
    /// As many slots were stuck as are allowed: end the process with [`EXIT_STUCK`].
    Stuck,
}

/// The threads that handlers run on. Ended without waiting for handlers that block.
#[derive(Debug)]
pub(crate) struct WorkRuntime(Option<tokio::runtime::Runtime>);

impl WorkRuntime {
    pub(crate) fn start(threads: usize) -> std::io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        // Children are killed when the thread that started them ends (see `kind::exec`), and a handler that calls
        // `block_in_place` makes a thread one of those that end when they are idle: they must not.
        builder.worker_threads(threads).thread_name("cox-work").thread_keep_alive(DURATION_MAX).enable_all();
        builder.build().map(|runtime| Self(Some(runtime)))
    }

    fn handle(&self) -> &tokio::runtime::Handle {
        self.0.as_ref().expect("the runtime is taken only when this is dropped").handle()
    }
}

impl Drop for WorkRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A worker that is ready to run.
#[derive(Debug)]
pub struct Worker {
    config: Config,
    id: WorkerId,
    kinds: Kinds,
    runtime: WorkRuntime,
    store: Arc<dyn Store>,
    broker: Arc<dyn Broker>,
    metrics: Metrics,
    report: Report,
}

impl Worker {
    /// Begins to put a worker together.
    pub fn builder(config: Config) -> Builder {
        Builder::new(config)
    }

    pub(crate) fn new(
        config: Config,
        id: WorkerId,
        kinds: Kinds,
        runtime: WorkRuntime,
        (store, broker, metrics): (Arc<dyn Store>, Arc<dyn Broker>, Metrics),
    ) -> Self {
        Self { config, id, kinds, runtime, store, broker, metrics, report: Report::default() }
    }

    /// Its name.
    pub fn id(&self) -> &WorkerId {
        &self.id
    }

    /// Its readiness: whether it is subscribed to its pools, and whether the store answers.
    pub fn health(&self) -> Health {
        self.report.health()
    }

    /// Runs until `tasks` drains, and all attempts have ended or were handed back; when `tasks` aborts, they are
    /// handed back at once. Await it, and do not spawn it on `tasks`: it must outlive their abort for a moment.
    ///
    /// Everything but handlers runs on the runtime that this is called from, the *control* runtime.
    pub async fn run(self, tasks: Tasks) -> Result<Ended, Error> {
        let servers = Servers {
            config: self.config.clone(),
            store: Arc::clone(&self.store),
            broker: self.broker,
            report: self.report.clone(),
        };
        let Some((clock, consumers)) = servers.connect(&tasks).await? else { return Ok(Ended::Drained) };
        let started_at = clock.at(Instant::now());
        ExecKind::end_left_behind().await;
        let (flusher, buffers) = mpsc::channel(usize::from(self.config.slots) * 2);
        let shared = Arc::new(Shared {
            id: self.id,
            terms: Terms {
                ttl: self.config.lease_ttl,
                heartbeat: self.config.heartbeat,
                stuck_max: self.config.stuck_max(),
            },
            policing: Arc::new(Policing::new(Arc::clone(&self.store))),
            put_off: PutOff::default(),
            store: self.store,
            metrics: self.metrics,
            kinds: self.kinds,
            sandbox: Sandbox::new(),
            place: WorkPlace::new(self.runtime.handle().clone()),
            leases: Arc::new(Leases::default()),
            graphs: Graphs::default(),
            clock,
            flusher,
            drain: CancellationToken::new(),
            renew_now: Notify::new(),
            is_cut_off: AtomicBool::new(false),
            stuck: Stuck::new(),
            waits: Waits::default(),
            room: Arc::default(),
        });
        tracing::info!(worker = %shared.id, slots = self.config.slots, "the worker takes tasks");
        let services = Tasks::new();
        services.spawn(run_heartbeat(Arc::clone(&shared), self.report.clone()));
        services.spawn(run_signals(Arc::clone(&shared)));
        services.spawn(Arc::clone(&shared.policing).keep_fresh(services.clone()));
        services.spawn(run_flusher(buffers, Arc::clone(&shared.store), shared.metrics.clone()));
        services.spawn(run_report(Arc::clone(&shared), self.config.clone(), self.report.clone(), started_at));

        let attempts = Tasks::new();
        let mut intake = Intake::new(Arc::clone(&shared), consumers, self.config.slots, attempts.clone());
        let ended = intake.run(&tasks, &servers).await;
        shared.drain.cancel();
        drop(intake);
        tracing::info!(worker = %shared.id, ?ended, attempts = shared.leases.len(), "the worker drains");
        drain(&shared, &attempts, &tasks, self.config.drain_grace).await;
        shared.kinds.close().await;
        services.abort();
        services.join(self.config.heartbeat).await;
        forget(&shared).await;
        Ok(ended)
    }
}

async fn forget(shared: &Shared) {
    let forgotten = tokio::time::timeout(shared.terms.heartbeat, shared.store.forget_worker(&shared.id)).await;
    if !matches!(forgotten, Ok(Ok(()))) {
        tracing::debug!(worker = %shared.id, "the store forgets this worker by itself");
    }
}
