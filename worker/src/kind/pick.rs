//! What is written of an answer from the outside: expressions over the state and the answer's own names.

use std::collections::BTreeMap;

use coxswain_shared::graph::Expression;
use coxswain_shared::id::ChannelName;
use serde_json::{Map, Value};

use super::set::{scope_of, writes};
use crate::handler::{Context, NodeError};

/// The writes of a node's `output`, by channel.
pub(super) fn pick(
    ctx: &Context,
    output: &BTreeMap<ChannelName, Expression>,
    names: &[(&str, Value)],
) -> Result<Map<String, Value>, NodeError> {
    let scope = names.iter().fold(scope_of(ctx), |scope, (name, value)| scope.with(name, value));
    writes("output", output, &scope)
}
