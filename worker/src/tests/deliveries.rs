//! What becomes of deliveries: duplicates, silent leases, garbage, and a store that fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use coxswain_shared::broker::Broker;
use coxswain_shared::fault::{Fault, Rates};
use coxswain_shared::id::{Nonce, PoolName, WorkerId};
use coxswain_shared::outcome::Outcome;
use coxswain_shared::priority::Lane;
use coxswain_shared::spend::Spend;
use coxswain_shared::store::{Claim, Claimed, Renewal, Renewed};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::bench::{Bench, rust, task_of, wait_for};
use crate::{Builder, Config, Context, NodeError, Worker};

/// A handler that says when it runs, counts, and ends when told.
struct Gate {
    started: Arc<Notify>,
    go_on: Arc<Notify>,
    runs: Arc<AtomicU32>,
}

impl Gate {
    fn new() -> Self {
        Self { started: Arc::default(), go_on: Arc::default(), runs: Arc::default() }
    }

    fn handler(&self) -> impl FnOnce(Builder) -> Builder + use<> {
        let (started, go_on, runs) = (Arc::clone(&self.started), Arc::clone(&self.go_on), Arc::clone(&self.runs));
        move |builder| {
            builder.handler("work", move |_ctx: Context, _input: Value| {
                let (started, go_on, runs) = (Arc::clone(&started), Arc::clone(&go_on), Arc::clone(&runs));
                async move {
                    runs.fetch_add(1, Ordering::SeqCst);
                    started.notify_one();
                    go_on.notified().await;
                    Ok::<_, NodeError>(json!({"text": "done"}))
                }
            })
        }
    }
}

