//! A task as its row has it, its deadlines, and what happens to it. What is large stays in `task_specs`.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::column::{Columns, Json, Length};
use super::fault::{Naming, Result};
use super::run_row::RunRow;
use crate::id::{Fence, Nonce, RunId, Step, TaskId, TaskKey, WorkerId};
use crate::limits::Limit;
use crate::outcome::{Failure, Outcome};
use crate::priority::Lane;
use crate::stop::StopProof;
use crate::task::{Dispatch, HandedBack, NewTask, Solitude, Task, TaskEvent, TaskState};
use crate::time::Timestamp;

/// How long a new task may stay unsent before a sweep sends it.
const UNSENT_FOR: Duration = Duration::from_secs(2);

/// A row of `tasks`.
#[derive(Debug, Clone)]
pub(super) struct TaskRow {
    pub(super) seq: i64,
    pub(super) run: i64,
    pub(super) id: TaskId,
    /// In the column `pool`, whose texts of normal lanes are plain pools.
    pub(super) lane: Option<Lane>,
    pub(super) child: Option<RunId>,
    pub(super) timeout: Duration,
    pub(super) queue_timeout: Duration,
    pub(super) grace: Duration,
    pub(super) max_crashes: u32,
    pub(super) fails_run: bool,
    pub(super) made_at: Timestamp,
    pub(super) payload: Option<Value>,
    // From here on it changes.
    pub(super) state: TaskState,
    pub(super) attempts: u32,
    pub(super) crashes: u32,
    pub(super) uncounted: u32,
    pub(super) alone: Solitude,
    pub(super) blamed: Fence,
    pub(super) fence: Fence,
    pub(super) worker: Option<WorkerId>,
    pub(super) nonce: Option<Nonce>,
    pub(super) taken_over: bool,
    pub(super) sent: bool,
    pub(super) queued_at: Timestamp,
    pub(super) started_at: Option<Timestamp>,
    pub(super) renewed_at: Option<Timestamp>,
    pub(super) settled_at: Option<Timestamp>,
    pub(super) due_at: Option<Timestamp>,
    pub(super) answered: Option<Answered>,
    pub(super) outcome: Option<Outcome>,
    pub(super) last_failure: Option<Failure>,
    pub(super) proof: Option<StopProof>,
    pub(super) handed_back: Option<HandedBack>,
}

/// The last settle or release of a task, and what it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) how: How,
    pub(super) fence: Fence,
    /// Whether it completed the step, or ended the run.
    pub(super) end: bool,
}

/// Which call closed a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Settled,
    Released,
    HandedBack,
}

impl How {
    const fn name(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Released => "released",
            Self::HandedBack => "handed_back",
        }
    }
}

impl TaskRow {
    /// A task that has just been planned.
    pub(super) fn planned(new: &NewTask, run: i64, now: Timestamp) -> Self {
        let (state, due_at) = match &new.dispatch {
            Dispatch::Queue { .. } => (TaskState::Queued, Some(now.after(UNSENT_FOR))),
            Dispatch::Pending { .. } | Dispatch::PendingChild { .. } => (TaskState::Pending, None),
            Dispatch::Wait { length } => (TaskState::Waiting, Some(now.after(*length))),
            Dispatch::Human { .. } => (TaskState::Human, None),
            Dispatch::Child { .. } => (TaskState::Child, None),
            Dispatch::Settled { .. } => (TaskState::Settled, None),
        };
        let (mut child, mut payload, mut outcome) = (None, None, None);
        match &new.dispatch {
            Dispatch::Child { run } | Dispatch::PendingChild { run } => child = Some(run.id.clone()),
            Dispatch::Human { payload: shown } => payload = Some(shown.clone()),
            Dispatch::Settled { outcome: known } => outcome = Some(known.clone()),
            Dispatch::Queue { .. } | Dispatch::Pending { .. } | Dispatch::Wait { .. } => {}
        }
        Self {
            seq: 0,
            run,
            id: new.id.clone(),
            lane: new.dispatch.lane(),
            child,
            timeout: new.timeout,
            queue_timeout: new.queue_timeout,
            grace: new.grace,
            max_crashes: new.max_crashes,
            fails_run: new.fails_run,
            made_at: now,
            payload,
            state,
            attempts: 0,
            crashes: 0,
            uncounted: 0,
            alone: Solitude::Shared,
            blamed: Fence::default(),
            fence: Fence::default(),
            worker: None,
            nonce: None,
            taken_over: false,
            sent: false,
            queued_at: now,
            started_at: None,
            renewed_at: None,
            settled_at: outcome.is_some().then_some(now),
            due_at,
            answered: None,
            outcome,
            last_failure: None,
            proof: None,
            handed_back: None,
        }
    }

