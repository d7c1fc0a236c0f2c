//! `llm` nodes against servers that speak as the providers do.

use coxswain_shared::outcome::FailureKind;
use serde_json::{Value, json};

use super::bench::Bench;
use super::model::{
    PING, asking, begin, body, chunk, config, ending, events, failure, outcome, saying, says, start, wrote,
};
use crate::Worker;

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
    assert_eq!(events(&bench, &run, "thought").await, [json!({"text": "hm"})]);
    let usage = events(&bench, &run, "usage").await.remove(0);
    assert_eq!([&usage["input_tokens"], &usage["output_tokens"], &usage["cache_read_input_tokens"]], [29, 15, 4]);
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
