//! Orders to single tasks, and the groups of a fan-out: what stops some tasks of a run and lets the rest of it go on.

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::column::Json;
use super::fault::{Fault, Naming, Result};
use super::run_row::RunRow;
use super::task_row::{self, TaskRow};
use super::tx::Tx;
use super::{audit, create, finish, stop};
use crate::id::{NodeName, RunId, Step, TaskId};
use crate::outcome::Outcome;
use crate::stop::{Cause, NewOrder, StopOrder, StopReport};
use crate::store::{StopAnswer, StopTasks, TaskTally, TasksStopped};
use crate::task::{Group, NewTask, TaskEvent, TaskState};
use crate::time::Timestamp;

/// An order to one task, as its row has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TaskOrder {
    order: StopOrder,
    forced_at: Option<Timestamp>,
    pub(super) skip: bool,
    why: String,
}

impl TaskOrder {
    /// The order as its worker is told it.
    pub(super) fn report(&self) -> StopReport {
        StopReport { forced_at: self.forced_at, ..StopReport::new(self.order.clone(), 1) }
    }

    /// The outcome of a task that it stopped.
    fn outcome(&self, partial: Option<serde_json::Value>) -> Outcome {
        Outcome::Stopped { partial, skipped: self.skip, why: Some(self.why.clone()) }
    }
}

/// What is ordered, whoever orders it.
struct Halt {
    order: NewOrder,
    skip: bool,
    why: String,
}

/// Carries out an order to tasks, with its entry in the audit trail.
pub(super) fn stop_tasks(tx: &mut Tx<'_>, stop: &StopTasks) -> Result<TasksStopped> {
    let Some(run) = tx.run(&stop.run)?.cloned() else { return Ok(TasksStopped::NotFound) };
    let answer = if run.is_frozen() {
        TasksStopped::Frozen(run.life.status)
    } else {
        let ids = items(tx, &run, stop)?;
        let halt = Halt { why: stop.order.by(), order: stop.order.clone(), skip: stop.skip };
        TasksStopped::Done(halt_all(tx, &stop.run, ids, &halt)?)
    };
    audit::stop_tasks(tx, stop, answer)?;
    Ok(answer)
}

