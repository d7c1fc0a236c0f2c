//! The calls of the store port: what each takes and answers.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::checkpoint::{Checkpoint, Values};
use crate::id::{AttemptNumber, Fence, GraphHash, NodeName, Nonce, Revision, RunId, RunKey, TaskId, TaskKey, WorkerId};
use crate::outcome::{Failure, Outcome};
use crate::plan::Then;
use crate::priority::Lane;
use crate::run::RunStatus;
use crate::spend::Spend;
use crate::stop::{NewOrder, StopProof, StopReport};
use crate::store::records::Run;
use crate::task::{HandedBack, NewTask, Task};
use crate::time::Timestamp;

/// The answer to `create_run`.
#[derive(Debug, Clone, PartialEq)]
pub enum Created {
    /// It was made: `queued` (behind a run of its thread, or for a scheduler), or `cancelled` at once because a stop order had arrived before it.
    Made {
        /// Its address.
        key: RunKey,
        /// Where it stands.
        status: RunStatus,
    },
    /// A run of this id was there already; nothing was changed.
    Exists {
        /// Its address.
        key: RunKey,
        /// Where it stands.
        status: RunStatus,
    },
    /// Refused: its thread has a run in flight, and the strategy is `reject`.
    Busy {
        /// The run in flight.
        active: RunId,
    },
    /// Refused: as many runs as are allowed wait on its thread.
    QueueFull {
        /// The limit.
        max: usize,
    },
}

/// The answer to `stop`.
#[derive(Debug, Clone, PartialEq)]
pub enum StopAnswer {
    /// The run is frozen by this order; `report.closed_at` is set if it stopped at once.
    Accepted(StopReport),
    /// The run was under an order already; the first one holds. `forced` if this one added force to it.
    Already {
        /// The first order, and how far it has been carried out.
        report: StopReport,
        /// Whether this order added force.
        forced: bool,
    },
    /// The run had ended by itself.
    Finished(RunStatus),
    /// No such run yet: the order is kept, and will stop it when it is made.
    Early,
}

/// The answer to `shed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// It was ordered to stop, and has: nothing of it was under way.
    Stopped,
    /// Something of it is a worker's or was, or it has child runs or is one: it is left alone.
    Begun,
    /// It was under an order already, has ended, or is not there.
    Frozen,
}

/// An order to some tasks of a run's step in flight; the rest of the run goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct StopTasks {
    /// The run.
    pub run: RunId,
    /// The node whose tasks are stopped.
    pub node: NodeName,
    /// Only these of its items; all of them where empty.
    pub items: Vec<u32>,
    /// Whether the run goes on as if they had written nothing. Otherwise each counts as failed, and the node's policy
    /// says what follows.
    pub skip: bool,
    /// Why, who, and how fast.
    pub order: NewOrder,
}

impl StopTasks {
    /// Whether a task of the step in flight is meant.
    pub fn is_to(&self, task: &TaskId) -> bool {
        task.node == self.node && (self.items.is_empty() || self.items.contains(&task.item))
    }
}

/// The answer to `stop_tasks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TasksStopped {
    /// No such run.
    NotFound,
    /// The run is under a stop order, or has ended: nothing was changed.
    Frozen(RunStatus),
    /// This came of it. All figures are zero where the node has no such task that is unsettled and could be stopped.
    Done(TaskTally),
}

/// What an order to tasks did to them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskTally {
    /// Settled at once: no worker had them.
    pub settled: u32,
    /// Had by a worker, or by a child run, which stops them now.
    pub stopping: u32,
    /// Under an earlier order, to which this one adds nothing.
    pub already: u32,
}

/// A run that waits for its plan, with all that the plan needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Ready {
    /// The run.
    pub run: Run,
    /// Its last checkpoint; absent before the first plan.
    pub checkpoint: Option<Checkpoint>,
    /// The values of that checkpoint.
    pub values: Values,
    /// The tasks of the step in flight, by id; all settled, except those that wait for a human.
    pub tasks: Vec<Task>,
    /// Whether a human has just let it go on from a pause between two steps.
    pub resumed: bool,
    /// How often it was taken at this revision by somebody who neither advanced it nor gave it back: who has died over it.
    pub lost_plans: u32,
}

/// A run that was taken for its plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The run.
    pub run: RunId,
    /// The revision that it was taken at.
    pub revision: Revision,
}

