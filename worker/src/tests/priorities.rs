//! What a worker does with lanes that share its slots.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use coxswain_shared::broker::Broker;
use coxswain_shared::id::PoolName;
use coxswain_shared::priority::{Lane, Priority};
use coxswain_shared::task::TaskState;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::bench::{Bench, rust, wait_for};
use crate::{Builder, Config, Context, NodeError, Worker};

/// A worker of one slot, whose handler waits for leave to end.
fn one_slot(started: &Arc<AtomicU32>, leave: &Arc<Semaphore>) -> Builder {
    let (started, leave) = (Arc::clone(started), Arc::clone(leave));
    Worker::builder(Config { slots: 1, ..Bench::config() }).handler("work", move |_ctx: Context, _input: Value| {
        let (started, leave) = (Arc::clone(&started), Arc::clone(&leave));
        async move {
            started.fetch_add(1, Ordering::SeqCst);
            leave.acquire().await.unwrap().forget();
            Ok::<_, NodeError>(json!({"text": "done"}))
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_in_vain_at_a_full_worker_goes_to_one_that_has_a_slot_and_is_no_dead_letter() {
    let bench = Bench::new();
    let (started, leave) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
    let full = bench.start(one_slot(&started, &leave));
    let long = bench.begin(rust(json!({}))).await;
    bench.task_when(&long, |task| task.state == TaskState::Leased).await;
    let lane = Lane::new(PoolName::standard(), Priority::Low);
    let stuck = bench.prepare(rust(json!({})), std::collections::BTreeMap::new(), None).await;
    bench.publish_in(&lane, &stuck).await;
    wait_for(|| async {
        let waiting = bench.broker.backlog(&lane).await.unwrap().unwrap_or(0);
        if waiting == 0 { Ok(()) } else { Err(format!("{waiting} wait")) }
    })
    .await;
    assert_eq!(bench.task(&stuck).await.state, TaskState::Queued, "it is at hand, and there is no slot");

    let idle = bench.sharing();
    let other = idle.start(one_slot(&started, &leave));
    bench.task_when(&stuck, |task| task.state == TaskState::Leased).await;
    wait_for(|| async {
        let begun = started.load(Ordering::SeqCst);
        if begun == 2 {
            Ok(())
        } else {
            Err(format!("{begun} began: the first goes on, and the other follows its lease"))
        }
    })
    .await;
    bench.metric_reaches(r#"cox_deliveries_total{end="passed_on"}"#, 1).await;
    leave.add_permits(2);
    bench.settled(&long).await;
    bench.settled(&stuck).await;
    assert!(bench.broker.dead_letters().is_empty());
    other.drain().await;
    full.drain().await;
}
