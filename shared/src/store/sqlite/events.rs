//! What nodes report while they run: the newest of a run's events.

use rusqlite::{Connection, OptionalExtension, params};

use super::column::Json;
use super::fault::{Naming, Result};
use super::run_row::RunRow;
use super::tx::Tx;
use crate::id::{RunKey, Step};
use crate::limits::EVENTS_PER_RUN_MAX;
use crate::store::{Event, NewEvent};

pub(super) fn emit(tx: &mut Tx<'_>, key: &RunKey, events: &[NewEvent]) -> Result<()> {
    let Some(run) = tx.run_at(key)?.filter(|run| !run.is_frozen()) else { return Ok(()) };
    let run = run.seq;
    let last: Option<i64> = tx
        .conn
        .prepare_cached("SELECT seq FROM events WHERE run = ?1 ORDER BY seq DESC LIMIT 1")?
        .query_row([run], |row| row.get(0))
        .optional()?;
    let mut seq = last.unwrap_or(0);
    for event in events {
        seq += 1;
        tx.conn.prepare_cached("INSERT INTO events (run, seq, at, json) VALUES (?1, ?2, ?3, ?4)")?.execute(params![
            run,
            seq,
            tx.now,
            Json(event)
        ])?;
    }
    let max = i64::try_from(EVENTS_PER_RUN_MAX).unwrap_or(i64::MAX);
    tx.conn.prepare_cached("DELETE FROM events WHERE run = ?1 AND seq <= ?2")?.execute(params![run, seq - max])?;
    Ok(())
}

/// Events after a place, oldest first.
pub(super) fn after(conn: &Connection, run: &RunRow, seq: u64, limit: usize) -> Result<Vec<Event>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    conn.prepare_cached("SELECT seq, at, json FROM events WHERE run = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3")?
        .query_map(params![run.seq, i64::try_from(seq).unwrap_or(i64::MAX), limit], |row| {
            Ok(Event { seq: row.get::<_, Step>(0)?.get(), at: row.get(1)?, event: row.get::<_, Json<NewEvent>>(2)?.0 })
        })?
        .collect::<rusqlite::Result<_>>()
        .naming(|| format!("run {}, its events", run.key.id))
}
