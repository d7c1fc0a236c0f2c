//! Nodes that call a language model: what they ask, and what they make of the answer.

use serde_json::Value;

use super::outside::{self, Texts};
use super::schema;
use super::secrets::{self, Sent};
use super::whole::Doubts;
use crate::graph::finding::Findings;
use crate::graph::llm::{LLM_NAMES, LlmNode, Provider};
use crate::graph::model::{Graph, Node};
use crate::graph::outside::Text;
use crate::graph::place::Place;
use crate::id::NodeName;
use crate::limits::{LLM_FALLBACKS_MAX, STREAM_BYTES_MAX};

/// The roles that a message can have.
const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];
/// Fields of the body that a node sets itself, each with what to do instead.
const OWN: [(&str, &str); 5] = [
    ("messages", "write `messages` or `prompt`"),
    ("model", "write `model`"),
    ("stream", "leave it out: answers are always streamed"),
    ("system", "write `system`"),
    ("tools", "write `tools`"),
];

pub(super) fn check(
    graph: &Graph,
    doubts: &Doubts,
    (name, node, llm): (&NodeName, &Node, &LlmNode),
    (place, findings): (&Place, &mut Findings),
) {
    let texts = Texts { graph, doubts, name };
    for (field, text) in llm.texts() {
        texts.check(text, &place.key(field), findings);
    }
    further(&texts, llm.headers.iter(), llm.extra.iter(), (place, findings));
    if let Some(messages) = &llm.messages {
        texts.check_json(messages, &place.key("messages"), findings);
    }
    for (field, json) in [("tools", &llm.tools), ("schema", &llm.schema)] {
        texts.literal_json(json.as_ref().unwrap_or(&Value::Null), &place.key(field), findings);
    }
    who(llm, place, findings);
    question(llm, place, findings);
    bounds(llm, place, findings);
    shapes(llm, place, findings);
    let what = "channel, and none of `text`, `message`, `json`, `usage`, `finish_reason` and `model`";
    texts.output(llm.output.as_ref(), (what, &LLM_NAMES), (place, findings));
    written(node, llm, place, findings);
    fallbacks(&texts, llm, &place.key("fallback"), findings);
}

/// Further headers, and further fields of the body.
fn further<'a>(
    texts: &Texts<'_>,
    headers: impl Iterator<Item = (&'a String, &'a Text)>,
    extra: impl Iterator<Item = (&'a String, &'a Value)>,
    (place, findings): (&Place, &mut Findings),
) {
    for (header, value) in headers {
        let place = place.key("headers").key(header);
        outside::header(header, value, &place, findings);
        texts.check(value, &place, findings);
    }
    for (field, json) in extra {
        let place = place.key("extra").key(field);
        texts.check_json(json, &place, findings);
        if let Some((_, instead)) = OWN.iter().find(|(own, _)| own == field) {
            findings.error(&place, format!("`{field}` is the node's own to say")).remedy(*instead);
        }
    }
}

/// What only a fallback says is checked at its place; what it has of the node is checked there.
fn fallbacks(texts: &Texts<'_>, llm: &LlmNode, place: &Place, findings: &mut Findings) {
    if llm.fallback.len() > LLM_FALLBACKS_MAX {
        let message = format!("there are {} fallbacks, over the limit of {LLM_FALLBACKS_MAX}", llm.fallback.len());
        findings.error(place, message);
    }
    for (index, (fallback, asked)) in llm.fallback.iter().zip(llm.alternatives()).enumerate() {
        let place = place.index(index);
        let own = [("base_url", &fallback.base_url), ("api_key", &fallback.api_key)];
        let own = own.into_iter().filter_map(|(field, text)| Some((field, text.as_ref()?)));
        for (field, text) in own.chain([("model", &fallback.model)]) {
            texts.check(text, &place.key(field), findings);
        }
        further(texts, fallback.headers.iter(), fallback.extra.iter(), (&place, findings));
        who(&asked, &place, findings);
        if asked.provider != llm.provider {
            bounds(&asked, &place, findings);
            shapes(&asked, &place, findings);
            if llm.tools.is_some() {
                findings
                    .error(&place.key("provider"), "the node's `tools` are in the words of another provider")
                    .remedy("take a fallback of the same provider, or one that speaks its API");
            }
        }
    }
}

/// Who is asked, and with which key.
fn who(llm: &LlmNode, place: &Place, findings: &mut Findings) {
    if llm.model.0.trim().is_empty() {
        findings.error(&place.key("model"), "the model has no name");
    }
    if let Some(base_url) = &llm.base_url {
        outside::url(base_url, &place.key("base_url"), findings);
    }
    outside::key(llm.api_key.as_ref(), llm.provider.api_key(), place, findings);
    if let Some(base_url) = &llm.base_url {
        let texts = llm.texts().map(|(_, text)| text).chain(llm.headers.values()).collect();
        let sent = Sent { texts, json: llm.messages.iter().chain(llm.extra.values()).collect() };
        secrets::check(base_url, &sent, &place.key("base_url"), findings);
    }
}

