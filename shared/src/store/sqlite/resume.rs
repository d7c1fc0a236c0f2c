//! `resume`: lets an interrupted run go on.

use rusqlite::params;

use super::fault::{Naming, Result};
use super::task_row::{self, TaskRow, select_tasks};
use super::tx::Tx;
use super::{audit, finish};
use crate::run::{RunEvent, RunStatus};
use crate::store::{Resume, Resumed};

pub(super) fn resume(tx: &mut Tx<'_>, resume: &Resume) -> Result<Resumed> {
    if let Some(run) = tx.run_at(&resume.run)?
        && run.life.resume_nonce.as_ref() == Some(&resume.nonce)
    {
        return Ok(Resumed::Ok);
    }
    let answer = carry_out(tx, resume)?;
    let result = match answer {
        Resumed::Ok => "ok",
        Resumed::NotInterrupted(_) => "not_interrupted",
        Resumed::UnknownTask => "unknown_task",
        Resumed::MissingAnswer => "missing_answer",
        Resumed::NotFound => "not_found",
    };
    audit::resume(tx, resume, result)?;
    Ok(answer)
}

fn carry_out(tx: &mut Tx<'_>, resume: &Resume) -> Result<Resumed> {
    let Some(run) = tx.run_at(&resume.run)?.cloned() else { return Ok(Resumed::NotFound) };
    if run.life.status != RunStatus::Interrupted {
        return Ok(Resumed::NotInterrupted(run.life.status));
    }
    let waiting: Vec<TaskRow> = tx
        .conn
        .prepare_cached(select_tasks!("WHERE run = ?1 AND step = ?2 AND state = 'human' ORDER BY node, item"))?
        .query_map(params![run.seq, run.plan.step], task_row::read)?
        .collect::<rusqlite::Result<_>>()
        .naming(|| format!("run {}, the tasks that wait for a human", run.key.id))?;
    if resume.answers.keys().any(|id| waiting.iter().all(|task| task.id != *id)) {
        return Ok(Resumed::UnknownTask);
    }
    if waiting.iter().any(|task| !resume.answers.contains_key(&task.id)) {
        return Ok(Resumed::MissingAnswer);
    }
    let is_between_steps = waiting.is_empty();
    for task in waiting {
        if let Some(outcome) = resume.answers.get(&task.id) {
            finish::settle(tx, &run, task, outcome.clone())?;
        }
    }
    let row = tx.change(&run.key.id)?;
    row.take(RunEvent::Resumed);
    row.life.resume_nonce = Some(resume.nonce.clone());
    row.plan.revision = row.plan.revision.next();
    row.plan.resumed = is_between_steps;
    tx.make_ready(&run.key.id)?;
    Ok(Resumed::Ok)
}
