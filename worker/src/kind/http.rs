//! The kind `http`: one request, whose answer is written into the state.
//!
//! The answer's body is read as JSON where its `content-type` says so, else as text. A status from 200 to 299, or one of
//! `accept`, is a success; another fails the try, and is tried again if it is one of `retry_on` and the node's policy
//! has tries left, not before the time that a `Retry-After` names. Sent along: `Cox-Deadline-Ms`, what the try has left,
//! and, unless the graph sets it, `Idempotency-Key`, the same for every try.

use std::sync::Arc;

use coxswain_shared::expr::{Program, Scope};
use coxswain_shared::graph::{HttpNode, NodeKind, RETRY_ON};
use coxswain_shared::limits::RESPONSE_BYTES;
use coxswain_shared::outcome::{Failure, FailureKind};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Body, Method, Request, Url};
use serde_json::{Map, Value};

use super::set::scope_of;
use super::{Kind, Work};
use crate::handler::{Context, NodeError, Reply};
use crate::metrics::Metrics;
use crate::outside::{Answer, Call, Clients, Limits, Texts};

const DEADLINE: HeaderName = HeaderName::from_static("cox-deadline-ms");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Requests over HTTP.
#[derive(Debug)]
pub(crate) struct HttpKind {
    clients: Arc<Clients>,
    metrics: Metrics,
}

impl HttpKind {
    /// Its name.
    pub(crate) const NAME: &str = "http";

    pub(crate) const fn new(clients: Arc<Clients>, metrics: Metrics) -> Self {
        Self { clients, metrics }
    }
}

impl Kind for HttpKind {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn start(&self, ctx: Context) -> Result<Work, NodeError> {
        let NodeKind::Http(node) = &ctx.definition().kind else {
            unreachable!("the registry hands each kind its own nodes");
        };
        let (node, clients, metrics) = (node.clone(), Arc::clone(&self.clients), self.metrics.clone());
        Ok(Work::new(async move { run(&ctx, &node, &clients, &metrics).await }))
    }
}

async fn run(ctx: &Context, node: &HttpNode, clients: &Clients, metrics: &Metrics) -> Result<Reply, NodeError> {
    let mut texts = Texts::new(scope_of(ctx), Arc::clone(clients.config()));
    let request = request(ctx, node, &mut texts)?;
    let call = Call {
        ctx,
        clients,
        metrics,
        limits: Limits::of(&ctx.definition().policy),
        secrets: texts.into_secrets(),
        max_bytes: node.max_bytes.unwrap_or(RESPONSE_BYTES as u64),
        retry_on: node.retry_on.as_deref().unwrap_or(&RETRY_ON),
    };
    let mut answer = call.send(request).await?;
    let status = answer.status();
    if !status.is_success() && !node.accept.contains(&status.as_u16()) {
        return Err(answer.refusal().await);
    }
    let body = body_of(&mut answer).await?;
    let headers = told_headers(answer.headers(), &call);
    match &node.output {
        Some(output) => {
            let names = [("status", Value::from(status.as_u16())), ("headers", headers), ("response", body)];
            let scope = names.iter().fold(scope_of(ctx), |scope, (name, value)| scope.with(name, value));
            let pick = |(channel, expression): (&coxswain_shared::id::ChannelName, _)| {
                Ok((channel.as_str().to_owned(), evaluate(channel.as_str(), expression, &scope)?))
            };
            Ok(Reply::update(output.iter().map(pick).collect::<Result<Map<_, _>, NodeError>>()?))
        }
        None if body.is_null() => Ok(Reply::nothing()),
        None => Ok(Reply::update(body)),
    }
}

fn evaluate(
    channel: &str,
    expression: &coxswain_shared::graph::Expression,
    scope: &Scope<'_>,
) -> Result<Value, NodeError> {
    let value = Program::compile(expression.0.as_str()).and_then(|program| program.eval(scope));
    value.map_err(|error| NodeError::refused(FailureKind::Expression, format!("`output.{channel}`: {error}")))
}

fn request(ctx: &Context, node: &HttpNode, texts: &mut Texts<'_>) -> Result<Request, NodeError> {
    let address = texts.text("url", &node.url)?;
    // The text may hold a secret, and is not told.
    let url = Url::parse(address.trim()).map_err(|error| bad(format!("`url` is no address: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad("`url` must begin with https:// or http:// and name a host"));
    }
    let method = Method::from_bytes(node.method.name().as_bytes()).expect("the names are those of HTTP");
    let mut request = Request::new(method, url);
    for (name, text) in &node.headers {
        let value = texts.text(&format!("headers.{name}"), text)?;
        let name = HeaderName::try_from(name.as_str()).map_err(|_| bad(format!("`{name}` is no header")))?;
        let mut value = HeaderValue::try_from(value)
            .map_err(|_| bad(format!("`headers.{name}` holds a character that no header can have")))?;
        value.set_sensitive(true);
        request.headers_mut().insert(name, value);
    }
    if let Some(json) = &node.json {
        let body = texts.json("json", json)?;
        request.headers_mut().entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(Body::from(body.to_string()));
    } else if let Some(body) = &node.body {
        *request.body_mut() = Some(Body::from(texts.text("body", body)?));
    }
    let headers = request.headers_mut();
    headers.insert(DEADLINE, HeaderValue::from(u64::try_from(ctx.remaining().as_millis()).unwrap_or(u64::MAX)));
    if let Ok(key) = HeaderValue::try_from(ctx.idempotency_key()) {
        headers.entry(IDEMPOTENCY_KEY).or_insert(key);
    }
    Ok(request)
}

/// The body: JSON where the answer says that it is; null where there is none.
async fn body_of(answer: &mut Answer<'_>) -> Result<Value, NodeError> {
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = kind == "application/json" || kind.ends_with("+json");
    let text = answer.text().await?;
    if text.is_empty() {
        return Ok(Value::Null);
    }
    if !is_json {
        return Ok(Value::String(text));
    }
    serde_json::from_str(&text).map_err(|error| {
        let message = format!("the answer says that it is JSON, and is not: {error}");
        NodeError::Retryable(Failure::new(FailureKind::BadOutput, message))
    })
}

fn told_headers(headers: &HeaderMap, call: &Call<'_>) -> Value {
    let tell = |(name, value): (&HeaderName, &HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        (name.as_str().to_owned(), Value::String(call.secrets.redact(&value)))
    };
    Value::Object(headers.iter().map(tell).collect())
}

fn bad(message: impl Into<String>) -> NodeError {
    NodeError::refused(FailureKind::BadInput, message)
}
