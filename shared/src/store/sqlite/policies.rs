//! The operators' policies, and what they count.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::audit;
use super::column::Json;
use super::fault::{Naming, Result};
use super::tx::Tx;
use crate::limits::POLICIES_MAX;
use crate::policy::{Named, PARTS, Policy, Reading, Usage, Window, part_of};
use crate::store::{MeterCall, PolicyChange, PolicyChanged};
use crate::time::Timestamp;

/// All policies, by name.
pub(super) fn all(conn: &Connection) -> Result<Vec<Named>> {
    conn.prepare_cached("SELECT name, json FROM policies ORDER BY name")?
        .query_map([], |row| Ok(Named { name: row.get(0)?, policy: row.get::<_, Json<Policy>>(1)?.0 }))?
        .collect::<rusqlite::Result<_>>()
        .naming(|| "the policies".to_owned())
}

pub(super) fn set(tx: &mut Tx<'_>, change: &PolicyChange) -> Result<PolicyChanged> {
    let answer = carry_out(tx, change)?;
    audit::policy(tx, change, answer)?;
    Ok(answer)
}

fn carry_out(tx: &Tx<'_>, change: &PolicyChange) -> Result<PolicyChanged> {
    let name = &change.name;
    let Some(policy) = &change.policy else {
        let gone = tx.conn.prepare_cached("DELETE FROM policies WHERE name = ?1")?.execute([name])?;
        return Ok(if gone > 0 { PolicyChanged::Removed } else { PolicyChanged::NotFound });
    };
    let before: Option<Json<Policy>> = tx
        .conn
        .prepare_cached("SELECT json FROM policies WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    let count: i64 = tx.conn.query_row("SELECT count(*) FROM policies", [], |row| row.get(0))?;
    if before.as_ref().is_some_and(|before| before.0 == *policy) {
        return Ok(PolicyChanged::Unchanged);
    }
    if before.is_none() && usize::try_from(count).unwrap_or(usize::MAX) >= POLICIES_MAX {
        return Ok(PolicyChanged::TooMany);
    }
    tx.conn
        .prepare_cached("INSERT INTO policies (name, json) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET json = ?2")?
        .execute(params![name, Json(policy)])?;
    Ok(PolicyChanged::Set)
}

/// Counts in a window.
pub(super) fn count(tx: &Tx<'_>, call: &MeterCall) -> Result<Reading> {
    let part = part_of(call.window);
    let key = params![call.policy, call.subject, part];
    let kept: BTreeMap<i64, Usage> = tx
        .conn
        .prepare_cached("SELECT number, used FROM meters WHERE policy = ?1 AND subject = ?2 AND part = ?3")?
        .query_map(key, |row| Ok((row.get(0)?, row.get::<_, Json<Usage>>(1)?.0)))?
        .collect::<rusqlite::Result<_>>()
        .naming(|| format!("what policy {} has counted", call.policy))?;
    let mut window = Window::new(kept.clone());
    let reading = window.count(&call.add, call.must, &call.limits, call.window, tx.now);
    for number in kept.keys().filter(|number| !window.parts().contains_key(number)) {
        tx.conn
            .prepare_cached("DELETE FROM meters WHERE policy = ?1 AND subject = ?2 AND part = ?3 AND number = ?4")?
            .execute(params![call.policy, call.subject, part, number])?;
    }
    for (number, used) in window.parts().iter().filter(|(number, used)| kept.get(number) != Some(used)) {
        let ends = Timestamp::from_millis((number + PARTS + 1) * part);
        tx.conn
            .prepare_cached(
                "INSERT INTO meters (policy, subject, part, number, ends_at, used) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                    ON CONFLICT (policy, subject, part, number) DO UPDATE SET used = ?6",
            )?
            .execute(params![call.policy, call.subject, part, number, ends, Json(used)])?;
    }
    Ok(reading)
}

/// Forgets counts that have left their windows; how many there were.
pub(super) fn forget(tx: &Tx<'_>, limit: usize) -> Result<usize> {
    let rows = i64::try_from(limit).unwrap_or(i64::MAX);
    let gone = tx
        .conn
        .prepare_cached("DELETE FROM meters WHERE rowid IN (SELECT rowid FROM meters WHERE ends_at <= ?1 LIMIT ?2)")?
        .execute(params![tx.now, rows])?;
    Ok(gone)
}
