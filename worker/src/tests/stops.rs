//! Stop orders: pushed, by heartbeat, graceful, by force; and what a stopped attempt leaves behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use coxswain_shared::outcome::Outcome;
use coxswain_shared::run::RunStatus;
use coxswain_shared::stop::EndReason;
use coxswain_shared::store::TaskTally;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::bench::{Bench, rust};
use crate::{Context, Handler, NodeError, Policy};

/// Says when it runs, and then waits for ever.
fn waiting(
    started: &Arc<Notify>,
) -> impl Fn(Context, Value) -> futures_util::future::BoxFuture<'static, Result<(), NodeError>> + use<> {
    let started = Arc::clone(started);
    move |ctx, _input| {
        let started = Arc::clone(&started);
        Box::pin(async move {
            ctx.partial(json!({"text": "half"}));
            started.notify_one();
            std::future::pending().await
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_drops_the_handler_at_once_and_is_proven() {
    let bench = Bench::new();
    let started = Arc::new(Notify::new());
    let running = bench.start_with(|builder| builder.handler("work", waiting(&started)));
    let run = bench.begin(rust(json!({"grace": "5m"}))).await;
    started.notified().await;
    let ordered = Instant::now();
    bench.stop(&run, None, false).await;
    let ended = bench.run_ended(&run).await;
    assert_eq!(ended.status, RunStatus::Cancelled);
    // The target, 20 ms at p99, is measured by the benchmark; here: far below the grace.
    assert!(ordered.elapsed() < Duration::from_secs(5), "{:?}", ordered.elapsed());
    assert!(ended.stop.unwrap().is_confirmed());
    let proof = bench.task(&run).await.proof.unwrap();
    assert!(proof.confirmed && !proof.refused_result, "{proof:?}");
    assert!(proof.observed_at <= proof.stopped_at && proof.stopped_at <= proof.cleaned_at, "{proof:?}");
    assert_eq!(proof.partial, Some(json!({"text": "half"})));
    bench.metric_reaches(r#"cox_stop_seconds_count{stage="dropped"}"#, 1).await;
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_brings_the_order_when_the_push_is_lost() {
    let bench = Bench::new();
    bench.faults.lose_signals(1.0);
    let started = Arc::new(Notify::new());
    let running = bench.start_with(|builder| builder.handler("work", waiting(&started)));
    let run = bench.begin(rust(json!({}))).await;
    started.notified().await;
    bench.stop(&run, None, false).await;
    assert_eq!(bench.run_ended(&run).await.status, RunStatus::Cancelled);
    bench.metric_reaches("cox_stops_by_heartbeat_total", 1).await;
    running.drain().await;
}

struct Graceful {
    started: Arc<Notify>,
    ignores: bool,
    finished: Arc<AtomicBool>,
}

impl Handler for Graceful {
    type Input = Value;
    type Output = Value;

    fn policy(&self) -> Policy {
        Policy { wants_grace: true }
    }

    async fn run(&self, ctx: Context, _input: Value) -> Result<Value, NodeError> {
        self.started.notify_one();
        let reason = ctx.stopped().await;
        assert!(matches!(reason, EndReason::StopOrdered(_)));
        if self.ignores {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.finished.store(true, Ordering::SeqCst);
        Ok(json!({"text": "too late"}))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_asked_for_grace_ends_by_itself_and_its_result_is_refused() {
    let bench = Bench::new();
    let (started, finished) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let handler = Graceful { started: Arc::clone(&started), ignores: false, finished: Arc::clone(&finished) };
    let running = bench.start_with(|builder| builder.node("work", handler));
    let run = bench.begin(rust(json!({"grace": "5m"}))).await;
    started.notified().await;
    bench.stop(&run, None, false).await;
    bench.run_ended(&run).await;
    assert!(finished.load(Ordering::SeqCst));
    let proof = bench.task(&run).await.proof.unwrap();
    assert!(proof.refused_result && proof.confirmed, "{proof:?}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_ignores_the_stop_is_dropped_when_the_grace_is_over_or_by_force() {
    let bench = Bench::new();
    let (started, finished) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let handler = Graceful { started: Arc::clone(&started), ignores: true, finished: Arc::clone(&finished) };
    let running = bench.start_with(|builder| builder.node("work", handler));

    let run = bench.begin(rust(json!({"grace": "5m"}))).await;
    started.notified().await;
    let ordered = Instant::now();
    bench.stop(&run, Some(Duration::from_millis(200)), false).await;
    bench.run_ended(&run).await;
    assert!(ordered.elapsed() >= Duration::from_millis(200), "the order's own grace holds");

    let run = bench.begin(rust(json!({"grace": "5m"}))).await;
    started.notified().await;
    bench.stop(&run, None, false).await;
    bench.stop(&run, None, true).await;
    let ended = bench.run_ended(&run).await;
    assert!(ended.stop.unwrap().forced_at.is_some());
    assert!(!finished.load(Ordering::SeqCst));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cleanup_hooks_run_after_a_stop_and_are_bounded_by_the_grace() {
    let bench = Bench::new();
    let started = Arc::new(Notify::new());
    let hooks = Arc::new(AtomicBool::new(false));
    let (told, ran) = (Arc::clone(&started), Arc::clone(&hooks));
    let running = bench.start_with(|builder| {
        builder.handler("work", move |ctx: Context, _input: Value| {
            let (told, ran) = (Arc::clone(&told), Arc::clone(&ran));
            async move {
                ctx.on_cleanup(|| async { std::future::pending().await });
                ctx.on_cleanup(move || async move { ran.store(true, Ordering::SeqCst) });
                told.notify_one();
                std::future::pending::<Result<(), NodeError>>().await
            }
        })
    });
    // Long enough for the hook that does not hang.
    let run = bench.begin(rust(json!({"grace": "2s"}))).await;
    started.notified().await;
    let ordered = Instant::now();
    bench.stop(&run, None, false).await;
    bench.run_ended(&run).await;
    assert!(hooks.load(Ordering::SeqCst), "the hook before the one that hangs has run");
    assert!(ordered.elapsed() >= Duration::from_secs(2));
    assert!(bench.task(&run).await.proof.unwrap().confirmed);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_handler_that_blocks_is_released_unconfirmed() {
    let bench = Bench::new();
    let started = Arc::new(Notify::new());
    let (free, freed) = std::sync::mpsc::channel::<()>();
    let (told, freed) = (Arc::clone(&started), Arc::new(std::sync::Mutex::new(freed)));
    let running = bench.start_with(|builder| {
        builder.handler("work", move |_ctx, _input: Value| {
            let (told, freed) = (Arc::clone(&told), Arc::clone(&freed));
            async move {
                told.notify_one();
                let _ = freed.lock().unwrap().recv();
                Ok::<_, NodeError>(())
            }
        })
    });
    let run = bench.begin(rust(json!({"grace": "0s"}))).await;
    started.notified().await;
    bench.stop(&run, None, false).await;
    let stop = bench.run_ended(&run).await.stop.unwrap();
    assert_eq!((stop.released, stop.unconfirmed), (0, 1));
    assert!(!bench.task(&run).await.proof.unwrap().confirmed);
    drop(free);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_meets_a_frozen_run_is_refused_and_the_lease_released() {
    let bench = Bench::new();
    bench.faults.lose_signals(1.0);
    let started = Arc::new(Notify::new());
    let go_on = Arc::new(Notify::new());
    let (told, wait) = (Arc::clone(&started), Arc::clone(&go_on));
    let mut config = Bench::config();
    // No heartbeat comes between the order and the result.
    (config.heartbeat, config.lease_ttl) = (Duration::from_mins(1), Duration::from_mins(3));
    let builder = crate::Worker::builder(config).handler("work", move |_ctx, _input: Value| {
        let (told, wait) = (Arc::clone(&told), Arc::clone(&wait));
        async move {
            told.notify_one();
            wait.notified().await;
            Ok::<_, NodeError>(json!({"text": "late"}))
        }
    });
    let running = bench.start(builder);
    let run = bench.begin(rust(json!({}))).await;
    started.notified().await;
    bench.stop(&run, None, false).await;
    go_on.notify_one();
    let ended = bench.run_ended(&run).await;
    assert!(ended.stop.unwrap().is_confirmed());
    assert!(bench.task(&run).await.proof.unwrap().refused_result);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_stopped_alone_is_dropped_and_its_run_goes_on() {
    for loses_signals in [false, true] {
        let bench = Bench::new();
        bench.faults.lose_signals(if loses_signals { 1.0 } else { 0.0 });
        let started = Arc::new(Notify::new());
        let running = bench.start_with(|builder| builder.handler("work", waiting(&started)));
        let run = bench.begin(rust(json!({"grace": "5m"}))).await;
        started.notified().await;
        assert_eq!(bench.stop_tasks(&run, true).await, TaskTally { stopping: 1, ..TaskTally::default() });
        let task = bench.settled(&run).await;
        let why = Some("by ann: not needed".to_owned());
        assert_eq!(task.outcome, Some(Outcome::Stopped { partial: Some(json!({"text": "half"})), skipped: true, why }));
        assert!(task.proof.unwrap().confirmed);
        let run = bench.run(&run).await;
        assert_eq!((run.status, run.stop, run.open_tasks, run.open_leases), (RunStatus::Running, None, 0, 0));
        running.drain().await;
    }
}
