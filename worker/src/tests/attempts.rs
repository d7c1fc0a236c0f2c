//! How attempts end by themselves, or by a time limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use coxswain_shared::limits::Limit;
use coxswain_shared::outcome::{Failure, FailureKind, Outcome};
use coxswain_shared::run::RunStatus;
use coxswain_shared::task::TaskState;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::bench::{Bench, rust, values};
use crate::{Context, Ended, NodeError, Reply};

#[derive(Deserialize)]
struct Input {
    text: String,
}

#[derive(Serialize)]
struct Output {
    count: usize,
}

fn failed(outcome: Option<&Outcome>) -> Failure {
    match outcome {
        Some(Outcome::Failed { failure }) => failure.clone(),
        other => panic!("it did not fail: {other:?}"),
    }
}

fn written(outcome: Option<&Outcome>) -> Value {
    match outcome {
        Some(Outcome::Succeeded { writes, .. }) => serde_json::to_value(writes).unwrap(),
        other => panic!("it did not succeed: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_typed_handler_reads_the_state_and_writes_channels() {
    let bench = Bench::new();
    let running = bench.start_with(|builder| {
        builder.handler("work", |ctx: Context, input: Input| async move {
            assert_eq!(ctx.idempotency_key(), format!("{}:1:work:0", ctx.run()));
            assert!(ctx.remaining() > Duration::from_mins(1) && ctx.attempt().get() == 1);
            Ok::<_, NodeError>(Output { count: input.text.len() })
        })
    });
    let run = bench.prepare(rust(json!({})), values(json!({"text": "four"})), None).await;
    bench.publish(&run).await;
    let task = bench.settled(&run).await;
    assert_eq!(written(task.outcome.as_ref()), json!({"count": 4}));
    assert_eq!(running.drain().await, Ended::Drained);
    assert!(bench.store.workers().await.unwrap().is_empty(), "it is forgotten when it ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fanned_out_handler_reads_its_item_and_may_ask_where_to_go() {
    let bench = Bench::new();
    let running = bench.start_with(|builder| {
        builder.handler("work", |_ctx, item: u32| async move {
            Ok::<_, NodeError>(Reply::update(json!({"count": item * 2})).goto("END"))
        })
    });
    let run = bench.prepare(rust(json!({})), values(json!({"text": "x"})), Some(json!(21))).await;
    bench.publish(&run).await;
    let outcome = bench.settled(&run).await.outcome.unwrap();
    let Outcome::Succeeded { writes, goto } = &outcome else { panic!("{outcome:?}") };
    assert_eq!(
        (serde_json::to_value(writes).unwrap(), goto.as_slice()),
        (json!({"count": 42}), &["END".to_owned()][..])
    );
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expressions_are_evaluated_over_the_state() {
    let bench = Bench::new();
    let running = bench.start_with(|builder| builder);
    let node = json!({"kind": "set", "set": {"count": "count + 1", "text": "text | upper"}});
    let run = bench.prepare(node, values(json!({"count": 1, "text": "a"})), None).await;
    bench.publish(&run).await;
    assert_eq!(written(bench.settled(&run).await.outcome.as_ref()), json!({"count": 2, "text": "A"}));

    let run = bench.begin(json!({"kind": "set", "set": {"count": "missing + 1"}})).await;
    let failure = failed(bench.settled(&run).await.outcome.as_ref());
    assert_eq!(failure.kind, FailureKind::Expression);
    assert!(failure.message.contains("`missing`") && failure.message.contains("set.count"), "{failure}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_fail_is_told_in_its_own_words() {
    let bench = Bench::new();
    let running = bench.start_with(|builder| {
        builder
            .handler("panics", |_ctx, input: Value| async move {
                assert!(input.is_null(), "the sky fell");
                Ok::<_, NodeError>(())
            })
            .handler("huge", |_ctx, _input: Value| async move {
                Ok::<_, NodeError>(json!({"text": "x".repeat(50 * 1024 * 1024)}))
            })
            .handler("typed", |_ctx, input: Input| async move { Ok::<_, NodeError>(json!({"text": input.text})) })
            .handler("errs", |_ctx, _input: Value| async move {
                let number: u32 = "seven".parse()?;
                Ok::<_, NodeError>(json!({"count": number}))
            })
    });
    let cases = [
        ("panics", FailureKind::Panicked, "the sky fell"),
        ("huge", FailureKind::TooLarge, "over the limit of 4194304"),
        ("typed", FailureKind::BadInput, "missing field `text`"),
        ("errs", FailureKind::Handler, "invalid digit"),
        ("pancis", FailureKind::Unknown, "did you mean `panics`"),
    ];
    for (handler, kind, words) in cases {
        let run = bench.begin(json!({"kind": "rust", "handler": handler})).await;
        let failure = failed(bench.settled(&run).await.outcome.as_ref());
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.message.contains(words), "{words} is missing in: {failure}");
        assert_eq!(failure.node.unwrap().as_str(), "work");
    }
    let run = bench.begin(json!({"kind": "wait", "for": "1s"})).await;
    let failure = failed(bench.settled(&run).await.outcome.as_ref());
    assert!(failure.message.contains("of different versions"), "{failure}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_try_is_repeated_after_its_pause_and_not_when_that_cannot_fit() {
    let bench = Bench::new();
    let running = bench.start_with(|builder| {
        builder.handler("work", |_ctx, _input: Value| async move { Err::<(), _>(NodeError::retryable("not yet")) })
    });
    let retry = json!({"attempts": 2, "first": "40m", "max": "40m", "jitter": "none"});
    let run = bench.begin(rust(json!({"timeout": "50m", "retry": retry}))).await;
    let task = bench.task_when(&run, |task| task.state == TaskState::Delayed).await;
    assert!(task.last_failure.unwrap().message.contains("not yet"));

    let run = bench.begin(rust(json!({"timeout": "30m", "retry": retry}))).await;
    let failure = failed(bench.settled(&run).await.outcome.as_ref());
    assert!(failure.chain[0].contains("not tried again"), "{failure}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_ends_at_its_deadline_and_says_which_limit_it_was() {
    let bench = Bench::new();
    let running = bench.start_with(|builder| {
        builder
            .handler("work", |_ctx, _input: Value| async move {
                std::future::pending::<()>().await;
                Ok::<_, NodeError>(())
            })
            .handler("busy", |ctx: Context, _input: Value| async move {
                for round in 0.. {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    if round < 20 {
                        ctx.progress(round);
                    }
                }
                Ok::<_, NodeError>(())
            })
    });
    // A task has to be claimed within its time, and a busy handler to give its signs: seconds, for a busy machine.
    let cases = [
        (rust(json!({"attempt_timeout": "200ms"})), Limit::AttemptTimeout, 200),
        (rust(json!({"timeout": "2s"})), Limit::Timeout, 2_000),
        (json!({"kind": "rust", "handler": "busy", "idle_timeout": "1500ms"}), Limit::IdleTimeout, 3_500),
    ];
    for (node, limit, at_least) in cases {
        let begun = Instant::now();
        let run = bench.begin(node).await;
        let outcome = bench.settled(&run).await.outcome.unwrap();
        let Outcome::TimedOut { limit: hit, failure } = &outcome else { panic!("{outcome:?}") };
        assert_eq!(*hit, limit);
        assert!(failure.message.contains(limit.name()), "{failure}");
        assert!(begun.elapsed() >= Duration::from_millis(at_least), "{limit} was hit after {:?}", begun.elapsed());
        assert_eq!(bench.metric(&format!("cox_limits_hit_total{{limit=\"{limit}\"}}")), 1);
    }
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_time_is_up_is_stopped_for_that_reason() {
    let bench = Bench::new();
    let running = bench.start_with(|builder| {
        builder.handler("work", |_ctx, _input: Value| async move {
            std::future::pending::<()>().await;
            Ok::<_, NodeError>(())
        })
    });
    let mut graph_limits = rust(json!({}));
    graph_limits["timeout"] = json!("10m");
    // Long enough to be claimed before: nobody else would stop it.
    let run = bench.prepare_limited(graph_limits, Duration::from_secs(2)).await;
    bench.publish(&run).await;
    let ended = bench.run_ended(&run).await;
    assert_eq!(ended.status, RunStatus::TimedOut);
    assert!(ended.stop.unwrap().is_confirmed());
    for stage in ["observed", "dropped", "cleaned"] {
        assert_eq!(bench.metric(&format!("cox_stop_seconds_count{{stage=\"{stage}\"}}")), 1, "{stage}");
    }
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_is_fenced_and_its_slot_is_replaced() {
    let bench = Bench::new();
    let (free, freed) = std::sync::mpsc::channel::<()>();
    let freed = Arc::new(std::sync::Mutex::new(freed));
    let running = bench.start_with(|builder| {
        builder
            .handler("work", move |_ctx, _input: Value| {
                let freed = Arc::clone(&freed);
                async move {
                    // A channel of the standard library blocks the thread, as a careless handler does.
                    let _ = freed.lock().unwrap().recv();
                    Ok::<_, NodeError>(())
                }
            })
            .handler("quick", |_ctx, _input: Value| async move { Ok::<_, NodeError>(json!({"text": "done"})) })
    });
    let begun = Instant::now();
    // Long enough for the handler to block before it is dropped.
    let run = bench.begin(rust(json!({"attempt_timeout": "1s", "grace": "100ms", "retry": {"attempts": 5}}))).await;
    let outcome = bench.settled(&run).await.outcome.unwrap();
    let Outcome::TimedOut { failure, .. } = &outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.kind, FailureKind::Stuck);
    assert!(begun.elapsed() >= Duration::from_millis(1_200));
    bench.metric_reaches(r#"cox_slots{state="stuck"}"#, 1).await;

    // Both slots are there: two quick ones that wait for each other could not both run otherwise.
    for _ in 0..3 {
        let run = bench.begin(json!({"kind": "rust", "handler": "quick"})).await;
        assert_eq!(written(bench.settled(&run).await.outcome.as_ref()), json!({"text": "done"}));
    }
    drop(free);
    super::bench::wait_for(|| async {
        let stuck = bench.metric(r#"cox_slots{state="stuck"}"#);
        if stuck == 0 { Ok(()) } else { Err(format!("{stuck} are stuck")) }
    })
    .await;
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_slots_are_all_stuck_ends_to_be_restarted() {
    let bench = Bench::new();
    let (free, freed) = std::sync::mpsc::channel::<()>();
    let freed = Arc::new(std::sync::Mutex::new(freed));
    let running = bench.start_with(|builder| {
        builder.handler("work", move |_ctx, _input: Value| {
            let freed = Arc::clone(&freed);
            async move {
                let _ = freed.lock().unwrap().recv();
                Ok::<_, NodeError>(())
            }
        })
    });
    for _ in 0..2 {
        let run = bench.begin(rust(json!({"attempt_timeout": "1s", "grace": "0s"}))).await;
        bench.settled(&run).await;
    }
    assert_eq!(running.ended().await, Ended::Stuck);
    drop(free);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_run_in_reverse_after_a_failure_and_never_after_a_success() {
    let bench = Bench::new();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = Arc::clone(&order);
    let fails = Arc::new(AtomicU32::new(1));
    let running = bench.start_with(|builder| {
        builder.handler("work", move |ctx: Context, _input: Value| {
            for name in ["first", "second"] {
                let order = Arc::clone(&kept);
                ctx.on_cleanup(move || async move { order.lock().unwrap().push(name) });
            }
            let fails = fails.fetch_sub(1, Ordering::SeqCst) > 0;
            async move { if fails { Err(NodeError::fatal("no")) } else { Ok(()) } }
        })
    });
    let run = bench.begin(rust(json!({}))).await;
    assert_eq!(failed(bench.settled(&run).await.outcome.as_ref()).message, "no");
    assert_eq!(*order.lock().unwrap(), ["second", "first"]);
    let run = bench.begin(rust(json!({}))).await;
    written(bench.settled(&run).await.outcome.as_ref());
    assert_eq!(order.lock().unwrap().len(), 2);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_kept_in_order_and_the_oldest_are_dropped_and_counted() {
    let bench = Bench::new();
    let running = bench.start_with(|builder| {
        builder.handler("work", |ctx: Context, _input: Value| async move {
            // Without an await, so that nothing is written meanwhile.
            for n in 0..300 {
                ctx.emit("token", n);
            }
            Ok::<_, NodeError>(())
        })
    });
    let run = bench.begin(rust(json!({}))).await;
    bench.settled(&run).await;
    let events = bench.store.events(&run, 0, 1_000).await.unwrap();
    assert_eq!(events.len(), 257, "the events of an attempt are there when it has settled");
    assert_eq!((events[0].event.kind.as_str(), &events[0].event.value), ("events_dropped", &json!({"count": 44})));
    let numbers: Vec<_> = events[1..].iter().map(|event| event.event.value.as_u64().unwrap()).collect();
    assert!(numbers.iter().copied().eq(44..300), "{numbers:?}");
    running.drain().await;
}
