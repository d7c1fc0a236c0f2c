//! Messages: the API of Anthropic.
//!
//! A graph's messages are in the words of `OpenAI`'s API. Here they become those of this one, and back.

use coxswain_shared::graph::LlmNode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::ask::Asked;
use super::gathered::{Gathered, Step, StreamError, THOUGHTS};

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
        let content = with_images(message.get("content").cloned().unwrap_or_default());
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
            Some("assistant") if [THOUGHTS, "tool_calls"].iter().any(|field| message[field].is_array()) => {
                let (thoughts, calls) = (message[THOUGHTS].take(), message["tool_calls"].take());
                others.push(json!({"role": "assistant", "content": blocks(thoughts, content, &calls)}));
            }
            // Fields of other providers, such as a refusal, are refused.
            Some(role) => others.push(json!({"role": role, "content": content})),
            None => others.push(message),
        }
    }
    ((!told.is_empty()).then(|| told.join("\n\n")), others)
}

/// A content whose pictures are in the words of this API.
fn with_images(mut content: Value) -> Value {
    for part in content.as_array_mut().into_iter().flatten().filter(|part| part["type"] == "image_url") {
        let Some(url) = part["image_url"]["url"].as_str() else { continue };
        let data = url.strip_prefix("data:").and_then(|data| data.split_once(";base64,"));
        let source = match data {
            Some((kind, data)) => json!({"type": "base64", "media_type": kind, "data": data}),
            None => json!({"type": "url", "url": url}),
        };
        *part = json!({"type": "image", "source": source});
    }
    content
}

/// The results of tools in a message that holds nothing else.
fn results(message: &mut Value) -> Option<&mut Vec<Value>> {
    let blocks = message.get_mut("content")?.as_array_mut()?;
    blocks.iter().all(|block| block["type"] == "tool_result").then_some(blocks)
}

/// The content of a message of the model: what it thought, said, and called.
fn blocks(thoughts: Value, content: Value, calls: &Value) -> Vec<Value> {
    let mut blocks = match thoughts {
        Value::Array(blocks) => blocks,
        _ => Vec::new(),
    };
    match content {
        Value::Array(said) => blocks.extend(said),
        Value::String(text) if !text.is_empty() => blocks.push(json!({"type": "text", "text": text})),
        _ => {}
    }
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
    /// The whole of an answer that is not streamed.
    Message {
        model: Option<String>,
        #[serde(default)]
        content: Vec<Value>,
        stop_reason: Option<String>,
        usage: Option<Value>,
    },
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
        /// Where it is not streamed.
        #[serde(default)]
        input: Value,
    },
    Thinking {
        #[serde(default)]
        thinking: String,
        #[serde(default)]
        signature: String,
    },
    RedactedThinking {
        data: String,
    },
    /// Tools that the provider calls itself, and what they bring.
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
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    #[serde(rename = "signature_delta")]
    Signature { signature: String },
    /// Citations.
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
        Happening::ContentBlockStart { index, content_block } => take_block(gathered, index, content_block, has_schema),
        Happening::ContentBlockDelta { index, delta } => {
            take_delta(gathered, index, delta, has_schema);
            Ok(Step::Progress)
        }
        Happening::MessageDelta { delta, usage } => {
            let reason = delta.stop_reason.map(|reason| finish_reason(&reason, has_schema).to_owned());
            gathered.finish_reason = reason.or(gathered.finish_reason.take());
            gathered.note_usage(usage.unwrap_or_default());
            Ok(Step::Progress)
        }
        Happening::MessageStop => {
            answer_aside(gathered);
            Ok(Step::Done)
        }
        Happening::Message { model, content, stop_reason, usage } => {
            for (index, block) in (0..).zip(content) {
                let block = serde_json::from_value(block).map_err(|error| StreamError::no_json(&error, data))?;
                take_block(gathered, index, block, has_schema)?;
            }
            gathered.model = model;
            gathered.finish_reason = stop_reason.map(|reason| finish_reason(&reason, has_schema).to_owned());
            gathered.note_usage(usage.unwrap_or_default());
            answer_aside(gathered);
            Ok(Step::Done)
        }
        Happening::Error { error } => Err(StreamError::reported(&error)),
        Happening::Other => Ok(Step::Nothing),
    }
}

