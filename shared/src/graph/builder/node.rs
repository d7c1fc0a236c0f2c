//! Nodes by their kinds.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;

use crate::graph::finding::Findings;
use crate::graph::llm::LlmNode;
use crate::graph::model::{
    ExecNode, Expression, Graph, GraphNode, InterruptNode, Node, NodeKind, RustNode, SetNode, WaitNode,
};
use crate::graph::outside::HttpNode;
use crate::graph::place::Place;
use crate::graph::policy::{OnFailure, Policy, Retry};
use crate::graph::vector::{VectorSearchNode, VectorUpsertNode};
use crate::id::{ChannelName, NodeName, PoolName};

/// A node that is being described; its names are checked when the graph is built.
#[derive(Debug, Clone)]
pub struct NodeBuilder {
    kind: Kind,
    pool: Option<String>,
    into: Option<String>,
    reads: Option<Vec<String>>,
    policy: Policy,
    failure: Failure,
    misplaced: Vec<(&'static str, &'static str)>,
}

/// A kind whose names are not yet checked.
#[derive(Debug, Clone)]
enum Kind {
    Ready(NodeKind),
    Set(Vec<(String, String)>),
    Graph { graph: Box<Graph>, input: Option<Vec<(String, String)>>, output: Option<Vec<(String, String)>> },
}

#[derive(Debug, Clone)]
enum Failure {
    Fail,
    Continue(Vec<(String, Value)>),
    Goto(String),
}

impl Node {
    /// A handler that is registered with the worker under this name.
    pub fn rust(handler: impl Into<String>) -> NodeBuilder {
        NodeBuilder::new(NodeKind::Rust(RustNode { handler: handler.into(), with: Value::Null }))
    }

    /// A child process: a program and its arguments.
    pub fn exec(command: impl IntoIterator<Item = impl Into<String>>) -> NodeBuilder {
        let command = command.into_iter().map(Into::into).collect();
        NodeBuilder::new(NodeKind::Exec(ExecNode { command, env: BTreeMap::new(), cwd: None, warm: false, call: None }))
    }

    /// A request over HTTP, described by its fields: see [`HttpNode`].
    pub fn http(request: HttpNode) -> NodeBuilder {
        NodeBuilder::new(NodeKind::Http(request))
    }

    /// A call of a language model, described by its fields: see [`LlmNode`].
    pub fn llm(call: LlmNode) -> NodeBuilder {
        NodeBuilder::new(NodeKind::Llm(Box::new(call)))
    }

    /// A search in a collection of vectors, described by its fields: see [`VectorSearchNode`].
    pub fn vector_search(search: VectorSearchNode) -> NodeBuilder {
        NodeBuilder::new(NodeKind::VectorSearch(Box::new(search)))
    }

    /// Items put into a collection of vectors, described by its fields: see [`VectorUpsertNode`].
    pub fn vector_upsert(upsert: VectorUpsertNode) -> NodeBuilder {
        NodeBuilder::new(NodeKind::VectorUpsert(Box::new(upsert)))
    }

    /// Expressions over the state: what each channel is written.
    pub fn set(writes: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>) -> NodeBuilder {
        NodeBuilder::of(Kind::Set(pairs(writes)))
    }

    /// The passing of time.
    pub fn wait(length: Duration) -> NodeBuilder {
        NodeBuilder::new(NodeKind::Wait(WaitNode { length }))
    }

    /// A pause for a human, who is shown what this expression gives.
    pub fn interrupt(show: impl Into<String>) -> NodeBuilder {
        NodeBuilder::new(NodeKind::Interrupt(InterruptNode { show: Some(Expression(show.into())) }))
    }

    /// A child run of this graph.
    pub fn graph(graph: Graph) -> NodeBuilder {
        NodeBuilder::of(Kind::Graph { graph: Box::new(graph), input: None, output: None })
    }
}

impl NodeBuilder {
    const fn new(kind: NodeKind) -> Self {
        Self::of(Kind::Ready(kind))
    }

