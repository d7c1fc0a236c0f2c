//! One call at work: the runs it has touched, the time it bears, and what it will push once it is committed.
//!
//! A call may reach the same run by several ways (its own task, its child's end, its thread), so each run is read once
//! and changed in one place; `flush` writes what changed. Tasks are written as they change.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rusqlite::Connection;

use super::fault::{Fault, Result};
use super::run_row::{self, RunRow};
use super::task_row::{self, TaskRow};
use crate::id::{Partition, RunId, RunKey, TaskId, TaskKey};
use crate::stop::StopReport;
use crate::store::Signal;
use crate::time::Timestamp;

/// What calls need to know of the store.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) partitions: u16,
    pub(super) retention: Duration,
}

pub(super) struct Tx<'c> {
    pub(super) conn: &'c Connection,
    pub(super) now: Timestamp,
    pub(super) setting: &'c Setting,
    runs: BTreeMap<RunId, Held>,
    ready: BTreeSet<Partition>,
    stops: BTreeSet<RunId>,
    /// Orders to single tasks, in the order in which they were given.
    tasks: Vec<(RunId, TaskId, StopReport)>,
    due: BTreeSet<Partition>,
}

struct Held {
    was: RunRow,
    row: RunRow,
}

impl<'c> Tx<'c> {
    pub(super) const fn new(conn: &'c Connection, now: Timestamp, setting: &'c Setting) -> Self {
        Self {
            conn,
            now,
            setting,
            runs: BTreeMap::new(),
            ready: BTreeSet::new(),
            stops: BTreeSet::new(),
            tasks: Vec::new(),
            due: BTreeSet::new(),
        }
    }

    /// Reads a run unless it was read before; whether it exists.
    pub(super) fn load(&mut self, id: &RunId) -> Result<bool> {
        if self.runs.contains_key(id) {
            return Ok(true);
        }
        let Some(row) = run_row::find(self.conn, id)? else { return Ok(false) };
        self.hold(row);
        Ok(true)
    }

    /// Takes a row that was just read or inserted.
    pub(super) fn hold(&mut self, row: RunRow) {
        self.runs.insert(row.key.id.clone(), Held { was: row.clone(), row });
    }

    /// The run of this id, to look at.
    pub(super) fn run(&mut self, id: &RunId) -> Result<Option<&RunRow>> {
        self.load(id)?;
        Ok(self.runs.get(id).map(|held| &held.row))
    }

    /// The run of this address, to look at.
    pub(super) fn run_at(&mut self, key: &RunKey) -> Result<Option<&RunRow>> {
        Ok(self.run(&key.id)?.filter(|row| row.key.partition == key.partition))
    }

    /// A run that is known to exist.
    pub(super) fn known(&mut self, id: &RunId) -> Result<&RunRow> {
        self.change(id).map(|row| &*row)
    }

    /// A run that is known to exist, to be changed.
    pub(super) fn change(&mut self, id: &RunId) -> Result<&mut RunRow> {
        self.load(id)?;
        let missing = || Fault::corrupt(format!("run {id}"), &"another record names it, but it is not there");
        self.runs.get_mut(id).map(|held| &mut held.row).ok_or_else(missing)
    }

    /// A task with a copy of its run's row; absent if there is no such run or task.
    pub(super) fn task(&mut self, key: &TaskKey) -> Result<Option<(RunRow, TaskRow)>> {
        let Some(run) = self.run_at(&key.run)?.cloned() else { return Ok(None) };
        Ok(task_row::find(self.conn, &run, &key.task)?.map(|task| (run, task)))
    }

    /// Puts a run into the ready set now.
    pub(super) fn make_ready(&mut self, id: &RunId) -> Result<()> {
        let (now, conn) = (self.now, self.conn);
        let run = self.change(id)?;
        run.plan.ready_at = Some(run_row::priority(conn, run)?.ready_since(now));
        let partition = run.key.partition;
        self.ready.insert(partition);
        Ok(())
    }

    /// Notes that the order of this run is to be pushed, if it has open leases by the end of the call.
    pub(super) fn push_stop(&mut self, id: &RunId) {
        self.stops.insert(id.clone());
    }

    /// Notes that the order to a task that a worker has is to be pushed.
    pub(super) fn push_task(&mut self, run: &RunId, task: &TaskId, report: StopReport) {
        self.tasks.push((run.clone(), task.clone(), report));
    }

    /// Notes that tasks of a partition have become due for sending.
    pub(super) fn push_due(&mut self, partition: Partition) {
        self.due.insert(partition);
    }

    /// Runs that are no longer there.
    pub(super) fn let_go<'i>(&mut self, ids: impl Iterator<Item = &'i RunId>) {
        for id in ids {
            self.runs.remove(id);
        }
    }

    /// Writes what has changed so far.
    pub(super) fn flush(&mut self) -> Result<()> {
        for held in self.runs.values_mut() {
            if held.was != held.row {
                run_row::save(self.conn, &held.was, &held.row)?;
                held.was = held.row.clone();
            }
        }
        Ok(())
    }

    /// What is to be pushed.
    pub(super) fn into_signals(self) -> Vec<Signal> {
        let orders = self.stops.iter().filter_map(|id| {
            let row = &self.runs.get(id)?.row;
            let report = row.life.stop.clone().filter(|_| row.counts.open_leases > 0)?;
            Some(Signal::Stop { run: id.clone(), made_at: row.created_at, report: Box::new(report) })
        });
        let to_tasks = self.tasks.iter().filter_map(|(run, task, report)| {
            let made_at = self.runs.get(run)?.row.created_at;
            let (run, tasks, report) = (run.clone(), vec![task.clone()], Box::new(report.clone()));
            Some(Signal::StopTasks { run, made_at, tasks, report })
        });
        let ready = self.ready.iter().map(|partition| Signal::Ready(*partition));
        let due = self.due.iter().map(|partition| Signal::Due(*partition));
        orders.chain(to_tasks).chain(ready).chain(due).collect()
    }
}
