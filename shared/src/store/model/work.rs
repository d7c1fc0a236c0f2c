//! The model's reading of what workers and time do: `claim`, `renew`, `settle`, `release`, `mark_sent`, `sweep`.

use std::time::Duration;

use super::state::{Answer, Model};
use crate::id::{Fence, Partition, RunId, TaskId, TaskKey};
use crate::limits::{Limit, SUSPECT_RESENT_AFTER};
use crate::outcome::{Failure, FailureKind, Outcome, Writes};
use crate::run::RunStatus;
use crate::spend::Spend;
use crate::stop::{Cause, NewOrder};
use crate::store::{
    Claim, Claimed, Lease, Release, Released, Renewal, Renewed, Sending, Settle, Settled, SweepLimits, Swept, Verdict,
};
use crate::task::{HandedBack, Solitude, TaskState, has_crashed_out};
use crate::time::Timestamp;

impl Model {
    fn has(&self, key: &TaskKey) -> bool {
        self.found(&key.run).is_some_and(|run| run.tasks.contains_key(&key.task))
    }

    fn is_leased_under(&self, key: &TaskKey, fence: Fence) -> bool {
        let task = self.found(&key.run).and_then(|run| run.tasks.get(&key.task));
        task.is_some_and(|task| task.shown.state.has_lease() && task.shown.fence == fence)
    }

    /// `claim`.
    pub fn claim(&mut self, claim: &Claim) -> Claimed {
        let (now, id, task_id) = (self.now, &claim.task.run.id, &claim.task.task);
        if !self.has(&claim.task) || self.runs[id].shown.step != task_id.step {
            return Claimed::Stale;
        }
        let run = &self.runs[id];
        if run.is_frozen() {
            return if run.shown.stop.is_some() { Claimed::Stopped } else { Claimed::Stale };
        }
        let is_overdue = run.is_overdue(now);
        let task = &run.tasks[task_id];
        match task.shown.state {
            TaskState::Leased | TaskState::Stopping if task.nonce.as_ref() == Some(&claim.nonce) => {
                return self.lease(id, task_id);
            }
            TaskState::Leased => {
                let silent = now.since(task.renewed_at);
                if claim.takeover_after.is_none_or(|after| silent < after) {
                    let worker = task.shown.worker.clone().expect("a leased task has a worker");
                    return Claimed::Busy { worker, fence: task.shown.fence, silent };
                }
                if is_overdue {
                    return Claimed::Stale;
                }
                if self.crash(id, task_id) {
                    let shown = &self.task_at(id, task_id).shown;
                    return Claimed::Poisoned { crashes: shown.crashes, uncounted: shown.crashes_uncounted };
                }
                self.task_at(id, task_id).taken_over = true;
            }
            TaskState::Queued if is_overdue => return Claimed::Stale,
            TaskState::Queued => self.task_at(id, task_id).taken_over = false,
            _ => return Claimed::Stale,
        }
        if self.time_out(id, task_id).is_some() {
            return Claimed::Stale;
        }
        if !claim.alone && self.is_suspect(id, task_id) {
            return Claimed::Suspect;
        }
        let run = self.at(id);
        run.fence = run.fence.next();
        let fence = run.fence;
        let task = self.task_at(id, task_id);
        task.shown.state = TaskState::Leased;
        task.shown.fence = fence;
        task.shown.attempts += 1;
        task.shown.worker = Some(claim.worker.clone());
        task.shown.started_at.get_or_insert(now);
        task.nonce = Some(claim.nonce.clone());
        task.alone = Solitude::claimed(claim.alone);
        task.renewed_at = now;
        task.due = Some(now.after(claim.ttl));
        self.lease(id, task_id)
    }

    /// Whether a queued task has crashed before. One that a takeover has just queued is noted as sent: who asks has its
    /// message.
    fn is_suspect(&mut self, id: &RunId, task_id: &TaskId) -> bool {
        let task = self.task_at(id, task_id);
        if task.shown.crashes + task.shown.crashes_uncounted == 0 {
            return false;
        }
        if task.taken_over {
            let (run, now) = (&self.runs[id], self.now);
            let due = now.after(SUSPECT_RESENT_AFTER).min(run.tasks[task_id].earlier_deadline(run));
            let task = self.task_at(id, task_id);
            task.sent = true;
            task.due = Some(due);
        }
        true
    }

