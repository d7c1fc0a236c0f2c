//! The fields of each kind of node.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::children::Children;
use super::fields::{self, Fields};
use crate::graph::finding::Findings;
use crate::graph::model::{ExecNode, Expression, GraphNode, InterruptNode, NodeKind, RustNode, SetNode, WaitNode};
use crate::graph::outside::{HttpNode, Method, Text};
use crate::graph::place::Place;
use crate::graph::reference;
use crate::graph::tree::{Branch, Tree};
use crate::id::NodeName;

/// The names of all kinds, each with the field that gives it away.
const KINDS: [(&str, &str); 10] = [
    ("rust", "handler"),
    ("exec", "command"),
    ("vector_search", "query"),
    ("vector_upsert", "items"),
    ("http", "url"),
    ("llm", "model"),
    ("set", "set"),
    ("wait", "for"),
    ("interrupt", "show"),
    ("graph", "graph"),
];

/// The kind of a node, if there is one of that name.
pub(super) fn name(fields: &mut Fields<'_>) -> Option<&'static str> {
    let Some(Tree { value: Branch::Text(text), .. }) = fields.get("kind") else { return None };
    KINDS.iter().map(|(kind, _)| *kind).find(|kind| kind == text)
}

/// Reads the kind of a node, and the kind's fields. Nothing if it cannot be told what the node does.
pub(super) fn read<'f>(
    fields: &mut Fields<'f>,
    name: &NodeName,
    children: &mut Children<'f, '_>,
    findings: &mut Findings,
) -> Option<NodeKind> {
    let Some(kind) = fields.text("kind", findings) else {
        let guess = KINDS.iter().find(|(_, field)| fields.has(field));
        let remedy = match guess {
            Some((kind, field)) => format!("with `{field}`, it is probably `kind: {kind}`"),
            None => format!("write `kind:` and one of {}", KINDS.map(|(kind, _)| kind).join(", ")),
        };
        findings.error(fields.here(), "the node has no kind").remedy(remedy);
        fields.pass_over(&reference::names_of_fields());
        return None;
    };
    match kind.as_str() {
        "rust" => rust(fields, findings).map(NodeKind::Rust),
        "exec" => exec(fields, findings).map(NodeKind::Exec),
        "http" => http(fields, findings).map(NodeKind::Http),
        "llm" => super::llm::read(fields, findings).map(Box::new).map(NodeKind::Llm),
        "vector_search" => super::vector::search(fields, findings).map(Box::new).map(NodeKind::VectorSearch),
        "vector_upsert" => super::vector::upsert(fields, findings).map(Box::new).map(NodeKind::VectorUpsert),
        "set" => set(fields, findings).map(NodeKind::Set),
        "wait" => wait(fields, findings).map(NodeKind::Wait),
        "interrupt" => Some(NodeKind::Interrupt(InterruptNode { show: fields.expression("show", findings) })),
        "graph" => graph(fields, name, children, findings).map(NodeKind::Graph),
        _ => {
            let place = fields.place("kind");
            let known = KINDS.map(|(kind, _)| kind);
            findings.error(&place, format!("there is no kind of node `{kind}`")).suggest(&kind, known);
            fields.pass_over(&reference::names_of_fields());
            None
        }
    }
}

pub(super) fn missing(fields: &Fields<'_>, what: &str, example: &str, findings: &mut Findings) {
    findings.error(fields.here(), format!("the node has no `{what}`")).remedy(format!("write {example}"));
}

