//! Reads policies from a file, and says all that is wrong with them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Per, Policy};
use crate::duration;
use crate::id::{GraphName, PolicyName};
use crate::limits::{LABELS_MAX, POLICIES_MAX, TEXT_BYTES_MAX};
use crate::printable;

/// How short and how long a window may be.
const WINDOW_MIN: Duration = Duration::from_secs(1);
const WINDOW_MAX: Duration = Duration::from_hours(31 * 24);

/// A policy with its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its name.
    pub name: PolicyName,
    /// The policy.
    #[serde(flatten)]
    pub policy: Policy,
}

/// Reads policies by name, from YAML or JSON; else everything that is wrong, each with its place.
pub fn read(text: &str) -> Result<Vec<Named>, Vec<String>> {
    let read: Value = serde_saphyr::from_str(text).map_err(|error| vec![format!("it cannot be read: {error}")])?;
    let Value::Object(all) = read else {
        return Err(vec![
            "write policies by name: {few-runs: {window: 1h, limits: {runs: 10}, then: refuse}}".to_owned(),
        ]);
    };
    let mut mistakes = Vec::new();
    if all.len() > POLICIES_MAX {
        mistakes.push(format!("there are {} policies: at most {POLICIES_MAX} may be", all.len()));
    }
    let mut policies = Vec::new();
    for (name, value) in all {
        match one(&name, &value) {
            Ok(named) => policies.push(named),
            Err(wrong) => mistakes.extend(wrong.into_iter().map(|why| format!("`{name}`: {why}"))),
        }
    }
    if mistakes.is_empty() { Ok(policies) } else { Err(mistakes) }
}

fn one(name: &str, value: &Value) -> Result<Named, Vec<String>> {
    let name = PolicyName::new(name).map_err(|error| vec![error.to_string()])?;
    let policy = Policy::deserialize(value).map_err(|error| match mistakes_of_form(value) {
        none if none.is_empty() => vec![in_words(&error)],
        mistakes => mistakes,
    })?;
    let mistakes = policy.mistakes();
    if mistakes.is_empty() { Ok(Named { name, policy }) } else { Err(mistakes) }
}

/// What is wrong with the form of each field by itself: it is looked at in a policy that is right but for it.
fn mistakes_of_form(value: &Value) -> Vec<String> {
    let Value::Object(fields) = value else { return Vec::new() };
    let sound = json!({"window": "1h", "limits": {"runs": 1}, "then": "refuse"});
    let mut mistakes: Vec<_> = ["window", "limits", "then"]
        .into_iter()
        .filter(|needed| !fields.contains_key(*needed))
        .map(|needed| format!("`{needed}` is missing"))
        .collect();
    let mut look = |place: String, field: &str, value: Value| {
        let mut policy = sound.clone();
        policy[field] = value;
        if let Err(error) = serde_json::from_value::<Policy>(policy) {
            mistakes.push(format!("{place}: {}", in_words(&error)));
        }
    };
    for (field, value) in fields {
        match value {
            Value::Object(limits) if field == "limits" => {
                for (measure, limit) in limits {
                    look(format!("limits.{measure}"), field, json!({ measure: limit }));
                }
            }
            value => look(field.clone(), field, value.clone()),
        }
    }
    mistakes
}

/// A reader's error in words of a file, not of a program.
fn in_words(error: &serde_json::Error) -> String {
    error.to_string().replace("expected u64", "expected a whole number").replace("expected a map", "expected a mapping")
}

impl Policy {
    /// What is wrong with it beyond its form.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if !(WINDOW_MIN..=WINDOW_MAX).contains(&self.window) {
            let [given, min, max] = [self.window, WINDOW_MIN, WINDOW_MAX].map(duration::show);
            mistakes.push(format!("the window of {given} is not between {min} and {max}"));
        }
        if self.limits.is_empty() {
            mistakes.push(
                "it limits nothing: `limits` takes runs, node_runs, failures, tokens, cost, tool_calls and wall_time"
                    .to_owned(),
            );
        }
        if let Some(pattern) = &self.graph
            && pattern != "*"
            && GraphName::new(pattern.strip_suffix('*').unwrap_or(pattern)).is_err()
        {
            mistakes.push(format!("`graph: {pattern}` is no name of a graph; a `*` may stand at its end"));
        }
        if self.labels.len() > LABELS_MAX {
            mistakes.push(format!("it names {} labels: a run has at most {LABELS_MAX}", self.labels.len()));
        }
        let per = if let Per::Label(name) = &self.per { Some(name) } else { None };
        let texts = self.labels.iter().flat_map(|(name, value)| [name, value]).chain(per);
        if texts.into_iter().any(|text| text.len() > TEXT_BYTES_MAX) {
            mistakes.push(format!("a label has more than {TEXT_BYTES_MAX} bytes"));
        }
        let texts = self.labels.iter().flat_map(|(name, value)| [name, value]).chain(per);
        if texts.into_iter().any(|text| text.chars().any(printable::is_control)) {
            mistakes.push("a label has no control characters".to_owned());
        }
        if self.labels.keys().chain(per).any(String::is_empty) {
            mistakes.push("a label has an empty name".to_owned());
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Then;

    #[test]
    fn policies_are_read_by_name_and_written_as_they_were_read() {
        let text = "
nightly: {graph: nightly-*, window: 1h, limits: {cost: 2.5, wall_time: 10m}, then: stop}
few: {labels: {team: search}, per: {label: tenant}, window: 1m, limits: {runs: 10}, then: pause}";
        let read = read(text).unwrap();
        let few = read.iter().find(|named| named.name.as_str() == "few").unwrap();
        assert_eq!((few.policy.then, &few.policy.per), (Then::Pause, &Per::Label("tenant".to_owned())));
        for named in &read {
            let json = serde_json::to_string(named).unwrap();
            assert_eq!(serde_json::from_str::<Named>(&json).unwrap(), *named, "{json}");
        }
    }

    #[test]
    fn all_policies_that_are_wrong_are_told_at_once() {
        let text = "
a: {window: 1h, limits: {}, then: stop}
b: {window: 1h, limits: {run: 1}, then: stop}
c: {window: 40d, limits: {runs: 1}, then: stop, graph: '*-x'}
d: {window: 1h, limits: {runs: 1}, then: explode}
'e e': {window: 1h, limits: {runs: 1}, then: stop}
f: {limits: {runs: 1}, then: stop, per: {label: ''}, window: 1h}
g: {window: 1h, limits: {cost: -1, runs: 1.5}, per: graphs}
h: 3
i: {labels: {team: \"a\\eb\"}, window: 1h, limits: {runs: 1}, then: stop}";
        let wrong = read(text).unwrap_err().join("\n");
        for told in [
            "`a`: it limits nothing",
            "`b`: limits.run: unknown field `run`",
            "`c`: `graph: *-x` is no name",
            "`d`: then: unknown variant `explode`",
            "`e e`: policy name `e e` is not a name",
            "`f`: a label has an empty name",
            "`g`: `then` is missing",
            "`g`: limits.cost: -1 is no amount of money",
            "`g`: limits.runs: invalid type: floating point `1.5`, expected a whole number",
            "`g`: per: unknown variant `graphs`",
            "`i`: a label has no control characters",
            "`h`: invalid type: integer `3`, expected a policy such as {window: 1h",
        ] {
            assert!(wrong.contains(told), "{told}: {wrong}");
        }
        assert!(wrong.contains("the window of 40d is not between 1s and 31d"), "{wrong}");
        assert!(read("[]").is_err() && read("{").is_err());
    }
}
