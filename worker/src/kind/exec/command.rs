//! What a child is started with: program, arguments, environment, input.

use std::collections::BTreeMap;
use std::io;

use coxswain_shared::checkpoint::Values;
use coxswain_shared::exhaustion::Resource;
use coxswain_shared::expr::{Scope, Template};
use coxswain_shared::graph::{ExecNode, NodeKind};
use coxswain_shared::outcome::FailureKind;
use serde::Serialize;
use serde_json::Value;

use super::mark::Mark;
use super::supervisor::Job;
use crate::exec_limits::ExecLimits;
use crate::handler::{Context, NodeError};
use crate::kind::set::scope_of;

/// The longest value that is put into the environment; longer ones are on standard input only.
const VALUE_BYTES_MAX: usize = 4 * 1024;
/// Values of the state and the item that are put into the environment, all together.
const VALUES_BYTES_MAX: usize = 64 * 1024;

/// A child as it is to be started.
#[derive(Debug)]
pub(super) struct Start {
    /// What its supervisor is told.
    pub(super) job: Job,
    /// Its whole environment.
    pub(super) environment: BTreeMap<String, String>,
    /// The folder it starts in.
    pub(super) cwd: Option<String>,
}

/// What all children of a worker are started with, beside what their nodes say.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    /// Variables of the worker.
    pub(super) passed_on: Vec<(String, String)>,
    /// Their limits.
    pub(super) limits: ExecLimits,
    /// By which they are found if the worker is killed with their supervisors.
    pub(super) mark: Option<Mark>,
}

/// A child that is ready to be started.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) start: Start,
    /// What it is written on its standard input.
    pub(super) input: Vec<u8>,
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
    pub(super) fn new(ctx: &Context, setting: &Setting) -> Result<Self, NodeError> {
        let NodeKind::Exec(node) = &ctx.definition().kind else {
            unreachable!("the registry hands each kind its own nodes");
        };
        let start = Start::new(node, environment(ctx, node, setting)?, setting)?;
        let whole = ctx.input();
        let input = Stdin { state: ctx.state(), item: ctx.item(), index: ctx.index(), input: &whole };
        let input = serde_json::to_vec(&input).expect("JSON values serialise");
        Ok(Self { start, input })
    }
}

impl Start {
    /// The child of a node.
    pub(super) fn new(
        node: &ExecNode,
        environment: BTreeMap<String, String>,
        setting: &Setting,
    ) -> Result<Self, NodeError> {
        let Some((program, arguments)) = node.command.split_first() else {
            return Err(NodeError::refused(FailureKind::BadInput, "its command is empty: name a program"));
        };
        if node.command.iter().any(|part| part.contains('\0')) {
            return Err(NodeError::refused(
                FailureKind::BadInput,
                "its command has a NUL in it, which no program takes",
            ));
        }
        let job = Job {
            program: program.clone(),
            arguments: arguments.to_vec(),
            mark: Mark::variable(setting.mark.as_ref()),
            limits: setting.limits,
        };
        Ok(Self { job, environment, cwd: node.cwd.clone() })
    }

    /// The error of a child that could not be started.
    pub(super) fn failed(&self, error: &io::Error) -> NodeError {
        not_started(&self.job.program, self.cwd.as_deref(), error)
    }
}

/// The child's environment: the later ones prevail, and ours prevail over all.
fn environment(ctx: &Context, node: &ExecNode, setting: &Setting) -> Result<BTreeMap<String, String>, NodeError> {
    let mut environment: BTreeMap<_, _> = setting.passed_on.iter().cloned().collect();
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

fn not_started(program: &str, cwd: Option<&str>, error: &io::Error) -> NodeError {
    let place = cwd.map_or_else(String::new, |cwd| format!(" in the folder `{cwd}`"));
    let message = format!("the program `{program}` cannot be started{place}: {error}");
    if let Some(resource) = Resource::behind_start(error) {
        return NodeError::no_resources(&message, resource);
    }
    match error.kind() {
        io::ErrorKind::Interrupted | io::ErrorKind::Other | io::ErrorKind::BrokenPipe => NodeError::retryable(message),
        _ => NodeError::refused(FailureKind::BadInput, message),
    }
}
