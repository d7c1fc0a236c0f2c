//! What is written at nodes and edges.

use crate::duration::show;
use crate::graph::fan_out::FanOut;
use crate::graph::model::{Condition, Edge, Node, NodeKind};
use crate::graph::vector::VectorCollection;

/// What a node does, in a few words.
pub(super) fn node(node: &Node) -> String {
    let what = match &node.kind {
        NodeKind::Rust(rust) => rust.handler.clone(),
        NodeKind::Exec(exec) => {
            let call = exec.call.as_ref().map(|call| format!(": {call}")).unwrap_or_default();
            format!("{}{call}", exec.command.join(" "))
        }
        NodeKind::Http(http) => format!("{} {}", http.method.name(), http.url.0),
        NodeKind::Llm(llm) => llm.model.0.clone(),
        NodeKind::VectorSearch(search) => collection(&search.collection),
        NodeKind::VectorUpsert(upsert) => collection(&upsert.collection),
        NodeKind::Set(set) => set.set.keys().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        NodeKind::Wait(wait) => show(wait.length),
        NodeKind::Interrupt(interrupt) => interrupt.show.as_ref().map(|show| show.0.clone()).unwrap_or_default(),
        NodeKind::Graph(child) => child.graph.name.to_string(),
    };
    let kind = node.kind.name();
    let what = one_line(&what);
    let into = node.into.as_ref().map(|into| format!(" → {into}")).unwrap_or_default();
    if what.is_empty() { format!("{kind}{into}") } else { format!("{kind} {what}{into}") }
}

/// Who keeps a collection, and its name.
fn collection(collection: &VectorCollection) -> String {
    let name = collection.collection.as_ref().map(|name| format!(" {}", name.0)).unwrap_or_default();
    format!("{}{name}", collection.store.name())
}

/// When an edge is taken, and how often; nothing for a plain one.
pub(super) fn edge(edge: &Edge) -> Option<String> {
    let when = match &edge.when {
        Condition::Always => None,
        Condition::If(expression) => Some(format!("if {}", one_line(&expression.0))),
        Condition::Otherwise => Some("otherwise".to_owned()),
    };
    let each = edge.for_each.as_ref().map(|list| format!("for each of {}{}", one_line(&list.0), together(edge)));
    match (when, each) {
        (Some(when), Some(each)) => Some(format!("{when}, {each}")),
        (one, other) => one.or(other),
    }
}

/// How the items of a fan-out are dealt with together.
fn together(edge: &Edge) -> String {
    let FanOut { concurrency, policy, results } = &edge.fan_out;
    let turns = concurrency.map(|concurrency| format!(", {concurrency} at once")).unwrap_or_default();
    let policy = if policy.is_each() { String::new() } else { format!(", {}", policy.show()) };
    let results = results.as_ref().map(|channel| format!(" → {channel}")).unwrap_or_default();
    format!("{turns}{policy}{results}")
}

/// A text without line breaks and runs of spaces.
fn one_line(text: &str) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    printable.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text cut to so many characters, with a mark.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}