fn succeeded(outcome: Option<&Outcome>) {
    assert!(matches!(outcome, Some(Outcome::Succeeded { .. })), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_of_a_living_attempt_is_dropped_here_and_elsewhere() {
    let (bench, gate) = (Bench::new(), Gate::new());
    // Two heartbeats are long enough that a busy machine does not make a living lease look silent.
    let builder = || Worker::builder(Config { heartbeat: Duration::from_secs(1), ..Bench::config() });
    let running = bench.start(gate.handler()(builder()));
    let run = bench.begin(rust(json!({}))).await;
    gate.started.notified().await;
    bench.publish(&run).await;
    bench.metric_reaches(r#"cox_deliveries_total{end="duplicate"}"#, 1).await;

    let elsewhere = bench.sharing();
    let other = elsewhere.start(gate.handler()(builder()));
    // One slot of the first worker is free: whoever takes it, the lease is alive.
    for n in 2..=4 {
        bench.publish(&run).await;
        wait_for(|| async {
            let line = r#"cox_deliveries_total{end="duplicate"}"#;
            let dropped = bench.metric(line) + elsewhere.metric(line);
            if dropped >= n { Ok(()) } else { Err(format!("{dropped} were dropped")) }
        })
        .await;
    }
    gate.go_on.notify_one();
    succeeded(bench.settled(&run).await.outcome.as_ref());
    assert_eq!(gate.runs.load(Ordering::SeqCst), 1);
    assert_eq!(bench.broker.backlog(&Lane::normal(PoolName::standard())).await.unwrap(), Some(0));
    other.drain().await;
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_lease_is_taken_over_after_two_heartbeats() {
    let (bench, gate) = (Bench::new(), Gate::new());
    let run = bench.prepare(rust(json!({})), std::collections::BTreeMap::new(), None).await;
    let claim = Claim {
        task: task_of(&run),
        worker: WorkerId::new("gone").unwrap(),
        nonce: Nonce::fresh(),
        ttl: Duration::from_mins(10),
        takeover_after: None,
        alone: false,
    };
    assert!(matches!(bench.store.claim(claim).await.unwrap(), Claimed::Leased(_)));
    let running = bench.start_with(gate.handler());
    bench.publish(&run).await;
    gate.started.notified().await;
    assert_eq!(bench.metric("cox_leases_taken_over_total"), 1);
    gate.go_on.notify_one();
    let task = bench.settled(&run).await;
    succeeded(task.outcome.as_ref());
    assert_eq!((task.crashes, task.crashes_uncounted, task.fence.get()), (0, 1, 2));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_and_poison_go_to_the_dead_letters_with_the_reason() {
    let (bench, gate) = (Bench::new(), Gate::new());
    let run = bench.prepare(rust(json!({"max_crashes": 1})), std::collections::BTreeMap::new(), None).await;
    let claim = Claim {
        task: task_of(&run),
        worker: WorkerId::new("gone").unwrap(),
        nonce: Nonce::fresh(),
        ttl: Duration::from_mins(10),
        takeover_after: None,
        alone: true,
    };
    let Claimed::Leased(lease) = bench.store.claim(claim).await.unwrap() else { panic!("it is free") };
    let (ttl, spent) = (Duration::from_mins(10), Spend::default());
    let begun = Renewal { task: task_of(&run), fence: lease.fence, ttl, spent };
    assert_eq!(bench.store.renew(&[begun]).await.unwrap(), [Renewed::Held]);
    let running = bench.start_with(gate.handler());
    bench.publish(&run).await;
    bench.broker.publish_raw(&Lane::normal(PoolName::standard()), b"{\"v\":9}".to_vec()).unwrap();
    let reasons = wait_for(|| async {
        let reasons: Vec<_> = bench.broker.dead_letters().into_iter().map(|letter| letter.reason).collect();
        if reasons.len() == 2 { Ok(reasons) } else { Err(format!("{reasons:?}")) }
    })
    .await;
    assert!(reasons.iter().any(|reason| reason.contains("version 9")), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("1 attempts crashed")), "{reasons:?}");
    assert!(matches!(bench.settled(&run).await.outcome, Some(Outcome::Crashed { .. })));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_replies_of_claims_and_settles_do_no_harm() {
    let (bench, gate) = (Bench::new(), Gate::new());
    for fault in [Fault::ReplyLost, Fault::Refused] {
        bench.faults.next("claim", fault);
        bench.faults.next("graph", fault);
        bench.faults.next("settle", fault);
    }
    let running = bench.start_with(gate.handler());
    let run = bench.begin(rust(json!({}))).await;
    gate.started.notified().await;
    gate.go_on.notify_one();
    let task = bench.settled(&run).await;
    succeeded(task.outcome.as_ref());
    assert_eq!((gate.runs.load(Ordering::SeqCst), task.fence.get()), (1, 1));
    bench.metric_reaches(r#"cox_attempts_total{end="succeeded",kind="rust"}"#, 1).await;
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_lease_ends_the_attempt_and_writes_nothing() {
    let (bench, gate) = (Bench::new(), Gate::new());
    let running = bench.start(gate.handler()(Worker::builder(Bench::brief())));
    let run = bench.begin(rust(json!({}))).await;
    gate.started.notified().await;
    // The store is silent for longer than a lease lives; nobody sweeps, so the lease itself stays as it is.
    bench.faults.at("renew", Rates { refused: 1.0, reply_lost: 0.0 });
    bench.metric_reaches(r#"cox_attempts_total{end="abandoned",kind="rust"}"#, 1).await;
    assert_eq!(bench.metric("cox_leases_lost_total"), 1);
    let task = bench.task(&run).await;
    assert_eq!((task.outcome, task.last_failure), (None, None));
    assert_eq!(bench.faults.counts("settle").passed, 0);
    assert_eq!(bench.faults.counts("release").passed, 0);
    bench.faults.switch(false);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_is_written_once_the_store_takes_it_though_the_lease_was_lost_meanwhile() {
    let (bench, gate) = (Bench::new(), Gate::new());
    let running = bench.start(gate.handler()(Worker::builder(Bench::brief())));
    let run = bench.begin(rust(json!({}))).await;
    gate.started.notified().await;
    bench.faults.everywhere(Rates { refused: 1.0, reply_lost: 0.0 });
    gate.go_on.notify_one();
    bench.metric_reaches("cox_leases_lost_total", 1).await;
    let before = bench.faults.counts("settle").refused;
    wait_for(|| async {
        let refused = bench.faults.counts("settle").refused;
        if refused > before + 4 { Ok(()) } else { Err(format!("{refused} calls")) }
    })
    .await;
    bench.faults.switch(false);
    succeeded(bench.settled(&run).await.outcome.as_ref());
    assert_eq!(gate.runs.load(Ordering::SeqCst), 1, "nothing was done twice");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_that_cannot_be_written_is_given_up_when_its_tasks_time_is_up() {
    let (bench, gate) = (Bench::new(), Gate::new());
    let running = bench.start(gate.handler()(Worker::builder(Bench::brief())));
    let run = bench.begin(rust(json!({"timeout": "5s"}))).await;
    gate.started.notified().await;
    bench.faults.everywhere(Rates { refused: 1.0, reply_lost: 0.0 });
    gate.go_on.notify_one();
    bench.metric_reaches(r#"cox_attempts_total{end="abandoned",kind="rust"}"#, 1).await;
    assert!(bench.faults.counts("settle").refused > 1, "it was tried more than once");
    bench.faults.switch(false);
    // The message was given back; the lease is its own worker's no more, and silent, so it is found that its time is up.
    let outcome = bench.settled(&run).await.outcome;
    assert!(matches!(outcome, Some(Outcome::TimedOut { .. })), "{outcome:?}");
    running.drain().await;
}

/// Six seconds of silence: then others are to have what this worker cannot claim.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_cut_off_from_the_store_leaves_its_queue_to_others_and_comes_back() {
    let (bench, gate) = (Bench::new(), Gate::new());
    let running = bench.start_with(gate.handler());
    wait_for(|| async {
        let workers = bench.store.workers().await.unwrap();
        if workers.is_empty() { Err("it has not reported itself".to_owned()) } else { Ok(()) }
    })
    .await;
    for method in ["now", "probe", "report_worker", "claim"] {
        bench.faults.at(method, Rates { refused: 1.0, reply_lost: 0.0 });
    }
    let run = bench.begin(rust(json!({}))).await;
    bench.metric_reaches(r#"cox_deliveries_total{end="given_back"}"#, 1).await;
    let other = bench.broker.consume(&Lane::normal(PoolName::standard()), 1).await.unwrap().next().await.unwrap();
    assert_eq!(other.task().unwrap(), task_of(&run));
    other.give_back().await;
    bench.faults.switch(false);
    gate.started.notified().await;
    gate.go_on.notify_one();
    let task = bench.settled(&run).await;
    succeeded(task.outcome.as_ref());
    assert_eq!((task.fence.get(), task.crashes), (1, 0));
    assert_eq!(bench.metric(r#"cox_deliveries_total{end="given_back"}"#), 1);
    running.drain().await;
}
