//! Child runs: what a `graph` node starts, and what its parent makes of the child's final state.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::edges::expression_failure;
use super::input::PlanInput;
use crate::checkpoint::Values;
use crate::expr::{Program, Scope};
use crate::graph::{Expression, Graph, GraphNode, Node};
use crate::id::{ChannelName, GraphHash, NAME_LENGTH_MAX, NodeName, RunId, TaskId, ThreadId};
use crate::limits::CHILD_DEPTH_MAX;
use crate::outcome::{Failure, FailureKind, Writes};
use crate::submission::{NewRun, OnConflict, Parent, RunSpec, Start};

/// The shortest time that a run can be given.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// Where a child run starts.
pub(super) struct Place<'a> {
    pub(super) input: &'a PlanInput<'a>,
    pub(super) task: &'a TaskId,
    pub(super) node: &'a Node,
    pub(super) graph: &'a GraphNode,
    /// The hash of the child's graph.
    pub(super) hash: GraphHash,
}

/// The child run of a task.
pub(super) fn run(place: &Place<'_>, values: &Values, scope: &Scope<'_>) -> Result<NewRun, Failure> {
    let Place { input, task, node, graph, .. } = *place;
    let depth = input.depth.saturating_add(1);
    if depth > CHILD_DEPTH_MAX {
        let message = format!("its child run would be nested {depth} deep, more than {CHILD_DEPTH_MAX}");
        return Err(Failure::new(FailureKind::Exhausted, message).at(&task.node));
    }
    let child_input = match &graph.input {
        Some(expressions) => evaluate(expressions, scope, "input").map_err(|failure| failure.at(&task.node))?,
        None => same_named(&graph.graph, node.reads.as_deref(), values),
    };
    let id = run_id(input.run, task);
    Ok(NewRun {
        thread: ThreadId::new(id.as_str()).expect("a run id is a name, and so is a thread id"),
        id,
        graph: graph.graph.name.clone(),
        graph_hash: place.hash.clone(),
        on_conflict: OnConflict::Reject,
        run_timeout: timeout(input, node, &graph.graph),
        parent: Some(Parent { run: input.run.clone(), task: task.clone(), depth }),
        spec: RunSpec {
            input: child_input,
            start: Start::Fresh,
            interrupt_before: Vec::new(),
            interrupt_after: Vec::new(),
            labels: BTreeMap::new(),
            actor: input.spec.actor.clone(),
            reason: None,
            max_steps: None,
            budget: graph.graph.limits.budget,
            priority: input.spec.priority,
        },
    })
}

/// What a child run that has ended well writes to its parent's state. The error is a failure of the task.
pub(super) fn output(input: &PlanInput<'_>, task: &TaskId, child: &RunId) -> Result<Writes, Failure> {
    let (node, graph) = graph_node(input.graph, &task.node).ok_or_else(|| {
        Failure::new(FailureKind::BadInput, "a child run has ended for it, but it is no `graph` node")
    })?;
    let values = input.children.get(task).ok_or_else(|| {
        Failure::new(FailureKind::Child, format!("the state of its child run `{child}` is not there"))
    })?;
    let result = match &graph.output {
        Some(expressions) => evaluate(expressions, &Scope::of(values, input.evaluator), "output")?,
        None if node.into.is_some() => values.clone(),
        None => same_named(input.graph, None, values),
    };
    Ok(match &node.into {
        Some(channel) => {
            let whole = result.into_iter().map(|(name, value)| (name.as_str().to_owned(), value)).collect();
            Writes::from([(channel.clone(), serde_json::Value::Object(whole))])
        }
        None => result,
    })
}

fn graph_node<'a>(graph: &'a Graph, name: &NodeName) -> Option<(&'a Node, &'a GraphNode)> {
    let node = graph.nodes.get(name)?;
    Some((node, node.kind.child()?))
}

/// Those of the values whose channels a graph declares, and that are among `reads` if there is such a list.
fn same_named(graph: &Graph, reads: Option<&[ChannelName]>, values: &Values) -> Values {
    values
        .iter()
        .filter(|(name, _)| graph.state.contains_key(*name) && reads.is_none_or(|reads| reads.contains(name)))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn evaluate(expressions: &BTreeMap<ChannelName, Expression>, scope: &Scope<'_>, what: &str) -> Result<Values, Failure> {
    let value = |channel: &ChannelName, expression: &Expression| {
        Program::compile(expression.0.as_str())
            .and_then(|program| program.eval(scope))
            .map_err(|source| expression_failure(format!("the expression of its `{what}.{channel}` failed"), source))
    };
    expressions.iter().map(|(channel, expression)| Ok((channel.clone(), value(channel, expression)?))).collect()
}

/// The least of the child's own time, its task's, and what its parent has left.
fn timeout(input: &PlanInput<'_>, node: &Node, child: &Graph) -> Duration {
    let left = input.run_deadline.map_or(Duration::MAX, |deadline| deadline.since(input.now));
    child.limits.run_timeout.min(node.policy.timeout()).min(left).max(TIMEOUT_MIN)
}

/// The id of the child run that stands for a task: `run.step.node.item`, the same for the same task, and for no other. Where that would be too long, or where the node's name
/// has a dot and so could be read in two ways, a hash takes the place of its end.
pub fn run_id(run: &RunId, task: &TaskId) -> RunId {
    let plain = format!("{run}.{}.{}.{}", task.step, task.node, task.item);
    let text = if plain.len() <= NAME_LENGTH_MAX && !task.node.as_str().contains('.') {
        plain
    } else {
        let hash = hex(&Sha256::digest(format!("{run}:{task}").as_bytes())[..16]);
        // Names are ASCII, so every place is a character's.
        let kept: String = plain.chars().take(NAME_LENGTH_MAX - hash.len() - 1).collect();
        format!("{kept}.{hash}")
    };
    RunId::new(text).expect("names and numbers with dots between them are a name, and it is short enough")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(run: &str, task: &str) -> RunId {
        run_id(&RunId::new(run).unwrap(), &task.parse().unwrap())
    }

    #[test]
    fn a_child_is_named_after_its_task() {
        assert_eq!(id("r1", "3:work:7").as_str(), "r1.3.work.7");
    }

    #[test]
    fn a_long_name_is_bounded_and_stays_unique() {
        let long = "r".repeat(NAME_LENGTH_MAX);
        let ids: std::collections::BTreeSet<_> = (0..100).map(|item| id(&long, &format!("3:work:{item}"))).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.as_str().len() == NAME_LENGTH_MAX));
        assert_eq!(id(&long, "3:work:1"), id(&long, "3:work:1"));
    }

    #[test]
    fn names_with_dots_do_not_meet() {
        assert_ne!(id("x.1.n.0", "2:m:0"), id("x", "1:n.0.2.m:0"));
    }
}
