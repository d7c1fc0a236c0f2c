//! The store itself: its parts, and the port's methods, each handed to the file that carries it out.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::RedisConfig;
use super::check;
use super::keys::Keys;
use super::link::{Link, at_the_start};
use super::push;
use super::reply::Reply;
use super::script::{Call, Script, Scripts};
use crate::checkpoint::{StoredCheckpoint, Values};
use crate::id::{Fence, GraphHash, Partition, PoolName, RunId, RunKey, Step, TaskKey, ThreadId, WorkerId};
use crate::lifecycle::Tasks;
use crate::load::PoolLoad;
use crate::policy::{Named, Reading};
use crate::stop::NewOrder;
use crate::store::{
    Advance, Advanced, AuditEntry, BreakerCall, BreakerView, Claim, Claimed, Created, Ends, Error, Event, Held,
    MeterCall, NewEvent, NewRun, Page, PolicyChange, PolicyChanged, Ready, Release, Released, Renewal, Renewed, Resume,
    Resumed, Run, RunFilter, Settle, Settled, Shed, Signal, SignalReceiver, StopAnswer, StopTasks, Store, StoredGraph,
    SweepLimits, Swept, Taken, TasksStopped, Thread, WorkerRecord, bounds,
};
use crate::task::Task;
use crate::time::{Clock, Timestamp};
use crate::upstream::{Admission, Rate, UpstreamName};

pub use super::check::Persistence;

/// How often the server is probed.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Signals that a receiver may be behind before it lags.
const SIGNALS_BUFFERED: usize = 4_096;

/// The store port on a Redis server.
#[derive(Debug)]
pub struct RedisStore {
    pub(super) link: Arc<Link>,
    pub(super) keys: Keys,
    pub(super) scripts: Scripts,
    partitions: u16,
    persistence: Persistence,
    signals: broadcast::Sender<Signal>,
    /// The time instead of the server's; absent except in tests.
    clock: Option<Clock>,
    /// The one that listens; it ends with the store.
    tasks: Tasks,
}

impl RedisStore {
    /// Connects, checks the server and the database, and begins to listen, on a set of its own below `tasks`.
    ///
    /// A server that would evict records, that is too old, or whose database has another number of partitions, is
    /// `Unsuitable`.
    pub async fn connect(config: RedisConfig, tasks: &Tasks) -> Result<Self, Error> {
        Self::open(config, tasks, None).await.map_err(at_the_start)
    }

    /// The same for tests: its time is the clock's. What expires by itself in the server still goes by the server's.
    #[cfg(any(test, feature = "testing"))]
    pub async fn connect_with_clock(config: RedisConfig, tasks: &Tasks, clock: Clock) -> Result<Self, Error> {
        Self::open(config, tasks, Some(clock)).await.map_err(at_the_start)
    }

    async fn open(config: RedisConfig, tasks: &Tasks, clock: Option<Clock>) -> Result<Self, Error> {
        config.check()?;
        let mut link = Link::open(&config).await?;
        let keys = Keys::new(&config.key_prefix, link.database());
        let check::Server { persistence, is_cluster } = check::server(&link).await?;
        if is_cluster {
            link.join_cluster(&config).await?;
        }
        check::database(&link, &keys, config.partitions).await?;
        let (signals, _) = broadcast::channel(SIGNALS_BUFFERED);
        let tasks = tasks.child();
        push::listen(&link, &config, &keys, signals.clone(), &tasks).await?;
        let link = Arc::new(link);
        tasks.spawn(probe_always(Arc::clone(&link), keys.probe()));
        let scripts = Scripts::new(&config, &keys, clock.is_some());
        let partitions = config.partitions;
        Ok(Self { link, keys, scripts, partitions, persistence, signals, clock, tasks })
    }

    /// How the server keeps what it has acknowledged, as it said when the store connected.
    pub const fn persistence(&self) -> &Persistence {
        &self.persistence
    }

