//! Fan-outs whose items are dealt with together: how their tasks take turns, and what their outcomes come to.
//!
//! Which items belong together is found anew from the edges and the values of the checkpoint before, so that nothing about
//! it is kept: the same checkpoint gives the same spans.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::dispatch::{Visit, visits};
use super::edges::Asked;
use super::input::PlanInput;
use super::judge::{Judged, judge, resolve, went_badly, without_writes};
use crate::checkpoint::Checkpoint;
use crate::graph::{FanOut, FanOutPolicy, Graph, Node};
use crate::id::{ChannelName, NodeName};
use crate::outcome::{Failure, FailureKind, Outcome, OutcomeKind, Writes};
use crate::task::{Dispatch, Group, NewTask, Task};

/// The items of one fan-out that says how they are dealt with together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Span<'a> {
    rules: &'a FanOut,
    node: NodeName,
    first: u32,
    count: u32,
}

impl Span<'_> {
    fn has(&self, node: &NodeName, item: u32) -> bool {
        self.node == *node && (self.first..self.first.saturating_add(self.count)).contains(&item)
    }
}

/// The spans among visits, in their order.
pub(super) fn spans<'a>(graph: &'a Graph, visits: &[Visit]) -> Vec<Span<'a>> {
    let mut spans: Vec<Span<'a>> = Vec::new();
    let mut last = None;
    for visit in visits {
        let rules = visit.edge.and_then(|place| graph.edges.get(place)).map(|edge| &edge.fan_out);
        let Some(rules) = rules.filter(|rules| !rules.is_plain()) else { continue };
        match spans.last_mut().filter(|span| last == visit.edge && span.node == visit.node) {
            Some(span) => span.count += 1,
            None => spans.push(Span { rules, node: visit.node.clone(), first: visit.number, count: 1 }),
        }
        last = visit.edge;
    }
    spans
}

