//! Stopping many runs at once, as `cox cancel` does: some hold a slot, the others wait on the queue.

use std::collections::BTreeSet;

use coxswain_shared::control::cancel::{self, CONCURRENCY, Orders};
use coxswain_shared::graph::Graph;
use coxswain_shared::id::RunId;
use coxswain_shared::store::RunFilter;
use futures_util::TryStreamExt as _;
use futures_util::future::try_join_all;

use super::fleet::{Fleet, WITHIN_STOP, order};
use super::report::BulkStop;
use super::stops::hanging;
use crate::exit::Exit;
use crate::failure::Failed;

/// Runs that are submitted at once.
const SUBMITTED_AT_ONCE: usize = 64;

/// Begins runs that hold every slot, and as many others as are asked for; stops them all with one command, and waits
/// until the last one has stopped.
pub(super) async fn stop(fleet: &Fleet, queued: u32, slots: u16) -> Result<BulkStop, Failed> {
    let graph = hanging("bench_bulk")?;
    let hash = fleet.deploy(&graph).await?;
    let holding: Vec<_> = (0..slots).map(|_| RunId::fresh()).collect();
    let started: Vec<_> = holding.iter().map(|id| fleet.hangs().started.expect(id)).collect();
    for id in &holding {
        fleet.begin_unwatched(id.clone(), &graph, &hash).await?;
    }
    try_join_all(started).await.map_err(|_| Failed::bare(Exit::Internal, "a handler was lost"))?;
    let waiting: Vec<_> = (0..queued).map(|_| RunId::fresh()).collect();
    for some in waiting.chunks(SUBMITTED_AT_ONCE) {
        try_join_all(some.iter().map(|id| fleet.begin_unwatched(id.clone(), &graph, &hash))).await?;
    }
    let mine: BTreeSet<RunId> = holding.into_iter().chain(waiting).collect();
    let summary = cancel_all(fleet, &graph, &mine).await?;
    fleet.forget(&mine);
    Ok(BulkStop { running: u32::from(slots), queued, summary })
}

async fn cancel_all(fleet: &Fleet, graph: &Graph, mine: &BTreeSet<RunId>) -> Result<cancel::Summary, Failed> {
    let filter = RunFilter { graph: Some(graph.name.clone()), ..RunFilter::default() };
    let runs = cancel::select(fleet.store(), filter).map_ok(|run| run.key.id);
    // Runs of an earlier bench that was killed may be there as well.
    let runs = runs.try_filter(|id| std::future::ready(mine.contains(id)));
    let orders = Orders { order: order(), concurrency: CONCURRENCY, wait: Some(WITHIN_STOP) };
    let summary = cancel::many(fleet.store(), runs, &orders, |_, _| {}).await?;
    if summary.asked == mine.len() as u64 && summary.stopping == 0 {
        return Ok(summary);
    }
    let why =
        format!("{} of {} runs were asked to stop, and {} are stopping", summary.asked, mine.len(), summary.stopping);
    Err(Failed::bare(Exit::StillStopping, why))
}
