//! The model's reading of how plans are handed out and carried out: `take_ready`, `advance`, `resume`; and events.

use std::time::Duration;

use super::state::{Model, RunState, TaskRecord};
use crate::checkpoint::{StoredCheckpoint, Values};
use crate::id::{Fence, Partition, RunId, RunKey, TaskId};
use crate::outcome::{Failure, FailureKind, Outcome};
use crate::plan::Then;
use crate::run::RunStatus;
use crate::stop::{Cause, NewOrder, StopOrder, StopReport};
use crate::store::{Advance, Advanced, Event, Held, NewEvent, Ready, Resume, Resumed, Taken};
use crate::task::{Dispatch, NewTask, Solitude, Task, TaskState};
use crate::time::Timestamp;

impl Model {
    /// `take_ready`.
    pub fn take_ready(&mut self, partition: Partition, limit: usize, hold: Duration) -> Vec<Ready> {
        let now = self.now;
        let waiting = self.runs.values().filter(|run| run.shown.key.partition == partition);
        // Of those of the same time, what somebody has lost comes first.
        let due =
            |run: &RunState| Some((run.ready_at.filter(|at| *at <= now)?, !run.is_taken, run.shown.key.id.clone()));
        let mut due: Vec<(Timestamp, bool, RunId)> = waiting.filter_map(due).collect();
        due.sort();
        let mut taken = Vec::new();
        for (_, _, id) in due.into_iter().take(limit.max(1)) {
            let run = self.at(&id);
            run.ready_at = Some(now.after(hold));
            let lost = if run.lost_plans.0 == run.shown.revision { run.lost_plans.1 } else { 0 };
            run.lost_plans = (run.shown.revision, lost + u32::from(run.is_taken));
            run.is_taken = true;
            let checkpoint = run.last_checkpoint().cloned();
            let values = checkpoint.as_ref().and_then(|checkpoint| run.values_at(checkpoint.step));
            taken.push(Ready {
                run: run.show(),
                values: values.unwrap_or_else(Values::new),
                checkpoint,
                tasks: run.current().map(|task| task.shown.clone()).collect(),
                resumed: run.resumed,
                lost_plans: run.lost_plans.1,
            });
        }
        taken
    }

    /// `hold_ready`.
    pub fn hold_ready(&mut self, partition: Partition, runs: &[Taken], hold: Duration, state: Held) {
        let now = self.now;
        for taken in runs {
            let Some(run) = self.runs.get_mut(&taken.run) else { continue };
            if run.shown.key.partition != partition || run.shown.revision != taken.revision || run.ready_at.is_none() {
                continue;
            }
            run.ready_at = Some(now.after(hold));
            run.is_taken = state == Held::InWork;
            if state == Held::GivenBack {
                run.lost_plans.1 = 0;
            }
        }
    }

    /// `advance`.
    pub fn advance(&mut self, advance: Advance) -> Advanced {
        let now = self.now;
        let Some(run) = self.found(&advance.run) else { return Advanced::Conflict };
        if run.advanced_by.as_ref() == Some(&advance.nonce) {
            return Advanced::Ok;
        }
        if run.is_frozen() {
            return Advanced::Frozen;
        }
        let is_ours = run.shown.started_at.is_some()
            && run.shown.status != RunStatus::Interrupted
            && run.shown.revision == advance.expected
            && run.open_tasks() == 0;
        if !is_ours {
            return Advanced::Conflict;
        }
        let id = advance.run.id;
        if let Then::Step { tasks, .. } = &advance.then
            && !self.has_room_for_children(&id, tasks)
        {
            return Advanced::Frozen;
        }
        let run = self.at(&id);
        if let Some(checkpoint) = advance.checkpoint {
            let step = checkpoint.step;
            run.values.extend(advance.changed.into_iter().map(|(channel, value)| ((channel, step), value)));
            run.checkpoints.insert(step, StoredCheckpoint { checkpoint, at: now });
        }
        run.shown.revision = advance.expected.next();
        run.advanced_by = Some(advance.nonce);
        run.resumed = false;
        run.ready_at = None;
        match advance.then {
            Then::Step { step, tasks, groups } => {
                run.groups = groups.into_iter().map(Some).collect();
                run.shown.step = step;
                run.shown.status = RunStatus::Running;
                self.begin_step(&id, tasks);
            }
            Then::Pause { step } => {
                run.shown.step = step;
                run.shown.status = RunStatus::Interrupted;
            }
            Then::Succeed => self.finish(&id, RunStatus::Succeeded),
            Then::Fail { failure, order: None } => {
                run.shown.failure = Some(failure);
                self.finish(&id, RunStatus::Failed);
            }
            Then::Fail { failure, order: Some(order) } => {
                run.shown.failure = Some(failure);
                let ordered = StopOrder { order: order.clone(), at: now };
                run.shown.stop = Some(StopReport { closed_at: Some(now), ..StopReport::new(ordered, 0) });
                self.note("stop", &id, &order.actor, order.reason.as_ref(), "accepted");
                self.finish(&id, order.cause.end());
            }
        }
        Advanced::Ok
    }

