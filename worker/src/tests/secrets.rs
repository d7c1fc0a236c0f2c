//! Secrets in real calls: where they may go, and how they come back.

use std::path::Path;

use coxswain_shared::outcome::{FailureKind, Outcome};
use serde_json::{Value, json};

use super::bench::Bench;
use super::outside::{failure, outcome, wrote};
use super::upstream::{Exchange, Upstream};
use crate::{Config, OutsideConfig, Worker};

/// A worker with one secret in a file, and these entries of `COX_SECRETS`.
fn config(folder: &Path, secret: &str, entries: &[&str]) -> Config {
    std::fs::write(folder.join("key"), secret).unwrap();
    let outside = OutsideConfig {
        allow: vec!["127.0.0.1".parse().unwrap()],
        secrets: entries.iter().map(|entry| entry.parse().unwrap()).collect(),
        secrets_dir: Some(folder.to_owned()),
        ..OutsideConfig::default()
    };
    Config { outside, ..Bench::config() }
}

/// Nodes of every kind that would send the secret to a server, each in another part of the request.
fn nodes(upstream: &Upstream) -> Vec<Value> {
    let url = upstream.url("/");
    let search = |fields: Value| {
        let mut node = json!({
            "kind": "vector_search", "store": "qdrant", "url": url, "collection": "c", "vector": [1, 2], "into": "other",
        });
        node.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        node
    };
    vec![
        json!({"kind": "http", "url": format!("{url}${{file:key}}"), "into": "other"}),
        json!({"kind": "http", "url": url.replace("//", "//u:${file:key}@"), "into": "other"}),
        json!({"kind": "http", "url": url, "headers": {"authorization": "Bearer ${file:key}"}, "into": "other"}),
        json!({"kind": "http", "method": "POST", "url": url, "json": {"a": ["${file:key}"]}, "into": "other"}),
        json!({"kind": "http", "method": "POST", "url": url, "body": "${file:key}", "into": "other"}),
        json!({"kind": "llm", "base_url": url, "api_key": "${file:key}", "model": "m", "prompt": "p", "into": "other"}),
        json!({"kind": "llm", "base_url": url, "extra": {"user": "${file:key}"}, "model": "m", "prompt": "p", "into": "other"}),
        search(json!({"api_key": "${file:key}"})),
        search(json!({"filter": {"a": "${file:key}"}})),
        json!({
            "kind": "vector_upsert", "store": "qdrant", "url": url, "collection": "c", "into": "count",
            "items": [{"id": "1", "vector": [1, 2], "metadata": {"a": "${file:key}"}}],
        }),
        json!({
            "kind": "vector_upsert", "store": "qdrant", "url": url, "collection": "c", "into": "count",
            "embed": {"model": "m", "base_url": url, "api_key": "${file:key}"}, "items": [{"id": "1", "text": "t"}],
        }),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_bound_to_other_hosts_is_not_sent() {
    let upstream = Upstream::start(|exchange| exchange.json("{}")).await;
    for node in nodes(&upstream) {
        let (bench, folder) = (Bench::new(), tempfile::tempdir().unwrap());
        let entries = ["file:key@api.example.com", "file:k*@127.0.0.1:1"];
        let running = bench.start(Worker::builder(config(folder.path(), "hunter2-hunter2", &entries)));
        let refused = outcome(&bench, node.clone()).await;
        let told = failure(&refused);
        assert!(told.contains("the secret `key` is bound to api.example.com and 127.0.0.1:1"), "{node}: {told}");
        assert!(told.contains("does not go to 127.0.0.1:") && !told.contains("hunter2"), "{node}: {told}");
        assert_eq!(refused.failure().map(|failure| failure.kind), Some(FailureKind::BadInput), "{node}");
        running.drain().await;
    }
    assert!(upstream.requests().is_empty(), "{:?}", upstream.requests());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_goes_to_its_own_host_and_the_nodes_other_requests_go_elsewhere() {
    let model = Upstream::start(|exchange| {
        exchange.json(r#"{"data": [{"index": 0, "embedding": [1, 2]}], "usage": {"prompt_tokens": 1}}"#)
    })
    .await;
    let store = Upstream::start(|exchange| exchange.json(r#"{"result": {"points": []}, "status": "ok"}"#)).await;
    let (bench, folder) = (Bench::new(), tempfile::tempdir().unwrap());
    let port = model.url("").rsplit_once(':').unwrap().1.trim_end_matches('/').to_owned();
    let entry = format!("file:key@127.0.0.1:{port}");
    let running = bench.start(Worker::builder(config(folder.path(), "hunter2-hunter2", &[&entry])));
    let node = json!({
        "kind": "vector_search", "store": "qdrant", "url": store.url("/"), "collection": "c", "query": "q", "into": "other",
        "embed": {"model": "m", "base_url": model.url("/v1"), "api_key": "${file:key}"},
    });
    assert_eq!(wrote(&outcome(&bench, node).await), json!({"other": []}));
    let (asked, searched) = (model.requests().concat(), store.requests().concat());
    assert!(asked.contains("hunter2-hunter2") && !searched.contains("hunter2"), "{asked}\n{searched}");
    let elsewhere = json!({"kind": "http", "url": store.url("/${file:key}"), "into": "other"});
    assert!(failure(&outcome(&bench, elsewhere).await).contains("is bound to 127.0.0.1"));
    running.drain().await;
}

/// What a server makes of what it was sent, before it repeats it.
fn repeat(request: &str) -> String {
    let (head, body) = request.split_once("\r\n\r\n").unwrap_or((request, ""));
    let target = head.split(' ').nth(1).unwrap_or_default();
    let header = head.lines().find_map(|line| line.strip_prefix("x-key: ")).unwrap_or_default();
    let number = body.trim_matches(|c: char| !c.is_ascii_digit());
    let latin: String = header.bytes().map(char::from).collect();
    json!({
        "target": target, "header": header.trim(), "upper": header.to_uppercase(), "latin": latin, "body": body,
        "number": serde_json::from_str::<Value>(number).unwrap_or_default(),
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_comes_back_as_it_was_sent_is_taken_out_of_everything() {
    let known = Upstream::start(|exchange: Exchange| async {
        let body = repeat(&exchange.request);
        let status = if exchange.number.is_multiple_of(2) { "200 OK" } else { "400 Bad Request" };
        exchange.answer(status, "content-type: application/json\r\n", &body).await;
    })
    .await;
    for secret in ["Hunter2\tHunter3", "8472915036", "grüße-an-alle", "ab/../Hunter2?x#Hunter3", "p%40ss%2Fword"] {
        let (bench, folder) = (Bench::new(), tempfile::tempdir().unwrap());
        let running = bench.start(Worker::builder(config(folder.path(), secret, &[])));
        let node = json!({
            "kind": "http", "method": "POST", "url": known.url("/${file:key}"), "headers": {"x-key": "${file:key}"},
            "json": {"key": "${file:key}"}, "into": "other",
        });
        for _ in 0..2 {
            let told = match outcome(&bench, node.clone()).await {
                Outcome::Succeeded { writes, .. } => serde_json::to_string(&writes).unwrap(),
                failed => failure(&failed),
            };
            assert!(told.contains("***"), "{secret}: {told}");
            for part in
                ["unter2", "UNTER2", "unter3", "8472915036", "e-an-alle", "E-AN-ALLE", "ss/word", "ss%2F", "SS%2F"]
            {
                assert!(!told.contains(part), "{secret}: {told}");
            }
        }
        running.drain().await;
    }
}
