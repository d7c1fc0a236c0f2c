//! Nodes in layers: each below all that lead to it, where that is possible. An edge that leads up is a loop's way back.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::model::{EdgeTarget, Graph};
use crate::graph::policy::OnFailure;
use crate::id::NodeName;

/// Nodes in layers.
pub(super) struct Layers<'a> {
    /// The layers from START down, each in the order of the edges that lead there.
    pub(super) rows: Vec<Vec<&'a NodeName>>,
    /// Nodes that no edge and no handler leads to.
    pub(super) elsewhere: Vec<&'a NodeName>,
    ranks: BTreeMap<&'a NodeName, usize>,
}

impl<'a> Layers<'a> {
    pub(super) fn of(graph: &'a Graph) -> Self {
        let after = after(graph);
        let starts = graph.edges.iter().filter(|edge| edge.from.is_empty()).filter_map(|edge| target(&edge.to));
        let order = topological(starts, &after);
        let mut ranks: BTreeMap<&NodeName, usize> = BTreeMap::new();
        let position: BTreeMap<_, _> = order.iter().enumerate().map(|(at, name)| (*name, at)).collect();
        for name in &order {
            let rank = *ranks.entry(name).or_insert(0);
            for next in after.get(name).into_iter().flatten() {
                // Only edges that lead on in the order; the others are ways back.
                if position.get(next) > position.get(name) {
                    let below = ranks.entry(next).or_insert(0);
                    *below = (*below).max(rank + 1);
                }
            }
        }
        let depth = ranks.values().max().map_or(0, |deepest| deepest + 1);
        let mut rows = vec![Vec::new(); depth];
        for name in &order {
            rows[ranks[name]].push(*name);
        }
        let elsewhere = graph.nodes.keys().filter(|name| !ranks.contains_key(name)).collect();
        Self { rows, elsewhere, ranks }
    }

    /// Whether an edge between these nodes leads up, or around to the same layer.
    pub(super) fn leads_back(&self, from: &NodeName, to: &NodeName) -> bool {
        self.ranks.get(from).zip(self.ranks.get(to)).is_some_and(|(from, to)| to <= from)
    }
}

fn after(graph: &Graph) -> BTreeMap<&NodeName, Vec<&NodeName>> {
    let mut after: BTreeMap<&NodeName, Vec<&NodeName>> = BTreeMap::new();
    for edge in &graph.edges {
        for from in &edge.from {
            after.entry(from).or_default().extend(target(&edge.to));
        }
    }
    for (name, node) in &graph.nodes {
        if let OnFailure::Goto(handler) = &node.policy.on_failure {
            after.entry(name).or_default().push(handler);
        }
    }
    after
}

/// The nodes that can be reached, each before what comes after it, except along ways back.
fn topological<'a>(
    starts: impl DoubleEndedIterator<Item = &'a NodeName>,
    after: &BTreeMap<&'a NodeName, Vec<&'a NodeName>>,
) -> Vec<&'a NodeName> {
    let mut met = BTreeSet::new();
    let mut done = Vec::new();
    // A walk in depth without recursion: a node is done when all that come after it are.
    let mut open: Vec<(&NodeName, bool)> = starts.rev().map(|name| (name, false)).collect();
    open.reverse();
    while let Some((name, is_finished)) = open.pop() {
        if is_finished {
            done.push(name);
        } else if met.insert(name) {
            open.push((name, true));
            open.extend(after.get(name).into_iter().flatten().map(|next| (*next, false)));
        }
    }
    done.reverse();
    done
}

fn target(to: &EdgeTarget) -> Option<&NodeName> {
    match to {
        EdgeTarget::Node(name) => Some(name),
        EdgeTarget::End => None,
    }
}
