//! The model's reading of how runs begin, are ordered to stop, and end.

use super::state::{Model, RunState};
use crate::id::{Partition, RunId, RunKey, TaskId};
use crate::limits::THREAD_QUEUE_MAX;
use crate::outcome::{Failure, FailureKind, Outcome};
use crate::run::RunStatus;
use crate::stop::{Cause, NewOrder, StopOrder, StopReport};
use crate::store::{AuditEntry, Created, NewRun, OnConflict, Run, Shed, Start, StopAnswer, Thread};
use crate::task::TaskState;

impl Model {
    /// `create_run`.
    pub fn create_run(&mut self, new: NewRun) -> Created {
        if let Some(run) = self.runs.get(&new.id) {
            return Created::Exists { key: run.shown.key.clone(), status: run.shown.status };
        }
        let (id, thread) = (new.id.clone(), new.thread.clone());
        let partition = self.partition_of(&thread);
        if self.early.contains_key(&id) {
            self.make(new, partition);
            return self.made(&id);
        }
        let queue = self.threads.get(&thread).map_or(0, |thread| thread.queue.len());
        let active = self.threads.get(&thread).and_then(|thread| thread.active.clone());
        match (active, new.on_conflict) {
            (Some(active), OnConflict::Reject) => return Created::Busy { active },
            (Some(_), OnConflict::Enqueue) if queue >= THREAD_QUEUE_MAX => {
                return Created::QueueFull { max: THREAD_QUEUE_MAX };
            }
            (Some(_), OnConflict::Enqueue) => {
                self.make(new, partition);
                self.thread_of(&id).queue.push(id.clone());
            }
            (Some(active), strategy @ (OnConflict::Interrupt | OnConflict::Rollback)) => {
                self.make(new, partition);
                self.supersede(&active, &id, strategy == OnConflict::Rollback);
            }
            (None, _) => {
                self.make(new, partition);
                self.thread_of(&id).active = Some(id.clone());
                self.start(&id);
            }
        }
        self.made(&id)
    }

    fn made(&mut self, id: &RunId) -> Created {
        let spec = self.runs[id].new.spec.clone();
        if let Start::From { run, step, .. } = &spec.start {
            self.note("resume", id, &spec.actor, spec.reason.as_ref(), &format!("from run {run} step {step}"));
        }
        let run = &self.runs[id].shown;
        Created::Made { key: run.key.clone(), status: run.status }
    }

    fn supersede(&mut self, active: &RunId, new: &RunId, take_back: bool) {
        let order = NewOrder {
            cause: Cause::Superseded,
            reason: Some(format!("superseded by run {new}")),
            actor: format!("run {new}"),
            grace: None,
            force: false,
        };
        if take_back {
            self.at(active).take_back = true;
        }
        for waiting in self.thread_of(new).queue.clone() {
            self.stop(&waiting, &order);
        }
        self.thread_of(new).queue.push(new.clone());
        self.stop(active, &order);
    }

    /// Makes the record; an early order ends the run at once.
    fn make(&mut self, new: NewRun, partition: Partition) {
        let id = new.id.clone();
        let early = self.early.remove(&id).map(|order| StopReport { closed_at: Some(self.now), ..order });
        let shown = Run {
            key: RunKey { partition, id: id.clone() },
            thread: new.thread.clone(),
            graph: new.graph.clone(),
            graph_hash: new.graph_hash.clone(),
            status: early.as_ref().map_or(RunStatus::Queued, |report| report.order.order.cause.end()),
            step: crate::id::Step::new(0),
            revision: crate::id::Revision::new(0),
            created_at: self.now,
            started_at: None,
            ended_at: early.as_ref().map(|_| self.now),
            deadline_at: None,
            open_tasks: 0,
            open_leases: 0,
            base: None,
            parent: new.parent.clone(),
            stop: early,
            failure: None,
            spent: crate::spend::Spend::default(),
            descendants: 0,
            spec: new.spec.clone(),
        };
        let state = RunState {
            new,
            shown,
            ready_at: None,
            is_taken: false,
            lost_plans: Default::default(),
            among_deadlines: false,
            fence: crate::id::Fence::new(0),
            advanced_by: None,
            resumed_by: None,
            resumed: false,
            take_back: false,
            tasks: std::collections::BTreeMap::new(),
            groups: Vec::new(),
            checkpoints: std::collections::BTreeMap::new(),
            values: std::collections::BTreeMap::new(),
            events: Vec::new(),
        };
        self.runs.insert(id, state);
    }

    /// A child run, made by its parent's step; whether its id was free.
    pub(super) fn make_child(&mut self, new: NewRun, parent: &RunId) -> bool {
        if self.runs.contains_key(&new.id) {
            return false;
        }
        let id = new.id.clone();
        let partition = self.runs[parent].shown.key.partition;
        self.make(new, partition);
        if self.runs[&id].shown.status.is_final() {
            self.tell_parent(&id);
        } else {
            self.start(&id);
        }
        true
    }

