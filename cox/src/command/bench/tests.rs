//! The bench on a small scale, on a store in a file: what is measured is there, and nothing is left running.

use std::sync::Arc;

use coxswain_shared::broker::{Broker, LocalBroker};
use coxswain_shared::config::Source;
use coxswain_shared::id::RunId;

use super::fleet::Fleet;
use super::scratch::Scratch;
use super::{bulk, loops, raw, stops};

async fn fleet(scratch: &Scratch) -> Fleet {
    let source = Source::default().with("COX_STORE", Some(scratch.store())).with("COX_WORK_THREADS", Some("2"));
    Fleet::start(&source, 4).await.expect("an embedded fleet needs nothing").0
}

#[tokio::test(flavor = "multi_thread")]
async fn every_part_is_measured_and_nothing_is_left() {
    let scratch = Scratch::make().unwrap();
    let fleet = fleet(&scratch).await;
    let latency = loops::latency(&fleet, 2).await.unwrap();
    assert_eq!((latency.steps_each, latency.run.samples), (10, 2));
    let steps = serde_json::to_value(loops::steps(&fleet, 3, 4).await.unwrap()).unwrap();
    assert!(steps["messages_per_step"].as_f64().unwrap() >= 1.0, "{steps}");
    assert!(steps["round_trips_per_step"].is_null(), "{steps}");
    let idle = stops::idle(&fleet, 2).await.unwrap();
    assert_eq!((idle.dropped.samples, idle.ended.samples), (2, 2));
    assert!(idle.ended.max_ms >= idle.dropped.p50_ms);
    let loaded = stops::loaded(&fleet, 2, 4).await.unwrap();
    assert_eq!(loaded.stop.dropped.samples, 2);
    let bulk = serde_json::to_value(bulk::stop(&fleet, 10, 4).await.unwrap()).unwrap();
    assert_eq!((&bulk["asked"], &bulk["confirmed"]), (&14.into(), &14.into()), "{bulk}");
    assert_eq!(fleet.live_runs(), 0);
    assert!(fleet.finish().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_are_under_way_when_it_ends_are_stopped() {
    let scratch = Scratch::make().unwrap();
    let fleet = fleet(&scratch).await;
    let graph = loops::loop_graph(100_000).unwrap();
    let hash = fleet.deploy(&graph).await.unwrap();
    let begun = loops::begin_many(&fleet, &graph, &hash, 3).await.unwrap();
    let ids: Vec<RunId> = begun.into_iter().map(|begun| begun.id).collect();
    let store = fleet.watched();
    assert!(fleet.finish().await, "the runs have not stopped");
    for id in ids {
        let run = coxswain_shared::store::Store::run(store.as_ref(), &id).await.unwrap().unwrap();
        assert!(run.stop.is_some_and(|report| report.closed_at.is_some()), "{}", run.status);
    }
}

#[tokio::test]
async fn a_broker_by_itself_carries_every_message_once() {
    let broker: Arc<dyn Broker> = Arc::new(LocalBroker::new());
    let raw = serde_json::to_value(raw::measure(&broker, 1_000, 8).await.unwrap()).unwrap();
    assert_eq!(raw["messages"], 1_000);
    assert_eq!(broker.backlog(&"bench_raw".parse().unwrap()).await.unwrap(), Some(0));
}
