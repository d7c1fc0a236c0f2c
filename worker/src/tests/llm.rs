//! `llm` nodes against servers that speak as the providers do, and against servers that misbehave in one way each.

use std::time::Duration;

use coxswain_shared::id::RunKey;
use coxswain_shared::limits::Limit;
use coxswain_shared::outcome::{FailureKind, Outcome};
use coxswain_shared::task::{Task, TaskState};
use serde_json::{Value, json};

use super::bench::{Bench, Running, values, wait_for};
use super::upstream::{Exchange, Upstream};
use crate::{Config, OutsideConfig, Worker};

/// Short, but longer than a busy machine takes to answer.
const SHORT: &str = "400ms";
/// What a server sends to keep a connection open.
const PING: &str = ": ping\n\n";

fn config(folder: Option<&std::path::Path>) -> Config {
    let outside = OutsideConfig {
        allow: vec!["127.0.0.1".parse().unwrap()],
        secrets_dir: folder.map(ToOwned::to_owned),
        ..OutsideConfig::default()
    };
    Config { outside, ..Bench::config() }
}

fn start(bench: &Bench) -> Running {
    bench.start(Worker::builder(config(None)))
}

/// A node that asks `Why?`, with these fields.
fn asking(upstream: &Upstream, fields: &Value) -> Value {
    let mut node = json!({"kind": "llm", "model": "small", "base_url": upstream.url("/v1")});
    let node_fields = node.as_object_mut().unwrap();
    node_fields.extend(fields.as_object().expect("fields are an object").clone());
    if !node_fields.contains_key("messages") {
        node_fields.insert("prompt".to_owned(), json!("Why?"));
    }
    if !node_fields.contains_key("output") {
        node_fields.entry("into").or_insert(json!("other"));
    }
    node
}

async fn begin(bench: &Bench, node: Value, state: Value) -> RunKey {
    let run = bench.prepare(node, values(state), None).await;
    bench.publish(&run).await;
    run
}

/// Runs one node to its end.
async fn outcome(bench: &Bench, node: Value) -> Outcome {
    let run = begin(bench, node, json!({"text": "a b", "count": 3})).await;
    bench.settled(&run).await.outcome.expect("a settled task has an outcome")
}

fn wrote(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Succeeded { writes, .. } => serde_json::to_value(writes).unwrap(),
        other => panic!("it did not succeed: {other:?}"),
    }
}

fn failure(outcome: &Outcome) -> String {
    let failure = outcome.failure().unwrap_or_else(|| panic!("it did not fail: {outcome:?}"));
    format!("{} {}", failure.message, failure.chain.join(" | "))
}

/// The values of a run's events of a kind.
async fn events(bench: &Bench, run: &RunKey, kind: &str) -> Vec<Value> {
    let events = bench.store.events(run, 0, 1_000).await.unwrap();
    events.into_iter().map(|event| event.event).filter(|event| event.kind == kind).map(|event| event.value).collect()
}

/// The body of a request.
fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// A chunk as OpenAI's API sends it.
fn chunk(delta: &Value, finish_reason: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
    let chunk = json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_760_000_000, "model": "small-2026",
        "system_fingerprint": "fp", "choices": [choice], "usage": null,
    });
    format!("data: {chunk}\n\n")
}

fn says(text: &str) -> String {
    chunk(&json!({"content": text}), None)
}

/// How a stream of OpenAI's API ends: the reason, the usage, and the word for the end.
fn ending(reason: &str) -> String {
    let usage = json!({
        "prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "completion_tokens_details": {"reasoning_tokens": 0},
    });
    let last = json!({"object": "chat.completion.chunk", "model": "small-2026", "choices": [], "usage": usage});
    format!("{}data: {last}\n\ndata: [DONE]\n\n", chunk(&json!({}), Some(reason)))
}

/// A server that answers with these pieces of a stream, and closes properly.
async fn streaming(pieces: Vec<Vec<u8>>) -> Upstream {
    Upstream::start(move |mut exchange: Exchange| {
        let pieces = pieces.clone();
        async move {
            exchange.begin("text/event-stream; charset=utf-8").await;
            for piece in pieces {
                exchange.chunk(piece).await;
            }
            exchange.chunk("").await;
        }
    })
    .await
}

