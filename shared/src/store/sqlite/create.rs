//! `create_run`: makes a run and starts it, lets it wait, or refuses it; and makes the child runs of `advance`.

use super::fault::Result;
use super::run_row::{self, RunRow};
use super::tx::Tx;
use super::{audit, early, finish, stop, threads};
use crate::id::{Partition, RunId, RunKey};
use crate::limits::THREAD_QUEUE_MAX;
use crate::run::RunStatus;
use crate::stop::{Cause, NewOrder, StopReport};
use crate::store::{Created, Error, NewRun, OnConflict, Start};

pub(super) fn create_run(tx: &mut Tx<'_>, new: &NewRun) -> Result<Created> {
    if new.parent.is_some() {
        let why = "a run with a parent is made by its parent's step alone: leave the parent out".to_owned();
        return Err(Error::Unsuitable { place: format!("run {}", new.id), why }.into());
    }
    if let Some(run) = tx.run(&new.id)? {
        return Ok(Created::Exists { key: run.key.clone(), status: run.life.status });
    }
    let created = make(tx, new)?;
    if let (Created::Made { .. }, Start::From { run, step, .. }) = (&created, &new.spec.start) {
        audit::made(tx, new, &format!("from run {run} step {step}"))?;
    }
    Ok(created)
}

fn make(tx: &mut Tx<'_>, new: &NewRun) -> Result<Created> {
    let key = RunKey { partition: Partition::of(&new.thread, tx.setting.partitions), id: new.id.clone() };
    if let Some(report) = early::take(tx, &new.id)? {
        let row = insert_stopped(tx, new, key.partition, report)?;
        return Ok(Created::Made { key, status: row.life.status });
    }
    let Some(active) = threads::open(tx, &new.thread)? else {
        insert(tx, new, key.partition, false)?;
        threads::set_active(tx, &new.thread, Some(&new.id))?;
        start(tx, &new.id)?;
        return Ok(Created::Made { key, status: RunStatus::Queued });
    };
    match new.on_conflict {
        OnConflict::Reject => return Ok(Created::Busy { active }),
        OnConflict::Enqueue if threads::waiting(tx, &new.thread)?.len() >= THREAD_QUEUE_MAX => {
            return Ok(Created::QueueFull { max: THREAD_QUEUE_MAX });
        }
        OnConflict::Enqueue => insert(tx, new, key.partition, true)?,
        OnConflict::Interrupt => supersede(tx, new, key.partition, &active)?,
        OnConflict::Rollback => {
            tx.change(&active)?.life.take_back = true;
            supersede(tx, new, key.partition, &active)?;
        }
    }
    let status = tx.known(&new.id)?.life.status;
    Ok(Created::Made { key, status })
}

/// Ends the runs that wait, puts the new one first in the queue, and orders the one in flight to stop.
fn supersede(tx: &mut Tx<'_>, new: &NewRun, partition: Partition, active: &RunId) -> Result<()> {
    let order = NewOrder {
        cause: Cause::Superseded,
        reason: Some(format!("superseded by run {}", new.id)),
        actor: format!("run {}", new.id),
        grace: None,
        force: false,
    };
    for waiting in threads::waiting(tx, &new.thread)? {
        stop::order(tx, &waiting, &order)?;
    }
    insert(tx, new, partition, true)?;
    stop::order(tx, active, &order)?;
    Ok(())
}

fn insert(tx: &mut Tx<'_>, new: &NewRun, partition: Partition, waiting: bool) -> Result<()> {
    let mut row = RunRow::made(new, partition, tx.now);
    row.life.waiting = waiting;
    run_row::insert(tx.conn, &mut row, &new.spec)?;
    tx.hold(row);
    Ok(())
}

/// Makes a run whose stop order came before it: it has ended before it began.
fn insert_stopped(tx: &mut Tx<'_>, new: &NewRun, partition: Partition, report: StopReport) -> Result<RunRow> {
    let mut row = RunRow::made(new, partition, tx.now);
    row.life.status = report.order.order.cause.end();
    row.life.ended_at = Some(tx.now);
    row.life.stop = Some(StopReport { closed_at: Some(tx.now), ..report });
    run_row::insert(tx.conn, &mut row, &new.spec)?;
    finish::count(tx, &row)?;
    tx.hold(row.clone());
    Ok(row)
}

/// Makes the run that stands for a task of its parent, and starts it. Whether its id was free.
pub(super) fn child(tx: &mut Tx<'_>, new: &NewRun, parent: &RunKey) -> Result<bool> {
    if tx.load(&new.id)? {
        return Ok(false);
    }
    if let Some(report) = early::take(tx, &new.id)? {
        let row = insert_stopped(tx, new, parent.partition, report)?;
        finish::tell_parent(tx, &row)?;
        return Ok(true);
    }
    insert(tx, new, parent.partition, false)?;
    start(tx, &new.id)?;
    Ok(true)
}

/// Lets a run begin: its time runs, its base is known, and it waits for its first plan.
pub(super) fn start(tx: &mut Tx<'_>, id: &RunId) -> Result<()> {
    let now = tx.now;
    let row = tx.known(id)?.clone();
    let parents = match &row.parent {
        Some(parent) => tx.known(&parent.run)?.life.deadline_at,
        None => None,
    };
    let base = match run_row::spec(tx.conn, &row)?.start {
        Start::From { run, step, .. } => Some((run, step)),
        Start::Fresh if row.parent.is_some() => None,
        Start::Fresh => threads::head(tx, &row.thread)?,
    };
    let own = now.after(row.run_timeout);
    let run = tx.change(id)?;
    run.life.waiting = false;
    run.life.started_at = Some(now);
    run.life.deadline_at = Some(parents.map_or(own, |parents| own.min(parents)));
    // The parent's order reaches a child whose time is its parent's; one of its own would come between.
    run.life.overdue_at = parents.is_none_or(|parents| own < parents).then_some(own);
    run.life.base = base;
    tx.make_ready(id)
}
