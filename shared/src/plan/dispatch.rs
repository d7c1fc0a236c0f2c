//! The tasks of a step: one for each visit and each item of what is due. It decides nothing about which nodes are due.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::child;
use super::edges::{self, Asked};
use super::fan_out;
use super::input::{Base, PlanInput};
use crate::checkpoint::{Due, Values};
use crate::expr::{Evaluator, Program, Scope};
use crate::graph::{InterruptNode, Node, NodeKind, OnFailure, SetNode, canonical};
use crate::id::{ChannelName, GraphHash, NodeName, Step, TaskId};
use crate::limits::FAN_OUT_MAX;
use crate::outcome::{Failure, FailureKind, Outcome, OutcomeKind};
use crate::task::{Dispatch, Group, NewTask};

/// One task to be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Visit {
    pub(super) node: NodeName,
    /// Of its item, counted over all ways in which the node is due.
    pub(super) number: u32,
    /// The item, if it is one of a fan-out.
    item: Option<Value>,
    /// The place of that fan-out's edge.
    pub(super) edge: Option<usize>,
}

/// What the unfinished step of another run had settled well, by node and item.
#[derive(Debug, Clone, Default)]
pub(super) struct Carried(BTreeMap<(NodeName, u32), (Option<Value>, Outcome)>);

impl Carried {
    /// The outcomes that need not be done again, each with the item it was made from.
    pub(super) fn of(input: &PlanInput<'_>, base: &Base) -> Self {
        let succeeded: BTreeMap<_, _> = base
            .settled
            .iter()
            .filter_map(|task| Some((&task.id, task.outcome.as_ref()?)))
            .filter(|(_, outcome)| outcome.kind() == OutcomeKind::Succeeded)
            .map(|(id, outcome)| ((id.node.clone(), id.item), outcome.clone()))
            .collect();
        if succeeded.is_empty() {
            return Self::default();
        }
        // What cannot be listed on the old values is done again.
        let visits = visits(&Asked::of(input, &base.values), &base.checkpoint.next).unwrap_or_default();
        let carried = visits.into_iter().filter_map(|Visit { node, number, item, .. }| {
            let place = (node, number);
            let outcome = succeeded.get(&place)?.clone();
            Some((place, (item, outcome)))
        });
        Self(carried.collect())
    }

    /// The outcome of a visit, if it was made from the same item.
    fn outcome(&self, visit: &Visit) -> Option<Outcome> {
        let (old_item, outcome) = self.0.get(&(visit.node.clone(), visit.number))?;
        (*old_item == visit.item).then(|| outcome.clone())
    }
}

/// The tasks of a step, and those of them that are dealt with together.
pub(super) fn tasks(
    input: &PlanInput<'_>,
    step: Step,
    due: &[Due],
    values: &Values,
    carried: &Carried,
) -> Result<(Vec<NewTask>, Vec<Group>), Failure> {
    let mut maker = Maker { input, step, values, reads: BTreeMap::new(), hashes: BTreeMap::new() };
    let visits = visits(&Asked::of(input, values), due)?;
    let spans = fan_out::spans(input.graph, &visits);
    let make = |visit: Visit| {
        let done = carried.outcome(&visit);
        maker.task(visit, done)
    };
    let mut tasks = visits.into_iter().map(make).collect::<Result<Vec<_>, _>>()?;
    let groups = fan_out::arrange(&spans, &mut tasks)?;
    Ok((tasks, groups))
}

/// Every visit, by node, then number: a plain visit first, then the items of each `for_each` edge in the order of the edges.
pub(super) fn visits(asked: &Asked<'_>, due: &[Due]) -> Result<Vec<Visit>, Failure> {
    let mut by_node: BTreeMap<&NodeName, (bool, BTreeSet<usize>)> = BTreeMap::new();
    for due in due {
        let (plain, for_each) = by_node.entry(&due.node).or_default();
        *plain |= due.for_each.is_empty();
        for_each.extend(&due.for_each);
    }
    let mut visits = Vec::new();
    for (node, (plain, for_each)) in by_node {
        let mut items: Vec<(Option<Value>, Option<usize>)> = plain.then_some((None, None)).into_iter().collect();
        for place in for_each {
            let list =
                edges::list(edges::fan_out(asked.graph, place, node)?, &Scope::of(asked.values, asked.evaluator))?;
            items.extend(list.into_iter().map(|item| (Some(item), Some(place))));
            check_width(visits.len() + items.len(), node)?;
        }
        visits.extend((0..).zip(items).map(|(number, (item, edge))| Visit { node: node.clone(), number, item, edge }));
    }
    Ok(visits)
}

fn check_width(width: usize, node: &NodeName) -> Result<(), Failure> {
    if width <= FAN_OUT_MAX {
        return Ok(());
    }
    let message = format!(
        "fanning out to node `{node}` would make {width} tasks in one step, more than {FAN_OUT_MAX}: give it lists of items, or fan out in rounds"
    );
    Err(Failure::new(FailureKind::TooLarge, message).at(node))
}

struct Maker<'a> {
    input: &'a PlanInput<'a>,
    step: Step,
    values: &'a Values,
    /// The channels that the expressions of each `set` node use, found once a step and not once an item.
    reads: BTreeMap<NodeName, Option<Vec<ChannelName>>>,
    /// The hash of each child's graph, likewise.
    hashes: BTreeMap<NodeName, GraphHash>,
}

