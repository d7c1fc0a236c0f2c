//! Graphs in the store: kept under their hash before a run needs them, and read back for those who look at a run.

use std::fmt::Write as _;

use sha2::Digest as _;

use super::Error;
use super::patience::patiently;
use crate::graph::{Graph, NodeKind};
use crate::id::{ChannelName, GraphHash, NodeName};
use crate::state::suggest::nearest;
use crate::store::{Store, StoredGraph};

/// Stores a graph, and the graphs of its child runs at every depth; returns its hash. Storing it again changes nothing.
pub async fn deploy(store: &dyn Store, graph: &Graph) -> Result<GraphHash, Error> {
    let stored = encode(graph);
    for child in children(graph) {
        put(store, &encode(child)).await?;
    }
    put(store, &stored).await?;
    Ok(stored.hash)
}

async fn put(store: &dyn Store, graph: &StoredGraph) -> Result<(), Error> {
    Ok(patiently(async || store.put_graph(graph).await).await?)
}

/// The graph of this hash, as a run names it.
pub async fn graph_of(store: &dyn Store, hash: &GraphHash) -> Result<Graph, Error> {
    let stored = patiently(async || store.graph(hash).await).await?;
    let stored = stored.ok_or_else(|| Error::GraphMissing(hash.clone()))?;
    decode(&stored)
}

/// The graphs nested in this one, at every depth. How deep they may nest is checked with the graph.
fn children(graph: &Graph) -> Vec<&Graph> {
    let mut found = Vec::new();
    let mut open = vec![graph];
    while let Some(parent) = open.pop() {
        let nested = parent.nodes.values().filter_map(|node| match &node.kind {
            NodeKind::Graph(child) => Some(child.graph.as_ref()),
            NodeKind::Rust(_) | NodeKind::Exec(_) | NodeKind::Set(_) | NodeKind::Wait(_) | NodeKind::Interrupt(_) => {
                None
            }
        });
        let before = found.len();
        found.extend(nested);
        open.extend(&found[before..]);
    }
    found
}

pub(super) fn check_channel(graph: &Graph, channel: &ChannelName) -> Result<(), Error> {
    if graph.state.contains_key(channel) {
        return Ok(());
    }
    Err(Error::UnknownChannel {
        channel: channel.clone(),
        nearest: nearest(channel.as_str(), graph.state.keys()).cloned(),
        known: graph.state.keys().cloned().collect(),
    })
}

pub(super) fn check_node(graph: &Graph, node: &NodeName) -> Result<(), Error> {
    if graph.nodes.contains_key(node) {
        return Ok(());
    }
    Err(Error::UnknownNode {
        node: node.clone(),
        nearest: nearest(node.as_str(), graph.nodes.keys()).cloned(),
        known: graph.nodes.keys().cloned().collect(),
    })
}

fn encode(graph: &Graph) -> StoredGraph {
    let json = serde_json::to_string(graph).expect("a graph is plain data with names as keys");
    let mut hash = String::with_capacity(64);
    for byte in sha2::Sha256::digest(json.as_bytes()) {
        let _ = write!(hash, "{byte:02x}");
    }
    StoredGraph { hash: GraphHash::new(hash).expect("hex digits make a name"), name: graph.name.clone(), json }
}

fn decode(stored: &StoredGraph) -> Result<Graph, Error> {
    serde_json::from_str(&stored.json)
        .map_err(|error| Error::GraphUnreadable { hash: stored.hash.clone(), why: error.to_string() })
}
