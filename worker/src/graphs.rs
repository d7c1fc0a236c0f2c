//! Graphs by their hash, read once: a graph under a hash never changes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use coxswain_shared::graph::Graph;
use coxswain_shared::graph::canonical::{self, from_stored};
use coxswain_shared::id::GraphHash;
use coxswain_shared::store::{self, Store};

/// Graphs that are kept; the one that was read first goes first.
const GRAPHS_KEPT: usize = 256;

/// Why there is no graph.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the graph {0} is not in the store")]
    Missing(GraphHash),
    #[error("the graph {hash} cannot be read by this worker")]
    Unreadable {
        hash: GraphHash,
        #[source]
        source: canonical::Error,
    },
    #[error("the graph {hash} could not be fetched")]
    Store {
        hash: GraphHash,
        #[source]
        source: store::Error,
    },
}

impl Error {
    pub(crate) const fn is_retryable(&self) -> bool {
        match self {
            Self::Missing(_) | Self::Unreadable { .. } => false,
            Self::Store { source, .. } => source.is_retryable(),
        }
    }
}

/// The graphs that were read.
#[derive(Debug, Default)]
pub(crate) struct Graphs(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_hash: HashMap<GraphHash, Arc<Graph>>,
    order: VecDeque<GraphHash>,
}

impl Graphs {
    /// The graph of this hash.
    pub(crate) async fn get(&self, store: &dyn Store, hash: &GraphHash) -> Result<Arc<Graph>, Error> {
        if let Some(graph) = self.kept().by_hash.get(hash) {
            return Ok(Arc::clone(graph));
        }
        let fetched = store.graph(hash).await.map_err(|source| Error::Store { hash: hash.clone(), source })?;
        let stored = fetched.ok_or_else(|| Error::Missing(hash.clone()))?;
        let graph = from_stored(&stored.json).map_err(|source| Error::Unreadable { hash: hash.clone(), source })?;
        let graph = Arc::new(graph);
        let mut kept = self.kept();
        if kept.by_hash.insert(hash.clone(), Arc::clone(&graph)).is_none() {
            kept.order.push_back(hash.clone());
        }
        if kept.order.len() > GRAPHS_KEPT
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.by_hash.remove(&oldest);
        }
        Ok(graph)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().expect("nothing panics while it holds the graphs")
    }
}

#[cfg(test)]
mod tests {
    use coxswain_shared::graph::canonical::{Canonical, canonical};
    use coxswain_shared::id::GraphName;
    use coxswain_shared::store::StoredGraph;
    use coxswain_shared::store::sqlite::{SqliteConfig, SqliteStore};

    use super::*;

    #[tokio::test]
    async fn a_graph_that_cannot_be_read_is_refused_and_one_that_can_is_read_once() {
        let store = SqliteStore::open(SqliteConfig::memory()).unwrap();
        let graphs = Graphs::default();
        let newer = GraphHash::new("newer").unwrap();
        let missing = graphs.get(&store, &newer).await.unwrap_err();
        assert!(!missing.is_retryable() && missing.to_string().contains("not in the store"));

        let name = GraphName::new("g").unwrap();
        let json = r#"{"format": 99, "graph": {}}"#.to_owned();
        store.put_graph(&StoredGraph { hash: newer.clone(), name: name.clone(), json }).await.unwrap();
        let unreadable = graphs.get(&store, &newer).await.unwrap_err();
        let why = std::error::Error::source(&unreadable).unwrap().to_string();
        assert!(!unreadable.is_retryable() && why.contains("format 99") && why.contains("upgrade"), "{why}");

        let graph = serde_json::from_str(r#"{"name": "g", "nodes": {}, "edges": []}"#).unwrap();
        let Canonical { hash, name, json } = canonical(&graph);
        store.put_graph(&StoredGraph { hash: hash.clone(), name, json }).await.unwrap();
        let first = graphs.get(&store, &hash).await.unwrap();
        assert!(Arc::ptr_eq(&first, &graphs.get(&store, &hash).await.unwrap()));
    }
}
