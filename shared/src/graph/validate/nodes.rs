//! Nodes: what each kind needs, and the channels and nodes that they name.

use std::collections::BTreeSet;

use super::expressions::Names;
use super::outside::Texts;
use super::whole::Doubts;
use crate::expr::Template;
use crate::graph::finding::Findings;
use crate::graph::model::{END, EdgeTarget, ExecNode, Graph, Node, NodeKind, START, SetNode};
use crate::graph::place::Place;
use crate::graph::policy::OnFailure;
use crate::id::{ChannelName, NodeName};

pub(super) fn check(graph: &Graph, doubts: &Doubts, findings: &mut Findings) {
    for (name, node) in &graph.nodes {
        let place = Place::root().key("nodes").key(name);
        if [START, END].contains(&name.as_str()) {
            findings
                .error(&place, format!("`{name}` cannot be a node: it is the graph's own"))
                .remedy("take another name");
        }
        let nodes = Nodes { graph, doubts };
        nodes.channels(node, &place, findings);
        nodes.failure(name, node, &place, findings);
        if !doubts.nodes.contains(name) {
            nodes.kind(name, node, &place, findings);
        }
    }
}

/// The names that expressions of a node can use.
pub(super) fn names<'a>(graph: &'a Graph, doubts: &Doubts, name: &NodeName) -> Names<'a> {
    Names {
        what: "channel",
        known: (!doubts.channels).then(|| graph.state.keys().map(ChannelName::as_str).collect()),
        item: doubts.edges || is_fanned_out(graph, name),
        could_have_item: true,
    }
}

fn is_fanned_out(graph: &Graph, name: &NodeName) -> bool {
    graph.edges.iter().any(|edge| edge.for_each.is_some() && edge.to == EdgeTarget::Node(name.clone()))
}

/// Notes a channel that the graph does not have.
pub(super) fn known_channel(
    graph: &Graph,
    doubts: &Doubts,
    channel: &ChannelName,
    place: &Place,
    findings: &mut Findings,
) {
    if !doubts.channels && !graph.state.contains_key(channel) {
        let known = graph.state.keys().map(ChannelName::as_str);
        let finding = findings.error(place, format!("there is no channel `{channel}`"));
        finding.suggest(channel.as_str(), known);
        if finding.remedy.is_none() {
            finding.remedy(format!("declare it: `state: {{ {channel}: }}`"));
        }
    }
}

struct Nodes<'a> {
    graph: &'a Graph,
    doubts: &'a Doubts,
}

impl Nodes<'_> {
    fn channels(&self, node: &Node, place: &Place, findings: &mut Findings) {
        if let Some(into) = &node.into {
            known_channel(self.graph, self.doubts, into, &place.key("into"), findings);
        }
        let mut seen = BTreeSet::new();
        for (index, channel) in node.reads.iter().flatten().enumerate() {
            let place = place.key("reads").index(index);
            known_channel(self.graph, self.doubts, channel, &place, findings);
            if !seen.insert(channel) {
                findings.error(&place, format!("`{channel}` is listed twice"));
            }
        }
    }

    fn failure(&self, name: &NodeName, node: &Node, place: &Place, findings: &mut Findings) {
        let place = place.key("on_failure");
        match &node.policy.on_failure {
            OnFailure::Fail => {}
            OnFailure::Continue(writes) => {
                for channel in writes.keys() {
                    let place = place.key("continue").key(channel);
                    known_channel(self.graph, self.doubts, channel, &place, findings);
                }
            }
            OnFailure::Goto(target) => {
                let place = place.key("goto");
                if target == name {
                    findings
                        .error(&place, "a node cannot handle its own failure")
                        .remedy("to try it again, write `retry: { attempts: 3 }`");
                } else if !self.graph.nodes.contains_key(target) {
                    let known = self.graph.nodes.keys().map(NodeName::as_str);
                    findings.error(&place, format!("there is no node `{target}`")).suggest(target.as_str(), known);
                }
            }
        }
    }

    fn kind(&self, name: &NodeName, node: &Node, place: &Place, findings: &mut Findings) {
        match &node.kind {
            NodeKind::Rust(rust) => {
                if rust.handler.trim().is_empty() {
                    findings.error(&place.key("handler"), "the handler has no name");
                }
                self.texts(name).literal_json(&rust.with, &place.key("with"), findings);
            }
            NodeKind::Exec(exec) => {
                self::exec(exec, place, findings);
                self.variables(name, exec, &place.key("env"), findings);
                for (index, argument) in exec.command.iter().enumerate() {
                    self.texts(name).literal(argument, &place.key("command").index(index), findings);
                }
                self.texts(name).literal(exec.cwd.as_deref().unwrap_or_default(), &place.key("cwd"), findings);
            }
            NodeKind::Http(http) => {
                super::outside::http(self.graph, self.doubts, (name, node, http), (place, findings));
            }
            NodeKind::Llm(llm) => {
                super::llm::check(self.graph, self.doubts, (name, node, llm), (place, findings));
            }
            NodeKind::VectorSearch(search) => {
                super::vector::search(self.graph, self.doubts, (name, node, search), (place, findings));
            }
            NodeKind::VectorUpsert(upsert) => {
                super::vector::upsert(self.graph, self.doubts, (name, node, upsert), (place, findings));
            }
            NodeKind::Set(set) => self.set(name, node, set, (place, findings)),
            NodeKind::Wait(_) => {
                if node.into.is_some() {
                    findings.error(&place.key("into"), "a `wait` node has no result to write");
                }
            }
            NodeKind::Interrupt(interrupt) => {
                if let Some(show) = &interrupt.show {
                    names(self.graph, self.doubts, name).check(show, &place.key("show"), findings);
                }
            }
            // See `children`.
            NodeKind::Graph(_) => {}
        }
    }

    fn texts<'n>(&'n self, name: &'n NodeName) -> Texts<'n> {
        Texts { graph: self.graph, doubts: self.doubts, name }
    }

    /// The templates of a process's variables.
    fn variables(&self, name: &NodeName, exec: &ExecNode, place: &Place, findings: &mut Findings) {
        for (variable, value) in &exec.env {
            let place = place.key(variable);
            match Template::compile(value.as_str()) {
                Ok(template) => {
                    names(self.graph, self.doubts, name).check_used(template.names(), None, &place, findings);
                }
                Err(error) => {
                    findings.error(&place, error.to_string());
                }
            }
        }
    }

    fn set(&self, name: &NodeName, node: &Node, set: &SetNode, (place, findings): (&Place, &mut Findings)) {
        if node.into.is_some() {
            findings
                .error(&place.key("into"), "a `set` node names the channels it writes under `set`")
                .remedy("leave `into` out");
        }
        let place = place.key("set");
        if set.set.is_empty() {
            findings.error(&place, "nothing is set").remedy("write `set: { channel: \"expression\" }`");
        }
        let mut names = names(self.graph, self.doubts, name);
        if let Some(reads) = &node.reads {
            names.what = "channel that the node `reads`";
            names.known = names.known.map(|_| reads.iter().map(ChannelName::as_str).collect());
        }
        for (channel, expression) in &set.set {
            let place = place.key(channel);
            known_channel(self.graph, self.doubts, channel, &place, findings);
            names.check(expression, &place, findings);
        }
    }
}

