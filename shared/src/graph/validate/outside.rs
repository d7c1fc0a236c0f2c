//! Nodes that call the outside: what they send, and what they make of the answer.

use std::collections::BTreeMap;

use serde_json::Value;

use super::nodes::{known_channel, names};
use super::secrets::{self, Sent};
use super::whole::Doubts;
use crate::graph::finding::Findings;
use crate::graph::model::{Expression, Graph, Node};
use crate::graph::outside::{ANSWER_NAMES, CompiledText, HttpNode, Piece, Text, TextError};
use crate::graph::place::Place;
use crate::id::{ChannelName, NodeName};
use crate::limits::RESPONSE_BYTES_MAX;

/// Headers that say how the message is carried, which is not the graph's to say.
const CARRYING: [&str; 7] =
    ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "cox-deadline-ms"];

/// Headers whose value is a secret.
const CREDENTIALS: [&str; 6] =
    ["authorization", "proxy-authorization", "x-api-key", "api-key", "x-auth-token", "x-chroma-token"];
const NEVER_WRITTEN: &str = "a key is never written in a graph, which is stored";

pub(super) fn http(
    graph: &Graph,
    doubts: &Doubts,
    (name, node, http): (&NodeName, &Node, &HttpNode),
    (place, findings): (&Place, &mut Findings),
) {
    let texts = Texts { graph, doubts, name };
    url(&http.url, &place.key("url"), findings);
    texts.check(&http.url, &place.key("url"), findings);
    for (header, value) in &http.headers {
        let place = place.key("headers").key(header);
        self::header(header, value, &place, findings);
        texts.check(value, &place, findings);
    }
    if let Some(body) = &http.body {
        texts.check(body, &place.key("body"), findings);
    }
    if let Some(json) = &http.json {
        texts.check_json(json, &place.key("json"), findings);
    }
    let sent = Sent { texts: http.headers.values().chain(&http.body).collect(), json: http.json.iter().collect() };
    secrets::check(&http.url, &sent, &place.key("url"), findings);
    if http.json.is_some() && http.body.is_some() {
        findings.error(&place.key("body"), "the node has both `json` and `body`").remedy("keep one of them");
    }
    for (field, statuses) in [("accept", &http.accept), ("retry_on", http.retry_on.as_ref().unwrap_or(&Vec::new()))] {
        for (index, status) in statuses.iter().enumerate() {
            if !(100..=599).contains(status) {
                let place = place.key(field).index(index);
                findings.error(&place, format!("`{status}` is no status")).remedy("a status is from 100 to 599");
            }
        }
    }
    if http.max_bytes.is_some_and(|bytes| bytes == 0 || bytes > RESPONSE_BYTES_MAX as u64) {
        let remedy = format!("write a number from 1 to {RESPONSE_BYTES_MAX}");
        findings.error(&place.key("max_bytes"), "the size is out of bounds").remedy(remedy);
    }
    let what = "channel, and none of `status`, `headers` and `response`";
    texts.output(http.output.as_ref(), (what, &ANSWER_NAMES), (place, findings));
    if http.output.is_some() && node.into.is_some() {
        findings
            .error(&place.key("into"), "the node has both `into` and `output`")
            .remedy("`into` takes the whole body; `output` picks from it");
    }
}

pub(super) fn url(url: &Text, place: &Place, findings: &mut Findings) {
    let starts_with_template = url.0.trim_start().starts_with("{{") || url.0.starts_with("${");
    if !starts_with_template && !url.0.starts_with("http://") && !url.0.starts_with("https://") {
        findings.error(place, format!("`{}` is no address", url.0)).remedy("write `https://…` or `http://…`");
    }
    if has_password(&url.0) {
        findings.error(place, NEVER_WRITTEN).remedy("refer to the password: `https://user:${env:NAME}@…`");
    }
}

/// Whether a password is written out in an address.
fn has_password(url: &str) -> bool {
    let authority =
        url.split_once("://").map_or("", |(_, rest)| rest).split(['/', '?', '#']).next().unwrap_or_default();
    let login = authority.rsplit_once('@').map_or("", |(login, _)| login);
    let is_written = |password: &str| !password.is_empty() && !password.contains("${") && !password.contains("{{");
    login.split_once(':').is_some_and(|(_, password)| is_written(password))
}

