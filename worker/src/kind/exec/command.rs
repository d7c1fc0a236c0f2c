//! What a child is started with: program, arguments, environment, input.

use std::collections::BTreeMap;
use std::io;
use std::process::Stdio;

use coxswain_shared::checkpoint::Values;
use coxswain_shared::expr::{Scope, Template};
use coxswain_shared::graph::{ExecNode, NodeKind};
use coxswain_shared::outcome::FailureKind;
use serde::Serialize;
use serde_json::Value;
use tokio::process::Command;

use super::guard::Guard;
use crate::handler::{Context, NodeError};
use crate::kind::set::scope_of;

/// The longest value that is put into the environment; longer ones are on standard input only.
const VALUE_BYTES_MAX: usize = 4 * 1024;
/// Values of the state and the item that are put into the environment, all together.
const VALUES_BYTES_MAX: usize = 64 * 1024;

/// A child that is ready to be started.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) command: Command,
    /// What it is written on its standard input.
    pub(super) input: Vec<u8>,
    /// The program's name, for messages.
    pub(super) program: String,
    /// The folder it starts in, for messages.
    pub(super) cwd: Option<String>,
}

#[derive(Serialize)]
struct Stdin<'a> {
    state: &'a Values,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<&'a Value>,
    index: u32,
    input: &'a Value,
}

impl Prepared {
    pub(super) fn new(ctx: &Context, passed_on: Vec<(String, String)>, guard: &Guard) -> Result<Self, NodeError> {
        let NodeKind::Exec(node) = &ctx.definition().kind else {
            unreachable!("the registry hands each kind its own nodes");
        };
        let command = command(node, environment(ctx, node, passed_on)?, guard)?;
        let whole = ctx.input();
        let input = Stdin { state: ctx.state(), item: ctx.item(), index: ctx.index(), input: &whole };
        let input = serde_json::to_vec(&input).expect("JSON values serialise");
        Ok(Self { command, input, program: program_of(node).to_owned(), cwd: node.cwd.clone() })
    }
}

/// The program of a node, for messages.
pub(super) fn program_of(node: &ExecNode) -> &str {
    node.command.first().map_or("", String::as_str)
}

/// The command of a node's process, in a group of its own; refused if there is no such program.
pub(super) fn command(
    node: &ExecNode,
    environment: BTreeMap<String, String>,
    guard: &Guard,
) -> Result<Command, NodeError> {
    let Some((program, arguments)) = node.command.split_first() else {
        return Err(NodeError::refused(FailureKind::BadInput, "its command is empty: name a program"));
    };
    if !guard.finds(program, environment.get("PATH").map(String::as_str), node.cwd.as_deref()) {
        return Err(not_started(program, node.cwd.as_deref(), &io::ErrorKind::NotFound.into()));
    }
    let mut command = guard.command(program, arguments);
    command.env_clear().envs(environment);
    if let Some(cwd) = &node.cwd {
        command.current_dir(cwd);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    Ok(command)
}

/// The child's environment: the later ones prevail, and ours prevail over all.
fn environment(
    ctx: &Context,
    node: &ExecNode,
    passed_on: Vec<(String, String)>,
) -> Result<BTreeMap<String, String>, NodeError> {
    let mut environment: BTreeMap<_, _> = passed_on.into_iter().collect();
    environment.extend(values_of(ctx));
    environment.extend(own_variables(node, &scope_of(ctx))?);
    environment.extend(identity(ctx).map(|(name, value)| (name.to_owned(), value)));
    Ok(environment)
}

/// The variables that a node sets, with their expressions filled in.
pub(super) fn own_variables(node: &ExecNode, scope: &Scope<'_>) -> Result<BTreeMap<String, String>, NodeError> {
    let variable = |(name, template): (&String, &String)| {
        let refuse = |why: String| NodeError::refused(FailureKind::Expression, format!("`env.{name}`: {why}"));
        let value = Template::compile(template.as_str()).and_then(|template| template.render(scope));
        let value = value.map_err(|error| NodeError::of_expression(&format!("env.{name}"), &error))?;
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(refuse("a variable has a name without `=`, and neither has a NUL in it".to_owned()));
        }
        Ok((name.clone(), value))
    };
    node.env.iter().map(variable).collect()
}

fn identity(ctx: &Context) -> [(&'static str, String); 9] {
    [
        ("COX_RUN", ctx.run().to_string()),
        ("COX_TASK", ctx.task().to_string()),
        ("COX_NODE", ctx.node().to_string()),
        ("COX_ATTEMPT", ctx.attempt().to_string()),
        ("COX_FENCE", ctx.fence().to_string()),
        ("COX_IDEMPOTENCY_KEY", ctx.idempotency_key()),
        ("COX_DEADLINE_MS", ctx.remaining().as_millis().to_string()),
        ("COX_DEADLINE_AT", ctx.assignment().deadline_at.to_string()),
        ("COX_GRACE_MS", ctx.grace().as_millis().to_string()),
    ]
}

/// The scalars of the state and the item, as far as they fit.
fn values_of(ctx: &Context) -> Vec<(String, String)> {
    let state = ctx.state().iter().map(|(name, value)| (format!("COX_STATE_{}", upper(name.as_str())), value));
    let item = ctx.item().into_iter().map(|item| ("COX_ITEM".to_owned(), item));
    let fields = ctx.item().and_then(Value::as_object).into_iter().flatten();
    let fields = fields.map(|(name, value)| (format!("COX_ITEM_{}", upper(name)), value));
    let mut left = VALUES_BYTES_MAX;
    let fits = |(name, value): (String, &Value)| {
        let value = scalar(value)?;
        left = left.checked_sub(name.len() + value.len())?;
        Some((name, value))
    };
    state.chain(item).chain(fields).filter_map(fits).collect()
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) if text.len() <= VALUE_BYTES_MAX && !text.contains('\0') => Some(text.clone()),
        Value::String(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn upper(name: &str) -> String {
    name.chars().take(128).map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// The error of a program that could not be started.
pub(super) fn not_started(program: &str, cwd: Option<&str>, error: &io::Error) -> NodeError {
    let place = cwd.map_or_else(String::new, |cwd| format!(" in the folder `{cwd}`"));
    let message = format!("the program `{program}` cannot be started{place}: {error}");
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory | io::ErrorKind::Interrupted => {
            NodeError::retryable(message)
        }
        _ => NodeError::refused(FailureKind::BadInput, message),
    }
}
