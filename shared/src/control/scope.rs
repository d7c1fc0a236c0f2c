//! Orders tasks of a run to stop and lets the rest of it go on: one node, or a branch of a fan-out.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::cancel::check_order;
use super::graphs::check_node;
use super::patience::patiently;
use super::{Error, find, graph_of};
use crate::store::{Run, StopTasks, Store, TasksStopped, tasks_where};
use crate::task::{Task, TaskState};

/// The pause between two looks at tasks that are stopping.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What came of an order to tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Halted {
    /// Tasks that nobody had: they are settled.
    pub settled: u32,
    /// Tasks that a worker or a child run had, and that this order stops.
    pub stopping: u32,
    /// Tasks that were under an order before.
    pub already: u32,
    /// Of those that were had: tasks that have stopped since, as far as they were waited for.
    pub stopped: u32,
    /// Of those, tasks of which their worker is sure that nothing runs on.
    pub confirmed: u32,
    /// How long it took.
    #[serde(with = "crate::duration")]
    pub took: Duration,
}

impl Halted {
    /// Whether tasks had not stopped yet when this was written.
    pub const fn is_open(&self) -> bool {
        self.stopped < self.stopping + self.already
    }
}

/// Orders tasks to stop, and waits for them, at most so long, if asked to.
///
/// # Errors
/// Beside what the store cannot do: a run that does not exist, has ended or is stopping as a whole; a node that its graph does
/// not have; nothing that could be stopped.
pub async fn tasks(store: &dyn Store, stop: &StopTasks, wait: Option<Duration>) -> Result<Halted, Error> {
    let start = Instant::now();
    check_order(&stop.order)?;
    let run = find(store, &stop.run).await?;
    check_node(&graph_of(store, &run.graph_hash).await?, &stop.node)?;
    let mut halted = match patiently(async || store.stop_tasks(stop.clone()).await).await? {
        TasksStopped::NotFound => return Err(Error::RunNotFound(stop.run.clone())),
        TasksStopped::Frozen(status) => return Err(Error::Over { run: stop.run.clone(), status }),
        TasksStopped::Done(tally) => {
            Halted { settled: tally.settled, stopping: tally.stopping, already: tally.already, ..Halted::default() }
        }
    };
    if halted.settled + halted.stopping + halted.already == 0 {
        return Err(Error::NothingToStop { run: stop.run.clone(), node: stop.node.clone(), step: run.step });
    }
    if let Some(wait) = wait {
        let until = start + wait;
        while halted.is_open() && Instant::now() < until {
            tokio::time::sleep_until(until.min(Instant::now() + LOOK_EVERY)).await;
            count_stopped(&tasks_of(store, &run, stop).await?, &mut halted);
        }
    }
    halted.took = start.elapsed();
    Ok(halted)
}

/// Counts those of the tasks that somebody had, and that have stopped.
fn count_stopped(tasks: &[Task], halted: &mut Halted) {
    let count = |is: fn(&Task) -> bool| u32::try_from(tasks.iter().filter(|task| is(task)).count()).unwrap_or(u32::MAX);
    let open = count(|task| matches!(task.state, TaskState::Stopping | TaskState::Child));
    halted.stopped = (halted.stopping + halted.already).saturating_sub(open);
    halted.confirmed = count(|task| task.proof.as_ref().is_some_and(|proof| proof.confirmed)).min(halted.stopped);
}

/// The tasks that are meant.
async fn tasks_of(store: &dyn Store, run: &Run, stop: &StopTasks) -> Result<Vec<Task>, Error> {
    let is_meant = |task: &Task| stop.is_to(&task.id);
    Ok(patiently(async || tasks_where(store, &run.key, run.step, is_meant).await).await?)
}
