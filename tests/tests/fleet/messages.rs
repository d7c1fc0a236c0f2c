//! Messages that are doubled, late, or taken back by the broker: G3.

use std::time::Duration;

use coxswain_shared::broker::Broker as _;
use coxswain_shared::id::{PoolName, TaskKey};
use coxswain_shared::priority::Lane;
use coxswain_tests::fleet::{Fleet, SOON};

use crate::rig::meanwhile;

/// Publishes a message about a run's task, so often.
async fn publish(fleet: &Fleet, task: &TaskKey, times: usize) {
    let broker = fleet.broker().await;
    let messages = vec![(Lane::normal(PoolName::standard()), task.clone()); times];
    for answer in broker.publish_confirmed(&messages).await {
        answer.expect("a running broker confirms");
    }
    broker.close().await;
}

#[tokio::test]
async fn messages_that_are_doubled_or_late_run_nothing_twice() {
    let fleet = Fleet::start(1, 2).await;
    let graph = fleet.chain([fleet.script("note start; sleep 3; finish"), fleet.script("note start; finish")]);
    let run = fleet.submit(&graph).await;
    let effect = fleet.noted(&run, "start", 1, SOON).await[0].clone();
    let task = TaskKey { run: fleet.run(&run).await.key, task: effect.task };
    // While it is under way, and after its step is over.
    publish(&fleet, &task, 5).await;
    fleet.succeeded(&run, SOON).await;
    publish(&fleet, &task, 5).await;
    // A task of a step that will never be.
    publish(&fleet, &TaskKey { task: "9:n1:0".parse().unwrap(), ..task }, 1).await;
    meanwhile(&fleet).await;
    assert_eq!(fleet.effects(&run).len(), 4, "two tasks, each once: {:?}", fleet.effects(&run));
    fleet.verdict(&[run]).await;
}

/// The broker closes the channel (406) and delivers again to the other worker, which finds the lease renewed.
#[tokio::test]
async fn an_attempt_that_outlives_the_consumer_timeout_is_neither_stopped_nor_doubled() {
    let mut fleet = Fleet::with_own_broker(1, 0).await;
    fleet.rabbit().set_consumer_timeout(Duration::from_secs(2)).await;
    fleet.add_worker(&[]).await;
    fleet.add_worker(&[]).await;
    let run = fleet.submit(&fleet.chain([fleet.script("note start; sleep 8; finish")])).await;
    fleet.succeeded(&run, SOON).await;
    assert!(fleet.rabbit().log().contains("consumer"), "the broker closed no channel:\n{}", fleet.rabbit().log());
    assert!(fleet.rabbit().log().contains("timed out"), "the broker closed no channel:\n{}", fleet.rabbit().log());
    assert_eq!(fleet.effects(&run).len(), 2, "it ran once: {:?}", fleet.effects(&run));
    fleet.verdict(&[run]).await;
}
