//! What a case is given: a store of its own, a way to let its time pass, and short words for what cases do over and over.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::make::{self, LONG};
use crate::checkpoint::{Checkpoint, Values};
use crate::id::{Nonce, RunId, RunKey, Step, TaskKey};
use crate::outcome::Outcome;
use crate::plan::Then;
use crate::run::RunStatus;
use crate::spend::Spend;
use crate::stop::{Cause, StopReport};
use crate::store::{
    Advance, Advanced, AuditEntry, Claim, Claimed, Created, Lease, NewRun, Ready, Release, Released, Renewal, Renewed,
    Run, Settle, Settled, StopAnswer, Store, SweepLimits, Swept, Thread, Verdict,
};
use crate::task::{NewTask, Task};
use crate::time::Clock;

/// A fresh store for one case.
pub struct Fixture {
    store: Arc<dyn Store>,
    clock: Option<Clock>,
    _guard: Box<dyn Any + Send + Sync>,
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Fixture {
    /// A store whose clock is stepped: time passes only when a case says so.
    pub fn stepped(store: Arc<dyn Store>, clock: Clock, guard: impl Any + Send + Sync) -> Self {
        Self { store, clock: Some(clock), _guard: Box::new(guard) }
    }

    /// A store whose clock is its own: cases wait for real.
    pub fn real(store: Arc<dyn Store>, guard: impl Any + Send + Sync) -> Self {
        Self { store, clock: None, _guard: Box::new(guard) }
    }

    /// The store.
    pub fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// Lets so much of the store's time pass.
    pub async fn pass(&self, length: Duration) {
        let until = self.store.now().await.expect("the store tells its time").after(length);
        if let Some(clock) = &self.clock {
            clock.advance(length);
        }
        while self.store.now().await.expect("the store tells its time") < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Makes a run on a thread of its own.
    pub async fn begin(&self, id: &str) -> RunKey {
        self.made(make::run(id)).await
    }

    /// Makes a run that nothing is in the way of.
    pub async fn made(&self, new: NewRun) -> RunKey {
        match self.store.create_run(new).await.expect("a run is made") {
            Created::Made { key, .. } => key,
            other => panic!("the run was not made: {other:?}"),
        }
    }

    /// A run that must be there.
    pub async fn run(&self, key: &RunKey) -> Run {
        self.store.run(&key.id).await.expect("a run is read").expect("the run is there")
    }

    /// Where a run stands.
    pub async fn status(&self, key: &RunKey) -> RunStatus {
        self.run(key).await.status
    }

    /// The report of a run that was ordered to stop.
    pub async fn report(&self, key: &RunKey) -> StopReport {
        self.run(key).await.stop.expect("the run is under an order")
    }

    /// A thread that must be there.
    pub async fn thread(&self, key: &RunKey) -> Thread {
        let thread = self.run(key).await.thread;
        self.store.thread(&thread).await.expect("a thread is read").expect("the thread is there")
    }

    /// A task that must be there.
    pub async fn task(&self, key: &TaskKey) -> Task {
        let tasks = self.store.tasks(&key.run, key.task.step, 0, 1_000).await.expect("tasks are read");
        tasks.into_iter().find(|task| task.id == key.task).expect("the task is there")
    }

    /// The outcome of a task that must be settled.
    pub async fn outcome(&self, key: &TaskKey) -> Outcome {
        self.task(key).await.outcome.expect("the task is settled")
    }

    /// The plan of the run as it is.
    pub async fn plan(&self, key: &RunKey, then: Then) -> Advance {
        let expected = self.run(key).await.revision;
        Advance { run: key.clone(), expected, nonce: Nonce::fresh(), checkpoint: None, changed: Values::new(), then }
    }

    /// Advances a run by a plan without a checkpoint.
    pub async fn advance(&self, key: &RunKey, then: Then) -> Advanced {
        let plan = self.plan(key, then).await;
        self.store.advance(plan).await.expect("a run is advanced")
    }

    /// Advances a run by a checkpoint with one channel, `x`, of this value, and what comes then.
    pub async fn checkpoint(&self, key: &RunKey, step: u64, x: i64, then: Then) {
        let mut plan = self.plan(key, then).await;
        plan.checkpoint = Some(make::checkpoint(step, &[("x", step)]));
        plan.changed = make::values(&[("x", x.into())]);
        assert_eq!(self.store.advance(plan).await.expect("a run is advanced"), Advanced::Ok);
    }

    /// Advances a run by any checkpoint.
    pub async fn write(&self, key: &RunKey, checkpoint: Checkpoint, changed: Values, then: Then) {
        let plan = Advance { checkpoint: Some(checkpoint), changed, ..self.plan(key, then).await };
        assert_eq!(self.store.advance(plan).await.expect("a run is advanced"), Advanced::Ok);
    }

    /// Makes the tasks of a step; answers their addresses.
    pub async fn step(&self, key: &RunKey, step: u64, tasks: Vec<NewTask>) -> Vec<TaskKey> {
        let keys = tasks.iter().map(|task| TaskKey { run: key.clone(), task: task.id.clone() }).collect();
        assert_eq!(
            self.advance(key, Then::Step { step: Step::new(step), tasks, groups: Vec::new() }).await,
            Advanced::Ok
        );
        keys
    }

    /// Makes a run and its first step of these tasks.
    pub async fn dispatched(&self, id: &str, tasks: Vec<NewTask>) -> (RunKey, Vec<TaskKey>) {
        let key = self.begin(id).await;
        let tasks = self.step(&key, 1, tasks).await;
        (key, tasks)
    }

    /// Ends a run well.
    pub async fn succeed(&self, key: &RunKey) {
        assert_eq!(self.advance(key, Then::Succeed).await, Advanced::Ok);
    }

    /// Claims a task.
    pub async fn claim(&self, claim: Claim) -> Claimed {
        self.store.claim(claim).await.expect("a task is claimed")
    }

    /// Claims a task that must be free, for a long time.
    pub async fn lease(&self, task: &TaskKey) -> Lease {
        self.lease_for(task, LONG).await
    }

    /// Claims a task that must be free.
    pub async fn lease_for(&self, task: &TaskKey, ttl: Duration) -> Lease {
        match self.claim(Claim { ttl, ..make::claim(task) }).await {
            Claimed::Leased(lease) => *lease,
            other => panic!("the task was not leased: {other:?}"),
        }
    }

    /// Claims a task that must be free, to run it alone, and renews the lease: the attempt begins.
    pub async fn lease_alone(&self, task: &TaskKey, ttl: Duration) -> Lease {
        let lease = match self.claim(Claim { ttl, alone: true, ..make::claim(task) }).await {
            Claimed::Leased(lease) => *lease,
            other => panic!("the task was not leased: {other:?}"),
        };
        assert_eq!(self.renew(task, &lease, ttl).await, Renewed::Held);
        lease
    }

    /// Renews a lease.
    pub async fn renew(&self, task: &TaskKey, lease: &Lease, ttl: Duration) -> Renewed {
        let renewal = Renewal { task: task.clone(), fence: lease.fence, ttl, spent: Spend::default() };
        self.store.renew(&[renewal]).await.expect("a lease is renewed").remove(0)
    }

    /// Says how an attempt ended.
    pub async fn settle(&self, task: &TaskKey, lease: &Lease, verdict: Verdict) -> Settled {
        let settle = Settle { task: task.clone(), fence: lease.fence, verdict, spent: Spend::default() };
        self.store.settle(settle).await.expect("an attempt is settled")
    }

    /// Claims a task that must be free, and has it succeed.
    pub async fn done(&self, task: &TaskKey) -> Settled {
        let lease = self.lease(task).await;
        self.settle(task, &lease, Verdict::Done(make::success())).await
    }

    /// Closes a lease.
    pub async fn release(&self, task: &TaskKey, lease: &Lease, release: Release) -> Released {
        self.store.release(task, lease.fence, release).await.expect("a lease is released")
    }

    /// Orders a run to stop because somebody asked.
    pub async fn cancel(&self, key: &RunKey) -> StopAnswer {
        self.stop(&key.id, Cause::Cancelled).await
    }

    /// Orders a run to stop.
    pub async fn stop(&self, run: &RunId, cause: Cause) -> StopAnswer {
        self.store.stop(run, make::order(cause)).await.expect("a run is ordered to stop")
    }

    /// Takes the ready runs of a run's partition, held for a long time.
    pub async fn take_ready(&self, key: &RunKey) -> Vec<Ready> {
        self.store.take_ready(key.partition, 100, LONG).await.expect("ready runs are taken")
    }

    /// Whether a run waits for its plan; takes it if so.
    pub async fn is_ready(&self, key: &RunKey) -> bool {
        self.take_ready(key).await.iter().any(|ready| ready.run.key == *key)
    }

    /// Sweeps a run's partition with plenty of room.
    pub async fn sweep(&self, key: &RunKey) -> Swept {
        self.sweep_within(key, make::limits()).await
    }

    /// Sweeps a run's partition.
    pub async fn sweep_within(&self, key: &RunKey, limits: SweepLimits) -> Swept {
        self.store.sweep(key.partition, limits).await.expect("a partition is swept")
    }

    /// The audit trail of a run, oldest first: who, what, why, and what came of it.
    pub async fn audit(&self, run: &RunId) -> Vec<AuditEntry> {
        let mut rows = self.store.audit(Some(run), None, 1_000).await.expect("the audit trail is read").rows;
        rows.reverse();
        rows
    }

    /// The actions and results of a run's audit trail, oldest first.
    pub async fn audited(&self, run: &RunId) -> Vec<(String, String)> {
        self.audit(run).await.into_iter().map(|entry| (entry.action, entry.result)).collect()
    }
}
