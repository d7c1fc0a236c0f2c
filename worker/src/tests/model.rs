//! Nodes that ask a model, and what a model's server sends, piece by piece.

use coxswain_shared::id::RunKey;
use serde_json::{Value, json};

use super::bench::{Bench, values, wait_for};
pub(super) use super::outside::{config, failure, outcome, start, wrote};
use super::upstream::{Exchange, Upstream};

/// What a server sends to keep a connection open.
pub(super) const PING: &str = ": ping\n\n";

/// A node that asks `Why?`, with these fields.
pub(super) fn asking(upstream: &Upstream, fields: &Value) -> Value {
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

pub(super) async fn begin(bench: &Bench, node: Value, state: Value) -> RunKey {
    let run = bench.prepare(node, values(state), None).await;
    bench.publish(&run).await;
    run
}

/// The values of a run's events of a kind.
pub(super) async fn events(bench: &Bench, run: &RunKey, kind: &str) -> Vec<Value> {
    let events = bench.store.events(run, 0, 1_000).await.unwrap();
    events.into_iter().map(|event| event.event).filter(|event| event.kind == kind).map(|event| event.value).collect()
}

/// Waits for a run's first token.
pub(super) async fn first_token(bench: &Bench, run: &RunKey) {
    wait_for(|| async {
        if events(bench, run, "token").await.is_empty() { Err("no token".to_owned()) } else { Ok(()) }
    })
    .await;
}

/// The body of a request.
pub(super) fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// A chunk as OpenAI's API sends it.
pub(super) fn chunk(delta: &Value, finish_reason: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
    let chunk = json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_760_000_000, "model": "small-2026",
        "system_fingerprint": "fp", "choices": [choice], "usage": null,
    });
    format!("data: {chunk}\n\n")
}

pub(super) fn says(text: &str) -> String {
    chunk(&json!({"content": text}), None)
}

/// How a stream of OpenAI's API ends: the reason, the usage, and the word for the end.
pub(super) fn ending(reason: &str) -> String {
    let usage = json!({
        "prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "completion_tokens_details": {"reasoning_tokens": 0},
    });
    let last = json!({"object": "chat.completion.chunk", "model": "small-2026", "choices": [], "usage": usage});
    format!("{}data: {last}\n\ndata: [DONE]\n\n", chunk(&json!({}), Some(reason)))
}

/// A server that answers with these pieces of a stream, and closes properly.
pub(super) async fn streaming(pieces: Vec<Vec<u8>>) -> Upstream {
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
pub(super) async fn saying(stream: impl Into<String>) -> Upstream {
    streaming(vec![stream.into().into_bytes()]).await
}
