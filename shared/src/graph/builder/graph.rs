//! A graph put together call by call.

use std::collections::BTreeMap;
use std::time::Duration;

use super::node::NodeBuilder;
use crate::graph::diagnostic::Diagnostics;
use crate::graph::fan_out::FanOut;
use crate::graph::finding::Findings;
use crate::graph::model::{Channel, Condition, END, Edge, EdgeTarget, Expression, Graph, GraphLimits, START};
use crate::graph::place::Place;
use crate::graph::results;
use crate::graph::validate::{self, Doubts};
use crate::id::{GraphName, NodeName};
use crate::spend::Budget;

/// A graph that is being put together. Mistakes are collected, and told all at once by [`GraphBuilder::build`].
#[derive(Debug, Clone)]
pub struct GraphBuilder {
    name: String,
    description: Option<String>,
    limits: GraphLimits,
    channels: Vec<(String, Channel)>,
    nodes: Vec<(String, NodeBuilder)>,
    edges: Vec<Draft>,
}

/// An edge whose names are not yet checked.
#[derive(Debug, Clone)]
struct Draft {
    from: Vec<String>,
    to: String,
    when: Condition,
    for_each: Option<Expression>,
    fan_out: FanOut,
}

impl Graph {
    /// Starts a graph of this name.
    pub fn builder(name: impl Into<String>) -> GraphBuilder {
        GraphBuilder {
            name: name.into(),
            description: None,
            limits: GraphLimits::default(),
            channels: Vec::new(),
            nodes: Vec::new(),
            edges: Vec::new(),
        }
    }
}

impl GraphBuilder {
    /// What it is for.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// How long a run may take.
    #[must_use]
    pub const fn run_timeout(mut self, timeout: Duration) -> Self {
        self.limits.run_timeout = timeout;
        self
    }

    /// How many steps a run may take.
    #[must_use]
    pub const fn max_steps(mut self, steps: u64) -> Self {
        self.limits.max_steps = steps;
        self
    }

    /// How many nodes may run in a run.
    #[must_use]
    pub const fn node_runs(mut self, runs: u64) -> Self {
        self.limits.node_runs = runs;
        self
    }

    /// What may be spent at models in a run, its child runs included.
    #[must_use]
    pub const fn budget(mut self, budget: Budget) -> Self {
        self.limits.budget = budget;
        self
    }

    /// How often a node may run with the same input, or a run be in the same state.
    #[must_use]
    pub const fn max_repeats(mut self, times: u64) -> Self {
        self.limits.max_repeats = times;
        self
    }

    /// Adds a channel to the state.
    #[must_use]
    pub fn channel(mut self, name: impl Into<String>, channel: Channel) -> Self {
        self.channels.push((name.into(), channel));
        self
    }

    /// Adds a node.
    #[must_use]
    pub fn node(mut self, name: impl Into<String>, node: NodeBuilder) -> Self {
        self.nodes.push((name.into(), node));
        self
    }

    /// Adds an edge from a node or [`START`] to a node or [`END`].
    #[must_use]
    pub fn edge(self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.draft(vec![from.into()], to.into(), Condition::Always, None)
    }

    /// Adds an edge that is taken when an expression over the state is true.
    #[must_use]
    pub fn edge_if(self, from: impl Into<String>, to: impl Into<String>, when: impl Into<String>) -> Self {
        self.draft(vec![from.into()], to.into(), Condition::If(Expression(when.into())), None)
    }

    /// Adds an edge that is taken when no `edge_if` from the same node is.
    #[must_use]
    pub fn otherwise(self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.draft(vec![from.into()], to.into(), Condition::Otherwise, None)
    }

    /// Adds an edge that is taken when all of these nodes have run.
    #[must_use]
    pub fn join(self, from: impl IntoIterator<Item = impl Into<String>>, to: impl Into<String>) -> Self {
        let from = from.into_iter().map(Into::into).collect();
        self.draft(from, to.into(), Condition::Always, None)
    }

