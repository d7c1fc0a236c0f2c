//! Which nodes are due next: the edges of what has arrived, asked on the new state. It makes no tasks.
//!
//! A `for_each` over an empty list makes no task, and would end the branch without a word. So its target counts as
//! having run with no items: unless it is due otherwise, its own edges are followed at once, each node once at most, and the
//! list of its results is an empty one, whatever an earlier round has left there.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::input::PlanInput;
use crate::checkpoint::{Checkpoint, Due, Values};
use crate::closest::closest;
use crate::expr::{self, Evaluator, Program, Scope};
use crate::graph::{Condition, END, Edge, EdgeTarget, Expression, Graph, Reducer, START};
use crate::id::{ChannelName, NodeName};
use crate::outcome::{Failure, FailureKind};

/// What is due next, and the joins that wait.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Next {
    /// By node; a node's plain visit before its fan-out.
    pub(super) due: Vec<Due>,
    /// By edge.
    pub(super) joins: BTreeMap<usize, BTreeSet<NodeName>>,
    /// The lists of results of fan-outs over nothing, which are part of the state then.
    pub(super) emptied: Values,
}

/// What a step has led to, before its edges are asked.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Nodes whose edges are followed.
    pub(super) through: BTreeSet<NodeName>,
    /// Nodes that are due without an edge: a task's `goto`, or a failure's handler.
    pub(super) due: BTreeSet<NodeName>,
}

/// What the edges are asked on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) graph: &'a Graph,
    pub(super) values: &'a Values,
    pub(super) evaluator: &'a dyn Evaluator,
}

impl<'a> Asked<'a> {
    /// These values, in the graph of a plan.
    pub(super) const fn of(input: &PlanInput<'a>, values: &'a Values) -> Self {
        Self { graph: input.graph, values, evaluator: input.evaluator }
    }
}

/// From START.
pub(super) fn from_start(asked: &Asked<'_>) -> Result<Next, Failure> {
    let mut walk = Walk::new(asked, BTreeMap::new());
    let start = walk.offered(&BTreeSet::new(), true);
    let passed = walk.take_all(&start)?;
    walk.run(BTreeSet::new(), passed)
}

/// From the nodes that have run.
pub(super) fn from_arrivals(
    asked: &Asked<'_>,
    joins: &BTreeMap<usize, BTreeSet<NodeName>>,
    arrivals: Arrivals,
) -> Result<Next, Failure> {
    let mut walk = Walk::new(asked, joins.clone());
    for node in &arrivals.due {
        walk.visit(node)?;
    }
    let offered = walk.offered(&arrivals.through, false);
    let passed = walk.take_all(&offered)?;
    walk.run(arrivals.through, passed)
}

/// What another run's checkpoint had due, on values that may have been changed since, in a graph that may have too.
pub(super) fn from_checkpoint(asked: &Asked<'_>, checkpoint: &Checkpoint) -> Result<Next, Failure> {
    let mut walk = Walk::new(asked, checkpoint.joins.clone());
    let mut passed = BTreeSet::new();
    for due in &checkpoint.next {
        if due.for_each.is_empty() {
            walk.visit(&due.node)?;
        }
        for place in &due.for_each {
            fan_out(asked.graph, *place, &due.node)?;
            passed.extend(walk.take(*place)?);
        }
    }
    walk.run(BTreeSet::new(), passed)
}

/// The `for_each` edge at this place, which leads to this node, and its expression.
pub(super) fn fan_out<'a>(
    graph: &'a Graph,
    place: usize,
    node: &NodeName,
) -> Result<(&'a Edge, &'a Expression), Failure> {
    graph
        .edges
        .get(place)
        .filter(|edge| edge.to == EdgeTarget::Node(node.clone()))
        .and_then(|edge| Some((edge, edge.for_each.as_ref()?)))
        .ok_or_else(|| {
            let message = format!(
                "node `{node}` is due by edge number {place}, which is no `for_each` edge to it in this graph: go on with the graph that the checkpoint was made with"
            );
            Failure::new(FailureKind::BadInput, message)
        })
}

/// The list of a `for_each` edge.
pub(super) fn list((edge, expression): (&Edge, &Expression), scope: &Scope<'_>) -> Result<Vec<Value>, Failure> {
    Program::compile(expression.0.as_str())
        .and_then(|program| program.eval_list(scope))
        .map_err(|source| expression_failure(format!("the `for_each` of {} failed", name(edge)), source))
}

