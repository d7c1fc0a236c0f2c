//! How much was used within the last while: one window of one policy for one subject, kept in twentieths.
//!
//! What was used leaves the window with its whole twentieth, and never early: it counts for at least the window, and for at
//! most a twentieth more. So in no span of the window's length is there more than the limit lets through.

use std::collections::BTreeMap;
use std::time::Duration;

use super::measure::{Limits, Usage};
use crate::time::{Timestamp, millis};

/// The parts of a window.
pub const PARTS: i64 = 20;

/// How long a part of a window is, in milliseconds.
pub fn part_of(window: Duration) -> i64 {
    millis(window).saturating_add(PARTS - 1).div_euclid(PARTS).max(1)
}

/// What a window says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Whether what was to be counted is counted.
    pub counted: bool,
    /// What was used in the window, with what was counted now.
    pub used: Usage,
    /// When there is room again; absent where there is room now.
    pub room_at: Option<Timestamp>,
    /// The store's time.
    pub now: Timestamp,
}

/// One window: what was used, by the number of the part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window(BTreeMap<i64, Usage>);

impl Window {
    /// A window with these parts.
    pub const fn new(parts: BTreeMap<i64, Usage>) -> Self {
        Self(parts)
    }

    /// Its parts.
    pub const fn parts(&self) -> &BTreeMap<i64, Usage> {
        &self.0
    }

    /// Counts what is to be added if there is room, or in any case where it `must` be; forgets what has left the window.
    pub fn count(&mut self, add: &Usage, must: bool, limits: &Limits, window: Duration, now: Timestamp) -> Reading {
        let part = part_of(window);
        let place = now.as_millis().div_euclid(part);
        self.0.retain(|number, _| number.saturating_add(PARTS) >= place);
        let counted = must || limits.used_up(&self.used()).is_none();
        if counted && !add.is_nothing() {
            self.0.entry(place).or_default().add_all(add);
        }
        let room_at = self.room_at(limits, part, window, now);
        Reading { counted, used: self.used(), room_at, now }
    }

    fn used(&self) -> Usage {
        let mut used = Usage::default();
        self.0.values().for_each(|part| used.add_all(part));
        used
    }

    /// When so many of the oldest parts have left that there is room. Where nothing is allowed at all there never is, and a
    /// window later is as good a time to look as any.
    fn room_at(&self, limits: &Limits, part: i64, window: Duration, now: Timestamp) -> Option<Timestamp> {
        let used = self.used();
        let of_one = |(measure, limit): (_, u64)| {
            let mut left = used.get(measure);
            if left < limit {
                return None;
            }
            for (number, usage) in &self.0 {
                left = left.saturating_sub(usage.get(measure));
                if left < limit {
                    return Some(Timestamp::from_millis((number + PARTS + 1) * part));
                }
            }
            Some(now.after(window))
        };
        limits.all().filter_map(of_one).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Measure;

    const MINUTE: Duration = Duration::from_mins(1);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn runs(limit: u64) -> Limits {
        Limits { runs: Some(limit), ..Limits::default() }
    }

    #[test]
    fn so_many_are_counted_in_a_window_and_no_more_in_any() {
        let mut window = Window::default();
        let mut counted = Vec::new();
        for now in (0..400_000).step_by(700) {
            if window.count(&Usage::of(Measure::Runs, 1), false, &runs(5), MINUTE, at(now)).counted {
                counted.push(now);
            }
        }
        assert!(counted.windows(6).all(|six| six[5] - six[0] >= 60_000), "{counted:?}");
        assert!(counted.len() >= 30, "it lets through nearly all that it may: {counted:?}");
        assert!(window.parts().len() <= 21);
    }

    #[test]
    fn who_comes_back_when_it_was_told_finds_room() {
        let mut window = Window::default();
        let one = Usage::of(Measure::Runs, 1);
        for now in [1_000, 5_000, 50_000] {
            assert!(window.count(&one, false, &runs(3), MINUTE, at(now)).counted);
        }
        let full = window.count(&one, false, &runs(3), MINUTE, at(50_000));
        assert_eq!((full.counted, full.used.get(Measure::Runs)), (false, 3));
        let room_at = full.room_at.unwrap();
        let early = at(room_at.as_millis() - 1);
        assert!(!window.count(&one, false, &runs(3), MINUTE, early).counted);
        assert!(window.count(&one, false, &runs(3), MINUTE, room_at).counted);
    }

    #[test]
    fn what_must_be_counted_is_counted_over_the_limit() {
        let mut window = Window::default();
        let limits = Limits { tokens: Some(10), ..Limits::default() };
        let reading = window.count(&Usage::of(Measure::Tokens, 25), true, &limits, MINUTE, at(0));
        assert_eq!((reading.counted, limits.overrun(&reading.used)), (true, Some(Measure::Tokens)));
        let look = window.count(&Usage::default(), false, &limits, MINUTE, at(1));
        assert_eq!((look.counted, look.room_at), (false, Some(at(63_000))));
    }

    #[test]
    fn where_nothing_is_allowed_there_is_never_room() {
        let reading = Window::default().count(&Usage::of(Measure::Runs, 1), false, &runs(0), MINUTE, at(7));
        assert_eq!((reading.counted, reading.room_at), (false, Some(at(60_007))));
    }
}
