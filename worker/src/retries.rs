//! The retries of one upstream, as far as its calls pay for them: a bucket of tokens, one for each retry.
//!
//! A call puts a part of a token in, time fills a reserve, a retry takes one out. So a few failures among many calls are
//! all tried again, and when everything fails the upstream gets little more than what was asked of it in the first place.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// A token in the bucket's own unit.
const TOKEN: u64 = 1_000;
/// The most tokens that calls can put aside.
const ASIDE_MAX: u64 = 1_000 * TOKEN;
/// In so many seconds the reserve is filled.
const FILL_SECONDS: u64 = 10;

/// The retries of one upstream, on one worker.
#[derive(Debug)]
pub(crate) struct Retries {
    of: String,
    percent: u8,
    reserve: u64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    level: u64,
    at: Instant,
}

impl Retries {
    /// Those `of` an upstream: so many percent of its calls, and so many beside.
    pub(crate) fn new(of: String, percent: u8, reserve: u16) -> Self {
        let reserve = u64::from(reserve) * TOKEN;
        Self { of, percent, reserve, bucket: Mutex::new(Bucket { level: reserve, at: Instant::now() }) }
    }

    /// A call was made.
    pub(crate) fn called(&self) {
        let mut bucket = self.filled();
        let paid = u64::from(self.percent) * TOKEN / 100;
        bucket.level = (bucket.level + paid).min(self.reserve + ASIDE_MAX);
    }

    /// Takes a token for a retry; says why there is none.
    pub(crate) fn take(&self) -> Result<(), String> {
        let mut bucket = self.filled();
        if bucket.level < TOKEN {
            let (of, percent) = (&self.of, self.percent);
            return Err(format!(
                "it was not tried again: retries of {of} are over their budget of {percent}% of its calls"
            ));
        }
        bucket.level -= TOKEN;
        Ok(())
    }

    /// The retry does not come about.
    pub(crate) fn give_back(&self) {
        self.filled().level += TOKEN;
    }

    /// The bucket as it is now: time fills it up to the reserve.
    fn filled(&self) -> MutexGuard<'_, Bucket> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let millis = u64::try_from(now.saturating_duration_since(bucket.at).as_millis()).unwrap_or(u64::MAX);
        let filled = self.reserve.saturating_mul(millis) / (FILL_SECONDS * 1_000);
        if filled > 0 {
            bucket.at = now;
            bucket.level = bucket.level.max(self.reserve.min(bucket.level.saturating_add(filled)));
        }
        bucket
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn taken(retries: &Retries) -> usize {
        std::iter::repeat_with(|| retries.take()).take_while(Result::is_ok).count()
    }

    #[tokio::test(start_paused = true)]
    async fn calls_pay_for_their_retries_and_time_fills_the_reserve() {
        let retries = Retries::new("h:80".to_owned(), 20, 10);
        assert_eq!(taken(&retries), 10);
        let told = retries.take().unwrap_err();
        assert!(told.contains("retries of h:80 are over their budget of 20% of its calls"), "{told}");
        for _ in 0..50 {
            retries.called();
        }
        assert_eq!(taken(&retries), 10);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(taken(&retries), 5);
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(taken(&retries), 10, "no more than the reserve");
        retries.give_back();
        assert_eq!(taken(&retries), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_calls_put_aside_is_bounded_and_is_not_lost_with_time() {
        let retries = Retries::new("h:80".to_owned(), 100, 0);
        for _ in 0..5_000 {
            retries.called();
        }
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(taken(&retries), 1_000);
    }
}
