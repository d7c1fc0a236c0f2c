//! What a worker does about the operators' policies: before a task, and after its try.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use coxswain_shared::fault::Fault;
use coxswain_shared::outcome::{Failure, FailureKind};
use coxswain_shared::policy::{self, Measure, Named, Usage};
use coxswain_shared::run::RunStatus;
use coxswain_shared::stop::Cause;
use coxswain_shared::store::{MeterCall, PolicyChange};
use coxswain_shared::task::TaskState;
use serde_json::{Value, json};

use super::bench::{Bench, Running, rust, values};
use super::isolation::Sweeping;
use super::model::{asking, begin, ending, saying, says};
use super::outside::{failure, start};
use crate::{Context, NodeError, Worker};

async fn set(bench: &Bench, policies: &str) {
    for Named { name, policy } in policy::read(policies).unwrap() {
        let change = PolicyChange { name, policy: Some(policy), actor: "ann".to_owned(), reason: None };
        bench.store.set_policy(change).await.unwrap();
    }
}

/// How much was used of a policy with one count.
async fn used(bench: &Bench, name: &str) -> Usage {
    let policies = bench.store.policies().await.unwrap();
    let Named { name, policy } = policies.into_iter().find(|named| named.name.as_str() == name).unwrap();
    let (limits, window) = (policy.limits, policy.window);
    let call = MeterCall { policy: name, subject: String::new(), add: Usage::default(), must: false, limits, window };
    bench.store.meter(call).await.unwrap().used
}

/// Twelve tokens.
fn answer() -> String {
    [says("yes"), ending("stop")].concat()
}

