//! What becomes of a lease: `renew`, `settle` and `release`; and `mark_sent`, for tasks that have none yet.

use std::time::Duration;

use super::fault::Result;
use super::run_row::RunRow;
use super::task_row::{self, Answered, How, TaskRow};
use super::tx::Tx;
use super::{finish, scope, spend};
use crate::id::{Fence, TaskKey};
use crate::outcome::{Failure, Outcome};
use crate::run::RunStatus;
use crate::stop::{StopProof, StopReport};
use crate::store::{Release, Released, Renewal, Renewed, Settle, Settled, Verdict};
use crate::task::{HandedBack, TaskEvent, TaskState};
use crate::time::Timestamp;

pub(super) fn renew(tx: &mut Tx<'_>, renewals: &[Renewal]) -> Result<Vec<Renewed>> {
    renewals.iter().map(|renewal| renew_one(tx, renewal)).collect()
}

fn renew_one(tx: &mut Tx<'_>, renewal: &Renewal) -> Result<Renewed> {
    let Some((run, mut task)) = tx.task(&renewal.task)? else { return Ok(Renewed::Lost) };
    if !task.is_leased_under(renewal.fence) {
        absolve(tx, task, renewal.fence)?;
        return Ok(Renewed::Lost);
    }
    let report = match (&run.life.stop, task.state) {
        (Some(report), _) => Some(report.clone()),
        (None, TaskState::Stopping) => scope::order_of(tx, &task)?.map(|order| order.report()),
        (None, _) => None,
    };
    if tx.now >= renewable_until(report.as_ref(), &run, &task, renewal.ttl) {
        return Ok(Renewed::Lost);
    }
    task.renewed_at = Some(tx.now);
    task.alone = task.alone.renewed();
    task.due_at = Some(tx.now.after(renewal.ttl));
    task_row::save_due(tx.conn, &task)?;
    let report = if renewal.spent.is_nothing() {
        report
    } else {
        spend::add_so_far(tx, &run.key.id, &task, renewal.spent)?;
        // That may have stopped the run.
        tx.known(&run.key.id)?.life.stop.clone().or(report)
    };
    Ok(match report {
        Some(report) => Renewed::Stop(Box::new(report)),
        None => Renewed::Held,
    })
}

/// The worker of a lease that ran out lives: what was counted as its crash was none.
fn absolve(tx: &mut Tx<'_>, mut task: TaskRow, fence: Fence) -> Result<()> {
    if task.blamed != fence || fence == Fence::default() || task.state == TaskState::Settled {
        return Ok(());
    }
    task.crashes -= 1;
    task.uncounted += 1;
    task.blamed = Fence::default();
    task_row::save(tx.conn, &task)
}

/// From when on a lease is not renewed any more: its holder had its time, and the time to clean up.
fn renewable_until(order: Option<&StopReport>, run: &RunRow, task: &TaskRow, ttl: Duration) -> Timestamp {
    match order {
        Some(report) => report.order.at.after(report.order.order.grace.unwrap_or(task.grace)).after(ttl),
        None => task.deadline(run).after(task.grace).after(ttl),
    }
}

pub(super) fn settle(tx: &mut Tx<'_>, settle: &Settle) -> Result<Settled> {
    let Some((run, mut task)) = tx.task(&settle.task)? else { return Ok(Settled::Stale) };
    if let Some(step_complete) = task.answer_to(How::Settled, settle.fence) {
        return Ok(Settled::Accepted { step_complete });
    }
    if !task.is_leased_under(settle.fence) {
        return Ok(Settled::Stale);
    }
    if run.is_frozen() || task.state == TaskState::Stopping {
        return Ok(Settled::Frozen);
    }
    task.answered = Some(Answered { how: How::Settled, fence: settle.fence, end: false });
    let step_complete = match &settle.verdict {
        Verdict::Retry { failure, after } => {
            retry_later(tx, &run, task.clone(), failure, *after)?;
            false
        }
        Verdict::PutOff { failure, after } => {
            task.attempts = task.attempts.saturating_sub(1);
            retry_later(tx, &run, task.clone(), failure, *after)?;
            false
        }
        Verdict::Done(outcome) => {
            // Whether it completes the step is known from the counts, which no one else changes before it is written.
            let completes = run.counts.open_tasks == 1;
            task.answered = Some(Answered { how: How::Settled, fence: settle.fence, end: completes });
            let decided = finish::settle(tx, &run, task.clone(), outcome.clone())?;
            spend::add(tx, &run.key.id, &task, settle.spent)?;
            let step_complete = decided && !tx.known(&run.key.id)?.is_frozen();
            if step_complete != completes {
                // It decided its group, and with it all that was open; or used up a budget.
                task_row::save_answer(tx.conn, &task, step_complete)?;
            }
            return Ok(Settled::Accepted { step_complete });
        }
    };
    spend::add(tx, &run.key.id, &task, settle.spent)?;
    Ok(Settled::Accepted { step_complete })
}