    /// Counts the child runs of a step in its run and in those above, or stops the first that has no room for so many.
    fn has_room_for_children(&mut self, id: &RunId, tasks: &[NewTask]) -> bool {
        let of_children: Vec<_> = tasks.iter().filter(|task| task.dispatch.child().is_some()).collect();
        let Some(first) = of_children.first() else { return true };
        let more = of_children.len() as u64;
        let mut family = vec![(id.clone(), first.id.node.clone())];
        while let Some(parent) = self.runs[&family[family.len() - 1].0].new.parent.clone() {
            family.push((parent.run, parent.task.node));
        }
        for (id, node) in &family {
            let run = &self.runs[id];
            let (budget, is_child) = (run.new.spec.budget, run.new.parent.is_some());
            let Some(message) = budget.descendants_overrun(is_child, run.shown.descendants, more) else { continue };
            self.at(id).shown.failure = Some(Failure::new(FailureKind::Exhausted, message.clone()).at(node));
            let (reason, actor) = (Some(message), format!("node {node}"));
            self.stop(id, &NewOrder { cause: Cause::Budget, reason, actor, grace: None, force: false });
            return false;
        }
        for (id, _) in &family {
            self.at(id).shown.descendants += more;
        }
        true
    }

    fn begin_step(&mut self, id: &RunId, tasks: Vec<NewTask>) {
        let now = self.now;
        for new in &tasks {
            let record = plan_task(new.clone(), now);
            self.at(id).tasks.insert(new.id.clone(), record);
        }
        for new in tasks {
            let Dispatch::Child { run: child } = new.dispatch else { continue };
            if !self.make_child(*child, id) {
                let failure = Failure::new(FailureKind::Child, "").at(&new.id.node);
                self.refuse_child(id, &new.id, Outcome::Failed { failure });
            }
        }
        let run = self.at(id);
        if !run.is_frozen() && run.open_tasks() == 0 {
            run.make_ready(now);
        }
    }

    fn refuse_child(&mut self, id: &RunId, task: &TaskId, outcome: Outcome) {
        if self.runs[id].is_frozen() {
            self.close_task(id, task, outcome, true);
        } else {
            self.settle_task(id, task, outcome);
        }
    }

    /// `resume`.
    pub fn resume(&mut self, resume: &Resume) -> Resumed {
        if self.found(&resume.run).is_some_and(|run| run.resumed_by.as_ref() == Some(&resume.nonce)) {
            return self.stand_after_answers(&resume.run);
        }
        let answer = self.go_on(resume);
        let result = match answer {
            Resumed::Ok | Resumed::StillOpen(_) => "ok",
            Resumed::NotInterrupted(_) => "not_interrupted",
            Resumed::UnknownTask => "unknown_task",
            Resumed::MissingAnswer => "missing_answer",
            Resumed::NotFound => "not_found",
        };
        self.note("resume", &resume.run.id, &resume.actor, resume.reason.as_ref(), result);
        answer
    }