    fn lease(&self, id: &RunId, task: &TaskId) -> Claimed {
        let run = &self.runs[id];
        let task = &run.tasks[task];
        let last = run.last_checkpoint().map(|checkpoint| checkpoint.step);
        let mut values = last.and_then(|step| run.values_at(step)).unwrap_or_default();
        if let Some(reads) = &task.new.reads {
            values.retain(|channel, _| reads.contains(channel));
        }
        Claimed::Leased(Box::new(Lease {
            fence: task.shown.fence,
            attempt: crate::id::AttemptNumber::new(task.shown.attempts),
            crashes: task.shown.crashes + task.shown.crashes_uncounted,
            task: task.new.clone(),
            run_made_at: run.shown.created_at,
            graph_hash: run.shown.graph_hash.clone(),
            thread: run.shown.thread.clone(),
            values,
            now: self.now,
            queued_at: task.queued_at,
            task_deadline: task.deadline(run),
            run_deadline: run.shown.deadline_at.expect("a run with tasks has started"),
            taken_over: task.taken_over,
            limits_cost: self.limits_cost(id),
        }))
    }

    /// Whether a run or one above it limits its cost.
    fn limits_cost(&self, id: &RunId) -> bool {
        let new = &self.runs[id].new;
        new.spec.budget.cost.is_some() || new.parent.as_ref().is_some_and(|parent| self.limits_cost(&parent.run))
    }

    /// A leased attempt is lost; whether that was once too often.
    fn crash(&mut self, id: &RunId, task_id: &TaskId) -> bool {
        let now = self.now;
        let task = self.task_at(id, task_id);
        task.shown.attempts -= 1;
        if task.alone == Solitude::Begun {
            task.shown.crashes += 1;
            task.blamed = task.shown.fence;
        } else {
            task.shown.crashes_uncounted += 1;
        }
        if has_crashed_out(task.shown.crashes, task.shown.crashes_uncounted, task.new.max_crashes) {
            let failure = Failure::new(FailureKind::Crashed, "").at(&task_id.node);
            self.settle_task(id, task_id, Outcome::Crashed { failure });
            return true;
        }
        self.queue(id, task_id, now);
        false
    }

    pub(super) fn queue(&mut self, id: &RunId, task: &TaskId, due: Timestamp) {
        let now = self.now;
        let task = self.task_at(id, task);
        task.shown.state = TaskState::Queued;
        task.queued_at = now;
        task.sent = false;
        task.due = Some(due);
    }

    /// Settles a queued task whose time is up.
    fn time_out(&mut self, id: &RunId, task_id: &TaskId) -> Option<Limit> {
        let run = &self.runs[id];
        let task = &run.tasks[task_id];
        if self.now < task.earlier_deadline(run) {
            return None;
        }
        let is_of_queue = task.queue_deadline(run) < task.deadline(run);
        let limit = if is_of_queue { Limit::QueueTimeout } else { Limit::Timeout };
        let failure = Failure::new(FailureKind::TimedOut, "").at(&task_id.node);
        self.settle_task(id, task_id, Outcome::TimedOut { limit, failure });
        Some(limit)
    }

    /// `renew`.
    pub fn renew(&mut self, renewals: &[Renewal]) -> Vec<Renewed> {
        renewals.iter().map(|renewal| self.renew_one(renewal)).collect()
    }

