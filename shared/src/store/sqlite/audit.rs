//! The audit trail: bounded for each partition, newest first.

use rusqlite::{Connection, OptionalExtension, params};

use super::column::Json;
use super::fault::{Naming, Result};
use super::tx::Tx;
use crate::id::{Partition, RunId, ThreadId};
use crate::limits::AUDIT_PER_PARTITION_MAX;
use crate::stop::NewOrder;
use crate::store::{
    AuditEntry, Error, NewRun, Page, PolicyChange, PolicyChanged, Resume, StopTasks, TaskTally, TasksStopped,
};

/// Notes a stop order and what came of it.
pub(super) fn stop(tx: &mut Tx<'_>, run: &RunId, order: &NewOrder, result: &str) -> Result<()> {
    let entry = AuditEntry {
        at: tx.now,
        action: if order.force { "force" } else { "stop" }.to_owned(),
        run: run.clone(),
        actor: order.actor.clone(),
        reason: order.reason.clone(),
        result: result.to_owned(),
    };
    add(tx, &entry)
}

/// Notes an order to tasks of a run and what came of it.
pub(super) fn stop_tasks(tx: &mut Tx<'_>, stop: &StopTasks, answer: TasksStopped) -> Result<()> {
    let node = &stop.node;
    let result = match answer {
        TasksStopped::NotFound => format!("{node}: not_found"),
        TasksStopped::Frozen(status) => format!("{node}: {status}"),
        TasksStopped::Done(TaskTally { settled, stopping, already }) => {
            format!("{node}: {settled} settled, {stopping} stopping, {already} already")
        }
    };
    let entry = AuditEntry {
        at: tx.now,
        action: "stop_tasks".to_owned(),
        run: stop.run.clone(),
        actor: stop.order.actor.clone(),
        reason: stop.order.reason.clone(),
        result,
    };
    add(tx, &entry)
}

/// Notes a change of the policies and what came of it.
pub(super) fn policy(tx: &mut Tx<'_>, change: &PolicyChange, answer: PolicyChanged) -> Result<()> {
    let entry = AuditEntry {
        at: tx.now,
        action: change.action().to_owned(),
        run: PolicyChange::trail(),
        actor: change.actor.clone(),
        reason: change.reason.clone(),
        result: format!("{}: {answer}", change.name),
    };
    add(tx, &entry)
}

/// Notes an answer to an interrupted run and what came of it.
pub(super) fn resume(tx: &mut Tx<'_>, resume: &Resume, result: &str) -> Result<()> {
    let entry = AuditEntry {
        at: tx.now,
        action: "resume".to_owned(),
        run: resume.run.id.clone(),
        actor: resume.actor.clone(),
        reason: resume.reason.clone(),
        result: result.to_owned(),
    };
    add(tx, &entry)
}

/// Notes that a run was made to go on where another has ended.
pub(super) fn made(tx: &mut Tx<'_>, new: &NewRun, result: &str) -> Result<()> {
    let entry = AuditEntry {
        at: tx.now,
        action: "resume".to_owned(),
        run: new.id.clone(),
        actor: new.spec.actor.clone(),
        reason: new.spec.reason.clone(),
        result: result.to_owned(),
    };
    add(tx, &entry)
}

fn add(tx: &mut Tx<'_>, entry: &AuditEntry) -> Result<()> {
    let partition = match tx.run(&entry.run)? {
        Some(run) => run.key.partition,
        None => place_of_stranger(&entry.run, tx.setting.partitions),
    };
    let last: Option<i64> = tx
        .conn
        .prepare_cached("SELECT place FROM audit WHERE partition = ?1 ORDER BY place DESC LIMIT 1")?
        .query_row([partition], |row| row.get(0))
        .optional()?;
    let place = last.unwrap_or(0) + 1;
    tx.conn
        .prepare_cached("INSERT INTO audit (partition, place, run, json) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![partition, place, entry.run, Json(entry)])?;
    let max = i64::try_from(AUDIT_PER_PARTITION_MAX).unwrap_or(i64::MAX);
    tx.conn
        .prepare_cached("DELETE FROM audit WHERE partition = ?1 AND place <= ?2")?
        .execute(params![partition, place - max])?;
    Ok(())
}

/// An order may name a run that nobody has made; its entry lies where a run alone on its thread would.
fn place_of_stranger(run: &RunId, partitions: u16) -> Partition {
    let thread = ThreadId::new(run.as_str()).expect("run ids and thread ids follow the same rule");
    Partition::of(&thread, partitions)
}

/// A page of the trail, newest first.
pub(super) fn page(
    conn: &Connection,
    run: Option<&RunId>,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<AuditEntry>> {
    let before = match cursor {
        None => i64::MAX,
        Some(text) => text.parse().map_err(|_| Error::Cursor { text: text.chars().take(64).collect() })?,
    };
    let rows = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Json<AuditEntry>>(1)?.0));
    let mut found: Vec<(i64, AuditEntry)> = match run {
        Some(run) => conn
            .prepare_cached("SELECT seq, json FROM audit WHERE run = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3")?
            .query_map(params![run, before, rows], read)?
            .collect::<rusqlite::Result<_>>(),
        None => conn
            .prepare_cached("SELECT seq, json FROM audit WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2")?
            .query_map(params![before, rows], read)?
            .collect::<rusqlite::Result<_>>(),
    }
    .naming(|| "the audit trail".to_owned())?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(seq, _)| seq.to_string());
    Ok(Page { rows: found.into_iter().map(|(_, entry)| entry).collect(), next })
}
