//! What becomes of one task's outcome: its writes, the node's fallback or handler, or the end of the run.

use std::borrow::Cow;

use serde_json::json;

use super::child;
use super::edges::known;
use super::input::PlanInput;
use crate::checkpoint::Ran;
use crate::graph::{END, Node, OnFailure};
use crate::id::{ChannelName, NodeName};
use crate::outcome::{Failure, FailureKind, Outcome, Writes};
use crate::run::RunStatus;
use crate::task::Task;

/// The channel that a handled failure is written to, if the graph declares it.
pub(super) const FAILURE_CHANNEL: &str = "failure";

/// What becomes of one task's outcome.
#[derive(Debug)]
pub(super) struct Judged<'a> {
    /// The task.
    pub(super) task: &'a Task,
    /// The outcome.
    pub(super) outcome: &'a Outcome,
    /// What it writes.
    pub(super) writes: Cow<'a, Writes>,
    /// Nodes that it makes due by itself.
    pub(super) goto: Vec<NodeName>,
    /// Whether its node's edges are followed.
    pub(super) through: bool,
    /// Its failure, if it failed.
    pub(super) failure: Option<Failure>,
    /// What became of the failure.
    pub(super) handled: Option<String>,
}

impl Judged<'_> {
    /// Its line in history.
    pub(super) fn ran(&self) -> Ran {
        let task = self.task;
        Ran {
            task: task.id.clone(),
            outcome: self.outcome.kind(),
            attempts: task.attempts,
            crashes: task.crashes,
            crashes_uncounted: task.crashes_uncounted,
            started_at: task.started_at,
            settled_at: task.settled_at,
            wrote: self.writes.keys().cloned().collect(),
            failure: self.failure.clone(),
            handled: self.handled.clone(),
        }
    }

    /// The failure as its handler reads it.
    pub(super) fn failure_value(&self) -> Option<(ChannelName, serde_json::Value)> {
        let failure = self.failure.as_ref()?;
        let told = Failure { node: None, ..failure.clone() };
        let value = json!({
            "node": self.task.id.node.as_str(),
            "kind": failure.kind.name(),
            "message": told.to_string(),
            "outcome": self.outcome.kind().name(),
        });
        Some((ChannelName::new(FAILURE_CHANNEL).ok()?, value))
    }
}

/// Judges one outcome by itself. The error is a failure that ends the run.
pub(super) fn judge<'a>(input: &PlanInput<'a>, task: &'a Task, outcome: &'a Outcome) -> Result<Judged<'a>, Failure> {
    let name = &task.id.node;
    let Some(node) = input.graph.nodes.get(name) else {
        let message = known(input.graph, name.as_str(), "a task has run the node").err().unwrap_or_default();
        return Err(Failure::new(FailureKind::BadInput, message));
    };
    resolve(input, task, outcome)?
        .or_else(|failure| went_badly(input, node, failure.at(name), without_writes(task, outcome)))
}

/// What an outcome comes to: the task as it went, or its failure, of which its node has yet to say what it means. The
/// outer error ends the run.
pub(super) fn resolve<'a>(
    input: &PlanInput<'a>,
    task: &'a Task,
    outcome: &'a Outcome,
) -> Result<Result<Judged<'a>, Failure>, Failure> {
    let name = &task.id.node;
    Ok(match outcome {
        Outcome::Succeeded { writes, goto } => {
            let goto = goto_targets(input, name, goto)?;
            Ok(Judged { goto, ..went_well(task, outcome, Cow::Borrowed(writes)) })
        }
        Outcome::ChildEnded { status: RunStatus::Succeeded, run, .. } => {
            child::output(input, &task.id, run).map(|writes| went_well(task, outcome, Cow::Owned(writes)))
        }
        Outcome::ChildEnded { status, run, failure } => Err(Failure::of_child(run, *status, failure.as_deref())),
        Outcome::Failed { failure } | Outcome::TimedOut { failure, .. } | Outcome::Crashed { failure } => {
            Err(failure.clone())
        }
        Outcome::Stopped { skipped: true, .. } => Ok(without_writes(task, outcome)),
        Outcome::Stopped { why: None, .. } => Err(Failure::new(FailureKind::Stopped, "it was stopped")),
        Outcome::Stopped { why: Some(why), .. } => {
            Err(Failure::new(FailureKind::Stopped, format!("it was stopped {why}")))
        }
    })
}

/// A task that has written nothing.
pub(super) const fn without_writes<'a>(task: &'a Task, outcome: &'a Outcome) -> Judged<'a> {
    went_well(task, outcome, Cow::Owned(Writes::new()))
}

const fn went_well<'a>(task: &'a Task, outcome: &'a Outcome, writes: Cow<'a, Writes>) -> Judged<'a> {
    Judged { task, outcome, writes, goto: Vec::new(), through: true, failure: None, handled: None }
}

/// Does with a failure what its node asks for; `bare` is the task without writes.
pub(super) fn went_badly<'a>(
    input: &PlanInput<'a>,
    node: &'a Node,
    failure: Failure,
    bare: Judged<'a>,
) -> Result<Judged<'a>, Failure> {
    match &node.policy.on_failure {
        OnFailure::Fail => Err(failure),
        OnFailure::Continue(writes) => {
            let handled = Some("fallback".to_owned());
            Ok(Judged { writes: Cow::Borrowed(writes), failure: Some(failure), handled, ..bare })
        }
        OnFailure::Goto(target) => {
            let target = known(input.graph, target.as_str(), "its failure is handled by node")
                .map_err(|message| Failure::new(FailureKind::BadInput, message).at(&bare.task.id.node))?;
            let handled = Some(format!("goto {target}"));
            Ok(Judged { goto: vec![target.clone()], through: false, failure: Some(failure), handled, ..bare })
        }
    }
}

fn goto_targets(input: &PlanInput<'_>, name: &NodeName, goto: &[String]) -> Result<Vec<NodeName>, Failure> {
    goto.iter()
        .filter(|target| target.as_str() != END)
        .map(|target| known(input.graph, target, "it asked to go to node").cloned())
        .collect::<Result<_, _>>()
        .map_err(|message| Failure::new(FailureKind::BadOutput, message).at(name))
}
