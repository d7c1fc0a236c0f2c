//! Overload: how pools are judged, and runs that are shed.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::column::Json;
use super::fault::{Naming, Result};
use super::stop;
use super::tx::Tx;
use crate::id::{PoolName, RunKey};
use crate::load::PoolLoad;
use crate::stop::NewOrder;
use crate::store::Shed;
use crate::time::Timestamp;

/// Keeps a judgement unless another scheduler's holds; answers the one that does.
pub(super) fn report(tx: &Tx<'_>, load: &PoolLoad, ttl: Duration) -> Result<PoolLoad> {
    if let Some(holds) = find(tx.conn, &load.pool, tx.now)?.filter(|holds| holds.by != load.by) {
        return Ok(holds);
    }
    tx.conn
        .prepare_cached("INSERT OR REPLACE INTO pool_loads (pool, until, json) VALUES (?1, ?2, ?3)")?
        .execute(params![load.pool.as_str(), tx.now.after(ttl), Json(load)])?;
    Ok(load.clone())
}

/// The judgement of a pool that holds now.
pub(super) fn find(conn: &Connection, pool: &PoolName, now: Timestamp) -> Result<Option<PoolLoad>> {
    conn.prepare_cached("SELECT json FROM pool_loads WHERE pool = ?1 AND until > ?2")?
        .query_row(params![pool.as_str(), now], |row| Ok(row.get::<_, Json<PoolLoad>>(0)?.0))
        .optional()
        .naming(|| format!("the load of pool {pool}"))
}

/// Orders a run to stop, unless any of it was ever a worker's.
pub(super) fn shed(tx: &mut Tx<'_>, key: &RunKey, order: &NewOrder) -> Result<Shed> {
    let Some(run) = tx.run(&key.id)?.filter(|run| run.key == *key && !run.is_frozen()) else { return Ok(Shed::Frozen) };
    if run.counts.fence.get() > 0 || run.counts.open_children > 0 || run.parent.is_some() {
        return Ok(Shed::Begun);
    }
    stop::order(tx, &key.id, order)?;
    Ok(Shed::Stopped)
}
