//! Graphs by their hash, read once: a graph under a hash never changes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use coxswain_shared::graph::Graph;
use coxswain_shared::id::GraphHash;
use coxswain_shared::store::{self, Store};

/// Graphs that are kept; the one that was read first goes first.
const GRAPHS_KEPT: usize = 256;

/// Why there is no graph.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the graph {0} is not in the store")]
    Missing(GraphHash),
    #[error("the graph {hash} cannot be read by this worker: it is damaged, or of a newer version")]
    Unreadable {
        hash: GraphHash,
        #[source]
        source: serde_json::Error,
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
        let graph: Graph =
            serde_json::from_str(&stored.json).map_err(|source| Error::Unreadable { hash: hash.clone(), source })?;
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
