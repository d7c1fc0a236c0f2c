//! What is kept beside the runs: workers as they last reported, and graphs under their hashes.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::column::Json;
use super::fault::{Naming, Result};
use super::tx::Tx;
use crate::id::{GraphHash, WorkerId};
use crate::store::{StoredGraph, WorkerRecord};
use crate::time::{Timestamp, millis};

/// For how long a worker that reports no more is shown.
const SHOWN_FOR: Duration = Duration::from_mins(1);

pub(super) fn report_worker(tx: &Tx<'_>, worker: WorkerRecord) -> Result<()> {
    let record = WorkerRecord { seen_at: tx.now, ..worker };
    tx.conn
        .prepare_cached("INSERT OR REPLACE INTO workers (id, seen_at, json) VALUES (?1, ?2, ?3)")?
        .execute(params![record.id, record.seen_at, Json(&record)])?;
    tx.conn.prepare_cached("DELETE FROM workers WHERE seen_at < ?1")?.execute([oldest(tx.now)])?;
    Ok(())
}

pub(super) fn forget_worker(tx: &Tx<'_>, worker: &WorkerId) -> Result<()> {
    tx.conn.prepare_cached("DELETE FROM workers WHERE id = ?1")?.execute([worker])?;
    Ok(())
}

/// Workers that were seen lately, by id.
pub(super) fn workers(conn: &Connection, now: Timestamp) -> Result<Vec<WorkerRecord>> {
    conn.prepare_cached("SELECT json FROM workers WHERE seen_at >= ?1 ORDER BY id")?
        .query_map([oldest(now)], |row| Ok(row.get::<_, Json<WorkerRecord>>(0)?.0))?
        .collect::<rusqlite::Result<_>>()
        .naming(|| "the workers".to_owned())
}

fn oldest(now: Timestamp) -> i64 {
    now.as_millis().saturating_sub(millis(SHOWN_FOR))
}

/// Writes next to nothing, and answers the time.
pub(super) fn probe(tx: &Tx<'_>) -> Result<Timestamp> {
    tx.conn
        .prepare_cached("INSERT OR REPLACE INTO settings (name, value) VALUES ('probed', ?1)")?
        .execute([tx.now.as_millis().to_string()])?;
    Ok(tx.now)
}

pub(super) fn put_graph(tx: &Tx<'_>, graph: &StoredGraph) -> Result<()> {
    tx.conn
        .prepare_cached("INSERT OR IGNORE INTO graphs (hash, name, json) VALUES (?1, ?2, ?3)")?
        .execute(params![graph.hash, graph.name, graph.json])?;
    Ok(())
}

pub(super) fn graph(conn: &Connection, hash: &GraphHash) -> Result<Option<StoredGraph>> {
    conn.prepare_cached("SELECT hash, name, json FROM graphs WHERE hash = ?1")?
        .query_row([hash], |row| Ok(StoredGraph { hash: row.get(0)?, name: row.get(1)?, json: row.get(2)? }))
        .optional()
        .naming(|| format!("graph {hash}"))
}