/// Gives the tasks of spans their turns, and the store what it needs to decide them early. The error ends the run.
pub(super) fn arrange(spans: &[Span<'_>], tasks: &mut [NewTask]) -> Result<Vec<Group>, Failure> {
    let mut groups = Vec::new();
    for span in spans {
        let mut items: Vec<_> = tasks.iter_mut().filter(|task| span.has(&task.id.node, task.id.item)).collect();
        let need = need(span, &items)?;
        let policy = span.rules.policy;
        for task in &mut items {
            task.fails_run &= matches!(policy, FanOutPolicy::Each | FanOutPolicy::FailFast);
        }
        if need == Some(0) {
            for task in &mut items {
                skip(task);
            }
            continue;
        }
        let may_fail = match policy {
            FanOutPolicy::Each | FanOutPolicy::Collect => None,
            FanOutPolicy::FailFast => Some(0),
            FanOutPolicy::Quorum(_) | FanOutPolicy::Race => policy.need().map(|need| span.count - need),
        };
        if span.rules.concurrency.is_none() && need.is_none() && may_fail.is_none() {
            continue;
        }
        let place = u32::try_from(groups.len()).ok();
        let mut turns = span.rules.concurrency.unwrap_or(u32::MAX);
        for task in &mut items {
            task.group = place;
            let pending = match &task.dispatch {
                Dispatch::Queue { pool, priority } => Dispatch::Pending { pool: pool.clone(), priority: *priority },
                Dispatch::Child { run } => Dispatch::PendingChild { run: run.clone() },
                Dispatch::Pending { .. }
                | Dispatch::PendingChild { .. }
                | Dispatch::Wait { .. }
                | Dispatch::Human { .. }
                | Dispatch::Settled { .. } => continue,
            };
            if turns == 0 {
                task.dispatch = pending;
            }
            turns = turns.saturating_sub(1);
        }
        groups.push(Group { node: span.node.clone(), first: span.first, count: span.count, need, may_fail });
    }
    Ok(groups)
}

/// How many successes are needed beside those that were carried over from another run.
fn need(span: &Span<'_>, items: &[&mut NewTask]) -> Result<Option<u32>, Failure> {
    let Some(need) = span.rules.policy.need() else { return Ok(None) };
    if need > span.count {
        let message = format!(
            "its fan-out ({}) needs more successes than it has items, {}",
            span.rules.policy.show(),
            span.count
        );
        return Err(Failure::new(FailureKind::FanOut, message).at(&span.node));
    }
    let is_done = |task: &&&mut NewTask| matches!(&task.dispatch, Dispatch::Settled { outcome } if !outcome.is_bad());
    let done = u32::try_from(items.iter().filter(is_done).count()).unwrap_or(u32::MAX);
    Ok(Some(need.saturating_sub(done)))
}

fn skip(task: &mut NewTask) {
    if !matches!(task.dispatch, Dispatch::Settled { .. }) {
        let why = Some([Group::BY, Group::ENOUGH].concat());
        task.dispatch = Dispatch::Settled { outcome: Outcome::Stopped { partial: None, skipped: true, why } };
    }
}

/// Judges the outcomes of a step. The error is a failure that ends the run.
pub(super) fn judge_all<'a>(
    input: &PlanInput<'a>,
    before: &Checkpoint,
    settled: &[(&'a Task, &'a Outcome)],
) -> Result<Vec<Judged<'a>>, Failure> {
    let edges = &input.graph.edges;
    let has_rules = |place: &usize| edges.get(*place).is_some_and(|edge| !edge.fan_out.is_plain());
    if !before.next.iter().flat_map(|due| &due.for_each).any(has_rules) {
        return settled.iter().map(|(task, outcome)| judge(input, task, outcome)).collect();
    }
    let spans = spans(input.graph, &visits(&Asked::of(input, input.values), &before.next)?);
    let is_in = |span: &Span<'_>, task: &Task| span.has(&task.id.node, task.id.item);
    let mut judged = Vec::new();
    for (task, outcome) in settled.iter().filter(|(task, _)| !spans.iter().any(|span| is_in(span, task))) {
        judged.push(judge(input, task, outcome)?);
    }
    for span in &spans {
        let items: Vec<_> = settled.iter().filter(|(task, _)| is_in(span, task)).copied().collect();
        judged.extend(judge_span(input, span, &items)?);
    }
    judged.sort_by(|one, other| one.task.id.cmp(&other.task.id));
    Ok(judged)
}

fn judge_span<'a>(
    input: &PlanInput<'a>,
    span: &Span<'_>,
    items: &[(&'a Task, &'a Outcome)],
) -> Result<Vec<Judged<'a>>, Failure> {
    let Some(node) = input.graph.nodes.get(&span.node) else {
        return items.iter().map(|(task, outcome)| judge(input, task, outcome)).collect();
    };
    let mut resolved = Vec::with_capacity(items.len());
    for (task, outcome) in items {
        let result = resolve(input, task, outcome)?.map_err(|failure| failure.at(&span.node));
        resolved.push(Resolved { task, outcome, result });
    }
    let policy = span.rules.policy;
    let blamed = blamed(span, &resolved);
    let mut judged: Vec<_> = resolved.into_iter().map(|item| tolerate(item, policy)).collect();
    for (place, failure) in blamed {
        let (task, outcome) = items[place];
        judged[place] = went_badly(input, node, failure, without_writes(task, outcome))?;
    }
    if let Some(channel) = &span.rules.results {
        collect(channel, span, node, &mut judged);
    }
    Ok(judged)
}

/// An item of a span, and what it comes to by itself.
#[derive(Debug)]
struct Resolved<'a> {
    task: &'a Task,
    outcome: &'a Outcome,
    result: Result<Judged<'a>, Failure>,
}

