//! Stop orders: what was ordered, by whom and why, and the proof of how it was carried out.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::duration;
use crate::limits::Limit;
use crate::run::RunStatus;
use crate::spend::Spend;
use crate::time::Timestamp;

/// Why a run is stopped. The cause decides how the run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Somebody asked.
    Cancelled,
    /// A new run on the same thread took its place.
    Superseded,
    /// Its `run_timeout` has passed.
    Deadline,
    /// It used up a budget.
    Budget,
    /// It went round too often: `max_steps`, `max_repeats`.
    Loop,
    /// A rule of the operators.
    Policy,
    /// The fleet had to shed work.
    Overload,
    /// A node beside it failed, and that fails the run.
    SiblingFailed,
}

impl Cause {
    /// All causes.
    pub const ALL: [Self; 8] = [
        Self::Cancelled,
        Self::Superseded,
        Self::Deadline,
        Self::Budget,
        Self::Loop,
        Self::Policy,
        Self::Overload,
        Self::SiblingFailed,
    ];

    /// The status of a run that was stopped for this.
    pub const fn end(self) -> RunStatus {
        match self {
            Self::Cancelled | Self::Superseded | Self::Policy | Self::Overload => RunStatus::Cancelled,
            Self::Deadline => RunStatus::TimedOut,
            Self::Budget | Self::Loop | Self::SiblingFailed => RunStatus::Failed,
        }
    }

    /// The cause's name in files, tables and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
            Self::Deadline => "deadline",
            Self::Budget => "budget",
            Self::Loop => "loop",
            Self::Policy => "policy",
            Self::Overload => "overload",
            Self::SiblingFailed => "sibling_failed",
        }
    }

    /// The cause of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An instruction to stop a run, before the store has given it a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewOrder {
    /// Why.
    pub cause: Cause,
    /// Why, in the orderer's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who: `user@host`, or a part of the fleet.
    pub actor: String,
    /// How long cleaning up may take; each task's own `grace` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub grace: Option<Duration>,
    /// Without grace: futures dropped and processes killed at once.
    #[serde(default)]
    pub force: bool,
}

impl NewOrder {
    /// Who gave it and why, for a sentence that says what was stopped: `by ann@host: too slow`.
    pub fn by(&self) -> String {
        match &self.reason {
            Some(reason) => format!("by {}: {reason}", self.actor),
            None => format!("by {}", self.actor),
        }
    }
}

/// The durable, immutable instruction to stop a run, as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopOrder {
    /// What was ordered.
    #[serde(flatten)]
    pub order: NewOrder,
    /// When the store accepted it, by the store's clock.
    pub at: Timestamp,
}

/// How one attempt was stopped: its worker's testimony. Times are the store's, as its worker reckons them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StopProof {
    /// When the worker learned of the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Timestamp>,
    /// When the work was gone: the future dropped, the process reaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    /// When its cleanup hooks were through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleaned_at: Option<Timestamp>,
    /// Whether it had ended by itself between the order and the drop; its result was refused.
    #[serde(default)]
    pub refused_result: bool,
    /// Whether the worker is sure that nothing of the attempt runs on.
    pub confirmed: bool,
    /// Why it is not sure, if it can say: which attempt may run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
    /// What it had written when it stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<Value>,
    /// What it had spent when it stopped, as far as it was told.
    #[serde(default, skip_serializing_if = "Spend::is_nothing")]
    pub spent: Spend,
}

/// The state of a stop: the order, and what is known of its carrying out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StopReport {
    /// The first order: it decides how the run ends.
    pub order: StopOrder,
    /// When an order by force followed, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced_at: Option<Timestamp>,
    /// Leases that were open when the order was accepted.
    pub leases: u32,
    /// Leases that their workers have released with proof.
    pub released: u32,
    /// Leases that have expired instead, or whose worker could not be sure.
    pub unconfirmed: u32,
    /// When the last lease was closed; absent while the run is stopping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Timestamp>,
}

impl StopReport {
    /// That of an order which was given just now, while so many leases were open.
    pub const fn new(order: StopOrder, leases: u32) -> Self {
        Self { order, forced_at: None, leases, released: 0, unconfirmed: 0, closed_at: None }
    }

    /// Whether the run has stopped, and every lease was released by its worker.
    pub const fn is_confirmed(&self) -> bool {
        self.closed_at.is_some() && self.unconfirmed == 0
    }
}

/// What ends an attempt before it ends by itself. The order is that of precedence: a stop outranks a deadline that is
/// reached at the same moment, and a lost lease outranks both, since nothing may be written any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndReason {
    /// The worker is shutting down: the task is handed back, and it was no try.
    Shutdown,
    /// A time limit was hit: a failed try.
    DeadlineExceeded(Limit),
    /// The run was ordered to stop: final.
    StopOrdered(StopOrder),
    /// The lease is lost: write nothing.
    LeaseLost,
}

impl EndReason {
    /// Its rank: the higher one prevails.
    pub const fn rank(&self) -> u8 {
        match self {
            Self::Shutdown => 0,
            Self::DeadlineExceeded(_) => 1,
            Self::StopOrdered(_) => 2,
            Self::LeaseLost => 3,
        }
    }

    /// The reason's name in logs and labels.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::DeadlineExceeded(_) => "deadline_exceeded",
            Self::StopOrdered(_) => "stop_ordered",
            Self::LeaseLost => "lease_lost",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_ends_in_a_final_status_under_its_own_name() {
        for cause in Cause::ALL {
            assert!(cause.end().is_final());
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.name());
        }
    }

    #[test]
    fn an_order_reads_back_from_json() {
        let order = StopOrder {
            order: NewOrder {
                cause: Cause::Cancelled,
                reason: Some("too slow".into()),
                actor: "ann@host".into(),
                grace: Some(Duration::from_millis(1_500)),
                force: false,
            },
            at: Timestamp::from_millis(7),
        };
        let json = serde_json::to_string(&order).unwrap();
        assert_eq!(serde_json::from_str::<StopOrder>(&json).unwrap(), order, "{json}");
    }

    #[test]
    fn a_stop_outranks_a_deadline_and_a_lost_lease_outranks_both() {
        let deadline = EndReason::DeadlineExceeded(Limit::AttemptTimeout);
        assert!(EndReason::LeaseLost.rank() > deadline.rank() && deadline.rank() > EndReason::Shutdown.rank());
    }
}
