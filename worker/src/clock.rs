//! The store's clock as this worker reckons it: an anchor that ties a local instant to a time of the store.
//!
//! It judges nothing that the store judges itself; it turns the store's deadlines into timers, and instants into the
//! times of a stop's proof.

use std::sync::Mutex;
use std::time::Duration;

use coxswain_shared::time::Timestamp;
use tokio::time::Instant;

/// How fast an anchor loses its worth: a millisecond of doubt for each second of age.
const DOUBT_PER_AGE: u32 = 1_000;

/// The store's clock, reckoned from its answers.
#[derive(Debug)]
pub(crate) struct StoreClock(Mutex<Anchor>);

#[derive(Debug, Clone, Copy)]
struct Anchor {
    local: Instant,
    store: Timestamp,
    doubt: Duration,
}

impl StoreClock {
    /// A clock anchored by a call that was sent and answered at these instants, with the store's time in the answer.
    pub(crate) fn new(sent: Instant, answered: Instant, store: Timestamp) -> Self {
        Self(Mutex::new(Anchor::new(sent, answered, store)))
    }

    /// Takes another answer into account, if it is more certain than what is known.
    pub(crate) fn observe(&self, sent: Instant, answered: Instant, store: Timestamp) {
        let new = Anchor::new(sent, answered, store);
        let mut anchor = self.0.lock().expect("no one panics while holding the clock");
        let aged = anchor.doubt + answered.saturating_duration_since(anchor.local) / DOUBT_PER_AGE;
        if new.doubt <= aged {
            *anchor = new;
        }
    }

    /// The store's time at an instant.
    pub(crate) fn at(&self, instant: Instant) -> Timestamp {
        let anchor = *self.0.lock().expect("no one panics while holding the clock");
        match instant.checked_duration_since(anchor.local) {
            Some(later) => anchor.store.after(later),
            None => before(anchor.store, anchor.local.saturating_duration_since(instant)),
        }
    }

    /// The instant of a time of the store; one in the past is given as now, one beyond reach as a year from now.
    pub(crate) fn instant_of(&self, time: Timestamp, now: Instant) -> Instant {
        now + time.since(self.at(now)).min(coxswain_shared::duration::DURATION_MAX)
    }
}

impl Anchor {
    fn new(sent: Instant, answered: Instant, store: Timestamp) -> Self {
        let doubt = answered.saturating_duration_since(sent) / 2;
        Self { local: sent + doubt, store, doubt }
    }
}

fn before(time: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_millis(time.as_millis().saturating_sub(coxswain_shared::time::millis(by)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn times_of_the_store_and_instants_are_turned_into_each_other() {
        let now = Instant::now();
        let clock = StoreClock::new(now, now + SECOND * 2, Timestamp::from_millis(100_000));
        assert_eq!(clock.at(now + SECOND), Timestamp::from_millis(100_000), "the answer was made half way");
        assert_eq!(clock.at(now), Timestamp::from_millis(99_000));
        assert_eq!(clock.instant_of(Timestamp::from_millis(105_000), now + SECOND), now + SECOND * 6);
        assert_eq!(clock.instant_of(Timestamp::from_millis(1), now), now, "what is past is due now");
    }

    #[tokio::test(start_paused = true)]
    async fn a_more_certain_answer_replaces_an_older_one_and_a_vague_one_does_not() {
        let now = Instant::now();
        let clock = StoreClock::new(now, now + SECOND / 10, Timestamp::from_millis(50));
        clock.observe(now, now + SECOND, Timestamp::from_millis(9_000));
        assert_eq!(clock.at(now + SECOND), Timestamp::from_millis(1_000));
        clock.observe(now + SECOND, now + SECOND, Timestamp::from_millis(9_000));
        assert_eq!(clock.at(now + SECOND), Timestamp::from_millis(9_000));
    }
}
