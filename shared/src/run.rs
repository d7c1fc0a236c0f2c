//! A run's life: its [`RunStatus`] and the events that move it.
//!
//! | from | started | paused | resumed | stop ordered | closed | succeeded | failed |
//! |---|---|---|---|---|---|---|---|
//! | queued | running | – | – | stopping | – | – | failed |
//! | running | – | interrupted | – | stopping | – | succeeded | failed |
//! | interrupted | – | – | running | stopping | – | – | – |
//! | stopping | – | – | – | stopping | the cause's end | – | – |
//! | succeeded, failed, `timed_out`, cancelled | – | – | – | – | – | – | – |
//!
//! `closed` is the moment at which the last lease of a stopping run was released or has expired. A run that is ordered
//! to stop while no lease is open passes through `stopping` within one script. `–` is an illegal transition.
//! `every_pair_follows_the_table` walks all of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::stop::Cause;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Waits for its turn on its thread, or for a scheduler.
    Queued,
    /// Has work under way.
    Running,
    /// Waits for a human.
    Interrupted,
    /// A stop order holds; leases are still open.
    Stopping,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Ended by its deadline.
    TimedOut,
    /// Ended by a stop order that somebody gave.
    Cancelled,
}

/// What happens to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEvent {
    /// Its first step was planned.
    Started,
    /// It waits for a human.
    Paused,
    /// The human has answered.
    Resumed,
    /// A stop order was accepted.
    StopOrdered,
    /// Its last open lease was released or has expired, under an order with this cause.
    Closed(Cause),
    /// There is nothing left to do.
    Succeeded,
    /// It cannot go on.
    Failed,
}

/// An event that the status does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a run that is {from} cannot take the event {event:?}")]
pub struct IllegalTransition {
    /// The status the run had.
    pub from: RunStatus,
    /// What was to happen.
    pub event: RunEvent,
}

impl RunStatus {
    /// All of them, in the order of a run's life.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Running,
        Self::Interrupted,
        Self::Stopping,
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Cancelled,
    ];

    /// The status after an event.
    pub fn next(self, event: RunEvent) -> Result<Self, IllegalTransition> {
        match (self, event) {
            (Self::Queued, RunEvent::Started) | (Self::Interrupted, RunEvent::Resumed) => Ok(Self::Running),
            (Self::Running, RunEvent::Paused) => Ok(Self::Interrupted),
            (Self::Queued | Self::Running | Self::Interrupted | Self::Stopping, RunEvent::StopOrdered) => {
                Ok(Self::Stopping)
            }
            (Self::Stopping, RunEvent::Closed(cause)) => Ok(cause.end()),
            (Self::Running, RunEvent::Succeeded) => Ok(Self::Succeeded),
            (Self::Queued | Self::Running, RunEvent::Failed) => Ok(Self::Failed),
            (from, event) => Err(IllegalTransition { from, event }),
        }
    }

    /// Whether nothing will ever change it again.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::TimedOut | Self::Cancelled)
    }

    /// The status's name in files, tables and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Stopping => "stopping",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [RunEvent; 7] = [
        RunEvent::Started,
        RunEvent::Paused,
        RunEvent::Resumed,
        RunEvent::StopOrdered,
        RunEvent::Closed(Cause::Deadline),
        RunEvent::Succeeded,
        RunEvent::Failed,
    ];

    /// The rows of the module's table, with `deadline` as the cause.
    const TABLE: [(&str, [&str; 7]); 5] = [
        ("queued", ["running", "–", "–", "stopping", "–", "–", "failed"]),
        ("running", ["–", "interrupted", "–", "stopping", "–", "succeeded", "failed"]),
        ("interrupted", ["–", "–", "running", "stopping", "–", "–", "–"]),
        ("stopping", ["–", "–", "–", "stopping", "the cause's end", "–", "–"]),
        ("succeeded, failed, `timed_out`, cancelled", ["–"; 7]),
    ];

    #[test]
    fn every_pair_follows_the_table() {
        let doc = include_str!("run.rs");
        for (names, cells) in TABLE {
            let row = format!("//! | {names} | {} |", cells.join(" | "));
            assert!(doc.contains(&row), "the module's table lacks the row: {row}");
            for status in names
                .split(", ")
                .map(|name| RunStatus::from_name(name.trim_matches('`')).expect("a status of the table"))
            {
                for (event, cell) in EVENTS.into_iter().zip(cells) {
                    let got = status.next(event).map_or("–", RunStatus::name);
                    let want = if cell == "the cause's end" { "timed_out" } else { cell };
                    assert_eq!(got, want, "{status} on {event:?}");
                }
            }
        }
    }

    #[test]
    fn a_final_status_takes_no_event() {
        for status in RunStatus::ALL.into_iter().filter(|status| status.is_final()) {
            assert!(EVENTS.into_iter().all(|event| status.next(event).is_err()), "{status}");
        }
    }
}
