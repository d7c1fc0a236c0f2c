//! Expressions: that they compile, and that their names are known where they stand.

use std::collections::BTreeSet;

use crate::expr::{Error, Program};
use crate::graph::finding::Findings;
use crate::graph::model::Expression;
use crate::graph::place::Place;

/// The names that expressions of one place can use.
pub(super) struct Names<'a> {
    /// What they are called together, such as `channel`.
    pub(super) what: &'a str,
    /// The names; nothing if they are not known for sure.
    pub(super) known: Option<BTreeSet<&'a str>>,
    /// Whether there is an item.
    pub(super) item: bool,
    /// Whether there could be an item if an edge fanned the node out.
    pub(super) could_have_item: bool,
}

impl Names<'_> {
    /// Notes what is wrong with an expression.
    pub(super) fn check(&self, expression: &Expression, place: &Place, findings: &mut Findings) {
        let program = match Program::compile(expression.0.as_str()) {
            Ok(program) => program,
            Err(error) => {
                let remedy = syntax_remedy(&error);
                let finding = findings.error(place, error.to_string());
                if let Some(remedy) = remedy {
                    finding.remedy(remedy);
                }
                return;
            }
        };
        self.check_used(program.names(), Some(program.text()), place, findings);
    }

    /// Notes names that are not known, of those that a text uses; `whole` is the text, where it is worth showing.
    pub(super) fn check_used<'n>(
        &self,
        used: impl Iterator<Item = &'n str>,
        whole: Option<&str>,
        place: &Place,
        findings: &mut Findings,
    ) {
        let Some(known) = &self.known else { return };
        for name in used.filter(|name| !known.contains(name)) {
            if matches!(name, "item" | "index") {
                if !self.item {
                    self.no_item(name, place, findings);
                }
            } else {
                let message = match whole {
                    Some(text) if text.trim() != name => format!("`{text}` uses `{name}`, which is no {}", self.what),
                    Some(_) | None => format!("`{name}` is no {}", self.what),
                };
                findings.error(place, message).suggest(name, known.iter().copied());
            }
        }
    }

    fn no_item(&self, name: &str, place: &Place, findings: &mut Findings) {
        let finding = findings.error(place, format!("there is no `{name}` here"));
        if self.could_have_item {
            finding.remedy("a node has items if an edge leads to it with `for_each`");
        } else {
            finding.remedy("items exist only in the node that they are fanned out to, not at edges");
        }
    }
}

fn syntax_remedy(error: &Error) -> Option<&'static str> {
    let Error::Syntax { text, .. } = error else { return None };
    let pairs = [
        ("{{", "write the bare expression, without {{ }}"),
        ("&&", "write `and`"),
        ("||", "write `or`"),
        ("===", "write `==`"),
        ("!", "write `not`"),
        ("?", "write `a if condition else b`"),
    ];
    pairs.into_iter().find(|(sign, _)| text.contains(sign)).map(|(_, remedy)| remedy)
}
