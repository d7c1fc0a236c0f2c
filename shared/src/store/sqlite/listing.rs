//! Reads of runs: one, or a page of those that a filter admits.

use std::fmt::Write as _;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::fault::{Naming, Result};
use super::run_row::{self, RunRow, select_runs};
use crate::id::{RunId, RunKey};
use crate::store::{Error, Page, Run, RunFilter};
use crate::time::Timestamp;

/// Rows that one page looks at, at most, to find those with the labels that were asked for.
const LOOKED_AT_MAX: usize = 5_000;

/// The run of this id.
pub(super) fn run(conn: &Connection, id: &RunId) -> Result<Option<Run>> {
    let Some(row) = run_row::find(conn, id)? else { return Ok(None) };
    let spec = run_row::spec(conn, &row)?;
    Ok(Some(row.show(spec)))
}

/// The row of this address.
pub(super) fn row(conn: &Connection, key: &RunKey) -> Result<Option<RunRow>> {
    Ok(run_row::find(conn, &key.id)?.filter(|row| row.key.partition == key.partition))
}

/// A page of runs, newest first.
pub(super) fn page(conn: &Connection, filter: &RunFilter, cursor: Option<&str>, limit: usize) -> Result<Page<Run>> {
    let (condition, mut values) = condition(filter);
    let after = cursor.map(parse_cursor).transpose()?;
    let place = after.as_ref().map_or("", |_| " AND (created_at, id) < (?, ?)");
    if let Some((at, id)) = &after {
        values.extend([Value::from(at.as_millis()), Value::from(id.as_str().to_owned())]);
    }
    let sql = format!(concat!(select_runs!("WHERE"), "{}{} ORDER BY created_at DESC, id DESC"), condition, place);
    let mut query = conn.prepare(&sql)?;
    let mut rows = query.query(params_from_iter(values))?;
    let (mut shown, mut last, mut looked_at) = (Vec::new(), None, 0);
    while let Some(found) = rows.next()? {
        if shown.len() == limit || looked_at == LOOKED_AT_MAX {
            return Ok(Page { rows: shown, next: last.as_ref().map(write_cursor) });
        }
        let row = run_row::read(found).naming(|| "a run of the listing".to_owned())?;
        let run = row.show(run_row::spec(conn, &row)?);
        looked_at += 1;
        last = Some(row);
        if filter.admits(&run) {
            shown.push(run);
        }
    }
    Ok(Page { rows: shown, next: None })
}

/// All of a filter that an index helps with; labels are looked at row by row.
fn condition(filter: &RunFilter) -> (String, Vec<Value>) {
    let mut text = " 1".to_owned();
    let mut values = Vec::new();
    if !filter.status.is_empty() {
        let places = vec!["?"; filter.status.len()].join(", ");
        let _ = write!(text, " AND status IN ({places})");
        values.extend(filter.status.iter().map(|status| Value::from(status.name().to_owned())));
    }
    if let Some(thread) = &filter.thread {
        text.push_str(" AND thread = ?");
        values.push(Value::from(thread.as_str().to_owned()));
    }
    if let Some(graph) = &filter.graph {
        text.push_str(" AND graph = ?");
        values.push(Value::from(graph.as_str().to_owned()));
    }
    if let Some(before) = filter.created_before {
        text.push_str(" AND created_at < ?");
        values.push(Value::from(before.as_millis()));
    }
    (text, values)
}

fn write_cursor(row: &RunRow) -> String {
    format!("{}:{}", row.created_at.as_millis(), row.key.id)
}

fn parse_cursor(text: &str) -> Result<(Timestamp, RunId)> {
    let parts = text.split_once(':').and_then(|(at, id)| Some((at.parse().ok()?, RunId::new(id).ok()?)));
    let (at, id) = parts.ok_or_else(|| Error::Cursor { text: text.chars().take(64).collect() })?;
    Ok((Timestamp::from_millis(at), id))
}
