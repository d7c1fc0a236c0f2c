//! A channel of the state: `count: { reducer: add, default: 0 }`, `log: append`, or `answer:` alone.

use super::fields::Fields;
use crate::graph::finding::Findings;
use crate::graph::model::{Channel, Reducer};
use crate::graph::place::Place;
use crate::graph::tree::{Branch, Tree};

/// Reads a channel.
pub(super) fn read(tree: &Tree, place: &Place, findings: &mut Findings) -> Option<Channel> {
    match &tree.value {
        Branch::Null => Some(Channel::default()),
        Branch::Text(name) => {
            Some(Channel { reducer: reducer(name, place, findings).unwrap_or_default(), default: None })
        }
        Branch::Bool(_) | Branch::Number(_) | Branch::List(_) => {
            findings
                .error(place, format!("a channel is a reducer's name or a mapping, not {}", tree.describe()))
                .remedy("for a start value write { default: … }");
            None
        }
        Branch::Map(_) => {
            let mut fields = Fields::of(tree, place, "a channel", findings)?;
            let reducer_place = fields.place("reducer");
            let name = fields.text("reducer", findings);
            let known = name.as_deref().map(|name| reducer(name, &reducer_place, findings));
            let default = fields.get("default").map(Tree::to_json);
            fields.finish("a channel", findings);
            // With an unknown reducer nothing can be said about the default.
            let broken = matches!(known, Some(None));
            Some(Channel { reducer: known.flatten().unwrap_or_default(), default: default.filter(|_| !broken) })
        }
    }
}

fn reducer(name: &str, place: &Place, findings: &mut Findings) -> Option<Reducer> {
    let found = Reducer::ALL.into_iter().find(|reducer| reducer.name() == name);
    if found.is_none() {
        findings.error(place, format!("there is no reducer `{name}`")).suggest(name, Reducer::ALL.map(Reducer::name));
    }
    found
}
