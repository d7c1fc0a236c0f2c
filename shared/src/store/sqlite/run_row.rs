//! A run as its row has it: what changes often, without its spec.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::column::{Columns, Json, Length};
use super::fault::{Naming, Result};
use crate::id::{Fence, GraphHash, GraphName, Nonce, Partition, Revision, RunId, RunKey, Step, TaskId, ThreadId};
use crate::outcome::Failure;
use crate::priority::Priority;
use crate::run::{RunEvent, RunStatus};
use crate::spend::Spend;
use crate::stop::StopReport;
use crate::store::{NewRun, Parent, Run, RunSpec};
use crate::time::Timestamp;

/// A row of `runs`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RunRow {
    pub(super) seq: i64,
    pub(super) key: RunKey,
    pub(super) thread: ThreadId,
    pub(super) graph: GraphName,
    pub(super) graph_hash: GraphHash,
    pub(super) run_timeout: Duration,
    pub(super) created_at: Timestamp,
    pub(super) parent: Option<Parent>,
    // The groups below are saved apart: see `save`.
    pub(super) counts: Counts,
    pub(super) plan: PlanState,
    pub(super) life: Life,
    pub(super) spent: Spend,
}

/// What nearly every call changes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) open_tasks: u32,
    pub(super) open_leases: u32,
    pub(super) open_children: u32,
    /// Child runs at every depth that its steps have asked for.
    pub(super) descendants: u32,
    pub(super) fence: Fence,
}

/// What each step changes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct PlanState {
    pub(super) step: Step,
    pub(super) revision: Revision,
    pub(super) last_checkpoint: Option<Step>,
    pub(super) advance_nonce: Option<Nonce>,
    pub(super) resumed: bool,
    pub(super) ready_at: Option<Timestamp>,
}

/// What changes a few times in a run's life.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Life {
    pub(super) status: RunStatus,
    pub(super) waiting: bool,
    pub(super) started_at: Option<Timestamp>,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) deadline_at: Option<Timestamp>,
    pub(super) overdue_at: Option<Timestamp>,
    pub(super) base: Option<(RunId, Step)>,
    pub(super) resume_nonce: Option<Nonce>,
    pub(super) take_back: bool,
    pub(super) stop: Option<StopReport>,
    pub(super) failure: Option<Failure>,
}

impl RunRow {
    /// A run that has just been made, and has not started.
    pub(super) fn made(new: &NewRun, partition: Partition, now: Timestamp) -> Self {
        Self {
            seq: 0,
            key: RunKey { partition, id: new.id.clone() },
            thread: new.thread.clone(),
            graph: new.graph.clone(),
            graph_hash: new.graph_hash.clone(),
            run_timeout: new.run_timeout,
            created_at: now,
            parent: new.parent.clone(),
            counts: Counts::default(),
            plan: PlanState::default(),
            life: Life {
                status: RunStatus::Queued,
                waiting: false,
                started_at: None,
                ended_at: None,
                deadline_at: None,
                overdue_at: None,
                base: None,
                resume_nonce: None,
                take_back: false,
                stop: None,
                failure: None,
            },
            spent: Spend::default(),
        }
    }

    /// Under a stop order or ended: nothing of it is planned or written any more.
    pub(super) const fn is_frozen(&self) -> bool {
        matches!(self.life.status, RunStatus::Stopping) || self.life.status.is_final()
    }

    /// In flight past its deadline, without an order yet.
    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        !self.is_frozen() && self.life.deadline_at.is_some_and(|deadline| now >= deadline)
    }

    /// No lease and no child is open, so that a stop order closes it.
    pub(super) const fn has_nothing_open(&self) -> bool {
        self.counts.open_leases == 0 && self.counts.open_children == 0
    }

    /// The latest time that any of its deadlines may have.
    pub(super) fn latest(&self) -> Timestamp {
        self.life.deadline_at.unwrap_or(Timestamp::from_millis(i64::MAX))
    }

    /// Takes an event that the callers have made sure is legal.
    pub(super) fn take(&mut self, event: RunEvent) {
        self.life.status =
            self.life.status.next(event).expect("the callers check the status before they give an event");
    }

    /// The run as the store shows it.
    pub(super) fn show(&self, spec: RunSpec) -> Run {
        Run {
            key: self.key.clone(),
            thread: self.thread.clone(),
            graph: self.graph.clone(),
            graph_hash: self.graph_hash.clone(),
            status: self.life.status,
            step: self.plan.step,
            revision: self.plan.revision,
            created_at: self.created_at,
            started_at: self.life.started_at,
            ended_at: self.life.ended_at,
            deadline_at: self.life.deadline_at,
            open_tasks: self.counts.open_tasks,
            open_leases: self.counts.open_leases,
            base: self.life.base.clone(),
            parent: self.parent.clone(),
            stop: self.life.stop.clone(),
            failure: self.life.failure.clone(),
            spent: self.spent,
            descendants: self.counts.descendants.into(),
            spec,
        }
    }
}