    fn renew_one(&mut self, renewal: &Renewal) -> Renewed {
        let now = self.now;
        if !self.is_leased_under(&renewal.task, renewal.fence) {
            if self.has(&renewal.task) {
                self.absolve(&renewal.task, renewal.fence);
            }
            return Renewed::Lost;
        }
        let run = &self.runs[&renewal.task.run.id];
        let task = &run.tasks[&renewal.task.task];
        let is_stopping = task.shown.state == TaskState::Stopping;
        let own = || task.order.as_ref().filter(|_| is_stopping).map(super::scope::TaskOrder::report);
        let stop = run.shown.stop.clone().or_else(own);
        let (from, grace) = match &stop {
            Some(report) => (report.order.at, report.order.order.grace.unwrap_or(task.new.grace)),
            None => (task.deadline(run), task.new.grace),
        };
        if now >= from.after(grace).after(renewal.ttl) {
            return Renewed::Lost;
        }
        let (id, task_id) = (&renewal.task.run.id, &renewal.task.task);
        let task = self.task_at(id, task_id);
        task.renewed_at = now;
        task.alone = task.alone.renewed();
        task.due = Some(now.after(renewal.ttl));
        let mut counted = self.counted(&renewal.task);
        self.spend(&renewal.task, renewal.spent);
        counted += renewal.spent.beyond(counted);
        self.task_at(id, task_id).counted = Some((renewal.fence, counted));
        let stop = self.runs[id].shown.stop.clone().or(stop);
        stop.map_or(Renewed::Held, |report| Renewed::Stop(Box::new(report)))
    }

    /// The worker of a lease that ran out lives: what was counted as its crash was none.
    fn absolve(&mut self, key: &TaskKey, fence: Fence) {
        let task = self.task_at(&key.run.id, &key.task);
        if task.blamed == fence && fence != Fence::new(0) && task.shown.state != TaskState::Settled {
            task.shown.crashes -= 1;
            task.shown.crashes_uncounted += 1;
            task.blamed = Fence::new(0);
        }
    }

    fn answered(&self, key: &TaskKey, fence: Fence, was_release: bool) -> Option<bool> {
        let task = self.found(&key.run)?.tasks.get(&key.task)?;
        let answered = task.answered.as_ref().filter(|_| !task.shown.state.has_lease())?;
        (answered.fence == fence && answered.was_release == was_release).then_some(answered.end)
    }

    fn answer(&mut self, key: &TaskKey, fence: Fence, was_release: bool, end: bool) {
        self.task_at(&key.run.id, &key.task).answered = Some(Answer { was_release, fence, end });
    }

    /// `settle`.
    pub fn settle(&mut self, settle: Settle) -> Settled {
        let (key, fence) = (settle.task, settle.fence);
        if let Some(step_complete) = self.answered(&key, fence, false) {
            return Settled::Accepted { step_complete };
        }
        if !self.is_leased_under(&key, fence) {
            return Settled::Stale;
        }
        let run = &self.runs[&key.run.id];
        if run.is_frozen() || run.tasks[&key.task].shown.state == TaskState::Stopping {
            return Settled::Frozen;
        }
        let spent = settle.spent;
        let step_complete = match settle.verdict {
            Verdict::Done(outcome) => self.settle_task(&key.run.id, &key.task, outcome),
            Verdict::Retry { failure, after } => self.delay(&key, failure, after),
            Verdict::PutOff { failure, after } => {
                self.task_at(&key.run.id, &key.task).shown.attempts -= 1;
                self.delay(&key, failure, after)
            }
        };
        self.spend(&key, spent);
        let step_complete = step_complete && !self.runs[&key.run.id].is_frozen();
        self.answer(&key, fence, false, step_complete);
        Settled::Accepted { step_complete }
    }

    /// A leased task waits for its next try; never for an answer that completes a step.
    fn delay(&mut self, key: &TaskKey, failure: Failure, after: Duration) -> bool {
        let run = &self.runs[&key.run.id];
        let due = self.now.after(after).min(run.tasks[&key.task].deadline(run));
        let task = self.task_at(&key.run.id, &key.task);
        task.shown.state = TaskState::Delayed;
        task.shown.last_failure = Some(failure);
        task.shown.handed_back = None;
        task.due = Some(due);
        false
    }

    /// What of a task's attempt renewals have told.
    fn counted(&mut self, key: &TaskKey) -> Spend {
        let task = self.task_at(&key.run.id, &key.task);
        let of_this = task.counted.filter(|(fence, _)| *fence == task.shown.fence);
        of_this.map_or_else(Spend::default, |(_, counted)| counted)
    }

