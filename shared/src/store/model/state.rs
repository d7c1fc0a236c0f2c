//! What the model remembers, and how it shows it: the plainest records that can hold what `docs/store.md` speaks of.
//! Nothing that follows from something else is kept: counters are counted, never carried along.

use std::collections::BTreeMap;

use serde_json::Value;

use super::scope::TaskOrder;
use crate::checkpoint::{Checkpoint, StoredCheckpoint, Values};
use crate::id::{ChannelName, Fence, Nonce, Partition, Revision, RunId, RunKey, Step, TaskId, ThreadId};
use crate::limits::Limit;
use crate::outcome::Outcome;
use crate::run::RunStatus;
use crate::spend::Spend;
use crate::stop::StopReport;
use crate::store::{AuditEntry, Ends, Event, NewRun, Run, Thread};
use crate::task::{Group, HandedBack, NewTask, Solitude, Task, TaskState};
use crate::time::Timestamp;

/// A store as a few maps. Its time is set from outside.
#[derive(Debug)]
pub struct Model {
    pub(super) now: Timestamp,
    pub(super) partitions: u16,
    pub(super) runs: BTreeMap<RunId, RunState>,
    pub(super) threads: BTreeMap<ThreadId, Thread>,
    pub(super) early: BTreeMap<RunId, StopReport>,
    pub(super) audit: Vec<AuditEntry>,
}

#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "the plainest record there can be: each says one thing of a run")]
pub(super) struct RunState {
    pub(super) new: NewRun,
    /// As it is shown, but for the counters.
    pub(super) shown: Run,
    pub(super) ready_at: Option<Timestamp>,
    pub(super) is_taken: bool,
    pub(super) lost_plans: (Revision, u32),
    pub(super) among_deadlines: bool,
    pub(super) fence: Fence,
    pub(super) advanced_by: Option<Nonce>,
    pub(super) resumed_by: Option<Nonce>,
    pub(super) resumed: bool,
    pub(super) take_back: bool,
    pub(super) tasks: BTreeMap<TaskId, TaskRecord>,
    /// Those of the step in flight, until they are decided.
    pub(super) groups: Vec<Option<Group>>,
    pub(super) checkpoints: BTreeMap<Step, StoredCheckpoint>,
    pub(super) values: BTreeMap<(ChannelName, Step), Value>,
    pub(super) events: Vec<Event>,
}

#[derive(Debug, Clone)]
pub(super) struct TaskRecord {
    pub(super) new: NewTask,
    pub(super) shown: Task,
    pub(super) made_at: Timestamp,
    pub(super) queued_at: Timestamp,
    pub(super) renewed_at: Timestamp,
    pub(super) due: Option<Timestamp>,
    pub(super) sent: bool,
    pub(super) nonce: Option<Nonce>,
    pub(super) taken_over: bool,
    pub(super) alone: Solitude,
    /// The lease of the last crash that counts.
    pub(super) blamed: Fence,
    /// What renewals of a lease have told that it had spent.
    pub(super) counted: Option<(Fence, Spend)>,
    pub(super) answered: Option<Answer>,
    /// Which lease was handed back last, and what that was answered.
    pub(super) handed_back_by: Option<(Fence, HandedBack)>,
    pub(super) order: Option<TaskOrder>,
}

/// The last settle or release of a task.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) was_release: bool,
    pub(super) fence: Fence,
    pub(super) end: bool,
}

impl RunState {
    /// Puts it into the ready set: whoever had it before has it no more.
    pub(super) fn make_ready(&mut self, now: Timestamp) {
        self.ready_at = Some(self.new.spec.priority.ready_since(now));
        self.is_taken = false;
    }

    pub(super) const fn is_frozen(&self) -> bool {
        matches!(self.shown.status, RunStatus::Stopping) || self.shown.status.is_final()
    }

    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        !self.is_frozen() && self.shown.deadline_at.is_some_and(|deadline| deadline <= now)
    }

    /// The tasks of the step in flight.
    pub(super) fn current(&self) -> impl Iterator<Item = &TaskRecord> {
        self.tasks.values().filter(|task| task.shown.id.step == self.shown.step)
    }

    fn count(&self, which: impl Fn(TaskState) -> bool) -> u32 {
        u32::try_from(self.current().filter(|task| which(task.shown.state)).count()).expect("a step has few tasks")
    }

    pub(super) fn open_tasks(&self) -> u32 {
        self.count(|state| !matches!(state, TaskState::Settled | TaskState::Human))
    }

    pub(super) fn open_leases(&self) -> u32 {
        self.count(TaskState::has_lease)
    }

    pub(super) fn open_children(&self) -> u32 {
        self.count(|state| state == TaskState::Child)
    }

    pub(super) fn last_checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoints.last_key_value().map(|(_, stored)| &stored.checkpoint)
    }

    /// The values of a checkpoint.
    pub(super) fn values_at(&self, step: Step) -> Option<Values> {
        let versions = &self.checkpoints.get(&step)?.checkpoint.versions;
        let value = |(channel, version): (&ChannelName, &Step)| {
            self.values.get(&(channel.clone(), *version)).map(|value| (channel.clone(), value.clone()))
        };
        Some(versions.iter().filter_map(value).collect())
    }

    pub(super) fn show(&self) -> Run {
        Run { open_tasks: self.open_tasks(), open_leases: self.open_leases(), ..self.shown.clone() }
    }
}