/// A worker with a handler that fails, and one that takes its time.
fn handlers(bench: &Bench) -> Running {
    let fail = |_: Context, _: Value| async { Err::<Value, _>(NodeError::fatal("no")) };
    let slow = |_: Context, _: Value| async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok::<_, NodeError>(json!({}))
    };
    bench.start(Worker::builder(Bench::config()).handler("fail", fail).handler("slow", slow))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_call_that_takes_too_much_ends_its_run_and_the_next_run_is_stopped_before_it_calls() {
    let upstream = saying(answer()).await;
    let bench = Bench::new();
    set(&bench, "{dear: {window: 1h, limits: {tokens: 11}, then: stop}}").await;
    let running = start(&bench);
    let [first, second] = [begin(&bench, asking(&upstream, &json!({})), json!({})).await, {
        let node = asking(&upstream, &json!({}));
        bench.prepare(node, values(json!({})), None).await
    }];
    let ended = bench.run_ended(&first).await;
    let order = ended.stop.unwrap().order.order;
    assert_eq!((ended.status, order.cause, order.actor.as_str()), (RunStatus::Failed, Cause::Budget, "policy dear"));
    let why = "policy `dear` allows 11 tokens in 1h, and it has come to 12 tokens: there is room again in";
    assert!(order.reason.as_deref().is_some_and(|reason| reason.starts_with(why)), "{order:?}");
    assert!(!bench.task(&first).await.outcome.unwrap().is_bad(), "what was paid for is kept");

    bench.publish(&second).await;
    let ended = bench.run_ended(&second).await;
    let report = ended.stop.unwrap();
    assert_eq!((report.order.order.cause, report.released, report.unconfirmed), (Cause::Budget, 1, 0));
    assert_eq!(upstream.requests().len(), 1, "the second one did not call");
    assert_eq!(bench.metric(r#"cox_policy_halts_total{policy="dear",then="stop"}"#), 2);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_for_which_there_is_no_room_is_put_off_and_begins_when_there_is() {
    let bench = Bench::new();
    let _sweeping = Sweeping::start(&bench);
    set(&bench, "{calm: {window: 3s, limits: {node_runs: 1}, then: pause}}").await;
    let running = handlers(&bench);
    let first = bench.begin(rust(json!({"handler": "slow"}))).await;
    bench.settled(&first).await;
    let second = bench.begin(rust(json!({"handler": "slow"}))).await;
    let waiting = bench.task_when(&second, |task| task.state == TaskState::Delayed).await;
    let why = waiting.last_failure.unwrap();
    assert!(why.message.starts_with("policy `calm` allows 1 node run in 3s, and it has come to 1 node run:"), "{why}");
    assert_eq!(waiting.attempts, 0, "it was no try");
    let done = bench.settled(&second).await;
    assert!(!done.outcome.unwrap().is_bad());
    assert_eq!(bench.run(&second).await.status, RunStatus::Running, "it is not stopped");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_its_upstream_puts_off_counts_once_however_often_it_comes_back() {
    let bench = Bench::new();
    let _sweeping = Sweeping::start(&bench);
    set(&bench, "{watch: {window: 1h, limits: {node_runs: 2}, then: stop}}").await;
    let calls = Arc::new(AtomicU32::new(0));
    let full = {
        let calls = Arc::clone(&calls);
        move |_: Context, _: Value| {
            let call = calls.fetch_add(1, Ordering::SeqCst);
            async move {
                let failure = Failure::new(FailureKind::PutOff, "it has no place");
                let after = Duration::from_millis(1);
                if call < 4 { Err(NodeError::PutOff { failure, after }) } else { Ok(json!({})) }
            }
        }
    };
    let running = bench.start(Worker::builder(Bench::config()).handler("full", full));
    let run = bench.begin(rust(json!({"handler": "full"}))).await;
    assert!(!bench.settled(&run).await.outcome.unwrap().is_bad());
    assert_eq!(calls.load(Ordering::SeqCst), 5);
    assert_eq!(used(&bench, "watch").await.get(Measure::NodeRuns), 1);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_without_a_price_is_not_asked_where_a_policy_limits_the_cost() {
    let upstream = saying(answer()).await;
    let bench = Bench::new();
    set(&bench, "{dear: {window: 1h, limits: {cost: 5}, then: refuse}}").await;
    let running = start(&bench);
    let run = begin(&bench, asking(&upstream, &json!({})), json!({})).await;
    let told = failure(&bench.settled(&run).await.outcome.unwrap());
    assert!(told.contains("no price for the model `small`"), "{told}");
    assert_eq!(upstream.requests().len(), 0);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_and_the_time_at_work_are_counted_and_a_store_that_is_away_for_a_moment_loses_none() {
    let bench = Bench::new();
    set(&bench, "{watch: {window: 1h, limits: {failures: 9, node_runs: 9, wall_time: 1h}, then: refuse}}").await;
    let running = handlers(&bench);
    bench.faults.next("meter", Fault::Refused);
    bench.faults.next("meter", Fault::Refused);
    for handler in ["fail", "slow"] {
        let run = bench.begin(rust(json!({"handler": handler, "retry": {"attempts": 1}}))).await;
        bench.settled(&run).await;
    }
    let used = used(&bench, "watch").await;
    assert_eq!((used.get(Measure::Failures), used.get(Measure::NodeRuns)), (1, 2));
    assert!((250..20_000).contains(&used.get(Measure::WallTime)), "{used:?}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_cancelled_is_counted_too() {
    let bench = Bench::new();
    set(&bench, "{watch: {window: 1h, limits: {wall_time: 1h}, then: refuse}}").await;
    let running = bench.start(Worker::builder(Bench::config()).handler("hang", |_: Context, _: Value| async {
        tokio::time::sleep(Duration::from_mins(10)).await;
        Ok::<_, NodeError>(json!({}))
    }));
    let run = bench.begin(rust(json!({"handler": "hang"}))).await;
    bench.task_when(&run, |task| task.state == TaskState::Leased).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    bench.stop(&run, None, false).await;
    bench.run_ended(&run).await;
    assert!(used(&bench, "watch").await.get(Measure::WallTime) >= 20);
    running.drain().await;
}