    /// Adds what a task's attempt has spent, all in all, to its run and to those above.
    fn spend(&mut self, key: &TaskKey, spent: Spend) {
        let spent = spent.beyond(self.counted(key));
        let mut next = Some(key.run.id.clone()).filter(|_| !spent.is_nothing());
        while let Some(id) = next {
            let run = self.at(&id);
            run.shown.spent += spent;
            next = run.new.parent.as_ref().map(|parent| parent.run.clone());
            let over = run.new.spec.budget.overrun(&run.shown.spent).filter(|_| !run.is_frozen());
            let Some(message) = over else { continue };
            run.shown.failure = Some(Failure::new(FailureKind::Exhausted, message.clone()).at(&key.task.node));
            let (reason, actor) = (Some(message), format!("node {}", key.task.node));
            self.stop(&id, &NewOrder { cause: Cause::Budget, reason, actor, grace: None, force: false });
        }
    }

    /// `release`.
    pub fn release(&mut self, key: &TaskKey, fence: Fence, release: Release) -> Released {
        if let Some(run_ended) = self.answered(key, fence, true) {
            let back = self.task_at(&key.run.id, &key.task).handed_back_by;
            return match back.filter(|(by, _)| *by == fence) {
                Some((_, back)) => Released::HandedBack(back),
                None => Released::Accepted { run_ended },
            };
        }
        if !self.is_leased_under(key, fence) {
            return Released::Stale;
        }
        let id = &key.run.id;
        self.spend(key, release.spent());
        let is_stopping = self.runs[id].shown.status == RunStatus::Stopping;
        let run_ended = if is_stopping || self.task_at(id, &key.task).shown.state == TaskState::Stopping {
            let proof = release.into_proof();
            let (sure, partial) = (proof.confirmed, proof.partial.clone());
            self.task_at(id, &key.task).shown.proof = Some(proof);
            if is_stopping {
                self.close_task(id, &key.task, Outcome::stopped(partial), sure)
            } else {
                self.settle_stopped(id, &key.task, partial);
                false
            }
        } else {
            let back = self.hand_back(key, fence, matches!(release, Release::Stopped(_)));
            self.answer(key, fence, true, false);
            return Released::HandedBack(back);
        };
        self.answer(key, fence, true, run_ended);
        Released::Accepted { run_ended }
    }

    /// A leased task goes back: at once at first, later after a pause.
    fn hand_back(&mut self, key: &TaskKey, fence: Fence, without_order: bool) -> HandedBack {
        let (now, id) = (self.now, &key.run.id);
        let task = self.task_at(id, &key.task);
        let back = HandedBack::after(task.shown.handed_back, without_order);
        task.shown.handed_back = Some(back);
        task.handed_back_by = Some((fence, back));
        task.shown.attempts -= 1;
        if back.pause().is_zero() {
            self.queue(id, &key.task, now);
        } else {
            let run = &self.runs[id];
            let due = now.after(back.pause()).min(run.tasks[&key.task].deadline(run));
            let task = self.task_at(id, &key.task);
            task.shown.state = TaskState::Delayed;
            task.due = Some(due);
        }
        back
    }

    /// `mark_sent`.
    pub fn mark_sent(&mut self, tasks: &[TaskKey], resend_after: Duration) {
        for key in tasks.iter().filter(|key| self.has(key)).cloned().collect::<Vec<_>>() {
            let run = &self.runs[&key.run.id];
            let is_queued = run.tasks[&key.task].shown.state == TaskState::Queued;
            if is_queued && !run.is_frozen() && run.shown.step == key.task.step {
                self.resend_later(&key.run.id, &key.task, resend_after);
                self.task_at(&key.run.id, &key.task).sent = true;
            }
        }
    }

    fn resend_later(&mut self, id: &RunId, task: &TaskId, resend_after: Duration) {
        let run = &self.runs[id];
        let due = self.now.after(resend_after).min(run.tasks[task].earlier_deadline(run));
        self.task_at(id, task).due = Some(due);
    }

