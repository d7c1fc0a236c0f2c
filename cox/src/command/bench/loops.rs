//! Loop graphs: steps per second with many runs in flight, and the latency of a run with nothing beside it.

use std::time::Instant;

use coxswain_shared::graph::{Channel, Graph, Node};
use coxswain_shared::id::{GraphHash, RunId};
use coxswain_shared::run::RunStatus;
use futures_util::future::try_join_all;

use super::fleet::{Begun, COUNT, Fleet, POOL};
use super::report::{Latency, Loops};
use super::spread::Spread;
use crate::exit::Exit;
use crate::failure::Failed;

/// Loops of a run whose latency is measured, as the targets have it.
const LATENCY_STEPS: u32 = 10;
/// Runs that nobody measures: connections, scripts and caches are there afterwards.
const WARM_UP_RUNS: u32 = 20;
/// Runs that are submitted at once.
const SUBMITTED_AT_ONCE: usize = 32;

/// A graph whose one node runs `steps` times.
pub(super) fn loop_graph(steps: u32) -> Result<Graph, Failed> {
    Graph::builder("bench_loop")
        .max_steps(u64::from(steps) + 1)
        .node_runs(u64::from(steps) + 1)
        .channel("count", Channel::add(0))
        .node("work", Node::rust(COUNT).pool(POOL))
        .edge("START", "work")
        .edge_if("work", "work", format!("count < {steps}"))
        .otherwise("work", "END")
        .build()
        .map_err(|diagnostics| {
            Failed::bare(Exit::Internal, format!("the bench's own graph is mistaken\n{diagnostics}"))
        })
}

/// Runs a few runs, so that what is measured afterwards is not the start.
pub(super) async fn warm_up(fleet: &Fleet) -> Result<(), Failed> {
    one_at_a_time(fleet, WARM_UP_RUNS).await.map(drop)
}

/// Times runs one at a time: from the moment that a run is submitted until its last plan is written.
pub(super) async fn latency(fleet: &Fleet, samples: u32) -> Result<Latency, Failed> {
    Ok(Latency { steps_each: LATENCY_STEPS, run: one_at_a_time(fleet, samples).await? })
}

async fn one_at_a_time(fleet: &Fleet, runs: u32) -> Result<Spread, Failed> {
    let graph = loop_graph(LATENCY_STEPS)?;
    let hash = fleet.deploy(&graph).await?;
    let mut samples = Vec::new();
    for _ in 0..runs {
        let begun_at = Instant::now();
        let begun = fleet.begin(RunId::fresh(), &graph, &hash).await?;
        let ended_at = fleet.end(begun, RunStatus::Succeeded).await?;
        samples.push(ended_at - begun_at);
    }
    Ok(Spread::of(samples))
}

/// Submits many runs and waits until all have ended. Submitting them is part of what is measured.
pub(super) async fn steps(fleet: &Fleet, runs: u32, steps_each: u32) -> Result<Loops, Failed> {
    let graph = loop_graph(steps_each)?;
    let hash = fleet.deploy(&graph).await?;
    let before = fleet.counts();
    let begun = begin_many(fleet, &graph, &hash, runs).await?;
    let ends = try_join_all(begun.into_iter().map(|begun| fleet.end(begun, RunStatus::Succeeded))).await?;
    let last = ends.into_iter().max().unwrap_or(before.at);
    Ok(Loops::between(&before, &fleet.counts(), last - before.at, (runs, steps_each)))
}

/// Submits many runs.
pub(super) async fn begin_many(
    fleet: &Fleet,
    graph: &Graph,
    hash: &GraphHash,
    runs: u32,
) -> Result<Vec<Begun>, Failed> {
    let ids: Vec<_> = (0..runs).map(|_| RunId::fresh()).collect();
    let mut begun = Vec::with_capacity(ids.len());
    for some in ids.chunks(SUBMITTED_AT_ONCE) {
        begun.extend(try_join_all(some.iter().map(|id| fleet.begin(id.clone(), graph, hash))).await?);
    }
    Ok(begun)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graph_is_valid_for_every_number_of_steps_that_may_be_asked_for() {
        for steps in [1, 10, 10_000, 1_000_000 - 1] {
            assert!(loop_graph(steps).is_ok(), "{steps}");
        }
    }
}
