//! Chat completions: the API of `OpenAI`, and of the many servers that speak it.

use coxswain_shared::graph::LlmNode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::ask::Asked;
use super::gathered::{Gathered, Step, StreamError, THOUGHTS};

/// What servers call what a model thinks.
const THOUGHT: [&str; 3] = ["reasoning_content", "reasoning", "thinking"];
/// What ends a stream.
const DONE: &str = "[DONE]";

/// The request's body.
pub(super) fn body(node: &LlmNode, asked: Asked) -> Map<String, Value> {
    let system = asked.system.map(|system| json!({"role": "system", "content": system}));
    let mut messages: Vec<Value> = system.into_iter().chain(asked.messages).collect();
    for message in messages.iter_mut().filter_map(Value::as_object_mut) {
        // What another provider wants to be told again, this one refuses.
        message.remove(THOUGHTS);
    }
    let mut body = Map::from_iter([
        ("model".to_owned(), Value::from(asked.model)),
        ("messages".to_owned(), Value::from(messages)),
        ("stream".to_owned(), Value::from(true)),
        ("stream_options".to_owned(), json!({"include_usage": true})),
    ]);
    let mut add = |name: &str, value: Option<Value>| body.extend(value.map(|value| (name.to_owned(), value)));
    // OpenAI's own newer models refuse `max_tokens`; other servers know nothing else.
    add(if asked.is_home { "max_completion_tokens" } else { "max_tokens" }, node.max_tokens.map(Value::from));
    add("temperature", node.temperature.map(Value::from));
    add("stop", (!node.stop.is_empty()).then(|| Value::from(node.stop.clone())));
    add("seed", node.seed.map(Value::from));
    add("tools", node.tools.clone());
    add("tool_choice", node.tool_choice.clone());
    let format = |schema: &Value| json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}});
    add("response_format", node.schema.as_ref().map(format));
    body
}

