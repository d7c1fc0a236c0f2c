//! What holds tasks up that nothing else shows: queued tasks of pools that no worker serves.

use std::collections::{BTreeMap, BTreeSet};

use super::patience::patiently;
use super::{Error, graph_of};
use crate::graph::canonical::pools;
use crate::graph::{EdgeTarget, Graph};
use crate::id::{GraphHash, NodeName, PoolName, RunId};
use crate::run::RunStatus;
use crate::store::{Run, Standing, Store};
use crate::task::{Task, TaskState};

/// Tasks of a run that are looked at: what waits beside so many others is not forgotten.
const TASKS: usize = 256;

/// The nodes that some edge fans out over a list: their tasks are told apart by their items, from 0 on.
pub fn fan_outs(graph: &Graph) -> BTreeSet<NodeName> {
    let fanned = graph.edges.iter().filter(|edge| edge.for_each.is_some());
    fanned
        .filter_map(|edge| match &edge.to {
            EdgeTarget::Node(node) => Some(node.clone()),
            EdgeTarget::End => None,
        })
        .collect()
}

/// The pools that some worker takes tasks of.
pub async fn served(store: &dyn Store) -> Result<BTreeSet<PoolName>, Error> {
    let workers = patiently(async || store.workers().await).await?;
    let now = patiently(async || store.now().await).await?;
    let serving = workers.into_iter().filter(|worker| match worker.standing(now) {
        Standing::TakingWork | Standing::Silent => true,
        Standing::Draining | Standing::Lost => false,
    });
    Ok(serving.flat_map(|worker| worker.pools).collect())
}

/// The pools that queued ones among these tasks wait for, and that are not among those that are served.
pub(super) fn unserved(graph: &Graph, tasks: &[Task], served: &BTreeSet<PoolName>) -> Vec<PoolName> {
    let queued = tasks.iter().filter(|task| task.state == TaskState::Queued);
    let wanted: BTreeSet<_> =
        queued.filter_map(|task| graph.nodes.get(&task.id.node)).map(|node| node.pool.clone()).collect();
    wanted.difference(served).cloned().collect()
}

/// Of runs, the pools that their queued tasks wait for and that no worker serves. A run that waits for none is absent.
pub async fn unserved_of(store: &dyn Store, runs: &[Run]) -> Result<BTreeMap<RunId, Vec<PoolName>>, Error> {
    let mut found = BTreeMap::new();
    let waiting: Vec<&Run> =
        runs.iter().filter(|run| run.status == RunStatus::Running && run.open_tasks > run.open_leases).collect();
    if waiting.is_empty() {
        return Ok(found);
    }
    let served = served(store).await?;
    let mut graphs: BTreeMap<GraphHash, Graph> = BTreeMap::new();
    for run in waiting {
        if !graphs.contains_key(&run.graph_hash) {
            graphs.insert(run.graph_hash.clone(), graph_of(store, &run.graph_hash).await?);
        }
        let graph = &graphs[&run.graph_hash];
        if pools(graph).is_subset(&served) {
            continue;
        }
        let tasks = patiently(async || store.tasks(&run.key, run.step, 0, TASKS).await).await?;
        let pools = unserved(graph, &tasks, &served);
        if !pools.is_empty() {
            found.insert(run.key.id.clone(), pools);
        }
    }
    Ok(found)
}