impl TaskRecord {
    fn at_most_the_runs(time: Timestamp, run: &RunState) -> Timestamp {
        run.shown.deadline_at.map_or(time, |deadline| time.min(deadline))
    }

    pub(super) fn deadline(&self, run: &RunState) -> Timestamp {
        Self::at_most_the_runs(self.made_at.after(self.new.timeout), run)
    }

    pub(super) fn queue_deadline(&self, run: &RunState) -> Timestamp {
        Self::at_most_the_runs(self.queued_at.after(self.new.queue_timeout), run)
    }

    pub(super) fn earlier_deadline(&self, run: &RunState) -> Timestamp {
        self.deadline(run).min(self.queue_deadline(run))
    }
}

impl Model {
    /// An empty store.
    pub fn new(partitions: u16) -> Self {
        Self {
            now: Timestamp::default(),
            partitions,
            runs: BTreeMap::new(),
            threads: BTreeMap::new(),
            early: BTreeMap::new(),
            audit: Vec::new(),
        }
    }

    /// Sets its time.
    pub const fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }

    pub(super) fn at(&mut self, id: &RunId) -> &mut RunState {
        self.runs.get_mut(id).expect("the model asks for runs that it has")
    }

    pub(super) fn task_at(&mut self, run: &RunId, task: &TaskId) -> &mut TaskRecord {
        self.at(run).tasks.get_mut(task).expect("the model asks for tasks that it has")
    }

    /// The run of an address.
    pub(super) fn found(&self, key: &RunKey) -> Option<&RunState> {
        self.runs.get(&key.id).filter(|run| run.shown.key == *key)
    }

    /// All runs, newest first.
    pub fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = self.runs.values().map(RunState::show).collect();
        runs.sort_by(|a, b| (b.created_at, &b.key.id).cmp(&(a.created_at, &a.key.id)));
        runs
    }

    /// The tasks of a step, by node and item.
    pub fn tasks(&self, run: &RunId, step: Step) -> Vec<Task> {
        let tasks = self.runs.get(run).into_iter().flat_map(|run| run.tasks.values());
        tasks.map(|task| task.shown.clone()).filter(|task| task.id.step == step).collect()
    }

    /// A thread.
    pub fn thread(&self, id: &ThreadId) -> Option<Thread> {
        self.threads.get(id).cloned()
    }

    /// A run's audit trail, oldest first.
    pub fn audit(&self, run: &RunId) -> Vec<AuditEntry> {
        self.audit.iter().filter(|entry| entry.run == *run).cloned().collect()
    }

    /// A run's checkpoints, oldest first.
    pub fn checkpoints(&self, run: &RunId) -> Vec<StoredCheckpoint> {
        self.runs.get(run).map(|run| run.checkpoints.values().cloned().collect()).unwrap_or_default()
    }

    /// The values of a run's checkpoint.
    pub fn values(&self, run: &RunId, step: Step) -> Option<Values> {
        self.runs.get(run)?.values_at(step)
    }

    /// A run's events.
    pub fn events(&self, run: &RunId) -> Vec<Event> {
        self.runs.get(run).map(|run| run.events.clone()).unwrap_or_default()
    }

    /// What has ended, and how.
    pub fn ends(&self) -> Ends {
        let mut ends = Ends::default();
        for run in self.runs.values().map(|run| &run.shown).filter(|run| run.status.is_final()) {
            let cause = run.stop.as_ref().map(|report| report.order.order.cause);
            *ends.runs.entry((run.status, cause)).or_default() += 1;
        }
        for task in self.runs.values().flat_map(|run| run.tasks.values()) {
            match task.shown.outcome {
                Some(Outcome::Crashed { .. }) => ends.tasks_crashed += 1,
                Some(Outcome::TimedOut { limit: Limit::QueueTimeout, .. }) => ends.queue_timeouts += 1,
                Some(_) | None => {}
            }
        }
        ends
    }

    pub(super) fn partition_of(&self, thread: &ThreadId) -> Partition {
        Partition::of(thread, self.partitions)
    }
}
