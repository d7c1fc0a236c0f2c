//! What the tasks of a step that is not complete have come to so far, for those who look at a run that was stopped in it.
//!
//! It is what a run that goes on from there takes over, laid out as the step would have written it. Nothing is decided by it.

use std::collections::BTreeMap;

use super::fan_out;
use super::input::PlanInput;
use super::judge::{Judged, judge};
use crate::checkpoint::{Checkpoint, Values};
use crate::expr::Evaluator;
use crate::graph::Graph;
use crate::id::{RunId, TaskId};
use crate::outcome::{Failure, Outcome};
use crate::state;
use crate::submission::RunSpec;
use crate::task::Task;
use crate::time::Timestamp;

/// A step that is not complete.
#[derive(Debug, Clone, Copy)]
pub struct Incomplete<'a> {
    /// The run's graph.
    pub graph: &'a Graph,
    /// The run.
    pub run: &'a RunId,
    /// The checkpoint before the step.
    pub checkpoint: &'a Checkpoint,
    /// Its values.
    pub values: &'a Values,
    /// The tasks of the step.
    pub tasks: &'a [Task],
    /// The final values of the child runs that have ended well, by their tasks.
    pub children: &'a BTreeMap<TaskId, Values>,
    /// Who evaluates heavy expressions.
    pub evaluator: &'a dyn Evaluator,
}

/// The channels that it would change as things stand, with their values then: by the tasks that have succeeded, as if the
/// others had been skipped. Those that failed stand in lists of results.
pub fn so_far(step: &Incomplete<'_>) -> Result<Values, Failure> {
    let tasks: Vec<Task> = step.tasks.iter().map(|task| as_if_skipped(task, false)).collect();
    // A failure that would have ended the run says nothing of what the others have done.
    let only_good: Vec<Task> = step.tasks.iter().map(|task| as_if_skipped(task, true)).collect();
    changed(step, &tasks, true)
        .or_else(|_| changed(step, &only_good, true))
        .or_else(|_| changed(step, &only_good, false))
}

/// With `spans`, items that are dealt with together are. One that has too few successes fails as a whole, though.
fn changed(step: &Incomplete<'_>, tasks: &[Task], spans: bool) -> Result<Values, Failure> {
    let spec = RunSpec::default();
    let input = PlanInput {
        graph: step.graph,
        run: step.run,
        depth: 0,
        spec: &spec,
        checkpoint: Some(step.checkpoint),
        values: step.values,
        tasks,
        resumed: false,
        base: None,
        children: step.children,
        now: Timestamp::from_millis(0),
        run_deadline: None,
        evaluator: step.evaluator,
    };
    let mut settled: Vec<_> = tasks.iter().filter_map(|task| Some((task, task.outcome.as_ref()?))).collect();
    settled.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
    let judged: Vec<Judged<'_>> = if spans {
        fan_out::judge_all(&input, step.checkpoint, &settled)?
    } else {
        settled.iter().map(|(task, outcome)| judge(&input, task, outcome)).collect::<Result<_, _>>()?
    };
    let writes: Vec<_> = judged.iter().map(|judged| (&judged.task.id, judged.writes.as_ref())).collect();
    Ok(state::update(&step.graph.state, step.run, step.values, &writes)?)
}

fn as_if_skipped(task: &Task, even_if_failed: bool) -> Task {
    let (partial, is_kept) = match &task.outcome {
        Some(Outcome::Stopped { partial, .. }) => (partial.clone(), false),
        Some(outcome) => (None, !(even_if_failed && outcome.is_bad())),
        None => (None, false),
    };
    if is_kept {
        return task.clone();
    }
    let why = Some("before its end".to_owned());
    Task { outcome: Some(Outcome::Stopped { partial, skipped: true, why }), ..task.clone() }
}
