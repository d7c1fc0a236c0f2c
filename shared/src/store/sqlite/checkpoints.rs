//! Checkpoints and the values of channels, one row a version.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use serde::Deserialize;
use serde_json::Value;

use super::column::Json;
use super::fault::{Fault, Naming, Result};
use super::run_row::RunRow;
use crate::checkpoint::{CHECKPOINT_FORMAT, Checkpoint, StoredCheckpoint, Values};
use crate::id::{ChannelName, Step};
use crate::store::Error;
use crate::time::Timestamp;

/// What every format of a checkpoint has.
#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

/// Keeps a checkpoint, and the values that are new in it.
pub(super) fn write(conn: &Connection, run: &RunRow, new: &Checkpoint, changed: &Values, at: Timestamp) -> Result<()> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO checkpoints (run, step, at, versions, json) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![run.seq, new.step, at, Json(&new.versions), Json(new)])?;
    let mut insert = conn.prepare_cached(
        "INSERT OR REPLACE INTO channel_values (run, channel, version, json) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (channel, value) in changed {
        insert.execute(params![run.seq, channel, new.step, Json(value)])?;
    }
    Ok(())
}

/// Checkpoints from a step on, oldest first.
pub(super) fn page(conn: &Connection, run: &RunRow, from: Step, limit: usize) -> Result<Vec<StoredCheckpoint>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut query = conn.prepare_cached(
        "SELECT step, at, json FROM checkpoints WHERE run = ?1 AND step >= ?2 ORDER BY step LIMIT ?3",
    )?;
    let mut rows = query.query(params![run.seq, from, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let step: Step = row.get(0)?;
        let text: String = row.get(2)?;
        found.push(StoredCheckpoint { checkpoint: parse(run, step, &text)?, at: row.get(1)? });
    }
    Ok(found)
}

/// One checkpoint.
pub(super) fn find(conn: &Connection, run: &RunRow, step: Step) -> Result<Option<Checkpoint>> {
    let text: Option<String> = conn
        .prepare_cached("SELECT json FROM checkpoints WHERE run = ?1 AND step = ?2")?
        .query_row(params![run.seq, step], |row| row.get(0))
        .optional()
        .naming(|| key(run, step))?;
    text.map(|text| parse(run, step, &text)).transpose()
}

/// The values of a checkpoint: those of the channels asked for, or all.
pub(super) fn values(
    conn: &Connection,
    run: &RunRow,
    step: Step,
    only: Option<&[ChannelName]>,
) -> Result<Option<Values>> {
    let versions: Option<Json<BTreeMap<ChannelName, Step>>> = conn
        .prepare_cached("SELECT versions FROM checkpoints WHERE run = ?1 AND step = ?2")?
        .query_row(params![run.seq, step], |row| row.get(0))
        .optional()
        .naming(|| key(run, step))?;
    let Some(Json(versions)) = versions else { return Ok(None) };
    let mut values = Values::new();
    let mut query =
        conn.prepare_cached("SELECT json FROM channel_values WHERE run = ?1 AND channel = ?2 AND version = ?3")?;
    for (channel, version) in versions {
        if only.is_some_and(|only| !only.contains(&channel)) {
            continue;
        }
        let name = || format!("run {}, channel {channel}, version {version}", run.key.id);
        let value: Option<Json<Value>> =
            query.query_row(params![run.seq, channel, version], |row| row.get(0)).optional().naming(name)?;
        let Some(Json(value)) = value else {
            return Err(Fault::corrupt(
                name(),
                &format!("the checkpoint of step {step} names it, but it is not there"),
            ));
        };
        values.insert(channel, value);
    }
    Ok(Some(values))
}

/// Reads a checkpoint; one of a later format is refused by its number, whatever else it has.
fn parse(run: &RunRow, step: Step, text: &str) -> Result<Checkpoint> {
    let corrupt = |error: serde_json::Error| Fault::corrupt(key(run, step), &error);
    let format = serde_json::from_str::<FormatOnly>(text).map_err(corrupt)?.format;
    if format > CHECKPOINT_FORMAT {
        return Err(Error::Format { key: key(run, step), format, known: CHECKPOINT_FORMAT }.into());
    }
    serde_json::from_str(text).map_err(corrupt)
}

fn key(run: &RunRow, step: Step) -> String {
    format!("run {}, checkpoint {step}", run.key.id)
}
