//! Whether an upstream may be called at all: a circuit breaker, as a state and what moves it.
//!
//! | from | reported | reported, too many failed | asked | asked, its time has come | probed well | probed badly | another probed |
//! |---|---|---|---|---|---|---|---|
//! | closed | closed | open | closed | closed | closed | closed | closed |
//! | open | open | open | open | half-open | open | open | open |
//! | half-open | half-open | half-open | half-open | half-open | closed | open | half-open |
//!
//! `reported`: so many calls have ended since the report before, and so many of them failed. `asked`: somebody would make
//! the one call that tries whether the upstream is back. Of a breaker that is open, `its time has come` when it was open
//! for long enough; of one that is half-open, when the probe under way has taken so long that it is another's turn.
//! `every_pair_follows_the_table` walks all of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::Nonce;
use crate::limits::Limit;
use crate::time::Timestamp;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerLimits {
    /// It opens when so many percent of the calls have failed,
    pub failures: u8,
    /// of at least so many,
    pub of: u32,
    /// that ended within this time.
    pub within: Duration,
    /// How long it stays open before one call tries, and how long that may take before another one does.
    pub open_for: Duration,
    /// A time limit that passes is a failure of the upstream if the limit was at least so long; a shorter one is the
    /// caller's own choice.
    pub min_timeout: Duration,
}

impl Default for BreakerLimits {
    /// Half of at least 20 calls within 30 s; open for 15 s. A limit counts that is as long as the usual one of a first
    /// byte.
    fn default() -> Self {
        Self {
            failures: 50,
            of: 20,
            within: Duration::from_secs(30),
            open_for: Duration::from_secs(15),
            min_timeout: Limit::FirstByteTimeout.default(),
        }
    }
}

/// Where a breaker stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Breaker {
    /// Calls are made, and counted.
    Closed {
        /// Since when they are counted.
        since: Timestamp,
        /// How many have ended.
        calls: u32,
        /// How many of these failed.
        failed: u32,
    },
    /// No calls are made.
    Open {
        /// Until when.
        until: Timestamp,
        /// How many calls had ended when it opened.
        calls: u32,
        /// How many of these had failed.
        failed: u32,
    },
    /// One call is made, to try.
    HalfOpen {
        /// From when on another one may be made instead.
        until: Timestamp,
        /// Which one.
        probe: Nonce,
    },
}

/// What moves a breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BreakerEvent {
    /// Calls have ended; none is reported to look only.
    Reported {
        /// How many.
        calls: u32,
        /// How many of these failed.
        failed: u32,
    },
    /// Somebody would make the call that tries.
    Asked {
        /// Names the call.
        probe: Nonce,
    },
    /// That call has ended.
    Probed {
        /// Which one.
        probe: Nonce,
        /// Whether it went well.
        well: bool,
    },
}

impl Breaker {
    /// One that nothing is known of.
    pub const fn new(now: Timestamp) -> Self {
        Self::Closed { since: now, calls: 0, failed: 0 }
    }

    /// The state after an event. Every event is allowed in every state: reports come late, and from many.
    #[must_use]
    pub fn next(self, event: &BreakerEvent, now: Timestamp, limits: &BreakerLimits) -> Self {
        let until = now.after(limits.open_for);
        match (self, event) {
            (Self::Closed { since, calls, failed }, BreakerEvent::Reported { calls: more, failed: bad }) => {
                let is_old = now.since(since) >= limits.within;
                let (since, calls, failed) = if is_old { (now, 0, 0) } else { (since, calls, failed) };
                let (calls, failed) = (calls.saturating_add(*more), failed.saturating_add(*bad));
                if limits.is_too_bad(calls, failed) {
                    Self::Open { until, calls, failed }
                } else {
                    Self::Closed { since, calls, failed }
                }
            }
            (Self::Open { until: end, .. } | Self::HalfOpen { until: end, .. }, BreakerEvent::Asked { probe })
                if now >= end =>
            {
                Self::HalfOpen { until, probe: probe.clone() }
            }
            (Self::HalfOpen { probe, .. }, BreakerEvent::Probed { probe: ended, well }) if probe == *ended => {
                if *well {
                    Self::new(now)
                } else {
                    Self::Open { until, calls: 1, failed: 1 }
                }
            }
            (same @ Self::Closed { .. }, BreakerEvent::Asked { .. } | BreakerEvent::Probed { .. })
            | (
                same @ (Self::Open { .. } | Self::HalfOpen { .. }),
                BreakerEvent::Reported { .. } | BreakerEvent::Asked { .. } | BreakerEvent::Probed { .. },
            ) => same,
        }
    }

