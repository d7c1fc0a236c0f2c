//! Upstreams: how often they are called, and their breakers; of all processes that share the file. What changes nothing
//! writes nothing: to look costs no commit.

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::column::Json;
use super::fault::{Naming, Result};
use super::tx::Tx;
use crate::store::{BreakerCall, BreakerView};
use crate::time::Timestamp;
use crate::upstream::{Admission, Breaker, Rate, UpstreamName};

/// How long a rate is kept beyond its burst, and a breaker beyond twice its times: another process's clock may decide.
const KEPT_BEYOND_MS: u64 = 60_000;

/// A breaker as its row has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    breaker: Breaker,
    last: Option<String>,
}

pub(super) fn admit(tx: &mut Tx<'_>, upstream: &UpstreamName, rate: &Rate) -> Result<Admission> {
    let kept: Option<i64> = tx
        .conn
        .prepare_cached("SELECT arrival FROM upstream_rates WHERE upstream = ?1")?
        .query_row([upstream.as_str()], |row| row.get(0))
        .optional()
        .naming(|| format!("the rate of {upstream}"))?;
    let (answer, arrival) = crate::upstream::admit(kept, tx.now, rate);
    if answer == Admission::Admitted {
        let burst_ms = rate.interval_micros().saturating_mul(u64::from(rate.burst())) / 1_000;
        let forget_at = later(tx.now, burst_ms.saturating_add(KEPT_BEYOND_MS));
        tx.conn
            .prepare_cached("INSERT OR REPLACE INTO upstream_rates (upstream, arrival, forget_at) VALUES (?1, ?2, ?3)")?
            .execute(params![upstream.as_str(), arrival, forget_at])?;
    }
    Ok(answer)
}

pub(super) fn breaker(tx: &mut Tx<'_>, call: &BreakerCall) -> Result<BreakerView> {
    let (now, upstream) = (tx.now, &call.upstream);
    let kept: Option<Json<Kept>> = tx
        .conn
        .prepare_cached("SELECT json FROM upstream_breakers WHERE upstream = ?1")?
        .query_row([upstream.as_str()], |row| row.get(0))
        .optional()
        .naming(|| format!("the breaker of {upstream}"))?;
    let was = kept.map_or_else(|| Kept { breaker: Breaker::new(now), last: None }, |json| json.0);
    let breaker = was.breaker.clone().next(&call.event, now, &call.limits);
    let is = Kept { breaker, last: call.last.clone().or_else(|| was.last.clone()) };
    if is != was {
        let span = u64::try_from(call.limits.within.max(call.limits.open_for).as_millis()).unwrap_or(u64::MAX);
        let forget_at = later(now, span.saturating_mul(2).saturating_add(KEPT_BEYOND_MS));
        tx.conn
            .prepare_cached("INSERT OR REPLACE INTO upstream_breakers (upstream, json, forget_at) VALUES (?1, ?2, ?3)")?
            .execute(params![upstream.as_str(), Json(&is), forget_at])?;
    }
    Ok(BreakerView { breaker: is.breaker, last: is.last, now })
}

fn later(now: Timestamp, millis: u64) -> Timestamp {
    now.after(std::time::Duration::from_millis(millis))
}

/// Forgets what says nothing any more; at most so many of each.
pub(super) fn forget(tx: &Tx<'_>, limit: usize) -> Result<bool> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut most = 0;
    for sql in [
        "DELETE FROM upstream_rates WHERE upstream IN \
            (SELECT upstream FROM upstream_rates WHERE forget_at <= ?1 LIMIT ?2)",
        "DELETE FROM upstream_breakers WHERE upstream IN \
            (SELECT upstream FROM upstream_breakers WHERE forget_at <= ?1 LIMIT ?2)",
    ] {
        most = most.max(tx.conn.prepare_cached(sql)?.execute(params![tx.now, limit])?);
    }
    Ok(i64::try_from(most).is_ok_and(|most| most >= limit))
}
