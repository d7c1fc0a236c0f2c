//! Runs that are more urgent than others, on a fleet that has more to do than it can.

use coxswain_shared::control::Submission;
use coxswain_shared::graph::Graph;
use coxswain_shared::id::{PoolName, RunId};
use coxswain_shared::priority::{Lane, Priority};
use coxswain_shared::time::Timestamp;
use coxswain_tests::fleet::{ACTOR, Fleet, SOON};
use coxswain_tests::wait_for;

use crate::rig::tell;

/// Runs that can wait, and those that cannot and come after them. So many of these that low gets a turn beside them.
const LOW: usize = 60;
const HIGH: usize = 40;

async fn submit(fleet: &Fleet, graph: &Graph, priority: Priority, count: usize) -> Vec<RunId> {
    let mut runs = Vec::new();
    for _ in 0..count {
        runs.push(fleet.submit_as(Submission { priority, ..Submission::new(graph.clone(), ACTOR) }).await);
    }
    runs
}

async fn ends(fleet: &Fleet, runs: &[RunId]) -> Vec<Timestamp> {
    let mut ends = Vec::new();
    for run in runs {
        ends.push(fleet.succeeded(run, SOON).await.ended_at.expect("what has ended has a time for it"));
    }
    ends.sort();
    ends
}

#[tokio::test]
async fn urgent_runs_overtake_a_backlog_that_goes_on_beside_them() {
    let mut fleet = Fleet::start(1, 0).await;
    fleet.add_worker(&[("COX_SLOTS", "1")]).await;
    let graph = fleet.chain([fleet.script("note start; sleep 0.1; finish")]);
    let low = submit(&fleet, &graph, Priority::Low, LOW).await;
    let broker = fleet.broker().await;
    let lane = Lane::new(PoolName::standard(), Priority::Low);
    let many = wait_for("a backlog of low runs", SOON, async || {
        use coxswain_shared::broker::Broker as _;
        let waiting = broker.backlog(&lane).await.map_err(|error| error.to_string())?.unwrap_or(0);
        if waiting > LOW as u64 / 2 { Ok(waiting) } else { Err(format!("{waiting} messages")) }
    })
    .await;
    let high = submit(&fleet, &graph, Priority::High, HIGH).await;
    let high_ends = ends(&fleet, &high).await;
    let low_ends = ends(&fleet, &low).await;
    let (first, last) = (high_ends[0], high_ends[HIGH - 1]);
    let beside = low_ends.iter().filter(|end| (first..last).contains(end)).count();
    let after = low_ends.iter().filter(|end| **end > last).count();
    tell(format_args!("of {LOW} low runs, {many} of them waiting: {beside} beside {HIGH} high ones, {after} after"));
    assert!(beside >= 1, "low runs stood still while high ones came");
    assert!(beside <= HIGH / 4, "{beside} low runs went before high ones");
    assert!(after > LOW / 4, "only {after} low runs were left when the high ones were through");
    fleet.verdict(&[low, high].concat()).await;
}
