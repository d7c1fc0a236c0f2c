//! What the store keeps and shows.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::duration;
use crate::id::{GraphHash, GraphName, Partition, PoolName, Revision, RunId, RunKey, Step, TaskId, ThreadId, WorkerId};
use crate::limits::{LEASE_TTL, REPORT_EVERY};
use crate::outcome::Failure;
use crate::priority::Priority;
use crate::run::RunStatus;
use crate::spend::Spend;
use crate::stop::{Cause, StopReport};
pub use crate::submission::{NewRun, OnConflict, Parent, RunSpec, Start};
use crate::time::Timestamp;

/// A run as the store shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its address.
    #[serde(flatten)]
    pub key: RunKey,
    /// Its thread.
    pub thread: ThreadId,
    /// Its graph's name.
    pub graph: GraphName,
    /// Its graph's exact version.
    pub graph_hash: GraphHash,
    /// Where it stands.
    pub status: RunStatus,
    /// The step in flight, or the last one; 0 before the first plan.
    pub step: Step,
    /// How often its plan has changed.
    pub revision: Revision,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it left its thread's queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// When its `run_timeout` passes; set when it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_at: Option<Timestamp>,
    /// Tasks of the step in flight that have no outcome yet.
    pub open_tasks: u32,
    /// The leases that are open.
    pub open_leases: u32,
    /// The run and checkpoint whose state it went on from: its thread's head when it started, or `Start::From`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<(RunId, Step)>,
    /// The parent's task, for a child run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// The stop order and how it was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopReport>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What it has spent at models, its child runs included.
    #[serde(default, skip_serializing_if = "Spend::is_nothing")]
    pub spent: Spend,
    /// Child runs that its steps have asked for, at every depth together.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub descendants: u64,
    /// The rest.
    pub spec: RunSpec,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What has ended since the store was made, whoever ended it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ends {
    /// Runs, by status and, for those that were under an order, by its cause. What never happened is absent.
    pub runs: BTreeMap<(RunStatus, Option<Cause>), u64>,
    /// Tasks that were given up since too many of their attempts crashed.
    pub tasks_crashed: u64,
    /// Tasks that no worker took within their `queue_timeout`.
    pub queue_timeouts: u64,
}

/// The status under which the ends of tasks are counted; their cause is one of the two below.
pub(crate) const TASK_ENDS: &str = "task";
/// The cause of tasks that were given up since too many of their attempts crashed.
pub(crate) const ENDED_CRASHED: &str = "crashed";
/// The cause of tasks that no worker took in time.
pub(crate) const ENDED_IN_QUEUE: &str = "queue_timeout";

impl Ends {
    /// Adds a count by the names under which it is kept, the cause's empty where there is none. One that this build does not
    /// know is left to a later one.
    pub(crate) fn add(&mut self, status: &str, cause: &str, count: u64) {
        match (status, cause) {
            (TASK_ENDS, ENDED_CRASHED) => self.tasks_crashed += count,
            (TASK_ENDS, ENDED_IN_QUEUE) => self.queue_timeouts += count,
            (status, cause) => {
                let of_order = Cause::from_name(cause);
                let is_known = cause.is_empty() || of_order.is_some();
                if let Some(status) = RunStatus::from_name(status).filter(|_| is_known) {
                    *self.runs.entry((status, of_order)).or_default() += count;
                }
            }
        }
    }
}

/// Something that a node reported while it ran: `progress` or an event of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewEvent {
    /// The task it comes from.
    pub task: TaskId,
    /// `progress`, or the handler's own word.
    pub kind: String,
    /// What it reported.
    pub value: Value,
}

/// An event with its place and time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Grows within a run; a cursor.
    pub seq: u64,
    /// When it was stored.
    pub at: Timestamp,
    /// What was reported.
    #[serde(flatten)]
    pub event: NewEvent,
}

/// One entry of the audit trail: a stop order, a resume or another command, with its result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When, by the store's clock.
    pub at: Timestamp,
    /// What was done: `stop`, `force`, `stop_tasks`, `resume`, `set_policy`, `remove_policy`.
    pub action: String,
    /// Which run; `policies` for a change of the policies.
    pub run: RunId,
    /// Who did it.
    pub actor: String,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What came of it, such as `accepted`, `already` or `finished`.
    pub result: String,
}

/// What a program of the fleet is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It executes tasks.
    #[default]
    Worker,
    /// It plans runs and sends their tasks.
    Scheduler,
}

impl Role {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Scheduler => "scheduler",
        }
    }

    /// Whether it is what a record leaves out.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    fn is_worker(&self) -> bool {
        *self == Self::Worker
    }
}

