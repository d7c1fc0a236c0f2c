//! What can follow what in a graph, by number, for questions that go over all nodes.

use std::collections::VecDeque;

use crate::graph::model::{EdgeTarget, Graph};
use crate::graph::policy::OnFailure;
use crate::id::NodeName;

/// What can follow what: by edges, and by failure handlers.
pub(super) struct Arrows<'a> {
    graph: &'a Graph,
    names: Vec<&'a NodeName>,
    after: Vec<Vec<usize>>,
    before: Vec<Vec<usize>>,
}

impl<'a> Arrows<'a> {
    pub(super) fn of(graph: &'a Graph) -> Self {
        let names: Vec<&NodeName> = graph.nodes.keys().collect();
        let none = vec![Vec::new(); names.len()];
        let mut arrows = Self { graph, names, after: none.clone(), before: none };
        for edge in &graph.edges {
            for from in &edge.from {
                arrows.add(arrows.number(from), arrows.target(&edge.to));
            }
        }
        for (from, node) in graph.nodes.values().enumerate() {
            if let OnFailure::Goto(handler) = &node.policy.on_failure {
                arrows.add(Some(from), arrows.number(handler));
            }
        }
        arrows
    }

    fn add(&mut self, from: Option<usize>, to: Option<usize>) {
        if let Some((from, to)) = from.zip(to) {
            self.after[from].push(to);
            self.before[to].push(from);
        }
    }

    fn number(&self, name: &NodeName) -> Option<usize> {
        self.names.binary_search(&name).ok()
    }

    fn target(&self, to: &EdgeTarget) -> Option<usize> {
        match to {
            EdgeTarget::Node(name) => self.number(name),
            EdgeTarget::End => None,
        }
    }

    /// The nodes, in order.
    pub(super) fn names(&self) -> &[&'a NodeName] {
        &self.names
    }

    /// Whether a node other than itself, of a set, comes directly before a node.
    pub(super) fn follows_one_of(&self, node: usize, set: &[bool]) -> bool {
        self.before[node].iter().any(|before| *before != node && set[*before])
    }

    /// Whether nothing follows a node.
    pub(super) fn is_last(&self, node: usize) -> bool {
        self.after[node].is_empty()
    }

    /// The nodes that are reached from START. A join needs all of its origins.
    pub(super) fn reached(&self) -> Vec<bool> {
        let edges: Vec<(Vec<Option<usize>>, usize)> = self
            .graph
            .edges
            .iter()
            .filter_map(|edge| {
                let from = edge.from.iter().map(|name| self.number(name)).collect();
                Some((from, self.target(&edge.to)?))
            })
            .collect();
        let mut reached = vec![false; self.names.len()];
        loop {
            let mut grown = false;
            for (from, to) in &edges {
                if !reached[*to] && from.iter().all(|from| from.is_some_and(|from| reached[from])) {
                    reached[*to] = true;
                    grown = true;
                }
            }
            for (from, node) in self.graph.nodes.values().enumerate() {
                if let OnFailure::Goto(handler) = &node.policy.on_failure
                    && let Some(to) = self.number(handler).filter(|to| reached[from] && !reached[*to])
                {
                    reached[to] = true;
                    grown = true;
                }
            }
            if !grown {
                return reached;
            }
        }
    }

    /// The nodes that can come after these, at any distance.
    pub(super) fn all_after(&self, nodes: impl IntoIterator<Item = usize>) -> Vec<bool> {
        spread(&self.after, nodes)
    }

    /// The nodes that can come before these, at any distance.
    pub(super) fn all_before(&self, nodes: impl IntoIterator<Item = usize>) -> Vec<bool> {
        spread(&self.before, nodes)
    }

    /// A shortest way from a node back to itself: `a -> b -> a`.
    pub(super) fn round(&self, start: usize) -> String {
        let mut came_from: Vec<Option<usize>> = vec![None; self.names.len()];
        let mut open = VecDeque::from([start]);
        while came_from[start].is_none()
            && let Some(node) = open.pop_front()
        {
            for next in self.after[node].iter().copied() {
                if came_from[next].is_none() {
                    came_from[next] = Some(node);
                    open.push_back(next);
                }
            }
        }
        let mut names = vec![self.names[start].as_str()];
        let mut here = start;
        while let Some(before) = came_from[here] {
            names.push(self.names[before].as_str());
            here = before;
            if here == start {
                break;
            }
        }
        names.reverse();
        names.join(" -> ")
    }
}

fn spread(arrows: &[Vec<usize>], from: impl IntoIterator<Item = usize>) -> Vec<bool> {
    let mut met = vec![false; arrows.len()];
    let mut open: Vec<usize> = from.into_iter().collect();
    while let Some(node) = open.pop() {
        for next in arrows[node].iter().copied() {
            if !std::mem::replace(&mut met[next], true) {
                open.push(next);
            }
        }
    }
    met
}
