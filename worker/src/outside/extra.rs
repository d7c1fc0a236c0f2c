//! Fields that a node adds to the body of a request, or takes out of it, in the words of whoever is called.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Texts;
use crate::handler::NodeError;

/// A node's `extra`, filled in.
#[derive(Debug, Default)]
pub(crate) struct Extra(Map<String, Value>);

impl Extra {
    /// Fills it in; `what` names its place in the node.
    pub(crate) fn fill(what: &str, extra: &BTreeMap<String, Value>, texts: &mut Texts<'_>) -> Result<Self, NodeError> {
        let filled = extra.iter().map(|(field, value)| {
            let value = texts.json(&format!("{what}.{field}"), value)?;
            Ok((field.clone(), value))
        });
        filled.collect::<Result<_, NodeError>>().map(Self)
    }

    /// Lays it over a body: a field that it has replaces the body's, and null takes it out.
    pub(crate) fn lay_over(&self, body: &mut Map<String, Value>) {
        for (field, value) in &self.0 {
            match value {
                Value::Null => body.remove(field),
                value => body.insert(field.clone(), value.clone()),
            };
        }
    }
}