/// Checks that the key in `api_key` is a reference, such as the example.
pub(super) fn key(key: Option<&Text>, example: &str, place: &Place, findings: &mut Findings) {
    let is_written = |key: &Text| !has_reference(key);
    if key.is_some_and(is_written) {
        let remedy = format!("refer to it: {example}, or ${{file:NAME}}");
        findings.error(&place.key("api_key"), NEVER_WRITTEN).remedy(remedy);
    }
}

/// Whether a text refers to a secret, or is none that can be read.
fn has_reference(text: &Text) -> bool {
    text.pieces().map_or(true, |pieces| pieces.iter().any(|piece| matches!(piece, Piece::Secret(_))))
}

/// A header that a node sets.
pub(super) fn header(name: &str, value: &Text, place: &Place, findings: &mut Findings) {
    header_name(name, place, findings);
    let is_credential = CREDENTIALS.contains(&name.to_ascii_lowercase().as_str());
    // One of the state, such as a token that another node has asked for, is the graph's to handle.
    let is_written = !value.0.trim().is_empty() && !value.0.contains("{{") && !has_reference(value);
    if is_credential && is_written {
        findings.error(place, NEVER_WRITTEN).remedy("refer to it: ${env:NAME}, or ${file:NAME}");
    }
}

fn header_name(name: &str, place: &Place, findings: &mut Findings) {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_token) {
        findings.error(place, format!("{name:?} cannot be the name of a header"));
    } else if CARRYING.contains(&name.to_ascii_lowercase().as_str()) {
        findings.error(place, format!("the header `{name}` is the worker's to set")).remedy("leave it out");
    }
}

/// Checks texts where a node's names are known.
pub(super) struct Texts<'a> {
    pub(super) graph: &'a Graph,
    pub(super) doubts: &'a Doubts,
    pub(super) name: &'a NodeName,
}

impl Texts<'_> {
    pub(super) fn check(&self, text: &Text, place: &Place, findings: &mut Findings) {
        self.judge(text.compile(""), place, findings);
    }

    pub(super) fn check_json(&self, json: &Value, place: &Place, findings: &mut Findings) {
        match json {
            Value::String(text) => self.judge(Text(text.clone()).compile_value(""), place, findings),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.check_json(item, &place.index(index), findings);
                }
            }
            Value::Object(fields) => {
                for (key, field) in fields {
                    self.literal(key, &place.key(key), findings);
                    self.check_json(field, &place.key(key), findings);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Warns of an expression where none is filled in.
    pub(super) fn literal(&self, text: &str, place: &Place, findings: &mut Findings) {
        if !text.contains("{{") && !text.contains("{%") {
            return;
        }
        let used = Text(text.to_owned()).compile("").map(|text| text.names()).unwrap_or_default();
        let is_known =
            |name: &&String| matches!(name.as_str(), "item" | "index") || self.graph.state.contains_key(name.as_str());
        if let Some(name) = used.iter().find(is_known) {
            let message = format!("`{name}` is not filled in here: the text is taken as it stands");
            findings
                .warning(place, message)
                .remedy("expressions stand in the fields that docs/nodes.md calls templates");
        }
    }

    /// The same for every text within JSON.
    pub(super) fn literal_json(&self, json: &Value, place: &Place, findings: &mut Findings) {
        match json {
            Value::String(text) => self.literal(text, place, findings),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.literal_json(item, &place.index(index), findings);
                }
            }
            Value::Object(fields) => {
                for (key, field) in fields {
                    self.literal(key, &place.key(key), findings);
                    self.literal_json(field, &place.key(key), findings);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Checks what is written of an answer: expressions over the state and the answer's own names.
    pub(super) fn output(
        &self,
        output: Option<&BTreeMap<ChannelName, Expression>>,
        (what, own): (&str, &[&'static str]),
        (place, findings): (&Place, &mut Findings),
    ) {
        let mut names = names(self.graph, self.doubts, self.name);
        names.what = what;
        names.known = names.known.map(|known| known.into_iter().chain(own.iter().copied()).collect());
        for (channel, expression) in output.into_iter().flatten() {
            let place = place.key("output").key(channel);
            known_channel(self.graph, self.doubts, channel, &place, findings);
            names.check(expression, &place, findings);
        }
    }

    fn judge(&self, compiled: Result<CompiledText, TextError>, place: &Place, findings: &mut Findings) {
        let used = match compiled {
            Ok(text) => text.names(),
            Err(error) => {
                findings.error(place, error.to_string());
                return;
            }
        };
        names(self.graph, self.doubts, self.name).check_used(used.iter().map(String::as_str), None, place, findings);
    }
}