fn rust(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<RustNode> {
    let handler = fields.text("handler", findings);
    let with = fields.get("with").map(Tree::to_json).unwrap_or_default();
    if handler.is_none() && !fields.has("handler") {
        missing(fields, "handler", "`handler:` and the name it is registered under", findings);
    }
    Some(RustNode { handler: handler?, with })
}

fn exec(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<ExecNode> {
    let env = fields.map("env", findings, fields::text).unwrap_or_default();
    let cwd = fields.text("cwd", findings);
    let warm = fields.truth("warm", findings).unwrap_or_default();
    let call = fields.text("call", findings);
    let Some(tree) = fields.get("command") else {
        missing(fields, "command", "`command: [sh, -c, \"…\"]`", findings);
        return None;
    };
    let place = fields.place("command");
    if !matches!(tree.value, Branch::List(_)) {
        findings
            .error(&place, format!("the command must be a list of texts, not {}", tree.describe()))
            .remedy("write [program, argument, …]; for a shell, [sh, -c, \"…\"]");
        return None;
    }
    let command = fields::one_or_many(tree, &place, |item, place| fields::text(item, place, findings));
    Some(ExecNode { command, env, cwd, warm, call })
}

fn http(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<HttpNode> {
    let method: Option<Method> = fields.name("method", findings);
    let headers = texts(fields, "headers", findings);
    let json = fields.get("json").map(Tree::to_json);
    let body = fields.text("body", findings).map(Text);
    let accept = statuses(fields, "accept", findings).unwrap_or_default();
    let retry_on = statuses(fields, "retry_on", findings);
    let max_bytes = fields.count("max_bytes", findings);
    let output = expressions(fields, "output", findings);
    let url = fields.text("url", findings);
    if url.is_none() && !fields.has("url") {
        missing(fields, "url", "`url: https://…`", findings);
    }
    let method = method.unwrap_or_default();
    Some(HttpNode { method, url: Text(url?), headers, json, body, accept, retry_on, max_bytes, output })
}

fn statuses(fields: &mut Fields<'_>, name: &'static str, findings: &mut Findings) -> Option<Vec<u16>> {
    let tree = fields.get(name)?;
    Some(fields::one_or_many(tree, &fields.place(name), |item, place| {
        let text = fields::text(item, place, findings)?;
        let status = text.parse().map_err(|_| format!("`{text}` is no status"));
        findings.keep(place, status)
    }))
}

fn set(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<SetNode> {
    let set = expressions(fields, "set", findings);
    if set.is_none() && !fields.has("set") {
        missing(fields, "set", "`set: { channel: \"expression\" }`", findings);
    }
    Some(SetNode { set: set? })
}

fn wait(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<WaitNode> {
    let length: Option<Duration> = fields.duration("for", findings);
    if length.is_none() && !fields.has("for") {
        missing(fields, "for", "`for: 10s`", findings);
    }
    Some(WaitNode { length: length? })
}

fn graph<'f>(
    fields: &mut Fields<'f>,
    name: &NodeName,
    children: &mut Children<'f, '_>,
    findings: &mut Findings,
) -> Option<GraphNode> {
    let input = expressions(fields, "input", findings);
    let output = expressions(fields, "output", findings);
    let Some(tree) = fields.get("graph") else {
        missing(
            fields,
            "graph",
            "`graph:` and the name of one of `graphs`, a file's path, or the graph itself",
            findings,
        );
        return None;
    };
    let child = children.resolve(tree, &fields.place("graph"), name, findings)?;
    Some(GraphNode { graph: Box::new(child), input, output })
}

pub(super) fn expressions<K: std::str::FromStr<Err: std::fmt::Display> + Ord>(
    fields: &mut Fields<'_>,
    name: &'static str,
    findings: &mut Findings,
) -> Option<BTreeMap<K, Expression>> {
    fields.map(name, findings, |tree, place, findings| fields::text(tree, place, findings).map(Expression))
}

pub(super) fn texts(fields: &mut Fields<'_>, name: &'static str, findings: &mut Findings) -> BTreeMap<String, Text> {
    let read = |tree: &Tree, place: &Place, findings: &mut Findings| fields::text(tree, place, findings).map(Text);
    fields.map(name, findings, read).unwrap_or_default()
}

pub(super) fn jsons(fields: &mut Fields<'_>, name: &'static str, findings: &mut Findings) -> BTreeMap<String, Value> {
    fields.map(name, findings, |tree, _, _| Some(tree.to_json())).unwrap_or_default()
}
