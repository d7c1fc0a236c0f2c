//! Graphs: the definition of nodes, edges, state channels and limits.

mod model;
mod policy;

pub use model::{
    Channel, Condition, Edge, EdgeTarget, ExecNode, Expression, Graph, GraphLimits, GraphNode, InterruptNode, Node,
    NodeKind, Reducer, RustNode, SetNode, WaitNode,
};
pub use policy::{Backoff, Jitter, OnFailure, Policy, Retry};
