//! The port itself.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::{
    Advance, Advanced, AuditEntry, BreakerCall, BreakerView, Claim, Claimed, Created, Ends, Error, Event, Held,
    MeterCall, NewEvent, NewRun, Page, PolicyChange, PolicyChanged, Ready, Release, Released, Renewal, Renewed, Resume,
    Resumed, Run, RunFilter, Settle, Settled, Shed, Signal, StopAnswer, StopTasks, StoredGraph, SweepLimits, Swept,
    Taken, TasksStopped, Thread, Trouble, WorkerRecord,
};
use crate::checkpoint::{StoredCheckpoint, Values};
use crate::id::{Fence, GraphHash, Partition, PoolName, RunId, RunKey, Step, TaskKey, ThreadId};
use crate::load::PoolLoad;
use crate::policy::{Named, Reading};
use crate::stop::NewOrder;
use crate::task::Task;
use crate::time::Timestamp;
use crate::upstream::{Admission, Rate, UpstreamName};

/// Receives what a store pushes. One that lags reads `Lagged`, and treats it as [`Signal::Lost`].
pub type SignalReceiver = broadcast::Receiver<Signal>;

/// The truth about runs. All methods answer [`Error::Unavailable`] where the store cannot be reached.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// Keeps a graph under its hash. Keeping it again changes nothing.
    async fn put_graph(&self, graph: &StoredGraph) -> Result<(), Error>;

    /// The graph of this hash.
    async fn graph(&self, hash: &GraphHash) -> Result<Option<StoredGraph>, Error>;

    /// Makes a run, and starts it if its thread is free: it is then in its partition's ready set, its deadline is set,
    /// and its base is the thread's head (or what `Start::From` names). With `interrupt` or `rollback` the run in
    /// flight is ordered to stop (cause `superseded`), runs that wait on the thread are ended as superseded, and the new one starts
    /// when the one in flight has closed; `rollback` moves the thread's head back to the stopped run's base.
    /// A child run starts at once and is on no thread's queue. A stop order that came before the run ends it at once.
    async fn create_run(&self, run: NewRun) -> Result<Created, Error>;

    /// Freezes a run and writes the order, in one step; the order cascades to its child runs, at every depth. From
    /// then on `claim` answers stopped, `settle` and `advance` frozen. A run without open leases ends at once. Orders
    /// are kept for runs that do not exist yet, for a day. An order by force after a graceful one adds
    /// `forced_at`. Pushes [`Signal::Stop`] for each run that has open leases; writes the audit entry.
    async fn stop(&self, run: &RunId, order: NewOrder) -> Result<StopAnswer, Error>;

    /// Orders tasks of a run's step in flight to stop: those of one node, or some of its items. Those that nobody has are
    /// settled as stopped in the same step; those that a worker has are told to it ([`Signal::StopTasks`], and by
    /// `renew`), and their results are refused from then on; a child run is ordered to stop. Tasks that wait for a human
    /// are passed over: they are answered by `resume`. Writes the audit entry.
    async fn stop_tasks(&self, stop: StopTasks) -> Result<TasksStopped, Error>;

    /// Takes up to `limit` runs of a partition that wait for their plan, longest waiting first, with all that the plan needs. A run that
    /// was taken is not handed out again for `hold`, unless it becomes ready again by an `advance` in between. If it is handed
    /// out again because whoever had it neither advanced it nor gave it back, its plan counts as lost.
    async fn take_ready(&self, partition: Partition, limit: usize, hold: Duration) -> Result<Vec<Ready>, Error>;

    /// Hides runs that were taken for `hold` from now, those that are still at the revision they were taken at. Whoever has
    /// them says so from time to time while it works on them, or gives them back, which forgets the plans that were lost.
    async fn hold_ready(&self, partition: Partition, runs: &[Taken], hold: Duration, state: Held) -> Result<(), Error>;

    /// Changes a run's plan if nobody else has: writes the checkpoint and the changed values, makes the tasks
    /// and child runs (or reports the end), counts the revision up and takes the run out of the ready set (puts it back if all its new
    /// tasks are settled). Queued tasks go on the agenda, due for sending after two seconds. The end of a run moves its thread's head, starts the
    /// thread's next run, and settles the parent's task of a child run. The same nonce is answered as the first time.
    async fn advance(&self, advance: Advance) -> Result<Advanced, Error>;

    /// Gives a worker a queued task of the step in flight, with a fence higher than any before in this run. Takes over
    /// a silent lease if asked to, which counts as a crash of the attempt before; the last crash that is allowed
    /// settles the task as crashed instead. A queued task whose time is up is settled as timed out and answered stale.
    async fn claim(&self, claim: Claim) -> Result<Claimed, Error>;

    /// Renews leases; the answers are in the order of the renewals. Under a stop order a lease is renewed for its ttl only until
    /// order + grace + ttl, after that it is lost. One past its task's deadline + grace + ttl is lost too.
    async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>, Error>;

    /// Writes how an attempt ended, and gives the next task of its group its turn ([`Signal::Due`]). The settle that completes the step makes the run ready and pushes
    /// [`Signal::Ready`]. A bad outcome of a task that `fails_run` orders the run to stop (cause `sibling_failed`, the
    /// failure kept as the run's) if siblings are unsettled; if none is, the plan ends it. The same fence is answered
    /// as the first time, as long as the task's record is kept.
    async fn settle(&self, settle: Settle) -> Result<Settled, Error>;

    /// Closes a lease without an outcome. The last one to close under a stop order ends the run in the same step: status by cause,
    /// times, thread, parent.
    async fn release(&self, task: &TaskKey, fence: Fence, release: Release) -> Result<Released, Error>;

    /// Notes that messages about these tasks are confirmed by the broker; each is handed out by a sweep again only
    /// after `resend_after`, if it is still unclaimed then.
    async fn mark_sent(&self, tasks: &[TaskKey], resend_after: Duration) -> Result<(), Error>;

    /// Does what is overdue in one partition, within limits: expired leases (queued again, counted as crashes, or unconfirmed under
    /// a stop order), due retries and waits, queue timeouts, unsent tasks, runs past their deadline (ordered to stop,
    /// cause `deadline`), runs that were taken but not advanced.
    async fn sweep(&self, partition: Partition, limits: SweepLimits) -> Result<Swept, Error>;

    /// Lets an interrupted run go on, with the outcomes of the tasks that waited for a human. Writes the audit entry.
    async fn resume(&self, resume: Resume) -> Result<Resumed, Error>;

    /// Adds events of a run, in order; keeps the newest of a bounded number.
    async fn emit(&self, run: &RunKey, events: Vec<NewEvent>) -> Result<(), Error>;

    /// Records a worker as seen now.
    async fn report_worker(&self, worker: WorkerRecord) -> Result<(), Error>;

    /// Forgets a worker that has shut down.
    async fn forget_worker(&self, worker: &crate::id::WorkerId) -> Result<(), Error>;

    /// Workers seen within the last minute.
    async fn workers(&self) -> Result<Vec<WorkerRecord>, Error>;

    /// The address of a run.
    async fn locate(&self, run: &RunId) -> Result<Option<RunKey>, Error>;

    /// A run.
    async fn run(&self, run: &RunId) -> Result<Option<Run>, Error>;

    /// A thread.
    async fn thread(&self, thread: &ThreadId) -> Result<Option<Thread>, Error>;

    /// Runs, newest first. `cursor` is a page's `next`.
    async fn runs(&self, filter: &RunFilter, cursor: Option<&str>, limit: usize) -> Result<Page<Run>, Error>;

    /// A run's checkpoints, oldest first, from step `from` on.
    async fn checkpoints(&self, run: &RunKey, from: Step, limit: usize) -> Result<Vec<StoredCheckpoint>, Error>;

    /// The values of a run's checkpoint; absent if it has no such checkpoint.
    async fn values(&self, run: &RunKey, step: Step) -> Result<Option<Values>, Error>;

    /// The tasks of one step of a run, ordered by node and item, from place `skip` on.
    async fn tasks(&self, run: &RunKey, step: Step, skip: usize, limit: usize) -> Result<Vec<Task>, Error>;

    /// A run's events after `seq`, oldest first.
    async fn events(&self, run: &RunKey, after: u64, limit: usize) -> Result<Vec<Event>, Error>;

    /// The audit trail, newest first; of one run, or of all. `cursor` is a page's `next`.
    async fn audit(&self, run: Option<&RunId>, cursor: Option<&str>, limit: usize) -> Result<Page<AuditEntry>, Error>;

    /// Keeps how a pool is judged for this long, unless another scheduler's judgement of it holds; answers the one that holds then.
    async fn report_load(&self, load: &PoolLoad, ttl: Duration) -> Result<PoolLoad, Error>;

    /// How a pool is judged, if anybody does.
    async fn load(&self, pool: &PoolName) -> Result<Option<PoolLoad>, Error>;

    /// Orders a run to stop, unless any of it was ever a worker's: a run with a lease in its past, with child runs, or that is one
    /// itself is left alone. Writes the audit entry of a stop.
    async fn shed(&self, run: &RunKey, order: NewOrder) -> Result<Shed, Error>;

    /// How many runs have ended since the store was made, of all partitions together.
    async fn ends(&self) -> Result<Ends, Error>;

    /// Whether an upstream may be called now, at this rate of all who ask; if so, the call counts. Of a repeated call both
    /// count: rather too few calls than too many.
    async fn admit(&self, upstream: &UpstreamName, rate: &Rate) -> Result<Admission, Error>;

    /// Moves the breaker of an upstream by an event, and answers where it stands then. What was reported in a call that is
    /// repeated counts twice.
    async fn breaker(&self, call: BreakerCall) -> Result<BreakerView, Error>;

    /// The operators' policies, by name.
    async fn policies(&self) -> Result<Vec<Named>, Error>;

    /// Sets or removes a policy. Writes the audit entry.
    async fn set_policy(&self, change: PolicyChange) -> Result<PolicyChanged, Error>;

    /// Counts in the window of a policy, and says what was used in it: if nothing that is limited is used up, or in any case
    /// where it must be. Of a repeated call both count: rather too much than too little.
    async fn meter(&self, call: MeterCall) -> Result<Reading, Error>;

    /// How many partitions there are.
    fn partitions(&self) -> u16;

    /// The store's time.
    async fn now(&self) -> Result<Timestamp, Error>;

    /// The store's time, by a call that also writes: what answers it can be worked with. A store that only reads, such as one
    /// that a failover has left behind, or a full disk, does not.
    async fn probe(&self) -> Result<Timestamp, Error>;

    /// What is wrong with the store right now, if the adapter knows without asking: as long as its calls fail, or one waits for
    /// longer than it should. It tells a process that only reads of writes that fail.
    fn trouble(&self) -> Option<Trouble> {
        None
    }

    /// Subscribes to what is pushed.
    fn signals(&self) -> SignalReceiver;
}
