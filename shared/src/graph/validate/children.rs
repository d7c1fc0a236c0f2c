//! Child graphs: what goes into them, and what comes out.

use super::expressions::Names;
use super::nodes::{known_channel, names};
use super::whole::Doubts;
use crate::graph::finding::Findings;
use crate::graph::model::{Graph, GraphNode, Node, NodeKind};
use crate::graph::place::Place;
use crate::id::{ChannelName, NodeName};

pub(super) fn check(graph: &Graph, doubts: &Doubts, findings: &mut Findings) {
    for (name, node) in graph.nodes.iter().filter(|(name, _)| !doubts.nodes.contains(*name)) {
        if let NodeKind::Graph(child) = &node.kind {
            let place = Place::root().key("nodes").key(name);
            input(graph, doubts, (name, child), (&place, findings));
            output(graph, doubts, (node, child), (&place, findings));
        }
    }
}

fn input(
    graph: &Graph,
    doubts: &Doubts,
    (name, child): (&NodeName, &GraphNode),
    (place, findings): (&Place, &mut Findings),
) {
    let names = names(graph, doubts, name);
    for (channel, expression) in child.input.iter().flatten() {
        let place = place.key("input").key(channel);
        if !child.graph.state.contains_key(channel) {
            let message = format!("the graph `{}` has no channel `{channel}`", child.graph.name);
            let known = child.graph.state.keys().map(ChannelName::as_str);
            findings.error(&place, message).suggest(channel.as_str(), known);
        }
        names.check(expression, &place, findings);
    }
}

fn output(
    graph: &Graph,
    doubts: &Doubts,
    (node, child): (&Node, &GraphNode),
    (place, findings): (&Place, &mut Findings),
) {
    let of_child = format!("channel of the graph `{}`", child.graph.name);
    let names = Names {
        what: &of_child,
        known: Some(child.graph.state.keys().map(ChannelName::as_str).collect()),
        item: false,
        could_have_item: false,
    };
    for (channel, expression) in child.output.iter().flatten() {
        let place = place.key("output").key(channel);
        known_channel(graph, doubts, channel, &place, findings);
        names.check(expression, &place, findings);
    }
    if child.output.is_some() && node.into.is_some() {
        findings
            .error(&place.key("into"), "the node has both `into` and `output`")
            .remedy("`into` takes the child's whole state; `output` picks from it");
    }
    let shared = child.graph.state.keys().any(|channel| graph.state.contains_key(channel));
    if child.output.is_none() && node.into.is_none() && !shared && !doubts.channels {
        findings
            .warning(place, format!("nothing of what the graph `{}` does is written", child.graph.name))
            .remedy("it shares no channel with this one: write `output: { channel: \"expression\" }`, or `into`");
    }
}
