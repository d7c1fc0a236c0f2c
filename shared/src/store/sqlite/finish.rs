//! How tasks settle and runs end, whoever brings it about: every settling and every end goes through here.

use rusqlite::{Connection, params};

use super::fault::Result;
use super::run_row::RunRow;
use super::scope::{self, GroupEnd};
use super::task_row::{self, TaskRow};
use super::tx::Tx;
use super::{stop, threads};
use crate::id::{RunId, RunKey, TaskId, TaskKey};
use crate::limits::Limit;
use crate::outcome::{Failure, FailureKind, Outcome};
use crate::run::{RunEvent, RunStatus};
use crate::stop::{Cause, NewOrder};
use crate::store::{ENDED_CRASHED, ENDED_IN_QUEUE, Ends, TASK_ENDS};
use crate::task::{TaskEvent, TaskState, crashed_message};

/// Ends a run.
pub(super) fn finish(tx: &mut Tx<'_>, id: &RunId, event: RunEvent) -> Result<()> {
    let now = tx.now;
    let run = tx.change(id)?;
    run.take(event);
    run.life.waiting = false;
    run.life.ended_at = Some(now);
    run.life.overdue_at = None;
    run.plan.ready_at = None;
    let ended = run.clone();
    count(tx, &ended)?;
    if ended.parent.is_some() { tell_parent(tx, &ended) } else { threads::hand_over(tx, &ended) }
}

/// Counts a run that has just ended.
pub(super) fn count(tx: &Tx<'_>, run: &RunRow) -> Result<()> {
    let cause = run.life.stop.as_ref().map_or("", |report| report.order.order.cause.name());
    count_end(tx, run.life.status.name(), cause)
}

fn count_end(tx: &Tx<'_>, status: &str, cause: &str) -> Result<()> {
    tx.conn
        .prepare_cached(
            "INSERT INTO ends (status, cause, count) VALUES (?1, ?2, 1) \
                ON CONFLICT (status, cause) DO UPDATE SET count = count + 1",
        )?
        .execute(params![status, cause])?;
    Ok(())
}

/// What has ended, and how.
pub(super) fn ends(conn: &Connection) -> Result<Ends> {
    let mut statement = conn.prepare_cached("SELECT status, cause, count FROM ends")?;
    let mut rows = statement.query([])?;
    let mut ends = Ends::default();
    while let Some(row) = rows.next()? {
        let (status, cause): (String, String) = (row.get(0)?, row.get(1)?);
        ends.add(&status, &cause, row.get::<_, i64>(2)?.unsigned_abs());
    }
    Ok(ends)
}

/// Gives a task up whose attempts have crashed too often.
pub(super) fn give_up(tx: &mut Tx<'_>, run: &RunRow, task: &TaskRow) -> Result<()> {
    count_end(tx, TASK_ENDS, ENDED_CRASHED)?;
    settle(tx, run, task.clone(), crashed(task))?;
    Ok(())
}

/// Settles a queued task whose time is up.
pub(super) fn time_out(tx: &mut Tx<'_>, run: &RunRow, task: TaskRow, limit: Limit) -> Result<()> {
    if limit == Limit::QueueTimeout {
        count_end(tx, TASK_ENDS, ENDED_IN_QUEUE)?;
    }
    let outcome = timed_out(&task, limit);
    settle(tx, run, task, outcome)?;
    Ok(())
}

/// The outcome of a task whose child run has ended.
pub(super) fn child_ended(child: &RunRow) -> Outcome {
    let life = &child.life;
    let failure = life.failure.clone().filter(|_| life.status != RunStatus::Succeeded).map(Box::new);
    Outcome::ChildEnded { run: child.key.id.clone(), status: life.status, failure }
}

/// Settles the task that a child run stood for.
pub(super) fn tell_parent(tx: &mut Tx<'_>, child: &RunRow) -> Result<()> {
    let Some(link) = &child.parent else { return Ok(()) };
    let key = TaskKey { run: RunKey { partition: child.key.partition, id: link.run.clone() }, task: link.task.clone() };
    let Some((parent, task)) = tx.task(&key)? else { return Ok(()) };
    if task.state != TaskState::Child || task.child.as_ref() != Some(&child.key.id) {
        return Ok(());
    }
    let outcome = child_ended(child);
    let is_skipped = child.life.stop.is_some() && scope::order_of(tx, &task)?.is_some_and(|order| order.skip);
    if parent.life.status.is_final() {
        return Ok(());
    }
    if parent.life.status == RunStatus::Stopping {
        let confirmed = child.life.stop.as_ref().is_none_or(|report| report.unconfirmed == 0);
        close_task(tx, &parent, task, outcome, confirmed)?;
        return Ok(());
    }
    if is_skipped {
        scope::settle_stopped(tx, &parent, task, None)?;
    } else {
        settle(tx, &parent, task, outcome)?;
    }
    Ok(())
}

