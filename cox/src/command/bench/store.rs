//! A store that times the calls that go through it, and says when a run ends.
//!
//! It sees the ends that come about in this process: by a plan, by the release of the last lease, or by a stop order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use coxswain_shared::checkpoint::{StoredCheckpoint, Values};
use coxswain_shared::id::{Fence, GraphHash, Partition, PoolName, RunId, RunKey, Step, TaskKey, ThreadId, WorkerId};
use coxswain_shared::load::PoolLoad;
use coxswain_shared::plan::Then;
use coxswain_shared::policy::{Named, Reading};
use coxswain_shared::stop::NewOrder;
use coxswain_shared::store::{
    Advance, Advanced, AuditEntry, BreakerCall, BreakerView, Claim, Claimed, Created, Ends, Error, Event, Held,
    MeterCall, NewEvent, NewRun, Page, PolicyChange, PolicyChanged, Ready, Release, Released, Renewal, Renewed, Resume,
    Resumed, Run, RunFilter, Settle, Settled, Shed, SignalReceiver, StopAnswer, StopTasks, Store, StoredGraph,
    SweepLimits, Swept, Taken, TasksStopped, Thread, WorkerRecord,
};
use coxswain_shared::task::Task;
use coxswain_shared::time::Timestamp;
use coxswain_shared::upstream::{Admission, Rate, UpstreamName};

use super::board::Board;

/// How often a call was made, and how long all of them took together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) count: u64,
    pub(super) took: Duration,
}

/// Tallies by the name of the call.
pub(super) type Tallies = BTreeMap<&'static str, Tally>;

/// Times calls, and hands them on.
#[derive(Debug)]
pub(super) struct Watched {
    inner: Arc<dyn Store>,
    tallies: Mutex<Tallies>,
    /// The ends of runs.
    pub(super) ended: Board,
}

impl Watched {
    /// Watches a store.
    pub(super) fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, tallies: Mutex::default(), ended: Board::default() }
    }

    /// The calls so far.
    pub(super) fn tallies(&self) -> Tallies {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn timed<T>(&self, call: &'static str, made: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let begun = Instant::now();
        let answer = made.await;
        let took = begun.elapsed();
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = tallies.entry(call).or_default();
        tally.count += 1;
        tally.took += took;
        answer
    }
}

#[async_trait]
impl Store for Watched {
    async fn put_graph(&self, graph: &StoredGraph) -> Result<(), Error> {
        self.timed("put_graph", self.inner.put_graph(graph)).await
    }

    async fn graph(&self, hash: &GraphHash) -> Result<Option<StoredGraph>, Error> {
        self.timed("graph", self.inner.graph(hash)).await
    }

    async fn create_run(&self, run: NewRun) -> Result<Created, Error> {
        self.timed("create_run", self.inner.create_run(run)).await
    }

    async fn stop(&self, run: &RunId, order: NewOrder) -> Result<StopAnswer, Error> {
        let answer = self.timed("stop", self.inner.stop(run, order)).await?;
        if let StopAnswer::Accepted(report) | StopAnswer::Already { report, .. } = &answer
            && report.closed_at.is_some()
        {
            self.ended.happened(run);
        }
        Ok(answer)
    }

    async fn stop_tasks(&self, stop: StopTasks) -> Result<TasksStopped, Error> {
        self.timed("stop_tasks", self.inner.stop_tasks(stop)).await
    }

    async fn take_ready(&self, partition: Partition, limit: usize, hold: Duration) -> Result<Vec<Ready>, Error> {
        self.timed("take_ready", self.inner.take_ready(partition, limit, hold)).await
    }

    async fn hold_ready(&self, partition: Partition, runs: &[Taken], hold: Duration, state: Held) -> Result<(), Error> {
        self.timed("hold_ready", self.inner.hold_ready(partition, runs, hold, state)).await
    }

