//! `llm` nodes with models that stand in for one that is not to be had.

use std::time::Duration;

use coxswain_shared::outcome::Outcome;
use coxswain_shared::upstream::BreakerLimits;
use serde_json::{Value, json};

use super::bench::{Bench, wait_for};
use super::model::{asking, begin, body, ending, events, failure, outcome, saying, says, start, wrote};
use super::upstream::{Exchange, Upstream};
use crate::{Config, OutsideConfig, UpstreamLimits, Upstreams, Worker};

async fn answering(text: &str) -> Upstream {
    saying(format!("{}{}", says(text), ending("stop"))).await
}

async fn failing(status: &'static str, headers: &'static str) -> Upstream {
    refusing(status, headers, "").await
}

async fn refusing(status: &'static str, headers: &'static str, body: &'static str) -> Upstream {
    Upstream::start(move |exchange: Exchange| exchange.answer(status, headers, body)).await
}

fn standing_in(upstream: &Upstream) -> Value {
    json!([{"model": "spare", "base_url": upstream.url("/v1")}])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_has_failed_every_try_is_stood_in_for_in_the_last_one() {
    let (broken, well) = (failing("503 Service Unavailable", "").await, answering("Because.").await);
    let bench = Bench::new();
    let running = start(&bench);
    let fields = json!({
        "fallback": standing_in(&well), "headers": {"X-Key": "mine"}, "output": {"other": "text", "text": "model"},
    });
    let run = begin(&bench, asking(&broken, &fields), json!({})).await;
    let task = bench.settled(&run).await;
    assert_eq!(wrote(task.outcome.as_ref().unwrap()), json!({"other": "Because.", "text": "small-2026"}));
    assert_eq!((broken.requests().len(), well.requests().len()), (1, 1));
    let request = well.requests().remove(0);
    assert_eq!(body(&request)["model"], "spare");
    assert!(!request.to_ascii_lowercase().contains("x-key"), "headers go to nobody else: {request}");
    let told = events(&bench, &run, "fallback").await;
    assert_eq!((&told[0]["from"], &told[0]["to"]), (&json!("small"), &json!("spare")));
    assert!(told[0]["why"].as_str().unwrap().contains("503"), "{told:?}");
    assert_eq!(bench.metric("cox_llm_fallbacks_total"), 1);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_tries_are_left_only_a_model_that_wants_to_be_left_alone_is_stood_in_for() {
    let well = answering("Because.").await;
    let bench = Bench::new();
    let running = start(&bench);
    let retry = json!({"attempts": 2});
    let broken = failing("503 Service Unavailable", "").await;
    let node = asking(&broken, &json!({"fallback": standing_in(&well), "retry": retry}));
    let run = begin(&bench, node, json!({})).await;
    bench.task_when(&run, |task| task.last_failure.is_some()).await;
    assert!(well.requests().is_empty());
    let busy = failing("429 Too Many Requests", "retry-after: 60\r\n").await;
    let node = asking(&busy, &json!({"fallback": standing_in(&well), "retry": retry}));
    assert_eq!(wrote(&outcome(&bench, node).await), json!({"other": "Because."}));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_wrong_is_not_asked_elsewhere_and_all_that_failed_is_told() {
    let (wrong, well) = (failing("400 Bad Request", "").await, answering("Because.").await);
    let (broken, away) = (failing("503 Service Unavailable", "").await, failing("502 Bad Gateway", "").await);
    let bench = Bench::new();
    let running = start(&bench);
    let refused = outcome(&bench, asking(&wrong, &json!({"fallback": standing_in(&well)}))).await;
    assert!(failure(&refused).contains("400") && well.requests().is_empty(), "{refused:?}");
    let all = outcome(&bench, asking(&broken, &json!({"fallback": standing_in(&away)}))).await;
    let told = failure(&all);
    assert!(
        told.contains("answered with 503") && told.contains("the model `spare`: ") && told.contains("502"),
        "{told}"
    );
    running.drain().await;
}

/// What providers answer whose account has no credit left, as it was recorded: `OpenAI`, Anthropic twice, `OpenRouter`.
const UNPAID: [(&str, &str); 4] = [
    (
        "429 Too Many Requests",
        concat!(
            r#"{"error": {"message": "You exceeded your current quota, please check your plan and billing details.", "#,
            r#""type": "insufficient_quota", "param": null, "code": "insufficient_quota"}}"#
        ),
    ),
    (
        "400 Bad Request",
        concat!(
            r#"{"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to "#,
            r#"access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."}, "request_id": "r"}"#
        ),
    ),
    (
        "402 Payment Required",
        r#"{"type": "error", "error": {"type": "billing_error", "message": "Your card expired"}}"#,
    ),
    ("402 Payment Required", r#"{"error": {"message": "Insufficient credits", "code": 402}}"#),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_without_credit_is_not_asked_again_and_another_model_is_asked_at_once() {
    let bench = Bench::new();
    let running = start(&bench);
    for (status, body) in UNPAID {
        let (unpaid, well) = (refusing(status, "retry-after: 1\r\n", body).await, answering("Because.").await);
        let fields = json!({"retry": {"attempts": 3, "first": "1ms"}});
        let told = failure(&outcome(&bench, asking(&unpaid, &fields)).await);
        assert!(told.contains(status) && told.contains("no credit or quota left"), "{told}");
        assert_eq!(unpaid.requests().len(), 1, "{status}");
        let fields = json!({"fallback": standing_in(&well), "retry": {"attempts": 3, "first": "1ms"}});
        let run = begin(&bench, asking(&unpaid, &fields), json!({})).await;
        assert_eq!(wrote(bench.settled(&run).await.outcome.as_ref().unwrap()), json!({"other": "Because."}));
        let why = events(&bench, &run, "fallback").await.remove(0)["why"].to_string();
        assert!(why.contains("no credit or quota left"), "{why}");
        assert_eq!((unpaid.requests().len(), well.requests().len()), (2, 1));
    }
    let error = json!({"error": {"message": "No more", "type": "insufficient_quota", "code": "insufficient_quota"}});
    let (unpaid, well) = (saying(format!("data: {error}\n\n")).await, answering("Because.").await);
    let node = asking(&unpaid, &json!({"fallback": standing_in(&well), "retry": {"attempts": 3}}));
    assert_eq!(wrote(&outcome(&bench, node).await), json!({"other": "Because."}), "also within the stream");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_an_open_breaker_the_next_model_answers_at_once() {
    let (broken, well) = (failing("500 Internal Server Error", "").await, answering("Because.").await);
    let bench = Bench::new();
    let open_for = Duration::from_hours(1);
    let breaker = Some(BreakerLimits {
        failures: 50,
        of: 2,
        within: Duration::from_mins(1),
        open_for,
        ..BreakerLimits::default()
    });
    let upstreams =
        Upstreams { others: UpstreamLimits { breaker, ..UpstreamLimits::default() }, ..Upstreams::default() };
    let allow = vec!["127.0.0.1".parse().unwrap()];
    let outside = OutsideConfig { allow, upstreams, ..OutsideConfig::default() };
    let running = bench.start(Worker::builder(Config { outside, ..Bench::config() }));
    wait_for(|| async {
        let told = failure(&outcome(&bench, asking(&broken, &json!({}))).await);
        if told.contains("the breaker of") { Ok(()) } else { Err(told) }
    })
    .await;
    let asked = broken.requests().len();
    let node = asking(&broken, &json!({"fallback": standing_in(&well), "retry": {"attempts": 5}}));
    let outcome = outcome(&bench, node).await;
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    assert_eq!((broken.requests().len(), well.requests().len()), (asked, 1));
    running.drain().await;
}