    /// Adds an edge that fans a node out over the list that an expression gives: one task an item.
    #[must_use]
    pub fn for_each(self, from: impl Into<String>, to: impl Into<String>, list: impl Into<String>) -> Self {
        self.draft(vec![from.into()], to.into(), Condition::Always, Some(Expression(list.into())))
    }

    /// The same, and says how the items are dealt with together.
    #[must_use]
    pub fn for_each_with(
        self,
        from: impl Into<String>,
        to: impl Into<String>,
        list: impl Into<String>,
        fan_out: FanOut,
    ) -> Self {
        let mut builder = self.for_each(from, to, list);
        if let Some(edge) = builder.edges.last_mut() {
            edge.fan_out = fan_out;
        }
        builder
    }

    /// Checks everything, and gives the graph or the list of its mistakes. Warnings alone do not keep it back.
    pub fn build(self) -> Result<Graph, Diagnostics> {
        let mut findings = Findings::default();
        let root = Place::root();
        let name = findings.keep(&root.key("name"), GraphName::new(&self.name));
        let state = unique(self.channels, &root.key("state"), &mut findings, |channel, _, _| channel);
        let mut nodes = unique(self.nodes, &root.key("nodes"), &mut findings, NodeBuilder::build);
        let place = root.key("edges");
        let drafts = self.edges.into_iter().enumerate();
        let edges: Vec<Edge> =
            drafts.filter_map(|(index, draft)| draft.build(&place.index(index), &mut findings)).collect();
        results::fill(&mut nodes, &edges, |channel| state.contains_key(channel));
        let graph = Graph {
            // What else is wrong shall be found even if the name is.
            name: name.or_else(|| GraphName::new("unnamed").ok()).expect("`unnamed` is a name"),
            description: self.description,
            state,
            nodes,
            edges,
            limits: self.limits,
        };
        if findings.has_errors() {
            let doubts = Doubts { channels: true, edges: true, ..Doubts::default() };
            findings.extend_within(&root, validate::check(&graph, &doubts));
            return Err(findings.into_diagnostics());
        }
        let diagnostics = validate::validate(&graph);
        if diagnostics.has_errors() { Err(diagnostics) } else { Ok(graph) }
    }

    fn draft(mut self, from: Vec<String>, to: String, when: Condition, for_each: Option<Expression>) -> Self {
        self.edges.push(Draft { from, to, when, for_each, fan_out: FanOut::default() });
        self
    }
}

impl Draft {
    fn build(self, place: &Place, findings: &mut Findings) -> Option<Edge> {
        let from = match self.from.as_slice() {
            [] => {
                findings.error(place, "a join of no nodes never happens");
                return None;
            }
            [start] if start == START => Some(Vec::new()),
            names => names.iter().map(|name| node(name, place, findings)).collect(),
        };
        let to = match self.to.as_str() {
            END => Some(EdgeTarget::End),
            name => node(name, place, findings).map(EdgeTarget::Node),
        };
        Some(Edge { from: from?, to: to?, when: self.when, for_each: self.for_each, fan_out: self.fan_out })
    }
}

fn node(name: &str, place: &Place, findings: &mut Findings) -> Option<NodeName> {
    match name {
        START | END => {
            findings.error(place, format!("{name} cannot stand here")).remedy("edges lead from START to END");
            None
        }
        _ => findings.keep(place, NodeName::new(name)),
    }
}

fn unique<K, D, V>(
    drafts: Vec<(String, D)>,
    place: &Place,
    findings: &mut Findings,
    build: impl Fn(D, &Place, &mut Findings) -> V,
) -> BTreeMap<K, V>
where
    K: std::str::FromStr<Err: std::fmt::Display> + Ord,
{
    let mut map = BTreeMap::new();
    for (name, draft) in drafts {
        let place = place.key(&name);
        let value = build(draft, &place, findings);
        if let Some(key) = findings.keep(&place, name.parse::<K>())
            && map.insert(key, value).is_some()
        {
            findings.error(&place, format!("`{name}` is added twice")).remedy("keep one of them");
        }
    }
    map
}