fn take_block(gathered: &mut Gathered, index: u64, block: Block, has_schema: bool) -> Result<Step, StreamError> {
    match block {
        Block::Text { text } => {
            said(gathered, has_schema).push_str(&text);
            Ok(if text.is_empty() { Step::Nothing } else { Step::Progress })
        }
        Block::ToolUse { id, name, input } => {
            let input = if input.as_object().is_some_and(|input| !input.is_empty()) {
                input.to_string()
            } else {
                String::new()
            };
            if has_schema && name == ANSWER {
                gathered.answer_block = Some(index);
                gathered.text.push_str(&input);
            } else {
                let call = gathered.call(index)?;
                (call.id, call.name, call.arguments) = (id, name, input);
            }
            Ok(Step::Progress)
        }
        Block::Thinking { thinking, signature } => {
            gathered.thought.push_str(&thinking);
            let block = json!({"type": "thinking", "thinking": thinking, "signature": signature});
            gathered.thoughts.insert(index, block);
            Ok(Step::Nothing)
        }
        Block::RedactedThinking { data } => {
            gathered.thoughts.insert(index, json!({"type": "redacted_thinking", "data": data}));
            Ok(Step::Progress)
        }
        Block::Other => Ok(Step::Nothing),
    }
}

fn take_delta(gathered: &mut Gathered, index: u64, delta: Delta, has_schema: bool) {
    match delta {
        Delta::Text { text } => said(gathered, has_schema).push_str(&text),
        Delta::Json { partial_json } if gathered.answer_block == Some(index) => gathered.text.push_str(&partial_json),
        Delta::Json { partial_json } => {
            // Any other block is a tool that the provider calls itself.
            if let Some(call) = gathered.known_call(index) {
                call.arguments.push_str(&partial_json);
            }
        }
        Delta::Thinking { thinking: piece } => {
            gathered.thought.push_str(&piece);
            add_thought(gathered, index, "thinking", &piece);
        }
        Delta::Signature { signature: piece } => add_thought(gathered, index, "signature", &piece),
        Delta::Other => {}
    }
}

/// Where words go: where a schema is asked for, they are beside the answer.
const fn said(gathered: &mut Gathered, has_schema: bool) -> &mut String {
    if has_schema { &mut gathered.aside } else { &mut gathered.text }
}

/// Words are the answer where it did not come as a call.
fn answer_aside(gathered: &mut Gathered) {
    if gathered.answer_block.is_none() && gathered.text.is_empty() && !gathered.has_calls() {
        gathered.text = std::mem::take(&mut gathered.aside);
    }
}

