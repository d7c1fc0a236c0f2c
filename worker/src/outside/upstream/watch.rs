//! What a worker knows of an upstream's breaker: the state as the store last told it, and what it has not told the store
//! yet. Pure: times are handed in.

use std::time::Duration;

use coxswain_shared::store::BreakerView;
use coxswain_shared::upstream::{Breaker, BreakerEvent, BreakerLimits};
use tokio::time::Instant;

/// How old a state may be that is gone by.
const FRESH: Duration = Duration::from_secs(1);
/// Characters of a failure that are told.
const LAST_CHARS_MAX: usize = 100;

/// The watch over a breaker.
#[derive(Debug)]
pub(super) struct Watch {
    limits: BreakerLimits,
    seen: Option<Seen>,
    /// When the store was last asked, with or without success.
    asked_at: Option<Instant>,
    tally: Tally,
}

#[derive(Debug)]
struct Seen {
    view: BreakerView,
    at: Instant,
}

/// Calls that have ended, and of which the store has not been told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) calls: u32,
    pub(super) failed: u32,
    pub(super) last: Option<String>,
}

/// What a breaker says to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// It may be made.
    Go,
    /// It may be made if it is the one that tries.
    Ask {
        /// For how long one might have tried.
        since: Duration,
    },
    /// Another one tries just now.
    Tried {
        /// How long that may take at most.
        left: Duration,
    },
    /// It may not.
    Open(Open),
}

/// A breaker that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::outside) struct Open {
    /// For how long.
    pub(in crate::outside) left: Duration,
    pub(in crate::outside) calls: u32,
    pub(in crate::outside) failed: u32,
    /// What the last failure was.
    pub(in crate::outside) last: Option<String>,
}

impl Watch {
    pub(super) fn new(limits: BreakerLimits) -> Self {
        Self { limits, seen: None, asked_at: None, tally: Tally::default() }
    }

    pub(super) const fn limits(&self) -> BreakerLimits {
        self.limits
    }

    /// A call has ended; `failure` says how, if it failed.
    pub(super) fn ended(&mut self, failure: Option<String>) {
        self.tally.calls = self.tally.calls.saturating_add(1);
        if let Some(failure) = failure {
            self.tally.failed = self.tally.failed.saturating_add(1);
            self.tally.last = Some(failure.chars().take(LAST_CHARS_MAX).collect());
        }
    }

    /// What the store is to be told now, if it is to be asked: when what is known has grown old, and at once when what has
    /// happened here opens the breaker.
    pub(super) fn due(&mut self, now: Instant) -> Option<Tally> {
        let is_old = self.asked_at.is_none_or(|at| now.saturating_duration_since(at) >= FRESH);
        if !is_old && !self.flips(now) {
            return None;
        }
        self.asked_at = Some(now);
        Some(std::mem::take(&mut self.tally))
    }

    fn flips(&self, now: Instant) -> bool {
        let Some(Seen { view, at }) = &self.seen else { return false };
        if !matches!(view.breaker, Breaker::Closed { .. }) {
            return false;
        }
        let event = BreakerEvent::Reported { calls: self.tally.calls, failed: self.tally.failed };
        let then = view.now.after(now.saturating_duration_since(*at));
        matches!(view.breaker.clone().next(&event, then, &self.limits), Breaker::Open { .. })
    }

    /// The store could not be told.
    pub(super) fn untold(&mut self, tally: Tally) {
        self.tally.calls = self.tally.calls.saturating_add(tally.calls);
        self.tally.failed = self.tally.failed.saturating_add(tally.failed);
        self.tally.last = self.tally.last.take().or(tally.last);
    }

    /// What the store has told.
    pub(super) fn see(&mut self, view: BreakerView, now: Instant) {
        self.seen = Some(Seen { view, at: now });
    }

    /// What the breaker says to a call that would be made now. What is not known does not stand in the way.
    pub(super) fn word(&self, now: Instant) -> Word {
        let Some(Seen { view, at }) = &self.seen else { return Word::Go };
        let then = view.now.after(now.saturating_duration_since(*at));
        match view.breaker {
            Breaker::Closed { .. } => Word::Go,
            Breaker::Open { until, .. } | Breaker::HalfOpen { until, .. } if then >= until => {
                Word::Ask { since: then.since(until) }
            }
            Breaker::Open { until, calls, failed } => {
                Word::Open(Open { left: until.since(then), calls, failed, last: view.last.clone() })
            }
            Breaker::HalfOpen { until, .. } => Word::Tried { left: until.since(then) },
        }
    }
}

#[cfg(test)]
mod tests {
    use coxswain_shared::id::Nonce;
    use coxswain_shared::time::Timestamp;

    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_000_000);

    fn watch() -> Watch {
        Watch::new(BreakerLimits { failures: 50, of: 4, ..BreakerLimits::default() })
    }

    fn view(breaker: Breaker) -> BreakerView {
        BreakerView { breaker, last: Some("status 500".to_owned()), now: START }
    }

    #[test]
    fn the_store_is_asked_once_a_second_and_told_what_has_ended() {
        let (mut watch, now) = (watch(), Instant::now());
        assert_eq!(watch.due(now), Some(Tally::default()));
        watch.see(view(Breaker::new(START)), now);
        watch.ended(None);
        watch.ended(Some("x".repeat(500)));
        assert_eq!(watch.due(now + Duration::from_millis(999)), None);
        let told = watch.due(now + FRESH).unwrap();
        assert_eq!((told.calls, told.failed, told.last.as_ref().map(String::len)), (2, 1, Some(LAST_CHARS_MAX)));
        watch.untold(told.clone());
        assert_eq!(watch.due(now + FRESH), None, "not again at once");
        assert_eq!(watch.due(now + FRESH * 2), Some(told));
    }

    #[test]
    fn a_worker_whose_own_calls_open_the_breaker_says_so_at_once() {
        let (mut watch, now) = (watch(), Instant::now());
        watch.due(now);
        watch.see(view(Breaker::Closed { since: START, calls: 2, failed: 1 }), now);
        watch.ended(None);
        assert_eq!(watch.due(now), None);
        watch.ended(Some("status 503".to_owned()));
        assert_eq!(watch.due(now).map(|told| (told.calls, told.failed)), Some((2, 1)));
    }

    #[test]
    fn what_the_breaker_says_changes_with_the_time_that_has_passed() {
        let (mut watch, now) = (watch(), Instant::now());
        assert_eq!(watch.word(now), Word::Go);
        let (until, span) = (START.after(Duration::from_secs(15)), Duration::from_secs(5));
        watch.see(view(Breaker::Open { until, calls: 20, failed: 14 }), now);
        let last = Some("status 500".to_owned());
        assert_eq!(watch.word(now + span), Word::Open(Open { left: span * 2, calls: 20, failed: 14, last }));
        assert_eq!(watch.word(now + span * 3), Word::Ask { since: Duration::ZERO });
        watch.see(view(Breaker::HalfOpen { until, probe: Nonce::fresh() }), now);
        assert_eq!(watch.word(now + span), Word::Tried { left: span * 2 });
        assert_eq!(watch.word(now + span * 4), Word::Ask { since: span });
        watch.see(view(Breaker::new(START)), now);
        assert_eq!(watch.word(now + span), Word::Go);
    }
}
