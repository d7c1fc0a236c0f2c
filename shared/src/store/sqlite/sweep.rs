//! `sweep`: does what is overdue in one partition, within limits.

use rusqlite::params;

use super::fault::{Naming, Result};
use super::run_row::RunRow;
use super::task_row::{self, TaskRow, select_tasks};
use super::tx::Tx;
use super::{claim, finish, forget, scope, stop};
use crate::id::{Partition, RunId, TaskId};
use crate::limits::Limit;
use crate::outcome::{Outcome, Writes};
use crate::run::RunStatus;
use crate::stop::{Cause, NewOrder};
use crate::store::{Sending, StopAnswer, SweepLimits, Swept};
use crate::task::{TaskEvent, TaskState};
use crate::time::Timestamp;

pub(super) fn sweep(tx: &mut Tx<'_>, partition: Partition, limits: SweepLimits) -> Result<Swept> {
    let mut swept = Swept::default();
    // Runs first: a task of a run whose time is up must not end by a time of its own.
    let runs = stop_overdue(tx, partition, limits.runs, &mut swept)?;
    let due = due_tasks(tx, partition, &limits)?;
    swept.more = runs || due.len() >= limits.tasks;
    for (run, seq) in due {
        handle(tx, &run, seq, &limits, &mut swept)?;
    }
    swept.more |= forget::forget(tx, partition, &limits)?;
    Ok(swept)
}

/// Orders runs past their deadline to stop; whether there may be more.
fn stop_overdue(tx: &mut Tx<'_>, partition: Partition, limit: usize, swept: &mut Swept) -> Result<bool> {
    let rows = i64::try_from(limit).unwrap_or(i64::MAX);
    let ids: Vec<RunId> = tx
        .conn
        .prepare_cached(
            "SELECT id FROM runs WHERE partition = ?1 AND overdue_at <= ?2 ORDER BY overdue_at, id LIMIT ?3",
        )?
        .query_map(params![partition, tx.now, rows], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()
        .naming(|| format!("the deadlines of partition {partition}"))?;
    let more = ids.len() >= limit;
    let order = NewOrder {
        cause: Cause::Deadline,
        reason: Some("its run_timeout has passed".to_owned()),
        actor: "scheduler".to_owned(),
        grace: None,
        force: false,
    };
    for id in ids {
        // An order to one of them may have reached the next one as its child.
        if tx.known(&id)?.is_frozen() {
            continue;
        }
        if matches!(stop::order(tx, &id, &order)?, StopAnswer::Accepted(_)) {
            swept.overdue.push(tx.known(&id)?.key.clone());
        }
    }
    Ok(more)
}

/// The agenda's entries whose time has come: the run and the number of each task. Those of the same time come by their names.
fn due_tasks(tx: &mut Tx<'_>, partition: Partition, limits: &SweepLimits) -> Result<Vec<(RunId, i64)>> {
    tx.flush()?;
    let rows = i64::try_from(limits.tasks).unwrap_or(i64::MAX);
    let read = |row: &rusqlite::Row<'_>| {
        let (due, run, seq): (Timestamp, RunId, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let task = TaskId { step: row.get(3)?, node: row.get(4)?, item: row.get(5)? };
        Ok((due, run, task.to_string(), seq))
    };
    let mut due: Vec<(Timestamp, RunId, String, i64)> = tx
        .conn
        .prepare_cached(
            "SELECT due_at, runs.id, tasks.seq, tasks.step, node, item FROM tasks JOIN runs ON runs.seq = tasks.run \
             WHERE tasks.partition = ?1 AND due_at <= ?2 AND (due_at <= ?3 OR state = 'queued') \
             ORDER BY due_at, tasks.seq LIMIT ?4",
        )?
        .query_map(params![partition, tx.now.after(limits.ahead), tx.now, rows], read)?
        .collect::<rusqlite::Result<_>>()
        .naming(|| format!("the agenda of partition {partition}"))?;
    due.sort();
    Ok(due.into_iter().map(|(_, run, _, seq)| (run, seq)).collect())
}

fn handle(tx: &mut Tx<'_>, run: &RunId, seq: i64, limits: &SweepLimits, swept: &mut Swept) -> Result<()> {
    let run = tx.known(run)?.clone();
    // Read only now: an entry before it may have settled this one, or frozen its run.
    let mut task = tx
        .conn
        .prepare_cached(select_tasks!("WHERE seq = ?1"))?
        .query_row([seq], task_row::read)
        .naming(|| format!("run {}, task number {seq}", run.key.id))?;
    if task.due_at.is_none() {
        return Ok(());
    }
    if run.is_frozen() {
        return drop_frozen(tx, &run, task, swept);
    }
    if task.id.step != run.plan.step {
        task.due_at = None;
        return task_row::save_due(tx.conn, &task);
    }
    if run.is_overdue(tx.now) {
        task.due_at = Some(tx.now.after(limits.resend_after));
        return task_row::save_due(tx.conn, &task);
    }
    match task.state {
        TaskState::Queued => hand_out(tx, &run, task, limits, swept),
        TaskState::Delayed => {
            task.queue(TaskEvent::Due, tx.now);
            hand_out(tx, &run, task, limits, swept)
        }
        TaskState::Waiting => {
            finish::settle(tx, &run, task, Outcome::wrote(Writes::new()))?;
            Ok(())
        }
        TaskState::Leased => {
            swept.expired += 1;
            if claim::crash(tx, &run, &mut task)? {
                swept.poisoned.push(task.key(&run));
                return Ok(());
            }
            hand_out(tx, &run, task, limits, swept)
        }
        TaskState::Stopping => {
            swept.expired += 1;
            scope::settle_stopped(tx, &run, task, None)?;
            Ok(())
        }
        TaskState::Pending | TaskState::Human | TaskState::Child | TaskState::Settled => {
            task.due_at = None;
            task_row::save_due(tx.conn, &task)
        }
    }
}

/// A lease of a stopping run that ran out: nobody knows whether its attempt has stopped.
fn drop_frozen(tx: &mut Tx<'_>, run: &RunRow, mut task: TaskRow, swept: &mut Swept) -> Result<()> {
    if task.state.has_lease() && run.life.status == RunStatus::Stopping {
        swept.expired += 1;
        finish::close_task(tx, run, task, Outcome::stopped(None), false)?;
        return Ok(());
    }
    task.due_at = None;
    task_row::save_due(tx.conn, &task)
}

/// A queued task: its message is to be sent, unless its time is up.
fn hand_out(tx: &mut Tx<'_>, run: &RunRow, mut task: TaskRow, limits: &SweepLimits, swept: &mut Swept) -> Result<()> {
    if let Some(limit) = task.missed(run, tx.now) {
        swept.queue_timeouts += u32::from(limit == Limit::QueueTimeout);
        finish::time_out(tx, run, task, limit)?;
        return Ok(());
    }
    if let Some(lane) = task.lane.clone() {
        swept.send.push(Sending { lane, task: task.key(run), again: task.sent });
    }
    task.due_at = Some(task.resend_at(run, tx.now, limits.resend_after));
    task_row::save(tx.conn, &task)
}
