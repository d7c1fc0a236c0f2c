//! The store itself: a handle that turns each method of the port into a call.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::broadcast;

use super::config::SqliteConfig;
use super::engine::Engine;
use super::fault::Result as Inner;
use super::reader::Readers;
use super::standing::Standing;
use super::tx::{Setting, Tx};
use super::watch::Watch;
use super::writer::Writer;
use super::{
    advance, audit, checkpoints, claim, create, events, finish, fleet, lease, listing, loads, policies, ready, resume,
    schema, scope, stop, sweep, task_row, threads, upstreams,
};
use crate::checkpoint::{StoredCheckpoint, Values};
use crate::id::{Fence, GraphHash, Partition, PoolName, RunId, RunKey, Step, TaskKey, ThreadId, WorkerId};
use crate::load::PoolLoad;
use crate::policy::{Named, Reading};
use crate::stop::NewOrder;
use crate::store::{
    Advance, Advanced, AuditEntry, BreakerCall, BreakerView, Claim, Claimed, Created, Ends, Error, Event, Held,
    MeterCall, NewEvent, NewRun, Page, PolicyChange, PolicyChanged, Ready, Release, Released, Renewal, Renewed, Resume,
    Resumed, Run, RunFilter, Settle, Settled, Shed, Signal, SignalReceiver, StopAnswer, StopTasks, Store, StoredGraph,
    SweepLimits, Swept, Taken, TasksStopped, Thread, Trouble, WorkerRecord, bounds,
};
use crate::task::Task;
use crate::time::{Clock, Timestamp};
use crate::upstream::{Admission, Rate, UpstreamName};

/// Signals that a slow subscriber may be behind before it loses some.
const SIGNALS_MAX: usize = 4_096;

/// The embedded store: a file that several processes may use at once, or memory. A cheap handle: clones share the store.
#[derive(Debug, Clone)]
pub struct SqliteStore(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    backend: Backend,
    clock: Clock,
    partitions: u16,
    signals: broadcast::Sender<Signal>,
    standing: Arc<Standing>,
}

#[derive(Debug)]
enum Backend {
    /// Calls run where they are made: they take microseconds, and no test waits for a thread.
    Memory(Mutex<Engine>),
    /// Calls run on threads, since the disk may make them wait.
    File { writer: Writer, readers: Readers },
}

impl SqliteStore {
    /// Opens the store; makes the file where there is none.
    ///
    /// # Errors
    /// [`Error::Unsuitable`] for a file that is no database, another program's, or a newer build's; [`Error::Unavailable`] where another
    /// process keeps it locked.
    pub fn open(config: SqliteConfig) -> Result<Self, Error> {
        let (conn, partitions) = schema::open_writer(&config)?;
        let (signals, _) = broadcast::channel(SIGNALS_MAX);
        let standing = Arc::new(Standing::default());
        let engine = Engine {
            conn,
            clock: config.clock.clone(),
            setting: Setting { partitions, retention: config.retention },
            place: config.place(),
            signals: signals.clone(),
            watch: Watch::default(),
            standing: Arc::clone(&standing),
        };
        let backend = match &config.path {
            None => Backend::Memory(Mutex::new(engine)),
            Some(path) => Backend::File {
                readers: Readers::start(&config, path, Arc::clone(&standing))?,
                writer: Writer::start(engine, config.queue_max, config.batch_max)?,
            },
        };
        Ok(Self(Arc::new(Shared { backend, clock: config.clock, partitions, signals, standing })))
    }

