//! How an attempt ended: the [`Outcome`], and the [`Failure`] that is stored with a bad one.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{ChannelName, NodeName, RunId};
use crate::limits::{FAILURE_BYTES_MAX, Limit};
use crate::run::RunStatus;

/// What a task wrote: a value for each channel it touched, not yet reduced into the state.
pub type Writes = BTreeMap<ChannelName, Value>;

/// How an attempt ended, as it is stored and handed to `plan`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It did its work.
    Succeeded {
        /// What it wrote.
        #[serde(default, skip_serializing_if = "Writes::is_empty")]
        writes: Writes,
        /// Where it asked to go next, beside the graph's edges: node names, or `END`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        goto: Vec<String>,
    },
    /// It ended with an error that no further try will mend.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// A time limit ended it.
    TimedOut {
        /// Which one.
        limit: Limit,
        /// What happened, on which attempt.
        failure: Failure,
    },
    /// Its workers died, or let go of it, too often.
    Crashed {
        /// What is known.
        failure: Failure,
    },
    /// A stop order ended it.
    Stopped {
        /// What it had written when it stopped, marked partial; never applied to the state.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        partial: Option<Value>,
        /// Whether the run goes on as if the task had written nothing: it was not needed any more. It is no failure then.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        skipped: bool,
        /// Who stopped the task and why, if the order was to this task alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// A child run that stood for the task has ended; `plan` reads the child's state.
    ChildEnded {
        /// The child.
        run: RunId,
        /// How it ended.
        status: RunStatus,
        /// Why, if it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Box<Failure>>,
    },
}

/// The kinds of outcome, for labels and tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// See [`Outcome::Succeeded`].
    Succeeded,
    /// See [`Outcome::Failed`].
    Failed,
    /// See [`Outcome::TimedOut`].
    TimedOut,
    /// See [`Outcome::Crashed`].
    Crashed,
    /// See [`Outcome::Stopped`].
    Stopped,
}

impl OutcomeKind {
    /// The kind's name in files, tables and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Crashed => "crashed",
            Self::Stopped => "stopped",
        }
    }
}

impl Outcome {
    /// A success that wrote this.
    pub const fn wrote(writes: Writes) -> Self {
        Self::Succeeded { writes, goto: Vec::new() }
    }

    /// A stop by an order to the whole run.
    pub const fn stopped(partial: Option<Value>) -> Self {
        Self::Stopped { partial, skipped: false, why: None }
    }

    /// Whether it asks for what the node does on a failure.
    pub fn is_bad(&self) -> bool {
        self.kind() != OutcomeKind::Succeeded && !matches!(self, Self::Stopped { skipped: true, .. })
    }

    /// The kind of this outcome. A child's end counts as what it was.
    pub const fn kind(&self) -> OutcomeKind {
        match self {
            Self::Succeeded { .. } => OutcomeKind::Succeeded,
            Self::Failed { .. } => OutcomeKind::Failed,
            Self::TimedOut { .. } => OutcomeKind::TimedOut,
            Self::Crashed { .. } => OutcomeKind::Crashed,
            Self::Stopped { .. } => OutcomeKind::Stopped,
            Self::ChildEnded { status, .. } => match status {
                RunStatus::Succeeded => OutcomeKind::Succeeded,
                RunStatus::TimedOut => OutcomeKind::TimedOut,
                RunStatus::Cancelled => OutcomeKind::Stopped,
                RunStatus::Failed
                | RunStatus::Queued
                | RunStatus::Running
                | RunStatus::Interrupted
                | RunStatus::Stopping => OutcomeKind::Failed,
            },
        }
    }

    /// The failure of a bad outcome; of a child run, its own.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed { failure } | Self::TimedOut { failure, .. } | Self::Crashed { failure } => Some(failure),
            Self::ChildEnded { failure: Some(failure), .. } => Some(failure),
            Self::Succeeded { .. } | Self::Stopped { .. } | Self::ChildEnded { .. } => None,
        }
    }
}

