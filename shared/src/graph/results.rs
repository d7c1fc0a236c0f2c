//! Where the results of a fan-out's items go that names `results`: into that list, without an `into` of their node.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Edge, EdgeTarget, Node, NodeKind};
use crate::id::{ChannelName, NodeName};

/// Gives each node the list of results as the channel of its own result, if it names none and only such fan-outs lead to it:
/// its result is then an entry's `value`, whatever its shape. A `set` node names its channels itself, a child graph its output.
pub(super) fn fill(nodes: &mut BTreeMap<NodeName, Node>, edges: &[Edge], is_channel: impl Fn(&ChannelName) -> bool) {
    let mut lists: BTreeMap<&NodeName, BTreeSet<Option<&ChannelName>>> = BTreeMap::new();
    for edge in edges {
        if let EdgeTarget::Node(node) = &edge.to {
            lists.entry(node).or_default().insert(edge.fan_out.results.as_ref());
        }
    }
    for (name, node) in nodes.iter_mut().filter(|(_, node)| node.into.is_none() && has_result(&node.kind)) {
        let mut lists = lists.get(name).into_iter().flatten();
        if let (Some(Some(list)), None) = (lists.next(), lists.next())
            && is_channel(list)
        {
            node.into = Some((*list).clone());
        }
    }
}

const fn has_result(kind: &NodeKind) -> bool {
    match kind {
        NodeKind::Rust(_)
        | NodeKind::Exec(_)
        | NodeKind::Http(_)
        | NodeKind::Llm(_)
        | NodeKind::VectorSearch(_)
        | NodeKind::VectorUpsert(_)
        | NodeKind::Interrupt(_) => true,
        NodeKind::Set(_) | NodeKind::Wait(_) | NodeKind::Graph(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::{Source, no_files, parse};
    use crate::id::{ChannelName, NodeName};

    #[test]
    fn the_results_of_a_fan_out_need_no_channel_of_their_own() {
        let text = "
name: g
state: { docs: , answers: , other: }
nodes:
  start: { kind: exec, command: ['true'] }
  ask: { kind: exec, command: ['true'] }
  keep: { kind: exec, command: ['true'], into: other }
  both: { kind: exec, command: ['true'] }
  fill: { kind: set, set: { other: '1' } }
edges:
  - START -> start
  - { from: start, to: ask, for_each: docs, results: answers }
  - { from: start, to: keep, for_each: docs, results: answers }
  - { from: start, to: both, for_each: docs, results: answers }
  - { from: ask, to: both }
  - { from: start, to: fill, for_each: docs, results: answers }
";
        let graph = parse(&Source::new("g.yaml", text), &no_files).unwrap();
        let into = |node: &str| graph.nodes[&NodeName::new(node).unwrap()].into.as_ref().map(ChannelName::as_str);
        assert_eq!(
            ["start", "ask", "keep", "both", "fill"].map(into),
            [None, Some("answers"), Some("other"), None, None]
        );
    }
}
