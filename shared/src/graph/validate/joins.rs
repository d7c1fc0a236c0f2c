//! Joins that wait for branches of which only one is ever taken.

use std::collections::{BTreeMap, BTreeSet};

use super::edges::show;
use crate::expr::exclude_each_other;
use crate::graph::finding::Findings;
use crate::graph::model::{Condition, END, Edge, EdgeTarget, Graph};
use crate::graph::place::Place;
use crate::graph::policy::OnFailure;
use crate::id::NodeName;

/// What is looked at in one graph: a warning must cost little. What is larger is passed over, since a part of it tells nothing.
const DECISIONS_MAX: usize = 32;
const WAYS_MAX: usize = 16;
const ORIGINS_MAX: usize = 16;
const JOINS_MAX: usize = 256;

/// Warns of the joins. Every edge leads somewhere.
pub(super) fn check(graph: &Graph, findings: &mut Findings) {
    let is_join = |edge: &Edge| (2..=ORIGINS_MAX).contains(&edge.from.len()) && edge.to != EdgeTarget::End;
    let joins: Vec<_> = graph.edges.iter().enumerate().filter(|(_, edge)| is_join(edge)).take(JOINS_MAX).collect();
    if joins.is_empty() {
        return;
    }
    let ways = Ways::of(graph);
    let decisions: Vec<_> = ways.decisions().into_iter().filter_map(|from| Decision::of(&ways, from)).collect();
    for (index, join) in joins {
        let apart = decisions.iter().find_map(|decision| Some((decision, decision.sets_apart(join)?)));
        let Some((decision, (one, other))) = apart else { continue };
        let decided = match decision.from {
            [] => "the way from START".to_owned(),
            names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" & "),
        };
        let message =
            format!("the edge {} waits for `{one}` and `{other}`, but {decided} leads to only one of them", show(join));
        let target = match &join.to {
            EdgeTarget::Node(name) => name.as_str(),
            EdgeTarget::End => END,
        };
        findings
            .warning(&Place::root().key("edges").index(index), message)
            .remedy(format!("write `{one} -> {target}` and `{other} -> {target}` as two edges"));
    }
}

/// Where each node leads, by edges and by failure handlers.
struct Ways<'a> {
    graph: &'a Graph,
    /// By origin: the edge (none for a failure handler), and the target. No origin is START.
    from: BTreeMap<Option<&'a NodeName>, Vec<(Option<usize>, &'a NodeName)>>,
}

impl<'a> Ways<'a> {
    fn of(graph: &'a Graph) -> Self {
        let mut from: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (index, edge) in graph.edges.iter().enumerate() {
            let EdgeTarget::Node(to) = &edge.to else { continue };
            if edge.from.is_empty() {
                from.entry(None).or_default().push((Some(index), to));
            }
            for origin in &edge.from {
                from.entry(Some(origin)).or_default().push((Some(index), to));
            }
        }
        for (name, node) in &graph.nodes {
            if let OnFailure::Goto(handler) = &node.policy.on_failure {
                from.entry(Some(name)).or_default().push((None, handler));
            }
        }
        Self { graph, from }
    }

    /// The origins of conditional edges.
    fn decisions(&self) -> Vec<&'a [NodeName]> {
        let conditional = self.graph.edges.iter().filter(|edge| !edge.when.is_always());
        let origins: BTreeSet<_> = conditional.map(|edge| edge.from.as_slice()).collect();
        origins.into_iter().take(DECISIONS_MAX).collect()
    }

    /// The nodes that are reached from an origin where some edges are closed. One origin of a join is taken to be enough.
    fn reached(&self, start: Option<&'a NodeName>, closed: &[usize]) -> BTreeSet<&'a NodeName> {
        let mut reached = BTreeSet::new();
        let mut open = vec![start];
        while let Some(origin) = open.pop() {
            for (edge, target) in self.from.get(&origin).into_iter().flatten() {
                if edge.is_none_or(|edge| !closed.contains(&edge)) && reached.insert(*target) {
                    open.push(Some(target));
                }
            }
        }
        reached
    }
}

/// The conditional edges from the same nodes, and where each of them leads.
struct Decision<'a> {
    from: &'a [NodeName],
    edges: Vec<&'a Edge>,
    /// For each of the edges, the nodes that are reached if it is the only one that is taken.
    reached: Vec<BTreeSet<&'a NodeName>>,
    /// The nodes that are reached without any of them.
    anyway: BTreeSet<&'a NodeName>,
}

impl<'a> Decision<'a> {
    /// A decision that is made once: one that is come back to may lead another way each time.
    fn of(ways: &Ways<'a>, from: &'a [NodeName]) -> Option<Self> {
        let graph = ways.graph;
        let is_of = |edge: &Edge| edge.from == from && !edge.when.is_always();
        let indices: Vec<usize> = (0..graph.edges.len()).filter(|index| is_of(&graph.edges[*index])).collect();
        if indices.len() > WAYS_MAX || from.iter().any(|node| ways.reached(Some(node), &[]).contains(node)) {
            return None;
        }
        let only = |kept: &usize| {
            let closed: Vec<usize> = indices.iter().copied().filter(|index| index != kept).collect();
            ways.reached(None, &closed)
        };
        let reached = indices.iter().map(only).collect();
        let edges = indices.iter().map(|index| &graph.edges[*index]).collect();
        Some(Self { from, edges, reached, anyway: ways.reached(None, &indices) })
    }

    /// Two of a join's origins of which this decision lets only one be reached.
    fn sets_apart(&self, join: &'a Edge) -> Option<(&'a NodeName, &'a NodeName)> {
        let needs: Vec<(&NodeName, Vec<usize>)> = join.from.iter().map(|node| (node, self.ways_to(node))).collect();
        for (place, (one, ones)) in needs.iter().enumerate() {
            for (other, others) in &needs[place + 1..] {
                let is_apart = |way: &usize| others.iter().all(|other| self.exclude(*way, *other));
                if !ones.is_empty() && !others.is_empty() && ones.iter().all(is_apart) {
                    return Some((one, other));
                }
            }
        }
        None
    }

    /// The edges by any of which a node is reached; none if it is reached anyway.
    fn ways_to(&self, node: &NodeName) -> Vec<usize> {
        if self.anyway.contains(node) {
            return Vec::new();
        }
        (0..self.edges.len()).filter(|way| self.reached[*way].contains(node)).collect()
    }

    fn exclude(&self, one: usize, other: usize) -> bool {
        match (&self.edges[one].when, &self.edges[other].when) {
            (Condition::If(one), Condition::If(other)) => exclude_each_other(one.0.as_str(), other.0.as_str()),
            (Condition::If(_), Condition::Otherwise) | (Condition::Otherwise, Condition::If(_)) => true,
            (Condition::Always, _) | (_, Condition::Always) | (Condition::Otherwise, Condition::Otherwise) => false,
        }
    }
}
