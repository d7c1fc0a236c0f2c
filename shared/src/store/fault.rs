//! A store that fails on purpose, around any other, and loses what it pushes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::{
    Advance, Advanced, AuditEntry, BreakerCall, BreakerView, Claim, Claimed, Created, Ends, Error, Event, Held,
    MeterCall, NewEvent, NewRun, Page, PolicyChange, PolicyChanged, Ready, Release, Released, Renewal, Renewed, Resume,
    Resumed, Run, RunFilter, Settle, Settled, Shed, Signal, SignalReceiver, StopAnswer, StopTasks, Store, StoredGraph,
    SweepLimits, Swept, Taken, TasksStopped, Thread, Trouble, WorkerRecord,
};
use crate::checkpoint::{StoredCheckpoint, Values};
use crate::fault::{Fault, Faults};
use crate::id::{Fence, GraphHash, Partition, PoolName, RunId, RunKey, Step, TaskKey, ThreadId, WorkerId};
use crate::lifecycle::Tasks;
use crate::load::PoolLoad;
use crate::policy::{Named, Reading};
use crate::stop::NewOrder;
use crate::task::Task;
use crate::time::Timestamp;
use crate::upstream::{Admission, Rate, UpstreamName};

/// What can fail: every call of the port that can answer with an error.
pub const METHODS: &[&str] = &[
    "put_graph",
    "graph",
    "create_run",
    "stop",
    "stop_tasks",
    "take_ready",
    "hold_ready",
    "advance",
    "claim",
    "renew",
    "settle",
    "release",
    "mark_sent",
    "sweep",
    "resume",
    "emit",
    "report_worker",
    "forget_worker",
    "workers",
    "locate",
    "run",
    "thread",
    "runs",
    "checkpoints",
    "values",
    "tasks",
    "events",
    "audit",
    "report_load",
    "load",
    "shed",
    "ends",
    "admit",
    "breaker",
    "policies",
    "set_policy",
    "meter",
    "now",
    "probe",
];

/// Signals that a receiver may be behind by, before it is told that it has missed some.
const SIGNALS_MAX: usize = 1_024;

/// A store with faults.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    faults: Faults,
    /// Those that hand signals on.
    tasks: Tasks,
}

impl FaultyStore {
    /// Puts faults around a store.
    pub fn new(inner: Arc<dyn Store>, faults: Faults) -> Self {
        Self { inner, faults, tasks: Tasks::new() }
    }

    async fn through<T>(&self, method: &'static str, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match self.faults.decide(method) {
            None => call.await,
            Some(Fault::Refused) => Err(failed(method, Fault::Refused)),
            Some(Fault::ReplyLost) => {
                // What came of it is what gets lost.
                let _ = call.await;
                Err(failed(method, Fault::ReplyLost))
            }
        }
    }
}

impl Drop for FaultyStore {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn put_graph(&self, graph: &StoredGraph) -> Result<(), Error> {
        self.through("put_graph", self.inner.put_graph(graph)).await
    }

    async fn graph(&self, hash: &GraphHash) -> Result<Option<StoredGraph>, Error> {
        self.through("graph", self.inner.graph(hash)).await
    }

    async fn create_run(&self, run: NewRun) -> Result<Created, Error> {
        self.through("create_run", self.inner.create_run(run)).await
    }

    async fn stop(&self, run: &RunId, order: NewOrder) -> Result<StopAnswer, Error> {
        self.through("stop", self.inner.stop(run, order)).await
    }

    async fn stop_tasks(&self, stop: StopTasks) -> Result<TasksStopped, Error> {
        self.through("stop_tasks", self.inner.stop_tasks(stop)).await
    }

    async fn take_ready(&self, partition: Partition, limit: usize, hold: Duration) -> Result<Vec<Ready>, Error> {
        self.through("take_ready", self.inner.take_ready(partition, limit, hold)).await
    }

    async fn hold_ready(&self, partition: Partition, runs: &[Taken], hold: Duration, state: Held) -> Result<(), Error> {
        self.through("hold_ready", self.inner.hold_ready(partition, runs, hold, state)).await
    }