    fn thread_of(&mut self, run: &RunId) -> &mut Thread {
        let id = self.runs[run].shown.thread.clone();
        let empty = Thread { id: id.clone(), active: None, queue: Vec::new(), head: None };
        self.threads.entry(id).or_insert(empty)
    }

    fn start(&mut self, id: &RunId) {
        let run = &self.runs[id];
        let own = self.now.after(run.new.run_timeout);
        let parent = run.new.parent.as_ref().map(|parent| parent.run.clone());
        let parents = parent.as_ref().and_then(|parent| self.runs[parent].shown.deadline_at);
        let base = match &run.new.spec.start {
            Start::From { run, step, .. } => Some((run.clone(), *step)),
            Start::Fresh if parent.is_some() => None,
            Start::Fresh => self.threads.get(&run.shown.thread).and_then(|thread| thread.head.clone()),
        };
        let now = self.now;
        let run = self.at(id);
        run.shown.started_at = Some(now);
        run.shown.deadline_at = Some(parents.map_or(own, |parents| parents.min(own)));
        run.among_deadlines = parents.is_none_or(|parents| own < parents);
        run.shown.base = base;
        run.make_ready(now);
    }

    /// `shed`.
    pub fn shed(&mut self, key: &RunKey, order: &NewOrder) -> Shed {
        match self.found(key) {
            Some(run) if !run.is_frozen() => {
                if run.fence.get() > 0 || run.open_children() > 0 || run.new.parent.is_some() {
                    return Shed::Begun;
                }
            }
            Some(_) | None => return Shed::Frozen,
        }
        self.stop(&key.id, order);
        Shed::Stopped
    }

    /// `stop`.
    pub fn stop(&mut self, id: &RunId, order: &NewOrder) -> StopAnswer {
        let answer = self.order(id, order);
        let result = match &answer {
            StopAnswer::Accepted(_) => "accepted",
            StopAnswer::Already { forced, .. } => {
                if *forced {
                    "forced"
                } else {
                    "already"
                }
            }
            StopAnswer::Finished(_) => "finished",
            StopAnswer::Early => "early",
        };
        self.note(if order.force { "force" } else { "stop" }, id, &order.actor, order.reason.as_ref(), result);
        answer
    }

    pub(super) fn note(&mut self, action: &str, run: &RunId, actor: &str, reason: Option<&String>, result: &str) {
        self.audit.push(AuditEntry {
            at: self.now,
            action: action.to_owned(),
            run: run.clone(),
            actor: actor.to_owned(),
            reason: reason.cloned(),
            result: result.to_owned(),
        });
    }

    fn report(&self, order: &NewOrder, leases: u32) -> StopReport {
        let order = StopOrder { order: order.clone(), at: self.now };
        StopReport::new(order, leases)
    }

    /// An order without its entry in the audit trail, which a cascade does not have.
    pub(super) fn order(&mut self, id: &RunId, order: &NewOrder) -> StopAnswer {
        let now = self.now;
        let Some(run) = self.runs.get_mut(id) else {
            let first = self.report(order, 0);
            let kept = self.early.entry(id.clone()).or_insert(first);
            if order.force && !kept.order.order.force && kept.forced_at.is_none() {
                kept.forced_at = Some(now);
            }
            return StopAnswer::Early;
        };
        if let Some(report) = &mut run.shown.stop {
            let forced =
                order.force && !report.order.order.force && report.forced_at.is_none() && report.closed_at.is_none();
            if forced {
                report.forced_at = Some(now);
                self.cascade(id, order);
            }
            let report = self.at(id).shown.stop.clone().expect("it is under an order");
            return StopAnswer::Already { report, forced };
        }
        if run.shown.status.is_final() {
            return StopAnswer::Finished(run.shown.status);
        }
        let leases = run.open_leases() + run.open_children();
        let report = self.report(order, leases);
        let run = self.at(id);
        run.shown.status = RunStatus::Stopping;
        run.shown.stop = Some(report);
        run.ready_at = None;
        run.among_deadlines = false;
        self.cascade(id, order);
        self.close_if_done(id);
        StopAnswer::Accepted(self.at(id).shown.stop.clone().expect("it is under an order"))
    }

    fn cascade(&mut self, id: &RunId, order: &NewOrder) {
        let open = self.runs[id].current().filter(|task| task.shown.state == TaskState::Child);
        let children: Vec<RunId> =
            open.filter_map(|task| task.new.dispatch.child().map(|run| run.id.clone())).collect();
        for child in children {
            let parent = self.runs.get(&child).map(|run| run.new.parent.as_ref().map(|parent| &parent.run));
            // A run that had the child's id before is nobody's child.
            if parent.is_none_or(|parent| parent == Some(id)) {
                self.order(&child, order);
            }
        }
    }

