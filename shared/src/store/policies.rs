//! The calls of the store port that are about the operators' policies: what each takes and answers.

use std::fmt;
use std::time::Duration;

use crate::id::{PolicyName, RunId};
use crate::policy::{Limits, Policy, Usage};

/// A change of the policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyChange {
    /// Which one.
    pub name: PolicyName,
    /// What it says from now on; absent: it is removed.
    pub policy: Option<Policy>,
    /// Who changes it.
    pub actor: String,
    /// Why, in their words.
    pub reason: Option<String>,
}

/// What came of a change of the policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyChanged {
    /// It holds from now on.
    Set,
    /// It said just that before.
    Unchanged,
    /// It holds no more.
    Removed,
    /// There is none of this name to be removed.
    NotFound,
    /// There are as many as may be.
    TooMany,
}

impl PolicyChanged {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Set, Self::Unchanged, Self::Removed, Self::NotFound, Self::TooMany];

    /// Its name in the audit trail.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Unchanged => "unchanged",
            Self::Removed => "removed",
            Self::NotFound => "not_found",
            Self::TooMany => "too_many",
        }
    }
}

impl fmt::Display for PolicyChanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl PolicyChange {
    /// The name under which the audit trail has changes of policies, where it has a run's elsewhere.
    pub fn trail() -> RunId {
        RunId::new("policies").expect("a constant name is well formed")
    }

    /// What the audit trail calls it.
    pub const fn action(&self) -> &'static str {
        if self.policy.is_some() { "set_policy" } else { "remove_policy" }
    }
}

/// Something to be counted in a policy's window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterCall {
    /// The policy.
    pub policy: PolicyName,
    /// Under whose name it is counted.
    pub subject: String,
    /// What is to be counted; nothing, to look only.
    pub add: Usage,
    /// Whether it is counted where there is no room too: it has happened.
    pub must: bool,
    /// How much may be used,
    pub limits: Limits,
    /// within how long.
    pub window: Duration,
}
