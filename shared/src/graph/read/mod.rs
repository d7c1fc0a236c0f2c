//! From a tree to a graph: what the fields mean, and everything that is wrong with their shape. Whether the graph makes
//! sense as a whole is for `validate` to say.

mod channel;
mod children;
mod edges;
mod fan_out;
mod fields;
mod graph;
mod kinds;
mod llm;
mod node;
mod policy;
mod vector;

pub(super) use children::{Session, node_count};
#[cfg(test)]
pub(super) use fields::KNOWN;
