//! How the items of a `for_each` edge are dealt with together, as data.

use serde::{Deserialize, Serialize};

use crate::id::ChannelName;

/// How the items of a fan-out are dealt with together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FanOut {
    /// How many items are under way at once. Absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// What the end of one item means for the others.
    #[serde(default, skip_serializing_if = "FanOutPolicy::is_each")]
    pub policy: FanOutPolicy,
    /// The channel that one list of all results is written to, in the order of the items; what the items write is in it
    /// then, and goes nowhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<ChannelName>,
}

/// What the end of one item means for the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FanOutPolicy {
    /// Nothing: the node's `on_failure` holds for each by itself.
    #[default]
    Each,
    /// Nothing: a failure is a result like any other.
    Collect,
    /// The first failure stops the others; the node's `on_failure` holds for it.
    FailFast,
    /// So many successes stop the others. If there cannot be so many any more, the fan-out has failed: the node's
    /// `on_failure` holds once for all of it.
    Quorum(u32),
    /// The first success stops the others: a quorum of one.
    Race,
}

impl FanOut {
    /// Whether nothing is said.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

impl FanOutPolicy {
    /// The names in files.
    pub const NAMES: [&str; 5] = ["each", "collect", "fail_fast", "quorum", "race"];

    /// Whether each item stands for itself.
    pub fn is_each(&self) -> bool {
        *self == Self::Each
    }

    /// How many successes are enough.
    pub const fn need(self) -> Option<u32> {
        match self {
            Self::Each | Self::Collect | Self::FailFast => None,
            Self::Quorum(need) => Some(need),
            Self::Race => Some(1),
        }
    }

    /// The policy for people: `quorum: 2`.
    pub fn show(self) -> String {
        match self {
            Self::Each => "each".to_owned(),
            Self::Collect => "collect".to_owned(),
            Self::FailFast => "fail_fast".to_owned(),
            Self::Quorum(need) => format!("quorum: {need}"),
            Self::Race => "race".to_owned(),
        }
    }
}