    /// How often something was sent and an answer awaited, pushes excluded.
    pub fn round_trips(&self) -> u64 {
        self.link.round_trips()
    }

    /// Begins a call of a script on a partition.
    pub(super) fn on<'a>(&self, script: &'a Script, partition: Partition) -> Call<'a> {
        script.on(&self.keys.partition(partition))
    }

    /// Sends a call.
    pub(super) async fn send(&self, call: &mut Call<'_>) -> Result<Reply, Error> {
        if let Some(clock) = &self.clock {
            call.arg(clock.now().as_millis());
        }
        call.run(&self.link).await
    }

    /// All partitions.
    pub(super) fn all_partitions(&self) -> impl Iterator<Item = Partition> + use<> {
        (0..self.partitions).map(Partition::new)
    }

    /// The time of a test, if there is one.
    pub(super) fn told_time(&self) -> Option<Timestamp> {
        self.clock.as_ref().map(Clock::now)
    }

    /// A run's partition where its id says nothing: that of a thread of the same name.
    pub(super) fn partition_of(&self, thread: &str) -> Partition {
        let thread = ThreadId::new(thread).expect("run ids and thread ids are names alike");
        Partition::of(&thread, self.partitions)
    }
}

/// Probes the server for as long as it lives: that leaves connections which lead to a server that does not serve any more.
async fn probe_always(link: Arc<Link>, key: String) {
    loop {
        tokio::time::sleep(PROBE_EVERY).await;
        if let Err(error) = link.probe(&key).await {
            tracing::debug!(%error, "a probe of the store failed");
        }
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn put_graph(&self, graph: &StoredGraph) -> Result<(), Error> {
        bounds::graph(graph)?;
        self.keep_graph(graph).await
    }

    async fn graph(&self, hash: &GraphHash) -> Result<Option<StoredGraph>, Error> {
        self.read_graph(hash).await
    }

    async fn create_run(&self, run: NewRun) -> Result<Created, Error> {
        bounds::new_run(&run)?;
        self.make_run(&run).await
    }

    async fn stop(&self, run: &RunId, order: NewOrder) -> Result<StopAnswer, Error> {
        bounds::order(&order)?;
        self.order_stop(run, &order).await
    }

    async fn stop_tasks(&self, stop: StopTasks) -> Result<TasksStopped, Error> {
        bounds::stop_tasks(&stop)?;
        self.order_tasks(&stop).await
    }

    async fn take_ready(&self, partition: Partition, limit: usize, hold: Duration) -> Result<Vec<Ready>, Error> {
        self.take(partition, bounds::page(limit), hold).await
    }

    async fn hold_ready(&self, partition: Partition, runs: &[Taken], hold: Duration, state: Held) -> Result<(), Error> {
        self.hold(partition, runs, hold, state).await
    }

    async fn advance(&self, advance: Advance) -> Result<Advanced, Error> {
        bounds::advance(&advance)?;
        self.change_plan(&advance).await
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, Error> {
        self.lease(&claim).await
    }

    async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>, Error> {
        self.renew_all(renewals).await
    }

    async fn settle(&self, settle: Settle) -> Result<Settled, Error> {
        bounds::settle(&settle)?;
        self.end_attempt(&settle).await
    }

    async fn release(&self, task: &TaskKey, fence: Fence, release: Release) -> Result<Released, Error> {
        bounds::release(&release)?;
        self.close_lease(task, fence, &release).await
    }

    async fn mark_sent(&self, tasks: &[TaskKey], resend_after: Duration) -> Result<(), Error> {
        self.note_sent(tasks, resend_after).await
    }

    async fn sweep(&self, partition: Partition, limits: SweepLimits) -> Result<Swept, Error> {
        self.sweep_partition(partition, &limits).await
    }

    async fn resume(&self, resume: Resume) -> Result<Resumed, Error> {
        bounds::resume(&resume)?;
        self.go_on(&resume).await
    }

    async fn emit(&self, run: &RunKey, events: Vec<NewEvent>) -> Result<(), Error> {
        bounds::events(&events)?;
        self.keep_events(run, &events).await
    }

    async fn report_worker(&self, worker: WorkerRecord) -> Result<(), Error> {
        self.keep_worker(&worker).await
    }

    async fn forget_worker(&self, worker: &WorkerId) -> Result<(), Error> {
        self.drop_worker(worker).await
    }

    async fn workers(&self) -> Result<Vec<WorkerRecord>, Error> {
        self.read_workers().await
    }

    async fn locate(&self, run: &RunId) -> Result<Option<RunKey>, Error> {
        Ok(self.find(run).await?.map(|run| run.key))
    }

    async fn run(&self, run: &RunId) -> Result<Option<Run>, Error> {
        self.find(run).await
    }

    async fn thread(&self, thread: &ThreadId) -> Result<Option<Thread>, Error> {
        self.read_thread(thread).await
    }

    async fn runs(&self, filter: &RunFilter, cursor: Option<&str>, limit: usize) -> Result<Page<Run>, Error> {
        self.list_runs(filter, cursor, bounds::page(limit)).await
    }

    async fn checkpoints(&self, run: &RunKey, from: Step, limit: usize) -> Result<Vec<StoredCheckpoint>, Error> {
        self.read_checkpoints(run, from, bounds::page(limit)).await
    }

    async fn values(&self, run: &RunKey, step: Step) -> Result<Option<Values>, Error> {
        self.read_values(run, step).await
    }

    async fn tasks(&self, run: &RunKey, step: Step, skip: usize, limit: usize) -> Result<Vec<Task>, Error> {
        self.read_tasks(run, step, skip, bounds::page(limit)).await
    }

    async fn events(&self, run: &RunKey, after: u64, limit: usize) -> Result<Vec<Event>, Error> {
        self.read_events(run, after, bounds::page(limit)).await
    }

    async fn audit(&self, run: Option<&RunId>, cursor: Option<&str>, limit: usize) -> Result<Page<AuditEntry>, Error> {
        self.list_audit(run, cursor, bounds::page(limit)).await
    }

    async fn report_load(&self, load: &PoolLoad, ttl: Duration) -> Result<PoolLoad, Error> {
        self.keep_load(load, ttl).await
    }

    async fn load(&self, pool: &PoolName) -> Result<Option<PoolLoad>, Error> {
        self.read_load(pool).await
    }

    async fn shed(&self, run: &RunKey, order: NewOrder) -> Result<Shed, Error> {
        bounds::order(&order)?;
        self.shed_run(run, &order).await
    }

    async fn ends(&self) -> Result<Ends, Error> {
        self.read_ends().await
    }

    async fn admit(&self, upstream: &UpstreamName, rate: &Rate) -> Result<Admission, Error> {
        self.admit_call(upstream, rate).await
    }

    async fn breaker(&self, call: BreakerCall) -> Result<BreakerView, Error> {
        bounds::breaker(&call)?;
        self.move_breaker(&call).await
    }

    async fn policies(&self) -> Result<Vec<Named>, Error> {
        self.read_policies().await
    }

    async fn set_policy(&self, change: PolicyChange) -> Result<PolicyChanged, Error> {
        bounds::policy(&change)?;
        self.change_policy(&change).await
    }

    async fn meter(&self, call: MeterCall) -> Result<Reading, Error> {
        self.count(&call).await
    }

    fn partitions(&self) -> u16 {
        self.partitions
    }

    async fn now(&self) -> Result<Timestamp, Error> {
        self.read_time().await
    }

    async fn probe(&self) -> Result<Timestamp, Error> {
        self.link.probe(&self.keys.probe()).await?;
        self.read_time().await
    }

    fn signals(&self) -> SignalReceiver {
        self.signals.subscribe()
    }
}
