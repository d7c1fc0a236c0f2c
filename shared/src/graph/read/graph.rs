//! A graph: its fields, put together and checked as a whole.

use std::collections::BTreeMap;

use super::channel;
use super::children::{Children, Weight};
use super::edges::{self, ReadEdges};
use super::fields::Fields;
use super::node::{self, ReadNode};
use super::policy::Written;
use crate::graph::diagnostic::Severity;
use crate::graph::finding::{Finding, Findings};
use crate::graph::model::{Graph, GraphLimits, Node, NodeKind, WaitNode};
use crate::graph::place::{Place, Segment};
use crate::graph::policy::Policy;
use crate::graph::results;
use crate::graph::tree::{Branch, Tree};
use crate::graph::validate::{self, Doubts};
use crate::id::{GraphName, NodeName, PoolName};
use crate::spend::{Budget, Cost};

const WHAT: &str = "a graph";

impl<'f> Children<'f, '_> {
    /// Reads a graph and checks it. Nothing if it has an error; everything that is wrong is reported.
    pub(super) fn read_graph(&mut self, tree: &'f Tree, place: &Place, fallback: Option<&str>) -> Option<Graph> {
        let mut findings = Findings::default();
        let graph = self.assemble(tree, place, fallback, &mut findings);
        let found: Vec<Finding> = findings.into_iter().collect();
        let failed = found.iter().any(|finding| finding.severity == Severity::Error);
        let (file, whole) = (self.file, self.tree);
        self.report(found.into_iter().map(|finding| {
            let at = whole.locate(&finding.place);
            finding.locate(Some(file), at)
        }));
        graph.filter(|_| !failed)
    }

    fn assemble(
        &mut self,
        tree: &'f Tree,
        place: &Place,
        fallback: Option<&str>,
        findings: &mut Findings,
    ) -> Option<Graph> {
        let mut fields = Fields::of(tree, place, WHAT, findings)?;
        // It tells editors how to read the file, and means nothing here.
        let _ = fields.text("$schema", findings);
        let name = name(&mut fields, fallback, findings);
        let description = fields.text("description", findings);
        let state = state(&mut fields, findings);
        let limits = limits(&mut fields, findings);
        let defaults = defaults(&mut fields, findings);
        self.open_table(&mut fields, findings);
        let mut doubts = Doubts { channels: state.is_none(), ..Doubts::default() };
        let mut nodes = self.nodes(&mut fields, &defaults, (findings, &mut doubts));
        self.close_table(findings);
        let ReadEdges { edges, broken } = read_edges(&mut fields, findings);
        doubts.edges |= broken;
        fields.finish(WHAT, findings);
        let (edges, places): (Vec<_>, Vec<usize>) = edges.into_iter().unzip();
        let state = state.unwrap_or_default();
        results::fill(&mut nodes, &edges, |channel| state.contains_key(channel));
        let graph = Graph { name: name?, description, state, nodes, edges, limits };
        let checked = validate::check(&graph, &doubts).into_iter().map(|finding| in_file(finding, &places));
        findings.extend_within(place, checked.collect());
        doubts.nodes.is_empty().then_some(graph)
    }

    fn nodes(
        &mut self,
        fields: &mut Fields<'f>,
        defaults: &Written,
        (findings, doubts): (&mut Findings, &mut Doubts),
    ) -> BTreeMap<NodeName, Node> {
        let place = fields.place("nodes");
        let entries = match fields.get("nodes") {
            Some(Tree { value: Branch::Map(entries), .. }) => entries.as_slice(),
            Some(tree) => {
                findings.error(&place, format!("`nodes` must be a mapping, not {}", tree.describe()));
                doubts.edges = true;
                &[]
            }
            None => &[],
        };
        let mut nodes = BTreeMap::new();
        let mut weight = Weight::default();
        for entry in entries {
            let place = place.key(&entry.key);
            let Some(name) = findings.keep(&place, NodeName::new(&entry.key)) else {
                doubts.edges = true;
                continue;
            };
            let read = node::read(&entry.value, &place, &name, defaults, (self, findings)).unwrap_or_else(unreadable);
            if !weight.add((!read.broken).then_some(&read.node.kind), &place, findings) {
                doubts.edges = true;
                break;
            }
            if read.broken {
                doubts.nodes.insert(name.clone());
            }
            nodes.insert(name, read.node);
        }
        nodes
    }
}

