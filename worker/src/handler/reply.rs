//! What a node gives back, and how it becomes writes: the [`Reply`], and the [`Product`] that is settled.

use std::io;

use coxswain_shared::graph::{Graph, Node};
use coxswain_shared::id::{ChannelName, NodeName};
use coxswain_shared::limits::OUTCOME_BYTES_MAX;
use coxswain_shared::outcome::{FailureKind, Writes};
use serde::Serialize;
use serde_json::Value;

use super::NodeError;
use crate::hint::hint;

/// Where a node may ask to go beside the graph's nodes.
const END: &str = "END";

/// What a node gives back: an update of the state, and where it asks to go next.
#[derive(Debug, Default)]
pub struct Reply {
    update: Option<Result<Value, String>>,
    goto: Vec<String>,
}

impl Reply {
    /// Writes nothing.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Writes this: an object of writes by channel, or, for a node with `into`, that channel's whole write.
    pub fn update(value: impl Serialize) -> Self {
        let update = serde_json::to_value(value).map_err(|error| error.to_string());
        Self { update: Some(update), goto: Vec::new() }
    }

    /// Asks to go to this node next, or to `END`, beside the graph's own edges.
    #[must_use]
    pub fn goto(mut self, node: impl Into<String>) -> Self {
        self.goto.push(node.into());
        self
    }
}

/// What can stand as a handler's output: everything that serialises, and [`Reply`].
pub trait IntoReply: Send + 'static {
    /// Makes a reply of it.
    fn into_reply(self) -> Reply;
}

impl<T: Serialize + Send + 'static> IntoReply for T {
    fn into_reply(self) -> Reply {
        Reply::update(self)
    }
}

impl IntoReply for Reply {
    fn into_reply(self) -> Reply {
        self
    }
}

/// A reply that was checked against the graph and the size limits.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Product {
    pub(crate) writes: Writes,
    pub(crate) goto: Vec<String>,
}

impl Product {
    /// Checks a reply of a node.
    pub(crate) fn of(reply: Reply, graph: &Graph, node: &Node) -> Result<Self, NodeError> {
        let known = |name: &str| name == END || graph.nodes.keys().any(|node| node.as_str() == name);
        if let Some(wrong) = reply.goto.iter().find(|name| !known(name)) {
            let nodes = graph.nodes.keys().map(NodeName::as_str).chain([END]);
            return Err(bad_output(format!("it asked to go to `{wrong}`: {}", unknown(wrong, nodes))));
        }
        let writes = match reply.update {
            None => Writes::new(),
            Some(Err(why)) => return Err(bad_output(format!("its result cannot be written as JSON: {why}"))),
            Some(Ok(value)) => writes_of(value, graph, node)?,
        };
        let size = json_size(&writes);
        if size > OUTCOME_BYTES_MAX {
            return Err(too_large(size));
        }
        Ok(Self { writes, goto: reply.goto })
    }
}

fn writes_of(value: Value, graph: &Graph, node: &Node) -> Result<Writes, NodeError> {
    if let Some(channel) = &node.into {
        return Ok(Writes::from([(channel.clone(), value)]));
    }
    let fields = match value {
        Value::Null => return Ok(Writes::new()),
        Value::Object(fields) => fields,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err(bad_output(format!(
                "its result is {}, not an object of writes by channel: return an object, or give the node `into: CHANNEL`",
                shape(&value)
            )));
        }
    };
    let channel = |(name, value): (String, Value)| match ChannelName::new(&name) {
        Ok(channel) if graph.state.contains_key(&channel) => Ok((channel, value)),
        Ok(_) | Err(_) => {
            let channels = graph.state.keys().map(ChannelName::as_str);
            Err(bad_output(format!("it wrote to the channel `{}`: {}", shorten(&name), unknown(&name, channels))))
        }
    };
    fields.into_iter().map(channel).collect()
}

fn unknown<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    format!("there is none of this name{}", hint(name, known))
}

fn shorten(name: &str) -> String {
    name.chars().take(64).collect()
}

fn bad_output(message: String) -> NodeError {
    NodeError::refused(FailureKind::BadOutput, message)
}

fn too_large(bytes: usize) -> NodeError {
    let message = format!(
        "its result has {bytes} bytes as JSON, over the limit of {OUTCOME_BYTES_MAX}: \
         put it somewhere else, and return where it is"
    );
    NodeError::refused(FailureKind::TooLarge, message)
}

/// What a JSON value is, in words.
const fn shape(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The length of a value as JSON, without making the text.
pub(crate) fn json_size(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).expect("JSON values serialise, and counting does not fail");
    count.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn graph() -> Graph {
        serde_json::from_value(json!({
            "name": "g", "edges": [],
            "state": {"text": {}, "count": {}},
            "nodes": {"plain": {"kind": "rust", "handler": "h"}, "whole": {"kind": "rust", "handler": "h", "into": "text"}},
        }))
        .unwrap()
    }

    fn product(node: &str, reply: Reply) -> Result<Product, String> {
        let graph = graph();
        Product::of(reply, &graph, &graph.nodes[node]).map_err(|error| error.to_string())
    }

    #[test]
    fn an_object_is_writes_by_channel_and_into_takes_all_of_it() {
        let plain = product("plain", json!({"text": "a"}).into_reply()).unwrap();
        assert_eq!(serde_json::to_value(plain.writes).unwrap(), json!({"text": "a"}));
        let whole = product("whole", json!({"any": 1}).into_reply()).unwrap();
        assert_eq!(serde_json::to_value(whole.writes).unwrap(), json!({"text": {"any": 1}}));
        assert_eq!(product("plain", ().into_reply()).unwrap(), Product::default());
        assert_eq!(product("whole", Reply::nothing()).unwrap(), Product::default());
    }

    #[test]
    fn a_channel_that_is_not_there_is_refused_by_name() {
        let told = product("plain", json!({"txet": "a"}).into_reply()).unwrap_err();
        assert!(told.contains("`txet`") && told.contains("did you mean `text`"), "{told}");
        assert!(product("plain", json!({"a:b": 1}).into_reply()).is_err());
        let told = product("plain", 7.into_reply()).unwrap_err();
        assert!(told.contains("a number") && told.contains("into"), "{told}");
    }

    #[test]
    fn goto_leads_to_nodes_and_to_the_end_only() {
        assert_eq!(product("plain", Reply::nothing().goto("whole").goto("END")).unwrap().goto, ["whole", "END"]);
        assert!(product("plain", Reply::nothing().goto("nowhere")).unwrap_err().contains("`nowhere`"));
    }

    #[test]
    fn a_result_over_the_limit_is_refused_with_its_size() {
        let told = product("plain", json!({"text": "x".repeat(OUTCOME_BYTES_MAX)}).into_reply()).unwrap_err();
        assert!(told.contains(&(OUTCOME_BYTES_MAX + 11).to_string()), "{told}");
    }

    #[test]
    fn what_json_cannot_hold_is_refused() {
        let odd = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(product("plain", Reply::update(odd)).unwrap_err().contains("cannot be written as JSON"));
    }
}
