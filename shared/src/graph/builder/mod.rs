//! Graphs written in Rust, checked like those from files.

mod channel;
mod graph;
mod node;

pub use graph::GraphBuilder;
pub use node::NodeBuilder;
