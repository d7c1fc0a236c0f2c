//! What `llm` nodes spend: counted in the run, priced, held to the graph's budget, also when a call is dropped.

use std::sync::Arc;
use std::time::Duration;

use coxswain_shared::outcome::Outcome;
use coxswain_shared::run::RunStatus;
use coxswain_shared::spend::{Budget, Cost, Spend};
use coxswain_shared::stop::Cause;
use coxswain_shared::task::TaskState;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::bench::{Bench, Running, rust, wait_for};
use super::model::{asking, begin, config, ending, events, failure, first_token, outcome, saying, says};
use super::upstream::{Exchange, Upstream};
use crate::outside::Prices;
use crate::{Config, NodeError, OutsideConfig, Worker};

/// A worker that knows what the bench's models cost.
fn start(bench: &Bench, prices: &str) -> Running {
    let plain = config(None);
    let outside = OutsideConfig { prices: Prices::read(prices).unwrap(), ..plain.outside.clone() };
    bench.start(Worker::builder(Config { outside, ..plain }))
}

/// Nine tokens in, three out.
fn answer() -> String {
    [says("yes"), ending("stop")].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_and_their_price_are_counted_in_the_run() {
    let upstream = saying(answer()).await;
    let bench = Bench::new();
    let running = start(&bench, "{'small*': {input: 1000, output: 2000}}");
    let run = begin(&bench, asking(&upstream, &json!({})), json!({})).await;
    bench.settled(&run).await;
    let cost = Cost::from_units(0.015).unwrap();
    assert_eq!(bench.run(&run).await.spent, Spend { input_tokens: 9, output_tokens: 3, cost, tool_calls: 0 });
    assert_eq!(events(&bench, &run, "usage").await[0]["cost"], json!(0.015));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_over_the_runs_budget_ends_the_run_and_keeps_its_answer() {
    let upstream = saying(answer()).await;
    let bench = Bench::new();
    let running = start(&bench, "{}");
    let limits = json!({"budget": {"tokens": 11}});
    let run = bench.prepare_within(asking(&upstream, &json!({})), &limits).await;
    bench.publish(&run).await;
    let ended = bench.run_ended(&run).await;
    let order = ended.stop.unwrap().order.order;
    assert_eq!((ended.status, order.cause), (RunStatus::Failed, Cause::Budget));
    let why = "its budget of 11 tokens is used up: it has spent 12 tokens (9 in, 3 out)";
    assert_eq!((order.reason.as_deref(), order.actor.as_str()), (Some(why), "node work"));
    assert!(bench.task(&run).await.outcome.is_some(), "what was paid for is kept");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_without_a_price_is_not_asked_where_the_cost_is_limited() {
    let upstream = saying(answer()).await;
    let bench = Bench::new();
    let running = start(&bench, "{large: {input: 1}}");
    let limits = json!({"budget": {"cost": 1.0}});
    let run = bench.prepare_within(asking(&upstream, &json!({})), &limits).await;
    bench.publish(&run).await;
    let told = failure(&bench.settled(&run).await.outcome.unwrap());
    assert!(told.contains("no price for the model `small`") && told.contains("COX_PRICES"), "{told}");
    assert_eq!(upstream.requests().len(), 0);
    let budget = Budget { cost: Cost::from_units(1.0), ..Budget::default() };
    let embed = json!({"model": "tiny", "base_url": upstream.url("/v1")});
    let search = json!({
        "kind": "vector_search", "store": "chroma", "url": upstream.url(""), "collection": "docs",
        "query": "Why?", "embed": embed, "into": "other",
    });
    for (node, model) in [(asking(&upstream, &json!({})), "`small`"), (search, "`tiny`")] {
        let run = bench.prepare_with_budget(node, budget).await;
        bench.publish(&run).await;
        let told = failure(&bench.settled(&run).await.outcome.unwrap());
        assert!(told.contains("no price for the model") && told.contains(model), "{told}");
    }
    assert_eq!(upstream.requests().len(), 0, "nor where it is limited for this run alone");
    let unlimited = outcome(&bench, asking(&upstream, &json!({}))).await;
    assert!(!unlimited.is_bad(), "{unlimited:?}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_stopped_has_spent_what_the_provider_had_told() {
    let event = |piece: Value| format!("event: {}\ndata: {piece}\n\n", piece["type"].as_str().unwrap());
    let usage = json!({"input_tokens": 25, "output_tokens": 1});
    let beginning = [
        json!({"type": "message_start", "message": {"role": "assistant", "content": [], "model": "large", "usage": usage}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "One "}}),
    ]
    .map(event)
    .concat();
    let upstream = Upstream::start(move |mut exchange: Exchange| {
        let beginning = beginning.clone();
        async move {
            exchange.begin("text/event-stream").await;
            exchange.chunk(beginning).await;
            exchange.hang().await;
        }
    })
    .await;
    let bench = Bench::new();
    let running = start(&bench, "{}");
    let fields = json!({"provider": "anthropic", "base_url": upstream.url("/"), "max_tokens": 50});
    let run = begin(&bench, asking(&upstream, &fields), json!({})).await;
    first_token(&bench, &run).await;
    bench.stop(&run, None, false).await;
    let ended = bench.run_ended(&run).await;
    let spent = Spend { input_tokens: 25, output_tokens: 1, ..Spend::default() };
    assert_eq!((ended.spent, bench.task(&run).await.proof.unwrap().spent), (spent, spent));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_stopped_has_spent_what_had_come_where_the_provider_tells_it_at_the_end() {
    let upstream = Upstream::start(|mut exchange: Exchange| async move {
        exchange.begin("text/event-stream").await;
        exchange.chunk(says("one ").repeat(20)).await;
        exchange.hang().await;
    })
    .await;
    let bench = Bench::new();
    let running = start(&bench, "{'small*': {input: 1000, output: 2000}}");
    let run = begin(&bench, asking(&upstream, &json!({})), json!({})).await;
    first_token(&bench, &run).await;
    bench.stop(&run, None, false).await;
    let spent = bench.run_ended(&run).await.spent;
    let asked = upstream.requests()[0].split_once("\r\n\r\n").unwrap().1.len() as u64;
    assert_eq!((spent.input_tokens, spent.output_tokens), (asked.div_ceil(4), 20));
    assert_eq!(spent.cost.micros(), spent.input_tokens * 1_000 + spent.output_tokens * 2_000);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_tells_no_usage_does_not_escape_the_runs_budget() {
    let upstream = saying([says("one ").repeat(20), super::model::chunk(&json!({}), Some("stop"))].concat()).await;
    let bench = Bench::new();
    let running = start(&bench, "{}");
    let run = bench.prepare_within(asking(&upstream, &json!({})), &json!({"budget": {"tokens": 19}})).await;
    bench.publish(&run).await;
    let ended = bench.run_ended(&run).await;
    assert_eq!(ended.stop.unwrap().order.order.cause, Cause::Budget);
    let usage = events(&bench, &run, "usage").await.remove(0);
    assert_eq!((&usage["output_tokens"], &usage["estimated"]), (&json!(20), &json!(true)), "{usage}");
    running.drain().await;
}

/// A node that puts two texts into a collection, each by a request of its own.
fn upserting(upstream: &Upstream) -> Value {
    json!({
        "kind": "vector_upsert", "store": "pinecone", "url": upstream.url(""),
        "items": [{"id": "a", "text": "x"}, {"id": "b", "text": "y"}],
        "embed": {"model": "tiny", "base_url": upstream.url("/v1"), "batch": 1},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upsert_that_is_stopped_has_spent_what_its_vectors_had_cost_by_then() {
    let upstream = Upstream::start(|exchange: Exchange| async move {
        match exchange.number {
            0 => {
                let embedded = json!({"data": [{"index": 0, "embedding": [1, 2]}], "usage": {"prompt_tokens": 3}});
                exchange.json(&embedded.to_string()).await;
            }
            1 => exchange.json("{}").await,
            _ => exchange.hang().await,
        }
    })
    .await;
    let bench = Bench::new();
    let running = start(&bench, "{tiny: {input: 1000}}");
    let run = begin(&bench, upserting(&upstream), json!({})).await;
    wait_for(|| async {
        let asked = upstream.requests().len();
        if asked == 3 { Ok(()) } else { Err(format!("{asked} requests")) }
    })
    .await;
    bench.stop(&run, None, false).await;
    let spent = bench.run_ended(&run).await.spent;
    assert_eq!((spent.input_tokens, spent.cost.micros()), (3, 3_000));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vectors_whose_usage_is_told_by_another_name_each_time_are_paid_for_once() {
    let upstream = Upstream::start(|exchange: Exchange| async move {
        let usage = match exchange.number {
            0 => json!({"total_tokens": 9}),
            2 => json!({"prompt_tokens": 2}),
            _ => return exchange.json("{}").await,
        };
        exchange.json(&json!({"data": [{"index": 0, "embedding": [1, 2]}], "usage": usage}).to_string()).await;
    })
    .await;
    let bench = Bench::new();
    let running = start(&bench, "{tiny: {input: 1000}}");
    let run = begin(&bench, upserting(&upstream), json!({})).await;
    let task = bench.settled(&run).await;
    assert!(matches!(task.outcome, Some(Outcome::Succeeded { .. })), "{task:?}");
    assert_eq!(bench.run(&run).await.spent.input_tokens, 9);
    running.drain().await;
}

/// A worker whose handler spends this, says that it has, and never ends.
fn spending_on(bench: &Bench, heartbeat: Duration, spent: Spend) -> (Running, Arc<Notify>) {
    let started = Arc::new(Notify::new());
    let told = Arc::clone(&started);
    let config = Config { heartbeat, lease_ttl: heartbeat * 10, ..Bench::config() };
    let builder = Worker::builder(config).handler("work", move |ctx, _input: Value| {
        let told = Arc::clone(&told);
        async move {
            ctx.spend(spent);
            told.notify_one();
            std::future::pending::<Result<Value, NodeError>>().await
        }
    });
    (bench.start(builder), started)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_spent_before_a_worker_drains_counts() {
    let spent = Spend { input_tokens: 7, tool_calls: 1, ..Spend::default() };
    let bench = Bench::new();
    let (running, started) = spending_on(&bench, Duration::from_mins(1), spent);
    let run = bench.begin(rust(json!({}))).await;
    started.notified().await;
    running.drain().await;
    assert_eq!((bench.task(&run).await.state, bench.run(&run).await.spent), (TaskState::Queued, spent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_spent_is_told_while_it_goes_on_and_ends_the_run_that_has_spent_too_much() {
    let spent = Spend { input_tokens: 7, ..Spend::default() };
    let bench = Bench::new();
    let (running, _) = spending_on(&bench, Duration::from_millis(50), spent);
    let run = bench.begin(rust(json!({}))).await;
    wait_for(|| async {
        let seen = bench.run(&run).await.spent;
        if seen == spent { Ok(()) } else { Err(format!("{seen}")) }
    })
    .await;
    let run = bench.prepare_with_budget(rust(json!({})), Budget { tokens: Some(6), ..Budget::default() }).await;
    bench.publish(&run).await;
    let ended = bench.run_ended(&run).await;
    let stop = ended.stop.unwrap();
    assert_eq!((ended.status, ended.spent, stop.order.order.cause), (RunStatus::Failed, spent, Cause::Budget));
    assert!(stop.is_confirmed(), "the handler was dropped: {stop:?}");
    running.drain().await;
}