    const fn of(kind: Kind) -> Self {
        let policy = Policy {
            timeout: None,
            queue_timeout: None,
            attempt_timeout: None,
            connect_timeout: None,
            first_byte_timeout: None,
            idle_timeout: None,
            grace: None,
            retry: Retry::ONCE,
            max_crashes: None,
            on_failure: OnFailure::Fail,
        };
        Self { kind, pool: None, into: None, reads: None, policy, failure: Failure::Fail, misplaced: Vec::new() }
    }

    /// What the handler of a `rust` node is told beside its input.
    #[must_use]
    pub fn with(mut self, value: impl Into<Value>) -> Self {
        if let Kind::Ready(NodeKind::Rust(rust)) = &mut self.kind {
            rust.with = value.into();
        } else {
            self.misplaced.push(("with", "rust"));
        }
        self
    }

    /// A variable for the process of an `exec` node.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Kind::Ready(NodeKind::Exec(exec)) = &mut self.kind {
            exec.env.insert(name.into(), value.into());
        } else {
            self.misplaced.push(("env", "exec"));
        }
        self
    }

    /// The folder that the process of an `exec` node starts in.
    #[must_use]
    pub fn cwd(mut self, folder: impl Into<String>) -> Self {
        if let Kind::Ready(NodeKind::Exec(exec)) = &mut self.kind {
            exec.cwd = Some(folder.into());
        } else {
            self.misplaced.push(("cwd", "exec"));
        }
        self
    }

    /// Keeps the process of an `exec` node for further tasks; it speaks lines of JSON.
    #[must_use]
    pub fn warm(mut self) -> Self {
        if let Kind::Ready(NodeKind::Exec(exec)) = &mut self.kind {
            exec.warm = true;
        } else {
            self.misplaced.push(("warm", "exec"));
        }
        self
    }

    /// Which function of a warm process an `exec` node means; the node's name where this is not said.
    #[must_use]
    pub fn call(mut self, function: impl Into<String>) -> Self {
        if let Kind::Ready(NodeKind::Exec(exec)) = &mut self.kind {
            exec.call = Some(function.into());
        } else {
            self.misplaced.push(("call", "exec"));
        }
        self
    }

    /// What a `graph` node's child gets: an expression for each of its channels.
    #[must_use]
    pub fn input(mut self, writes: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>) -> Self {
        if let Kind::Graph { input, .. } = &mut self.kind {
            *input = Some(pairs(writes));
        } else {
            self.misplaced.push(("input", "graph"));
        }
        self
    }

    /// What is written when a `graph` node's child has ended: expressions over the child's state.
    #[must_use]
    pub fn output(mut self, writes: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>) -> Self {
        if let Kind::Graph { output, .. } = &mut self.kind {
            *output = Some(pairs(writes));
        } else {
            self.misplaced.push(("output", "graph"));
        }
        self
    }

    /// The workers it runs on.
    #[must_use]
    pub fn pool(mut self, pool: impl Into<String>) -> Self {
        self.pool = Some(pool.into());
        self
    }

    /// The channel that its whole result is written to.
    #[must_use]
    pub fn into(mut self, channel: impl Into<String>) -> Self {
        self.into = Some(channel.into());
        self
    }

    /// The channels it is handed.
    #[must_use]
    pub fn reads(mut self, channels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.reads = Some(channels.into_iter().map(Into::into).collect());
        self
    }

    /// How long the task may take, queueing and retries included.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.policy.timeout = Some(timeout);
        self
    }

    /// How long it may wait for a worker.
    #[must_use]
    pub const fn queue_timeout(mut self, timeout: Duration) -> Self {
        self.policy.queue_timeout = Some(timeout);
        self
    }

    /// How long one try may take.
    #[must_use]
    pub const fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.policy.attempt_timeout = Some(timeout);
        self
    }

    /// How long connecting to the outside may take.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.policy.connect_timeout = Some(timeout);
        self
    }

    /// How long the first byte or token of an answer from the outside may take.
    #[must_use]
    pub const fn first_byte_timeout(mut self, timeout: Duration) -> Self {
        self.policy.first_byte_timeout = Some(timeout);
        self
    }

    /// How long it may be silent.
    #[must_use]
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.policy.idle_timeout = Some(timeout);
        self
    }

    /// How long it may clean up after a stop.
    #[must_use]
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.policy.grace = Some(grace);
        self
    }

    /// How often a failed try is repeated.
    #[must_use]
    pub const fn retry(mut self, retry: Retry) -> Self {
        self.policy.retry = retry;
        self
    }

    /// How many crashes are allowed.
    #[must_use]
    pub const fn max_crashes(mut self, crashes: u32) -> Self {
        self.policy.max_crashes = Some(crashes);
        self
    }

    /// When it has failed for good, the run goes on as if it had written this.
    #[must_use]
    pub fn or_continue(mut self, writes: impl IntoIterator<Item = (impl Into<String>, impl Into<Value>)>) -> Self {
        self.failure = Failure::Continue(writes.into_iter().map(|(name, value)| (name.into(), value.into())).collect());
        self
    }

    /// When it has failed for good, the run goes on at this node.
    #[must_use]
    pub fn or_goto(mut self, node: impl Into<String>) -> Self {
        self.failure = Failure::Goto(node.into());
        self
    }

    /// The node. A name that cannot be read is noted and left out.
    pub(super) fn build(self, place: &Place, findings: &mut Findings) -> Node {
        for (field, kind) in self.misplaced {
            findings.error(&place.key(field), format!("only a node of kind `{kind}` has the field `{field}`"));
        }
        let kind = match self.kind {
            Kind::Ready(kind) => kind,
            Kind::Set(writes) => NodeKind::Set(SetNode { set: expressions(writes, &place.key("set"), findings) }),
            Kind::Graph { graph, input, output } => NodeKind::Graph(GraphNode {
                graph,
                input: input.map(|writes| expressions(writes, &place.key("input"), findings)),
                output: output.map(|writes| expressions(writes, &place.key("output"), findings)),
            }),
        };
        let pool = self.pool.and_then(|pool| findings.keep(&place.key("pool"), PoolName::new(pool)));
        let into = self.into.and_then(|into| findings.keep(&place.key("into"), ChannelName::new(into)));
        let read = |name: String, findings: &mut Findings| findings.keep(&place.key("reads"), ChannelName::new(name));
        let reads = self.reads.map(|reads| reads.into_iter().filter_map(|name| read(name, findings)).collect());
        let place = place.key("on_failure");
        let on_failure = match self.failure {
            Failure::Fail => OnFailure::Fail,
            Failure::Continue(writes) => OnFailure::Continue(names(writes, &place.key("continue"), findings)),
            Failure::Goto(node) => {
                let node = findings.keep(&place.key("goto"), NodeName::new(node));
                node.map_or(OnFailure::Fail, OnFailure::Goto)
            }
        };
        let policy = Policy { on_failure, ..self.policy };
        Node { kind, pool: pool.unwrap_or_else(PoolName::standard), into, reads, policy }
    }
}

impl Retry {
    /// No retry: one try in all.
    pub const ONCE: Self = Self { attempts: 1, backoff: crate::graph::policy::Backoff::STANDARD };

    /// So many tries in all, with the standard pauses.
    pub const fn attempts(attempts: u32) -> Self {
        Self { attempts, backoff: crate::graph::policy::Backoff::STANDARD }
    }
}

fn pairs(writes: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>) -> Vec<(String, String)> {
    writes.into_iter().map(|(name, text)| (name.into(), text.into())).collect()
}

fn expressions(
    writes: Vec<(String, String)>,
    place: &Place,
    findings: &mut Findings,
) -> BTreeMap<ChannelName, Expression> {
    names(writes.into_iter().map(|(name, text)| (name, Expression(text))), place, findings)
}

fn names<K: FromStr<Err: Display> + Ord, V>(
    pairs: impl IntoIterator<Item = (String, V)>,
    place: &Place,
    findings: &mut Findings,
) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    for (name, value) in pairs {
        let place = place.key(&name);
        if let Some(key) = findings.keep(&place, name.parse::<K>())
            && map.insert(key, value).is_some()
        {
            findings.error(&place, format!("`{name}` is given twice")).remedy("keep one of them");
        }
    }
    map
}