    /// Its address.
    pub(super) fn key(&self, run: &RunRow) -> TaskKey {
        TaskKey { run: run.key.clone(), task: self.id.clone() }
    }

    /// When its time is up, queueing and retries included.
    pub(super) fn deadline(&self, run: &RunRow) -> Timestamp {
        self.made_at.after(self.timeout).min(run.latest())
    }

    /// When its time in the queue is up.
    fn queue_deadline(&self, run: &RunRow) -> Timestamp {
        self.queued_at.after(self.queue_timeout).min(run.latest())
    }

    /// The deadline that a queued task has missed.
    pub(super) fn missed(&self, run: &RunRow, now: Timestamp) -> Option<Limit> {
        let (own, queue) = (self.deadline(run), self.queue_deadline(run));
        if now < own.min(queue) {
            return None;
        }
        Some(if queue < own { Limit::QueueTimeout } else { Limit::Timeout })
    }

    /// When a message about it is to be sent again.
    pub(super) fn resend_at(&self, run: &RunRow, now: Timestamp, resend_after: Duration) -> Timestamp {
        now.after(resend_after).min(self.deadline(run)).min(self.queue_deadline(run))
    }

    /// Whether it is leased under this fence.
    pub(super) fn is_leased_under(&self, fence: Fence) -> bool {
        self.state.has_lease() && self.fence == fence
    }

    /// What this call was answered, if this fence made it last and nobody has claimed the task since.
    pub(super) fn answer_to(&self, how: How, fence: Fence) -> Option<bool> {
        let answered = self.answered.filter(|answered| answered.how == how && answered.fence == fence)?;
        (!self.state.has_lease()).then_some(answered.end)
    }

    /// Takes an event that the callers have made sure is legal.
    pub(super) fn take(&mut self, event: TaskEvent) {
        self.state = self.state.next(event).expect("the callers check the state before they give an event");
    }

    /// Queues it anew, due for sending at `now`.
    pub(super) fn queue(&mut self, event: TaskEvent, now: Timestamp) {
        self.take(event);
        self.sent = false;
        self.queued_at = now;
        self.due_at = Some(now);
    }

    /// The task as the store shows it.
    pub(super) fn show(self) -> Task {
        Task {
            id: self.id,
            state: self.state,
            attempts: self.attempts,
            crashes: self.crashes,
            crashes_uncounted: self.uncounted,
            fence: self.fence,
            worker: self.worker,
            started_at: self.started_at,
            settled_at: self.settled_at,
            outcome: self.outcome,
            payload: self.payload,
            last_failure: self.last_failure,
            proof: self.proof,
            handed_back: self.handed_back,
        }
    }
}

/// Selects rows as [`read`] takes them; the caller adds a condition.
macro_rules! select_tasks {
    ($condition:literal) => {
        concat!(
            "SELECT seq, run, step, node, item, pool, child, timeout, queue_timeout, grace, max_crashes, fails_run, ",
            "made_at, payload, state, attempts, crashes, uncounted, alone, blamed, fence, worker, nonce, taken_over, sent, ",
            "queued_at, started_at, renewed_at, ",
            "settled_at, due_at, answered, answered_fence, answered_end, outcome, last_failure, proof, handed_back, without_order ",
            "FROM tasks ",
            $condition
        )
    };
}
pub(super) use select_tasks;

