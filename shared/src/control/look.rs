//! Looks at a run: where it stands, what it did, and the state it had.

use serde::Serialize;

use super::Error;
use super::patience::patiently;
use crate::checkpoint::{Due, StoredCheckpoint, Values};
use crate::id::{RunId, RunKey, Step};
use crate::limits::PAGE_MAX;
use crate::store::{Run, Store, Thread};
use crate::task::Task;
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
    Ok(Described { run, tasks, thread })
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

/// The state of a run after a step; after its last one where none is named.
pub async fn state(store: &dyn Store, run: &RunId, step: Option<Step>) -> Result<StateAt, Error> {
    let run = find(store, run).await?;
    let found = checkpoint(store, &run, step).await?;
    let step = found.checkpoint.step;
    let values = patiently(async || store.values(&run.key, step).await).await?;
    let values = values.ok_or_else(|| no_such_step(&run, step))?;
    Ok(StateAt { run: run.key.id, step, at: found.at, values, next: found.checkpoint.next })
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
