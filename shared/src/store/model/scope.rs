//! The model's reading of orders to single tasks, and of groups: `stop_tasks`, and what a settled task does to its group.

use super::state::Model;
use crate::id::{RunId, TaskId};
use crate::outcome::{Failure, FailureKind, Outcome};
use crate::stop::{Cause, NewOrder, StopOrder, StopReport};
use crate::store::{StopAnswer, StopTasks, TaskTally, TasksStopped};
use crate::task::{Group, TaskState};
use crate::time::Timestamp;

/// An order to one task.
#[derive(Debug, Clone)]
pub(super) struct TaskOrder {
    order: StopOrder,
    forced_at: Option<Timestamp>,
    pub(super) skip: bool,
    why: String,
}

impl TaskOrder {
    pub(super) fn report(&self) -> StopReport {
        StopReport { forced_at: self.forced_at, ..StopReport::new(self.order.clone(), 1) }
    }
}

/// What is ordered.
struct Halt {
    order: NewOrder,
    skip: bool,
    why: String,
}

impl Model {
    /// `stop_tasks`.
    pub fn stop_tasks(&mut self, stop: &StopTasks) -> TasksStopped {
        let Some(run) = self.runs.get(&stop.run) else { return TasksStopped::NotFound };
        let (answer, result) = if run.is_frozen() {
            (TasksStopped::Frozen(run.shown.status), run.shown.status.to_string())
        } else {
            let tasks = run.current().map(|task| task.shown.id.clone()).filter(|id| stop.is_to(id)).collect();
            let halt = Halt { order: stop.order.clone(), skip: stop.skip, why: stop.order.by() };
            let tally = self.halt_all(&stop.run, tasks, &halt);
            let TaskTally { settled, stopping, already } = tally;
            (TasksStopped::Done(tally), format!("{settled} settled, {stopping} stopping, {already} already"))
        };
        let result = format!("{}: {result}", stop.node);
        self.note("stop_tasks", &stop.run, &stop.order.actor, stop.order.reason.as_ref(), &result);
        answer
    }

    fn halt_all(&mut self, id: &RunId, tasks: Vec<TaskId>, halt: &Halt) -> TaskTally {
        let mut tally = TaskTally::default();
        for task in tasks {
            if self.runs[id].is_frozen() {
                break;
            }
            self.halt(id, &task, halt, &mut tally);
        }
        tally
    }

    fn halt(&mut self, id: &RunId, task_id: &TaskId, halt: &Halt, tally: &mut TaskTally) {
        let order = TaskOrder {
            order: StopOrder { order: halt.order.clone(), at: self.now },
            forced_at: None,
            skip: halt.skip,
            why: halt.why.clone(),
        };
        let now = self.now;
        let task = self.task_at(id, task_id);
        match task.shown.state {
            TaskState::Settled | TaskState::Human => {}
            TaskState::Stopping => {
                let first = task.order.as_mut().expect("it is under an order");
                if halt.order.force && !first.order.order.force && first.forced_at.is_none() {
                    first.forced_at = Some(now);
                    tally.stopping += 1;
                } else {
                    tally.already += 1;
                }
            }
            TaskState::Leased => {
                task.order = Some(order);
                task.shown.state = TaskState::Stopping;
                tally.stopping += 1;
            }
            TaskState::Child => {
                task.order.get_or_insert(order);
                let child = task.new.dispatch.child().expect("a child stands for it").id.clone();
                let answer = self.order(&child, &halt.order);
                let is_settled = self.task_at(id, task_id).shown.state == TaskState::Settled;
                match answer {
                    _ if is_settled => tally.settled += 1,
                    StopAnswer::Accepted(_) | StopAnswer::Already { forced: true, .. } => tally.stopping += 1,
                    _ => tally.already += 1,
                }
            }
            TaskState::Pending | TaskState::Queued | TaskState::Delayed | TaskState::Waiting => {
                task.order = Some(order);
                self.settle_stopped(id, task_id, None);
                tally.settled += 1;
            }
        }
    }

    /// Settles a task that is under an order of its own; whether that completes the step.
    pub(super) fn settle_stopped(&mut self, id: &RunId, task_id: &TaskId, partial: Option<serde_json::Value>) -> bool {
        let order = self.task_at(id, task_id).order.clone().expect("it is under an order");
        let outcome = Outcome::Stopped { partial, skipped: order.skip, why: Some(order.why) };
        self.settle_task(id, task_id, outcome)
    }

    /// What a settled task does to its group, if that is not decided yet.
    pub(super) fn settled_in_group(&mut self, id: &RunId, task: &TaskId, outcome: &Outcome, was_pending: bool) {
        let run = self.at(id);
        let Some(place) = run.tasks[task].new.group.and_then(|place| usize::try_from(place).ok()) else { return };
        let is_skipped = matches!(outcome, Outcome::Stopped { skipped: true, .. });
        let Some(Some(group)) = run.groups.get_mut(place) else { return };
        let decided = if outcome.is_bad() {
            let is_last = group.may_fail == Some(0);
            group.may_fail = group.may_fail.map(|left| left.saturating_sub(1));
            is_last.then_some((Cause::SiblingFailed, Group::TOO_MANY_FAILED))
        } else if !is_skipped {
            group.need = group.need.map(|left| left.saturating_sub(1));
            (group.need == Some(0)).then_some((Cause::Superseded, Group::ENOUGH))
        } else {
            None
        };
        let Group { node, first, count, .. } = group.clone();
        let items = (first..first + count).map(|item| TaskId { step: task.step, node: node.clone(), item });
        if let Some((cause, why)) = decided {
            run.groups[place] = None;
            let order = NewOrder {
                cause,
                reason: Some(why.to_owned()),
                actor: format!("node {node}"),
                grace: None,
                force: false,
            };
            let halt = Halt { order, skip: true, why: [Group::BY, why].concat() };
            self.halt_all(id, items.collect(), &halt);
        } else if !was_pending {
            for item in items.collect::<Vec<_>>() {
                let run = &self.runs[id];
                if run.is_frozen() || run.groups[place].is_none() {
                    return;
                }
                if run.tasks[&item].shown.state == TaskState::Pending && self.admit(id, &item) {
                    return;
                }
            }
        }
    }

    /// Lets a task in; whether it goes on.
    fn admit(&mut self, id: &RunId, task_id: &TaskId) -> bool {
        let now = self.now;
        let task = self.task_at(id, task_id);
        task.made_at = now;
        let Some(child) = task.new.dispatch.child().cloned() else {
            self.queue(id, task_id, now);
            return true;
        };
        let child_id = child.id.clone();
        let outcome = if self.make_child(child, id) {
            let status = self.runs[&child_id].shown.status;
            if !status.is_final() {
                self.task_at(id, task_id).shown.state = TaskState::Child;
                return true;
            }
            self.child_ended(&child_id)
        } else {
            Outcome::Failed { failure: Failure::new(FailureKind::Child, "").at(&task_id.node) }
        };
        self.settle_task(id, task_id, outcome);
        false
    }
}
