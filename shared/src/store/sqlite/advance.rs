//! `advance`: writes a checkpoint and what comes then, if the plan was made for the run as it is.

use rusqlite::params;

use super::fault::Result;
use super::run_row::{self, RunRow};
use super::task_row::{self, TaskRow};
use super::tx::Tx;
use super::{audit, checkpoints, create, finish, scope, stop};
use crate::id::{RunId, Step, TaskKey};
use crate::outcome::{Failure, FailureKind};
use crate::plan::Then;
use crate::run::{RunEvent, RunStatus};
use crate::stop::{Cause, NewOrder, StopOrder, StopReport};
use crate::store::{Advance, Advanced};
use crate::task::{Dispatch, NewTask, TaskState};

pub(super) fn advance(tx: &mut Tx<'_>, advance: &Advance) -> Result<Advanced> {
    let Some(run) = tx.run_at(&advance.run)? else { return Ok(Advanced::Conflict) };
    if run.plan.advance_nonce.as_ref() == Some(&advance.nonce) {
        return Ok(Advanced::Ok);
    }
    if run.is_frozen() {
        return Ok(Advanced::Frozen);
    }
    let is_in_turn = run.life.started_at.is_some() && run.life.status != RunStatus::Interrupted;
    if !is_in_turn || run.plan.revision != advance.expected || run.counts.open_tasks > 0 {
        return Ok(Advanced::Conflict);
    }
    let run = run.clone();
    let id = run.key.id.clone();
    if let Then::Step { tasks, .. } = &advance.then
        && !has_room_for_children(tx, &run, tasks)?
    {
        return Ok(Advanced::Frozen);
    }
    write_checkpoint(tx, &run, advance)?;
    let plan = &mut tx.change(&id)?.plan;
    plan.revision = advance.expected.next();
    plan.advance_nonce = Some(advance.nonce.clone());
    plan.resumed = false;
    plan.ready_at = None;
    match &advance.then {
        Then::Step { step, tasks, groups } => {
            scope::add_groups(tx, &run, *step, groups, tasks)?;
            begin_step(tx, &run, *step, tasks)?;
        }
        Then::Pause { step } => pause(tx, &run, *step)?,
        Then::Succeed => {
            begin(tx, &id)?;
            finish::finish(tx, &id, RunEvent::Succeeded)?;
        }
        Then::Fail { failure, order } => fail(tx, &id, failure, order.as_ref())?,
    }
    Ok(Advanced::Ok)
}

/// Counts child runs that a step is to make, now or later, in the run and in those above; or, if one of them has no room
/// for so many, orders that one to stop, and says false.
fn has_room_for_children(tx: &mut Tx<'_>, run: &RunRow, tasks: &[NewTask]) -> Result<bool> {
    let mut of_children = tasks.iter().filter(|task| task.dispatch.child().is_some());
    let Some(first) = of_children.next() else { return Ok(true) };
    let more = 1 + of_children.count() as u64;
    let mut node = first.id.node.clone();
    let mut family = Vec::new();
    let mut next = Some(run.key.id.clone());
    while let Some(id) = next {
        if !tx.load(&id)? {
            break;
        }
        let row = tx.known(&id)?.clone();
        let budget = run_row::spec(tx.conn, &row)?.budget;
        if let Some(message) = budget.descendants_overrun(row.parent.is_some(), row.counts.descendants.into(), more) {
            let failure = Failure::new(FailureKind::Exhausted, message.clone()).at(&node);
            tx.change(&id)?.life.failure = Some(failure);
            let (reason, actor) = (Some(message), format!("node {node}"));
            stop::order(tx, &id, &NewOrder { cause: Cause::Budget, reason, actor, grace: None, force: false })?;
            return Ok(false);
        }
        family.push(id);
        next = row.parent.map(|parent| {
            node = parent.task.node;
            parent.run
        });
    }
    for id in family {
        let counts = &mut tx.change(&id)?.counts;
        counts.descendants = counts.descendants.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
    }
    Ok(true)
}

fn write_checkpoint(tx: &mut Tx<'_>, run: &RunRow, advance: &Advance) -> Result<()> {
    let Some(checkpoint) = &advance.checkpoint else { return Ok(()) };
    checkpoints::write(tx.conn, run, checkpoint, &advance.changed, tx.now)?;
    tx.change(&run.key.id)?.plan.last_checkpoint = Some(checkpoint.step);
    // The step is over: late calls about its tasks are answered for a while, then they are forgotten.
    if checkpoint.step == run.plan.step {
        tx.conn
            .prepare_cached("INSERT OR REPLACE INTO finished_steps (run, step, partition, at) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![run.seq, run.plan.step, run.key.partition, tx.now])?;
    }
    Ok(())
}

/// The first plan of a run makes it `running`, whatever comes then.
fn begin<'t>(tx: &'t mut Tx<'_>, id: &RunId) -> Result<&'t mut RunRow> {
    let run = tx.change(id)?;
    if run.life.status == RunStatus::Queued {
        run.take(RunEvent::Started);
    }
    Ok(run)
}

fn pause(tx: &mut Tx<'_>, run: &RunRow, step: Step) -> Result<()> {
    let run = begin(tx, &run.key.id)?;
    run.take(RunEvent::Paused);
    run.plan.step = step;
    Ok(())
}

fn fail(tx: &mut Tx<'_>, id: &RunId, failure: &Failure, order: Option<&NewOrder>) -> Result<()> {
    let now = tx.now;
    let run = begin(tx, id)?;
    run.life.failure = Some(failure.clone());
    let Some(order) = order else { return finish::finish(tx, id, RunEvent::Failed) };
    run.take(RunEvent::StopOrdered);
    let ordered = StopOrder { order: order.clone(), at: now };
    run.life.stop = Some(StopReport { closed_at: Some(now), ..StopReport::new(ordered, 0) });
    audit::stop(tx, id, order, "accepted")?;
    finish::finish(tx, id, RunEvent::Closed(order.cause))
}

fn begin_step(tx: &mut Tx<'_>, run: &RunRow, step: Step, tasks: &[NewTask]) -> Result<()> {
    let id = &run.key.id;
    let (mut open_tasks, mut open_children) = (0, 0);
    for new in tasks {
        let task = TaskRow::planned(new, run.seq, tx.now);
        open_tasks += u32::from(!matches!(task.state, TaskState::Human | TaskState::Settled));
        open_children += u32::from(task.state == TaskState::Child);
        task_row::insert(tx.conn, run, &task, new)?;
    }
    let row = begin(tx, id)?;
    row.plan.step = step;
    row.counts.open_tasks = open_tasks;
    row.counts.open_children = open_children;
    // Only now, with all tasks counted: a child that ends at once already changes the counts.
    for new in tasks {
        if let Dispatch::Child { run: child } = &new.dispatch
            && !create::child(tx, child, &run.key)?
        {
            refuse_child(tx, run, new, &child.id)?;
        }
    }
    let row = tx.known(id)?;
    if !row.is_frozen() && row.counts.open_tasks == 0 {
        tx.make_ready(id)?;
    }
    Ok(())
}

fn refuse_child(tx: &mut Tx<'_>, run: &RunRow, new: &NewTask, child: &RunId) -> Result<()> {
    let key = TaskKey { run: run.key.clone(), task: new.id.clone() };
    let Some((run, task)) = tx.task(&key)? else { return Ok(()) };
    let outcome = finish::child_taken(&new.id, child);
    if run.life.status == RunStatus::Stopping {
        finish::close_task(tx, &run, task, outcome, true)?;
    } else {
        finish::settle(tx, &run, task, outcome)?;
    }
    Ok(())
}
