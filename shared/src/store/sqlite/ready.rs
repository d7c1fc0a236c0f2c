//! `take_ready`: hands out runs that wait for their plan, with all that the plan needs.

use std::time::Duration;

use rusqlite::params;

use super::fault::{Naming, Result};
use super::tx::Tx;
use super::{checkpoints, run_row, task_row};
use crate::checkpoint::Values;
use crate::id::{Partition, RunId};
use crate::limits::FAN_OUT_MAX;
use crate::store::Ready;

pub(super) fn take_ready(tx: &mut Tx<'_>, partition: Partition, limit: usize, hold: Duration) -> Result<Vec<Ready>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let ids: Vec<RunId> = tx
        .conn
        .prepare_cached("SELECT id FROM runs WHERE partition = ?1 AND ready_at <= ?2 ORDER BY ready_at, id LIMIT ?3")?
        .query_map(params![partition, tx.now, limit], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()
        .naming(|| format!("the ready runs of partition {partition}"))?;
    let mut taken = Vec::with_capacity(ids.len());
    for id in ids {
        // Hidden whether it can be read or not: a record that is broken must not be in the way of others for ever.
        tx.conn
            .prepare_cached("UPDATE runs SET ready_at = ?2 WHERE id = ?1")?
            .execute(params![id, tx.now.after(hold)])?;
        match read(tx, &id) {
            Ok(ready) => taken.extend(ready),
            Err(fault) if fault.is_of_one_record() => {
                let error = fault.into_error("the store");
                tracing::error!(run.id = %id, %error, "a run waits for its plan, but its records cannot be read");
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(taken)
}

fn read(tx: &mut Tx<'_>, id: &RunId) -> Result<Option<Ready>> {
    let Some(row) = tx.run(id)?.cloned() else { return Ok(None) };
    let (mut checkpoint, mut values) = (None, None);
    if let Some(step) = row.plan.last_checkpoint {
        checkpoint = checkpoints::find(tx.conn, &row, step)?;
        values = checkpoints::values(tx.conn, &row, step, None)?;
    }
    let tasks = task_row::of_step(tx.conn, &row, row.plan.step, 0, FAN_OUT_MAX)?;
    let resumed = row.plan.resumed;
    Ok(Some(Ready {
        run: row.show(run_row::spec(tx.conn, &row)?),
        checkpoint,
        values: values.unwrap_or_else(Values::new),
        tasks: tasks.into_iter().map(task_row::TaskRow::show).collect(),
        resumed,
    }))
}
