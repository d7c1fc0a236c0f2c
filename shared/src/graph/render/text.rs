//! A drawing for a terminal: layers of boxes from START down, and under each layer the edges that leave it.

use std::fmt::Write as _;

use super::label::{self, cut};
use super::layers::Layers;
use crate::duration::show;
use crate::graph::canonical;
use crate::graph::model::{END, Edge, EdgeTarget, Graph, Node, START};
use crate::graph::policy::OnFailure;
use crate::id::NodeName;

/// The narrowest drawing that is attempted.
const WIDTH_MIN: usize = 40;
/// The widest box, borders included.
const BOX_MAX: usize = 38;
const GAP: &str = "  ";

/// Draws a graph, and the graphs in it, within so many columns.
pub fn text(graph: &Graph, width: usize) -> String {
    let mut out = String::new();
    draw(graph, width.max(WIDTH_MIN), 0, &mut out);
    out
}

fn draw(graph: &Graph, width: usize, indent: usize, out: &mut String) {
    let mut page = Page { graph, layers: Layers::of(graph), width: width.max(WIDTH_MIN), lines: Vec::new() };
    page.head();
    page.body();
    for line in page.lines {
        let line = format!("{}{line}", " ".repeat(indent));
        let _ = writeln!(out, "{}", line.trim_end());
    }
    for child in canonical::children(graph) {
        out.push('\n');
        draw(child, width.saturating_sub(4), indent + 4, out);
    }
}

struct Page<'a> {
    graph: &'a Graph,
    layers: Layers<'a>,
    width: usize,
    lines: Vec<String>,
}

impl Page<'_> {
    fn line(&mut self, text: &str) {
        self.lines.push(cut(text, self.width));
    }

    fn head(&mut self) {
        let graph = self.graph;
        let about = graph.description.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
        self.line(&format!("{}{about}", graph.name).replace('\n', " "));
        let limits = &graph.limits;
        self.line(&format!(
            "at most {}, {} steps, {} node runs",
            show(limits.run_timeout),
            limits.max_steps,
            limits.node_runs
        ));
        if !graph.state.is_empty() {
            let channels = graph.state.iter().map(|(name, channel)| format!("{name} ({})", channel.reducer.name()));
            let text = format!("state: {}", channels.collect::<Vec<_>>().join(", "));
            self.line(&text);
        }
        self.line("");
    }

    fn body(&mut self) {
        self.line(START);
        self.edges_of(None);
        self.line("");
        for layer in self.layers.rows.clone() {
            self.boxes(&layer);
            for name in &layer {
                self.edges_of(Some(name));
            }
            self.line("");
        }
        let elsewhere = self.layers.elsewhere.clone();
        if !elsewhere.is_empty() {
            self.line("no edge leads to");
            self.boxes(&elsewhere);
            for name in &elsewhere {
                self.edges_of(Some(name));
            }
            self.line("");
        }
        self.line(END);
    }

    /// Boxes side by side, in as many rows as the width needs.
    fn boxes(&mut self, names: &[&NodeName]) {
        let mut row: [String; 4] = Default::default();
        for name in names {
            let Some(node) = self.graph.nodes.get(*name) else { continue };
            let drawn = boxed(name, node, BOX_MAX.min(self.width));
            let wide = row[0].chars().count() + drawn[0].chars().count() + GAP.len();
            if !row[0].is_empty() && wide > self.width {
                self.lines.extend(std::mem::take(&mut row));
            }
            for (line, part) in row.iter_mut().zip(drawn) {
                if !line.is_empty() {
                    line.push_str(GAP);
                }
                line.push_str(&part);
            }
        }
        self.lines.extend(row);
    }

    /// The edges that leave a node, or START; a join is shown at the last of its nodes.
    fn edges_of(&mut self, from: Option<&NodeName>) {
        let leaves = |edge: &&Edge| match from {
            None => edge.from.is_empty(),
            Some(name) => edge.from.last() == Some(name),
        };
        let mut arrows: Vec<String> = self.graph.edges.iter().filter(leaves).map(|edge| self.arrow(edge)).collect();
        let handler = from.and_then(|name| match &self.graph.nodes.get(name)?.policy.on_failure {
            OnFailure::Goto(handler) => Some(self.after_failure(name, handler)),
            OnFailure::Continue(_) => Some(format!("{name} ─ on failure ─▶ goes on")),
            OnFailure::Fail => None,
        });
        arrows.extend(handler);
        let last = arrows.len().saturating_sub(1);
        for (index, arrow) in arrows.iter().enumerate() {
            let corner = if index == last { "└" } else { "├" };
            self.line(&format!("  {corner} {arrow}"));
        }
    }

    fn arrow(&self, edge: &Edge) -> String {
        let from = match edge.from.as_slice() {
            [] => START.to_owned(),
            names => names.iter().map(NodeName::as_str).collect::<Vec<_>>().join(" & "),
        };
        let (to, back) = match &edge.to {
            EdgeTarget::Node(name) => (name.as_str(), edge.from.iter().any(|from| self.layers.leads_back(from, name))),
            EdgeTarget::End => (END, false),
        };
        let line = match label::edge(edge) {
            Some(label) => format!("─ {} ─", cut(&label, self.width / 2)),
            None if edge.from.len() > 1 => "─ when all have run ─".to_owned(),
            None => "──".to_owned(),
        };
        let head = if edge.for_each.is_some() { "▶▶" } else { "▶" };
        let back = if back { "  ↑ back" } else { "" };
        format!("{from} {line}{head} {to}{back}")
    }

    fn after_failure(&self, from: &NodeName, to: &NodeName) -> String {
        let back = if self.layers.leads_back(from, to) { "  ↑ back" } else { "" };
        format!("{from} ─ on failure ─▶ {to}{back}")
    }
}

fn boxed(name: &NodeName, node: &Node, width: usize) -> [String; 4] {
    let inner = width - 4;
    let title = cut(name.as_str(), inner);
    let what = cut(&label::node(node), inner);
    let length = title.chars().count().max(what.chars().count());
    let rule = "─".repeat(length + 2);
    let padded = |text: &str| format!("│ {text}{} │", " ".repeat(length - text.chars().count()));
    [format!("┌{rule}┐"), padded(&title), padded(&what), format!("└{rule}┘")]
}