/// A piece of a stream, or the whole of an answer of a server that does not stream.
#[derive(Debug, Deserialize)]
struct Chunk {
    choices: Option<Vec<Choice>>,
    model: Option<String>,
    usage: Option<Value>,
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    #[serde(alias = "message")]
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Delta {
    /// A text, or a list of parts of which some have one.
    content: Option<Value>,
    refusal: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
    /// Other words of other servers, such as what a model thinks: a sign of progress.
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct CallDelta {
    index: Option<u64>,
    id: Option<String>,
    function: Option<FunctionDelta>,
    /// What a server wants to be told again, such as the signature of what led to the call.
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<Value>,
}

/// Takes an event in.
pub(super) fn take(gathered: &mut Gathered, data: &str) -> Result<Step, StreamError> {
    if data.trim() == DONE {
        return Ok(Step::Done);
    }
    let chunk: Chunk = serde_json::from_str(data).map_err(|error| StreamError::no_json(&error, data))?;
    if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
        return Err(StreamError::reported(&error));
    }
    let mut step = Step::Nothing;
    if gathered.model.is_none() {
        gathered.model = chunk.model.filter(|model| !model.is_empty());
    }
    if let Some(usage) = chunk.usage.filter(|usage| !usage.is_null()) {
        gathered.note_usage(usage);
        step = Step::Progress;
    }
    // Whoever asks for several answers gets the first.
    for choice in chunk.choices.into_iter().flatten().filter(|choice| choice.index == 0) {
        if choice.finish_reason.is_some() {
            gathered.finish_reason = choice.finish_reason;
            step = Step::Progress;
        }
        if take_delta(gathered, choice.delta.unwrap_or_default())? {
            step = Step::Progress;
        }
    }
    Ok(step)
}

/// Takes a piece of the answer in; whether there was anything in it.
fn take_delta(gathered: &mut Gathered, delta: Delta) -> Result<bool, StreamError> {
    let mut is_progress = delta.others.iter().any(|(name, value)| name != "role" && !is_empty(value));
    // Some tell it twice, under two names.
    let thought = THOUGHT.iter().find_map(|name| delta.others.get(*name)?.as_str());
    gathered.thought.push_str(thought.unwrap_or_default());
    let content = text_of(&delta.content.unwrap_or_default());
    is_progress |= !content.is_empty();
    gathered.text.push_str(&content);
    let refusal = delta.refusal.unwrap_or_default();
    is_progress |= !refusal.is_empty();
    gathered.refusal.push_str(&refusal);
    for delta in delta.tool_calls.unwrap_or_default() {
        is_progress = true;
        take_call(gathered, delta)?;
    }
    Ok(is_progress)
}

/// The text of a content: itself, or that of its parts. What a model thinks is another kind of part.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

fn take_call(gathered: &mut Gathered, delta: CallDelta) -> Result<(), StreamError> {
    let function = delta.function.unwrap_or_default();
    let (id, name) = (delta.id.unwrap_or_default(), function.name.unwrap_or_default());
    let number = gathered.number_of(delta.index, |call| {
        // Servers that give all calls of an answer the same number send each whole, with an id of its own.
        !id.is_empty() && !name.is_empty() && !call.id.is_empty() && call.id != id
    });
    let call = gathered.call(number)?;
    // Some servers repeat the name with each piece.
    if !(call.name == name && call.id == id) {
        call.name.push_str(&name);
    }
    if !id.is_empty() {
        call.id = id;
    }
    call.others.extend(delta.others.into_iter().filter(|(name, value)| name != "type" && !value.is_null()));
    match function.arguments {
        None | Some(Value::Null) => {}
        Some(Value::String(piece)) => call.arguments.push_str(&piece),
        Some(whole) => call.arguments = whole.to_string(),
    }
    Ok(())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use coxswain_shared::graph::Provider;

    use super::super::gathered::Blame;
    use super::*;

    fn taken(gathered: &mut Gathered, data: &Value) -> Step {
        take(gathered, &data.to_string()).unwrap()
    }

    #[test]
    fn only_the_provider_itself_is_asked_in_its_newer_words() {
        let node = LlmNode { max_tokens: Some(9), ..LlmNode::new(Provider::Openai, "m", "p") };
        let body = |is_home: bool| {
            let asked = Asked { model: "m".to_owned(), system: None, messages: Vec::new(), is_home };
            super::body(&node, asked)
        };
        assert!(body(true).contains_key("max_completion_tokens") && !body(true).contains_key("max_tokens"));
        assert!(body(false).contains_key("max_tokens") && !body(false).contains_key("max_completion_tokens"));
    }

    #[test]
    fn what_carries_nothing_is_no_progress() {
        let mut gathered = Gathered::default();
        let delta =
            |delta: &Value| json!({"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]});
        assert_eq!(taken(&mut gathered, &delta(&json!({"role": "assistant", "content": ""}))), Step::Nothing);
        assert_eq!(taken(&mut gathered, &delta(&json!({"role": "assistant", "content": null}))), Step::Nothing);
        assert_eq!(taken(&mut gathered, &json!({"choices": [], "usage": null})), Step::Nothing);
        assert_eq!(taken(&mut gathered, &delta(&json!({"reasoning_content": "hm"}))), Step::Progress);
        assert_eq!(taken(&mut gathered, &delta(&json!({"content": "Hi"}))), Step::Progress);
        assert_eq!(take(&mut gathered, " [DONE]").unwrap(), Step::Done);
        assert_eq!((gathered.text.as_str(), gathered.model.as_deref()), ("Hi", Some("m")));
        assert_eq!(gathered.thought, "hm");
    }

    #[test]
    fn calls_of_tools_are_put_together_from_their_pieces() {
        let mut gathered = Gathered::default();
        let calls = |calls: &Value| json!({"choices": [{"delta": {"tool_calls": calls}}]});
        for piece in [
            json!([{"index": 0, "id": "a", "type": "function", "function": {"name": "look_up", "arguments": ""}}]),
            json!([{"index": 0, "function": {"arguments": "{\"q\":"}}, {"index": 1, "id": "b", "function": {"name": "sum"}}]),
            json!([{"index": 0, "function": {"arguments": " 1}"}}]),
            json!([{"id": "c", "function": {"name": "whole", "arguments": {"x": 1}}}]),
        ] {
            assert_eq!(taken(&mut gathered, &calls(&piece)), Step::Progress);
        }
        let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
        let calls =
            json!([call("a", "look_up", "{\"q\": 1}"), call("b", "sum", "{}"), call("c", "whole", "{\"x\":1}")]);
        assert_eq!(gathered.message(), json!({"role": "assistant", "content": "", "tool_calls": calls}));
    }

    #[test]
    fn calls_of_tools_are_told_apart_however_a_server_counts_them() {
        let mut gathered = Gathered::default();
        let piece = |id: Option<&str>, name: Option<&str>, arguments: &str| json!({"choices": [{"delta": {"tool_calls": [{"index": 0, "id": id, "function": {"name": name, "arguments": arguments}}]}}]});
        // All have the number 0; the name of the second comes twice.
        for piece in [
            piece(Some("a"), Some("look_up"), "{\"q\": 1}"),
            piece(Some("b"), Some("sum"), "{\"n\""),
            piece(Some("b"), Some("sum"), ": 2"),
            piece(None, None, "}"),
        ] {
            taken(&mut gathered, &piece);
        }
        let signed = json!({"index": 1, "id": "c", "type": "function", "function": {"name": "f"}, "extra_content": {"google": {"thought_signature": "S"}}});
        taken(&mut gathered, &json!({"choices": [{"delta": {"tool_calls": [signed]}}]}));
        let message = gathered.message();
        let calls = message["tool_calls"].as_array().unwrap();
        let told = |call: &Value| {
            [call["id"].clone(), call["function"]["name"].clone(), call["function"]["arguments"].clone()]
        };
        assert_eq!(
            calls.iter().map(told).collect::<Vec<_>>(),
            [["a", "look_up", "{\"q\": 1}"], ["b", "sum", "{\"n\": 2}"], ["c", "f", "{}"],]
        );
        assert_eq!(calls[2]["extra_content"]["google"]["thought_signature"], "S", "it goes back with the call");
    }

    #[test]
    fn a_content_may_be_a_list_of_parts_and_choices_may_be_null() {
        let mut gathered = Gathered::default();
        let thinks = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]);
        let says = json!([{"type": "text", "text": "Because"}]);
        for content in [thinks, says, json!(" it is.")] {
            taken(&mut gathered, &json!({"choices": [{"delta": {"content": content}}]}));
        }
        assert_eq!(taken(&mut gathered, &json!({"choices": null})), Step::Nothing);
        assert_eq!(gathered.text, "Because it is.");
    }

    #[test]
    fn an_answer_that_is_not_streamed_is_one_piece() {
        let mut gathered = Gathered::default();
        let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let message = json!({"role": "assistant", "content": "So.", "tool_calls": [call]});
        let whole = json!({
            "object": "chat.completion", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 3},
        });
        assert_eq!(taken(&mut gathered, &whole), Step::Progress);
        assert_eq!(gathered.message(), message);
        assert_eq!(
            (gathered.finish_reason.as_deref(), &gathered.usage()["output_tokens"]),
            (Some("tool_calls"), &json!(3))
        );
    }

    #[test]
    fn what_is_no_chunk_is_told() {
        let error = take(&mut Gathered::default(), "oops").unwrap_err();
        assert!(error.to_string().contains("`oops`"), "{error}");
        let error = take(&mut Gathered::default(), "{\"error\": {\"message\": \"busy\", \"code\": 503}}").unwrap_err();
        assert_eq!(error, StreamError::Reported { said: "busy (503)".to_owned(), blame: Blame::Provider });
    }
}
