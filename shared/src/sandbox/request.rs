//! What a process of the sandbox is asked, and what it answers.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::expr::{Error, Evaluation};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request<'a> {
    /// An expression's or a template's value.
    Evaluate(#[serde(borrow)] Evaluation<'a>),
    /// Whether a schema is one, and whether a value fits it.
    Check {
        /// The JSON schema.
        schema: Value,
        /// The value; none where only the schema is looked at.
        value: Option<Value>,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The value.
    Value(Value),
    /// Why there is none.
    Failed(Error),
    /// The schema is none, and why.
    NoSchema(String),
    /// What does not fit the schema; nothing where all does.
    Mistakes(Vec<String>),
}