/// A server that answers with this stream in one piece.
async fn saying(stream: impl Into<String>) -> Upstream {
    streaming(vec![stream.into().into_bytes()]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streamed_answer_is_put_together_told_and_written() {
    let role = chunk(&json!({"role": "assistant", "content": "", "refusal": null}), None);
    let stream = [role, says("Because"), PING.to_owned(), says(" it"), says(" is."), ending("stop")].concat();
    let upstream = saying(stream).await;
    let bench = Bench::new();
    let running = start(&bench);
    let node = asking(
        &upstream,
        &json!({
            "system": "You know {{ text }}.", "temperature": 0.5, "max_tokens": 50, "stop": ["END"], "seed": 7,
            "extra": {"top_p": 0.9, "user": "{{ text }}", "stream_options": null}, "headers": {"X-Title": "{{ count }}"},
            "output": {"other": "[text, finish_reason, model, usage.input_tokens, usage.output_tokens, message, json]"},
        }),
    );
    let run = begin(&bench, node, json!({"text": "a b", "count": 3})).await;
    let outcome = bench.settled(&run).await.outcome.unwrap();
    let message = json!({"role": "assistant", "content": "Because it is."});
    assert_eq!(wrote(&outcome), json!({"other": ["Because it is.", "stop", "small-2026", 9, 3, message, null]}));
    let request = upstream.requests().remove(0);
    assert!(request.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("x-title: 3") && !request.contains("authorization"), "{request}");
    let messages = [json!({"role": "system", "content": "You know a b."}), json!({"role": "user", "content": "Why?"})];
    assert_eq!(
        body(&request),
        json!({
            "model": "small", "messages": messages, "stream": true, "temperature": 0.5, "max_tokens": 50, "stop": ["END"],
            "seed": 7, "top_p": 0.9, "user": "a b",
        })
    );
    let told: String =
        events(&bench, &run, "token").await.iter().map(|event| event["text"].as_str().unwrap()).collect();
    assert_eq!(told, "Because it is.");
    let usage = events(&bench, &run, "usage").await.remove(0);
    assert_eq!([&usage["input_tokens"], &usage["output_tokens"], &usage["total_tokens"]], [9, 3, 12]);
    assert_eq!((usage["provider"].as_str(), usage["model"].as_str()), (Some("openai"), Some("small-2026")));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_anthropic_is_in_the_same_words() {
    let pieces = [
        json!({"type": "message_start", "message": {"id": "msg_1", "role": "assistant", "content": [], "model": "large-1",
            "usage": {"input_tokens": 25, "cache_read_input_tokens": 4, "output_tokens": 1}}}),
        json!({"type": "ping"}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}}),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "One "}}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "moment."}}),
        json!({"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "t1", "name": "look_up", "input": {}}}),
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "{\"q\":"}}),
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": " 1}"}}),
        json!({"type": "content_block_stop", "index": 2}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null}, "usage": {"output_tokens": 15}}),
        json!({"type": "message_stop"}),
    ];
    let event = |piece: Value| format!("event: {}\ndata: {piece}\n\n", piece["type"].as_str().unwrap());
    let stream = pieces.map(event).concat();
    let upstream = saying(stream).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "hunter2\n").unwrap();
    let bench = Bench::new();
    let running = bench.start(Worker::builder(config(Some(folder.path()))));
    let tools = json!([{"name": "look_up", "input_schema": {"type": "object"}}]);
    let node = asking(
        &upstream,
        &json!({
            "provider": "anthropic", "api_key": "${file:key}", "system": "Be short.", "tools": tools, "stop": ["END"],
            "messages": ["{{ talk }}", {"role": "user", "content": "Why {{ text }}?"}], "into": "talk",
        }),
    );
    let talk = json!([{"role": "user", "content": "hi", "id": "1"}, {"role": "assistant", "content": "hello"}]);
    let run = begin(&bench, node, json!({"text": "so", "talk": talk})).await;
    let outcome = bench.settled(&run).await.outcome.unwrap();
    let call = json!({"id": "t1", "type": "function", "function": {"name": "look_up", "arguments": "{\"q\": 1}"}});
    let message = json!({"role": "assistant", "content": "One moment.", "tool_calls": [call]});
    assert_eq!(wrote(&outcome), json!({"talk": message}));
    let request = upstream.requests().remove(0);
    assert!(request.starts_with("POST /v1/messages HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("x-api-key: hunter2") && request.contains("anthropic-version: 2023-06-01"), "{request}");
    let said = |role: &str, content: &str| json!({"role": role, "content": content});
    assert_eq!(
        body(&request),
        json!({
            "model": "small", "max_tokens": 4096, "stream": true, "system": "Be short.", "tools": tools, "stop_sequences": ["END"],
            "messages": [said("user", "hi"), said("assistant", "hello"), said("user", "Why so?")],
        })
    );
    let usage = events(&bench, &run, "usage").await.remove(0);
    assert_eq!([&usage["input_tokens"], &usage["output_tokens"], &usage["cache_read_input_tokens"]], [25, 15, 4]);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_tools_are_put_together_and_written_as_a_message() {
    let call = |call: Value| chunk(&json!({"tool_calls": [call]}), None);
    let stream = [
        call(json!({"index": 0, "id": "c1", "type": "function", "function": {"name": "look_up", "arguments": ""}})),
        call(json!({"index": 0, "function": {"arguments": "{\"q\": "}})),
        call(json!({"index": 1, "id": "c2", "type": "function", "function": {"name": "sum", "arguments": "{}"}})),
        call(json!({"index": 0, "function": {"arguments": "1}"}})),
        ending("tool_calls"),
    ];
    let upstream = saying(stream.concat()).await;
    let bench = Bench::new();
    let running = start(&bench);
    let tools = json!([{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]);
    let node = asking(&upstream, &json!({"tools": tools, "tool_choice": "auto", "into": "talk"}));
    let wanted = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let calls = [wanted("c1", "look_up", "{\"q\": 1}"), wanted("c2", "sum", "{}")];
    let message = json!({"role": "assistant", "content": "", "tool_calls": calls});
    assert_eq!(wrote(&outcome(&bench, node).await), json!({"talk": message}));
    let asked = body(&upstream.requests()[0]);
    assert_eq!((&asked["tools"], &asked["tool_choice"]), (&tools, &json!("auto")));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_with_a_schema_is_a_value_that_fits_it_or_a_failed_try() {
    let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}});
    let bench = Bench::new();
    let running = start(&bench);
    let upstream = saying([says("{\"n\""), says(": 3}"), ending("stop")].concat()).await;
    let node = asking(&upstream, &json!({"schema": schema}));
    assert_eq!(wrote(&outcome(&bench, node).await), json!({"other": {"n": 3}}));
    assert_eq!(body(&upstream.requests()[0])["response_format"]["json_schema"]["schema"], schema);
    let upstream = saying([says("{\"n\": \"three\"}"), ending("length")].concat()).await;
    let bad = outcome(&bench, asking(&upstream, &json!({"schema": schema}))).await;
    assert_eq!(bad.failure().unwrap().kind, FailureKind::BadOutput, "{bad:?}");
    let told = failure(&bad);
    assert!(told.contains("`/n`") && told.contains("not of type \"integer\"") && told.contains("it was cut"), "{told}");

    let block = json!({"type": "tool_use", "id": "t", "name": "answer", "input": {}});
    let pieces = [
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{\"n\": 4}"}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}}),
        json!({"type": "message_stop"}),
    ];
    let upstream = saying(pieces.map(|piece| format!("data: {piece}\n\n")).concat()).await;
    let fields = json!({"provider": "anthropic", "schema": schema, "output": {"other": "[json.n, finish_reason, message.content]"}});
    assert_eq!(wrote(&outcome(&bench, asking(&upstream, &fields)).await), json!({"other": [4, "stop", "{\"n\": 4}"]}));
    assert_eq!(body(&upstream.requests()[0])["tool_choice"], json!({"type": "tool", "name": "answer"}));
    running.drain().await;
}

