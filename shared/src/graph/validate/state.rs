//! Channels: a start value that its reducer can use, and names that expressions can use.

use serde_json::Value;

use crate::graph::finding::Findings;
use crate::graph::model::{Channel, Graph, Reducer};
use crate::graph::place::Place;
use crate::id::ChannelName;

/// Names that mean something else in expressions.
const TAKEN: [&str; 16] = [
    "item", "index", "range", "loop", "self", "and", "or", "not", "in", "is", "if", "else", "true", "false", "none",
    "None",
];

pub(super) fn check(graph: &Graph, findings: &mut Findings) {
    for (name, channel) in &graph.state {
        let place = Place::root().key("state").key(name);
        usable(name, &place, findings);
        default(channel, &place, findings);
    }
}

fn usable(name: &ChannelName, place: &Place, findings: &mut Findings) {
    let text = name.as_str();
    if TAKEN.contains(&text) {
        findings
            .error(place, format!("`{name}` cannot be a channel: it means something else in expressions"))
            .remedy("take another name");
    } else if text.starts_with(|c: char| c.is_ascii_digit()) || text.contains(['-', '.']) {
        let remedy = format!("for expressions, call it `{}`", text.replace(['-', '.'], "_"));
        findings
            .warning(place, format!("no expression can use the channel `{name}`: it is no identifier"))
            .remedy(remedy);
    }
}

fn default(channel: &Channel, place: &Place, findings: &mut Findings) {
    let Some(default) = &channel.default else { return };
    let (fits, wanted) = match channel.reducer {
        Reducer::Last => (true, ""),
        Reducer::Append => (default.is_array(), "a list"),
        Reducer::Messages => (is_messages(default), "a list of objects"),
        Reducer::Add => (default.is_number(), "a number"),
        Reducer::Merge => (default.is_object(), "an object"),
    };
    if !fits {
        let reducer = channel.reducer.name();
        findings
            .error(
                &place.key("default"),
                format!("the reducer `{reducer}` needs {wanted} to start with, not {default}"),
            )
            .remedy(format!("write {wanted}, or leave the default out"));
    }
}

fn is_messages(value: &Value) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(Value::is_object))
}