    fn go_on(&mut self, resume: &Resume) -> Resumed {
        let now = self.now;
        let Some(run) = self.found(&resume.run) else { return Resumed::NotFound };
        if run.shown.status != RunStatus::Interrupted {
            return Resumed::NotInterrupted(run.shown.status);
        }
        let humans = self.humans(&resume.run);
        if !resume.answers.keys().all(|id| humans.contains(id)) {
            return Resumed::UnknownTask;
        }
        if resume.answers.is_empty() && !humans.is_empty() {
            return Resumed::MissingAnswer;
        }
        let id = &resume.run.id;
        for (task, outcome) in &resume.answers {
            self.write_outcome(id, task, outcome.clone());
        }
        let run = self.at(id);
        run.resumed_by = Some(resume.nonce.clone());
        if resume.answers.len() < humans.len() {
            return self.stand_after_answers(&resume.run);
        }
        let run = self.at(id);
        run.shown.status = RunStatus::Running;
        run.shown.revision = run.shown.revision.next();
        run.resumed = humans.is_empty();
        run.make_ready(now);
        Resumed::Ok
    }

    /// The tasks of a run that wait for a human.
    fn humans(&self, key: &RunKey) -> Vec<TaskId> {
        let current = self.found(key).into_iter().flat_map(super::state::RunState::current);
        current.filter(|task| task.shown.state == TaskState::Human).map(|task| task.shown.id.clone()).collect()
    }

    /// What became of a run whose answers were taken.
    fn stand_after_answers(&self, key: &RunKey) -> Resumed {
        let is_interrupted = self.found(key).is_some_and(|run| run.shown.status == RunStatus::Interrupted);
        match self.humans(key).len() {
            open if open > 0 && is_interrupted => Resumed::StillOpen(u32::try_from(open).unwrap_or(u32::MAX)),
            _ => Resumed::Ok,
        }
    }

    /// `emit`.
    pub fn emit(&mut self, key: &RunKey, events: Vec<NewEvent>) {
        let now = self.now;
        if self.found(key).is_none_or(super::state::RunState::is_frozen) {
            return;
        }
        let run = self.at(&key.id);
        for event in events {
            let seq = run.events.len() as u64 + 1;
            run.events.push(Event { seq, at: now, event });
        }
    }
}

fn plan_task(new: NewTask, now: Timestamp) -> TaskRecord {
    let (state, due) = match &new.dispatch {
        Dispatch::Queue { .. } => (TaskState::Queued, Some(now.after(Duration::from_secs(2)))),
        Dispatch::Pending { .. } | Dispatch::PendingChild { .. } => (TaskState::Pending, None),
        Dispatch::Wait { length } => (TaskState::Waiting, Some(now.after(*length))),
        Dispatch::Human { .. } => (TaskState::Human, None),
        Dispatch::Child { .. } => (TaskState::Child, None),
        Dispatch::Settled { .. } => (TaskState::Settled, None),
    };
    let outcome = if let Dispatch::Settled { outcome } = &new.dispatch { Some(outcome.clone()) } else { None };
    let payload = if let Dispatch::Human { payload } = &new.dispatch { Some(payload.clone()) } else { None };
    let shown = Task {
        id: new.id.clone(),
        state,
        attempts: 0,
        crashes: 0,
        crashes_uncounted: 0,
        fence: Fence::new(0),
        worker: None,
        started_at: None,
        settled_at: outcome.is_some().then_some(now),
        outcome,
        payload,
        last_failure: None,
        proof: None,
        handed_back: None,
    };
    TaskRecord {
        new,
        shown,
        made_at: now,
        queued_at: now,
        renewed_at: now,
        due,
        sent: false,
        nonce: None,
        taken_over: false,
        alone: Solitude::Shared,
        blamed: Fence::new(0),
        counted: None,
        answered: None,
        handed_back_by: None,
        order: None,
    }
}
