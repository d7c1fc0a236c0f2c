//! What every request has: an address that is one, the node's headers, and what is sent along.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use coxswain_shared::graph::Text;
use coxswain_shared::outcome::FailureKind;
use percent_encoding::percent_decode_str;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderName, HeaderValue};
use reqwest::{Method, Request, Url};

use super::Texts;
use crate::handler::{Context, NodeError};

const DEADLINE: HeaderName = HeaderName::from_static("cox-deadline-ms");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A request to an address; `what` names the field that it is from. A name and a password in it become a header, as a
/// browser makes of them: in the address they would be dropped.
pub(crate) fn new(method: Method, address: &str, what: &str) -> Result<Request, NodeError> {
    // The text may hold a secret, and is not told.
    let mut url = Url::parse(address.trim()).map_err(|error| bad(format!("`{what}` is no address: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad(format!("`{what}` must begin with https:// or http:// and name a host")));
    }
    let login = take_login(&mut url);
    let mut request = Request::new(method, url);
    if let Some(login) = login {
        request.headers_mut().insert(AUTHORIZATION, login);
    }
    Ok(request)
}

/// The header of the login that an address has, which it has no more then.
fn take_login(url: &mut Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let name = percent_decode_str(url.username());
    let password = percent_decode_str(url.password().unwrap_or_default());
    let login = [name.collect(), b":".to_vec(), password.collect::<Vec<u8>>()].concat();
    url.set_username("").and_then(|()| url.set_password(None)).expect("an address with a host can have no login");
    let mut value =
        HeaderValue::try_from(format!("Basic {}", STANDARD.encode(login))).expect("base64 has only letters");
    value.set_sensitive(true);
    Some(value)
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

/// Sends along what the try has left, and, unless the node sets them, that the answer is wanted as it is, and a key that
/// is the same for every try.
pub(crate) fn send_along(ctx: &Context, request: &mut Request) {
    let headers = request.headers_mut();
    headers.insert(DEADLINE, HeaderValue::from(u64::try_from(ctx.remaining().as_millis()).unwrap_or(u64::MAX)));
    headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
    if let Ok(key) = HeaderValue::try_from(ctx.idempotency_key()) {
        headers.entry(IDEMPOTENCY_KEY).or_insert(key);
    }
}

/// A request that cannot be made.
pub(crate) fn bad(message: impl Into<String>) -> NodeError {
    NodeError::refused(FailureKind::BadInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_in_an_address_becomes_a_header_and_leaves_the_address() {
        let login = |address: &str| {
            let request = new(Method::GET, address, "url").unwrap();
            assert!(!request.url().as_str().contains('@'), "{}", request.url());
            request.headers().get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(login("http://Aladdin:open%20sesame@host/x").unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(login("http://key@host/").unwrap(), format!("Basic {}", STANDARD.encode("key:")));
        assert_eq!(login("http://host/"), None);
    }
}
