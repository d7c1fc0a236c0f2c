//! Fills in what a call sends: from the state, then with secrets.

use std::sync::Arc;

use coxswain_shared::expr::Scope;
use coxswain_shared::graph::{Text, TextError};
use coxswain_shared::id::Nonce;
use coxswain_shared::outcome::FailureKind;
use reqwest::Url;
use serde_json::Value;

use super::config::OutsideConfig;
use super::reveal;
use super::secrets::Secrets;
use crate::handler::NodeError;

/// Fills in the texts of one call.
pub(crate) struct Texts<'a> {
    scope: Scope<'a>,
    config: Arc<OutsideConfig>,
    /// Nobody knows it before the call.
    nonce: String,
    secrets: Secrets,
}

impl<'a> Texts<'a> {
    pub(crate) fn new(scope: Scope<'a>, config: Arc<OutsideConfig>) -> Self {
        Self { scope, config, nonce: Nonce::fresh().to_string(), secrets: Secrets::default() }
    }

    /// A text; `what` names its place in the node.
    pub(crate) fn text(&mut self, what: &str, text: &Text) -> Result<String, NodeError> {
        let compiled = text.compile(&self.nonce).map_err(|error| unusable(what, &error))?;
        let filled = compiled.fill(&self.scope, |reference| self.secrets.reveal(reference, &self.config));
        match filled.map_err(|error| unfilled(what, &error))? {
            Value::String(text) => Ok(text),
            other => Ok(other.to_string()),
        }
    }

    /// A JSON value, with every text in it filled in.
    pub(crate) fn json(&mut self, what: &str, json: &Value) -> Result<Value, NodeError> {
        match json {
            Value::String(text) => {
                let text = Text(text.clone());
                let compiled = text.compile_value(&self.nonce).map_err(|error| unusable(what, &error))?;
                let filled = compiled.fill(&self.scope, |reference| self.secrets.reveal(reference, &self.config));
                filled.map_err(|error| unfilled(what, &error))
            }
            Value::Array(items) => items.iter().map(|item| self.json(what, item)).collect(),
            Value::Object(fields) => {
                let filled = fields.iter().map(|(key, field)| Ok((key.clone(), self.json(what, field)?)));
                filled.collect::<Result<_, NodeError>>().map(Value::Object)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(json.clone()),
        }
    }

    /// Says that what was filled in since the last time goes to this URL and nowhere else. Refused if a secret is bound to
    /// other hosts. What is tied to none is held to every URL that is called.
    pub(crate) fn tie(&mut self, url: &Url) -> Result<(), NodeError> {
        let tied = self.secrets.tie(url);
        tied.map_err(|astray| NodeError::refused(FailureKind::BadInput, self.secrets.redact(&astray.to_string())))
    }

    /// The secrets that were put in so far.
    pub(crate) const fn secrets(&self) -> &Secrets {
        &self.secrets
    }
}

fn unusable(what: &str, error: &TextError) -> NodeError {
    NodeError::refused(FailureKind::Expression, format!("`{what}`: {error}"))
}

fn unfilled(what: &str, error: &reveal::Error) -> NodeError {
    let kind = match error {
        reveal::Error::Exhausted { resource, .. } => {
            return NodeError::no_resources(&format!("`{what}`: {error}"), *resource);
        }
        reveal::Error::Expression(error) => return NodeError::of_expression(what, error),
        reveal::Error::NotShared(_)
        | reveal::Error::NotSet(_)
        | reveal::Error::Blanks(_)
        | reveal::Error::NoFolder
        | reveal::Error::Unreadable { .. }
        | reveal::Error::TooLong(_) => FailureKind::BadInput,
    };
    NodeError::refused(kind, format!("`{what}`: {error}"))
}
