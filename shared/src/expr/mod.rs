//! Expressions and text templates over a run's state: minijinja, strict, with fuel. Not a place for side effects:
//! an expression reads names and gives a value, nothing else.

mod engine;
mod error;
mod json;
mod names;
mod nesting;
mod program;
mod scope;
mod template;
#[cfg(test)]
mod tests;

pub use engine::{EXPRESSION_BYTES_MAX, EXPRESSION_FUEL, RESULT_BYTES_MAX, TEMPLATE_BYTES_MAX};
pub use error::Error;
pub use program::Program;
pub use scope::Scope;
pub use template::Template;
