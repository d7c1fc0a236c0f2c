//! A drawing as Mermaid, for documents that render it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::label::{self, cut};
use crate::graph::model::{Edge, EdgeTarget, Graph, Node, NodeKind};
use crate::graph::policy::OnFailure;
use crate::id::NodeName;

/// The longest label; longer ones make the drawing unreadable.
const LABEL_MAX: usize = 60;

/// Draws a graph, and the graphs in it, as a Mermaid flowchart.
pub fn mermaid(graph: &Graph) -> String {
    let mut out = "flowchart TD\n".to_owned();
    Chart { graph, prefix: String::new(), indent: 1 }.draw(&mut out);
    out
}

/// A graph whose names have a prefix, so that those of child graphs do not clash.
struct Chart<'a> {
    graph: &'a Graph,
    prefix: String,
    indent: usize,
}

impl Chart<'_> {
    fn draw(&self, out: &mut String) {
        let numbers: BTreeMap<&NodeName, usize> = self.graph.nodes.keys().zip(0..).collect();
        let id = |name: &NodeName| format!("{}n{}", self.prefix, numbers.get(name).copied().unwrap_or_default());
        let (start, end) = (format!("{}start", self.prefix), format!("{}finish", self.prefix));
        self.line(out, &format!("{start}([START])"));
        self.line(out, &format!("{end}([END])"));
        for (name, node) in &self.graph.nodes {
            self.line(out, &format!("{}{}", id(name), shape(name, node)));
        }
        for (index, edge) in self.graph.edges.iter().enumerate() {
            let to = match &edge.to {
                EdgeTarget::Node(name) => id(name),
                EdgeTarget::End => end.clone(),
            };
            let from = match edge.from.as_slice() {
                [] => start.clone(),
                [one] => id(one),
                several => {
                    let join = format!("{}join{index}", self.prefix);
                    self.line(out, &format!("{join}{{\"all\"}}"));
                    for one in several {
                        self.line(out, &format!("{} --- {join}", id(one)));
                    }
                    join
                }
            };
            self.line(out, &format!("{from} {} {to}", arrow(edge)));
        }
        for (name, node) in &self.graph.nodes {
            if let OnFailure::Goto(handler) = &node.policy.on_failure {
                self.line(out, &format!("{} -.->|\"on failure\"| {}", id(name), id(handler)));
            }
            if let NodeKind::Graph(child) = &node.kind {
                self.child(&id(name), &child.graph, out);
            }
        }
    }

    fn child(&self, node: &str, graph: &Graph, out: &mut String) {
        let inner = format!("{node}g");
        self.line(out, &format!("subgraph {inner}[\"{}\"]", escape(graph.name.as_str())));
        Chart { graph, prefix: format!("{inner}_"), indent: self.indent + 1 }.draw(out);
        self.line(out, "end");
        self.line(out, &format!("{node} -.- {inner}"));
    }

    fn line(&self, out: &mut String, text: &str) {
        let _ = writeln!(out, "{}{text}", "  ".repeat(self.indent));
    }
}

fn shape(name: &NodeName, node: &Node) -> String {
    let text = format!("\"<b>{}</b><br/>{}\"", escape(name.as_str()), escape(&cut(&label::node(node), LABEL_MAX)));
    match &node.kind {
        NodeKind::Rust(_)
        | NodeKind::Exec(_)
        | NodeKind::Http(_)
        | NodeKind::Llm(_)
        | NodeKind::VectorSearch(_)
        | NodeKind::VectorUpsert(_) => format!("[{text}]"),
        NodeKind::Set(_) => format!("[/{text}/]"),
        NodeKind::Wait(_) => format!("({text})"),
        NodeKind::Interrupt(_) => format!("{{{{{text}}}}}"),
        NodeKind::Graph(_) => format!("[[{text}]]"),
    }
}

fn arrow(edge: &Edge) -> String {
    let line = if edge.for_each.is_some() { "==>" } else { "-->" };
    match label::edge(edge) {
        Some(label) => format!("{line}|\"{}\"|", escape(&cut(&label, LABEL_MAX))),
        None => line.to_owned(),
    }
}

/// Makes a text safe inside of quotes: Mermaid knows characters by number.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '#' | '&' | '<' | '>' | '\\' | '`' | '|' | '{' | '}' | '[' | ']' | '(' | ')' | ';' | '%' => {
                let _ = write!(safe, "#{};", u32::from(c));
            }
            _ => safe.push(c),
        }
    }
    safe
}