    /// Lets the file have so many pages and no more, as a full disk would; at least those that it has.
    #[cfg(test)]
    pub(super) async fn limit_pages(&self, pages: u32) {
        let limit = move |tx: &mut Tx<'_>| {
            tx.conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
            Ok(())
        };
        self.write(limit).await.expect("the limit of the file can be set");
    }

    async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Inner<T> + Send + 'static,
    {
        match &self.0.backend {
            // A call that panicked was rolled back; the next one finds the tables whole.
            Backend::Memory(engine) => engine.lock().unwrap_or_else(PoisonError::into_inner).one(work),
            Backend::File { writer, .. } => writer.call(work).await,
        }
    }

    async fn read<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Inner<T> + Send + 'static,
    {
        match &self.0.backend {
            Backend::Memory(engine) => {
                let engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
                work(&engine.conn).map_err(|fault| fault.into_error(&engine.place))
            }
            Backend::File { readers, .. } => readers.read(work).await,
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn put_graph(&self, graph: &StoredGraph) -> Result<(), Error> {
        bounds::graph(graph)?;
        let graph = graph.clone();
        self.write(move |tx| fleet::put_graph(tx, &graph)).await
    }

    async fn graph(&self, hash: &GraphHash) -> Result<Option<StoredGraph>, Error> {
        let hash = hash.clone();
        self.read(move |conn| fleet::graph(conn, &hash)).await
    }

    async fn create_run(&self, run: NewRun) -> Result<Created, Error> {
        bounds::new_run(&run)?;
        self.write(move |tx| create::create_run(tx, &run)).await
    }

    async fn stop(&self, run: &RunId, order: NewOrder) -> Result<StopAnswer, Error> {
        bounds::order(&order)?;
        let run = run.clone();
        self.write(move |tx| stop::order(tx, &run, &order)).await
    }

    async fn stop_tasks(&self, stop: StopTasks) -> Result<TasksStopped, Error> {
        bounds::stop_tasks(&stop)?;
        self.write(move |tx| scope::stop_tasks(tx, &stop)).await
    }

    async fn take_ready(&self, partition: Partition, limit: usize, hold: Duration) -> Result<Vec<Ready>, Error> {
        let limit = bounds::page(limit);
        self.write(move |tx| ready::take_ready(tx, partition, limit, hold)).await
    }

    async fn hold_ready(&self, partition: Partition, runs: &[Taken], hold: Duration, state: Held) -> Result<(), Error> {
        let runs = runs.to_vec();
        self.write(move |tx| ready::hold_ready(tx, partition, &runs, hold, state)).await
    }

    async fn advance(&self, advance: Advance) -> Result<Advanced, Error> {
        bounds::advance(&advance)?;
        self.write(move |tx| advance::advance(tx, &advance)).await
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, Error> {
        self.write(move |tx| claim::claim(tx, &claim)).await
    }

    async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>, Error> {
        let renewals = renewals.to_vec();
        self.write(move |tx| lease::renew(tx, &renewals)).await
    }

    async fn settle(&self, settle: Settle) -> Result<Settled, Error> {
        bounds::settle(&settle)?;
        self.write(move |tx| lease::settle(tx, &settle)).await
    }

    async fn release(&self, task: &TaskKey, fence: Fence, release: Release) -> Result<Released, Error> {
        bounds::release(&release)?;
        let task = task.clone();
        self.write(move |tx| lease::release(tx, &task, fence, &release)).await
    }

    async fn mark_sent(&self, tasks: &[TaskKey], resend_after: Duration) -> Result<(), Error> {
        let tasks = tasks.to_vec();
        self.write(move |tx| lease::mark_sent(tx, &tasks, resend_after)).await
    }

    async fn sweep(&self, partition: Partition, limits: SweepLimits) -> Result<Swept, Error> {
        self.write(move |tx| sweep::sweep(tx, partition, limits)).await
    }

    async fn resume(&self, resume: Resume) -> Result<Resumed, Error> {
        bounds::resume(&resume)?;
        self.write(move |tx| resume::resume(tx, &resume)).await
    }

    async fn emit(&self, run: &RunKey, events: Vec<NewEvent>) -> Result<(), Error> {
        bounds::events(&events)?;
        let run = run.clone();
        self.write(move |tx| events::emit(tx, &run, &events)).await
    }

    async fn report_worker(&self, worker: WorkerRecord) -> Result<(), Error> {
        self.write(move |tx| fleet::report_worker(tx, worker)).await
    }

    async fn forget_worker(&self, worker: &WorkerId) -> Result<(), Error> {
        let worker = worker.clone();
        self.write(move |tx| fleet::forget_worker(tx, &worker)).await
    }

    async fn workers(&self) -> Result<Vec<WorkerRecord>, Error> {
        let now = self.0.clock.now();
        self.read(move |conn| fleet::workers(conn, now)).await
    }

    async fn locate(&self, run: &RunId) -> Result<Option<RunKey>, Error> {
        let run = run.clone();
        self.read(move |conn| Ok(super::run_row::find(conn, &run)?.map(|row| row.key))).await
    }

    async fn run(&self, run: &RunId) -> Result<Option<Run>, Error> {
        let run = run.clone();
        self.read(move |conn| listing::run(conn, &run)).await
    }

    async fn thread(&self, thread: &ThreadId) -> Result<Option<Thread>, Error> {
        let thread = thread.clone();
        self.read(move |conn| threads::find(conn, &thread)).await
    }

    async fn runs(&self, filter: &RunFilter, cursor: Option<&str>, limit: usize) -> Result<Page<Run>, Error> {
        let (filter, cursor, limit) = (filter.clone(), cursor.map(str::to_owned), bounds::page(limit));
        self.read(move |conn| listing::page(conn, &filter, cursor.as_deref(), limit)).await
    }

    async fn checkpoints(&self, run: &RunKey, from: Step, limit: usize) -> Result<Vec<StoredCheckpoint>, Error> {
        let (run, limit) = (run.clone(), bounds::page(limit));
        self.read(move |conn| {
            let row = listing::row(conn, &run)?;
            row.map_or(Ok(Vec::new()), |row| checkpoints::page(conn, &row, from, limit))
        })
        .await
    }

    async fn values(&self, run: &RunKey, step: Step) -> Result<Option<Values>, Error> {
        let run = run.clone();
        self.read(move |conn| {
            let row = listing::row(conn, &run)?;
            row.map_or(Ok(None), |row| checkpoints::values(conn, &row, step, None))
        })
        .await
    }

    async fn tasks(&self, run: &RunKey, step: Step, skip: usize, limit: usize) -> Result<Vec<Task>, Error> {
        let (run, limit) = (run.clone(), bounds::page(limit));
        self.read(move |conn| {
            let Some(row) = listing::row(conn, &run)? else { return Ok(Vec::new()) };
            let tasks = task_row::of_step(conn, &row, step, skip, limit)?;
            Ok(tasks.into_iter().map(task_row::TaskRow::show).collect())
        })
        .await
    }

    async fn events(&self, run: &RunKey, after: u64, limit: usize) -> Result<Vec<Event>, Error> {
        let (run, limit) = (run.clone(), bounds::page(limit));
        self.read(move |conn| {
            let row = listing::row(conn, &run)?;
            row.map_or(Ok(Vec::new()), |row| events::after(conn, &row, after, limit))
        })
        .await
    }

    async fn audit(&self, run: Option<&RunId>, cursor: Option<&str>, limit: usize) -> Result<Page<AuditEntry>, Error> {
        let (run, cursor, limit) = (run.cloned(), cursor.map(str::to_owned), bounds::page(limit));
        self.read(move |conn| audit::page(conn, run.as_ref(), cursor.as_deref(), limit)).await
    }

    async fn report_load(&self, load: &PoolLoad, ttl: Duration) -> Result<PoolLoad, Error> {
        let load = load.clone();
        self.write(move |tx| loads::report(tx, &load, ttl)).await
    }

    async fn load(&self, pool: &PoolName) -> Result<Option<PoolLoad>, Error> {
        let (pool, now) = (pool.clone(), self.0.clock.now());
        self.read(move |conn| loads::find(conn, &pool, now)).await
    }

    async fn shed(&self, run: &RunKey, order: NewOrder) -> Result<Shed, Error> {
        bounds::order(&order)?;
        let run = run.clone();
        self.write(move |tx| loads::shed(tx, &run, &order)).await
    }

    async fn ends(&self) -> Result<Ends, Error> {
        self.read(finish::ends).await
    }

    async fn admit(&self, upstream: &UpstreamName, rate: &Rate) -> Result<Admission, Error> {
        let (upstream, rate) = (upstream.clone(), *rate);
        self.write(move |tx| upstreams::admit(tx, &upstream, &rate)).await
    }

    async fn breaker(&self, call: BreakerCall) -> Result<BreakerView, Error> {
        bounds::breaker(&call)?;
        self.write(move |tx| upstreams::breaker(tx, &call)).await
    }

    async fn policies(&self) -> Result<Vec<Named>, Error> {
        self.read(policies::all).await
    }

    async fn set_policy(&self, change: PolicyChange) -> Result<PolicyChanged, Error> {
        bounds::policy(&change)?;
        self.write(move |tx| policies::set(tx, &change)).await
    }

    async fn meter(&self, call: MeterCall) -> Result<Reading, Error> {
        self.write(move |tx| policies::count(tx, &call)).await
    }

    fn partitions(&self) -> u16 {
        self.0.partitions
    }

    async fn now(&self) -> Result<Timestamp, Error> {
        Ok(self.0.clock.now())
    }

    async fn probe(&self) -> Result<Timestamp, Error> {
        self.write(|tx| fleet::probe(tx)).await
    }

    fn trouble(&self) -> Option<Trouble> {
        self.0.standing.trouble()
    }

    fn signals(&self) -> SignalReceiver {
        self.0.signals.subscribe()
    }
}
