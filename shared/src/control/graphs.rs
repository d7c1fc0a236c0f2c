//! Graphs in the store: kept under their hash before a run needs them, and read back for those who look at a run.

use super::Error;
use super::patience::patiently;
use crate::closest::closest;
use crate::graph::Graph;
use crate::graph::canonical::{self, Canonical, canonical_all, from_stored};
use crate::id::{ChannelName, GraphHash, NodeName};
use crate::store::{Store, StoredGraph};

/// Stores a graph, and the graphs of its child runs at every depth; returns its hash. Storing it again changes nothing.
pub async fn deploy(store: &dyn Store, graph: &Graph) -> Result<GraphHash, Error> {
    for Canonical { hash, name, json } in canonical_all(graph) {
        let stored = StoredGraph { hash, name, json };
        patiently(async || store.put_graph(&stored).await).await?;
    }
    Ok(canonical::hash(graph))
}

/// The graph of this hash, as a run names it.
pub async fn graph_of(store: &dyn Store, hash: &GraphHash) -> Result<Graph, Error> {
    let stored = patiently(async || store.graph(hash).await).await?;
    let stored = stored.ok_or_else(|| Error::GraphMissing(hash.clone()))?;
    from_stored(&stored.json).map_err(|source| Error::GraphUnreadable { hash: hash.clone(), source })
}

/// Refuses a name that is no channel of the graph, with the one that was probably meant.
pub fn check_channel(graph: &Graph, channel: &ChannelName) -> Result<(), Error> {
    if graph.state.contains_key(channel) {
        return Ok(());
    }
    Err(Error::UnknownChannel {
        channel: channel.clone(),
        nearest: closest(channel.as_str(), graph.state.keys()).cloned(),
        known: graph.state.keys().cloned().collect(),
    })
}

pub(super) fn check_node(graph: &Graph, node: &NodeName) -> Result<(), Error> {
    if graph.nodes.contains_key(node) {
        return Ok(());
    }
    Err(Error::UnknownNode {
        node: node.clone(),
        nearest: closest(node.as_str(), graph.nodes.keys()).cloned(),
        known: graph.nodes.keys().cloned().collect(),
    })
}
