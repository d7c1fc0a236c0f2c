//! The pauses between tries: they double up to a limit, and are shortened at random so that a fleet does not march in step.

use std::time::Duration;

use rand::RngExt;

#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// It worked: the next pause is the shortest again.
    pub(super) const fn reset(&mut self) {
        self.next = self.min;
    }

    /// The next pause: between half of its length and all of it.
    pub(super) fn pause(&mut self) -> Duration {
        let full = self.next;
        self.next = full.saturating_mul(2).min(self.max);
        rand::rng().random_range(full / 2..=full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit_and_start_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for full in [100, 200, 400, 800, 1_000, 1_000].map(Duration::from_millis) {
            let pause = backoff.pause();
            assert!((full / 2..=full).contains(&pause), "{pause:?} of {full:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}
