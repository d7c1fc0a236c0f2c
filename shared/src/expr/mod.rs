//! Expressions and text templates over a run's state: minijinja, strict, bounded. Not a place for side effects:
//! an expression reads names and gives a value, nothing else.
//!
//! An expression is *light* or *heavy* (`weigh`). A light one is evaluated where it is asked for, under little fuel. A heavy
//! one goes to an [`Evaluator`], which bounds bytes and time: in programs a process that is made for it.

mod engine;
mod error;
mod evaluator;
mod exclusion;
mod json;
mod known;
mod names;
mod program;
mod scope;
mod size;
mod syntax;
mod template;
#[cfg(test)]
mod tests;
mod weigh;

pub use engine::{EXPRESSION_BYTES_MAX, EXPRESSION_FUEL, RESULT_BYTES_MAX, TEMPLATE_BYTES_MAX};
pub use error::Error;
pub use evaluator::{Evaluation, Evaluator, Form, Here};
pub use exclusion::exclude_each_other;
pub use program::Program;
pub use scope::Scope;
pub use size::of as bytes_of;
pub use template::Template;
