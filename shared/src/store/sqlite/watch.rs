//! Sees what other processes have written to the same file, and turns it into what the store pushes.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::column::Json;
use super::scope::TaskOrder;
use crate::id::{Partition, RunId, TaskId};
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
    /// The same of orders to single tasks.
    pushed_tasks: BTreeMap<(RunId, TaskId), bool>,
}

impl Watch {
    /// Notes what this process pushes by itself.
    pub(super) fn note(&mut self, signal: &Signal) {
        if let Signal::Stop { run, report, .. } = signal {
            self.pushed.insert(run.clone(), is_forced(report));
        }
        if let Signal::StopTasks { run, tasks, report, .. } = signal {
            let keys = tasks.iter().map(|task| (run.clone(), task.clone()));
            self.pushed_tasks.extend(keys.map(|key| (key, is_forced(report))));
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
        signals.extend(self.orders_to_tasks(conn)?);
        let ready: Vec<Partition> = conn
            .prepare_cached("SELECT DISTINCT partition FROM runs WHERE ready_at IS NOT NULL AND ready_at <= ?1")?
            .query_map([now], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        signals.extend(ready.into_iter().map(Signal::Ready));
        Ok(signals)
    }

    fn orders(&mut self, conn: &Connection) -> rusqlite::Result<Vec<Signal>> {
        let rows = i64::try_from(ORDERS_MAX).unwrap_or(i64::MAX);
        let open: Vec<(RunId, Timestamp, StopReport)> = conn
            .prepare_cached(
                "SELECT id, created_at, stop FROM runs WHERE status = 'stopping' AND open_leases > 0 AND stop IS NOT NULL LIMIT ?1",
            )?
            .query_map(params![rows], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, Json<StopReport>>(2)?.0)))?
            .collect::<rusqlite::Result<_>>()?;
        let lost = (open.len() == ORDERS_MAX).then_some(Signal::Lost);
        let mut known = BTreeMap::new();
        let mut signals = Vec::new();
        for (run, made_at, report) in open {
            let forced = is_forced(&report);
            if self.pushed.get(&run) != Some(&forced) {
                signals.push(Signal::Stop { run: run.clone(), made_at, report: Box::new(report) });
            }
            known.insert(run, forced);
        }
        self.pushed = known;
        signals.extend(lost);
        Ok(signals)
    }

    fn orders_to_tasks(&mut self, conn: &Connection) -> rusqlite::Result<Vec<Signal>> {
        let rows = i64::try_from(ORDERS_MAX).unwrap_or(i64::MAX);
        let read = |row: &rusqlite::Row<'_>| {
            let task = TaskId { step: row.get(1)?, node: row.get(2)?, item: row.get(3)? };
            Ok(((row.get(0)?, task), row.get(4)?, row.get::<_, Json<TaskOrder>>(5)?.0.report()))
        };
        let open: Vec<((RunId, TaskId), Timestamp, StopReport)> = conn
            .prepare_cached(
                "SELECT runs.id, tasks.step, node, item, runs.created_at, task_orders.json FROM task_orders \
                 JOIN tasks ON tasks.seq = task_orders.task JOIN runs ON runs.seq = tasks.run \
                 WHERE tasks.state = 'stopping' LIMIT ?1",
            )?
            .query_map([rows], read)?
            .collect::<rusqlite::Result<_>>()?;
        let mut known = BTreeMap::new();
        let mut signals = Vec::new();
        for ((run, task), made_at, report) in open {
            let (key, forced) = ((run, task), is_forced(&report));
            if self.pushed_tasks.get(&key) != Some(&forced) {
                let (run, tasks) = (key.0.clone(), vec![key.1.clone()]);
                signals.push(Signal::StopTasks { run, made_at, tasks, report: Box::new(report) });
            }
            known.insert(key, forced);
        }
        self.pushed_tasks = known;
        Ok(signals)
    }
}

const fn is_forced(report: &StopReport) -> bool {
    report.order.order.force || report.forced_at.is_some()
}