fn unreadable() -> ReadNode {
    let kind = NodeKind::Wait(WaitNode { length: std::time::Duration::ZERO });
    let node = Node { kind, pool: PoolName::standard(), into: None, reads: None, policy: Policy::default() };
    ReadNode { node, broken: true }
}

fn name(fields: &mut Fields<'_>, fallback: Option<&str>, findings: &mut Findings) -> Option<GraphName> {
    if fields.has("name") || fallback.is_none() {
        let name = fields.name("name", findings);
        if !fields.has("name") {
            findings.error(fields.here(), "the graph has no name").remedy("write `name: my-graph` at its top");
        }
        // A name that was refused has been reported; what else is wrong shall be found all the same.
        return name.or_else(|| GraphName::new("unnamed").ok());
    }
    let _ = fields.get("name");
    fallback.and_then(|name| findings.keep(fields.here(), GraphName::new(name)))
}

fn state(
    fields: &mut Fields<'_>,
    findings: &mut Findings,
) -> Option<BTreeMap<crate::id::ChannelName, crate::graph::model::Channel>> {
    if fields.has("state") {
        let before = findings.len();
        let state = fields.map("state", findings, |tree, place, findings| {
            Some(channel::read(tree, place, findings).unwrap_or_default())
        });
        // `state:` alone is an empty state; one that could not be read is none.
        return state.or_else(|| (findings.len() == before).then(BTreeMap::new));
    }
    let _ = fields.get("state");
    Some(BTreeMap::new())
}

fn limits(fields: &mut Fields<'_>, findings: &mut Findings) -> GraphLimits {
    let built_in = GraphLimits::default();
    let Some(tree) = fields.get("limits") else { return built_in };
    let place = fields.place("limits");
    let Some(mut fields) = Fields::of(tree, &place, "`limits`", findings) else { return built_in };
    let limits = GraphLimits {
        run_timeout: fields.duration("run_timeout", findings).unwrap_or(built_in.run_timeout),
        max_steps: fields.count("max_steps", findings).unwrap_or(built_in.max_steps),
        node_runs: fields.count("node_runs", findings).unwrap_or(built_in.node_runs),
        max_repeats: fields.count("max_repeats", findings).unwrap_or(built_in.max_repeats),
        budget: Budget {
            tokens: fields.count("tokens", findings),
            cost: cost(&mut fields, findings),
            tool_calls: fields.count("tool_calls", findings),
            descendants: fields.count("descendants", findings),
        },
    };
    fields.finish("`limits`", findings);
    limits
}

fn cost(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<Cost> {
    let units = fields.number("cost", findings)?;
    let cost = Cost::from_units(units);
    if cost.is_none() {
        let place = fields.place("cost");
        findings.error(&place, format!("`cost` is {units}: it is an amount from 0 to a billion"));
    }
    cost
}

/// The policy for all nodes. One that is out of its limits is reported once, here, and not taken over by the nodes.
fn defaults(fields: &mut Fields<'_>, findings: &mut Findings) -> Written {
    let Some(tree) = fields.get("defaults") else { return Written::default() };
    let place = fields.place("defaults");
    let Some(mut fields) = Fields::of(tree, &place, "`defaults`", findings) else { return Written::default() };
    let written = Written::read(&mut fields, findings);
    fields.finish("`defaults`", findings);
    let wrong = validate::check_policy(&written.policy());
    let sound = !wrong.has_errors();
    findings.extend_within(&place, wrong);
    if sound { written } else { Written::default() }
}

fn read_edges(fields: &mut Fields<'_>, findings: &mut Findings) -> ReadEdges {
    match fields.get("edges") {
        Some(tree) => edges::read(tree, &fields.place("edges"), findings),
        None => ReadEdges::default(),
    }
}

/// A chain in the file is several edges of the graph: what is wrong with one is shown at the chain.
fn in_file(mut finding: Finding, places: &[usize]) -> Finding {
    if let [first, Segment::Index(index), rest @ ..] = finding.place.segments()
        && first.is_key("edges")
        && let Some(line) = places.get(*index)
    {
        let segments = [first.clone(), Segment::Index(*line)];
        finding.place = segments.into_iter().chain(rest.iter().cloned()).collect();
    }
    finding
}
