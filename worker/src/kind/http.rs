//! The kind `http`: one request, whose answer is written into the state.
//!
//! The answer's body is read as JSON where its `content-type` says so, else as text. A status from 200 to 299, or one of
//! `accept`, is a success; another fails the try, and is tried again if it is one of `retry_on` and the node's policy
//! has tries left, not before the time that a `Retry-After` names. Sent along: `Cox-Deadline-Ms`, what the try has left,
//! and, unless the graph sets it, `Idempotency-Key`, the same for every try.

use coxswain_shared::graph::{HttpNode, NodeKind, RETRY_ON};
use coxswain_shared::limits::RESPONSE_BYTES;
use coxswain_shared::outcome::{Failure, FailureKind};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Body, Method, Request};
use serde_json::Value;

use super::pick::pick;
use super::set::scope_of;
use crate::handler::{Context, NodeError, Reply};
use crate::outside::{Answer, Call, Caller, Secrets, Texts, request};

/// One request.
pub(super) async fn run(ctx: &Context, caller: &Caller) -> Result<Reply, NodeError> {
    let NodeKind::Http(node) = &ctx.definition().kind else {
        unreachable!("the registry hands each kind its own nodes");
    };
    let mut texts = caller.texts(scope_of(ctx));
    let request = request(ctx, node, &mut texts)?;
    let max_bytes = node.max_bytes.unwrap_or(RESPONSE_BYTES as u64);
    let call = caller.call(ctx, &texts, (max_bytes, node.retry_on.as_deref().unwrap_or(&RETRY_ON)));
    let mut answer = call.send(request).await?;
    let status = answer.status();
    if !status.is_success() && !node.accept.contains(&status.as_u16()) {
        return Err(answer.refusal().await);
    }
    let body = body_of(&mut answer, &call.secrets).await?;
    let headers = told_headers(answer.headers(), &call);
    match &node.output {
        Some(output) => {
            let names = [("status", Value::from(status.as_u16())), ("headers", headers), ("response", body)];
            Ok(Reply::update(pick(ctx, output, &names)?))
        }
        None if body.is_null() => Ok(Reply::nothing()),
        None => Ok(Reply::update(body)),
    }
}

fn request(ctx: &Context, node: &HttpNode, texts: &mut Texts<'_>) -> Result<Request, NodeError> {
    let method = Method::from_bytes(node.method.name().as_bytes()).expect("the names are those of HTTP");
    let mut request = request::new(method, &texts.text("url", &node.url)?, "url")?;
    request::add_headers(&mut request, &node.headers, texts)?;
    if let Some(json) = &node.json {
        let body = texts.json("json", json)?;
        request.headers_mut().entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(Body::from(body.to_string()));
    } else if let Some(body) = &node.body {
        *request.body_mut() = Some(Body::from(texts.text("body", body)?));
    }
    request::send_along(ctx, &mut request);
    Ok(request)
}

/// The body: JSON where the answer says that it is; null where there is none.
async fn body_of(answer: &mut Answer<'_>, secrets: &Secrets) -> Result<Value, NodeError> {
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = kind == "application/json" || kind.ends_with("+json");
    let text = answer.text().await?;
    if text.is_empty() {
        return Ok(Value::Null);
    }
    if !is_json {
        return Ok(Value::String(secrets.redact(&text)));
    }
    // A mark that some servers put before a text is no part of it.
    secrets.read(text.trim_start_matches('\u{feff}')).map_err(|error| {
        let failure = answer.wrong(&format!("the answer says that it is JSON, and is not: {error}"));
        NodeError::Retryable(Failure { kind: FailureKind::BadOutput, ..failure })
    })
}

fn told_headers(headers: &HeaderMap, call: &Call<'_>) -> Value {
    let tell = |(name, value): (&HeaderName, &HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        (name.as_str().to_owned(), Value::String(call.secrets.redact(&value)))
    };
    Value::Object(headers.iter().map(tell).collect())
}