/// What kind of thing went wrong: a closed set, for labels and for deciding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The handler returned an error, or a process exited with one.
    Handler,
    /// The handler panicked.
    Panicked,
    /// A time limit was hit.
    TimedOut,
    /// Workers died under it, or let go of its lease.
    Crashed,
    /// The handler blocked without awaiting, and was fenced.
    Stuck,
    /// What it wrote is over a size limit.
    TooLarge,
    /// What it printed or returned is not what was promised.
    BadOutput,
    /// Its input or configuration is not what it needs.
    BadInput,
    /// A template or expression of the graph failed.
    Expression,
    /// Two nodes wrote the same `last` channel in one step.
    Conflict,
    /// The worker knows no such node kind or handler.
    Unknown,
    /// What it called could not be reached, broke off, or refused.
    Outside,
    /// What it needs was not to be had, and it was not tried.
    PutOff,
    /// A child run ended badly.
    Child,
    /// Fewer items of a fan-out succeeded than it needs.
    FanOut,
    /// The run used up a limit of its graph.
    Exhausted,
    /// The run was stopped.
    Stopped,
}

impl FailureKind {
    /// The kind's name in files, tables and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Handler => "handler",
            Self::Panicked => "panicked",
            Self::TimedOut => "timed_out",
            Self::Crashed => "crashed",
            Self::Stuck => "stuck",
            Self::TooLarge => "too_large",
            Self::BadOutput => "bad_output",
            Self::BadInput => "bad_input",
            Self::Expression => "expression",
            Self::Conflict => "conflict",
            Self::Unknown => "unknown",
            Self::Outside => "outside",
            Self::PutOff => "put_off",
            Self::Child => "child",
            Self::FanOut => "fan_out",
            Self::Exhausted => "exhausted",
            Self::Stopped => "stopped",
        }
    }
}

/// A failure as it is stored, shown and handed to failure handlers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of thing went wrong.
    pub kind: FailureKind,
    /// What went wrong, in a sentence; at most [`FAILURE_BYTES_MAX`] bytes.
    pub message: String,
    /// What lay under it, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
    /// The node, where one is to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
}

impl Failure {
    /// A failure with a message, cut to the limit.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: cut(message.into()), chain: Vec::new(), node: None }
    }

    /// A failure from an error and everything under it.
    pub fn from_error(kind: FailureKind, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut failure = Self::new(kind, error.to_string());
        let mut source = error.source();
        while let Some(inner) = source {
            if failure.chain.len() == 16 {
                break;
            }
            failure.chain.push(cut(inner.to_string()));
            source = inner.source();
        }
        failure
    }

    /// The failure of a task whose child run has ended badly, and over what.
    pub fn of_child(child: &RunId, status: RunStatus, failure: Option<&Self>) -> Self {
        let chain = failure.map(|failure| cut(failure.to_string())).into_iter().collect();
        Self { chain, ..Self::new(FailureKind::Child, format!("child run `{child}` ended as {status}")) }
    }

    /// The same failure, laid at a node's door.
    #[must_use]
    pub fn at(mut self, node: &NodeName) -> Self {
        self.node = Some(node.clone());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = &self.node {
            write!(f, "node `{node}`: ")?;
        }
        f.write_str(&self.message)?;
        self.chain.iter().try_for_each(|inner| write!(f, ": {inner}"))
    }
}

fn cut(mut text: String) -> String {
    if text.len() > FAILURE_BYTES_MAX {
        let end = (0..=FAILURE_BYTES_MAX - 4).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str(" …");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let failure = Failure::new(FailureKind::Handler, "é".repeat(FAILURE_BYTES_MAX));
        assert!(failure.message.len() <= FAILURE_BYTES_MAX && failure.message.ends_with('…'));
    }

    #[test]
    fn an_outcome_reads_back_from_json() {
        let outcome = Outcome::TimedOut {
            limit: Limit::AttemptTimeout,
            failure: Failure::new(FailureKind::TimedOut, "no answer within 2 s"),
        };
        let json = serde_json::to_string(&outcome).unwrap();
        assert!(json.starts_with(r#"{"outcome":"timed_out","limit":"attempt_timeout""#), "{json}");
        assert_eq!(serde_json::from_str::<Outcome>(&json).unwrap(), outcome);
    }
}
