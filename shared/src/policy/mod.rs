//! The operators' policies: how much the runs of a graph, a label or a thread may use within a window, and what happens
//! to those that would use more. Pure: who is counted where, and what a count means. `policing` applies them.

mod measure;
mod read;
mod window;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::measure::{Limits, Measure, Usage};
pub use self::read::{Named, read};
pub use self::window::{PARTS, Reading, Window, part_of};
use crate::duration;
use crate::id::{GraphName, PolicyName, ThreadId};
use crate::stop::NewOrder;

/// What happens to runs for which a policy has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// New ones are refused; those in flight go on.
    Refuse,
    /// Nothing of them is begun until there is room.
    Pause,
    /// New ones are refused, and those in flight are stopped where they would begin or have ended a task.
    Stop,
}

impl Then {
    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Pause => "pause",
            Self::Stop => "stop",
        }
    }
}

/// What is counted apart from what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// All runs that the policy is for have one count.
    #[default]
    All,
    /// Each graph has its own.
    Graph,
    /// Each thread has its own.
    Thread,
    /// Each value of this label has its own; runs without it are not counted.
    Label(String),
}

/// One policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a policy such as {window: 1h, limits: {runs: 10}, then: refuse}")]
pub struct Policy {
    /// Only runs of this graph; with a `*` at its end of all graphs whose names begin so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<String>,
    /// Only runs with all these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What is counted apart from what.
    #[serde(default)]
    pub per: Per,
    /// How long what was used counts.
    #[serde(with = "duration")]
    pub window: Duration,
    /// How much may be used in it.
    pub limits: Limits,
    /// What happens at a limit.
    pub then: Then,
}

/// Whom a run is counted with: the run at the top of its tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// Its graph.
    pub graph: GraphName,
    /// Its thread.
    pub thread: ThreadId,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Policy {
    /// Under whose name a run is counted; none if the policy is not for it.
    pub fn subject(&self, who: &Who) -> Option<String> {
        let is_graph = self.graph.as_deref().is_none_or(|pattern| match pattern.strip_suffix('*') {
            Some(start) => who.graph.as_str().starts_with(start),
            None => who.graph.as_str() == pattern,
        });
        let has_labels = self.labels.iter().all(|(name, value)| who.labels.get(name) == Some(value));
        if !(is_graph && has_labels) {
            return None;
        }
        match &self.per {
            Per::All => Some(String::new()),
            Per::Graph => Some(who.graph.to_string()),
            Per::Thread => Some(who.thread.to_string()),
            Per::Label(name) => who.labels.get(name).cloned(),
        }
    }

    /// Whom a subject is, for a sentence: ` for thread t1`; nothing where all are counted together.
    pub fn whom(&self, subject: &str) -> String {
        match &self.per {
            Per::All => String::new(),
            Per::Graph => format!(" for graph {subject}"),
            Per::Thread => format!(" for thread {subject}"),
            Per::Label(name) => format!(" for {name}={subject}"),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits: Vec<_> = self.limits.all().map(|(measure, limit)| measure.show(limit)).collect();
        write!(f, "{} in {}, then {}", limits.join(", "), duration::show(self.window), self.then.name())
    }
}

/// A limit that a policy's subject has come to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Reached {
    /// The policy.
    pub policy: PolicyName,
    /// Of what.
    pub measure: Measure,
    /// Whom it is about, such as ` for thread t1`.
    pub whom: String,
    /// How much was used.
    pub used: u64,
    /// How much may be.
    pub limit: u64,
    /// Within how long.
    pub window: Duration,
    /// How long until there is room again.
    pub room_in: Duration,
}

impl Reached {
    fn text(&self) -> String {
        let Self { policy, measure, whom, used, limit, window, room_in } = self;
        let (limit, used) = (measure.show(*limit), measure.show(*used));
        let (window, room_in) = (duration::show(*window), in_short(*room_in));
        format!(
            "policy `{policy}` allows {limit} in {window}{whom}, and it has come to {used}: there is room again in {room_in}"
        )
    }

