//! Where requests go: an address, and the headers that all of them have.

use std::collections::BTreeMap;

use coxswain_shared::graph::Text;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Request, Url};

use crate::handler::NodeError;
use crate::outside::{Texts, request};

/// The base of an API.
#[derive(Debug)]
pub(super) struct Endpoint(Request);

/// The header that carries a key, and what stands before it there.
pub(super) type KeyHeader = (HeaderName, &'static str);

impl Endpoint {
    /// An address; `what` names the field that it is from.
    pub(super) fn new(address: &str, what: &str) -> Result<Self, NodeError> {
        request::new(Method::GET, address, what).map(Self)
    }

    /// Sets the key; `what` names the field that it is from.
    pub(super) fn set_key(
        &mut self,
        (name, before): KeyHeader,
        key: &Text,
        what: &str,
        texts: &mut Texts<'_>,
    ) -> Result<(), NodeError> {
        let key = texts.text(what, key)?;
        let mut value = HeaderValue::try_from(format!("{before}{key}"))
            .map_err(|_| request::bad(format!("`{what}` holds a character that no header can have")))?;
        value.set_sensitive(true);
        self.0.headers_mut().insert(name, value);
        Ok(())
    }

    /// Sets a header whose value is no secret.
    pub(super) fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.headers_mut().insert(name, value);
    }

    /// Sets the node's own headers.
    pub(super) fn add_headers(
        &mut self,
        headers: &BTreeMap<String, Text>,
        texts: &mut Texts<'_>,
    ) -> Result<(), NodeError> {
        request::add_headers(&mut self.0, headers, texts)
    }

    /// The address.
    pub(super) fn url(&self) -> &Url {
        self.0.url()
    }

    /// Whether the address ends with this segment.
    pub(super) fn ends_with(&self, segment: &str) -> bool {
        let mut segments = self.0.url().path_segments().into_iter().flatten().rev().skip_while(|last| last.is_empty());
        segments.next() == Some(segment)
    }

    /// A request to what lies beneath the address.
    pub(super) fn request(&self, method: Method, path: &[&str]) -> Request {
        let mut request = self.0.try_clone().expect("a request without a body can be cloned");
        *request.method_mut() = method;
        let mut segments = request.url_mut().path_segments_mut().expect("an address with a host has a path");
        segments.pop_if_empty().extend(path);
        drop(segments);
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(base: &str, path: &[&str]) -> String {
        Endpoint::new(base, "url").unwrap().request(Method::GET, path).url().to_string()
    }

    #[test]
    fn a_path_is_put_beneath_the_address_and_no_name_leads_out_of_it() {
        assert_eq!(url("http://a:1", &["v", "b c"]), "http://a:1/v/b%20c");
        assert_eq!(url("http://a/base/?key=1", &["v"]), "http://a/base/v?key=1");
        assert_eq!(url("http://a/base", &["x/../y", "?z"]), "http://a/base/x%2F..%2Fy/%3Fz");
        assert!(!url("http://a/base", &["collections", "..", "points"]).contains("base/points"));
    }

    #[test]
    fn the_last_segment_is_known_with_and_without_a_slash() {
        for base in ["http://a/api/v2", "http://a/api/v2/"] {
            assert!(Endpoint::new(base, "url").unwrap().ends_with("v2"), "{base}");
        }
        assert!(!Endpoint::new("http://a", "url").unwrap().ends_with("v2"));
    }
}