/// Selects rows as [`read`] takes them; the caller adds a condition.
macro_rules! select_runs {
    ($condition:literal) => {
        concat!(
            "SELECT seq, id, partition, thread, graph, graph_hash, run_timeout, created_at, parent_run, parent_task, ",
            "parent_depth, open_tasks, open_leases, open_children, descendants, fence, step, revision, last_checkpoint, ",
            "advance_nonce, resumed, ready_at, status, waiting, started_at, ended_at, deadline_at, overdue_at, ",
            "base_run, base_step, resume_nonce, take_back, stop, failure, ",
            "(SELECT json FROM run_spend WHERE run_spend.run = runs.seq) FROM runs ",
            $condition
        )
    };
}
pub(super) use select_runs;

/// Reads a row of [`select_runs`].
pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<RunRow> {
    let mut columns = Columns::of(row);
    let seq = columns.take()?;
    let id = columns.take()?;
    Ok(RunRow {
        seq,
        key: RunKey { id, partition: columns.take()? },
        thread: columns.take()?,
        graph: columns.take()?,
        graph_hash: columns.take()?,
        run_timeout: columns.take::<Length>()?.0,
        created_at: columns.take()?,
        parent: read_parent(&mut columns)?,
        counts: Counts {
            open_tasks: columns.take()?,
            open_leases: columns.take()?,
            open_children: columns.take()?,
            descendants: columns.take()?,
            fence: columns.take()?,
        },
        plan: PlanState {
            step: columns.take()?,
            revision: columns.take()?,
            last_checkpoint: columns.take()?,
            advance_nonce: columns.take()?,
            resumed: columns.take()?,
            ready_at: columns.take()?,
        },
        life: read_life(&mut columns)?,
        spent: columns.take::<Option<Json<Spend>>>()?.map(|json| json.0).unwrap_or_default(),
    })
}

fn read_parent(columns: &mut Columns<'_>) -> rusqlite::Result<Option<Parent>> {
    let run: Option<RunId> = columns.take()?;
    let task: Option<TaskId> = columns.take()?;
    let depth: Option<u32> = columns.take()?;
    Ok(match (run, task, depth) {
        (Some(run), Some(task), Some(depth)) => Some(Parent { run, task, depth }),
        _ => None,
    })
}

fn read_life(columns: &mut Columns<'_>) -> rusqlite::Result<Life> {
    Ok(Life {
        status: columns.take()?,
        waiting: columns.take()?,
        started_at: columns.take()?,
        ended_at: columns.take()?,
        deadline_at: columns.take()?,
        overdue_at: columns.take()?,
        base: {
            let run: Option<RunId> = columns.take()?;
            let step: Option<Step> = columns.take()?;
            run.zip(step)
        },
        resume_nonce: columns.take()?,
        take_back: columns.take()?,
        stop: columns.take::<Option<Json<StopReport>>>()?.map(|json| json.0),
        failure: columns.take::<Option<Json<Failure>>>()?.map(|json| json.0),
    })
}

/// The run of this id.
pub(super) fn find(conn: &Connection, id: &RunId) -> Result<Option<RunRow>> {
    conn.prepare_cached(select_runs!("WHERE id = ?1"))?.query_row([id], read).optional().naming(|| format!("run {id}"))
}

/// Adds a run, and notes its number in it.
pub(super) fn insert(conn: &Connection, row: &mut RunRow, spec: &RunSpec) -> Result<()> {
    let parent = row.parent.as_ref();
    conn.prepare_cached(
        "INSERT INTO runs (id, partition, thread, graph, graph_hash, run_timeout, created_at, parent_run, parent_task, parent_depth, \
            open_tasks, open_leases, open_children, descendants, fence, step, revision, resumed, status, waiting, ended_at, take_back, stop) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 0, 0, 0, 0, 0, 0, 0, 0, ?11, ?12, ?13, 0, ?14)",
    )?
    .execute(params![
        row.key.id,
        row.key.partition,
        row.thread,
        row.graph,
        row.graph_hash,
        Length(row.run_timeout),
        row.created_at,
        parent.map(|parent| &parent.run),
        parent.map(|parent| &parent.task),
        parent.map(|parent| parent.depth),
        row.life.status,
        row.life.waiting,
        row.life.ended_at,
        row.life.stop.as_ref().map(Json),
    ])?;
    row.seq = conn.last_insert_rowid();
    conn.prepare_cached("INSERT INTO run_specs (run, json) VALUES (?1, ?2)")?.execute(params![row.seq, Json(spec)])?;
    if !spec.priority.is_normal() {
        conn.prepare_cached("INSERT INTO run_priorities (run, priority) VALUES (?1, ?2)")?
            .execute(params![row.seq, spec.priority])?;
    }
    if spec.budget.cost.is_some() {
        conn.prepare_cached("INSERT INTO run_cost_limits (run) VALUES (?1)")?.execute([row.seq])?;
    }
    Ok(())
}

