//! What a plan is made from. Everything is handed in; nothing is looked up.

use std::collections::BTreeMap;

use crate::checkpoint::{Checkpoint, Values};
use crate::expr::Evaluator;
use crate::graph::Graph;
use crate::id::{RunId, TaskId};
use crate::submission::RunSpec;
use crate::task::Task;
use crate::time::Timestamp;

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct PlanInput<'a> {
    /// The run's graph, checked.
    pub graph: &'a Graph,
    /// The run.
    pub run: &'a RunId,
    /// How deep the run is nested: its `parent.depth`, 0 for a run of its own.
    pub depth: u32,
    /// What it was made from.
    pub spec: &'a RunSpec,
    /// Its last checkpoint; none before the first plan.
    pub checkpoint: Option<&'a Checkpoint>,
    /// The values of that checkpoint.
    pub values: &'a Values,
    /// The tasks of the step in flight, in any order: all settled, except those that wait for a human. None before the
    /// first plan, and at a pause between two steps.
    pub tasks: &'a [Task],
    /// Whether a human has just let it go on from a pause between two steps.
    pub resumed: bool,
    /// For the first plan: where the state begins. With `Start::Fresh` the head of its thread, if that has one; with
    /// `Start::From` the checkpoint that is named there.
    pub base: Option<&'a Base>,
    /// The final values of the child run of each task whose outcome is that a child run has ended well.
    pub children: &'a BTreeMap<TaskId, Values>,
    /// The store's time. It bounds the deadlines of child runs, and nothing else depends on it.
    pub now: Timestamp,
    /// When the run's time is up.
    pub run_deadline: Option<Timestamp>,
    /// Who evaluates heavy expressions. What it gives depends on the expression and its values alone.
    pub evaluator: &'a dyn Evaluator,
}

/// The checkpoint of another run that this one goes on from.
#[derive(Debug, Clone, PartialEq)]
pub struct Base {
    /// That run.
    pub run: RunId,
    /// That checkpoint, whole.
    pub checkpoint: Checkpoint,
    /// Its values.
    pub values: Values,
    /// The settled tasks of the step after it, which that run did not complete. Those that succeeded are not done again.
    pub settled: Vec<Task>,
}
