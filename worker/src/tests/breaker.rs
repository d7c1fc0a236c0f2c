//! An upstream that fails, or that may be called only so often: what a whole fleet does about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use coxswain_shared::outcome::Outcome;
use coxswain_shared::task::{Task, TaskState};
use coxswain_shared::upstream::BreakerLimits;
use serde_json::{Value, json};

use super::bench::{Bench, Running, values};
use super::isolation::{Sweeping, begin_many};
use super::model::{asking, saying, says};
use super::upstream::{Exchange, Upstream};
use crate::{Config, Isolate, OutsideConfig, RetryBudget, Share, UpstreamLimits, Upstreams, Worker};

fn start(bench: &Bench, others: UpstreamLimits) -> Running {
    let upstreams = Upstreams { others, ..Upstreams::default() };
    let allow = vec!["127.0.0.1".parse().unwrap()];
    let outside = OutsideConfig { allow, upstreams, ..OutsideConfig::default() };
    bench.start(Worker::builder(Config { slots: 8, outside, ..Bench::config() }))
}

fn limits(open_for: Duration) -> UpstreamLimits {
    let breaker =
        BreakerLimits { failures: 50, of: 4, within: Duration::from_mins(1), open_for, ..BreakerLimits::default() };
    UpstreamLimits { breaker: Some(breaker), ..UpstreamLimits::default() }
}

/// A breaker for which a limit counts from this length on.
fn min_timeout(min_timeout: Duration) -> UpstreamLimits {
    let breaker = limits(Duration::from_hours(1)).breaker.map(|breaker| BreakerLimits { min_timeout, ..breaker });
    UpstreamLimits { breaker, ..UpstreamLimits::default() }
}

fn get(url: &str) -> Value {
    json!({"kind": "http", "url": url, "into": "other"})
}

async fn outcome(bench: &Bench, node: &Value) -> Outcome {
    let run = bench.prepare(node.clone(), values(json!({})), None).await;
    bench.publish(&run).await;
    bench.settled(&run).await.outcome.expect("a settled task has an outcome")
}

async fn failure(bench: &Bench, node: &Value) -> String {
    let outcome = outcome(bench, node).await;
    outcome.failure().unwrap_or_else(|| panic!("it did not fail: {outcome:?}")).message.clone()
}