impl Maker<'_> {
    fn task(&mut self, visit: Visit, done: Option<Outcome>) -> Result<NewTask, Failure> {
        let Visit { node: name, number, item, .. } = visit;
        let Some(node) = self.input.graph.nodes.get(&name) else {
            let message = edges::known(self.input.graph, name.as_str(), "the checkpoint has due the node")
                .err()
                .unwrap_or_default();
            return Err(Failure::new(FailureKind::BadInput, message));
        };
        let id = TaskId { step: self.step, node: name, item: number };
        let reads = self.reads(&id.node, node, item.is_some());
        let dispatch = match done {
            Some(outcome) => Dispatch::Settled { outcome },
            None => self.dispatch(&id, node, item.as_ref())?,
        };
        let policy = &node.policy;
        Ok(NewTask {
            id,
            dispatch,
            timeout: policy.timeout(),
            queue_timeout: policy.queue_timeout(),
            attempt_timeout: policy.attempt_timeout(),
            grace: policy.grace(),
            max_crashes: policy.max_crashes(),
            fails_run: policy.on_failure == OnFailure::Fail,
            item,
            reads,
            group: None,
        })
    }

    fn dispatch(&mut self, id: &TaskId, node: &Node, item: Option<&Value>) -> Result<Dispatch, Failure> {
        let scope = scope(self.values, self.input.evaluator, id, item);
        match &node.kind {
            NodeKind::Rust(_)
            | NodeKind::Exec(_)
            | NodeKind::Http(_)
            | NodeKind::Llm(_)
            | NodeKind::VectorSearch(_)
            | NodeKind::VectorUpsert(_)
            | NodeKind::Set(_) => Ok(Dispatch::Queue { pool: node.pool.clone(), priority: self.input.spec.priority }),
            NodeKind::Wait(wait) => Ok(Dispatch::Wait { length: wait.length }),
            NodeKind::Interrupt(interrupt) => Ok(Dispatch::Human { payload: payload(id, interrupt, &scope)? }),
            NodeKind::Graph(graph) => {
                let hash = self.hashes.entry(id.node.clone()).or_insert_with(|| canonical::hash(&graph.graph)).clone();
                let place = child::Place { input: self.input, task: id, node, graph, hash };
                Ok(Dispatch::Child { run: Box::new(child::run(&place, self.values, &scope)?) })
            }
        }
    }

    fn reads(&mut self, name: &NodeName, node: &Node, fanned_out: bool) -> Option<Vec<ChannelName>> {
        match (&node.reads, &node.kind) {
            (Some(reads), _) => Some(reads.clone()),
            (
                None,
                kind @ (NodeKind::Set(_)
                | NodeKind::Http(_)
                | NodeKind::Llm(_)
                | NodeKind::VectorSearch(_)
                | NodeKind::VectorUpsert(_)),
            ) => self.named(name, || names_used(kind)),
            (
                None,
                NodeKind::Rust(_) | NodeKind::Exec(_) | NodeKind::Wait(_) | NodeKind::Interrupt(_) | NodeKind::Graph(_),
            ) => fanned_out.then(Vec::new),
        }
    }

    /// The channels among the names that a node uses; all where they are not known, which its worker will report.
    fn named(&mut self, node: &NodeName, used: impl FnOnce() -> Option<BTreeSet<String>>) -> Option<Vec<ChannelName>> {
        let channels = &self.input.graph.state;
        let named = || {
            let used = used()?.into_iter().filter(|name| channels.contains_key(name.as_str()));
            used.map(|name| ChannelName::new(name).ok()).collect()
        };
        self.reads.entry(node.clone()).or_insert_with(named).clone()
    }
}

/// The names that a task's expressions can use.
fn scope<'a>(values: &'a Values, evaluator: &'a dyn Evaluator, id: &TaskId, item: Option<&'a Value>) -> Scope<'a> {
    let scope = Scope::of(values, evaluator);
    match item {
        Some(item) => scope.with_item(item, usize::try_from(id.item).unwrap_or(usize::MAX)),
        None => scope,
    }
}

fn payload(id: &TaskId, interrupt: &InterruptNode, scope: &Scope<'_>) -> Result<Value, Failure> {
    let Some(show) = &interrupt.show else { return Ok(Value::Null) };
    Program::compile(show.0.as_str())
        .and_then(|program| program.eval(scope))
        .map_err(|source| edges::expression_failure(format!("its `show` (nodes.{}.show) failed", id.node), source))
        .map_err(|failure| failure.at(&id.node))
}

/// The names that a node's own expressions use; nothing if it is handed the state as it is, or if one cannot be read.
pub(super) fn names_used(kind: &NodeKind) -> Option<BTreeSet<String>> {
    match kind {
        NodeKind::Set(set) => names(set),
        NodeKind::Http(http) => http.names(),
        NodeKind::Llm(llm) => llm.names(),
        NodeKind::VectorSearch(search) => search.names(),
        NodeKind::VectorUpsert(upsert) => upsert.names(),
        NodeKind::Rust(_) | NodeKind::Exec(_) | NodeKind::Wait(_) | NodeKind::Interrupt(_) | NodeKind::Graph(_) => None,
    }
}

/// The names that a `set` node's expressions use; nothing if one of them cannot be read.
fn names(set: &SetNode) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for expression in set.set.values() {
        names.extend(Program::compile(expression.0.as_str()).ok()?.names().map(str::to_owned));
    }
    Some(names)
}
