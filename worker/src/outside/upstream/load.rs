//! How busy an upstream is, as its calls have shown: whether it is silent, how fast places come free, and when a call
//! that is put off should come back. Pure: times are handed in.

use std::time::Duration;

use tokio::time::Instant;

/// The soonest that a call comes back: a sweep finds it about so often.
const SOONEST: Duration = Duration::from_millis(500);
/// The latest, so that an upstream that has recovered is soon in use again.
const LATEST: Duration = Duration::from_secs(30);
/// The pace that is assumed before any was seen.
const FIRST_GAP: Duration = Duration::from_millis(100);

/// What is known of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) in_flight: usize,
    pub(super) waiting: usize,
    /// Since when nothing has come of any call; none before the first.
    quiet_since: Option<Instant>,
    /// When a place last came free.
    freed_at: Instant,
    /// How long it takes until a place comes free, smoothed; seen only while all are taken.
    gap: Duration,
    /// The turn of the last call that was put off.
    last_turn: Instant,
}

impl Load {
    pub(super) const fn new(now: Instant) -> Self {
        Self { in_flight: 0, waiting: 0, quiet_since: None, freed_at: now, gap: FIRST_GAP, last_turn: now }
    }

    /// A call begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.in_flight += 1;
        self.quiet_since.get_or_insert(now);
    }

    /// Something has come of a call.
    pub(super) const fn heard(&mut self, now: Instant) {
        self.quiet_since = Some(now);
    }

    /// A call has ended, one of `places`. `unheard`: it ran into a time limit, so that this was no sign of life.
    pub(super) fn end(&mut self, now: Instant, places: usize, unheard: bool) {
        if self.in_flight >= places {
            self.gap = (self.gap * 4 + now.saturating_duration_since(self.freed_at)) / 5;
        }
        self.freed_at = now;
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.in_flight == 0 && !unheard {
            self.quiet_since = None;
        }
    }

    /// From when on it counts as silent, unless something comes.
    pub(super) fn silent_at(&self, silence: Duration, now: Instant) -> Instant {
        self.quiet_since.unwrap_or(now) + silence
    }

    /// For how long nothing has come.
    pub(super) fn quiet_for(&self, now: Instant) -> Duration {
        self.quiet_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// How long it takes until one of `places` comes free, as far as is known.
    pub(super) fn gap(&self, now: Instant, places: usize) -> Duration {
        let places = u32::try_from(places.max(1)).unwrap_or(u32::MAX);
        self.gap.max(self.quiet_for(now) / places)
    }

    /// When a call that is put off should come back: they come one after another, so far apart.
    pub(super) fn put_off(&mut self, now: Instant, gap: Duration) -> Duration {
        let turn = (self.last_turn + gap.min(LATEST)).clamp(now + SOONEST, now + LATEST);
        self.last_turn = turn;
        turn - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn an_upstream_is_silent_once_nothing_has_come_of_any_call() {
        let now = Instant::now();
        let mut load = Load::new(now);
        assert_eq!(load.quiet_for(now + ms(900)), ms(0), "nothing was asked");
        load.begin(now);
        load.begin(now + ms(400));
        assert_eq!(load.quiet_for(now + ms(900)), ms(900), "from the first question");
        load.heard(now + ms(500));
        assert_eq!(load.quiet_for(now + ms(900)), ms(400));
        assert_eq!(load.silent_at(ms(1_000), now), now + ms(1_500));
    }

    #[test]
    fn calls_that_ran_into_a_limit_were_no_sign_of_life_and_those_that_were_dropped_tell_nothing() {
        let now = Instant::now();
        for (unheard, quiet) in [(true, 5_000), (false, 0)] {
            let mut load = Load::new(now);
            load.begin(now);
            load.end(now + ms(3_000), 4, unheard);
            load.begin(now + ms(5_000));
            assert_eq!(load.quiet_for(now + ms(5_000)), ms(quiet), "{unheard}");
        }
    }

    #[test]
    fn calls_that_are_put_off_come_back_at_the_pace_at_which_places_come_free() {
        let mut now = Instant::now();
        let mut load = Load::new(now);
        load.begin(now);
        for _ in 0..40 {
            now += ms(400);
            load.heard(now);
            load.end(now, 1, false);
            load.begin(now);
        }
        let turns = [(); 4].map(|()| load.put_off(now, load.gap(now, 1)).as_millis());
        assert_eq!(turns[0], 500, "not sooner than a sweep finds it");
        for (before, after) in turns.into_iter().zip(turns.into_iter().skip(1)) {
            assert!((390..=410).contains(&(after - before)), "{turns:?}");
        }
    }

    #[test]
    fn nobody_comes_back_later_than_the_latest_and_the_turns_are_free_again_with_time() {
        let now = Instant::now();
        let mut load = Load::new(now);
        load.begin(now);
        let later = now + Duration::from_hours(1);
        for _ in 0..1_000 {
            assert!(load.put_off(later, load.gap(later, 12)) <= LATEST);
        }
        load.heard(later + LATEST);
        assert_eq!(load.put_off(later + LATEST, load.gap(later + LATEST, 12)), SOONEST);
    }
}
