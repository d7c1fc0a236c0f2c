//! What attempts spend: added to their run and to those above, which are ordered to stop once it is over their budget.

use super::fault::Result;
use super::run_row::{self, RunRow};
use super::stop;
use super::tx::Tx;
use crate::id::{NodeName, RunId};
use crate::outcome::{Failure, FailureKind};
use crate::spend::Spend;
use crate::stop::{Cause, NewOrder};

/// Adds what a node's attempt has spent.
pub(super) fn add(tx: &mut Tx<'_>, run: &RunId, node: &NodeName, spent: Spend) -> Result<()> {
    if spent.is_nothing() {
        return Ok(());
    }
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