    async fn advance(&self, advance: Advance) -> Result<Advanced, Error> {
        self.through("advance", self.inner.advance(advance)).await
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, Error> {
        self.through("claim", self.inner.claim(claim)).await
    }

    async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>, Error> {
        self.through("renew", self.inner.renew(renewals)).await
    }

    async fn settle(&self, settle: Settle) -> Result<Settled, Error> {
        self.through("settle", self.inner.settle(settle)).await
    }

    async fn release(&self, task: &TaskKey, fence: Fence, release: Release) -> Result<Released, Error> {
        self.through("release", self.inner.release(task, fence, release)).await
    }

    async fn mark_sent(&self, tasks: &[TaskKey], resend_after: Duration) -> Result<(), Error> {
        self.through("mark_sent", self.inner.mark_sent(tasks, resend_after)).await
    }

    async fn sweep(&self, partition: Partition, limits: SweepLimits) -> Result<Swept, Error> {
        self.through("sweep", self.inner.sweep(partition, limits)).await
    }

    async fn resume(&self, resume: Resume) -> Result<Resumed, Error> {
        self.through("resume", self.inner.resume(resume)).await
    }

    async fn emit(&self, run: &RunKey, events: Vec<NewEvent>) -> Result<(), Error> {
        self.through("emit", self.inner.emit(run, events)).await
    }

    async fn report_worker(&self, worker: WorkerRecord) -> Result<(), Error> {
        self.through("report_worker", self.inner.report_worker(worker)).await
    }

    async fn forget_worker(&self, worker: &WorkerId) -> Result<(), Error> {
        self.through("forget_worker", self.inner.forget_worker(worker)).await
    }

    async fn workers(&self) -> Result<Vec<WorkerRecord>, Error> {
        self.through("workers", self.inner.workers()).await
    }

    async fn locate(&self, run: &RunId) -> Result<Option<RunKey>, Error> {
        self.through("locate", self.inner.locate(run)).await
    }

    async fn run(&self, run: &RunId) -> Result<Option<Run>, Error> {
        self.through("run", self.inner.run(run)).await
    }

    async fn thread(&self, thread: &ThreadId) -> Result<Option<Thread>, Error> {
        self.through("thread", self.inner.thread(thread)).await
    }

    async fn runs(&self, filter: &RunFilter, cursor: Option<&str>, limit: usize) -> Result<Page<Run>, Error> {
        self.through("runs", self.inner.runs(filter, cursor, limit)).await
    }

    async fn checkpoints(&self, run: &RunKey, from: Step, limit: usize) -> Result<Vec<StoredCheckpoint>, Error> {
        self.through("checkpoints", self.inner.checkpoints(run, from, limit)).await
    }

    async fn values(&self, run: &RunKey, step: Step) -> Result<Option<Values>, Error> {
        self.through("values", self.inner.values(run, step)).await
    }

    async fn tasks(&self, run: &RunKey, step: Step, skip: usize, limit: usize) -> Result<Vec<Task>, Error> {
        self.through("tasks", self.inner.tasks(run, step, skip, limit)).await
    }

    async fn events(&self, run: &RunKey, after: u64, limit: usize) -> Result<Vec<Event>, Error> {
        self.through("events", self.inner.events(run, after, limit)).await
    }

    async fn audit(&self, run: Option<&RunId>, cursor: Option<&str>, limit: usize) -> Result<Page<AuditEntry>, Error> {
        self.through("audit", self.inner.audit(run, cursor, limit)).await
    }

    async fn report_load(&self, load: &PoolLoad, ttl: Duration) -> Result<PoolLoad, Error> {
        self.through("report_load", self.inner.report_load(load, ttl)).await
    }

    async fn load(&self, pool: &PoolName) -> Result<Option<PoolLoad>, Error> {
        self.through("load", self.inner.load(pool)).await
    }

    async fn shed(&self, run: &RunKey, order: NewOrder) -> Result<Shed, Error> {
        self.through("shed", self.inner.shed(run, order)).await
    }

    async fn ends(&self) -> Result<Ends, Error> {
        self.through("ends", self.inner.ends()).await
    }

    async fn admit(&self, upstream: &UpstreamName, rate: &Rate) -> Result<Admission, Error> {
        self.through("admit", self.inner.admit(upstream, rate)).await
    }

    async fn breaker(&self, call: BreakerCall) -> Result<BreakerView, Error> {
        self.through("breaker", self.inner.breaker(call)).await
    }

    async fn policies(&self) -> Result<Vec<Named>, Error> {
        self.through("policies", self.inner.policies()).await
    }

    async fn set_policy(&self, change: PolicyChange) -> Result<PolicyChanged, Error> {
        self.through("set_policy", self.inner.set_policy(change)).await
    }

    async fn meter(&self, call: MeterCall) -> Result<Reading, Error> {
        self.through("meter", self.inner.meter(call)).await
    }

    async fn now(&self) -> Result<Timestamp, Error> {
        self.through("now", self.inner.now()).await
    }

    async fn probe(&self) -> Result<Timestamp, Error> {
        self.through("probe", self.inner.probe()).await
    }

    fn partitions(&self) -> u16 {
        self.inner.partitions()
    }

    fn trouble(&self) -> Option<Trouble> {
        self.inner.trouble()
    }

    /// Signals with gaps. To be called on a runtime, which hands them on.
    fn signals(&self) -> SignalReceiver {
        let (sender, receiver) = broadcast::channel(SIGNALS_MAX);
        self.tasks.spawn(hand_on(self.inner.signals(), sender, self.faults.clone()));
        receiver
    }
}

/// Ends with the store behind it, or when nobody listens any more.
async fn hand_on(mut from: SignalReceiver, to: broadcast::Sender<Signal>, faults: Faults) {
    loop {
        let signal = match from.recv().await {
            Ok(signal) => signal,
            Err(RecvError::Lagged(_)) => Signal::Lost,
            Err(RecvError::Closed) => return,
        };
        if !faults.loses_signal() && to.send(signal).is_err() {
            return;
        }
    }
}

fn failed(method: &str, fault: Fault) -> Error {
    let why = format!("{method}, on purpose: {fault:?}");
    Error::Unavailable { place: "a faulty store".to_owned(), why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Counts, Rates, SIGNALS};
    use crate::store::conformance::make;
    use crate::store::sqlite::{SqliteConfig, SqliteStore};

    fn faulty() -> (FaultyStore, Faults) {
        let store = SqliteStore::open(SqliteConfig::memory()).unwrap();
        let faults = Faults::seeded(0);
        (FaultyStore::new(Arc::new(store), faults.clone()), faults)
    }

    #[tokio::test]
    async fn a_refused_call_does_nothing_and_a_lost_reply_hides_one_that_was_applied() {
        let (store, faults) = faulty();
        let id = RunId::new("r1").unwrap();
        faults.next("create_run", Fault::Refused);
        faults.next("create_run", Fault::ReplyLost);
        let refused = store.create_run(make::run("r1")).await.unwrap_err();
        assert!(refused.is_retryable(), "{refused}");
        assert!(store.run(&id).await.unwrap().is_none());
        assert!(store.create_run(make::run("r1")).await.is_err());
        assert!(store.run(&id).await.unwrap().is_some());
        assert!(matches!(store.create_run(make::run("r1")).await.unwrap(), Created::Exists { .. }));
        assert_eq!(faults.counts("create_run"), Counts { passed: 1, refused: 1, replies_lost: 1 });
    }

    #[tokio::test]
    async fn a_lost_push_is_lost_without_a_word() {
        let (store, faults) = faulty();
        let mut signals = store.signals();
        faults.lose_signals(1.0);
        store.create_run(make::run("r1")).await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), async {
            while faults.counts(SIGNALS).refused == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("a new run is pushed");
        assert!(signals.try_recv().is_err());
        faults.switch(false);
        store.create_run(make::run("r2")).await.unwrap();
        let pushed = tokio::time::timeout(Duration::from_secs(10), signals.recv()).await.unwrap().unwrap();
        assert!(matches!(pushed, Signal::Ready(_)), "{pushed:?}");
    }

    #[tokio::test]
    async fn at_a_rate_of_one_nothing_works_until_it_is_switched_off() {
        let (store, faults) = faulty();
        faults.everywhere(Rates { refused: 1.0, reply_lost: 0.0 });
        assert!(store.now().await.is_err() && store.workers().await.is_err());
        faults.switch(false);
        store.now().await.unwrap();
    }

    #[test]
    fn every_call_of_the_port_can_fail() {
        let port = include_str!("port.rs");
        let calls = port.lines().filter_map(|line| line.trim().strip_prefix("async fn ")?.split('(').next());
        assert_eq!(calls.collect::<Vec<_>>(), METHODS);
        for method in METHODS {
            let shim = format!("self.through(\"{method}\", self.inner.{method}(");
            assert!(include_str!("fault.rs").replace(['\n', ' '], "").contains(&shim.replace(' ', "")), "{method}");
        }
    }
}
