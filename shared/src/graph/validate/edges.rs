//! Edges, each on its own: known ends, conditions that can hold, fan-outs that can happen.

use std::collections::BTreeSet;

use super::expressions::Names;
use super::fan_out;
use super::whole::Doubts;
use crate::graph::finding::Findings;
use crate::graph::model::{Condition, Edge, EdgeTarget, Graph};
use crate::graph::place::Place;
use crate::id::{ChannelName, NodeName};

pub(super) fn check(graph: &Graph, doubts: &Doubts, findings: &mut Findings) {
    let names = Names {
        what: "channel",
        known: (!doubts.channels).then(|| graph.state.keys().map(ChannelName::as_str).collect()),
        item: false,
        could_have_item: false,
    };
    let conditional = graph.edges.iter().filter(|edge| matches!(edge.when, Condition::If(_))).map(|edge| &edge.from);
    let conditional: BTreeSet<_> = conditional.collect();
    let mut seen = BTreeSet::new();
    for (index, edge) in graph.edges.iter().enumerate() {
        let place = Place::root().key("edges").index(index);
        ends(graph, doubts, edge, (&place, findings));
        fan_out::check(graph, doubts, edge, (&place, findings));
        if let Condition::If(expression) = &edge.when {
            names.check(expression, &place.key("when"), findings);
        }
        if let Some(expression) = &edge.for_each {
            names.check(expression, &place.key("for_each"), findings);
        }
        if edge.when == Condition::Otherwise && !conditional.contains(&edge.from) {
            otherwise(edge, &place, findings);
        }
        if !seen.insert(serde_json::to_string(edge).unwrap_or_default()) {
            findings.error(&place, format!("the edge {} is there twice", show(edge))).remedy("keep one of them");
        }
    }
}

/// An edge, for people.
pub(in crate::graph) fn show(edge: &Edge) -> String {
    let from = match edge.from.as_slice() {
        [] => crate::graph::model::START.to_owned(),
        names => names.iter().map(NodeName::as_str).collect::<Vec<_>>().join(" & "),
    };
    let to = match &edge.to {
        EdgeTarget::Node(name) => name.as_str(),
        EdgeTarget::End => crate::graph::model::END,
    };
    format!("{from} -> {to}")
}

fn ends(graph: &Graph, doubts: &Doubts, edge: &Edge, (place, findings): (&Place, &mut Findings)) {
    let mut seen = BTreeSet::new();
    for name in &edge.from {
        if !seen.insert(name) {
            findings.error(place, format!("`{name}` is joined with itself")).remedy("list each node once");
        }
    }
    if doubts.edges {
        return;
    }
    let target = match &edge.to {
        EdgeTarget::Node(name) => Some(name),
        EdgeTarget::End => None,
    };
    for name in seen.into_iter().chain(target).collect::<BTreeSet<_>>() {
        if !graph.nodes.contains_key(name) {
            let known = graph.nodes.keys().map(NodeName::as_str).chain(["START", "END"]);
            let message = format!("the edge {} names the node `{name}`, which does not exist", show(edge));
            findings.error(place, message).suggest(name.as_str(), known);
        }
    }
}

fn otherwise(edge: &Edge, place: &Place, findings: &mut Findings) {
    let message = format!("the edge {} is taken otherwise, but there is no `when` beside it", show(edge));
    findings
        .error(&place.key("otherwise"), message)
        .remedy("give another edge from the same node a `when`, or leave `otherwise` out");
}