    /// Closes a stopping run that has nothing open; whether it did.
    pub(super) fn close_if_done(&mut self, id: &RunId) -> bool {
        let now = self.now;
        let run = self.at(id);
        if run.shown.status != RunStatus::Stopping || run.open_leases() + run.open_children() > 0 {
            return false;
        }
        let report = run.shown.stop.as_mut().expect("it is under an order");
        report.closed_at = Some(now);
        let end = report.order.order.cause.end();
        self.finish(id, end);
        true
    }

    pub(super) fn finish(&mut self, id: &RunId, status: RunStatus) {
        let now = self.now;
        let run = self.at(id);
        run.shown.status = status;
        run.shown.ended_at = Some(now);
        run.ready_at = None;
        run.among_deadlines = false;
        if run.new.parent.is_some() {
            return self.tell_parent(id);
        }
        let last = run.last_checkpoint().map(|last| (id.clone(), last.step));
        let head = if run.take_back { Some(run.shown.base.clone()) } else { last.map(Some) };
        let thread = self.thread_of(id);
        thread.queue.retain(|waiting| waiting != id);
        if thread.active.as_ref() != Some(id) {
            return;
        }
        if let Some(head) = head {
            thread.head = head;
        }
        let next = if thread.queue.is_empty() { None } else { Some(thread.queue.remove(0)) };
        thread.active.clone_from(&next);
        if let Some(next) = next {
            self.start(&next);
        }
    }

    fn tell_parent(&mut self, child: &RunId) {
        let run = &self.runs[child];
        let link = run.new.parent.clone().expect("a child has a parent");
        let sure = run.shown.stop.as_ref().is_none_or(|report| report.unconfirmed == 0);
        let is_stopped = run.shown.stop.is_some();
        let parent = &self.runs[&link.run];
        let order = parent.tasks.get(&link.task).and_then(|task| task.order.as_ref());
        let is_skipped = is_stopped && order.is_some_and(|order| order.skip);
        let waits = parent.tasks.get(&link.task).is_some_and(|task| task.shown.state == TaskState::Child);
        if !waits || parent.shown.status.is_final() {
            return;
        }
        let outcome = self.child_ended(child);
        if parent.shown.status == RunStatus::Stopping {
            self.close_task(&link.run, &link.task, outcome, sure);
        } else if is_skipped {
            self.settle_stopped(&link.run, &link.task, None);
        } else {
            self.settle_task(&link.run, &link.task, outcome);
        }
    }

    /// The outcome of a task whose child run has ended.
    pub(super) fn child_ended(&self, child: &RunId) -> Outcome {
        let shown = &self.runs[child].shown;
        let failure = shown.failure.clone().filter(|_| shown.status != RunStatus::Succeeded).map(Box::new);
        Outcome::ChildEnded { run: child.clone(), status: shown.status, failure }
    }

    /// Settles a task of a stopping run, which its report counts; whether that ended the run.
    pub(super) fn close_task(&mut self, run: &RunId, task: &TaskId, outcome: Outcome, sure: bool) -> bool {
        self.write_outcome(run, task, outcome);
        let report = self.at(run).shown.stop.as_mut().expect("it is under an order");
        if sure {
            report.released += 1;
        } else {
            report.unconfirmed += 1;
        }
        self.close_if_done(run)
    }

    pub(super) fn write_outcome(&mut self, run: &RunId, task: &TaskId, outcome: Outcome) {
        let now = self.now;
        let task = self.task_at(run, task);
        task.shown.state = TaskState::Settled;
        task.shown.settled_at = Some(now);
        task.shown.outcome = Some(outcome);
        task.due = None;
    }

    /// Settles a task of a run that is not frozen; whether that completes the step.
    pub(super) fn settle_task(&mut self, id: &RunId, task: &TaskId, outcome: Outcome) -> bool {
        let is_bad = outcome.is_bad();
        let was_pending = self.task_at(id, task).shown.state == TaskState::Pending;
        let written = outcome.clone();
        let failure = match &outcome {
            Outcome::ChildEnded { .. } => Failure::new(FailureKind::Child, "").at(&task.node),
            outcome => {
                let stopped = || Failure::new(FailureKind::Stopped, "").at(&task.node);
                outcome.failure().cloned().unwrap_or_else(stopped)
            }
        };
        self.write_outcome(id, task, outcome);
        let now = self.now;
        let run = self.at(id);
        if run.open_tasks() == 0 {
            run.make_ready(now);
            return true;
        }
        if is_bad && run.tasks[task].new.fails_run {
            let reason = Some(failure.message.clone());
            run.shown.failure = Some(failure);
            let actor = format!("node {}", task.node);
            self.stop(id, &NewOrder { cause: Cause::SiblingFailed, reason, actor, grace: None, force: false });
            return false;
        }
        self.settled_in_group(id, task, &written, was_pending);
        let run = &self.runs[id];
        !run.is_frozen() && run.open_tasks() == 0
    }
}
