//! Sees what other processes have written to the same file, and turns it into what the store pushes.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::column::Json;
use crate::id::{Partition, RunId};
use crate::stop::StopReport;
use crate::store::Signal;
use crate::time::Timestamp;

/// Orders that one look pushes; beyond that it says that pushes were lost.
const ORDERS_MAX: usize = 10_000;

/// What has been pushed already.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Of the file, when it was last looked at. Changes with the commits of other connections alone.
    version: Option<i64>,
    /// The orders that were pushed, and whether with force.
    pushed: BTreeMap<RunId, bool>,
}

impl Watch {
    /// Notes what this process pushes by itself.
    pub(super) fn note(&mut self, signal: &Signal) {
        if let Signal::Stop { run, report } = signal {
            self.pushed.insert(run.clone(), is_forced(report));
        }
    }

    /// What is to be pushed because of others' writes.
    pub(super) fn look(&mut self, conn: &Connection, now: Timestamp) -> rusqlite::Result<Vec<Signal>> {
        let version = conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        let before = self.version.replace(version);
        if before.is_none_or(|before| before == version) {
            return Ok(Vec::new());
        }
        let mut signals = self.orders(conn)?;
        let ready: Vec<Partition> = conn
            .prepare_cached("SELECT DISTINCT partition FROM runs WHERE ready_at IS NOT NULL AND ready_at <= ?1")?
            .query_map([now], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        signals.extend(ready.into_iter().map(Signal::Ready));
        Ok(signals)
    }

    fn orders(&mut self, conn: &Connection) -> rusqlite::Result<Vec<Signal>> {
        let rows = i64::try_from(ORDERS_MAX).unwrap_or(i64::MAX);
        let open: Vec<(RunId, StopReport)> = conn
            .prepare_cached(
                "SELECT id, stop FROM runs WHERE status = 'stopping' AND open_leases > 0 AND stop IS NOT NULL LIMIT ?1",
            )?
            .query_map(params![rows], |row| Ok((row.get(0)?, row.get::<_, Json<StopReport>>(1)?.0)))?
            .collect::<rusqlite::Result<_>>()?;
        let lost = (open.len() == ORDERS_MAX).then_some(Signal::Lost);
        let mut known = BTreeMap::new();
        let mut signals = Vec::new();
        for (run, report) in open {
            let forced = is_forced(&report);
            if self.pushed.get(&run) != Some(&forced) {
                signals.push(Signal::Stop { run: run.clone(), report: Box::new(report) });
            }
            known.insert(run, forced);
        }
        self.pushed = known;
        signals.extend(lost);
        Ok(signals)
    }
}

const fn is_forced(report: &StopReport) -> bool {
    report.order.order.force || report.forced_at.is_some()
}