    /// The state's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half-open",
        }
    }
}

impl BreakerLimits {
    /// How long a limit must be to count: connecting takes less than an answer.
    pub fn min_timeout_of(&self, limit: Limit) -> Duration {
        match limit {
            Limit::ConnectTimeout => self.min_timeout.min(limit.default()),
            Limit::RunTimeout
            | Limit::Timeout
            | Limit::QueueTimeout
            | Limit::AttemptTimeout
            | Limit::FirstByteTimeout
            | Limit::IdleTimeout
            | Limit::Grace => self.min_timeout,
        }
    }

    /// Whether so many failures of so many calls open the breaker.
    pub fn is_too_bad(&self, calls: u32, failed: u32) -> bool {
        calls >= self.of && u64::from(failed) * 100 >= u64::from(self.failures) * u64::from(calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(100_000);

    fn nonce(text: &str) -> Nonce {
        Nonce::new(text).unwrap()
    }

    fn reported(calls: u32, failed: u32) -> BreakerEvent {
        BreakerEvent::Reported { calls, failed }
    }

    #[test]
    fn every_pair_follows_the_table() {
        let limits = BreakerLimits::default();
        let (past, to_come) = (Timestamp::from_millis(90_000), Timestamp::from_millis(110_000));
        let states = |end| {
            [
                Breaker::Closed { since: past, calls: 0, failed: 0 },
                Breaker::Open { until: end, calls: 20, failed: 10 },
                Breaker::HalfOpen { until: end, probe: nonce("p") },
            ]
        };
        let probed = |probe, well| BreakerEvent::Probed { probe: nonce(probe), well };
        let events = [
            (to_come, reported(19, 19)),
            (to_come, reported(20, 10)),
            (to_come, BreakerEvent::Asked { probe: nonce("q") }),
            (past, BreakerEvent::Asked { probe: nonce("q") }),
            (to_come, probed("p", true)),
            (to_come, probed("p", false)),
            (to_come, probed("q", true)),
        ];
        for (number, state) in states(past).iter().enumerate() {
            let cells =
                events.each_ref().map(|(end, event)| states(*end)[number].clone().next(event, NOW, &limits).name());
            let row = format!("//! | {} | {} |", state.name(), cells.join(" | "));
            assert!(include_str!("breaker.rs").contains(&row), "the module's table lacks the row: {row}");
        }
    }

    #[test]
    fn what_ended_long_ago_counts_no_more() {
        let limits = BreakerLimits::default();
        let breaker = Breaker::new(NOW).next(&reported(19, 19), NOW, &limits);
        let later = NOW.after(limits.within);
        let (calls, failed) = (1, 1);
        assert_eq!(breaker.next(&reported(1, 1), later, &limits), Breaker::Closed { since: later, calls, failed });
    }

    #[test]
    fn it_opens_at_just_so_many_percent_of_just_so_many_calls() {
        let limits = BreakerLimits { failures: 30, of: 10, ..BreakerLimits::default() };
        assert!(!limits.is_too_bad(9, 9) && !limits.is_too_bad(10, 2));
        assert!(limits.is_too_bad(10, 3) && limits.is_too_bad(1_000, 300) && !limits.is_too_bad(1_000, 299));
        assert!(limits.is_too_bad(u32::MAX, u32::MAX));
    }

    #[test]
    fn one_probe_at_a_time_and_the_next_one_takes_over_when_it_is_lost() {
        let limits = BreakerLimits::default();
        let ask = |probe: &str| BreakerEvent::Asked { probe: nonce(probe) };
        let open = Breaker::Open { until: NOW, calls: 20, failed: 20 };
        let half = open.next(&ask("a"), NOW, &limits);
        assert_eq!(half.clone().next(&ask("b"), NOW, &limits), half, "another's is under way");
        assert_eq!(half.clone().next(&ask("a"), NOW, &limits), half, "asked again, it is still its own");
        let lapsed = NOW.after(limits.open_for);
        let taken = half.next(&ask("b"), lapsed, &limits);
        assert_eq!(taken, Breaker::HalfOpen { until: lapsed.after(limits.open_for), probe: nonce("b") });
        let late = BreakerEvent::Probed { probe: nonce("a"), well: true };
        assert_eq!(taken.clone().next(&late, lapsed, &limits), taken, "the lost one has no say");
    }
}
