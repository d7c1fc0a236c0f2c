//! `stop`: freezes a run, carries the order to its children, and closes it as soon as nothing is open.

use rusqlite::params;

use super::fault::{Naming, Result};
use super::tx::Tx;
use super::{audit, early, finish};
use crate::id::RunId;
use crate::run::{RunEvent, RunStatus};
use crate::stop::{NewOrder, StopOrder, StopReport};
use crate::store::StopAnswer;

/// Orders a run to stop, with an entry in the audit trail.
pub(super) fn order(tx: &mut Tx<'_>, id: &RunId, order: &NewOrder) -> Result<StopAnswer> {
    let answer = carry_out(tx, id, order)?;
    let result = match &answer {
        StopAnswer::Accepted(_) => "accepted",
        StopAnswer::Already { forced: true, .. } => "forced",
        StopAnswer::Already { forced: false, .. } => "already",
        StopAnswer::Finished(_) => "finished",
        StopAnswer::Early => "early",
    };
    audit::stop(tx, id, order, result)?;
    Ok(answer)
}

/// The same without an entry in the audit trail.
pub(super) fn carry_out(tx: &mut Tx<'_>, id: &RunId, order: &NewOrder) -> Result<StopAnswer> {
    let Some(run) = tx.run(id)? else {
        early::keep(tx, id, order)?;
        return Ok(StopAnswer::Early);
    };
    let status = run.life.status;
    match run.life.stop.clone() {
        Some(first) => add_force(tx, id, order, first),
        None if status.is_final() => Ok(StopAnswer::Finished(status)),
        None => freeze(tx, id, order),
    }
}

/// A second order changes nothing, but that it may add force while leases are open.
fn add_force(tx: &mut Tx<'_>, id: &RunId, order: &NewOrder, first: StopReport) -> Result<StopAnswer> {
    let is_new = order.force && !first.order.order.force && first.forced_at.is_none() && first.closed_at.is_none();
    if !is_new {
        return Ok(StopAnswer::Already { report: first, forced: false });
    }
    let now = tx.now;
    if let Some(report) = &mut tx.change(id)?.life.stop {
        report.forced_at = Some(now);
    }
    tx.push_stop(id);
    cascade(tx, id, order)?;
    let report = tx.known(id)?.life.stop.clone().unwrap_or(first);
    Ok(StopAnswer::Already { report, forced: true })
}

fn freeze(tx: &mut Tx<'_>, id: &RunId, order: &NewOrder) -> Result<StopAnswer> {
    let now = tx.now;
    let run = tx.change(id)?;
    run.take(RunEvent::StopOrdered);
    run.life.waiting = false;
    run.life.overdue_at = None;
    run.plan.ready_at = None;
    let ordered = StopOrder { order: order.clone(), at: now };
    let report = StopReport::new(ordered, run.counts.open_leases + run.counts.open_children);
    run.life.stop = Some(report.clone());
    tx.push_stop(id);
    cascade(tx, id, order)?;
    close_if_done(tx, id)?;
    Ok(StopAnswer::Accepted(tx.known(id)?.life.stop.clone().unwrap_or(report)))
}

/// The order goes to the open children, at every depth.
fn cascade(tx: &mut Tx<'_>, id: &RunId, order: &NewOrder) -> Result<()> {
    let run = tx.known(id)?;
    if run.counts.open_children == 0 {
        return Ok(());
    }
    let (seq, step) = (run.seq, run.plan.step);
    let children: Vec<RunId> = tx
        .conn
        .prepare_cached("SELECT child FROM tasks WHERE run = ?1 AND step = ?2 AND state = 'child' ORDER BY node, item")?
        .query_map(params![seq, step], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()
        .naming(|| format!("run {id}, its children"))?;
    for child in children {
        // A run that had the child's id before is nobody's child; the task that was to stand for it is refused later.
        let is_another = tx.load(&child)? && tx.known(&child)?.parent.as_ref().is_none_or(|parent| parent.run != *id);
        if !is_another {
            carry_out(tx, &child, order)?;
        }
    }
    Ok(())
}

/// The last lease or child of a stopping run was closed: it ends. Whether it did.
pub(super) fn close_if_done(tx: &mut Tx<'_>, id: &RunId) -> Result<bool> {
    let now = tx.now;
    let run = tx.change(id)?;
    if run.life.status != RunStatus::Stopping || !run.has_nothing_open() {
        return Ok(false);
    }
    let Some(report) = &mut run.life.stop else { return Ok(false) };
    report.closed_at = Some(now);
    let cause = report.order.order.cause;
    finish::finish(tx, id, RunEvent::Closed(cause))?;
    Ok(true)
}