/// A server that fails until it is mended.
async fn failing() -> (Upstream, Arc<AtomicBool>) {
    let is_well = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_well);
    let answer = move |exchange: Exchange| {
        let is_well = seen.load(Ordering::SeqCst);
        async move {
            if is_well { exchange.json("1").await } else { exchange.answer("503 Service Unavailable", "", "").await }
        }
    };
    (Upstream::start(answer).await, is_well)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breaker_that_one_worker_opens_is_open_for_the_others_and_says_why() {
    let (upstream, _) = failing().await;
    let (bench, other) = (Bench::new(), Bench::new());
    let other = Bench { store: Arc::clone(&bench.store), ..other };
    let hour = Duration::from_hours(1);
    let (first, second) = (start(&bench, limits(hour)), start(&other, limits(hour)));
    let node = get(&upstream.url("/"));
    assert!(failure(&other, &node).await.contains("503"));
    for _ in 0..3 {
        assert!(failure(&bench, &node).await.contains("answered with 503"));
    }
    // The next call of this worker tells the store what it has seen, and the other asks it within a second.
    let told = super::bench::wait_for(|| async {
        failure(&bench, &node).await;
        let told = failure(&other, &node).await;
        if told.contains("the breaker of") { Ok(told) } else { Err(told) }
    })
    .await;
    for part in ["was not made: the breaker of 127.0.0.1:", "is open for ", "calls failed, the last by: status 503"] {
        assert!(told.contains(part), "{part} is missing in {told}");
    }
    let requests = upstream.requests().len();
    for bench in [&bench, &other] {
        assert!(failure(bench, &node).await.contains("the breaker of"));
    }
    assert_eq!(upstream.requests().len(), requests, "an open breaker lets nothing through");
    first.drain().await;
    second.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_call_tries_whether_an_upstream_is_back_and_then_all_go_on() {
    let (upstream, is_well) = failing().await;
    let bench = Bench::new();
    let _sweeping = Sweeping::start(&bench);
    let running = start(&bench, limits(Duration::from_secs(1)));
    let mut node = get(&upstream.url("/"));
    node["retry"] = json!({"attempts": 50, "first": "50ms", "max": "50ms"});
    let runs = begin_many(&bench, &node, 12).await;
    bench.metric_reaches(r#"cox_upstream_refused_total{upstream="other"}"#, 12).await;
    is_well.store(true, Ordering::SeqCst);
    let before = upstream.requests().len();
    for run in &runs {
        let task = bench.settled(run).await;
        assert!(matches!(task.outcome, Some(Outcome::Succeeded { .. })), "{task:?}");
    }
    assert!(upstream.requests().len() >= before + runs.len());
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_the_callers_fault_open_no_breaker() {
    let upstream = Upstream::start(|exchange: Exchange| async {
        let status = if exchange.number.is_multiple_of(2) { "404 Not Found" } else { "429 Too Many Requests" };
        exchange.answer(status, "", "").await;
    })
    .await;
    let bench = Bench::new();
    let running = start(&bench, limits(Duration::from_hours(1)));
    for _ in 0..12 {
        assert!(failure(&bench, &get(&upstream.url("/"))).await.contains("was answered with 4"));
    }
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tries_that_end_without_an_answer_open_the_breaker_and_stopped_ones_do_not() {
    let upstream = Upstream::start(Exchange::hang).await;
    let bench = Bench::new();
    let running = start(&bench, min_timeout(Duration::from_millis(50)));
    for number in 0..5 {
        let run = begin_many(&bench, &get(&upstream.url("/")), 1).await.remove(0);
        bench.metric_reaches(r#"cox_upstream_calls{state="in_flight",upstream="other"}"#, 1).await;
        super::bench::wait_for(|| async {
            if upstream.requests().len() > number { Ok(()) } else { Err("it was not called".to_owned()) }
        })
        .await;
        bench.stop(&run, None, false).await;
        bench.run_ended(&run).await;
    }
    let mut node = get(&upstream.url("/"));
    node["attempt_timeout"] = json!("100ms");
    for _ in 0..4 {
        assert!(matches!(outcome(&bench, &node).await, Outcome::TimedOut { .. }), "stopped calls did not count");
    }
    let told = super::bench::wait_for(|| async {
        let told = failure(&bench, &node).await;
        if told.contains("the breaker of") { Ok(told) } else { Err(told) }
    })
    .await;
    assert!(told.contains("the last by: no answer by the end of the try"), "{told}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callers_own_short_limit_opens_no_breaker_and_one_that_is_long_enough_does() {
    let upstream = Upstream::start(Exchange::hang).await;
    let bench = Bench::new();
    let running = start(&bench, min_timeout(Duration::from_millis(200)));
    for (limit, length) in [("first_byte_timeout", "1ms"), ("attempt_timeout", "30ms"), ("timeout", "30ms")] {
        let mut node = get(&upstream.url("/"));
        node[limit] = json!(length);
        for _ in 0..8 {
            let told = failure(&bench, &node).await;
            assert!(!told.contains("the breaker of"), "{limit}: {told}");
        }
    }
    let mut node = get(&upstream.url("/"));
    node["first_byte_timeout"] = json!("200ms");
    let told = super::bench::wait_for(|| async {
        let told = failure(&bench, &node).await;
        if told.contains("the breaker of") { Ok(told) } else { Err(told) }
    })
    .await;
    assert!(told.contains("4 of its last 4 calls failed, the last by: first_byte_timeout"), "{told}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_that_is_not_followed_opens_no_breaker() {
    let upstream = Upstream::start(|exchange: Exchange| async {
        exchange.answer("302 Found", "Location: http://127.0.0.1:1/elsewhere\r\n", "").await;
    })
    .await;
    let bench = Bench::new();
    let running = start(&bench, limits(Duration::from_hours(1)));
    for _ in 0..8 {
        assert!(!failure(&bench, &get(&upstream.url("/"))).await.contains("the breaker of"));
    }
    running.drain().await;
}

/// The call that tries would be lost on one that may give up by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_with_short_limits_does_not_try_whether_an_upstream_is_back_before_others_could() {
    let (upstream, is_well) = failing().await;
    let bench = Bench::new();
    let _sweeping = Sweeping::start(&bench);
    let running = start(&bench, limits(Duration::from_secs(1)));
    let mut long = get(&upstream.url("/"));
    long["retry"] = json!({"attempts": 50, "first": "50ms", "max": "50ms"});
    let runs = begin_many(&bench, &long, 6).await;
    bench.metric_reaches(r#"cox_upstream_refused_total{upstream="other"}"#, 6).await;
    let mut short = long.clone();
    short["first_byte_timeout"] = json!("1s");
    let short = begin_many(&bench, &short, 6).await;
    is_well.store(true, Ordering::SeqCst);
    for run in runs.iter().chain(&short) {
        let task = bench.settled(run).await;
        assert!(matches!(task.outcome, Some(Outcome::Succeeded { .. })), "{task:?}");
    }
    running.drain().await;
}

fn isolated(limits: &UpstreamLimits) -> UpstreamLimits {
    UpstreamLimits { isolate: Some(Isolate::Label("team".to_owned())), ..limits.clone() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_who_are_kept_apart_one_does_not_open_the_breaker_of_the_others() {
    let (upstream, is_well) = failing().await;
    let bench = Bench::new();
    let running = start(&bench, isolated(&limits(Duration::from_hours(1))));
    let outcome = async |team: &str| {
        let run = bench.begin_labelled(get(&upstream.url("/")), "team", team).await;
        bench.settled(&run).await.outcome.unwrap()
    };
    let told = super::bench::wait_for(|| async {
        let outcome = outcome("loud").await;
        let told = outcome.failure().map(|failure| failure.message.clone()).unwrap_or_default();
        if told.contains("the breaker of") { Ok(told) } else { Err(told) }
    })
    .await;
    assert!(told.contains("/loud is open"), "{told}");
    is_well.store(true, Ordering::SeqCst);
    assert!(matches!(outcome("calm").await, Outcome::Succeeded { .. }));
    assert!(outcome("loud").await.failure().is_some(), "its own breaker is open");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_who_are_kept_apart_none_uses_more_than_its_part_of_the_rate() {
    let upstream = Upstream::start(|exchange: Exchange| exchange.json("1")).await;
    let bench = Bench::new();
    let rate = "1/h".parse::<coxswain_shared::upstream::Rate>().unwrap().with_burst(4);
    let running = start(&bench, isolated(&UpstreamLimits { rate: Some(rate), ..UpstreamLimits::default() }));
    let mut node = get(&upstream.url("/"));
    node["timeout"] = json!("1h");
    for team in ["loud", "calm"] {
        let mut called = 0;
        for _ in 0..4 {
            let run = bench.begin_labelled(node.clone(), "team", team).await;
            let is_over = |task: &Task| matches!(task.state, TaskState::Settled | TaskState::Delayed);
            let task = bench.task_when(&run, is_over).await;
            called += u32::from(matches!(task.outcome, Some(Outcome::Succeeded { .. })));
        }
        assert_eq!(called, 2, "half of the burst of four is {team}'s");
    }
    running.drain().await;
}

/// What a model's node fails with after twenty calls that were answered with this stream, at the latest.
async fn failure_after_streams(provider: &str, stream: String) -> String {
    let upstream = saying(stream).await;
    let bench = Bench::new();
    let running = start(&bench, limits(Duration::from_hours(1)));
    let mut node = asking(&upstream, &json!({"provider": provider}));
    if provider == "anthropic" {
        node["base_url"] = json!(upstream.url("/"));
    }
    let mut told = String::new();
    for _ in 0..20 {
        told = failure(&bench, &node).await;
        if told.contains("the breaker of") {
            break;
        }
    }
    running.drain().await;
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_within_a_stream_counts_as_its_status_would() {
    let anthropic = |kind: &str| {
        let error = json!({"type": "error", "error": {"type": kind, "message": "Sorry"}});
        format!("event: error\ndata: {error}\n\n")
    };
    let openai = |code: Value| format!("data: {}\n\n", json!({"error": {"message": "Sorry", "code": code}}));
    for (provider, stream) in [
        ("anthropic", anthropic("overloaded_error")),
        ("anthropic", anthropic("api_error")),
        ("openai", openai(json!("server_error"))),
        ("openai", openai(json!(502))),
        ("openai", says("Half an ans")),
    ] {
        let told = failure_after_streams(provider, stream.clone()).await;
        assert!(told.contains("the breaker of") && told.contains("its stream"), "{stream}: {told}");
    }
    for (provider, stream) in [
        ("anthropic", anthropic("invalid_request_error")),
        ("anthropic", anthropic("rate_limit_error")),
        ("openai", openai(json!("insufficient_quota"))),
    ] {
        let told = failure_after_streams(provider, stream.clone()).await;
        assert!(!told.contains("the breaker of"), "{stream}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_call_that_tries_a_model_is_judged_by_its_stream() {
    let upstream = Upstream::start(|mut exchange: Exchange| async move {
        exchange.begin("text/event-stream").await;
        exchange.chunk("data: {\"error\": {\"message\": \"Sorry\", \"code\": 503}}\n\n").await;
        exchange.chunk("").await;
    })
    .await;
    let bench = Bench::new();
    let running = start(&bench, limits(Duration::from_secs(1)));
    let node = asking(&upstream, &json!({}));
    // Every second one call tries, and since each fails by its stream, no other goes through for long.
    let begun_at = std::time::Instant::now();
    while begun_at.elapsed() < Duration::from_millis(3_500) {
        failure(&bench, &node).await;
    }
    assert!(upstream.requests().len() <= 4 + 2 * 4, "{} calls were made", upstream.requests().len());
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_share_one_rate_and_what_waits_for_it_is_no_try() {
    let called = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&called);
    let upstream = Upstream::start(move |exchange: Exchange| {
        count.fetch_add(1, Ordering::SeqCst);
        exchange.json("1")
    })
    .await;
    let (bench, other) = (Bench::new(), Bench::new());
    let other = Bench { store: Arc::clone(&bench.store), broker: bench.broker.clone(), ..other };
    let rate = "1/30m".parse::<coxswain_shared::upstream::Rate>().unwrap().with_burst(5);
    let limits = UpstreamLimits { rate: Some(rate), ..UpstreamLimits::default() };
    let (first, second) = (start(&bench, limits.clone()), start(&other, limits));
    let mut node = get(&upstream.url("/"));
    node["timeout"] = json!("1h");
    let runs = begin_many(&bench, &node, 12).await;
    let is_over = |task: &Task| matches!(task.state, TaskState::Settled | TaskState::Delayed);
    let mut waiting = Vec::new();
    for run in &runs {
        let task = bench.task_when(run, is_over).await;
        if task.state == TaskState::Delayed {
            assert_eq!(task.attempts, 0);
            waiting.push(task.last_failure.unwrap().message);
        }
    }
    assert_eq!((called.load(Ordering::SeqCst), waiting.len()), (5, 7));
    assert!(waiting.iter().all(|why| why.contains("as often as its rate allows")), "{waiting:?}");
    first.drain().await;
    second.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_that_the_calls_do_not_pay_for_are_not_made_and_the_failure_says_so() {
    let (upstream, _) = failing().await;
    let bench = Bench::new();
    let _sweeping = Sweeping::start(&bench);
    let budget = RetryBudget { share: Share::percent(1).unwrap(), reserve: 2 };
    let limits = UpstreamLimits { breaker: None, retry_budget: Some(budget), ..UpstreamLimits::default() };
    let running = start(&bench, limits);
    let mut node = get(&upstream.url("/"));
    node["retry"] = json!({"attempts": 100, "first": "1ms", "max": "1ms"});
    let Outcome::Failed { failure } = outcome(&bench, &node).await else { panic!("it does not succeed") };
    assert!(failure.message.contains("503"), "{failure}");
    assert!(failure.chain[0].contains("are over their budget of 1% of its calls"), "{failure}");
    let tries = upstream.requests().len();
    assert!((3..100).contains(&tries), "two retries beside the first, and what time has filled: {tries}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_does_not_answer_about_an_upstream_stands_in_nobodys_way() {
    let upstream = Upstream::start(|exchange| exchange.json("1")).await;
    let bench = Bench::new();
    for _ in 0..20 {
        bench.faults.next("admit", coxswain_shared::fault::Fault::Refused);
        bench.faults.next("breaker", coxswain_shared::fault::Fault::Refused);
    }
    let rate = "1/h".parse().unwrap();
    let running = start(&bench, UpstreamLimits { rate: Some(rate), ..UpstreamLimits::default() });
    for _ in 0..3 {
        let outcome = outcome(&bench, &get(&upstream.url("/"))).await;
        assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    }
    running.drain().await;
}