    async fn advance(&self, advance: Advance) -> Result<Advanced, Error> {
        let ending = matches!(advance.then, Then::Succeed | Then::Fail { .. }).then(|| advance.run.id.clone());
        let answer = self.timed("advance", self.inner.advance(advance)).await?;
        if let (Some(run), Advanced::Ok) = (ending, answer) {
            self.ended.happened(&run);
        }
        Ok(answer)
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, Error> {
        self.timed("claim", self.inner.claim(claim)).await
    }

    async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>, Error> {
        self.timed("renew", self.inner.renew(renewals)).await
    }

    async fn settle(&self, settle: Settle) -> Result<Settled, Error> {
        self.timed("settle", self.inner.settle(settle)).await
    }

    async fn release(&self, task: &TaskKey, fence: Fence, release: Release) -> Result<Released, Error> {
        let answer = self.timed("release", self.inner.release(task, fence, release)).await?;
        if answer == (Released::Accepted { run_ended: true }) {
            self.ended.happened(&task.run.id);
        }
        Ok(answer)
    }

    async fn mark_sent(&self, tasks: &[TaskKey], resend_after: Duration) -> Result<(), Error> {
        self.timed("mark_sent", self.inner.mark_sent(tasks, resend_after)).await
    }

    async fn sweep(&self, partition: Partition, limits: SweepLimits) -> Result<Swept, Error> {
        self.timed("sweep", self.inner.sweep(partition, limits)).await
    }

    async fn resume(&self, resume: Resume) -> Result<Resumed, Error> {
        self.timed("resume", self.inner.resume(resume)).await
    }

    async fn emit(&self, run: &RunKey, events: Vec<NewEvent>) -> Result<(), Error> {
        self.timed("emit", self.inner.emit(run, events)).await
    }

    async fn report_worker(&self, worker: WorkerRecord) -> Result<(), Error> {
        self.timed("report_worker", self.inner.report_worker(worker)).await
    }

    async fn forget_worker(&self, worker: &WorkerId) -> Result<(), Error> {
        self.timed("forget_worker", self.inner.forget_worker(worker)).await
    }

    async fn workers(&self) -> Result<Vec<WorkerRecord>, Error> {
        self.timed("workers", self.inner.workers()).await
    }

    async fn locate(&self, run: &RunId) -> Result<Option<RunKey>, Error> {
        self.timed("locate", self.inner.locate(run)).await
    }

    async fn run(&self, run: &RunId) -> Result<Option<Run>, Error> {
        self.timed("run", self.inner.run(run)).await
    }

    async fn thread(&self, thread: &ThreadId) -> Result<Option<Thread>, Error> {
        self.timed("thread", self.inner.thread(thread)).await
    }

    async fn runs(&self, filter: &RunFilter, cursor: Option<&str>, limit: usize) -> Result<Page<Run>, Error> {
        self.timed("runs", self.inner.runs(filter, cursor, limit)).await
    }

    async fn checkpoints(&self, run: &RunKey, from: Step, limit: usize) -> Result<Vec<StoredCheckpoint>, Error> {
        self.timed("checkpoints", self.inner.checkpoints(run, from, limit)).await
    }

    async fn values(&self, run: &RunKey, step: Step) -> Result<Option<Values>, Error> {
        self.timed("values", self.inner.values(run, step)).await
    }

    async fn tasks(&self, run: &RunKey, step: Step, skip: usize, limit: usize) -> Result<Vec<Task>, Error> {
        self.timed("tasks", self.inner.tasks(run, step, skip, limit)).await
    }

    async fn events(&self, run: &RunKey, after: u64, limit: usize) -> Result<Vec<Event>, Error> {
        self.timed("events", self.inner.events(run, after, limit)).await
    }

    async fn audit(&self, run: Option<&RunId>, cursor: Option<&str>, limit: usize) -> Result<Page<AuditEntry>, Error> {
        self.timed("audit", self.inner.audit(run, cursor, limit)).await
    }

    async fn report_load(&self, load: &PoolLoad, ttl: Duration) -> Result<PoolLoad, Error> {
        self.timed("report_load", self.inner.report_load(load, ttl)).await
    }

    async fn load(&self, pool: &PoolName) -> Result<Option<PoolLoad>, Error> {
        self.timed("load", self.inner.load(pool)).await
    }

    async fn shed(&self, run: &RunKey, order: NewOrder) -> Result<Shed, Error> {
        self.timed("shed", self.inner.shed(run, order)).await
    }

    async fn ends(&self) -> Result<Ends, Error> {
        self.timed("ends", self.inner.ends()).await
    }

    async fn admit(&self, upstream: &UpstreamName, rate: &Rate) -> Result<Admission, Error> {
        self.timed("admit", self.inner.admit(upstream, rate)).await
    }

    async fn breaker(&self, call: BreakerCall) -> Result<BreakerView, Error> {
        self.timed("breaker", self.inner.breaker(call)).await
    }

    async fn policies(&self) -> Result<Vec<Named>, Error> {
        self.timed("policies", self.inner.policies()).await
    }

    async fn set_policy(&self, change: PolicyChange) -> Result<PolicyChanged, Error> {
        self.timed("set_policy", self.inner.set_policy(change)).await
    }

    async fn meter(&self, call: MeterCall) -> Result<Reading, Error> {
        self.timed("meter", self.inner.meter(call)).await
    }

    async fn now(&self) -> Result<Timestamp, Error> {
        self.timed("now", self.inner.now()).await
    }

    async fn probe(&self) -> Result<Timestamp, Error> {
        self.timed("probe", self.inner.probe()).await
    }

    fn partitions(&self) -> u16 {
        self.inner.partitions()
    }

    fn signals(&self) -> SignalReceiver {
        self.inner.signals()
    }
}
