//! A step whose tasks have settled: their writes, the checkpoint, and what is due after it.

use std::collections::BTreeSet;

use super::decide::{Pause, follow, step_after};
use super::dispatch::Carried;
use super::edges::{self, Arrivals, Asked};
use super::error::Error;
use super::fan_out;
use super::input::PlanInput;
use super::judge::{FAILURE_CHANNEL, Judged};
use super::rounds::{self, Done};
use super::then::{Planned, Then};
use crate::checkpoint::{CHECKPOINT_FORMAT, Checkpoint, Ran, Source};
use crate::graph::Reducer;
use crate::id::Step;
use crate::outcome::{Failure, Writes};
use crate::state;
use crate::task::{Task, TaskState};

/// Completes the step after `before`: or fails it, or waits for the humans that it waits for.
///
/// A failure leaves `before` as the last checkpoint: with the outcomes that are kept beside it, a run that goes on from
/// there does again only what had not succeeded.
pub(super) fn plan(input: &PlanInput<'_>, before: &Checkpoint) -> Result<Planned, Error> {
    let step = step_after(before.step);
    let tasks = in_order(input, before, step)?;
    let settled: Vec<_> = tasks.iter().filter_map(|task| Some((*task, task.outcome.as_ref()?))).collect();
    let waits = settled.len() < tasks.len();
    Ok(match fan_out::judge_all(input, before, &settled) {
        Err(failure) => Planned::only(Then::from(failure)),
        Ok(_) if waits => Planned::only(Then::Pause { step }),
        Ok(judged) => {
            complete(input, before, step, judged).unwrap_or_else(|failure| Planned::only(Then::from(failure)))
        }
    })
}

/// The tasks by node, then item, once it is certain that they are the step's.
fn in_order<'a>(input: &PlanInput<'a>, before: &Checkpoint, step: Step) -> Result<Vec<&'a Task>, Error> {
    let mut tasks: Vec<_> = input.tasks.iter().collect();
    tasks.sort_by(|one, other| one.id.cmp(&other.id));
    let twice = tasks.windows(2).find(|pair| pair[0].id == pair[1].id).map(|pair| pair[0]);
    if let Some(task) = tasks.iter().copied().find(|task| task.id.step != step).or(twice) {
        return Err(Error::Misplaced { task: task.id.clone(), step });
    }
    if let Some(task) = tasks.iter().find(|task| {
        let human = task.state == TaskState::Human && task.outcome.is_none();
        let settled = task.state == TaskState::Settled && task.outcome.is_some();
        !human && !settled
    }) {
        return Err(Error::NotReady { task: task.id.clone(), state: task.state });
    }
    let there: BTreeSet<_> = tasks.iter().map(|task| &task.id.node).collect();
    match before.next.iter().find(|due| !there.contains(&due.node)) {
        Some(due) => Err(Error::MissingTask { node: due.node.clone(), step }),
        None => Ok(tasks),
    }
}

fn complete(
    input: &PlanInput<'_>,
    before: &Checkpoint,
    step: Step,
    mut judged: Vec<Judged<'_>>,
) -> Result<Planned, Failure> {
    write_failures(input, &mut judged);
    let writes: Vec<_> = judged.iter().map(|judged| (&judged.task.id, judged.writes.as_ref())).collect();
    let mut changed = state::update(&input.graph.state, input.run, input.values, &writes)?;
    let mut values = input.values.clone();
    values.extend(changed.clone());
    let next = edges::from_arrivals(&Asked::of(input, &values), &before.joins, arrivals(&judged))?;
    values.extend(next.emptied.clone());
    changed.extend(next.emptied.clone());
    let mut versions = before.versions.clone();
    versions.extend(changed.keys().map(|channel| (channel.clone(), step)));
    let rounds = rounds::after(input, before, Done { step, changed: &changed, next: &next });
    let ran: Vec<Ran> = judged.iter().map(Judged::ran).collect();
    let checkpoint = Checkpoint {
        format: CHECKPOINT_FORMAT,
        step,
        source: Source::Step,
        versions,
        node_runs: before.node_runs.saturating_add(u64::try_from(ran.len()).unwrap_or(u64::MAX)),
        ran,
        next: next.due,
        joins: next.joins,
        rounds,
    };
    let then = follow(input, &checkpoint, &values, &Carried::default(), Pause::AsAsked);
    Ok(Planned { checkpoint: Some(checkpoint), changed, then })
}

/// Lets the handlers of failures read what failed. Where the channel takes one writer, the first failure in order is
/// written, so that two failures at once are no conflict.
fn write_failures(input: &PlanInput<'_>, judged: &mut [Judged<'_>]) {
    let Some(channel) = input.graph.state.get(FAILURE_CHANNEL) else { return };
    let most = if channel.reducer == Reducer::Last { 1 } else { usize::MAX };
    for judged in judged.iter_mut().filter(|judged| !judged.through).take(most) {
        let writes: Writes = judged.failure_value().into_iter().collect();
        judged.writes.to_mut().extend(writes);
    }
}

/// A node whose failure went to a handler is not passed through, even if others of its items went well.
fn arrivals(judged: &[Judged<'_>]) -> Arrivals {
    let nodes = |through: bool| {
        let wanted = judged.iter().filter(move |judged| judged.through == through);
        wanted.map(|judged| judged.task.id.node.clone())
    };
    let mut through: BTreeSet<_> = nodes(true).collect();
    for node in nodes(false) {
        through.remove(&node);
    }
    Arrivals { through, due: judged.iter().flat_map(|judged| judged.goto.iter().cloned()).collect() }
}