/// What is said of runs that were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// They are worked on.
    InWork,
    /// They are left as they are, for a reason that is none of theirs.
    GivenBack,
}

/// A change of a run's plan, made by `plan`.
#[derive(Debug, Clone, PartialEq)]
pub struct Advance {
    /// The run.
    pub run: RunKey,
    /// The revision that the plan was made for.
    pub expected: Revision,
    /// Makes a repeated call recognisable.
    pub nonce: Nonce,
    /// The checkpoint of the step that is complete; absent if the plan only dispatches or pauses.
    pub checkpoint: Option<Checkpoint>,
    /// The values of the channels whose version is that checkpoint's step.
    pub changed: Values,
    /// What comes then.
    pub then: Then,
}

/// The answer to `advance`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advanced {
    /// Done.
    Ok,
    /// Somebody else has advanced it.
    Conflict,
    /// A stop order holds, or the run has ended.
    Frozen,
}

/// A worker's wish to run a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// Which task.
    pub task: TaskKey,
    /// Who.
    pub worker: WorkerId,
    /// Makes a repeated call recognisable: the same nonce is given the same lease.
    pub nonce: Nonce,
    /// How long the lease lives without a heartbeat.
    pub ttl: Duration,
    /// Take over a lease that was silent for so long; absent: never.
    pub takeover_after: Option<Duration>,
    /// Whether the worker has nothing else under way, and takes nothing beside it until the lease ends.
    pub alone: bool,
}

/// The answer to `claim`.
#[derive(Debug, Clone, PartialEq)]
pub enum Claimed {
    /// The task is the worker's.
    Leased(Box<Lease>),
    /// Another attempt holds it.
    Busy {
        /// The holder.
        worker: WorkerId,
        /// The holder's fence.
        fence: Fence,
        /// For how long it has been silent.
        silent: Duration,
    },
    /// The run is under a stop order.
    Stopped,
    /// The task is settled, waits for its next try, belongs to a past step, or does not exist.
    Stale,
    /// It was under way when a worker crashed: it is given only to a worker that claims it alone.
    Suspect,
    /// This claim found the last crash that was allowed: the task is settled as crashed.
    Poisoned {
        /// How often it crashed while it ran alone.
        crashes: u32,
        /// How often it crashed beside others, or before it began.
        uncounted: u32,
    },
}

/// A worker's right to run an attempt, and what it needs for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// The lease's number.
    pub fence: Fence,
    /// Which try this is, from 1, counted by the retry policy.
    pub attempt: AttemptNumber,
    /// Attempts before this one that crashed, whether they ran alone or not.
    pub crashes: u32,
    /// The task, as it was planned.
    pub task: NewTask,
    /// When the run was made: what is pushed of another run of the same id bears another time.
    pub run_made_at: Timestamp,
    /// The run's graph.
    pub graph_hash: GraphHash,
    /// The run's thread.
    pub thread: crate::id::ThreadId,
    /// The channels that the task reads.
    pub values: Values,
    /// The store's time now.
    pub now: Timestamp,
    /// When it was last queued: until now it has waited for a worker.
    pub queued_at: Timestamp,
    /// When the task's own time is up.
    pub task_deadline: Timestamp,
    /// When the run's time is up.
    pub run_deadline: Timestamp,
    /// Whether it was taken over from a silent worker.
    pub taken_over: bool,
    /// Whether the run, or one above it, limits its cost: what is paid for needs a price then.
    pub limits_cost: bool,
}

/// One lease to be renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// Which task.
    pub task: TaskKey,
    /// The lease's number.
    pub fence: Fence,
    /// How long it shall live from now.
    pub ttl: Duration,
    /// What its attempt has spent so far, all in all; nothing where that was told before.
    pub spent: Spend,
}

/// The answer to one renewal.
#[derive(Debug, Clone, PartialEq)]
pub enum Renewed {
    /// It is still the worker's.
    Held,
    /// It is still the worker's, so that it can clean up; the run, or the task alone, is under this order.
    Stop(Box<StopReport>),
    /// It is not the worker's any more.
    Lost,
}

/// What a worker says of an attempt that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Settle {
    /// Which task.
    pub task: TaskKey,
    /// The lease's number.
    pub fence: Fence,
    /// How it ended.
    pub verdict: Verdict,
    /// What it spent, whatever it came to.
    pub spent: Spend,
}

