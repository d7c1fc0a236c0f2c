//! Fan-outs: what is said of their items together must be possible.

use super::whole::Doubts;
use crate::graph::fan_out::FanOutPolicy;
use crate::graph::finding::Findings;
use crate::graph::model::{Edge, EdgeTarget, Graph, NodeKind, Reducer};
use crate::graph::place::Place;
use crate::id::ChannelName;
use crate::limits::FAN_OUT_MAX;

pub(super) fn check(graph: &Graph, doubts: &Doubts, edge: &Edge, (place, findings): (&Place, &mut Findings)) {
    if edge.for_each.is_none() {
        without(edge, place, findings);
        return;
    }
    ends(edge, place, findings);
    let kind = match &edge.to {
        EdgeTarget::Node(name) => graph.nodes.get(name).map(|node| &node.kind),
        EdgeTarget::End => None,
    };
    if let Some(concurrency) = edge.fan_out.concurrency {
        let place = place.key("concurrency");
        number(concurrency, "concurrency", &place, findings);
        if let Some(kind @ (NodeKind::Wait(_) | NodeKind::Interrupt(_))) = kind {
            let message = format!(
                "a node of kind `{}` is neither a worker's nor a child run's, so its items cannot take turns",
                kind.name()
            );
            findings.error(&place, message).remedy("leave `concurrency` out");
        }
    }
    policy(edge, kind, place, findings);
    if let Some(channel) = edge.fan_out.results.as_ref().filter(|_| !doubts.channels) {
        results(graph, channel, &place.key("results"), findings);
    }
}

fn without(edge: &Edge, place: &Place, findings: &mut Findings) {
    let fan_out = &edge.fan_out;
    let given = [
        ("concurrency", fan_out.concurrency.is_some()),
        ("policy", !fan_out.policy.is_each()),
        ("results", fan_out.results.is_some()),
    ];
    for (name, _) in given.into_iter().filter(|(_, given)| *given) {
        findings
            .error(&place.key(name), format!("`{name}` is of a fan-out, and the edge has no `for_each`"))
            .remedy("give the edge `for_each`, or leave it out");
    }
}

fn ends(edge: &Edge, place: &Place, findings: &mut Findings) {
    let place = place.key("for_each");
    if edge.to == EdgeTarget::End {
        findings
            .error(&place, "END cannot be fanned out")
            .remedy("lead the edge to the node that does the work of an item");
    }
    if edge.from.len() > 1 {
        findings
            .error(&place, "a join cannot fan out")
            .remedy("join into a node first, such as one of kind `set`, and fan out from there");
    }
}

fn policy(edge: &Edge, kind: Option<&NodeKind>, place: &Place, findings: &mut Findings) {
    let policy = edge.fan_out.policy;
    let place = place.key("policy");
    if let FanOutPolicy::Quorum(need) = policy {
        number(need, "quorum", &place, findings);
    }
    if policy == FanOutPolicy::Collect && edge.fan_out.results.is_none() {
        findings
            .error(&place, "`collect` needs a channel for what it collects")
            .remedy("name one as `results`, such as `results: answers`");
    }
    if matches!(kind, Some(NodeKind::Interrupt(_))) && !policy.is_each() && policy != FanOutPolicy::Collect {
        findings
            .error(
                &place,
                format!("`{}` would stop items that wait for a human, and a human is not stopped", policy.show()),
            )
            .remedy("leave `policy` out, or collect");
    }
}

fn number(number: u32, name: &str, place: &Place, findings: &mut Findings) {
    if number == 0 || usize::try_from(number).is_ok_and(|number| number > FAN_OUT_MAX) {
        findings.error(place, format!("`{name}` is {number}: it is from 1 to {FAN_OUT_MAX}"));
    }
}

fn results(graph: &Graph, channel: &ChannelName, place: &Place, findings: &mut Findings) {
    let Some(declared) = graph.state.get(channel) else {
        findings
            .error(place, format!("`{channel}` is no channel of the graph"))
            .suggest(channel.as_str(), graph.state.keys().map(ChannelName::as_str));
        return;
    };
    match declared.reducer {
        Reducer::Last | Reducer::Append => {}
        Reducer::Add | Reducer::Merge | Reducer::Messages => {
            let message = format!(
                "the channel `{channel}` has the reducer `{}`, which takes no list of results",
                declared.reducer.name()
            );
            findings.error(place, message).remedy("use a channel with the reducer `last` or `append`");
        }
    }
}
