//! The first plan of a run: checkpoint 0, which is the input applied, or another run's state taken over.

use serde_json::Value;

use super::decide::{Pause, follow};
use super::dispatch::Carried;
use super::edges::{self, Asked, Next};
use super::input::{Base, PlanInput};
use super::then::Planned;
use crate::checkpoint::{CHECKPOINT_FORMAT, Checkpoint, Source, Values};
use crate::graph::Reducer;
use crate::id::{ChannelName, NodeName, Step, TaskId};
use crate::outcome::{Failure, FailureKind};
use crate::rounds::Rounds;
use crate::state::{self, Abandoned};
use crate::submission::Start;

/// The step of the input.
const ORIGIN: Step = Step::new(0);

/// Where a run begins.
struct Beginning {
    source: Source,
    values: Values,
    next: Next,
    carried: Carried,
    pause: Pause,
}

/// Makes checkpoint 0 and what follows it.
pub(super) fn plan(input: &PlanInput<'_>) -> Planned {
    let beginning = match &input.spec.start {
        Start::Fresh => fresh(input),
        Start::From { update, .. } => resumed(input, update),
    };
    let mut beginning = match beginning {
        Ok(beginning) => beginning,
        Err(failure) => return Planned::only(failure.into()),
    };
    beginning.values.append(&mut beginning.next.emptied);
    let checkpoint = Checkpoint {
        format: CHECKPOINT_FORMAT,
        step: ORIGIN,
        source: beginning.source,
        versions: beginning.values.keys().map(|channel| (channel.clone(), ORIGIN)).collect(),
        ran: Vec::new(),
        next: beginning.next.due,
        joins: beginning.next.joins,
        node_runs: 0,
        rounds: Rounds::default(),
    };
    let then = follow(input, &checkpoint, &beginning.values, &beginning.carried, beginning.pause);
    Planned { checkpoint: Some(checkpoint), changed: beginning.values, then }
}

/// At START, over what the graph declares of its thread's state.
fn fresh(input: &PlanInput<'_>) -> Result<Beginning, Failure> {
    let mut values = state::initial(&input.graph.state);
    values.extend(declared(input, input.base));
    let changed = state::update(&input.graph.state, input.run, &values, &[(&origin("input"), &input.spec.input)])?;
    values.extend(changed);
    if let Some(base) = input.base {
        answer_abandoned(input, base, &mut values)?;
    }
    let next = edges::from_start(&Asked::of(input, &values))?;
    Ok(Beginning { source: Source::Input, values, next, carried: Carried::default(), pause: Pause::AsAsked })
}

/// Answers the calls of tools that the run before has left open on the thread, so that a model takes the conversation.
///
/// If it was stopped or failed, what was due there is gone, and with it whoever was to answer. If it ended well, it meant
/// to leave the last calls open, for who started this run: only those are answered after which the conversation went on.
fn answer_abandoned(input: &PlanInput<'_>, base: &Base, values: &mut Values) -> Result<(), Failure> {
    let which = if base.checkpoint.next.is_empty() { Abandoned::PassedOver } else { Abandoned::All };
    for (name, _) in input.graph.state.iter().filter(|(_, channel)| channel.reducer == Reducer::Messages) {
        if let Some(Value::Array(messages)) = values.get_mut(name) {
            state::answer_abandoned(messages, which, &base.run, input.run);
        }
    }
    Ok(state::check(values, &Values::new())?)
}

/// At a checkpoint, with what was due there. There is no pause before the first step: it is where the run was let go on.
fn resumed(input: &PlanInput<'_>, update: &Values) -> Result<Beginning, Failure> {
    let bad = |message: &str| Failure::new(FailureKind::BadInput, message);
    let base = input.base.ok_or_else(|| bad("the checkpoint that the run is to go on from is not there"))?;
    if !input.spec.input.is_empty() {
        return Err(bad(
            "a run that goes on from a checkpoint takes no input, since that had its effect before: set values with `update`",
        ));
    }
    let mut values = state::initial(&input.graph.state);
    values.extend(declared(input, Some(base)));
    state::replace(&input.graph.state, &mut values, update, &origin("update"))?;
    let next = edges::from_checkpoint(&Asked::of(input, &values), &base.checkpoint)?;
    let source = Source::Resumed { run: base.run.clone(), step: base.checkpoint.step };
    Ok(Beginning { source, values, next, carried: Carried::of(input, base), pause: Pause::Never })
}

fn declared<'a>(
    input: &PlanInput<'a>,
    base: Option<&'a Base>,
) -> impl Iterator<Item = (ChannelName, serde_json::Value)> + use<'a> {
    let channels = &input.graph.state;
    base.into_iter()
        .flat_map(|base| &base.values)
        .filter(|(channel, _)| channels.contains_key(*channel))
        .map(|(channel, value)| (channel.clone(), value.clone()))
}

/// Who wrote what no task wrote.
fn origin(what: &'static str) -> TaskId {
    TaskId { step: ORIGIN, node: NodeName::new(what).expect("`input` and `update` are names"), item: 0 }
}
