//! The definition as data: what a file says after it was checked, and what is stored as canonical JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fan_out::FanOut;
use super::llm::LlmNode;
use super::outside::HttpNode;
use super::policy::Policy;
use super::vector::{VectorSearchNode, VectorUpsertNode};
use crate::duration;
use crate::id::{ChannelName, GraphName, NodeName, PoolName};
use crate::spend::Budget;

/// The name in files of the place before the first node.
pub const START: &str = "START";
/// The name in files, and in a task's `goto`, of the place after the last node.
pub const END: &str = "END";

/// A graph: nodes wired over a state of named channels. Only the parser and the builder make one, and both check it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Graph {
    /// Its name.
    pub name: GraphName,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The channels of its state.
    #[serde(default)]
    pub state: BTreeMap<ChannelName, Channel>,
    /// Its nodes.
    pub nodes: BTreeMap<NodeName, Node>,
    /// Its edges, in the order of the file.
    pub edges: Vec<Edge>,
    /// Its limits.
    #[serde(default)]
    pub limits: GraphLimits,
}

/// A slot of the state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// How writes are put into it.
    #[serde(default)]
    pub reducer: Reducer,
    /// Its value before the first write; none: it is absent until then (`append` and `messages` start as `[]`, `add` as 0, `merge` as `{}`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// How writes are put into a channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reducer {
    /// The write replaces the value; two writers in one step are a conflict.
    #[default]
    Last,
    /// A list grows by the write: by each of its elements if it is a list, else by itself.
    Append,
    /// A number grows by the write.
    Add,
    /// An object takes over the write's keys; nested objects are merged.
    Merge,
    /// A list of messages: one with a known `id` replaces, others are appended.
    Messages,
}

impl Reducer {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Last, Self::Append, Self::Add, Self::Merge, Self::Messages];

    /// The reducer's name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Append => "append",
            Self::Add => "add",
            Self::Merge => "merge",
            Self::Messages => "messages",
        }
    }
}

/// A place in a graph that does something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// What it does.
    #[serde(flatten)]
    pub kind: NodeKind,
    /// The workers it runs on.
    #[serde(default = "PoolName::standard")]
    pub pool: PoolName,
    /// The channel that its whole result is written to; without it the result is an object of writes by channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<ChannelName>,
    /// The channels it is handed. Absent: all of them; for a fanned-out node: none beside its item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<Vec<ChannelName>>,
    /// Its limits, retries, and what a failure does.
    #[serde(flatten)]
    pub policy: Policy,
}

/// What a node does. Each kind's fields stand beside `kind` in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NodeKind {
    /// A handler that is registered with the worker.
    Rust(RustNode),
    /// A child process.
    Exec(ExecNode),
    /// A request over HTTP.
    Http(HttpNode),
    /// A call of a language model.
    Llm(Box<LlmNode>),
    /// A search in a collection of vectors.
    VectorSearch(Box<VectorSearchNode>),
    /// Items put into a collection of vectors.
    VectorUpsert(Box<VectorUpsertNode>),
    /// Expressions over the state.
    Set(SetNode),
    /// The passing of time.
    Wait(WaitNode),
    /// A human.
    Interrupt(InterruptNode),
    /// A child run.
    Graph(GraphNode),
}

impl NodeKind {
    /// The child run that stands for such a node's tasks.
    pub const fn child(&self) -> Option<&GraphNode> {
        match self {
            Self::Graph(child) => Some(child),
            Self::Rust(_)
            | Self::Exec(_)
            | Self::Http(_)
            | Self::Llm(_)
            | Self::VectorSearch(_)
            | Self::VectorUpsert(_)
            | Self::Set(_)
            | Self::Wait(_)
            | Self::Interrupt(_) => None,
        }
    }

    /// Whether its work is a call to the outside, which watches the limits of a call itself.
    pub const fn is_outside(&self) -> bool {
        match self {
            Self::Http(_) | Self::Llm(_) | Self::VectorSearch(_) | Self::VectorUpsert(_) => true,
            Self::Rust(_) | Self::Exec(_) | Self::Set(_) | Self::Wait(_) | Self::Interrupt(_) | Self::Graph(_) => false,
        }
    }

