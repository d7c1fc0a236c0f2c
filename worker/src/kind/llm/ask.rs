//! The request of a call: filled in from the state, and put into the provider's words.

use coxswain_shared::graph::{LlmNode, Provider, Text};
use coxswain_shared::outcome::FailureKind;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Body, Method, Request};
use serde_json::{Map, Value, json};

use super::{anthropic, openai};
use crate::handler::{Context, NodeError};
use crate::outside::{Extra, Texts, request};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// What is asked, filled in.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) model: String,
    pub(super) system: Option<String>,
    pub(super) messages: Vec<Value>,
    /// Whether the provider itself is asked, and not a server that speaks its API.
    pub(super) is_home: bool,
}

/// The request.
pub(super) fn ask(ctx: &Context, node: &LlmNode, texts: &mut Texts<'_>) -> Result<Request, NodeError> {
    let mut request = request::new(Method::POST, &address(node, texts)?, "base_url")?;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    if let Some((name, value)) = key(node, texts)? {
        request.headers_mut().insert(name, value);
    }
    if node.provider == Provider::Anthropic {
        request.headers_mut().insert(ANTHROPIC_VERSION, HeaderValue::from_static(anthropic::VERSION));
    }
    request::add_headers(&mut request, &node.headers, texts)?;
    let body = body(node, texts)?;
    *request.body_mut() = Some(Body::from(Value::Object(body).to_string()));
    request::send_along(ctx, &mut request);
    Ok(request)
}

fn address(node: &LlmNode, texts: &mut Texts<'_>) -> Result<String, NodeError> {
    let base = match &node.base_url {
        Some(base_url) => texts.text("base_url", base_url)?,
        None => node.provider.base_url().to_owned(),
    };
    let base = base.trim().trim_end_matches('/');
    Ok(match node.provider {
        Provider::Openai => format!("{base}/chat/completions"),
        Provider::Anthropic if base.ends_with("/v1") => format!("{base}/messages"),
        Provider::Anthropic => format!("{base}/v1/messages"),
    })
}

/// The header with the key. The provider's own key goes to nobody else unless the node says so.
fn key(node: &LlmNode, texts: &mut Texts<'_>) -> Result<Option<(HeaderName, HeaderValue)>, NodeError> {
    let standard = Text(node.provider.api_key().to_owned());
    let Some(reference) = node.api_key.as_ref().or_else(|| node.base_url.is_none().then_some(&standard)) else {
        return Ok(None);
    };
    let key = texts.text("api_key", reference)?;
    let (name, value) = match node.provider {
        Provider::Openai => (AUTHORIZATION, format!("Bearer {key}")),
        Provider::Anthropic => (API_KEY, key),
    };
    let mut value = HeaderValue::try_from(value)
        .map_err(|_| request::bad("`api_key` holds a character that no header can have"))?;
    value.set_sensitive(true);
    Ok(Some((name, value)))
}

fn body(node: &LlmNode, texts: &mut Texts<'_>) -> Result<Map<String, Value>, NodeError> {
    let asked = Asked {
        model: texts.text("model", &node.model)?,
        system: node.system.as_ref().map(|system| texts.text("system", system)).transpose()?,
        messages: messages(node, texts)?,
        is_home: node.base_url.is_none(),
    };
    let mut body = match node.provider {
        Provider::Openai => openai::body(node, asked),
        Provider::Anthropic => anthropic::body(node, asked),
    };
    Extra::fill("extra", &node.extra, texts)?.lay_over(&mut body);
    Ok(body)
}

fn messages(node: &LlmNode, texts: &mut Texts<'_>) -> Result<Vec<Value>, NodeError> {
    if let Some(prompt) = &node.prompt {
        return Ok(vec![json!({"role": "user", "content": texts.text("prompt", prompt)?})]);
    }
    let filled = texts.json("messages", node.messages.as_ref().unwrap_or(&Value::Null))?;
    let Value::Array(items) = filled else { return Err(wrong("`messages` is no list")) };
    let mut messages = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        match item {
            // An expression that gave several.
            Value::Array(several) => messages.extend(several),
            item @ Value::Object(_) => messages.push(item),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                return Err(wrong(format!("`messages[{index}]` is neither a message nor a list of messages")));
            }
        }
    }
    for (index, message) in messages.iter_mut().enumerate() {
        let Some(fields) = message.as_object_mut().filter(|fields| fields.contains_key("role")) else {
            return Err(wrong(format!("the message number {} has no `role`", index + 1)));
        };
        // The state's own: providers refuse it.
        fields.remove("id");
    }
    if messages.is_empty() {
        return Err(wrong("`messages` is empty: there is nothing to answer"));
    }
    Ok(messages)
}

fn wrong(message: impl Into<String>) -> NodeError {
    NodeError::refused(FailureKind::BadInput, message)
}
