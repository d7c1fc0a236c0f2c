//! The fields of a `for_each` edge that say how its items are dealt with together.

use super::fields::Fields;
use crate::graph::fan_out::{FanOut, FanOutPolicy};
use crate::graph::finding::Findings;
use crate::graph::place::Place;
use crate::graph::tree::Branch;

const FORMS: &str = "write `each`, `collect`, `fail_fast`, `race`, or `{ quorum: 2 }`";

/// Reads them.
pub(super) fn read(fields: &mut Fields<'_>, findings: &mut Findings) -> FanOut {
    let concurrency = fields.small_count("concurrency", findings);
    let policy = policy(fields, findings).unwrap_or_default();
    let results = fields.name("results", findings);
    FanOut { concurrency, policy, results }
}

fn policy(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<FanOutPolicy> {
    let tree = fields.get("policy")?;
    let place = fields.place("policy");
    match &tree.value {
        Branch::Text(name) => match name.as_str() {
            "each" => Some(FanOutPolicy::Each),
            "collect" => Some(FanOutPolicy::Collect),
            "fail_fast" => Some(FanOutPolicy::FailFast),
            "race" => Some(FanOutPolicy::Race),
            "quorum" => {
                no_number(&place, findings);
                None
            }
            other => {
                let message = format!("there is no policy `{other}` of a fan-out");
                findings.error(&place, message).suggest(other, FanOutPolicy::NAMES);
                None
            }
        },
        Branch::Map(_) => {
            let mut inner = Fields::of(tree, &place, "`policy`", findings)?;
            let need = inner.small_count("quorum", findings);
            if !inner.has("quorum") {
                no_number(&place, findings);
            }
            inner.finish("`policy`", findings);
            need.map(FanOutPolicy::Quorum)
        }
        Branch::Null | Branch::Bool(_) | Branch::Number(_) | Branch::List(_) => {
            findings.error(&place, format!("`policy` cannot be {}", tree.describe())).remedy(FORMS);
            None
        }
    }
}

fn no_number(place: &Place, findings: &mut Findings) {
    findings.error(place, "a quorum needs a number").remedy("write `{ quorum: 2 }`");
}
