//! What attempts spend: added to their run and to those above, which are ordered to stop once it is over their budget.

use rusqlite::{OptionalExtension, params};

use super::column::Json;
use super::fault::{Naming, Result};
use super::run_row::{self, RunRow};
use super::stop;
use super::task_row::TaskRow;
use super::tx::Tx;
use crate::id::RunId;
use crate::outcome::{Failure, FailureKind};
use crate::spend::Spend;
use crate::stop::{Cause, NewOrder};

/// Adds what a task's attempt has spent, all in all.
pub(super) fn add(tx: &mut Tx<'_>, run: &RunId, task: &TaskRow, spent: Spend) -> Result<()> {
    if spent.is_nothing() {
        return Ok(());
    }
    let spent = spent.beyond(kept(tx, task)?);
    if spent.is_nothing() {
        return Ok(());
    }
    let node = &task.id.node;
    let mut next = Some(run.clone());
    while let Some(id) = next {
        if !tx.load(&id)? {
            return Ok(());
        }
        let row = tx.change(&id)?;
        row.spent += spent;
        let row = row.clone();
        next = row.parent.as_ref().map(|parent| parent.run.clone());
        if row.is_frozen() {
            continue;
        }
        let Some(message) = run_row::spec(tx.conn, &row)?.budget.overrun(&row.spent) else { continue };
        let failure = Failure::new(FailureKind::Exhausted, message.clone()).at(node);
        tx.change(&id)?.life.failure = Some(failure);
        let (reason, actor) = (Some(message), format!("node {node}"));
        stop::order(tx, &id, &NewOrder { cause: Cause::Budget, reason, actor, grace: None, force: false })?;
    }
    Ok(())
}

/// Adds what a task's attempt that goes on has spent so far.
pub(super) fn add_so_far(tx: &mut Tx<'_>, run: &RunId, task: &TaskRow, spent: Spend) -> Result<()> {
    let mut all = kept(tx, task)?;
    add(tx, run, task, spent)?;
    all += spent.beyond(all);
    tx.conn
        .prepare_cached("INSERT OR REPLACE INTO task_spend (task, fence, json) VALUES (?1, ?2, ?3)")?
        .execute(params![task.seq, task.fence, Json(all)])?;
    Ok(())
}

/// What of a task's attempt was added before.
fn kept(tx: &Tx<'_>, task: &TaskRow) -> Result<Spend> {
    let kept: Option<Json<Spend>> = tx
        .conn
        .prepare_cached("SELECT json FROM task_spend WHERE task = ?1 AND fence = ?2")?
        .query_row(params![task.seq, task.fence], |row| row.get(0))
        .optional()
        .naming(|| format!("what task {} of run {} has spent", task.id, task.seq))?;
    Ok(kept.map(|json| json.0).unwrap_or_default())
}

/// Whether a run or one above it limits its cost.
pub(super) fn limits_cost(tx: &mut Tx<'_>, run: &RunRow) -> Result<bool> {
    let mut next = Some(run.clone());
    while let Some(row) = next {
        if run_row::limits_cost(tx.conn, &row)? {
            return Ok(true);
        }
        next = row.parent.as_ref().map(|parent| tx.known(&parent.run).cloned()).transpose()?;
    }
    Ok(false)
}
