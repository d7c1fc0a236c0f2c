//! Graphs: the definition of nodes, edges, state channels and limits.

mod builder;
pub mod canonical;
mod diagnostic;
mod fan_out;
mod finding;
mod llm;
mod model;
mod outside;
mod parse;
mod place;
mod policy;
mod read;
pub mod reference;
pub mod render;
mod results;
mod suggest;
#[cfg(test)]
mod tests;
mod tree;
mod validate;
mod vector;

pub use builder::{GraphBuilder, NodeBuilder};
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use fan_out::{FanOut, FanOutPolicy};
pub use llm::{LLM_NAMES, LlmFallback, LlmNode, Provider};
pub use model::{
    Channel, Condition, END, Edge, EdgeTarget, ExecNode, Expression, Graph, GraphLimits, GraphNode, InterruptNode,
    Node, NodeKind, Reducer, RustNode, START, SetNode, WaitNode,
};
pub use outside::{
    ANSWER_NAMES, BadReference, CompiledText, HttpNode, Method, Piece, RETRY_ON, Reference, Text, TextError,
    UnknownMethod,
};
pub use parse::{Format, Source, check, no_files, parse};
pub use policy::{Backoff, Jitter, OnFailure, Policy, Retry};
pub use validate::validate;
pub use vector::{
    EMBED_BATCH, Embed, Metric, SEARCH_NAMES, TEXT_FIELD, UPSERT_NAMES, VECTOR_LIMIT, VectorCollection,
    VectorSearchNode, VectorStore, VectorUpsertNode,
};
