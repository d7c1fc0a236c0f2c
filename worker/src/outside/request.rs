//! What every request has: an address that is one, the node's headers, and what is sent along.

use std::collections::BTreeMap;

use coxswain_shared::graph::Text;
use coxswain_shared::outcome::FailureKind;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Request, Url};

use super::Texts;
use crate::handler::{Context, NodeError};

const DEADLINE: HeaderName = HeaderName::from_static("cox-deadline-ms");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A request to an address; `what` names the field that it is from.
pub(crate) fn new(method: Method, address: &str, what: &str) -> Result<Request, NodeError> {
    // The text may hold a secret, and is not told.
    let url = Url::parse(address.trim()).map_err(|error| bad(format!("`{what}` is no address: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad(format!("`{what}` must begin with https:// or http:// and name a host")));
    }
    Ok(Request::new(method, url))
}

/// Sets a node's headers.
pub(crate) fn add_headers(
    request: &mut Request,
    headers: &BTreeMap<String, Text>,
    texts: &mut Texts<'_>,
) -> Result<(), NodeError> {
    for (name, text) in headers {
        let value = texts.text(&format!("headers.{name}"), text)?;
        let name = HeaderName::try_from(name.as_str()).map_err(|_| bad(format!("`{name}` is no header")))?;
        let mut value = HeaderValue::try_from(value)
            .map_err(|_| bad(format!("`headers.{name}` holds a character that no header can have")))?;
        value.set_sensitive(true);
        request.headers_mut().insert(name, value);
    }
    Ok(())
}

/// Sends along what the try has left, and, unless the node sets it, a key that is the same for every try.
pub(crate) fn send_along(ctx: &Context, request: &mut Request) {
    let headers = request.headers_mut();
    headers.insert(DEADLINE, HeaderValue::from(u64::try_from(ctx.remaining().as_millis()).unwrap_or(u64::MAX)));
    if let Ok(key) = HeaderValue::try_from(ctx.idempotency_key()) {
        headers.entry(IDEMPOTENCY_KEY).or_insert(key);
    }
}

/// A request that cannot be made.
pub(crate) fn bad(message: impl Into<String>) -> NodeError {
    NodeError::refused(FailureKind::BadInput, message)
}