    /// `sweep`; within limits that are not reached.
    pub fn sweep(&mut self, partition: Partition, limits: SweepLimits) -> Swept {
        let (now, mut swept) = (self.now, Swept::default());
        let order = NewOrder {
            cause: Cause::Deadline,
            reason: Some("its run_timeout has passed".to_owned()),
            actor: "scheduler".to_owned(),
            grace: None,
            force: false,
        };
        let late = self.runs.values().filter(|run| run.among_deadlines && run.shown.key.partition == partition);
        let mut late: Vec<_> =
            late.filter(|run| run.is_overdue(now)).map(|run| (run.shown.deadline_at, run.shown.key.clone())).collect();
        late.sort();
        for (_, key) in late {
            if !self.runs[&key.id].is_frozen() {
                self.stop(&key.id, &order);
                swept.overdue.push(key);
            }
        }
        for (_, id, _, task) in self.agenda(partition, limits.ahead) {
            self.visit(&id, &task, limits.resend_after, &mut swept);
        }
        swept
    }

    /// What is due, by time, run and task; with queued tasks that fall due within `ahead`.
    fn agenda(&self, partition: Partition, ahead: Duration) -> Vec<(Timestamp, RunId, String, TaskId)> {
        let runs = self.runs.iter().filter(|(_, run)| run.shown.key.partition == partition);
        let entries = runs.flat_map(|(id, run)| run.tasks.values().map(move |task| (id, task)));
        let due = entries.filter_map(|(id, task)| {
            let until = if task.shown.state == TaskState::Queued { self.now.after(ahead) } else { self.now };
            let due = task.due.filter(|due| *due <= until)?;
            Some((due, id.clone(), task.shown.id.to_string(), task.shown.id.clone()))
        });
        let mut due: Vec<_> = due.collect();
        due.sort();
        due
    }

    fn visit(&mut self, id: &RunId, task_id: &TaskId, resend_after: Duration, swept: &mut Swept) {
        let now = self.now;
        let run = &self.runs[id];
        let (state, is_due) = (run.tasks[task_id].shown.state, run.tasks[task_id].due.is_some());
        let (is_frozen, is_overdue, is_past) = (run.is_frozen(), run.is_overdue(now), run.shown.step != task_id.step);
        if !is_due {
            return;
        }
        if is_frozen {
            if state.has_lease() {
                swept.expired += 1;
                self.close_task(id, task_id, Outcome::stopped(None), false);
            } else {
                self.task_at(id, task_id).due = None;
            }
        } else if is_past {
            self.task_at(id, task_id).due = None;
        } else if is_overdue {
            self.task_at(id, task_id).due = Some(now.after(resend_after));
        } else if state == TaskState::Waiting {
            self.settle_task(id, task_id, Outcome::wrote(Writes::new()));
        } else if state == TaskState::Stopping {
            swept.expired += 1;
            self.settle_stopped(id, task_id, None);
        } else if state == TaskState::Leased {
            swept.expired += 1;
            if self.crash(id, task_id) {
                swept.poisoned.push(TaskKey { run: self.runs[id].shown.key.clone(), task: task_id.clone() });
            } else {
                self.hand_out(id, task_id, resend_after, swept);
            }
        } else {
            if state == TaskState::Delayed {
                self.queue(id, task_id, now);
            }
            self.hand_out(id, task_id, resend_after, swept);
        }
    }

    fn hand_out(&mut self, id: &RunId, task_id: &TaskId, resend_after: Duration, swept: &mut Swept) {
        if let Some(limit) = self.time_out(id, task_id) {
            swept.queue_timeouts += u32::from(limit == Limit::QueueTimeout);
            return;
        }
        self.resend_later(id, task_id, resend_after);
        let key = TaskKey { run: self.runs[id].shown.key.clone(), task: task_id.clone() };
        let task = self.task_at(id, task_id);
        if let Some(lane) = task.new.dispatch.lane() {
            swept.send.push(Sending { lane, task: key, again: task.sent });
        }
    }
}
