//! The examples' handlers, as they stand in `examples/`, on the bench.

use std::collections::BTreeMap;

use coxswain_shared::outcome::Outcome;
use serde_json::{Value, json};

use super::bench::{Bench, values, wait_for};

#[expect(dead_code, reason = "its main is not called here")]
#[path = "../../examples/cleanup.rs"]
mod cleanup;
#[expect(dead_code, reason = "its main is not called here")]
#[path = "../../examples/custom_worker.rs"]
mod custom_worker;

async fn written(bench: &Bench, node: Value) -> Value {
    let run = bench.prepare(node, values(json!({"text": "one two three four"})), None).await;
    bench.publish(&run).await;
    match bench.settled(&run).await.outcome {
        Some(Outcome::Succeeded { writes, .. }) => serde_json::to_value(writes).unwrap(),
        other => panic!("it did not succeed: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_custom_worker_counts_and_shortens() {
    let bench = Bench::new();
    let running = bench.start_with(custom_worker::handlers);
    let counted = json!({"kind": "rust", "handler": "count_words"});
    assert_eq!(written(&bench, counted).await, json!({"words": 4}));
    let shortened = json!({"kind": "rust", "handler": "shorten", "with": {"words": 3}, "into": "text"});
    assert_eq!(written(&bench, shortened).await, json!({"text": "one two three …"}));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cleanup_example_leaves_nothing_behind_when_it_is_stopped() {
    let bench = Bench::new();
    let rentals = cleanup::Rentals::default();
    let running = bench.start_with(|builder| cleanup::handlers(builder, rentals.clone()));
    let run = bench.prepare(json!({"kind": "rust", "handler": "render"}), BTreeMap::new(), None).await;
    bench.publish(&run).await;
    wait_for(|| async {
        let events = bench.store.events(&run, 0, 10).await.unwrap();
        if events.is_empty() { Err("no frame yet".to_owned()) } else { Ok(()) }
    })
    .await;
    assert_eq!(rentals.0.lock().unwrap().len(), 1);
    bench.stop(&run, None, false).await;
    bench.run_ended(&run).await;
    assert_eq!(rentals.0.lock().unwrap().len(), 0);
    let partial = bench.task(&run).await.proof.unwrap().partial.unwrap();
    assert!(partial["frames"].as_u64().unwrap() >= 1, "{partial}");
    running.drain().await;
}
