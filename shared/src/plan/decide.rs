//! The whole decision, from its parts: which of the four situations a run is in, and what follows a checkpoint.

use super::complete;
use super::dispatch::{self, Carried};
use super::error::Error;
use super::first;
use super::input::PlanInput;
use super::rounds;
use super::then::{Planned, Then};
use crate::checkpoint::{CHECKPOINT_FORMAT, Checkpoint, Values};
use crate::id::Step;
use crate::outcome::{Failure, FailureKind};
use crate::stop::{Cause, NewOrder};
use crate::submission::RunSpec;

/// Decides what comes next for a run.
///
/// Before the first plan: checkpoint 0, and step 1. With a step in flight: its checkpoint, and the step after it; or a pause,
/// if only humans are waited for. At a pause between two steps: the step to come, once `resumed`.
///
/// Fails only where the records do not fit this build or each other; whatever is wrong with the run itself is a plan
/// that fails the run.
pub fn plan(input: &PlanInput<'_>) -> Result<Planned, Error> {
    for checkpoint in input.checkpoint.into_iter().chain(input.base.map(|base| &base.checkpoint)) {
        check_format(checkpoint)?;
    }
    match input.checkpoint {
        None => Ok(first::plan(input)),
        Some(checkpoint) if input.tasks.is_empty() => between_steps(input, checkpoint),
        Some(checkpoint) => complete::plan(input, checkpoint),
    }
}

const fn check_format(checkpoint: &Checkpoint) -> Result<(), Error> {
    if checkpoint.format > CHECKPOINT_FORMAT {
        return Err(Error::Format { step: checkpoint.step, found: checkpoint.format });
    }
    Ok(())
}

/// No task is in flight: a human let the run go on, or is still to do so. Tasks are never made anew without that, since
/// the step in flight could have them, and be out of sight.
fn between_steps(input: &PlanInput<'_>, checkpoint: &Checkpoint) -> Result<Planned, Error> {
    let step = step_after(checkpoint.step);
    match checkpoint.next.first() {
        Some(due) if !input.resumed && !pauses(input.spec, checkpoint) => {
            Err(Error::MissingTask { node: due.node.clone(), step })
        }
        Some(_) if !input.resumed => Ok(Planned::only(Then::Pause { step })),
        Some(_) | None => Ok(Planned::only(follow(input, checkpoint, input.values, &Carried::default(), Pause::Never))),
    }
}

/// Whether a pause between two steps is due where the run's spec asks for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// Yes.
    AsAsked,
    /// No: a human has just let the run go on from here.
    Never,
}

/// What follows a checkpoint.
pub(super) fn follow(
    input: &PlanInput<'_>,
    checkpoint: &Checkpoint,
    values: &Values,
    carried: &Carried,
    pause: Pause,
) -> Then {
    if checkpoint.next.is_empty() {
        return Then::Succeed;
    }
    let step = step_after(checkpoint.step);
    let max_steps = input.spec.max_steps.unwrap_or(input.graph.limits.max_steps);
    if step.get() > max_steps {
        return exhausted(Cause::Loop, loop_message(max_steps, checkpoint));
    }
    if let Some(message) = rounds::too_often(input.graph, checkpoint) {
        return exhausted(Cause::Loop, message);
    }
    let (tasks, groups) = match dispatch::tasks(input, step, &checkpoint.next, values, carried) {
        Ok(made) => made,
        Err(failure) => return failure.into(),
    };
    let due = u64::try_from(tasks.len()).unwrap_or(u64::MAX);
    let node_runs = input.graph.limits.node_runs;
    if checkpoint.node_runs.saturating_add(due) > node_runs {
        return exhausted(Cause::Budget, budget_message(node_runs, checkpoint.node_runs, due));
    }
    if tasks.is_empty() {
        return Then::Succeed;
    }
    if pause == Pause::AsAsked && pauses(input.spec, checkpoint) {
        return Then::Pause { step };
    }
    Then::Step { step, tasks, groups }
}

/// The step after this one. The last number there is follows itself, and is far above every limit.
pub(super) const fn step_after(step: Step) -> Step {
    Step::new(step.get().saturating_add(1))
}

pub(super) fn pauses(spec: &RunSpec, checkpoint: &Checkpoint) -> bool {
    checkpoint.next.iter().any(|due| spec.interrupt_before.contains(&due.node))
        || checkpoint.ran.iter().any(|ran| spec.interrupt_after.contains(&ran.task.node))
}

fn exhausted(cause: Cause, message: String) -> Then {
    let order =
        NewOrder { cause, reason: Some(message.clone()), actor: "scheduler".to_owned(), grace: None, force: false };
    Then::Fail { failure: Failure::new(FailureKind::Exhausted, message), order: Some(order) }
}

fn loop_message(max_steps: u64, checkpoint: &Checkpoint) -> String {
    let mut nodes: Vec<_> = checkpoint.next.iter().map(|due| format!("`{}`", due.node)).collect();
    nodes.dedup();
    let more = nodes.len().saturating_sub(5);
    nodes.truncate(5);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!(
        "the run has taken {} steps, and {}{more} would be due in another: it goes round without an end, or `max_steps` ({max_steps}) is too low",
        checkpoint.step,
        nodes.join(", ")
    )
}

fn budget_message(node_runs: u64, so_far: u64, due: u64) -> String {
    format!(
        "the run has run {so_far} nodes, and {due} more are due: that is over its budget, `node_runs` ({node_runs})"
    )
}