/// Reads a row of [`select_tasks`].
pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<TaskRow> {
    let mut columns = Columns::of(row);
    Ok(TaskRow {
        seq: columns.take()?,
        run: columns.take()?,
        id: TaskId { step: columns.take()?, node: columns.take()?, item: columns.take()? },
        lane: columns.take()?,
        child: columns.take()?,
        timeout: columns.take::<Length>()?.0,
        queue_timeout: columns.take::<Length>()?.0,
        grace: columns.take::<Length>()?.0,
        max_crashes: columns.take()?,
        fails_run: columns.take()?,
        made_at: columns.take()?,
        payload: columns.take::<Option<Json<Value>>>()?.map(|json| json.0),
        state: columns.take()?,
        attempts: columns.take()?,
        crashes: columns.take()?,
        uncounted: columns.take()?,
        alone: columns.take()?,
        blamed: columns.take()?,
        fence: columns.take()?,
        worker: columns.take()?,
        nonce: columns.take()?,
        taken_over: columns.take()?,
        sent: columns.take()?,
        queued_at: columns.take()?,
        started_at: columns.take()?,
        renewed_at: columns.take()?,
        settled_at: columns.take()?,
        due_at: columns.take()?,
        answered: read_answered(&mut columns)?,
        outcome: columns.take::<Option<Json<Outcome>>>()?.map(|json| json.0),
        last_failure: columns.take::<Option<Json<Failure>>>()?.map(|json| json.0),
        proof: columns.take::<Option<Json<StopProof>>>()?.map(|json| json.0),
        handed_back: read_handed_back(&mut columns)?,
    })
}

fn read_handed_back(columns: &mut Columns<'_>) -> rusqlite::Result<Option<HandedBack>> {
    let (times, without_order): (Option<u32>, Option<bool>) = (columns.take()?, columns.take()?);
    Ok(times.map(|times| HandedBack { times, without_order: without_order.unwrap_or(false) }))
}

fn read_answered(columns: &mut Columns<'_>) -> rusqlite::Result<Option<Answered>> {
    let how: Option<String> = columns.take()?;
    let fence: Option<Fence> = columns.take()?;
    let end: Option<bool> = columns.take()?;
    let named = |name: String| [How::Settled, How::HandedBack].into_iter().find(|how| how.name() == name);
    let how = how.map(|name| named(name).unwrap_or(How::Released));
    Ok(match (how, fence, end) {
        (Some(how), Some(fence), Some(end)) => Some(Answered { how, fence, end }),
        _ => None,
    })
}

/// The task of this id.
pub(super) fn find(conn: &Connection, run: &RunRow, id: &TaskId) -> Result<Option<TaskRow>> {
    conn.prepare_cached(select_tasks!("WHERE run = ?1 AND step = ?2 AND node = ?3 AND item = ?4"))?
        .query_row(params![run.seq, id.step, id.node, id.item], read)
        .optional()
        .naming(|| format!("run {}, task {id}", run.key.id))
}

/// Tasks of one step, by node and item.
pub(super) fn of_step(conn: &Connection, run: &RunRow, step: Step, skip: usize, limit: usize) -> Result<Vec<TaskRow>> {
    let skip = i64::try_from(skip).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    conn.prepare_cached(select_tasks!("WHERE run = ?1 AND step = ?2 ORDER BY node, item LIMIT ?4 OFFSET ?3"))?
        .query_map(params![run.seq, step, skip, limit], read)?
        .collect::<rusqlite::Result<_>>()
        .naming(|| format!("run {}, tasks of step {step}", run.key.id))
}

/// The task as it was planned.
pub(super) fn spec(conn: &Connection, run: &RunRow, task: &TaskRow) -> Result<NewTask> {
    conn.prepare_cached("SELECT json FROM task_specs WHERE task = ?1")?
        .query_row([task.seq], |row| row.get::<_, Json<NewTask>>(0))
        .naming(|| format!("run {}, task {}, its plan", run.key.id, task.id))
        .map(|json| json.0)
}

