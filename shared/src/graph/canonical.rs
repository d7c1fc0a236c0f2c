//! The one text of a graph: JSON with sorted keys, without spaces, under its hash. What is stored, and what is hashed.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::model::Graph;
use crate::id::{GraphHash, GraphName, PoolName};
use crate::limits::CHILD_DEPTH_MAX;

/// The version of the format that is written and understood.
pub const GRAPH_FORMAT: u32 = 1;

/// A graph as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical {
    /// The SHA-256 of `json`.
    pub hash: GraphHash,
    /// The graph's name.
    pub name: GraphName,
    /// The graph.
    pub json: String,
}

/// Why a stored graph was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not JSON of the expected shape.
    #[error("the stored graph is not a graph: submit it again")]
    Malformed(#[source] serde_json::Error),
    /// It is of a format that this build does not know.
    #[error(
        "the stored graph has format {0}; this build understands {GRAPH_FORMAT}: upgrade it, or submit the graph again"
    )]
    Format(u64),
    /// Its graphs are nested too deep.
    #[error("the stored graph nests child graphs deeper than {CHILD_DEPTH_MAX}")]
    TooDeep,
}

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    graph: &'a Graph,
}

#[derive(Deserialize)]
struct Read {
    graph: Graph,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u64,
}

/// The canonical JSON of a graph. The same graph gives the same bytes, always.
pub fn json(graph: &Graph) -> String {
    let value = serde_json::to_value(Written { format: GRAPH_FORMAT, graph });
    // serde_json sorts the keys of its maps unless a feature keeps their order; sorting here does not rely on that.
    sorted(&value.expect("names, numbers and texts are always JSON")).to_string()
}

/// The hash of a graph's canonical JSON: its exact version.
pub fn hash(graph: &Graph) -> GraphHash {
    hash_of(&json(graph))
}

/// A graph as it is stored.
pub fn canonical(graph: &Graph) -> Canonical {
    let json = json(graph);
    Canonical { hash: hash_of(&json), name: graph.name.clone(), json }
}

/// A graph and all graphs in it, each once, the outermost last: what a submitter stores.
pub fn canonical_all(graph: &Graph) -> Vec<Canonical> {
    let mut all = Vec::new();
    collect(graph, &mut all);
    all
}

/// The graphs that run as children of this one's nodes, directly.
pub fn children(graph: &Graph) -> impl Iterator<Item = &Graph> {
    graph.nodes.values().filter_map(|node| Some(node.kind.child()?.graph.as_ref()))
}

/// The pools that a graph's nodes are sent to, those of its child graphs included.
pub fn pools(graph: &Graph) -> BTreeSet<PoolName> {
    let mut found = BTreeSet::new();
    let mut open = vec![graph];
    while let Some(graph) = open.pop() {
        found.extend(graph.nodes.values().map(|node| node.pool.clone()));
        open.extend(children(graph));
    }
    found
}

/// Reads a graph that was stored. It was checked before it was stored, by the same or an older version.
pub fn from_stored(json: &str) -> Result<Graph, Error> {
    let format = serde_json::from_str::<FormatOnly>(json).map_err(Error::Malformed)?.format;
    if format != u64::from(GRAPH_FORMAT) {
        return Err(Error::Format(format));
    }
    let graph = serde_json::from_str::<Read>(json).map_err(Error::Malformed)?.graph;
    if depth(&graph) > CHILD_DEPTH_MAX { Err(Error::TooDeep) } else { Ok(graph) }
}

/// How deep the graphs in a graph are nested.
pub(super) fn depth(graph: &Graph) -> u32 {
    children(graph).map(|child| depth(child) + 1).max().unwrap_or(0)
}

fn collect(graph: &Graph, all: &mut Vec<Canonical>) {
    for child in children(graph) {
        collect(child, all);
    }
    let canonical = canonical(graph);
    if all.iter().all(|known| known.hash != canonical.hash) {
        all.push(canonical);
    }
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let sorted: std::collections::BTreeMap<_, _> =
                map.iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(sorted.into_iter().map(|(key, value)| (key.clone(), value)).collect())
        }
        Value::Array(list) => list.iter().map(sorted).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn hash_of(json: &str) -> GraphHash {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(json.as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    GraphHash::new(hex).expect("64 hexadecimal digits are a name")
}
