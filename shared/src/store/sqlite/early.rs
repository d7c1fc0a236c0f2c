//! Stop orders that came before their run.

use std::time::Duration;

use rusqlite::{OptionalExtension, params};

use super::column::Json;
use super::fault::{Naming, Result};
use super::tx::Tx;
use crate::id::RunId;
use crate::stop::{NewOrder, StopOrder, StopReport};
use crate::time::Timestamp;

/// How long such an order waits for its run.
const KEPT_FOR: Duration = Duration::from_hours(24);

/// Keeps an order. The first one holds; a later one may add force.
pub(super) fn keep(tx: &Tx<'_>, run: &RunId, order: &NewOrder) -> Result<()> {
    let Some(first) = find(tx, run)? else {
        tx.conn
            .prepare_cached("INSERT OR REPLACE INTO early_orders (run, at, json) VALUES (?1, ?2, ?3)")?
            .execute(params![run, tx.now, Json(order)])?;
        return Ok(());
    };
    if order.force && !first.order.order.force && first.forced_at.is_none() {
        tx.conn
            .prepare_cached("UPDATE early_orders SET forced_at = ?2 WHERE run = ?1")?
            .execute(params![run, tx.now])?;
    }
    Ok(())
}

/// Takes the order that waits for this run, as a report that is still open.
pub(super) fn take(tx: &Tx<'_>, run: &RunId) -> Result<Option<StopReport>> {
    let found = find(tx, run)?;
    if found.is_some() {
        tx.conn.prepare_cached("DELETE FROM early_orders WHERE run = ?1")?.execute([run])?;
    }
    Ok(found)
}

/// Forgets up to `limit` orders whose run never came.
pub(super) fn forget(tx: &Tx<'_>, limit: usize) -> Result<usize> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let count = tx
        .conn
        .prepare_cached(
            "DELETE FROM early_orders WHERE run IN (SELECT run FROM early_orders WHERE at <= ?1 ORDER BY at LIMIT ?2)",
        )?
        .execute(params![oldest(tx), limit])?;
    Ok(count)
}

fn oldest(tx: &Tx<'_>) -> i64 {
    tx.now.as_millis().saturating_sub(crate::time::millis(KEPT_FOR))
}

fn find(tx: &Tx<'_>, run: &RunId) -> Result<Option<StopReport>> {
    tx.conn
        .prepare_cached("SELECT json, at, forced_at FROM early_orders WHERE run = ?1 AND at > ?2")?
        .query_row(params![run, oldest(tx)], |row| {
            let (Json(order), at, forced_at) =
                (row.get::<_, Json<NewOrder>>(0)?, row.get::<_, Timestamp>(1)?, row.get::<_, Option<Timestamp>>(2)?);
            let order = StopOrder { order, at };
            Ok(StopReport { forced_at, ..StopReport::new(order, 0) })
        })
        .optional()
        .naming(|| format!("the early stop order for run {run}"))
}
