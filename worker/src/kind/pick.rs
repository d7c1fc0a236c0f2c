//! What is written of an answer from the outside: expressions over the state and the answer's own names.

use std::collections::BTreeMap;

use coxswain_shared::expr::Program;
use coxswain_shared::graph::Expression;
use coxswain_shared::id::ChannelName;
use coxswain_shared::outcome::FailureKind;
use serde_json::{Map, Value};

use super::set::scope_of;
use crate::handler::{Context, NodeError};

/// The writes of a node's `output`, by channel.
pub(super) fn pick(
    ctx: &Context,
    output: &BTreeMap<ChannelName, Expression>,
    names: &[(&str, Value)],
) -> Result<Map<String, Value>, NodeError> {
    let scope = names.iter().fold(scope_of(ctx), |scope, (name, value)| scope.with(name, value));
    let picked = output.iter().map(|(channel, expression)| {
        let value = Program::compile(expression.0.as_str()).and_then(|program| program.eval(&scope));
        let refuse = |error| NodeError::refused(FailureKind::Expression, format!("`output.{channel}`: {error}"));
        Ok((channel.as_str().to_owned(), value.map_err(refuse)?))
    });
    picked.collect()
}
