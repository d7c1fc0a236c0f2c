//! Waiting for a condition instead of sleeping, with a panic that tells what was last seen.
//!
//! The only place of the tests where time simply passes.

use std::fmt::Display;
use std::panic::Location;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// How often a condition is looked at: below what a test could notice, above what would load a small machine.
const INTERVAL: Duration = Duration::from_millis(10);

/// What a probe may return: ready with a value, or not yet with a status.
pub trait Probe {
    /// What the wait yields.
    type Value;

    /// Splits into the value or the words for "not yet".
    fn ready(self) -> Result<Self::Value, String>;
}

impl Probe for bool {
    type Value = ();

    fn ready(self) -> Result<(), String> {
        self.then_some(()).ok_or_else(|| "false".to_owned())
    }
}

impl<T> Probe for Option<T> {
    type Value = T;

    fn ready(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing yet".to_owned())
    }
}

impl<T, E: Display> Probe for Result<T, E> {
    type Value = T;

    fn ready(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:#}"))
    }
}

/// Looks every 10 ms until `probe` returns `true`, `Some` or `Ok`, and yields its value.
///
/// Panics after `within`, naming `what`, the caller's line and the last status. A probe that hangs is cut off then too.
#[track_caller]
pub fn wait_for<P: Probe>(
    what: &str,
    within: Duration,
    probe: impl AsyncFnMut() -> P,
) -> impl Future<Output = P::Value> {
    let caller = Location::caller();
    async move {
        match poll(within, probe).await {
            Ok(value) => value,
            Err(last) => {
                panic!("{what}: not within {within:?} (asked at {caller}); last status: {last}")
            }
        }
    }
}

/// The same without the panic: the last status is the error.
pub async fn poll<P: Probe>(within: Duration, mut probe: impl AsyncFnMut() -> P) -> Result<P::Value, String> {
    let deadline = Instant::now() + within;
    let mut last = "never looked: the first probe did not return".to_owned();
    loop {
        match timeout_at(deadline, probe()).await {
            Ok(seen) => match seen.ready() {
                Ok(value) => return Ok(value),
                Err(status) => last = status,
            },
            Err(_) => return Err(format!("{last} (the probe was still at it)")),
        }
        if Instant::now() >= deadline {
            return Err(last);
        }
        sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_yields_the_value_of_its_probe() {
        let mut left = 3;
        let value = wait_for("a countdown", Duration::from_secs(1), async || {
            left -= 1;
            (left == 0).then_some("done")
        });
        assert_eq!(value.await, "done");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_fails_tells_the_last_status() {
        let last = poll(Duration::from_millis(50), async || Err::<(), _>("two of three")).await;
        assert_eq!(last, Err("two of three".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_is_cut_off() {
        let last = poll(Duration::from_millis(50), async || std::future::pending::<bool>().await).await;
        assert!(last.is_err_and(|last| last.contains("first probe did not return")));
    }
}