/// An item whose failure is nobody's business, or whose success is its own.
fn tolerate(item: Resolved<'_>, policy: FanOutPolicy) -> Judged<'_> {
    match item.result {
        Ok(judged) => judged,
        Err(failure) => {
            Judged { failure: Some(failure), handled: Some(policy.show()), ..without_writes(item.task, item.outcome) }
        }
    }
}

/// The items for which the node's `on_failure` holds, by place, each with the failure.
fn blamed(span: &Span<'_>, items: &[Resolved<'_>]) -> Vec<(usize, Failure)> {
    let failed = || {
        let failure = |(place, item): (usize, &Resolved<'_>)| Some((place, item.result.as_ref().err()?.clone()));
        items.iter().enumerate().filter_map(failure)
    };
    match span.rules.policy {
        FanOutPolicy::Each => failed().collect(),
        FanOutPolicy::Collect => Vec::new(),
        FanOutPolicy::FailFast => failed().take(1).collect(),
        FanOutPolicy::Quorum(need) => too_few(span, items, need, failed().next()),
        FanOutPolicy::Race => too_few(span, items, 1, failed().next()),
    }
}

/// The whole of a fan-out has failed where fewer items succeeded than are needed: its first failure stands for it.
fn too_few(
    span: &Span<'_>,
    items: &[Resolved<'_>],
    need: u32,
    first: Option<(usize, Failure)>,
) -> Vec<(usize, Failure)> {
    let is_good = |item: &&Resolved<'_>| item.result.is_ok() && !is_skipped(item.outcome);
    let good = items.iter().filter(is_good).count();
    if usize::try_from(need).is_ok_and(|need| good >= need) {
        return Vec::new();
    }
    let Span { rules, count, node, .. } = span;
    let message =
        format!("{good} of its {count} items succeeded, fewer than the {need} needed ({})", rules.policy.show());
    let mut failure = Failure::new(FailureKind::FanOut, message).at(node);
    let place = first.map_or(0, |(place, first)| {
        failure.chain.push(format!("the first failure: {}", Failure { node: None, ..first }));
        place
    });
    vec![(place, failure)]
}

const fn is_skipped(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Stopped { skipped: true, .. })
}

/// Puts what the items wrote into one list, in their order, in the place of their own writes.
fn collect(channel: &ChannelName, span: &Span<'_>, node: &Node, judged: &mut [Judged<'_>]) {
    let entries: Vec<Value> = judged.iter().map(|judged| entry(span, node, judged)).collect();
    for judged in judged.iter_mut() {
        judged.writes = Cow::Owned(Writes::new());
    }
    // In history it is the first that went well, if one did, that has written them.
    let writer = judged.iter().position(|judged| judged.outcome.kind() == OutcomeKind::Succeeded).unwrap_or(0);
    if let Some(first) = judged.get_mut(writer) {
        first.writes = Cow::Owned(BTreeMap::from([(channel.clone(), Value::Array(entries))]));
    }
}

/// One item's result: its number in the list, how it ended, and what it gave or why it did not.
fn entry(span: &Span<'_>, node: &Node, judged: &Judged<'_>) -> Value {
    let mut entry = serde_json::Map::new();
    entry.insert("item".to_owned(), (judged.task.id.item - span.first).into());
    entry.insert("outcome".to_owned(), judged.outcome.kind().name().into());
    if !judged.writes.is_empty() {
        let whole = || judged.writes.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        let value = match node.into.as_ref().and_then(|into| judged.writes.get(into)) {
            Some(value) => value.clone(),
            None => Value::Object(whole()),
        };
        entry.insert("value".to_owned(), value);
    }
    if let Outcome::Stopped { partial: Some(partial), .. } = judged.outcome {
        entry.insert("partial".to_owned(), partial.clone());
    }
    if let Some(failure) = &judged.failure {
        let told = Failure { node: None, ..failure.clone() };
        entry.insert("failure".to_owned(), json!({"kind": failure.kind.name(), "message": told.to_string()}));
    }
    Value::Object(entry)
}
