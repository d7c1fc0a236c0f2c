//! Gathers what a plan needs beyond what the ready run brings along: the state it goes on from, and its children's.

use std::collections::BTreeMap;

use coxswain_shared::checkpoint::Values;
use coxswain_shared::id::{RunId, RunKey, Step, TaskId};
use coxswain_shared::limits::{FAN_OUT_MAX, PAGE_MAX};
use coxswain_shared::outcome::Outcome;
use coxswain_shared::plan::Base;
use coxswain_shared::run::RunStatus;
use coxswain_shared::store::{Error, Ready, Store};
use coxswain_shared::submission::Start;
use coxswain_shared::task::{Task, TaskState};

/// The state that a run goes on from; none on a fresh thread, or once the run has a checkpoint of its own.
pub(crate) async fn base(store: &dyn Store, ready: &Ready) -> Result<Option<Base>, Error> {
    if ready.checkpoint.is_some() {
        return Ok(None);
    }
    let Some((run, step)) = &ready.run.base else { return Ok(None) };
    let Some(key) = store.locate(run).await? else { return Ok(None) };
    let Some(stored) = store.checkpoints(&key, *step, 1).await?.into_iter().next() else { return Ok(None) };
    let Some(values) = store.values(&key, *step).await? else { return Ok(None) };
    let settled = match ready.run.spec.start {
        Start::From { .. } => unfinished(store, &key, step.next()).await?,
        Start::Fresh => Vec::new(),
    };
    Ok((stored.checkpoint.step == *step).then(|| Base {
        run: run.clone(),
        checkpoint: stored.checkpoint,
        values,
        settled,
    }))
}

/// The settled tasks of a step that a run did not complete. A step that it did complete is done anew.
async fn unfinished(store: &dyn Store, key: &RunKey, step: Step) -> Result<Vec<Task>, Error> {
    let is_complete = !store.checkpoints(key, step, 1).await?.is_empty();
    if is_complete {
        return Ok(Vec::new());
    }
    let mut settled = Vec::new();
    let mut seen = 0;
    while seen < FAN_OUT_MAX {
        let page = store.tasks(key, step, seen, PAGE_MAX).await?;
        seen += page.len();
        let is_last = page.len() < PAGE_MAX;
        settled.extend(page.into_iter().filter(|task| task.state == TaskState::Settled));
        if is_last {
            break;
        }
    }
    Ok(settled)
}

/// The final values of the child runs that have ended well.
pub(crate) async fn children(store: &dyn Store, ready: &Ready) -> Result<BTreeMap<TaskId, Values>, Error> {
    let mut children = BTreeMap::new();
    for task in &ready.tasks {
        if let Some(Outcome::ChildEnded { run, status: RunStatus::Succeeded }) = &task.outcome
            && let Some(values) = last_values(store, run).await?
        {
            children.insert(task.id.clone(), values);
        }
    }
    Ok(children)
}

async fn last_values(store: &dyn Store, run: &RunId) -> Result<Option<Values>, Error> {
    match store.run(run).await? {
        Some(child) => store.values(&child.key, child.step).await,
        None => Ok(None),
    }
}