/// Runs one node, with these fields, against a server, and gives its failure once it has hit this limit.
async fn hits<F, R>(limit: Limit, fields: Value, answer: F) -> (String, Upstream)
where
    F: Fn(Exchange) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let upstream = Upstream::start(answer).await;
    let bench = Bench::new();
    let running = start(&bench);
    let outcome = outcome(&bench, asking(&upstream, &fields)).await;
    let Outcome::TimedOut { limit: hit, .. } = &outcome else { panic!("{outcome:?}") };
    assert_eq!(*hit, limit, "{outcome:?}");
    assert_eq!(bench.metric(&format!("cox_limits_hit_total{{limit=\"{limit}\"}}")), 1);
    running.drain().await;
    (failure(&outcome), upstream)
}

/// Sends this and pings, until the client has gone.
async fn begin_and_ping(mut exchange: Exchange, beginning: String) {
    exchange.begin("text/event-stream").await;
    exchange.chunk(beginning).await;
    while exchange.chunk(PING).await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    exchange.has_left();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_are_no_first_token() {
    let role = chunk(&json!({"role": "assistant", "content": ""}), None);
    let answer = move |exchange| begin_and_ping(exchange, role.clone());
    let fields = json!({"first_byte_timeout": SHORT, "idle_timeout": "20s"});
    let (told, upstream) = hits(Limit::FirstByteTimeout, fields, answer).await;
    assert!(told.contains("first_byte_timeout (400ms) passed in POST http://127.0.0.1:"), "{told}");
    assert!(told.contains("0 characters of the answer's text had come"), "{told}");
    upstream.clients_left(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_between_tokens_are_silence() {
    let answer = |exchange| begin_and_ping(exchange, says("Because"));
    let (told, upstream) = hits(Limit::IdleTimeout, json!({"idle_timeout": SHORT}), answer).await;
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
    wait_for(|| async {
        let told = events(&bench, &run, "token").await;
        if told.is_empty() { Err("no token".to_owned()) } else { Ok(()) }
    })
    .await;
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
    for word in ["broke off: status 200", "not the stream of events that was asked for: `{\"choices\": []}`"] {
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