fn exec(exec: &ExecNode, place: &Place, findings: &mut Findings) {
    let command = place.key("command");
    match exec.command.first() {
        None => {
            findings.error(&command, "the command is empty").remedy("write [program, argument, …]");
        }
        Some(program) if program.trim().is_empty() => {
            findings.error(&command.index(0), "the command's program is empty");
        }
        Some(program) if exec.command.len() == 1 && program.contains(char::is_whitespace) => {
            let message = format!("there is hardly a program called `{program}`");
            findings
                .warning(&command.index(0), message)
                .remedy("write [program, argument, …]; nothing is split or expanded");
        }
        Some(_) => {}
    }
    for (index, argument) in exec.command.iter().enumerate() {
        no_zero(argument, &command.index(index), findings);
    }
    for (name, value) in &exec.env {
        let place = place.key("env").key(name);
        if name.is_empty() || name.contains(['=', '\0']) {
            findings.error(&place, format!("{name:?} cannot be the name of a variable"));
        } else if name.starts_with("COX_") {
            findings
                .error(&place, format!("`{name}` cannot be set: variables that start with COX_ are the worker's own"))
                .remedy("take another name");
        }
        no_zero(value, &place, findings);
    }
    if let Some(cwd) = &exec.cwd {
        no_zero(cwd, &place.key("cwd"), findings);
    }
    warm(exec, place, findings);
}

/// What a process that is shared by tasks needs, and what only makes sense for one.
fn warm(exec: &ExecNode, place: &Place, findings: &mut Findings) {
    let call = place.key("call");
    match &exec.call {
        Some(_) if !exec.warm => {
            findings
                .error(&call, "only a warm process has functions to choose from")
                .remedy("write `warm: true`, or leave `call` out");
        }
        Some(name) if name.trim().is_empty() => {
            findings.error(&call, "the function has no name").remedy("leave `call` out to mean the node's own name");
        }
        Some(_) | None => {}
    }
    for (name, value) in exec.env.iter().filter(|_| exec.warm) {
        let Ok(template) = Template::compile(value.as_str()) else { continue };
        if let Some(used) = template.names().next() {
            let message = format!("`{value}` uses `{used}`, but a warm process serves tasks with different values");
            findings
                .error(&place.key("env").key(name), message)
                .remedy("write a plain text: the process is told the values with each task");
        }
    }
}

fn no_zero(text: &str, place: &Place, findings: &mut Findings) {
    if text.contains('\0') {
        findings.error(place, "a text for a process cannot hold a zero byte");
    }
}