/// A node of the graph, or a failure that names the one that was probably meant.
pub(super) fn known<'a>(graph: &'a Graph, name: &str, what: &str) -> Result<&'a NodeName, String> {
    if let Some((node, _)) = graph.nodes.get_key_value(name) {
        return Ok(node);
    }
    let hint = closest(name, graph.nodes.keys()).map(|node| format!(": did you mean `{node}`?")).unwrap_or_default();
    Err(format!("{what} `{name}`, which the graph does not have{hint}"))
}

/// A failure of an expression of the graph.
pub(super) fn expression_failure(place: String, source: expr::Error) -> Failure {
    Failure::from_error(FailureKind::Expression, &AtPlace { place, source })
}

/// An expression's error with the place of the expression.
#[derive(Debug, thiserror::Error)]
#[error("{place}")]
struct AtPlace {
    place: String,
    source: expr::Error,
}

/// An edge, for people, as a file has it. Which of several between the same nodes is meant, its expression tells.
pub(super) fn name(edge: &Edge) -> String {
    let from: Vec<_> = edge.from.iter().map(NodeName::as_str).collect();
    let from = if from.is_empty() { START.to_owned() } else { from.join(" & ") };
    let to = match &edge.to {
        EdgeTarget::Node(node) => node.as_str(),
        EdgeTarget::End => END,
    };
    format!("the edge `{from} -> {to}`")
}

/// How a node is due.
#[derive(Debug, Default)]
struct Ways {
    plain: bool,
    for_each: BTreeSet<usize>,
}

struct Walk<'a> {
    graph: &'a Graph,
    evaluator: &'a dyn Evaluator,
    values: Cow<'a, Values>,
    joins: BTreeMap<usize, BTreeSet<NodeName>>,
    due: BTreeMap<NodeName, Ways>,
    /// Lists of results that are to be empty from the next round on.
    to_empty: BTreeSet<ChannelName>,
    /// Those that are.
    emptied: Values,
}

impl<'a> Walk<'a> {
    /// Joins that the graph does not have (any more) are forgotten.
    fn new(asked: &Asked<'a>, mut joins: BTreeMap<usize, BTreeSet<NodeName>>) -> Self {
        let Asked { graph, values, evaluator } = *asked;
        joins.retain(|place, arrived| {
            let edge = graph.edges.get(*place).filter(|edge| origins(edge).len() > 1);
            edge.is_some_and(|edge| arrived.iter().all(|node| edge.from.contains(node)))
        });
        let values = Cow::Borrowed(values);
        Self {
            graph,
            evaluator,
            values,
            joins,
            due: BTreeMap::new(),
            to_empty: BTreeSet::new(),
            emptied: Values::new(),
        }
    }

    /// Follows the nodes that were passed over, round by round, until none is left.
    fn run(mut self, mut visited: BTreeSet<NodeName>, mut passed: BTreeSet<NodeName>) -> Result<Next, Failure> {
        loop {
            passed.extend(self.empty_results()?);
            let round = self.unvisited(passed, &visited);
            if round.is_empty() && self.to_empty.is_empty() {
                return Ok(self.finish());
            }
            visited.extend(round.iter().cloned());
            let offered = self.offered(&round, false);
            passed = self.take_all(&offered)?;
        }
    }

    /// Empties what is to be; gives the nodes that are passed over because their own lists were made from it.
    fn empty_results(&mut self) -> Result<BTreeSet<NodeName>, Failure> {
        let mut passed = BTreeSet::new();
        if self.to_empty.is_empty() {
            return Ok(passed);
        }
        for channel in std::mem::take(&mut self.to_empty) {
            self.values.to_mut().insert(channel.clone(), Value::Array(Vec::new()));
            self.emptied.insert(channel, Value::Array(Vec::new()));
        }
        for (node, mut ways) in std::mem::take(&mut self.due) {
            for place in std::mem::take(&mut ways.for_each) {
                let fan_out = fan_out(self.graph, place, &node)?;
                if list(fan_out, &self.scope())?.is_empty() {
                    self.leave_empty(fan_out.0);
                } else {
                    ways.for_each.insert(place);
                }
            }
            if ways.plain || !ways.for_each.is_empty() {
                self.due.insert(node, ways);
            } else {
                passed.insert(node);
            }
        }
        Ok(passed)
    }

