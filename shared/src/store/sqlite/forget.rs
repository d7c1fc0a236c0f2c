//! What a sweep forgets: tasks of past steps, ended runs, early orders, upstreams, what policies have counted. All within its
//! limits.

use std::time::Duration;

use rusqlite::params;

use super::fault::Result;
use super::tx::Tx;
use super::{early, policies, upstreams};
use crate::id::{Partition, RunId, Step, ThreadId};
use crate::store::SweepLimits;
use crate::time::{Timestamp, millis};

/// How long the tasks of a step that is over are kept, so that late calls are answered as before.
const STEP_KEPT_FOR: Duration = Duration::from_mins(1);

/// Forgets what is no longer kept; whether there may be more.
pub(super) fn forget(tx: &mut Tx<'_>, partition: Partition, limits: &SweepLimits) -> Result<bool> {
    tx.flush()?;
    let steps = forget_steps(tx, partition, limits.tasks)?;
    let runs = forget_runs(tx, partition, limits.runs)?;
    let orders = early::forget(tx, limits.runs)? >= limits.runs;
    let counts = policies::forget(tx, limits.tasks)? >= limits.tasks;
    let upstreams = upstreams::forget(tx, limits.runs)?;
    Ok(steps || runs || orders || counts || upstreams)
}

fn before(tx: &Tx<'_>, age: Duration) -> Timestamp {
    Timestamp::from_millis(tx.now.as_millis().saturating_sub(millis(age)))
}

fn forget_steps(tx: &Tx<'_>, partition: Partition, limit: usize) -> Result<bool> {
    let rows = i64::try_from(limit).unwrap_or(i64::MAX);
    let old: Vec<(i64, Step)> = tx
        .conn
        .prepare_cached("SELECT run, step FROM finished_steps WHERE partition = ?1 AND at <= ?2 ORDER BY at LIMIT ?3")?
        .query_map(params![partition, before(tx, STEP_KEPT_FOR), rows], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (run, step) in &old {
        tx.conn.prepare_cached("DELETE FROM tasks WHERE run = ?1 AND step = ?2")?.execute(params![run, step])?;
        tx.conn
            .prepare_cached("DELETE FROM finished_steps WHERE run = ?1 AND step = ?2")?
            .execute(params![run, step])?;
    }
    Ok(old.len() >= limit)
}

/// Ended runs whose retention is over, except those that hold the state of a thread that is in use.
fn forget_runs(tx: &mut Tx<'_>, partition: Partition, limit: usize) -> Result<bool> {
    let rows = i64::try_from(limit).unwrap_or(i64::MAX);
    let old: Vec<(RunId, ThreadId)> = tx
        .conn
        .prepare_cached(
            "SELECT id, thread FROM runs WHERE partition = ?1 AND ended_at <= ?2 AND NOT EXISTS \
                (SELECT 1 FROM threads WHERE head_run = runs.id AND active IS NOT NULL) ORDER BY ended_at LIMIT ?3",
        )?
        .query_map(params![partition, before(tx, tx.setting.retention), rows], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (id, thread) in &old {
        tx.conn.prepare_cached("DELETE FROM runs WHERE id = ?1")?.execute([id])?;
        tx.conn
            .prepare_cached(
                "DELETE FROM threads WHERE id = ?1 AND active IS NULL AND (head_run IS NULL OR head_run = ?2)",
            )?
            .execute(params![thread, id])?;
    }
    tx.let_go(old.iter().map(|(id, _)| id));
    Ok(old.len() >= limit)
}
