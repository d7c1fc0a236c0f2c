//! `claim`: gives a worker a queued task, or one whose holder has fallen silent.

use std::time::Duration;

use super::fault::Result;
use super::run_row::RunRow;
use super::task_row::{self, TaskRow};
use super::tx::Tx;
use super::{checkpoints, finish, spend};
use crate::checkpoint::Values;
use crate::limits::SUSPECT_RESENT_AFTER;
use crate::store::{Claim, Claimed, Lease};
use crate::task::{Solitude, TaskEvent, TaskState, has_crashed_out};

pub(super) fn claim(tx: &mut Tx<'_>, claim: &Claim) -> Result<Claimed> {
    let Some((run, mut task)) = tx.task(&claim.task)? else { return Ok(Claimed::Stale) };
    if task.id.step != run.plan.step {
        return Ok(Claimed::Stale);
    }
    if run.is_frozen() {
        return Ok(if run.life.stop.is_some() { Claimed::Stopped } else { Claimed::Stale });
    }
    match task.state {
        TaskState::Queued => lease(tx, &run, task, claim, false),
        TaskState::Leased | TaskState::Stopping if task.nonce.as_ref() == Some(&claim.nonce) => {
            Ok(Claimed::Leased(Box::new(describe(tx, &run, &task)?)))
        }
        TaskState::Leased => {
            let silent = silence(&task, tx);
            if claim.takeover_after.is_none_or(|after| silent < after) {
                return Ok(match task.worker {
                    Some(worker) => Claimed::Busy { worker, fence: task.fence, silent },
                    None => Claimed::Stale,
                });
            }
            if run.is_overdue(tx.now) {
                return Ok(Claimed::Stale);
            }
            if crash(tx, &run, &mut task)? {
                return Ok(Claimed::Poisoned { crashes: task.crashes, uncounted: task.uncounted });
            }
            lease(tx, &run, task, claim, true)
        }
        TaskState::Pending
        | TaskState::Delayed
        | TaskState::Waiting
        | TaskState::Human
        | TaskState::Child
        | TaskState::Stopping
        | TaskState::Settled => Ok(Claimed::Stale),
    }
}

fn silence(task: &TaskRow, tx: &Tx<'_>) -> Duration {
    tx.now.since(task.renewed_at.unwrap_or(task.made_at))
}

/// A leased attempt is given up: its task is queued again, or settled as crashed, which is answered as true. It counts
/// if the attempt ran alone.
pub(super) fn crash(tx: &mut Tx<'_>, run: &RunRow, task: &mut TaskRow) -> Result<bool> {
    task.attempts = task.attempts.saturating_sub(1);
    if task.alone == Solitude::Begun {
        task.crashes += 1;
        task.blamed = task.fence;
    } else {
        task.uncounted += 1;
    }
    if has_crashed_out(task.crashes, task.uncounted, task.max_crashes) {
        finish::give_up(tx, run, task)?;
        return Ok(true);
    }
    task.queue(TaskEvent::LeaseExpired, tx.now);
    let counts = &mut tx.change(&run.key.id)?.counts;
    counts.open_leases = counts.open_leases.saturating_sub(1);
    Ok(false)
}

fn lease(tx: &mut Tx<'_>, run: &RunRow, mut task: TaskRow, claim: &Claim, taken_over: bool) -> Result<Claimed> {
    if run.is_overdue(tx.now) {
        return Ok(Claimed::Stale);
    }
    if let Some(limit) = task.missed(run, tx.now) {
        finish::time_out(tx, run, task, limit)?;
        return Ok(Claimed::Stale);
    }
    if !claim.alone && task.crashes + task.uncounted > 0 {
        if taken_over {
            // Its message is in the hands of the one who asks.
            task.sent = true;
            task.due_at = Some(task.resend_at(run, tx.now, SUSPECT_RESENT_AFTER));
            task_row::save(tx.conn, &task)?;
        }
        return Ok(Claimed::Suspect);
    }
    let counts = &mut tx.change(&run.key.id)?.counts;
    counts.fence = counts.fence.next();
    counts.open_leases += 1;
    task.take(TaskEvent::Claimed);
    task.fence = counts.fence;
    task.attempts += 1;
    task.worker = Some(claim.worker.clone());
    task.nonce = Some(claim.nonce.clone());
    task.taken_over = taken_over;
    task.alone = Solitude::claimed(claim.alone);
    task.started_at = task.started_at.or(Some(tx.now));
    task.renewed_at = Some(tx.now);
    task.due_at = Some(tx.now.after(claim.ttl));
    task_row::save(tx.conn, &task)?;
    Ok(Claimed::Leased(Box::new(describe(tx, run, &task)?)))
}

fn describe(tx: &mut Tx<'_>, run: &RunRow, task: &TaskRow) -> Result<Lease> {
    let spec = task_row::spec(tx.conn, run, task)?;
    let values = match run.plan.last_checkpoint {
        Some(step) => checkpoints::values(tx.conn, run, step, spec.reads.as_deref())?,
        None => None,
    };
    Ok(Lease {
        fence: task.fence,
        attempt: crate::id::AttemptNumber::new(task.attempts),
        crashes: task.crashes + task.uncounted,
        run_made_at: run.created_at,
        graph_hash: run.graph_hash.clone(),
        thread: run.thread.clone(),
        values: values.unwrap_or_else(Values::new),
        now: tx.now,
        queued_at: task.queued_at,
        task_deadline: task.deadline(run),
        run_deadline: run.latest(),
        taken_over: task.taken_over,
        limits_cost: spend::limits_cost(tx, run)?,
        task: spec,
    })
}