    fn scope(&self) -> Scope<'_> {
        Scope::of(&self.values, self.evaluator)
    }

    /// Notes that a fan-out has no items, and so no results.
    fn leave_empty(&mut self, edge: &Edge) {
        let Some(results) = &edge.fan_out.results else { return };
        // A list that grows keeps what it has.
        let replaces = self.graph.state.get(results).is_some_and(|channel| channel.reducer == Reducer::Last);
        let is_empty = self.values.get(results).and_then(Value::as_array).is_some_and(Vec::is_empty);
        if replaces && !is_empty {
            self.to_empty.insert(results.clone());
        }
    }

    fn unvisited(&self, mut passed: BTreeSet<NodeName>, visited: &BTreeSet<NodeName>) -> BTreeSet<NodeName> {
        passed.retain(|node| !visited.contains(node) && !self.due.contains_key(node));
        passed
    }

    fn finish(self) -> Next {
        let mut due = Vec::new();
        for (node, ways) in self.due {
            if ways.plain {
                due.push(Due { node: node.clone(), for_each: Vec::new() });
            }
            if !ways.for_each.is_empty() {
                due.push(Due { node, for_each: ways.for_each.into_iter().collect() });
            }
        }
        Next { due, joins: self.joins, emptied: self.emptied }
    }

    /// The edges that these arrivals offer, by place. A join notes its arrivals, and is offered once it has all of them.
    fn offered(&mut self, arrivals: &BTreeSet<NodeName>, start: bool) -> Vec<usize> {
        let mut offered = Vec::new();
        for (place, edge) in self.graph.edges.iter().enumerate() {
            let origins = origins(edge);
            let arrived: Vec<_> = origins.iter().copied().filter(|node| arrivals.contains(*node)).cloned().collect();
            if origins.is_empty() {
                if start {
                    offered.push(place);
                }
            } else if !arrived.is_empty() {
                let waiting = self.joins.entry(place).or_default();
                waiting.extend(arrived);
                if waiting.len() == origins.len() {
                    self.joins.remove(&place);
                    offered.push(place);
                }
            }
        }
        offered
    }

    /// Takes those of the offered edges whose condition holds; gives the nodes that were passed over.
    fn take_all(&mut self, offered: &[usize]) -> Result<BTreeSet<NodeName>, Failure> {
        let graph = self.graph;
        let edges = || offered.iter().filter_map(|place| Some((*place, graph.edges.get(*place)?)));
        let mut decided = BTreeSet::new();
        let mut taken = Vec::new();
        for (place, edge) in edges() {
            match &edge.when {
                Condition::Always => taken.push(place),
                Condition::If(condition) => {
                    if self.holds(edge, condition)? {
                        decided.insert(origins(edge));
                        taken.push(place);
                    }
                }
                Condition::Otherwise => {}
            }
        }
        let otherwise =
            edges().filter(|(_, edge)| edge.when == Condition::Otherwise && !decided.contains(&origins(edge)));
        taken.extend(otherwise.map(|(place, _)| place));
        let mut passed = BTreeSet::new();
        for place in taken {
            passed.extend(self.take(place)?);
        }
        Ok(passed)
    }

    fn holds(&self, edge: &Edge, condition: &Expression) -> Result<bool, Failure> {
        Program::compile(condition.0.as_str())
            .and_then(|program| program.eval_bool(&self.scope()))
            .map_err(|source| expression_failure(format!("the condition of {} failed", name(edge)), source))
    }

    /// Takes one edge; gives its target if it was passed over.
    fn take(&mut self, place: usize) -> Result<Option<NodeName>, Failure> {
        let Some(edge) = self.graph.edges.get(place) else { return Ok(None) };
        let EdgeTarget::Node(node) = &edge.to else { return Ok(None) };
        let Some(expression) = &edge.for_each else { return self.visit(node).map(|()| None) };
        let node = self.known(node)?;
        if list((edge, expression), &self.scope())?.is_empty() {
            self.leave_empty(edge);
            return Ok(Some(node));
        }
        self.due.entry(node).or_default().for_each.insert(place);
        Ok(None)
    }

    fn visit(&mut self, node: &NodeName) -> Result<(), Failure> {
        let node = self.known(node)?;
        self.due.entry(node).or_default().plain = true;
        Ok(())
    }

    fn known(&self, node: &NodeName) -> Result<NodeName, Failure> {
        known(self.graph, node.as_str(), "the run is to go on at node")
            .cloned()
            .map_err(|message| Failure::new(FailureKind::BadInput, message))
    }
}

fn origins(edge: &Edge) -> BTreeSet<&NodeName> {
    edge.from.iter().collect()
}
