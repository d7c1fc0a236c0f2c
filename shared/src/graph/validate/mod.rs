//! Whether a graph makes sense: everything that can be known before it runs, found at once.

mod arrows;
mod children;
mod edges;
mod expressions;
mod fan_out;
mod flow;
mod joins;
mod limits;
mod llm;
mod nodes;
mod outside;
mod schema;
mod secrets;
mod state;
mod vector;
mod whole;

pub(super) use limits::check_policy;
pub use whole::validate;
pub(super) use whole::{Doubts, check};