/// Adds a task.
pub(super) fn insert(conn: &Connection, run: &RunRow, row: &TaskRow, spec: &NewTask) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO tasks (run, step, node, item, partition, state, pool, child, payload, timeout, queue_timeout, grace, \
            max_crashes, fails_run, attempts, crashes, uncounted, alone, blamed, fence, taken_over, sent, made_at, queued_at, settled_at, due_at, outcome) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 0, 0, 0, 0, 0, 0, 0, 0, ?15, ?16, ?17, ?18, ?19)",
    )?
    .execute(params![
        row.run,
        row.id.step,
        row.id.node,
        row.id.item,
        run.key.partition,
        row.state,
        row.lane,
        row.child,
        row.payload.as_ref().map(Json),
        Length(row.timeout),
        Length(row.queue_timeout),
        Length(row.grace),
        row.max_crashes,
        row.fails_run,
        row.made_at,
        row.queued_at,
        row.settled_at,
        row.due_at,
        row.outcome.as_ref().map(Json),
    ])?;
    let task = conn.last_insert_rowid();
    conn.prepare_cached("INSERT INTO task_specs (task, json) VALUES (?1, ?2)")?.execute(params![task, Json(spec)])?;
    Ok(())
}

/// Writes what may have changed.
pub(super) fn save(conn: &Connection, row: &TaskRow) -> Result<()> {
    conn.prepare_cached(
        "UPDATE tasks SET state = ?2, attempts = ?3, crashes = ?4, fence = ?5, worker = ?6, nonce = ?7, sent = ?8, queued_at = ?9, \
            started_at = ?10, renewed_at = ?11, settled_at = ?12, due_at = ?13, answered = ?14, answered_fence = ?15, \
            answered_end = ?16, outcome = ?17, last_failure = ?18, proof = ?19, taken_over = ?20, handed_back = ?21, \
            without_order = ?22, uncounted = ?23, alone = ?24, blamed = ?25 WHERE seq = ?1",
    )?
    .execute(params![
        row.seq,
        row.state,
        row.attempts,
        row.crashes,
        row.fence,
        row.worker,
        row.nonce,
        row.sent,
        row.queued_at,
        row.started_at,
        row.renewed_at,
        row.settled_at,
        row.due_at,
        row.answered.map(|answered| answered.how.name()),
        row.answered.map(|answered| answered.fence),
        row.answered.map(|answered| answered.end),
        row.outcome.as_ref().map(Json),
        row.last_failure.as_ref().map(Json),
        row.proof.as_ref().map(Json),
        row.taken_over,
        row.handed_back.map(|back| back.times),
        row.handed_back.map(|back| back.without_order),
        row.uncounted,
        row.alone,
        row.blamed,
    ])?;
    Ok(())
}

/// Notes that its time has begun anew.
pub(super) fn save_made(conn: &Connection, row: &TaskRow) -> Result<()> {
    conn.prepare_cached("UPDATE tasks SET made_at = ?2 WHERE seq = ?1")?.execute(params![row.seq, row.made_at])?;
    Ok(())
}

/// Notes what its last settle or release was answered, and changes nothing else.
pub(super) fn save_answer(conn: &Connection, row: &TaskRow, end: bool) -> Result<()> {
    conn.prepare_cached("UPDATE tasks SET answered_end = ?2 WHERE seq = ?1")?.execute(params![row.seq, end])?;
    Ok(())
}

/// Moves it on the agenda, and changes nothing else.
pub(super) fn save_due(conn: &Connection, row: &TaskRow) -> Result<()> {
    conn.prepare_cached("UPDATE tasks SET due_at = ?2, renewed_at = ?3, sent = ?4, alone = ?5 WHERE seq = ?1")?
        .execute(params![row.seq, row.due_at, row.renewed_at, row.sent, row.alone])?;
    Ok(())
}
