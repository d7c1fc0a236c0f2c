//! `take_ready`: hands out runs that wait for their plan, with all that the plan needs; `hold_ready`: hides them for longer.

use std::time::Duration;

use rusqlite::params;

use super::fault::{Naming, Result};
use super::tx::Tx;
use super::{checkpoints, run_row, task_row};
use crate::checkpoint::Values;
use crate::id::{Partition, RunId};
use crate::limits::FAN_OUT_MAX;
use crate::store::{Held, Ready, Taken};

pub(super) fn take_ready(tx: &mut Tx<'_>, partition: Partition, limit: usize, hold: Duration) -> Result<Vec<Ready>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let ids: Vec<RunId> = tx
        .conn
        .prepare_cached(
            "SELECT id FROM runs WHERE partition = ?1 AND ready_at <= ?2 ORDER BY ready_at, is_taken DESC, id LIMIT ?3",
        )?
        .query_map(params![partition, tx.now, limit], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()
        .naming(|| format!("the ready runs of partition {partition}"))?;
    let mut taken = Vec::with_capacity(ids.len());
    for id in ids {
        // Hidden whether it can be read or not: a record that is broken must not be in the way of others for ever.
        tx.conn.prepare_cached(TAKE)?.execute(params![id, tx.now.after(hold)])?;
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

/// Hides a run. One that is taken already was lost by whoever had it; that counts for one revision.
const TAKE: &str = "UPDATE runs SET ready_at = ?2, is_taken = 1, \
    lost_plans = CASE WHEN lost_revision = revision THEN lost_plans ELSE 0 END + is_taken, lost_revision = revision \
    WHERE id = ?1";

pub(super) fn hold_ready(
    tx: &mut Tx<'_>,
    partition: Partition,
    runs: &[Taken],
    hold: Duration,
    state: Held,
) -> Result<()> {
    let is_given_back = state == Held::GivenBack;
    for taken in runs {
        tx.conn.prepare_cached(HOLD)?.execute(params![
            taken.run,
            partition,
            taken.revision,
            tx.now.after(hold),
            is_given_back
        ])?;
    }
    Ok(())
}

const HOLD: &str = "UPDATE runs SET ready_at = ?4, is_taken = NOT ?5, \
    lost_plans = CASE WHEN ?5 THEN 0 ELSE lost_plans END \
    WHERE id = ?1 AND partition = ?2 AND revision = ?3 AND ready_at IS NOT NULL";

fn lost_plans(tx: &Tx<'_>, id: &RunId) -> Result<u32> {
    let lost =
        tx.conn.prepare_cached("SELECT lost_plans FROM runs WHERE id = ?1")?.query_row([id], |row| row.get(0))?;
    Ok(lost)
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
    let lost_plans = lost_plans(tx, id)?;
    Ok(Some(Ready {
        run: row.show(run_row::spec(tx.conn, &row)?),
        checkpoint,
        values: values.unwrap_or_else(Values::new),
        tasks: tasks.into_iter().map(task_row::TaskRow::show).collect(),
        resumed,
        lost_plans,
    }))
}
