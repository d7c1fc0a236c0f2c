//! The latency of a stop: from the order being given until the handler's future is dropped, and until the run has ended.

use std::time::{Duration, Instant};

use coxswain_shared::graph::{Graph, Node};
use coxswain_shared::id::{GraphHash, RunId};
use coxswain_shared::run::RunStatus;

use super::fleet::{Fleet, HANG, POOL};
use super::loops::{begin_many, loop_graph};
use super::report::{LoadedStop, Stop};
use super::spread::Spread;
use crate::exit::Exit;
use crate::failure::Failed;

/// Steps of a run that is only there as load: more than it can do while it is watched.
const LOAD_STEPS: u32 = 999_999;
/// Runs that are the load, for each slot.
const LOAD_RUNS_PER_SLOT: u32 = 2;
/// The store's call that ends a step of the load.
const STEP_CALL: &str = "settle";

/// With nothing else under way.
pub(super) async fn idle(fleet: &Fleet, samples: u32) -> Result<Stop, Failed> {
    one_at_a_time(fleet, samples).await
}

/// While loop runs keep all slots busy.
pub(super) async fn loaded(fleet: &Fleet, samples: u32, slots: u16) -> Result<LoadedStop, Failed> {
    let graph = loop_graph(LOAD_STEPS)?;
    let hash = fleet.deploy(&graph).await?;
    let load = begin_many(fleet, &graph, &hash, u32::from(slots) * LOAD_RUNS_PER_SLOT).await?;
    let before = fleet.counts();
    let stop = one_at_a_time(fleet, samples).await?;
    let after = fleet.counts();
    for run in &load {
        fleet.stop(&run.id).await?;
    }
    for run in load {
        fleet.end(run, RunStatus::Cancelled).await?;
    }
    let settled = |counts: &super::fleet::Counts| counts.tallies.get(STEP_CALL).map_or(0, |tally| tally.count);
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown with three digits")]
    let steps_per_second = (settled(&after) - settled(&before)) as f64 / (after.at - before.at).as_secs_f64();
    Ok(LoadedStop { stop, steps_per_second })
}

async fn one_at_a_time(fleet: &Fleet, samples: u32) -> Result<Stop, Failed> {
    let graph = hanging("bench_hang")?;
    let hash = fleet.deploy(&graph).await?;
    let (mut dropped, mut ended) = (Vec::new(), Vec::new());
    for _ in 0..samples {
        let (until_dropped, until_ended) = one(fleet, &graph, &hash).await?;
        dropped.push(until_dropped);
        ended.push(until_ended);
    }
    Ok(Stop { dropped: Spread::of(dropped), ended: Spread::of(ended) })
}

/// How long it took from the order until the future was dropped, and until the run had ended.
async fn one(fleet: &Fleet, graph: &Graph, hash: &GraphHash) -> Result<(Duration, Duration), Failed> {
    let id = RunId::fresh();
    let (started, dropped) = (fleet.hangs().started.expect(&id), fleet.hangs().dropped.expect(&id));
    let begun = fleet.begin(id.clone(), graph, hash).await?;
    let gone = |_| Failed::bare(Exit::Internal, format!("the handler of the run {id} was lost"));
    started.await.map_err(gone)?;
    let ordered_at = Instant::now();
    fleet.stop(&id).await?;
    let dropped_at = dropped.await.map_err(gone)?;
    let ended_at = fleet.end(begun, RunStatus::Cancelled).await?;
    Ok((dropped_at - ordered_at, ended_at - ordered_at))
}

/// A graph whose one node waits for ever.
pub(super) fn hanging(name: &str) -> Result<Graph, Failed> {
    Graph::builder(name)
        .node("hang", Node::rust(HANG).pool(POOL))
        .edge("START", "hang")
        .edge("hang", "END")
        .build()
        .map_err(|diagnostics| {
            Failed::bare(Exit::Internal, format!("the bench's own graph is mistaken\n{diagnostics}"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graph_that_hangs_is_valid() {
        assert!(hanging("bench_hang").is_ok());
    }
}
