//! The kind `set`: expressions over the state, each written to a channel.

use std::collections::BTreeMap;

use coxswain_shared::expr::{Program, Scope};
use coxswain_shared::graph::{Expression, NodeKind, SetNode};
use coxswain_shared::id::ChannelName;
use serde_json::{Map, Value};

use super::{Kind, Work};
use crate::handler::{Context, NodeError, Reply};

/// Expressions over the state.
#[derive(Debug)]
pub(crate) struct SetKind;

impl Kind for SetKind {
    fn name(&self) -> &'static str {
        "set"
    }

    fn start(&self, ctx: Context) -> Result<Work, NodeError> {
        Ok(Work::new(async move { evaluate(&ctx).map(Reply::update) }))
    }
}

fn evaluate(ctx: &Context) -> Result<Map<String, Value>, NodeError> {
    let NodeKind::Set(SetNode { set }) = &ctx.definition().kind else {
        unreachable!("the registry hands each kind its own nodes");
    };
    writes("set", set, &scope_of(ctx))
}

/// What expressions by channel write; `field` is the node's field that they stand in.
pub(crate) fn writes(
    field: &str,
    expressions: &BTreeMap<ChannelName, Expression>,
    scope: &Scope<'_>,
) -> Result<Map<String, Value>, NodeError> {
    let written = expressions.iter().map(|(channel, expression)| {
        let value = Program::compile(expression.0.as_str()).and_then(|program| program.eval(scope));
        let value = value.map_err(|error| NodeError::of_expression(&format!("{field}.{channel}"), &error))?;
        Ok((channel.as_str().to_owned(), value))
    });
    written.collect()
}

/// The names that a node's expressions and templates can use: the channels it reads, and its item.
pub(crate) fn scope_of(ctx: &Context) -> Scope<'_> {
    let scope = Scope::of(ctx.state(), ctx.evaluations());
    match ctx.item() {
        Some(item) => scope.with_item(item, usize::try_from(ctx.index()).unwrap_or(usize::MAX)),
        None => scope,
    }
}
