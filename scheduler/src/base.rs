//! What a run goes on from that is not its own: another run's state.

use coxswain_shared::id::{RunKey, Step};
use coxswain_shared::plan::Base;
use coxswain_shared::store::{Error, Ready, Store, tasks_where};
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
    tasks_where(store, key, step, |task| task.state == TaskState::Settled).await
}