/// Gives a task its outcome, with all that follows: the step is complete, or its siblings are stopped, or the next of its
/// group gets its turn. Whether the step is complete.
pub(super) fn settle(tx: &mut Tx<'_>, run: &RunRow, task: TaskRow, outcome: Outcome) -> Result<bool> {
    let failure = task.fails_run.then(|| blame(&task, &outcome)).flatten();
    let task_id = task.id.clone();
    let end = GroupEnd {
        is_bad: outcome.is_bad(),
        is_skipped: matches!(outcome, Outcome::Stopped { skipped: true, .. }),
        was_pending: task.state == TaskState::Pending,
    };
    record(tx, run, task, outcome)?;
    let id = &run.key.id;
    let row = tx.change(id)?;
    if row.is_frozen() {
        return Ok(false);
    }
    if row.counts.open_tasks == 0 {
        tx.make_ready(id)?;
        return Ok(true);
    }
    if let Some(failure) = failure {
        let order = NewOrder {
            cause: Cause::SiblingFailed,
            reason: Some(failure.message.clone()),
            actor: format!("node {}", task_id.node),
            grace: None,
            force: false,
        };
        row.life.failure = Some(failure);
        stop::order(tx, id, &order)?;
        return Ok(false);
    }
    scope::settled_in_group(tx, run, &task_id, end)?;
    let row = tx.known(id)?;
    Ok(!row.is_frozen() && row.counts.open_tasks == 0)
}

/// Settles a task of a stopping run: its lease, or its child, counts in the report. Whether that ended the run.
pub(super) fn close_task(
    tx: &mut Tx<'_>,
    run: &RunRow,
    task: TaskRow,
    outcome: Outcome,
    confirmed: bool,
) -> Result<bool> {
    record(tx, run, task, outcome)?;
    if let Some(report) = &mut tx.change(&run.key.id)?.life.stop {
        if confirmed {
            report.released += 1;
        } else {
            report.unconfirmed += 1;
        }
    }
    stop::close_if_done(tx, &run.key.id)
}

/// Gives a task its outcome, and nothing more: what follows from it is the caller's.
pub(super) fn record(tx: &mut Tx<'_>, run: &RunRow, mut task: TaskRow, outcome: Outcome) -> Result<()> {
    let counts = &mut tx.change(&run.key.id)?.counts;
    match task.state {
        TaskState::Leased | TaskState::Stopping => counts.open_leases = counts.open_leases.saturating_sub(1),
        TaskState::Child => counts.open_children = counts.open_children.saturating_sub(1),
        TaskState::Pending
        | TaskState::Queued
        | TaskState::Delayed
        | TaskState::Waiting
        | TaskState::Human
        | TaskState::Settled => {}
    }
    if task.state != TaskState::Human {
        counts.open_tasks = counts.open_tasks.saturating_sub(1);
    }
    task.take(TaskEvent::Settled);
    task.settled_at = Some(tx.now);
    task.due_at = None;
    task.outcome = Some(outcome);
    task_row::save(tx.conn, &task)
}

/// The failure that a bad outcome lays on its run.
fn blame(task: &TaskRow, outcome: &Outcome) -> Option<Failure> {
    if !outcome.is_bad() {
        return None;
    }
    Some(match outcome {
        Outcome::Stopped { why: Some(why), .. } => {
            Failure::new(FailureKind::Stopped, format!("it was stopped {why}")).at(&task.id.node)
        }
        Outcome::ChildEnded { run, status, failure } => {
            Failure::of_child(run, *status, failure.as_deref()).at(&task.id.node)
        }
        Outcome::Succeeded { .. } | Outcome::Stopped { .. } => {
            Failure::new(FailureKind::Stopped, "the attempt was stopped").at(&task.id.node)
        }
        Outcome::Failed { failure } | Outcome::TimedOut { failure, .. } | Outcome::Crashed { failure } => {
            failure.clone()
        }
    })
}

/// The outcome of a queued task whose time is up.
fn timed_out(task: &TaskRow, limit: Limit) -> Outcome {
    let length = match limit {
        Limit::QueueTimeout => task.queue_timeout,
        Limit::RunTimeout
        | Limit::Timeout
        | Limit::AttemptTimeout
        | Limit::ConnectTimeout
        | Limit::FirstByteTimeout
        | Limit::IdleTimeout
        | Limit::Grace => task.timeout,
    };
    let pool = task.lane.as_ref().map_or("", |lane| lane.pool.as_str());
    let what = if limit == Limit::QueueTimeout {
        format!("no worker of the pool `{pool}` took the task")
    } else {
        "the task was not done".to_owned()
    };
    let message = format!("{what} within its {limit} of {}", crate::duration::show(length));
    let mut failure = Failure::new(FailureKind::TimedOut, message).at(&task.id.node);
    failure.chain.extend(task.last_failure.as_ref().map(|last| format!("its last try: {last}")));
    Outcome::TimedOut { limit, failure }
}

/// The outcome of a task whose child run cannot be made, since another run has its id.
pub(super) fn child_taken(task: &TaskId, child: &RunId) -> Outcome {
    let failure = Failure::new(FailureKind::Child, format!("there is a run {child} already")).at(&task.node);
    Outcome::Failed { failure }
}

/// The outcome of a task whose workers died too often.
fn crashed(task: &TaskRow) -> Outcome {
    let message = crashed_message(task.crashes, task.uncounted);
    let mut failure = Failure::new(FailureKind::Crashed, message).at(&task.id.node);
    failure.chain.extend(task.last_failure.as_ref().map(|last| format!("its last try: {last}")));
    Outcome::Crashed { failure }
}
