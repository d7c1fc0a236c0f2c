//! Messages: the API of Anthropic.
//!
//! A graph's messages are in the words of `OpenAI`'s API. Here they become those of this one, and back.

use coxswain_shared::graph::LlmNode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::ask::Asked;
use super::gathered::{Gathered, Step, StreamError};

/// The version of the API that is spoken.
pub(super) const VERSION: &str = "2023-06-01";
/// The tool that the model has to call where the answer has a schema: its arguments are the answer.
const ANSWER: &str = "answer";
/// The most tokens of an answer where a node says nothing; this API wants to be told.
const MAX_TOKENS: u64 = 4_096;

/// The request's body.
pub(super) fn body(node: &LlmNode, asked: Asked) -> Map<String, Value> {
    let (system, messages) = conversation(asked.system, asked.messages);
    let mut body = Map::from_iter([
        ("model".to_owned(), Value::from(asked.model)),
        ("messages".to_owned(), Value::from(messages)),
        ("max_tokens".to_owned(), Value::from(node.max_tokens.unwrap_or(MAX_TOKENS))),
        ("stream".to_owned(), Value::from(true)),
    ]);
    let mut add = |name: &str, value: Option<Value>| body.extend(value.map(|value| (name.to_owned(), value)));
    add("system", system.map(Value::from));
    add("temperature", node.temperature.map(Value::from));
    add("stop_sequences", (!node.stop.is_empty()).then(|| Value::from(node.stop.clone())));
    add("tools", node.tools.clone());
    add("tool_choice", node.tool_choice.clone());
    if let Some(schema) = &node.schema {
        let tool = json!({"name": ANSWER, "description": "Gives the answer.", "input_schema": schema});
        add("tools", Some(json!([tool])));
        add("tool_choice", Some(json!({"type": "tool", "name": ANSWER})));
    }
    body
}

/// The system's text, and the messages without those of the system.
fn conversation(system: Option<String>, messages: Vec<Value>) -> (Option<String>, Vec<Value>) {
    let mut told: Vec<String> = system.into_iter().collect();
    let mut others: Vec<Value> = Vec::new();
    for mut message in messages {
        let content = message.get("content").cloned().unwrap_or_default();
        match message["role"].as_str() {
            Some("system" | "developer") => told.push(plain(&content)),
            Some("tool") => {
                let result = json!({"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": content});
                // All results of one turn belong in one message.
                match others.last_mut().and_then(results) {
                    Some(results) => results.push(result),
                    None => others.push(json!({"role": "user", "content": [result]})),
                }
            }
            Some("assistant") if message.get("tool_calls").is_some_and(Value::is_array) => {
                let calls = message["tool_calls"].take();
                others.push(json!({"role": "assistant", "content": with_calls(content, &calls)}));
            }
            Some(_) | None => others.push(message),
        }
    }
    ((!told.is_empty()).then(|| told.join("\n\n")), others)
}

/// The results of tools in a message that holds nothing else.
fn results(message: &mut Value) -> Option<&mut Vec<Value>> {
    let blocks = message.get_mut("content")?.as_array_mut()?;
    blocks.iter().all(|block| block["type"] == "tool_result").then_some(blocks)
}

fn with_calls(content: Value, calls: &Value) -> Vec<Value> {
    let mut blocks = match content {
        Value::Array(blocks) => blocks,
        Value::String(text) if !text.is_empty() => vec![json!({"type": "text", "text": text})],
        _ => Vec::new(),
    };
    blocks.extend(calls.as_array().into_iter().flatten().map(|call| {
        let arguments = &call["function"]["arguments"];
        let input = arguments.as_str().and_then(|text| serde_json::from_str(text).ok());
        let input: Value = input.unwrap_or_else(|| arguments.clone());
        let input = if input.is_object() { input } else { json!({}) };
        json!({"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": input})
    }));
    blocks
}

