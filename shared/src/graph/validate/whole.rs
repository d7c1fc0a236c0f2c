//! All checks, one after another.

use std::collections::BTreeSet;

use super::{children, edges, flow, joins, limits, nodes, state};
use crate::graph::canonical;
use crate::graph::diagnostic::Diagnostics;
use crate::graph::finding::Findings;
use crate::graph::model::{Graph, NodeKind};
use crate::graph::place::Place;
use crate::id::NodeName;
use crate::limits::{CHILD_DEPTH_MAX, GRAPH_BYTES_MAX, GRAPH_EDGES_MAX, GRAPH_NODES_MAX};

/// What could not be read, and is not to be judged by what is missing from it.
#[derive(Debug, Default)]
pub(in crate::graph) struct Doubts {
    /// The channels.
    pub(in crate::graph) channels: bool,
    /// Some nodes or edges.
    pub(in crate::graph) edges: bool,
    /// What these nodes do.
    pub(in crate::graph) nodes: BTreeSet<NodeName>,
}

/// Says everything that is wrong with a graph and the graphs in it. The parser and the builder have asked it already.
pub fn validate(graph: &Graph) -> Diagnostics {
    let mut findings = check(graph, &Doubts::default());
    if canonical::depth(graph) > CHILD_DEPTH_MAX {
        let message = format!("child graphs are nested deeper than {CHILD_DEPTH_MAX}");
        findings.error(&Place::root(), message);
        return findings.into_diagnostics();
    }
    if crate::graph::read::node_count(graph) > GRAPH_NODES_MAX {
        let message = format!("the graph has more than {GRAPH_NODES_MAX} nodes, those of its child graphs included");
        findings.error(&Place::root(), message);
        return findings.into_diagnostics();
    }
    within(graph, &Place::root(), &mut findings);
    findings.into_diagnostics()
}

fn within(graph: &Graph, place: &Place, findings: &mut Findings) {
    for (name, node) in &graph.nodes {
        if let NodeKind::Graph(child) = &node.kind {
            let place = place.key("nodes").key(name).key("graph");
            findings.extend_within(&place, check(&child.graph, &Doubts::default()));
            within(&child.graph, &place, findings);
        }
    }
}

/// Says everything that is wrong with a graph, but not with the graphs in it. Places are from the graph's own root.
pub(in crate::graph) fn check(graph: &Graph, doubts: &Doubts) -> Findings {
    let mut findings = Findings::default();
    sizes(graph, doubts, &mut findings);
    limits::check(graph, &mut findings);
    state::check(graph, &mut findings);
    nodes::check(graph, doubts, &mut findings);
    children::check(graph, doubts, &mut findings);
    edges::check(graph, doubts, &mut findings);
    // What leads where can only be judged if every edge leads somewhere.
    if !doubts.edges && !findings.has_errors_in("edges") {
        flow::check(graph, doubts, &mut findings);
        joins::check(graph, &mut findings);
    }
    findings
}

fn sizes(graph: &Graph, doubts: &Doubts, findings: &mut Findings) {
    let root = Place::root();
    if graph.nodes.is_empty() && !doubts.edges {
        findings.error(&root, "the graph has no nodes").remedy("write `nodes:` with at least one");
    }
    if graph.nodes.len() > GRAPH_NODES_MAX {
        let message = format!("the graph has {} nodes, more than {GRAPH_NODES_MAX}", graph.nodes.len());
        findings.error(&root.key("nodes"), message);
    }
    if graph.edges.len() > GRAPH_EDGES_MAX {
        let message = format!("the graph has {} edges, more than {GRAPH_EDGES_MAX}", graph.edges.len());
        findings.error(&root.key("edges"), message);
    }
    let bytes = canonical::json(graph).len();
    if bytes > GRAPH_BYTES_MAX {
        let message = format!("the graph has {bytes} bytes with its child graphs, more than {GRAPH_BYTES_MAX}");
        findings.error(&root, message).remedy("keep data out of the graph: read it in a node");
    }
}