/// The tasks that are meant, by item.
fn items(tx: &Tx<'_>, run: &RunRow, stop: &StopTasks) -> Result<Vec<TaskId>> {
    let mut items = stop.items.clone();
    if items.is_empty() {
        items = tx
            .conn
            .prepare_cached("SELECT item FROM tasks WHERE run = ?1 AND step = ?2 AND node = ?3")?
            .query_map(params![run.seq, run.plan.step, stop.node], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()
            .naming(|| format!("run {}, items of node {}", run.key.id, stop.node))?;
    }
    items.sort_unstable();
    Ok(items.into_iter().map(|item| TaskId { step: run.plan.step, node: stop.node.clone(), item }).collect())
}

/// Stops these tasks, in their order. Once that has stopped the run itself, the rest is under the run's order.
fn halt_all(tx: &mut Tx<'_>, id: &RunId, tasks: Vec<TaskId>, halt: &Halt) -> Result<TaskTally> {
    let mut tally = TaskTally::default();
    for task in tasks {
        let run = tx.known(id)?.clone();
        if run.is_frozen() {
            break;
        }
        let Some(task) = task_row::find(tx.conn, &run, &task)? else { continue };
        match halt_one(tx, &run, task, halt)? {
            Some(Halted::Settled) => tally.settled += 1,
            Some(Halted::Stopping) => tally.stopping += 1,
            Some(Halted::Already) => tally.already += 1,
            None => {}
        }
    }
    Ok(tally)
}

#[derive(Debug, Clone, Copy)]
enum Halted {
    Settled,
    Stopping,
    Already,
}

fn halt_one(tx: &mut Tx<'_>, run: &RunRow, mut task: TaskRow, halt: &Halt) -> Result<Option<Halted>> {
    let at = tx.now;
    let new = || TaskOrder {
        order: StopOrder { order: halt.order.clone(), at },
        forced_at: None,
        skip: halt.skip,
        why: halt.why.clone(),
    };
    Ok(Some(match task.state {
        TaskState::Settled | TaskState::Human => return Ok(None),
        TaskState::Child => halt_child(tx, run, &task, &new(), halt)?,
        TaskState::Stopping => {
            let Some(mut first) = order_of(tx, &task)? else { return Ok(Some(Halted::Already)) };
            if !halt.order.force || first.order.order.force || first.forced_at.is_some() {
                return Ok(Some(Halted::Already));
            }
            first.forced_at = Some(at);
            keep(tx, &task, &first)?;
            tx.push_task(&run.key.id, &task.id, first.report());
            Halted::Stopping
        }
        TaskState::Leased => {
            let order = new();
            keep(tx, &task, &order)?;
            task.take(TaskEvent::StopOrdered);
            task_row::save(tx.conn, &task)?;
            tx.push_task(&run.key.id, &task.id, order.report());
            Halted::Stopping
        }
        TaskState::Pending | TaskState::Queued | TaskState::Delayed | TaskState::Waiting => {
            finish::settle(tx, run, task, new().outcome(None))?;
            Halted::Settled
        }
    }))
}

/// A child run that stands for the task gets the order; it ends at once if nothing of it is open.
fn halt_child(tx: &mut Tx<'_>, run: &RunRow, task: &TaskRow, order: &TaskOrder, halt: &Halt) -> Result<Halted> {
    let Some(child) = &task.child else { return Ok(Halted::Already) };
    if order_of(tx, task)?.is_none() {
        keep(tx, task, order)?;
    }
    let answer = stop::carry_out(tx, child, &halt.order)?;
    let is_settled = task_row::find(tx.conn, run, &task.id)?.is_some_and(|task| task.state == TaskState::Settled);
    Ok(match answer {
        _ if is_settled => Halted::Settled,
        StopAnswer::Accepted(_) | StopAnswer::Already { forced: true, .. } => Halted::Stopping,
        StopAnswer::Already { forced: false, .. } | StopAnswer::Finished(_) | StopAnswer::Early => Halted::Already,
    })
}

fn keep(tx: &Tx<'_>, task: &TaskRow, order: &TaskOrder) -> Result<()> {
    tx.conn
        .prepare_cached("INSERT OR REPLACE INTO task_orders (task, json) VALUES (?1, ?2)")?
        .execute(params![task.seq, Json(order)])?;
    Ok(())
}

/// The order to a task, if it has one of its own.
pub(super) fn order_of(tx: &Tx<'_>, task: &TaskRow) -> Result<Option<TaskOrder>> {
    tx.conn
        .prepare_cached("SELECT json FROM task_orders WHERE task = ?1")?
        .query_row([task.seq], |row| row.get::<_, Json<TaskOrder>>(0))
        .optional()
        .naming(|| format!("the order to task {}", task.id))
        .map(|found| found.map(|json| json.0))
}

/// Settles a task that is under an order of its own. Whether that completed the step.
pub(super) fn settle_stopped(
    tx: &mut Tx<'_>,
    run: &RunRow,
    task: TaskRow,
    partial: Option<serde_json::Value>,
) -> Result<bool> {
    let outcome = match order_of(tx, &task)? {
        Some(order) => order.outcome(partial),
        None => Outcome::stopped(partial),
    };
    finish::settle(tx, run, task, outcome)
}

/// Keeps the groups of a new step.
pub(super) fn add_groups(tx: &Tx<'_>, run: &RunRow, step: Step, groups: &[Group], tasks: &[NewTask]) -> Result<()> {
    for (place, group) in groups.iter().enumerate() {
        let upto = group.first.saturating_add(group.count);
        let is_pending = |task: &&NewTask| task.dispatch.is_pending();
        let of_group = |task: &&NewTask| task.group.is_some_and(|of| usize::try_from(of) == Ok(place));
        let following = tasks.iter().filter(is_pending).filter(of_group).map(|task| task.id.item).min().unwrap_or(upto);
        tx.conn
            .prepare_cached(
                "INSERT INTO task_groups (run, step, node, first, upto, following, need, may_fail) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![run.seq, step, group.node, group.first, upto, following, group.need, group.may_fail])?;
    }
    Ok(())
}

/// A group of a step that is not decided yet.
struct OpenGroup {
    id: i64,
    node: NodeName,
    first: u32,
    upto: u32,
    following: u32,
    need: Option<u32>,
    may_fail: Option<u32>,
}

/// How a task of a group settled.
#[derive(Debug, Clone, Copy)]
pub(super) struct GroupEnd {
    pub(super) is_bad: bool,
    pub(super) is_skipped: bool,
    pub(super) was_pending: bool,
}

/// A task may have been of a group: the next gets its turn, unless that decides the group.
pub(super) fn settled_in_group(tx: &mut Tx<'_>, run: &RunRow, task: &TaskId, end: GroupEnd) -> Result<()> {
    let Some(mut group) = group_of(tx, run, task)? else { return Ok(()) };
    let decided = match end {
        GroupEnd { is_bad: true, .. } => match &mut group.may_fail {
            Some(0) => Some((Cause::SiblingFailed, Group::TOO_MANY_FAILED)),
            Some(left) => {
                *left -= 1;
                None
            }
            None => None,
        },
        GroupEnd { is_skipped: true, .. } => None,
        GroupEnd { .. } => match &mut group.need {
            Some(0 | 1) => Some((Cause::Superseded, Group::ENOUGH)),
            Some(left) => {
                *left -= 1;
                None
            }
            None => None,
        },
    };
    if let Some((cause, why)) = decided {
        return close_group(tx, run, task.step, &group, (cause, why));
    }
    save_group(tx, &group)?;
    // Who lets the tasks in goes on by itself after one that is settled at once.
    if end.was_pending { Ok(()) } else { admit_next(tx, run, task) }
}

fn save_group(tx: &Tx<'_>, group: &OpenGroup) -> Result<()> {
    tx.conn
        .prepare_cached("UPDATE task_groups SET following = ?2, need = ?3, may_fail = ?4 WHERE rowid = ?1")?
        .execute(params![group.id, group.following, group.need, group.may_fail])?;
    Ok(())
}

fn group_of(tx: &Tx<'_>, run: &RunRow, task: &TaskId) -> Result<Option<OpenGroup>> {
    tx.conn
        .prepare_cached(
            "SELECT rowid, node, first, upto, following, need, may_fail FROM task_groups \
             WHERE run = ?1 AND step = ?2 AND node = ?3 AND first <= ?4 AND upto > ?4",
        )?
        .query_row(params![run.seq, task.step, task.node, task.item], |row| {
            Ok(OpenGroup {
                id: row.get(0)?,
                node: row.get(1)?,
                first: row.get(2)?,
                upto: row.get(3)?,
                following: row.get(4)?,
                need: row.get(5)?,
                may_fail: row.get(6)?,
            })
        })
        .optional()
        .naming(|| format!("run {}, the group of task {task}", run.key.id))
}

fn close_group(
    tx: &mut Tx<'_>,
    run: &RunRow,
    step: Step,
    group: &OpenGroup,
    (cause, why): (Cause, &str),
) -> Result<()> {
    tx.conn.prepare_cached("DELETE FROM task_groups WHERE rowid = ?1")?.execute([group.id])?;
    let actor = format!("node {}", group.node);
    let order = NewOrder { cause, reason: Some(why.to_owned()), actor, grace: None, force: false };
    let halt = Halt { order, skip: true, why: [Group::BY, why].concat() };
    let tasks = (group.first..group.upto).map(|item| TaskId { step, node: group.node.clone(), item }).collect();
    halt_all(tx, &run.key.id, tasks, &halt)?;
    Ok(())
}

/// Lets in the next task of the group of this one. One that is settled at once may decide the group, or stop the run.
fn admit_next(tx: &mut Tx<'_>, run: &RunRow, of: &TaskId) -> Result<()> {
    while !tx.known(&run.key.id)?.is_frozen() {
        let Some(mut group) = group_of(tx, run, of)?.filter(|group| group.following < group.upto) else {
            return Ok(());
        };
        let id = TaskId { item: group.following, ..of.clone() };
        group.following += 1;
        save_group(tx, &group)?;
        let next = task_row::find(tx.conn, run, &id)?.filter(|task| task.state == TaskState::Pending);
        if let Some(task) = next
            && admit(tx, run, task)?
        {
            return Ok(());
        }
    }
    Ok(())
}

/// Lets a task in: its time begins now. Whether it goes on, and is not settled at once.
fn admit(tx: &mut Tx<'_>, run: &RunRow, mut task: TaskRow) -> Result<bool> {
    task.made_at = tx.now;
    if task.child.is_some() {
        return admit_child(tx, run, task);
    }
    task.queue(TaskEvent::Admitted, tx.now);
    task_row::save_made(tx.conn, &task)?;
    task_row::save(tx.conn, &task)?;
    tx.push_due(run.key.partition);
    Ok(true)
}

fn admit_child(tx: &mut Tx<'_>, run: &RunRow, mut task: TaskRow) -> Result<bool> {
    let spec = task_row::spec(tx.conn, run, &task)?;
    let Some(child) = spec.dispatch.child() else {
        let why = "a child run stands for it, and its record has none";
        return Err(Fault::corrupt(format!("run {}, task {}", run.key.id, task.id), &why));
    };
    let outcome = if create::child(tx, child, &run.key)? {
        let made = tx.known(&child.id)?;
        if !made.life.status.is_final() {
            tx.change(&run.key.id)?.counts.open_children += 1;
            task.take(TaskEvent::ChildMade);
            task_row::save_made(tx.conn, &task)?;
            task_row::save(tx.conn, &task)?;
            return Ok(true);
        }
        finish::child_ended(made)
    } else {
        finish::child_taken(&task.id, &child.id)
    };
    finish::settle(tx, run, task, outcome)?;
    Ok(false)
}
