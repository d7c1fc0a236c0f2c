//! Where the edges lead, all together: what is never reached, what never ends.

use super::arrows::Arrows;
use super::whole::Doubts;
use crate::graph::finding::Findings;
use crate::graph::model::{END, EdgeTarget, Graph, NodeKind, START};
use crate::graph::place::Place;
use crate::id::NodeName;

pub(super) fn check(graph: &Graph, doubts: &Doubts, findings: &mut Findings) {
    let Some(first) = graph.nodes.keys().next() else { return };
    if !graph.edges.iter().any(|edge| edge.from.is_empty()) {
        findings
            .error(&Place::root().key("edges"), "no edge starts at START, so that nothing would run")
            .remedy(format!("write `{START} -> {first}`, or whichever node comes first"));
        return;
    }
    let arrows = Arrows::of(graph);
    let reached = arrows.reached();
    let flow = Flow { graph, doubts, arrows };
    flow.unreached(&reached, findings);
    flow.endless(&reached, findings);
}

struct Flow<'a> {
    graph: &'a Graph,
    doubts: &'a Doubts,
    arrows: Arrows<'a>,
}

impl Flow<'_> {
    /// Nodes that nothing leads to. What is only lost because it follows a lost node is not told.
    fn unreached(&self, reached: &[bool], findings: &mut Findings) {
        let lost: Vec<bool> = reached.iter().map(|reached| !reached).collect();
        let all = || (0..lost.len()).filter(|node| lost[*node]);
        let mut told: Vec<usize> = all().filter(|node| !self.arrows.follows_one_of(*node, &lost)).collect();
        let mut explained = self.arrows.all_after(told.iter().copied());
        for node in all() {
            if !explained[node] && !told.contains(&node) {
                told.push(node);
                explained = self.arrows.all_after(told.iter().copied());
            }
        }
        let names = self.arrows.names();
        let goto = (0..names.len()).find(|node| reached[*node] && self.can_go_anywhere(names[*node]));
        for name in told.into_iter().map(|node| names[node]) {
            let place = Place::root().key("nodes").key(name);
            let message = format!("nothing leads to the node `{name}`");
            match goto {
                Some(goto) => {
                    let goto = names[goto];
                    let remedy =
                        format!("that is right if the handler of `{goto}` goes there by `goto`; else add an edge");
                    findings.warning(&place, message).remedy(remedy);
                }
                None => findings.error(&place, message).remedy("add an edge to it, or take it out"),
            }
        }
    }

    /// Nodes where a branch ends without END, and cycles that nothing leads out of.
    fn endless(&self, reached: &[bool], findings: &mut Findings) {
        let names = self.arrows.names();
        let exits: Vec<usize> = self.exits();
        let mut settled = self.arrows.all_before(exits.iter().copied());
        for exit in exits {
            settled[exit] = true;
        }
        for node in 0..names.len() {
            if settled[node] || !reached[node] {
                continue;
            }
            let name = names[node];
            let place = Place::root().key("nodes").key(name);
            if self.arrows.is_last(node) {
                findings
                    .warning(&place, format!("no edge leads on from `{name}`, not even to END"))
                    .remedy(format!("add `{name} -> {END}` if the branch ends here"));
                continue;
            }
            let (after, before) = (self.arrows.all_after([node]), self.arrows.all_before([node]));
            let is_cycle = after[node] && after.iter().zip(&before).all(|(after, before)| !after || *before);
            if is_cycle {
                let message = format!("nothing leads out of the cycle {}", self.arrows.round(node));
                let steps = self.graph.limits.max_steps;
                findings
                    .warning(&place, message)
                    .remedy(format!("add an edge with `when` to leave it; as it is, max_steps ({steps}) ends the run"));
                settled.iter_mut().zip(&after).for_each(|(settled, after)| *settled |= after);
            }
        }
    }

    /// The nodes from where a way leads out of the graph, or may lead.
    fn exits(&self) -> Vec<usize> {
        let mut exits: Vec<bool> = self.arrows.names().iter().map(|name| self.is_open(name)).collect();
        for edge in self.graph.edges.iter().filter(|edge| edge.to == EdgeTarget::End) {
            for from in &edge.from {
                if let Ok(node) = self.arrows.names().binary_search(&from) {
                    exits[node] = true;
                }
            }
        }
        (0..exits.len()).filter(|node| exits[*node]).collect()
    }

    fn is_open(&self, name: &NodeName) -> bool {
        self.can_go_anywhere(name) || self.doubts.nodes.contains(name)
    }

    /// Handlers in Rust can say where to go when they run.
    fn can_go_anywhere(&self, name: &NodeName) -> bool {
        self.graph.nodes.get(name).is_some_and(|node| matches!(node.kind, NodeKind::Rust(_)))
    }
}
