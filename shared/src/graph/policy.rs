//! What holds for a node whatever its kind: limits, retries, and what a failure does.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration;
use crate::id::NodeName;
use crate::limits::{Limit, MAX_CRASHES};
use crate::outcome::Writes;

/// A node's policy. An absent limit has the default of [`crate::limits`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// The task, queueing and retries included.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub timeout: Option<Duration>,
    /// Waiting for a worker.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub queue_timeout: Option<Duration>,
    /// One try.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub attempt_timeout: Option<Duration>,
    /// Connecting to the outside.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub connect_timeout: Option<Duration>,
    /// Waiting for the first byte or token of an answer from the outside.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub first_byte_timeout: Option<Duration>,
    /// Silence between signs of progress, or between the bytes or tokens of an answer from the outside.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub idle_timeout: Option<Duration>,
    /// Cleaning up after a stop.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub grace: Option<Duration>,
    /// How often a failed try is repeated.
    #[serde(default)]
    pub retry: Retry,
    /// Crashed attempts before the task ends as crashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_crashes: Option<u32>,
    /// What a failure does, once no try is left.
    #[serde(default)]
    pub on_failure: OnFailure,
}

impl Policy {
    /// The task's time.
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(Limit::Timeout.default())
    }

    /// The time to wait for a worker: the task's own where absent.
    pub fn queue_timeout(&self) -> Duration {
        self.queue_timeout.unwrap_or_else(|| self.timeout())
    }

    /// The time of one try: never more than the task's.
    pub fn attempt_timeout(&self) -> Duration {
        self.attempt_timeout.unwrap_or(Limit::AttemptTimeout.default()).min(self.timeout())
    }

    /// The time to clean up.
    pub fn grace(&self) -> Duration {
        self.grace.unwrap_or(Limit::Grace.default())
    }

    /// The crashes that are allowed.
    pub fn max_crashes(&self) -> u32 {
        self.max_crashes.unwrap_or(MAX_CRASHES)
    }
}

/// How often a failed try is repeated, and after what pause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Tries in all; 1 means no retry.
    pub attempts: u32,
    /// The pause.
    #[serde(flatten)]
    pub backoff: Backoff,
}

impl Default for Retry {
    fn default() -> Self {
        Self::ONCE
    }
}

/// The pause before a try: `first × factor^(n-1)`, at most `max`, then jittered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Backoff {
    /// Before the second try.
    #[serde(with = "duration")]
    pub first: Duration,
    /// How it grows.
    pub factor: f64,
    /// The longest.
    #[serde(with = "duration")]
    pub max: Duration,
    /// How it is spread.
    pub jitter: Jitter,
}

impl Backoff {
    /// What holds where a graph says nothing.
    pub const STANDARD: Self =
        Self { first: Duration::from_secs(1), factor: 2.0, max: Duration::from_secs(30), jitter: Jitter::Full };
}

impl Default for Backoff {
    fn default() -> Self {
        Self::STANDARD
    }
}

/// How a pause is spread, so that many that failed together do not come back together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    /// Not at all.
    None,
    /// Evenly between nothing and the pause.
    #[default]
    Full,
    /// Evenly between half of the pause and all of it.
    Equal,
}

/// What a failure does, once no try is left.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It fails the run.
    #[default]
    Fail,
    /// The run goes on as if the node had written this.
    Continue(Writes),
    /// The run goes on at this node, beside what else is due.
    Goto(NodeName),
}