fn question(llm: &LlmNode, place: &Place, findings: &mut Findings) {
    match (&llm.prompt, &llm.messages) {
        (Some(_), Some(_)) => {
            findings
                .error(&place.key("messages"), "the node has both `prompt` and `messages`")
                .remedy("keep one of them: a prompt is one message of the user");
        }
        (None, None) => {
            findings
                .error(place, "the node has neither `prompt` nor `messages`")
                .remedy("write `prompt:` and what the model is asked");
        }
        (Some(_), None) => {}
        (None, Some(messages)) => self::messages(messages, &place.key("messages"), findings),
    }
}

fn messages(messages: &Value, place: &Place, findings: &mut Findings) {
    let remedy = "write a list of `{ role: user, content: \"…\" }`, or `\"{{ channel }}\"`";
    let Value::Array(items) = messages else {
        if !is_expression(messages) {
            findings
                .error(place, "the messages must be a list, or one `{{ expression }}` that gives a list")
                .remedy(remedy);
        }
        return;
    };
    if items.is_empty() {
        findings.error(place, "there are no messages").remedy(remedy);
    }
    for (index, item) in items.iter().enumerate() {
        let place = place.index(index);
        let Value::Object(message) = item else {
            if !is_expression(item) {
                findings.error(&place, "this is no message").remedy(remedy);
            }
            continue;
        };
        match message.get("role") {
            None => findings.error(&place, "the message has no `role`").remedy("write `role: user`"),
            Some(Value::String(role)) if !role.contains("{{") && !ROLES.contains(&role.as_str()) => {
                findings.error(&place.key("role"), format!("there is no role `{role}`")).suggest(role, ROLES);
            }
            Some(_) => {}
        }
        if !["content", "tool_calls"].iter().any(|field| message.contains_key(*field)) {
            findings.error(&place, "the message has no `content`").remedy("write `content:` and what is said");
        }
    }
}

fn is_expression(json: &Value) -> bool {
    matches!(json, Value::String(text) if Text(text.clone()).is_expression())
}

fn bounds(llm: &LlmNode, place: &Place, findings: &mut Findings) {
    let hottest = match llm.provider {
        Provider::Openai => 2.0,
        Provider::Anthropic => 1.0,
    };
    if llm.temperature.is_some_and(|temperature| !(0.0..=hottest).contains(&temperature)) {
        let remedy = format!("with `provider: {}`, write a number from 0 to {hottest}", llm.provider.name());
        findings.error(&place.key("temperature"), "the temperature is out of bounds").remedy(remedy);
    }
    if llm.max_tokens == Some(0) {
        findings.error(&place.key("max_tokens"), "an answer has at least one token").remedy("write 1 or more");
    }
    if llm.max_bytes.is_some_and(|bytes| bytes == 0 || bytes > STREAM_BYTES_MAX as u64) {
        let remedy = format!("write a number from 1 to {STREAM_BYTES_MAX}");
        findings.error(&place.key("max_bytes"), "the size is out of bounds").remedy(remedy);
    }
    for (index, _) in llm.stop.iter().enumerate().filter(|(_, text)| text.is_empty()) {
        findings.error(&place.key("stop").index(index), "an empty text ends nothing").remedy("leave it out");
    }
}

fn shapes(llm: &LlmNode, place: &Place, findings: &mut Findings) {
    if llm.tools.as_ref().is_some_and(|tools| !tools.is_array()) {
        findings.error(&place.key("tools"), "the tools must be a list").remedy("write [ … ], as the provider wants it");
    }
    if llm.schema.as_ref().is_some_and(|schema| !schema.is_object()) {
        findings.error(&place.key("schema"), "a schema is an object").remedy("write `schema: { type: object, … }`");
    } else if let Some(schema) = &llm.schema {
        schema::check(schema, &place.key("schema"), findings);
    }
    if llm.provider == Provider::Anthropic {
        if llm.seed.is_some() {
            findings.error(&place.key("seed"), "`provider: anthropic` knows no `seed`").remedy("leave it out");
        }
        let kind = llm.schema.as_ref().and_then(|schema| schema.get("type"));
        if kind.is_some_and(|kind| kind != "object") {
            findings
                .error(&place.key("schema").key("type"), "with `provider: anthropic`, the answer must be an object")
                .remedy("write `type: object`, and the value as one of its `properties`");
        }
        if llm.schema.is_some() && llm.tools.is_some() {
            findings
                .error(&place.key("schema"), "with `provider: anthropic`, a node has either `schema` or `tools`")
                .remedy("the schema is sent as a tool that has to be called: let another node call the tools");
        }
    }
}

fn written(node: &Node, llm: &LlmNode, place: &Place, findings: &mut Findings) {
    match (&node.into, &llm.output) {
        (Some(_), Some(_)) => findings
            .error(&place.key("into"), "the node has both `into` and `output`")
            .remedy("`into` takes the answer; `output` picks from it"),
        // With a schema, the answer can be an object of writes by channel.
        (None, None) if llm.schema.is_none() => findings
            .error(place, "the answer is written nowhere")
            .remedy("write `into:` and a channel, or `output: { channel: text }`"),
        (Some(_), None) | (None, Some(_) | None) => {}
    }
}