/// The text of a message's content: a text, or a list of parts with texts.
fn plain(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Happening {
    MessageStart {
        message: Begun,
    },
    ContentBlockStart {
        index: u64,
        content_block: Block,
    },
    ContentBlockDelta {
        index: u64,
        delta: Delta,
    },
    MessageDelta {
        delta: Ending,
        usage: Option<Value>,
    },
    MessageStop,
    Error {
        error: Value,
    },
    /// Pings, the ends of blocks, and what may come to be.
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct Begun {
    model: Option<String>,
    usage: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        #[serde(default)]
        text: String,
    },
    ToolUse {
        id: String,
        name: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "input_json_delta")]
    Json { partial_json: String },
    /// What the model thinks, signatures, citations.
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct Ending {
    stop_reason: Option<String>,
}

/// Takes an event in; `has_schema` says that the answer is a call of the tool for it.
pub(super) fn take(gathered: &mut Gathered, data: &str, has_schema: bool) -> Result<Step, StreamError> {
    let happening = serde_json::from_str(data).map_err(|error| StreamError::no_json(&error, data))?;
    match happening {
        Happening::MessageStart { message } => {
            gathered.model = message.model;
            gathered.note_usage(message.usage.unwrap_or_default());
            Ok(Step::Nothing)
        }
        Happening::ContentBlockStart { content_block: Block::Text { text }, .. } => {
            if !has_schema {
                gathered.text.push_str(&text);
            }
            Ok(if text.is_empty() { Step::Nothing } else { Step::Progress })
        }
        Happening::ContentBlockStart { content_block: Block::ToolUse { id, name }, index } => {
            if !(has_schema && name == ANSWER) {
                let call = gathered.call(index)?;
                (call.id, call.name) = (id, name);
            }
            Ok(Step::Progress)
        }
        Happening::ContentBlockDelta { delta: Delta::Text { text }, .. } => {
            // Words around the answer are no part of it.
            if !has_schema {
                gathered.text.push_str(&text);
            }
            Ok(Step::Progress)
        }
        Happening::ContentBlockDelta { delta: Delta::Json { partial_json }, index } => {
            if has_schema {
                gathered.text.push_str(&partial_json);
            } else {
                gathered.call(index)?.arguments.push_str(&partial_json);
            }
            Ok(Step::Progress)
        }
        Happening::ContentBlockDelta { delta: Delta::Other, .. } => Ok(Step::Progress),
        Happening::MessageDelta { delta, usage } => {
            let reason = delta.stop_reason.map(|reason| finish_reason(&reason, has_schema).to_owned());
            gathered.finish_reason = reason.or(gathered.finish_reason.take());
            gathered.note_usage(usage.unwrap_or_default());
            Ok(Step::Progress)
        }
        Happening::MessageStop => Ok(Step::Done),
        Happening::Error { error } => Err(StreamError::reported(&error)),
        Happening::ContentBlockStart { content_block: Block::Other, .. } | Happening::Other => Ok(Step::Nothing),
    }
}

/// The reason in the words of `OpenAI`'s API, where it has one for it.
fn finish_reason(reason: &str, has_schema: bool) -> &str {
    match reason {
        "end_turn" | "stop_sequence" => "stop",
        "max_tokens" => "length",
        "tool_use" if has_schema => "stop",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use coxswain_shared::id::RunId;
    use coxswain_shared::state::{Abandoned, answer_abandoned};

    use super::*;

    #[test]
    fn a_conversation_is_put_into_the_words_of_this_api() {
        let call =
            |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{\"q\": 1}"}});
        let messages = vec![
            json!({"role": "system", "content": [{"type": "text", "text": "be kind"}]}),
            json!({"role": "user", "content": "hi"}),
            json!({"role": "assistant", "content": "one moment", "tool_calls": [call("a"), call("b")]}),
            json!({"role": "tool", "tool_call_id": "a", "content": "1"}),
            json!({"role": "tool", "tool_call_id": "b", "content": "2"}),
            json!({"role": "user", "content": "and?"}),
        ];
        let (system, messages) = conversation(Some("be short".to_owned()), messages);
        assert_eq!(system.as_deref(), Some("be short\n\nbe kind"));
        let used = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {"q": 1}});
        let result = |id: &str, content: &str| json!({"type": "tool_result", "tool_use_id": id, "content": content});
        let text = json!({"type": "text", "text": "one moment"});
        assert_eq!(
            messages,
            [
                json!({"role": "user", "content": "hi"}),
                json!({"role": "assistant", "content": [text, used("a"), used("b")]}),
                json!({"role": "user", "content": [result("a", "1"), result("b", "2")]}),
                json!({"role": "user", "content": "and?"}),
            ]
        );
    }

    #[test]
    fn a_conversation_that_a_stop_had_broken_off_is_whole_for_this_api() {
        let call = |id: &str| json!({"id": id, "function": {"name": "f", "arguments": "{}"}});
        let mut messages = vec![
            json!({"role": "assistant", "content": null, "tool_calls": [call("a"), call("b")]}),
            json!({"role": "tool", "tool_call_id": "b", "content": "2"}),
            json!({"role": "user", "content": "and?"}),
        ];
        let (stopped, next) = (RunId::new("r1").unwrap(), RunId::new("r2").unwrap());
        answer_abandoned(&mut messages, Abandoned::PassedOver, &stopped, &next);
        let (_, messages) = conversation(None, messages);
        assert_eq!(messages.len(), 3, "{messages:?}");
        let answered: Vec<_> =
            messages[1]["content"].as_array().unwrap().iter().map(|one| &one["tool_use_id"]).collect();
        assert_eq!(answered, ["b", "a"], "all results stand in the message after the calls, and before all else");
        assert!(messages[1]["content"][1]["content"].as_str().unwrap().starts_with("cancelled: run `r1`"));
    }

    #[test]
    fn a_call_without_arguments_has_an_empty_object() {
        let calls = json!([{"id": "a", "function": {"name": "f", "arguments": ""}}]);
        assert_eq!(with_calls(Value::Null, &calls), [json!({"type": "tool_use", "id": "a", "name": "f", "input": {}})]);
    }

    #[test]
    fn pings_and_what_is_not_known_are_no_progress() {
        let mut gathered = Gathered::default();
        for data in ["{\"type\": \"ping\"}", "{\"type\": \"content_block_stop\", \"index\": 0}", "{\"type\": \"new\"}"]
        {
            assert_eq!(take(&mut gathered, data, false).unwrap(), Step::Nothing, "{data}");
        }
        assert!(matches!(take(&mut gathered, "{}", false), Err(StreamError::NoJson { .. })));
    }
}