/// How urgent a run is, without reading its spec.
pub(super) fn priority(conn: &Connection, row: &RunRow) -> Result<Priority> {
    let kept = conn
        .prepare_cached("SELECT priority FROM run_priorities WHERE run = ?1")?
        .query_row([row.seq], |found| found.get(0))
        .optional()
        .naming(|| format!("run {}, its priority", row.key.id))?;
    Ok(kept.unwrap_or_default())
}

/// The spec of a run.
pub(super) fn spec(conn: &Connection, row: &RunRow) -> Result<RunSpec> {
    conn.prepare_cached("SELECT json FROM run_specs WHERE run = ?1")?
        .query_row([row.seq], |found| found.get::<_, Json<RunSpec>>(0))
        .naming(|| format!("run {}, its spec", row.key.id))
        .map(|json| json.0)
}

/// Whether a run limits its cost, without reading its spec: its input may be large.
pub(super) fn limits_cost(conn: &Connection, row: &RunRow) -> Result<bool> {
    conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM run_cost_limits WHERE run = ?1)")?
        .query_row([row.seq], |found| found.get(0))
        .naming(|| format!("run {}, its limits", row.key.id))
}

/// Writes what has changed, group by group: each index that a statement names costs time, changed or not.
pub(super) fn save(conn: &Connection, was: &RunRow, row: &RunRow) -> Result<()> {
    if was.counts != row.counts {
        save_counts(conn, row)?;
    }
    if was.plan != row.plan {
        save_plan(conn, row)?;
    }
    if was.life != row.life {
        save_life(conn, row)?;
    }
    if was.spent != row.spent {
        conn.prepare_cached("INSERT OR REPLACE INTO run_spend (run, json) VALUES (?1, ?2)")?
            .execute(params![row.seq, Json(row.spent)])?;
    }
    Ok(())
}

fn save_counts(conn: &Connection, row: &RunRow) -> Result<()> {
    let counts = &row.counts;
    conn.prepare_cached(
        "UPDATE runs SET open_tasks = ?2, open_leases = ?3, open_children = ?4, fence = ?5, descendants = ?6 WHERE seq = ?1",
    )?
    .execute(params![
        row.seq,
        counts.open_tasks,
        counts.open_leases,
        counts.open_children,
        counts.fence,
        counts.descendants
    ])?;
    Ok(())
}

fn save_plan(conn: &Connection, row: &RunRow) -> Result<()> {
    let plan = &row.plan;
    conn.prepare_cached(
        "UPDATE runs SET step = ?2, revision = ?3, last_checkpoint = ?4, advance_nonce = ?5, resumed = ?6, ready_at = ?7, \
         is_taken = 0 \
         WHERE seq = ?1",
    )?
    .execute(params![
        row.seq,
        plan.step,
        plan.revision,
        plan.last_checkpoint,
        plan.advance_nonce,
        plan.resumed,
        plan.ready_at
    ])?;
    Ok(())
}

fn save_life(conn: &Connection, row: &RunRow) -> Result<()> {
    let life = &row.life;
    conn.prepare_cached(
        "UPDATE runs SET status = ?2, waiting = ?3, started_at = ?4, ended_at = ?5, deadline_at = ?6, overdue_at = ?7, \
            base_run = ?8, base_step = ?9, resume_nonce = ?10, take_back = ?11, stop = ?12, failure = ?13 WHERE seq = ?1",
    )?
    .execute(params![
        row.seq,
        life.status,
        life.waiting,
        life.started_at,
        life.ended_at,
        life.deadline_at,
        life.overdue_at,
        life.base.as_ref().map(|base| &base.0),
        life.base.as_ref().map(|base| base.1),
        life.resume_nonce,
        life.take_back,
        life.stop.as_ref().map(Json),
        life.failure.as_ref().map(Json),
    ])?;
    Ok(())
}