/// How an attempt ended, with its consequence.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The task has its outcome.
    Done(Outcome),
    /// It failed, and is tried again.
    Retry {
        /// Why it failed.
        failure: Failure,
        /// How long until the next try.
        after: Duration,
    },
    /// It was no try: what it needs is not to be had now, and it comes back later.
    PutOff {
        /// What it waits for.
        failure: Failure,
        /// How long until it is queued again.
        after: Duration,
    },
}

/// The answer to `settle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is written.
    Accepted {
        /// Whether that completed the step.
        step_complete: bool,
    },
    /// The lease is not the writer's any more; nothing was written.
    Stale,
    /// The run, or the task alone, is under a stop order: nothing was written. Release the lease with proof.
    Frozen,
}

/// How a worker lets go of a lease without an outcome.
#[derive(Debug, Clone, PartialEq)]
pub enum Release {
    /// The run, or the task alone, was ordered to stop, and this is what became of the attempt.
    Stopped(StopProof),
    /// The worker is shutting down: the task is queued again at once, and it was no try. It had spent this.
    HandedBack(Spend),
}

impl Release {
    /// What the attempt has spent, all in all.
    pub const fn spent(&self) -> Spend {
        match self {
            Self::Stopped(StopProof { spent, .. }) | Self::HandedBack(spent) => *spent,
        }
    }

    /// The proof that it is under an order: one who hands back lets nothing run on.
    pub fn into_proof(self) -> StopProof {
        match self {
            Self::Stopped(proof) => proof,
            Self::HandedBack(spent) => StopProof { confirmed: true, spent, ..StopProof::default() },
        }
    }
}

/// The answer to `release`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// The lease is closed.
    Accepted {
        /// Whether that ended the run.
        run_ended: bool,
    },
    /// The lease is closed, and the task will be tried again: there is no order to stop it.
    HandedBack(HandedBack),
    /// The lease was not the caller's any more.
    Stale,
}

/// How much one sweep may do in each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepLimits {
    /// Tasks whose time on the agenda has come.
    pub tasks: usize,
    /// Runs whose deadline has passed.
    pub runs: usize,
    /// How long until a task that is handed out for sending is handed out again, unless `mark_sent` says otherwise.
    pub resend_after: Duration,
    /// Queued tasks that fall due within this time are handed out as well. Zero, except when the broker is known to
    /// have lost its messages, such as the embedded queue at start.
    pub ahead: Duration,
}

/// A task to send a message about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// The lane whose queue it goes to.
    pub lane: Lane,
    /// The task.
    pub task: TaskKey,
    /// Whether a message about it was confirmed (`mark_sent`) since it was last queued: that one may be lost, or just wait
    /// behind others.
    pub again: bool,
}

/// What a sweep did and found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Swept {
    /// Tasks to send: new ones that were never marked as sent, retries that are due, expired leases, lost messages.
    pub send: Vec<Sending>,
    /// Leases that had expired.
    pub expired: u32,
    /// Tasks that were settled as crashed: for the dead letters.
    pub poisoned: Vec<TaskKey>,
    /// Tasks that no worker took in time.
    pub queue_timeouts: u32,
    /// Runs that were stopped at their deadline.
    pub overdue: Vec<RunKey>,
    /// Whether a bound was reached, so that another sweep has work at once.
    pub more: bool,
}

/// The answer to an interrupted run.
#[derive(Debug, Clone, PartialEq)]
pub struct Resume {
    /// The run.
    pub run: RunKey,
    /// Makes a repeated call recognisable.
    pub nonce: Nonce,
    /// The outcome of each task whose question is answered, in any number; empty for a pause between steps.
    pub answers: BTreeMap<TaskId, Outcome>,
    /// Who answers.
    pub actor: String,
    /// Why, in their words.
    pub reason: Option<String>,
}

/// The answer to `resume`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed {
    /// It goes on.
    Ok,
    /// The answers are kept, and it waits on: this many of its questions are open.
    StillOpen(u32),
    /// It is not interrupted.
    NotInterrupted(RunStatus),
    /// A task named in the answers does not wait for a human.
    UnknownTask,
    /// Tasks wait for a human, and none of them is answered.
    MissingAnswer,
    /// There is no such run.
    NotFound,
}
