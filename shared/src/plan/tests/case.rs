//! A run in memory: what the store would keep of it, and the few words that the tests speak in.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, Values};
use crate::graph::Graph;
use crate::id::{Fence, RunId, TaskId};
use crate::outcome::{Failure, FailureKind, Outcome};
use crate::plan::{Base, Error, PlanInput, Planned, Then, plan};
use crate::submission::RunSpec;
use crate::task::{Dispatch, NewTask, Task, TaskState};
use crate::time::Timestamp;

/// A run in memory.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) graph: Graph,
    pub(super) run: RunId,
    pub(super) depth: u32,
    pub(super) spec: RunSpec,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) values: Values,
    pub(super) tasks: Vec<Task>,
    pub(super) new_tasks: Vec<NewTask>,
    pub(super) resumed: bool,
    pub(super) base: Option<Base>,
    pub(super) children: BTreeMap<TaskId, Values>,
    pub(super) run_deadline: Option<Timestamp>,
}

pub(super) fn graph(definition: Value) -> Graph {
    serde_json::from_value(definition).unwrap()
}

pub(super) fn values(value: Value) -> Values {
    serde_json::from_value(value).unwrap()
}

pub(super) fn node(name: &str) -> Value {
    json!({"kind": "rust", "handler": name})
}

/// A graph of rust nodes with these names, channels and edges. An edge reads `[from, to]` or `[from, to, more]`, where
/// `from` is a name, a list of names, or null for START, `to` a name or null for END, and `more` the edge's other fields.
pub(super) fn wired(nodes: &[&str], state: &Value, edges: &Value) -> Graph {
    let nodes: BTreeMap<_, _> = nodes.iter().map(|name| (*name, node(name))).collect();
    graph(json!({"name": "g", "state": state, "nodes": nodes, "edges": edge_list(edges)}))
}

pub(super) fn edge_list(edges: &Value) -> Value {
    let edge = |edge: &Value| {
        let from = match &edge[0] {
            Value::Null => json!([]),
            Value::String(name) => json!([name]),
            names => names.clone(),
        };
        let to = if edge[1].is_null() { json!("end") } else { json!({"node": edge[1]}) };
        let mut whole = json!({"from": from, "to": to});
        if let Some(more) = edge[2].as_object() {
            whole.as_object_mut().unwrap().extend(more.clone());
        }
        whole
    };
    edges.as_array().unwrap().iter().map(edge).collect()
}

pub(super) fn settled(id: &TaskId, outcome: Outcome) -> Task {
    Task { outcome: Some(outcome), ..unsettled(id, TaskState::Settled) }
}

pub(super) fn unsettled(id: &TaskId, state: TaskState) -> Task {
    Task {
        id: id.clone(),
        state,
        attempts: 1,
        crashes_uncounted: 0,
        crashes: 0,
        fence: Fence::new(1),
        worker: None,
        started_at: None,
        settled_at: None,
        outcome: None,
        payload: None,
        last_failure: None,
        proof: None,
        handed_back: None,
    }
}

pub(super) fn wrote(writes: Value) -> Outcome {
    Outcome::wrote(values(writes))
}

pub(super) fn failed(message: &str) -> Outcome {
    Outcome::Failed { failure: Failure::new(FailureKind::Handler, message) }
}

pub(super) fn went(goto: &[&str]) -> Outcome {
    Outcome::Succeeded { writes: Values::new(), goto: goto.iter().map(|name| (*name).to_owned()).collect() }
}

impl Case {
    pub(super) fn new(graph: Graph) -> Self {
        Self {
            graph,
            run: RunId::new("r1").unwrap(),
            depth: 0,
            spec: RunSpec::default(),
            checkpoint: None,
            values: Values::new(),
            tasks: Vec::new(),
            new_tasks: Vec::new(),
            resumed: false,
            base: None,
            children: BTreeMap::new(),
            run_deadline: None,
        }
    }

    pub(super) fn with_input(mut self, input: Value) -> Self {
        self.spec.input = values(input);
        self
    }

    /// What the planner says of it as it stands.
    pub(super) fn planned(&self) -> Result<Planned, Error> {
        plan(&PlanInput {
            graph: &self.graph,
            run: &self.run,
            depth: self.depth,
            spec: &self.spec,
            checkpoint: self.checkpoint.as_ref(),
            values: &self.values,
            tasks: &self.tasks,
            resumed: self.resumed,
            base: self.base.as_ref(),
            children: &self.children,
            now: Timestamp::from_millis(1_000),
            run_deadline: self.run_deadline,
            evaluator: &crate::expr::Here,
        })
    }

    /// Plans, and writes it as a store would.
    pub(super) fn advance(&mut self) -> Then {
        let planned = self.planned().expect("the records fit");
        if let Some(checkpoint) = planned.checkpoint {
            self.checkpoint = Some(checkpoint);
            self.values.extend(planned.changed);
            self.tasks.clear();
            self.new_tasks.clear();
        }
        if let Then::Step { tasks, .. } = &planned.then {
            self.tasks = tasks.iter().map(made).collect();
            self.new_tasks.clone_from(tasks);
            self.resumed = false;
        }
        planned.then
    }

    /// Settles every open task whose node is named, and every other one with a success that writes nothing.
    pub(super) fn settle(&mut self, outcomes: &[(&str, Outcome)]) -> &mut Self {
        for task in self.tasks.iter_mut().filter(|task| task.state != TaskState::Settled) {
            let named =
                |name: &str| name == task.id.node.as_str() || name == format!("{}:{}", task.id.node, task.id.item);
            let outcome = outcomes.iter().find(|(name, _)| named(name)).map(|(_, outcome)| outcome.clone());
            *task = settled(&task.id, outcome.unwrap_or_else(|| wrote(json!({}))));
        }
        self
    }

    /// Settles the step and plans the next one.
    pub(super) fn step(&mut self, outcomes: &[(&str, Outcome)]) -> Then {
        self.settle(outcomes).advance()
    }

    pub(super) fn state(&self) -> Value {
        serde_json::to_value(&self.values).unwrap()
    }

    pub(super) fn last(&self) -> &Checkpoint {
        self.checkpoint.as_ref().expect("there is a checkpoint")
    }
}

fn made(task: &NewTask) -> Task {
    match &task.dispatch {
        Dispatch::Settled { outcome } => settled(&task.id, outcome.clone()),
        Dispatch::Human { .. } => unsettled(&task.id, TaskState::Human),
        Dispatch::Wait { .. } => unsettled(&task.id, TaskState::Waiting),
        Dispatch::Child { .. } => unsettled(&task.id, TaskState::Child),
        Dispatch::Queue { .. } => unsettled(&task.id, TaskState::Queued),
        Dispatch::Pending { .. } | Dispatch::PendingChild { .. } => unsettled(&task.id, TaskState::Pending),
    }
}

/// A plan in a line: `step 2: a b:1`, `pause 2`, `succeed`, `fail: …` with the cause of its order.
pub(super) fn said(then: &Then) -> String {
    match then {
        Then::Step { step, tasks, .. } => {
            let name = |task: &NewTask| match task.id.item {
                0 => task.id.node.to_string(),
                item => format!("{}:{item}", task.id.node),
            };
            format!("step {step}: {}", tasks.iter().map(name).collect::<Vec<_>>().join(" "))
        }
        Then::Pause { step } => format!("pause {step}"),
        Then::Succeed => "succeed".to_owned(),
        Then::Fail { failure, order } => {
            let cause = order.as_ref().map(|order| format!(" [{}]", order.cause)).unwrap_or_default();
            format!("fail{cause}: {} ({})", failure, failure.kind.name())
        }
    }
}
