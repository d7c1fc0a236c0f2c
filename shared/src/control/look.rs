//! Looks at a run: where it stands, what it did, and the state it had.

use std::collections::BTreeSet;

use serde::Serialize;

use super::answers::{Question, questions_of};
use super::patience::patiently;
use super::unserved::{fan_outs, served, unserved};
use super::{Error, graph_of};
use crate::checkpoint::{Checkpoint, Due, StoredCheckpoint, Values};
use crate::id::{NodeName, PoolName, RunId, RunKey, Step};
use crate::limits::PAGE_MAX;
use crate::outcome::OutcomeKind;
use crate::plan::{self, Incomplete};
use crate::policing;
use crate::run::RunStatus;
use crate::sandbox::{Evaluations, Sandbox};
use crate::store::{Run, Store, Thread, tasks_where, values_of_children};
use crate::task::{Task, TaskState};
use crate::time::Timestamp;

/// A run with the tasks of its step in flight.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Described {
    /// The run.
    pub run: Run,
    /// The tasks of its step in flight; of its unfinished step, if it has ended in one. At most [`PAGE_MAX`].
    pub tasks: Vec<Task>,
    /// Its thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<Thread>,
    /// What is to be noticed about its end, in sentences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The questions that wait for a human.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<Question>,
    /// The policy that it waits for, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_up: Option<String>,
    /// The pools that its queued tasks wait for and that no worker serves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unserved: Vec<PoolName>,
    /// Its nodes that are fanned out.
    #[serde(skip)]
    pub fan_outs: BTreeSet<NodeName>,
}

/// The state of a run after a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateAt {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: Step,
    /// When its checkpoint was stored.
    pub at: Timestamp,
    /// The values of its channels.
    pub values: Values,
    /// What was due next.
    pub next: Vec<Due>,
    /// What the step after it has come to so far, if it is not complete and something of it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub so_far: Option<SoFar>,
}

/// What a step that is not complete has come to so far: no part of the state, but what the run would take over if it goes on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SoFar {
    /// The step.
    pub step: Step,
    /// Its tasks that have succeeded,
    pub succeeded: usize,
    /// of how many.
    pub tasks: usize,
    /// The values of the channels that these would change.
    pub values: Values,
}

/// The run, which has to be there.
pub async fn find(store: &dyn Store, run: &RunId) -> Result<Run, Error> {
    let found = patiently(async || store.run(run).await).await?;
    found.ok_or_else(|| Error::RunNotFound(run.clone()))
}

/// The run, its tasks in flight and its thread.
pub async fn describe(store: &dyn Store, run: &RunId) -> Result<Described, Error> {
    let run = find(store, run).await?;
    let tasks = patiently(async || store.tasks(&run.key, run.step, 0, PAGE_MAX).await).await?;
    let thread = patiently(async || store.thread(&run.thread).await).await?;
    let halt = patiently(async || policing::held_up(store, &run).await).await?;
    let graph = graph_of(store, &run.graph_hash).await?;
    let unserved = if tasks.iter().any(|task| task.state == TaskState::Queued) {
        unserved(&graph, &tasks, &served(store).await?)
    } else {
        Vec::new()
    };
    let held_up = halt.map(|halt| halt.reached.to_string());
    let questions = questions_of(&graph, &tasks);
    let last = if run.status == RunStatus::Succeeded { last_checkpoint(store, &run).await? } else { None };
    let warnings = last.map_or_else(Vec::new, |last| plan::waiting_joins(&graph, &last.checkpoint));
    Ok(Described { run, tasks, thread, warnings, questions, held_up, unserved, fan_outs: fan_outs(&graph) })
}

/// Checkpoints of a run from step `from` on, oldest first, at most `limit`.
pub async fn history(
    store: &dyn Store,
    run: &RunId,
    from: Step,
    limit: usize,
) -> Result<(Run, Vec<StoredCheckpoint>), Error> {
    let run = find(store, run).await?;
    let mut checkpoints: Vec<StoredCheckpoint> = Vec::new();
    let mut next = from;
    while checkpoints.len() < limit {
        let wanted = (limit - checkpoints.len()).min(PAGE_MAX);
        let page = patiently(async || store.checkpoints(&run.key, next, wanted).await).await?;
        let Some(last) = page.last() else { break };
        next = last.checkpoint.step.next();
        checkpoints.extend(page);
    }
    Ok((run, checkpoints))
}