    /// The order that stops a run for it.
    pub fn order(&self) -> NewOrder {
        NewOrder {
            cause: self.measure.cause(),
            reason: Some(self.text()),
            actor: format!("policy {}", self.policy),
            grace: None,
            force: false,
        }
    }
}

impl Named {
    /// What a reading says of a subject under these limits of it, if there is no room; after something was counted that had to be, if it was too much.
    pub fn reached(&self, subject: &str, limits: &Limits, reading: &Reading) -> Option<Reached> {
        let Policy { window, .. } = &self.policy;
        let measure = if reading.counted { limits.overrun(&reading.used)? } else { limits.used_up(&reading.used)? };
        let room_at = reading.room_at.unwrap_or(reading.now);
        Some(Reached {
            policy: self.name.clone(),
            measure,
            whom: self.policy.whom(subject),
            used: reading.used.get(measure),
            limit: limits.get(measure).unwrap_or_default(),
            window: *window,
            room_in: room_at.since(reading.now),
        })
    }
}

/// How long to wait, in whole seconds where it is more than one: rather too long than too short.
pub fn in_short(wait: Duration) -> String {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    duration::show(if wait > Duration::from_secs(1) { Duration::from_secs(seconds) } else { wait })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn policy(text: &str) -> Policy {
        let whole = format!("{{\"window\":\"1h\",\"limits\":{{\"runs\":2}},\"then\":\"refuse\",{text}}}");
        serde_json::from_str(&whole).unwrap()
    }

    fn who() -> Who {
        let labels = [("team", "search"), ("env", "prod")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        Who {
            graph: GraphName::new("nightly-report").unwrap(),
            thread: ThreadId::new("t1").unwrap(),
            labels: labels.into(),
        }
    }

    #[test]
    fn a_run_is_counted_with_those_that_the_policy_says() {
        let subject = |text: &str| policy(text).subject(&who());
        let for_ = |text: &str| subject(text).as_deref().map(str::to_owned);
        assert_eq!(for_(r#""per":"all""#).as_deref(), Some(""));
        assert_eq!(for_(r#""per":"graph""#).as_deref(), Some("nightly-report"));
        assert_eq!(for_(r#""per":"thread""#).as_deref(), Some("t1"));
        assert_eq!(for_(r#""per":{"label":"team"}"#).as_deref(), Some("search"));
        assert_eq!(for_(r#""per":{"label":"owner"}"#), None, "it has no such label");
        assert_eq!(for_(r#""graph":"nightly-*""#).as_deref(), Some(""));
        assert_eq!(for_(r#""graph":"nightly""#), None);
        assert_eq!(for_(r#""graph":"nightly-report","labels":{"env":"prod"}"#).as_deref(), Some(""));
        assert_eq!(for_(r#""labels":{"env":"prod","team":"ads"}"#), None, "all labels must be there");
    }

    #[test]
    fn a_limit_that_is_reached_says_whose_it_is_and_when_there_is_room() {
        let named = Named { name: PolicyName::new("few").unwrap(), policy: policy(r#""per":"thread""#) };
        let now = Timestamp::from_millis(0);
        let reading = Reading {
            counted: false,
            used: Usage::of(Measure::Runs, 2),
            room_at: Some(now.after(Duration::from_mins(5))),
            now,
        };
        let reached = named.reached("t1", &named.policy.limits, &reading).unwrap();
        let text =
            "policy `few` allows 2 runs in 1h for thread t1, and it has come to 2 runs: there is room again in 5m";
        assert_eq!(reached.to_string(), text);
        assert_eq!(reached.order().actor, "policy few");
        assert_eq!(
            named.reached("t1", &named.policy.limits, &Reading { counted: true, ..reading }),
            None,
            "just the limit is not more"
        );
        assert_eq!(named.policy.to_string(), "2 runs in 1h, then refuse");
    }
}
