//! `resume`: lets an interrupted run go on.

use rusqlite::params;

use super::fault::{Naming, Result};
use super::run_row::RunRow;
use super::task_row::{self, TaskRow, select_tasks};
use super::tx::Tx;
use super::{audit, finish};
use crate::run::{RunEvent, RunStatus};
use crate::store::{Resume, Resumed};

pub(super) fn resume(tx: &mut Tx<'_>, resume: &Resume) -> Result<Resumed> {
    if let Some(run) = tx.run_at(&resume.run)?.cloned()
        && run.life.resume_nonce.as_ref() == Some(&resume.nonce)
    {
        return stand(tx, &run);
    }
    let answer = carry_out(tx, resume)?;
    let result = match answer {
        Resumed::Ok | Resumed::StillOpen(_) => "ok",
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
    let waiting = waiting(tx, &run)?;
    if resume.answers.keys().any(|id| waiting.iter().all(|task| task.id != *id)) {
        return Ok(Resumed::UnknownTask);
    }
    if resume.answers.is_empty() && !waiting.is_empty() {
        return Ok(Resumed::MissingAnswer);
    }
    let is_between_steps = waiting.is_empty();
    let open = waiting.len() - resume.answers.len();
    for task in waiting {
        if let Some(outcome) = resume.answers.get(&task.id) {
            finish::record(tx, &run, task, outcome.clone())?;
        }
    }
    tx.change(&run.key.id)?.life.resume_nonce = Some(resume.nonce.clone());
    if open > 0 {
        return Ok(still_open(open));
    }
    let row = tx.change(&run.key.id)?;
    row.take(RunEvent::Resumed);
    row.plan.revision = row.plan.revision.next();
    row.plan.resumed = is_between_steps;
    tx.make_ready(&run.key.id)?;
    Ok(Resumed::Ok)
}

/// The tasks of a run that wait for a human.
fn waiting(tx: &Tx<'_>, run: &RunRow) -> Result<Vec<TaskRow>> {
    tx.conn
        .prepare_cached(select_tasks!("WHERE run = ?1 AND step = ?2 AND state = 'human' ORDER BY node, item"))?
        .query_map(params![run.seq, run.plan.step], task_row::read)?
        .collect::<rusqlite::Result<_>>()
        .naming(|| format!("run {}, the tasks that wait for a human", run.key.id))
}

/// The answer to a call that is repeated: as the run stands now.
fn stand(tx: &Tx<'_>, run: &RunRow) -> Result<Resumed> {
    if run.life.status != RunStatus::Interrupted {
        return Ok(Resumed::Ok);
    }
    let open = waiting(tx, run)?.len();
    Ok(if open > 0 { still_open(open) } else { Resumed::Ok })
}

fn still_open(open: usize) -> Resumed {
    Resumed::StillOpen(u32::try_from(open).unwrap_or(u32::MAX))
}