/// The state of a run after a step; after its last one where none is named, with what the step after that has come to.
pub async fn state(store: &dyn Store, run: &RunId, step: Option<Step>) -> Result<StateAt, Error> {
    let run = find(store, run).await?;
    let is_last = step.is_none();
    let found = checkpoint(store, &run, step).await?;
    let step = found.checkpoint.step;
    let values = patiently(async || store.values(&run.key, step).await).await?;
    let values = values.ok_or_else(|| no_such_step(&run, step))?;
    let so_far = if is_last { so_far(store, &run, &found.checkpoint, &values).await? } else { None };
    Ok(StateAt { run: run.key.id, step, at: found.at, values, next: found.checkpoint.next, so_far })
}

async fn so_far(
    store: &dyn Store,
    run: &Run,
    checkpoint: &Checkpoint,
    values: &Values,
) -> Result<Option<SoFar>, Error> {
    let step = checkpoint.step.next();
    let tasks = patiently(async || tasks_where(store, &run.key, step, |_| true).await).await?;
    let succeeded = tasks.iter().filter(|task| is_good(task)).count();
    if succeeded == 0 {
        return Ok(None);
    }
    let children = patiently(async || values_of_children(store, &tasks).await).await?;
    let graph = graph_of(store, &run.graph_hash).await?;
    let (run, checkpoint, values) = (run.key.id.clone(), checkpoint.clone(), values.clone());
    let together = move || {
        let (tasks, evaluator) = (tasks.as_slice(), &Evaluations::of_plan(Sandbox::new(), || true));
        let (run, checkpoint, values, children) = (&run, &checkpoint, &values, &children);
        let incomplete = Incomplete { graph: &graph, run, checkpoint, values, tasks, children, evaluator };
        // What cannot be put together is seen task by task still.
        let values = plan::so_far(&incomplete).ok()?;
        Some(SoFar { step, succeeded, tasks: tasks.len(), values })
    };
    // Expressions may have to be evaluated anew, and block.
    Ok(tokio::task::spawn_blocking(together).await.unwrap_or_default())
}

fn is_good(task: &Task) -> bool {
    task.outcome.as_ref().is_some_and(|outcome| outcome.kind() == OutcomeKind::Succeeded)
}

/// The checkpoint of a step, or the last one.
pub(super) async fn checkpoint(store: &dyn Store, run: &Run, step: Option<Step>) -> Result<StoredCheckpoint, Error> {
    let Some(last) = last_checkpoint(store, run).await? else {
        return Err(Error::NoCheckpoint { run: run.key.id.clone(), status: run.status });
    };
    let Some(step) = step.filter(|step| *step != last.checkpoint.step) else { return Ok(last) };
    let found = at_step(store, &run.key, step).await?;
    found.ok_or_else(|| Error::NoSuchStep { run: run.key.id.clone(), step, last: last.checkpoint.step })
}

/// A run's last checkpoint. It is that of the step in flight, or of the one before.
pub async fn last_checkpoint(store: &dyn Store, run: &Run) -> Result<Option<StoredCheckpoint>, Error> {
    let mut from = Step::new(run.step.get().saturating_sub(1));
    let mut last = None;
    // More than one page only if the run has gone on since it was read.
    loop {
        let page = patiently(async || store.checkpoints(&run.key, from, PAGE_MAX).await).await?;
        let Some(newest) = page.into_iter().last() else { return Ok(last) };
        from = newest.checkpoint.step.next();
        last = Some(newest);
    }
}

async fn at_step(store: &dyn Store, run: &RunKey, step: Step) -> Result<Option<StoredCheckpoint>, Error> {
    let page = patiently(async || store.checkpoints(run, step, 1).await).await?;
    Ok(page.into_iter().find(|found| found.checkpoint.step == step))
}

fn no_such_step(run: &Run, step: Step) -> Error {
    Error::NoSuchStep { run: run.key.id.clone(), step, last: run.step }
}