    /// The kind's name in files, tables and labels.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Rust(_) => "rust",
            Self::Exec(_) => "exec",
            Self::Http(_) => "http",
            Self::Llm(_) => "llm",
            Self::VectorSearch(_) => "vector_search",
            Self::VectorUpsert(_) => "vector_upsert",
            Self::Set(_) => "set",
            Self::Wait(_) => "wait",
            Self::Interrupt(_) => "interrupt",
            Self::Graph(_) => "graph",
        }
    }
}

/// A handler that is registered with the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RustNode {
    /// The name it is registered under.
    pub handler: String,
    /// What the handler is told beside its input.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub with: Value,
}

/// A child process in a process group of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecNode {
    /// The program and its arguments; nothing is expanded. The program is looked up in `PATH`.
    pub command: Vec<String>,
    /// Variables set for it, beside the few that the worker passes on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The folder it starts in; the worker's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Whether it is kept for further tasks of every node with the same command, variables and folder, and speaks lines
    /// of JSON; otherwise it is started for each try.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub warm: bool,
    /// Which function of a warm process is meant; the node's name where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
}

/// An expression of minijinja, such as `count > 3`; the channels and `item` are its names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Expression(pub String);

/// Expressions over the state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetNode {
    /// What is written: an expression for each channel.
    pub set: BTreeMap<ChannelName, Expression>,
}

/// The passing of time. It holds no worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaitNode {
    /// How long.
    #[serde(rename = "for", with = "duration")]
    pub length: Duration,
}

/// A pause for a human, whose answer is written like a node's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InterruptNode {
    /// What the human is shown: an expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub show: Option<Expression>,
}

/// A child run: its stop follows the parent's, its deadline is what the task has left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GraphNode {
    /// The child's graph, whole.
    pub graph: Box<Graph>,
    /// The child's input: an expression for each of its channels. Absent: the parent's channels of the same names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<BTreeMap<ChannelName, Expression>>,
    /// What is written when the child has ended: an expression over the child's state for each channel. Absent: the
    /// child's channels of the same names; with `into`, the child's whole state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<BTreeMap<ChannelName, Expression>>,
}

/// One edge. All edges of a node whose condition holds are taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// Where it starts: one node; several for a join, which waits until all of them have run since it last fired; none for START.
    pub from: Vec<NodeName>,
    /// Where it leads.
    pub to: EdgeTarget,
    /// When it is taken.
    #[serde(default, skip_serializing_if = "Condition::is_always")]
    pub when: Condition,
    /// Fans the target out over the list that this expression gives: one task an item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<Expression>,
    /// How the items of that fan-out are dealt with together.
    #[serde(default, skip_serializing_if = "FanOut::is_plain")]
    pub fan_out: FanOut,
}

/// Where an edge leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeTarget {
    /// To a node.
    Node(NodeName),
    /// Out of the graph.
    End,
}

/// When an edge is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Always.
    #[default]
    Always,
    /// When the expression is true.
    If(Expression),
    /// When no `If` edge of the same node is taken.
    Otherwise,
}

impl Condition {
    /// Whether it always holds.
    pub const fn is_always(&self) -> bool {
        matches!(self, Self::Always)
    }
}

/// The limits of a graph's runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GraphLimits {
    /// The whole run, from its start.
    #[serde(with = "duration")]
    pub run_timeout: Duration,
    /// Steps; one more ends the run (cause `loop`).
    pub max_steps: u64,
    /// Node runs; one more ends the run (cause `budget`).
    pub node_runs: u64,
    /// How often a node may run with the same input, or the run be in the same state; then it is ended (cause `loop`).
    #[serde(skip_serializing_if = "is_usual_repeats")]
    pub max_repeats: u64,
    /// What may be spent at models; more ends the run (cause `budget`).
    #[serde(skip_serializing_if = "Budget::is_unlimited")]
    pub budget: Budget,
}

/// Whether it is what holds where a graph says nothing: left out, so that a graph without it keeps its hash.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_usual_repeats(repeats: &u64) -> bool {
    *repeats == crate::limits::MAX_REPEATS
}

impl Default for GraphLimits {
    fn default() -> Self {
        Self {
            run_timeout: crate::limits::Limit::RunTimeout.default(),
            max_steps: crate::limits::MAX_STEPS,
            node_runs: crate::limits::NODE_RUNS,
            max_repeats: crate::limits::MAX_REPEATS,
            budget: Budget::default(),
        }
    }
}
