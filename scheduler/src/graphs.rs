//! The graphs in use, read from the store once each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use coxswain_shared::graph::Graph;
use coxswain_shared::graph::canonical::from_stored;
use coxswain_shared::id::GraphHash;
use coxswain_shared::store::{Error, Store};

/// The graphs that are kept at most; beyond it the cache starts anew. A graph is immutable, so nothing is ever stale.
const GRAPHS_MAX: usize = 1_000;

/// Graphs by their hash.
#[derive(Debug, Default)]
pub(crate) struct Graphs {
    known: Mutex<HashMap<GraphHash, Arc<Graph>>>,
}

/// Why there is no graph.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Missing {
    /// The store could not be asked.
    #[error("the graph could not be read")]
    Store(#[from] Error),
    /// The store has none of this hash: the run cannot go on.
    #[error("the store does not have the graph {0}: submit it again")]
    Lost(GraphHash),
    /// The store's graph cannot be read: the run cannot go on.
    #[error("the graph {hash} cannot be used")]
    Unusable { hash: GraphHash, source: coxswain_shared::graph::canonical::Error },
}

impl Graphs {
    /// The graph of a hash.
    pub(crate) async fn get(&self, store: &dyn Store, hash: &GraphHash) -> Result<Arc<Graph>, Missing> {
        if let Some(graph) = self.lock().get(hash) {
            return Ok(Arc::clone(graph));
        }
        let stored = store.graph(hash).await?.ok_or_else(|| Missing::Lost(hash.clone()))?;
        let graph = from_stored(&stored.json).map_err(|source| Missing::Unusable { hash: hash.clone(), source })?;
        let graph = Arc::new(graph);
        let mut known = self.lock();
        if known.len() >= GRAPHS_MAX {
            known.clear();
        }
        known.insert(hash.clone(), Arc::clone(&graph));
        Ok(graph)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<GraphHash, Arc<Graph>>> {
        self.known.lock().expect("nothing panics while it holds this lock")
    }
}