fn retry_later(tx: &mut Tx<'_>, run: &RunRow, mut task: TaskRow, failure: &Failure, after: Duration) -> Result<()> {
    let counts = &mut tx.change(&run.key.id)?.counts;
    counts.open_leases = counts.open_leases.saturating_sub(1);
    task.take(TaskEvent::Retried);
    task.due_at = Some(tx.now.after(after).min(task.deadline(run)));
    task.last_failure = Some(failure.clone());
    task.handed_back = None;
    task_row::save(tx.conn, &task)
}

pub(super) fn release(tx: &mut Tx<'_>, key: &TaskKey, fence: Fence, release: &Release) -> Result<Released> {
    let Some((run, task)) = tx.task(key)? else { return Ok(Released::Stale) };
    if let Some(run_ended) = task.answer_to(How::Released, fence) {
        return Ok(Released::Accepted { run_ended });
    }
    if let (Some(_), Some(back)) = (task.answer_to(How::HandedBack, fence), task.handed_back) {
        return Ok(Released::HandedBack(back));
    }
    if !task.is_leased_under(fence) {
        return Ok(Released::Stale);
    }
    spend::add(tx, &run.key.id, &task, release.spent())?;
    // What was spent may have stopped the run.
    let run = tx.known(&run.key.id)?.clone();
    if run.life.status != RunStatus::Stopping && task.state != TaskState::Stopping {
        let back = HandedBack::after(task.handed_back, matches!(release, Release::Stopped(_)));
        hand_back(tx, &run, task, back)?;
        return Ok(Released::HandedBack(back));
    }
    let run_ended = close(tx, &run, task, release.clone().into_proof())?;
    Ok(Released::Accepted { run_ended })
}

/// The attempt was no try: the task is queued again, at once unless that happens again and again.
fn hand_back(tx: &mut Tx<'_>, run: &RunRow, mut task: TaskRow, back: HandedBack) -> Result<()> {
    let counts = &mut tx.change(&run.key.id)?.counts;
    counts.open_leases = counts.open_leases.saturating_sub(1);
    task.answered = Some(Answered { how: How::HandedBack, fence: task.fence, end: false });
    task.handed_back = Some(back);
    task.attempts = task.attempts.saturating_sub(1);
    if back.pause().is_zero() {
        task.queue(TaskEvent::HandedBack, tx.now);
    } else {
        task.take(TaskEvent::Retried);
        task.due_at = Some(tx.now.after(back.pause()).min(task.deadline(run)));
    }
    task_row::save(tx.conn, &task)
}

/// The attempt was stopped by order, and this is the testimony.
fn close(tx: &mut Tx<'_>, run: &RunRow, mut task: TaskRow, proof: StopProof) -> Result<bool> {
    let ends = run.counts.open_leases == 1 && run.counts.open_children == 0;
    task.answered = Some(Answered { how: How::Released, fence: task.fence, end: ends });
    let (partial, confirmed) = (proof.partial.clone(), proof.confirmed);
    task.proof = Some(proof);
    if !run.is_frozen() {
        task.answered = Some(Answered { how: How::Released, fence: task.fence, end: false });
        scope::settle_stopped(tx, run, task, partial)?;
        return Ok(false);
    }
    finish::close_task(tx, run, task, Outcome::stopped(partial), confirmed)
}

pub(super) fn mark_sent(tx: &mut Tx<'_>, tasks: &[TaskKey], resend_after: Duration) -> Result<()> {
    for key in tasks {
        let Some((run, mut task)) = tx.task(key)? else { continue };
        if task.state != TaskState::Queued || run.is_frozen() || task.id.step != run.plan.step {
            continue;
        }
        task.sent = true;
        task.due_at = Some(task.resend_at(&run, tx.now, resend_after));
        task_row::save_due(tx.conn, &task)?;
    }
    Ok(())
}