/// How a program of the fleet stands, by its last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It does its work.
    TakingWork,
    /// It takes no new work.
    Draining,
    /// Its last two reports are missing.
    Silent,
    /// It has not reported for as long as a lease lives: others take over what it had.
    Lost,
}

impl Standing {
    /// Its name in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TakingWork => "taking work",
            Self::Draining => "draining",
            Self::Silent => "silent",
            Self::Lost => "lost",
        }
    }
}

impl WorkerRecord {
    /// How it stands now, by the store's clock.
    pub fn standing(&self, now: Timestamp) -> Standing {
        let silent = now.since(self.seen_at);
        if silent >= LEASE_TTL {
            Standing::Lost
        } else if silent >= REPORT_EVERY * 2 + REPORT_EVERY / 2 {
            Standing::Silent
        } else if self.draining {
            Standing::Draining
        } else {
            Standing::TakingWork
        }
    }
}

/// A worker, or another program of the fleet, as it last reported itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// Which worker.
    pub id: WorkerId,
    /// What it is.
    #[serde(default, skip_serializing_if = "Role::is_worker")]
    pub role: Role,
    /// The pools it serves.
    pub pools: Vec<PoolName>,
    /// Attempts it can run at once.
    pub slots: u32,
    /// Slots that are taken: by the attempts it runs now, or all of them while it runs one alone or is about to.
    pub busy: u32,
    /// Slots whose handler blocks and was fenced.
    pub stuck: u32,
    /// How long the tasks had waited for a worker that it took since its report before: the longest of each pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waited: Vec<Waited>,
    /// Whether it takes no new work.
    pub draining: bool,
    /// Its version.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it last reported, by the store's clock. Written by the store.
    pub seen_at: Timestamp,
}

/// How long tasks of a pool had waited for a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waited {
    /// The pool.
    pub pool: PoolName,
    /// The longest of them.
    #[serde(with = "duration")]
    pub longest: Duration,
}

/// Where a thread stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Thread {
    /// Which thread.
    pub id: ThreadId,
    /// The run in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<RunId>,
    /// Runs that wait for their turn, first come first.
    pub queue: Vec<RunId>,
    /// The checkpoint that holds the thread's state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<(RunId, Step)>,
}

/// Which runs a listing shows. Absent conditions hold for all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunFilter {
    /// In one of these states; any where empty.
    pub status: Vec<RunStatus>,
    /// On this thread.
    pub thread: Option<ThreadId>,
    /// Of this graph.
    pub graph: Option<GraphName>,
    /// With all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Made before this.
    pub created_before: Option<Timestamp>,
    /// Of this priority.
    #[serde(default)]
    pub priority: Option<Priority>,
}

impl RunFilter {
    /// Whether a run is shown.
    pub fn admits(&self, run: &Run) -> bool {
        (self.status.is_empty() || self.status.contains(&run.status))
            && self.thread.as_ref().is_none_or(|thread| *thread == run.thread)
            && self.graph.as_ref().is_none_or(|graph| *graph == run.graph)
            && self.labels.iter().all(|(name, value)| run.spec.labels.get(name) == Some(value))
            && self.created_before.is_none_or(|before| run.created_at < before)
            && self.priority.is_none_or(|priority| run.spec.priority == priority)
    }
}

/// One page of a listing; `next` is the cursor of the page after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Where to go on; absent at the end. Opaque.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What a store pushes. It hastens; it guarantees nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Signal {
    /// A run was ordered to stop.
    Stop {
        /// Which run.
        run: RunId,
        /// When that run was made: another of the same id, made before or after, is not meant.
        made_at: Timestamp,
        /// The order, as [`StopReport`] has it.
        report: Box<StopReport>,
    },
    /// Tasks of a run that workers have were ordered to stop, and nothing else of it.
    StopTasks {
        /// Which run.
        run: RunId,
        /// When that run was made.
        made_at: Timestamp,
        /// Which of its tasks.
        tasks: Vec<TaskId>,
        /// The order.
        report: Box<StopReport>,
    },
    /// Tasks of a partition became due for sending just now.
    Due(Partition),
    /// A run of this partition is ready to be advanced.
    Ready(crate::id::Partition),
    /// Pushes may have been lost: read everything again.
    Lost,
}

/// A graph as it is stored: canonical JSON under its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredGraph {
    /// The hash of `json`.
    pub hash: GraphHash,
    /// Its name.
    pub name: GraphName,
    /// The definition as canonical JSON.
    pub json: String,
}
