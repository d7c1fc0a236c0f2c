//! The runs, tasks, orders and outcomes that cases are made of. Long times are never reached within a case; short ones are
//! waited for, on some stores for real.

use std::time::Duration;

use serde_json::Value;

use crate::checkpoint::{CHECKPOINT_FORMAT, Checkpoint, Source, Values};
use crate::id::{ChannelName, GraphHash, GraphName, Nonce, PoolName, RunId, RunKey, Step, TaskKey, ThreadId, WorkerId};
use crate::outcome::{Failure, FailureKind, Outcome, Writes};
use crate::plan::Then;
use crate::priority::Priority;
use crate::stop::{Cause, NewOrder, StopProof};
use crate::store::{Claim, NewRun, OnConflict, Parent, RunSpec, SweepLimits};
use crate::task::{Dispatch, NewTask};

/// A time that passes within a case.
pub const SHORT: Duration = Duration::from_millis(300);

/// A time that does not.
pub const LONG: Duration = Duration::from_mins(5);

/// An id, for tests that write it down.
pub fn run_id(text: &str) -> RunId {
    RunId::new(text).expect("the id of a case is a name")
}

/// A channel.
pub fn channel(text: &str) -> ChannelName {
    ChannelName::new(text).expect("the channel of a case is a name")
}

/// A run on a thread of its own.
pub fn run(id: &str) -> NewRun {
    run_on(id, id, OnConflict::Enqueue)
}

/// A run on a thread.
pub fn run_on(id: &str, thread: &str, on_conflict: OnConflict) -> NewRun {
    NewRun {
        id: run_id(id),
        thread: ThreadId::new(thread).expect("the thread of a case is a name"),
        graph: GraphName::new("graph").expect("a name"),
        graph_hash: GraphHash::new("00ff").expect("a name"),
        on_conflict,
        run_timeout: Duration::from_hours(1),
        parent: None,
        spec: RunSpec::default(),
    }
}

/// A task for a worker, `step:node:item`; its failure fails the run.
pub fn task(id: &str) -> NewTask {
    NewTask {
        id: id.parse().expect("the task id of a case reads step:node:item"),
        dispatch: Dispatch::Queue { pool: PoolName::standard(), priority: Priority::Normal },
        timeout: Duration::from_mins(10),
        queue_timeout: Duration::from_mins(10),
        attempt_timeout: Duration::from_mins(2),
        grace: Duration::from_secs(5),
        max_crashes: 3,
        fails_run: true,
        item: None,
        reads: None,
        group: None,
    }
}

/// A task that gets done some other way.
pub fn task_by(id: &str, dispatch: Dispatch) -> NewTask {
    NewTask { dispatch, ..task(id) }
}

/// A task that waits for a human.
pub fn human(id: &str) -> NewTask {
    task_by(id, Dispatch::Human { payload: "well?".into() })
}

/// A task that waits for time to pass.
pub fn wait(id: &str, length: Duration) -> NewTask {
    task_by(id, Dispatch::Wait { length })
}

/// A task that was done before.
pub fn settled(id: &str, outcome: Outcome) -> NewTask {
    task_by(id, Dispatch::Settled { outcome })
}

/// A task that a child run stands for.
pub fn child(parent: &RunKey, id: &str, child: &str, depth: u32) -> NewTask {
    child_of(parent, id, run(child), depth)
}

/// A task that this child run stands for.
pub fn child_of(parent: &RunKey, id: &str, child: NewRun, depth: u32) -> NewTask {
    let new = task(id);
    let parent = Parent { run: parent.id.clone(), task: new.id.clone(), depth };
    let run = Box::new(NewRun { parent: Some(parent), ..child });
    NewTask { dispatch: Dispatch::Child { run }, ..new }
}

/// A worker's first claim of a task.
pub fn claim(task: &TaskKey) -> Claim {
    claim_by(task, "worker-1")
}

/// A claim of a certain worker.
pub fn claim_by(task: &TaskKey, worker: &str) -> Claim {
    Claim {
        task: task.clone(),
        worker: WorkerId::new(worker).expect("the worker of a case is a name"),
        nonce: Nonce::fresh(),
        ttl: LONG,
        takeover_after: None,
        alone: false,
    }
}

/// An order by somebody.
pub fn order(cause: Cause) -> NewOrder {
    NewOrder { cause, reason: Some("too slow".to_owned()), actor: "ann@host".to_owned(), grace: None, force: false }
}

/// An order by force.
pub fn force() -> NewOrder {
    NewOrder { force: true, ..order(Cause::Cancelled) }
}

/// A success that wrote nothing.
pub fn success() -> Outcome {
    Outcome::wrote(Writes::new())
}

/// A failure.
pub fn failure() -> Failure {
    Failure::new(FailureKind::Handler, "it broke")
}

/// An outcome that is a failure.
pub fn failed() -> Outcome {
    Outcome::Failed { failure: failure() }
}

/// The testimony of a worker that is sure.
pub fn proof() -> StopProof {
    StopProof { confirmed: true, ..StopProof::default() }
}

/// The testimony of a worker that is not.
pub fn doubt() -> StopProof {
    StopProof { confirmed: false, ..StopProof::default() }
}

/// A checkpoint with these channels, each at the step that wrote it.
pub fn checkpoint(step: u64, versions: &[(&str, u64)]) -> Checkpoint {
    Checkpoint {
        format: CHECKPOINT_FORMAT,
        step: Step::new(step),
        source: if step == 0 { Source::Input } else { Source::Step },
        versions: versions.iter().map(|(name, version)| (channel(name), Step::new(*version))).collect(),
        ran: Vec::new(),
        next: Vec::new(),
        joins: std::collections::BTreeMap::new(),
        node_runs: 0,
        rounds: crate::rounds::Rounds::default(),
    }
}

/// The values of channels.
pub fn values(pairs: &[(&str, Value)]) -> Values {
    pairs.iter().map(|(name, value)| (channel(name), value.clone())).collect()
}

/// A step of these tasks.
pub fn step(number: u64, tasks: Vec<NewTask>) -> Then {
    Then::Step { step: Step::new(number), tasks, groups: Vec::new() }
}

/// A sweep with plenty of room.
pub const fn limits() -> SweepLimits {
    SweepLimits { tasks: 1_000, runs: 1_000, resend_after: LONG, ahead: Duration::ZERO }
}
