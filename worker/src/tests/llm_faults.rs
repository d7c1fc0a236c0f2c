//! `llm` nodes against servers that misbehave in one way each, and what is kept of an answer that is cut off.

use std::time::Duration;

use coxswain_shared::limits::Limit;
use coxswain_shared::outcome::FailureKind;
use coxswain_shared::task::{Task, TaskState};
use serde_json::json;

use super::bench::Bench;
use super::model::{
    PING, asking, begin, chunk, config, ending, events, failure, first_token, outcome, saying, says, start, streaming,
    wrote,
};
use super::outside::hits;
use super::upstream::{Exchange, Upstream};
use crate::Worker;

/// Short, but longer than a busy machine takes to answer.
const SHORT: &str = "400ms";

/// Sends this and pings, with such pauses, until the client has gone.
async fn begin_and_ping(mut exchange: Exchange, beginning: String, pause: Duration) {
    exchange.begin("text/event-stream").await;
    exchange.chunk(beginning).await;
    while exchange.chunk(PING).await {
        tokio::time::sleep(pause).await;
    }
    exchange.has_left();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_are_no_first_token() {
    let role = chunk(&json!({"role": "assistant", "content": ""}), None);
    let answer = move |exchange| begin_and_ping(exchange, role.clone(), Duration::from_millis(20));
    let fields = json!({"first_byte_timeout": SHORT, "idle_timeout": "20s"});
    let (told, upstream) = hits(Limit::FirstByteTimeout, |upstream| asking(upstream, &fields), answer).await;
    assert!(told.contains("first_byte_timeout (400ms) passed in POST http://127.0.0.1:"), "{told}");
    assert!(told.contains("0 characters of the answer's text had come"), "{told}");
    upstream.clients_left(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_pings_is_silence() {
    let answer = |mut exchange: Exchange| async move {
        exchange.begin("text/event-stream").await;
        exchange.chunk(says("Because")).await;
        // The client is never left waiting for bytes.
        while exchange.chunk(PING.repeat(100)).await {}
        exchange.has_left();
    };
    let (told, upstream) = hits(
        Limit::IdleTimeout,
        |upstream| asking(upstream, &json!({"idle_timeout": SHORT, "max_bytes": 67_108_864})),
        answer,
    )
    .await;
    assert!(told.contains("idle_timeout (400ms)"), "{told}");
    upstream.clients_left(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_between_tokens_are_silence() {
    let answer = |exchange| begin_and_ping(exchange, says("Because"), Duration::from_millis(20));
    let (told, upstream) =
        hits(Limit::IdleTimeout, |upstream| asking(upstream, &json!({"idle_timeout": SHORT})), answer).await;
    assert!(told.contains("idle_timeout (400ms)"), "{told}");
    assert!(told.contains("7 characters of the answer's text had come"), "{told}");
    upstream.clients_left(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_the_call_and_keeps_what_had_come() {
    let upstream = Upstream::start(|mut exchange: Exchange| async move {
        exchange.begin("text/event-stream").await;
        exchange.chunk([says("Because"), says(" it")].concat()).await;
        exchange.hang().await;
    })
    .await;
    let bench = Bench::new();
    let running = start(&bench);
    let run = begin(&bench, asking(&upstream, &json!({})), json!({})).await;
    first_token(&bench, &run).await;
    bench.stop(&run, None, false).await;
    upstream.clients_left(1).await;
    let stopped = bench.run_ended(&run).await.stop.unwrap();
    assert!(stopped.is_confirmed(), "{stopped:?}");
    assert_eq!(bench.task(&run).await.proof.unwrap().partial, Some(json!("Because it")));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_cut_or_malformed_fails_the_try() {
    let bench = Bench::new();
    let running = start(&bench);
    let told = async |stream: Vec<u8>| {
        let upstream = streaming(vec![stream]).await;
        let outcome = outcome(&bench, asking(&upstream, &json!({}))).await;
        assert_eq!(outcome.failure().unwrap().kind, FailureKind::Outside, "{outcome:?}");
        failure(&outcome)
    };
    for (stream, word) in [
        (says("Because"), "ended in the middle of the answer"),
        ("data: [DONE]\n\n".to_owned(), "ended without an answer"),
        (says("Because") + "data: {\"choices\": [", "holds no JSON of the expected shape"),
        ("<html>Bad Gateway</html>\n".to_owned(), "not `<html>Bad Gateway</html>`"),
        ("data: [1, 2]\n\n".to_owned(), "holds no JSON of the expected shape"),
    ] {
        let told = told(stream.into_bytes()).await;
        assert!(told.contains(word), "{word} is missing in: {told}");
    }
    let upstream = Upstream::start(|mut exchange: Exchange| async move {
        match exchange.number {
            0 => {
                exchange.begin("text/event-stream").await;
                exchange.chunk(says("Because")).await;
            }
            _ => exchange.json("{\"choices\": []}").await,
        }
    })
    .await;
    for word in
        ["broke off: status 200", "neither the stream of events that was asked for nor an answer: `{\"choices\": []}`"]
    {
        let told = failure(&outcome(&bench, asking(&upstream, &json!({}))).await);
        assert!(told.contains(word), "{word} is missing in: {told}");
    }
    // Without the word for the end, but with a reason for it.
    let upstream = saying([says("Because"), chunk(&json!({}), Some("stop"))].concat()).await;
    assert_eq!(wrote(&outcome(&bench, asking(&upstream, &json!({}))).await), json!({"other": "Because"}));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_may_be_split_anywhere() {
    let stream = [says("Größe"), says(" 🚣"), ending("stop")].concat().replace('\n', "\r\n").into_bytes();
    let mut pieces: Vec<_> = stream.iter().map(|byte| vec![*byte]).collect();
    let invalid = says("X").replace('X', "\u{1}").into_bytes();
    let invalid = invalid.split(|byte| *byte == 1).map(<[u8]>::to_vec).collect::<Vec<_>>().join(&b"\xff"[..]);
    pieces.insert(0, invalid);
    let upstream = streaming(pieces).await;
    let bench = Bench::new();
    let running = start(&bench);
    let outcome = outcome(&bench, asking(&upstream, &json!({}))).await;
    assert_eq!(wrote(&outcome), json!({"other": "\u{fffd}Größe 🚣"}));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_within_the_stream_fails_the_try_and_says_whether_another_may_help() {
    let bench = Bench::new();
    let running = start(&bench);
    let error = json!({"error": {"message": "prompt too long", "type": "invalid_request_error", "code": null}});
    let upstream = saying(format!("{}data: {error}\n\n", says("Be"))).await;
    let retried = json!({"retry": {"attempts": 2, "first": "1ms", "jitter": "none"}});
    let told = failure(&outcome(&bench, asking(&upstream, &retried)).await);
    assert!(told.contains("the provider reports an error: prompt too long (invalid_request_error)"), "{told}");
    assert_eq!(upstream.requests().len(), 1, "what is wrong is not asked again");
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let upstream = saying(format!("event: error\ndata: {error}\n\n")).await;
    let mut fields = retried.clone();
    fields["provider"] = json!("anthropic");
    let run = begin(&bench, asking(&upstream, &fields), json!({})).await;
    let delayed = bench.task_when(&run, |task: &Task| task.state == TaskState::Delayed).await;
    assert!(delayed.last_failure.unwrap().message.contains("Overloaded (overloaded_error)"));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_tried_again_if_it_may_pass() {
    let upstream = Upstream::start(|exchange: Exchange| async move {
        let error = "{\"error\": {\"message\": \"no\"}}";
        match exchange.number {
            0 => exchange.answer("429 Too Many Requests", "retry-after: 3600\r\n", error).await,
            1 => exchange.answer("529 Overloaded", "", error).await,
            _ => exchange.answer("401 Unauthorized", "", error).await,
        }
    })
    .await;
    let bench = Bench::new();
    let running = start(&bench);
    let node =
        asking(&upstream, &json!({"timeout": "10m", "retry": {"attempts": 2, "first": "1ms", "jitter": "none"}}));
    let late = failure(&outcome(&bench, node.clone()).await);
    assert!(late.contains("429 Too Many Requests") && late.contains("would begin after the task's timeout"), "{late}");
    let run = begin(&bench, node.clone(), json!({})).await;
    let delayed = bench.task_when(&run, |task: &Task| task.state == TaskState::Delayed).await;
    assert!(delayed.last_failure.unwrap().message.contains("529"));
    let told = failure(&outcome(&bench, node).await);
    assert!(told.contains("401 Unauthorized: {\"error\""), "{told}");
    assert_eq!(upstream.requests().len(), 3);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_too_long_is_not_read_to_its_end() {
    let upstream = Upstream::start(|mut exchange: Exchange| async move {
        exchange.begin("text/event-stream").await;
        while exchange.chunk(says(&"x".repeat(10_000))).await {}
        exchange.has_left();
    })
    .await;
    let bench = Bench::new();
    let running = start(&bench);
    let outcome = outcome(&bench, asking(&upstream, &json!({"max_bytes": 1_000_000}))).await;
    assert_eq!(outcome.failure().unwrap().kind, FailureKind::TooLarge, "{outcome:?}");
    upstream.clients_left(1).await;
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_sent_and_shows_nowhere() {
    let upstream = Upstream::start(|mut exchange: Exchange| async move {
        if exchange.number > 0 {
            return exchange.answer("401 Unauthorized", "", "the key hunter2 is wrong").await;
        }
        exchange.begin("text/event-stream").await;
        exchange.chunk(says("It is hun")).await;
        // Longer than tokens are gathered for.
        tokio::time::sleep(Duration::from_millis(150)).await;
        exchange.chunk(says("ter2, and hunt") + &ending("stop")).await;
        exchange.chunk("").await;
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "hunter2\n").unwrap();
    let bench = Bench::new();
    let running = bench.start(Worker::builder(config(Some(folder.path()))));
    let node = asking(&upstream, &json!({"api_key": "${file:key}"}));
    let run = begin(&bench, node.clone(), json!({})).await;
    let good = bench.settled(&run).await.outcome.unwrap();
    assert_eq!(wrote(&good), json!({"other": "It is ***, and hunt"}));
    let told: String =
        events(&bench, &run, "token").await.iter().map(|event| event["text"].as_str().unwrap()).collect();
    assert_eq!(told, "It is ***, and hunt");
    let bad = failure(&outcome(&bench, node).await);
    assert!(bad.contains("the key *** is wrong"), "{bad}");
    assert!(upstream.requests()[0].contains("authorization: Bearer hunter2"));

    let mut home = asking(&upstream, &json!({"api_key": "${env:COX_NO_SUCH_API_KEY}"}));
    let told = failure(&outcome(&bench, home.clone()).await);
    assert!(told.contains("`api_key`: the variable `COX_NO_SUCH_API_KEY` is not set"), "{told}");
    home["base_url"] = json!("https://127.0.0.2/v1");
    home.as_object_mut().unwrap().remove("api_key");
    let told = failure(&outcome(&bench, home).await);
    assert!(told.contains("is private"), "{told}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_stream_is_read_all_the_same() {
    let upstream = Upstream::start(|exchange: Exchange| async move {
        let message = json!({"role": "assistant", "content": "Because."});
        let usage = json!({"prompt_tokens": 9, "completion_tokens": 3});
        let whole = json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage});
        let wrong = json!({"error": {"message": "no such model", "type": "invalid_request_error"}});
        let said = if exchange.number == 0 { whole } else { wrong };
        exchange.json(&said.to_string()).await;
    })
    .await;
    let bench = Bench::new();
    let running = start(&bench);
    let run = begin(&bench, asking(&upstream, &json!({})), json!({})).await;
    assert_eq!(wrote(&bench.settled(&run).await.outcome.unwrap()), json!({"other": "Because."}));
    assert_eq!(events(&bench, &run, "token").await, [json!({"text": "Because."})]);
    assert_eq!(events(&bench, &run, "usage").await[0]["output_tokens"], 3);
    // An error behind a good status is what it says, and not tried again where that helps nobody.
    let retried = json!({"retry": {"attempts": 3, "first": "1ms", "jitter": "none"}});
    let told = failure(&outcome(&bench, asking(&upstream, &retried)).await);
    assert!(told.contains("the provider reports an error: no such model"), "{told}");
    assert_eq!(upstream.requests().len(), 2);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_answer_is_not_lost_to_a_server_that_never_closes() {
    let upstream = Upstream::start(|mut exchange: Exchange| async move {
        exchange.begin("text/event-stream").await;
        exchange.chunk([says("Because"), chunk(&json!({}), Some("stop"))].concat()).await;
        exchange.hang().await;
    })
    .await;
    let bench = Bench::new();
    let running = start(&bench);
    let node = asking(&upstream, &json!({"idle_timeout": SHORT}));
    assert_eq!(wrote(&outcome(&bench, node).await), json!({"other": "Because"}));
    upstream.clients_left(1).await;
    running.drain().await;
}
