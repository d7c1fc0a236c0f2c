//! How a worker goes: it drains, hands back, and does so at once when told twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use coxswain_shared::broker::Broker;
use coxswain_shared::id::PoolName;
use coxswain_shared::priority::Lane;
use coxswain_shared::task::TaskState;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::bench::{Bench, rust, wait_for};
use crate::{Config, Ended, NodeError, Worker};

fn waiting(started: &Arc<Notify>, go_on: &Arc<Notify>) -> impl FnOnce(crate::Builder) -> crate::Builder + use<> {
    let (started, go_on) = (Arc::clone(started), Arc::clone(go_on));
    move |builder| {
        builder.handler("work", move |_ctx, _input: Value| {
            let (started, go_on) = (Arc::clone(&started), Arc::clone(&go_on));
            async move {
                started.notify_one();
                go_on.notified().await;
                Ok::<_, NodeError>(json!({"text": "done"}))
            }
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_hands_back_what_did_not_end_in_time_and_it_was_no_try() {
    let (bench, started, go_on) = (Bench::new(), Arc::default(), Arc::default());
    let running = bench.start_with(waiting(&started, &go_on));
    let run = bench.begin(rust(json!({}))).await;
    started.notified().await;
    assert_eq!(running.drain().await, Ended::Drained);
    let task = bench.task(&run).await;
    assert_eq!((task.state, task.attempts, task.crashes), (TaskState::Queued, 0, 0));
    assert_eq!(
        bench.broker.backlog(&Lane::normal(PoolName::standard())).await.unwrap(),
        Some(1),
        "its message is back on the queue"
    );
}

/// Nothing sweeps here, and two heartbeats are longer than the test: only the message can bring the task to the other
/// worker, and only if the task is free by the time that it is given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_drain_hands_back_is_claimed_elsewhere_at_once() {
    let (bench, started, go_on) = (Bench::new(), Arc::default(), Arc::default());
    let config = Config { heartbeat: Duration::from_mins(1), lease_ttl: Duration::from_mins(10), ..Bench::config() };
    let first = bench.start(waiting(&started, &go_on)(Worker::builder(config.clone())));
    let run = bench.begin(rust(json!({}))).await;
    started.notified().await;
    let elsewhere = bench.sharing();
    let second = elsewhere.start(waiting(&started, &go_on)(Worker::builder(config)));
    assert_eq!(first.drain().await, Ended::Drained);
    let begun = tokio::time::timeout(Duration::from_secs(20), started.notified()).await;
    begun.expect("the other worker begins before two heartbeats have passed");
    go_on.notify_one();
    let task = bench.settled(&run).await;
    assert_eq!((task.attempts, task.crashes, task.fence.get()), (1, 0, 2));
    assert_eq!(elsewhere.metric("cox_leases_taken_over_total"), 0);
    second.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_lets_attempts_end_within_its_grace() {
    let (bench, started, go_on) = (Bench::new(), Arc::default(), Arc::default());
    let mut config = Bench::config();
    config.drain_grace = Duration::from_mins(5);
    let running = bench.start(waiting(&started, &go_on)(Worker::builder(config)));
    let run = bench.begin(rust(json!({}))).await;
    started.notified().await;
    running.tasks.start_drain();
    let later = bench.begin(rust(json!({}))).await;
    wait_for(|| async {
        let draining = bench.store.workers().await.unwrap().iter().any(|worker| worker.draining);
        if draining { Ok(()) } else { Err("no worker says that it drains".to_owned()) }
    })
    .await;
    go_on.notify_one();
    assert_eq!(running.ended().await, Ended::Drained);
    assert_eq!(bench.task(&run).await.state, TaskState::Settled);
    assert_eq!(bench.task(&later).await.state, TaskState::Queued, "no new work is taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_hands_back_at_once() {
    let (bench, started, go_on) = (Bench::new(), Arc::default(), Arc::default());
    let mut config = Bench::config();
    config.drain_grace = Duration::from_mins(5);
    let running = bench.start(waiting(&started, &go_on)(Worker::builder(config)));
    let run = bench.begin(rust(json!({"grace": "5m"}))).await;
    started.notified().await;
    running.tasks.start_drain();
    let told = Instant::now();
    running.tasks.abort();
    assert_eq!(running.ended().await, Ended::Drained);
    assert!(told.elapsed() < Duration::from_secs(10));
    let task = bench.task(&run).await;
    assert_eq!((task.state, task.attempts), (TaskState::Queued, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_ready_when_it_is_subscribed_and_the_store_answers() {
    let bench = Bench::new();
    let worker = Worker::builder(Bench::config())
        .build(Arc::clone(&bench.store), Arc::new(bench.broker.clone()), &bench.metrics)
        .unwrap();
    let health = worker.health();
    assert_eq!(health.complaints().len(), 2);
    let tasks = coxswain_shared::lifecycle::Tasks::new();
    let running = coxswain_shared::lifecycle::Tasks::new().spawn(worker.run(tasks.clone()));
    wait_for(|| async {
        let complaints = health.complaints();
        if complaints.is_empty() { Ok(()) } else { Err(complaints.join("; ")) }
    })
    .await;
    bench.broker.close();
    assert_eq!(running.await.unwrap().unwrap().unwrap(), Ended::BrokerClosed);
}
