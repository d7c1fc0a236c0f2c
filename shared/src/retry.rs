//! When a failed try is repeated: the pause before it, and whether it still fits. It decides; it waits for nothing.

use std::time::Duration;

use rand::{Rng, RngExt as _};

use crate::graph::{Backoff, Jitter, Retry};
use crate::id::AttemptNumber;

/// The pause before the try that follows `attempt`, the one that has just failed; none if no try is left.
///
/// `first × factor^(attempt-1)`, at most `max`, then jittered. Whole milliseconds, as the stores keep them.
pub fn after(policy: &Retry, attempt: AttemptNumber, rng: &mut impl Rng) -> Option<Duration> {
    if attempt.get() >= policy.attempts {
        return None;
    }
    let pause = unjittered(&policy.backoff, attempt.get());
    let pause = match policy.backoff.jitter {
        Jitter::None => pause,
        Jitter::Full => rng.random_range(0..=pause),
        Jitter::Equal => rng.random_range(pause / 2..=pause),
    };
    Some(Duration::from_millis(pause))
}

/// Whether a try that starts after `pause` has more than `minimum` left to run, when `remaining` is what its task has left now.
///
/// A retry that does not fit is not started: it would only hold a worker until the deadline ends it.
pub fn fits(pause: Duration, minimum: Duration, remaining: Duration) -> bool {
    pause.checked_add(minimum).is_some_and(|needed| needed < remaining)
}

/// Milliseconds. A factor that is no number, or overflows, gives the longest pause; one below zero gives the first.
fn unjittered(backoff: &Backoff, attempt: u32) -> u64 {
    let (first, max) = (whole_millis(backoff.first), whole_millis(backoff.max));
    let growth = backoff.factor.max(0.0).powi(i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX));
    if first == 0 || backoff.factor < 0.0 {
        return first.min(max);
    }
    let grown = backoff.first.as_secs_f64() * growth;
    let grown = Duration::try_from_secs_f64(grown).unwrap_or(backoff.max);
    whole_millis(grown.min(backoff.max)).min(max)
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    fn policy(attempts: u32, factor: f64, jitter: Jitter) -> Retry {
        let backoff = Backoff { first: Duration::from_millis(100), factor, max: Duration::from_secs(1), jitter };
        Retry { attempts, backoff }
    }

    fn pauses(policy: &Retry) -> Vec<Option<u128>> {
        let mut rng = StdRng::seed_from_u64(1);
        (1..=policy.attempts)
            .map(|attempt| after(policy, AttemptNumber::new(attempt), &mut rng).map(|pause| pause.as_millis()))
            .collect()
    }

    #[test]
    fn the_pause_grows_by_the_factor_up_to_the_longest_and_then_no_try_is_left() {
        let pauses = pauses(&policy(6, 2.0, Jitter::None));
        assert_eq!(pauses, [Some(100), Some(200), Some(400), Some(800), Some(1_000), None]);
    }

    #[test]
    fn one_attempt_means_no_retry() {
        assert_eq!(pauses(&Retry::default()), [None]);
        let none = Retry { attempts: 0, ..Retry::default() };
        assert_eq!(after(&none, AttemptNumber::new(0), &mut StdRng::seed_from_u64(1)), None);
    }

    #[test]
    fn full_jitter_spreads_over_the_whole_pause_and_equal_jitter_over_its_upper_half() {
        for (jitter, low, high) in [(Jitter::Full, 0, 100), (Jitter::Equal, 50, 100)] {
            let mut rng = StdRng::seed_from_u64(7);
            let policy = policy(2, 2.0, jitter);
            let drawn: Vec<_> = (0..2_000)
                .map(|_| after(&policy, AttemptNumber::new(1), &mut rng).expect("a try is left").as_millis())
                .collect();
            assert_eq!(drawn.iter().min(), Some(&low), "{jitter:?}");
            assert_eq!(drawn.iter().max(), Some(&high), "{jitter:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_pauses() {
        let policy = policy(5, 3.0, Jitter::Full);
        assert_eq!(pauses(&policy), pauses(&policy));
    }

    #[test]
    fn a_retry_that_leaves_no_time_before_the_deadline_does_not_fit() {
        let ms = Duration::from_millis;
        for (pause, minimum, remaining, fit) in [
            (ms(100), ms(0), ms(101), true),
            (ms(100), ms(0), ms(100), false),
            (ms(100), ms(50), ms(150), false),
            (ms(100), ms(50), ms(151), true),
            (ms(0), ms(0), ms(0), false),
            (Duration::MAX, ms(1), Duration::MAX, false),
        ] {
            assert_eq!(fits(pause, minimum, remaining), fit, "{pause:?} + {minimum:?} in {remaining:?}");
        }
    }

    proptest! {
        #[test]
        fn no_policy_panics_or_pauses_longer_than_its_longest(
            attempts in any::<u32>(),
            attempt in any::<u32>(),
            first in any::<Duration>(),
            max in any::<Duration>(),
            factor in any::<f64>(),
            jitter in prop_oneof![Just(Jitter::None), Just(Jitter::Full), Just(Jitter::Equal)],
        ) {
            let policy = Retry { attempts, backoff: Backoff { first, factor, max, jitter } };
            let pause = after(&policy, AttemptNumber::new(attempt), &mut StdRng::seed_from_u64(3));
            prop_assert_eq!(pause.is_some(), attempt < attempts);
            prop_assert!(pause.is_none_or(|pause| pause <= max));
        }
    }
}