fn add_thought(gathered: &mut Gathered, index: u64, field: &str, piece: &str) {
    if let Some(Value::String(text)) = gathered.thoughts.get_mut(&index).and_then(|block| block.get_mut(field)) {
        text.push_str(piece);
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
    fn pictures_are_put_into_the_words_of_this_api() {
        let picture = |url: &str| json!({"type": "image_url", "image_url": {"url": url, "detail": "low"}});
        let text = json!({"type": "text", "text": "What is this?"});
        let content = json!([text, picture("data:image/png;base64,aGk="), picture("https://example.org/a.png")]);
        let (_, messages) = conversation(None, vec![json!({"role": "user", "content": content})]);
        let image = |source: Value| json!({"type": "image", "source": source});
        let inline = image(json!({"type": "base64", "media_type": "image/png", "data": "aGk="}));
        let linked = image(json!({"type": "url", "url": "https://example.org/a.png"}));
        assert_eq!(messages, [json!({"role": "user", "content": [text, inline, linked]})]);
    }

    #[test]
    fn a_call_without_arguments_has_an_empty_object() {
        let calls = json!([{"id": "a", "function": {"name": "f", "arguments": ""}}]);
        assert_eq!(
            blocks(Value::Null, Value::Null, &calls),
            [json!({"type": "tool_use", "id": "a", "name": "f", "input": {}})]
        );
    }

    fn gathered(happenings: &[Value], has_schema: bool) -> Gathered {
        let mut gathered = Gathered::default();
        for happening in happenings {
            take(&mut gathered, &happening.to_string(), has_schema).unwrap();
        }
        gathered
    }

    fn begin(index: u64, block: &Value) -> Value {
        json!({"type": "content_block_start", "index": index, "content_block": block})
    }

    fn piece(index: u64, delta: &Value) -> Value {
        json!({"type": "content_block_delta", "index": index, "delta": delta})
    }

    #[test]
    fn what_a_tool_of_the_provider_is_asked_is_no_call_of_ours() {
        let gathered = gathered(
            &[
                begin(0, &json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}})),
                piece(0, &json!({"type": "input_json_delta", "partial_json": "{\"query\": 1}"})),
                begin(1, &json!({"type": "web_search_tool_result", "tool_use_id": "s", "content": []})),
                begin(2, &json!({"type": "text", "text": ""})),
                piece(2, &json!({"type": "text_delta", "text": "Found."})),
            ],
            false,
        );
        assert_eq!(gathered.message(), json!({"role": "assistant", "content": "Found."}));
    }

    #[test]
    fn what_a_model_thought_goes_back_with_its_calls() {
        let gathered = gathered(
            &[
                begin(0, &json!({"type": "thinking", "thinking": "", "signature": ""})),
                piece(0, &json!({"type": "thinking_delta", "thinking": "hm"})),
                piece(0, &json!({"type": "signature_delta", "signature": "S"})),
                begin(1, &json!({"type": "redacted_thinking", "data": "x"})),
                begin(2, &json!({"type": "tool_use", "id": "t", "name": "f", "input": {}})),
            ],
            false,
        );
        let result = json!({"role": "tool", "tool_call_id": "t", "content": "1"});
        let (_, messages) = conversation(None, vec![gathered.message(), result]);
        let thought = json!({"type": "thinking", "thinking": "hm", "signature": "S"});
        let call = json!({"type": "tool_use", "id": "t", "name": "f", "input": {}});
        assert_eq!(messages[0]["content"], json!([thought, {"type": "redacted_thinking", "data": "x"}, call]));
    }

    #[test]
    fn fields_of_other_providers_are_left_out() {
        let message = json!({"role": "assistant", "content": "no", "refusal": "no", "name": "x"});
        assert_eq!(conversation(None, vec![message]).1, [json!({"role": "assistant", "content": "no"})]);
    }

    #[test]
    fn an_answer_that_is_not_streamed_is_read_too() {
        let content =
            json!([{"type": "text", "text": "So."}, {"type": "tool_use", "id": "t", "name": "f", "input": {"q": 1}}]);
        let whole = json!({"type": "message", "model": "m", "content": content, "stop_reason": "tool_use", "usage": {"input_tokens": 3, "output_tokens": 2}});
        let gathered = gathered(&[whole], false);
        let call = json!({"id": "t", "type": "function", "function": {"name": "f", "arguments": "{\"q\":1}"}});
        assert_eq!(gathered.message(), json!({"role": "assistant", "content": "So.", "tool_calls": [call]}));
        assert_eq!(gathered.finish_reason.as_deref(), Some("tool_calls"));
    }

    #[test]
    fn words_are_the_answer_where_no_tool_is_called_for_it() {
        let words = [begin(0, &json!({"type": "text", "text": "{\"n\": 3}"})), json!({"type": "message_stop"})];
        assert_eq!(gathered(&words, true).text, "{\"n\": 3}");
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
