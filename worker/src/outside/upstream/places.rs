//! The places of one upstream: a call gets one at once, waits for its turn, or is put off.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coxswain_shared::upstream::UpstreamName;
use rand::RngExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::limits::UpstreamLimits;
use super::load::Load;
use super::refusal::{PutOff, Why};
use crate::metrics::{CallState, Counted, Metrics};

/// The places of one upstream.
#[derive(Debug)]
pub(super) struct Places {
    name: UpstreamName,
    /// Its name in metrics.
    label: String,
    limits: UpstreamLimits,
    in_flight_max: usize,
    waiters: usize,
    free: Arc<Semaphore>,
    load: Mutex<Load>,
    metrics: Metrics,
}

/// A place among the calls in flight, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    /// How long it was waited for.
    pub(super) waited: Duration,
    unheard: AtomicBool,
    #[expect(dead_code, reason = "it is held for its end")]
    permit: OwnedSemaphorePermit,
    #[expect(dead_code, reason = "it is held for its end")]
    counted: Counted,
}

impl Places {
    pub(super) fn new(
        name: UpstreamName,
        (label, limits): (&str, &UpstreamLimits),
        slots: usize,
        metrics: Metrics,
    ) -> Self {
        let (in_flight_max, waiters) = (limits.places(slots), limits.waiters(slots));
        Self {
            name,
            label: label.to_owned(),
            limits: limits.clone(),
            in_flight_max,
            waiters,
            free: Arc::new(Semaphore::new(in_flight_max)),
            load: Mutex::new(Load::new(Instant::now())),
            metrics,
        }
    }

    /// Gives a call its place: now, or by `until` or the upstream's own `wait` at the latest. Cancel safe: who drops it
    /// waits no more.
    pub(super) async fn enter(self: &Arc<Self>, until: Instant) -> Result<Place, PutOff> {
        let begun_at = Instant::now();
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(self.place(permit, begun_at));
        }
        let Some(waiter) = self.join() else { return Err(self.put_off(Why::Full, begun_at, Duration::ZERO)) };
        let until = until.min(begun_at + self.limits.wait);
        let turn = Arc::clone(&self.free).acquire_owned();
        tokio::pin!(turn);
        loop {
            let silent_at = self.load().silent_at(self.limits.silence, begun_at);
            tokio::select! {
                biased;
                permit = &mut turn => {
                    let permit = permit.expect("the places are never closed");
                    return Ok(self.place(permit, begun_at));
                }
                () = sleep_until(silent_at.min(until)) => {}
            }
            let now = Instant::now();
            let is_silent = self.load().quiet_for(now) >= self.limits.silence;
            if is_silent || now >= until {
                drop(waiter);
                return Err(self.put_off(if is_silent { Why::Silent } else { Why::Slow }, begun_at, Duration::ZERO));
            }
        }
    }

    /// Counts one that waits, unless as many do as may.
    fn join(self: &Arc<Self>) -> Option<Waiter> {
        let mut load = self.load();
        if load.waiting >= self.waiters {
            return None;
        }
        load.waiting += 1;
        let counted = self.metrics.upstream(&self.label, CallState::Waiting);
        Some(Waiter { places: Arc::clone(self), counted })
    }

    fn place(self: &Arc<Self>, permit: OwnedSemaphorePermit, begun_at: Instant) -> Place {
        let now = Instant::now();
        self.load().begin(now);
        Place {
            places: Arc::clone(self),
            waited: now - begun_at,
            unheard: AtomicBool::new(false),
            permit,
            counted: self.metrics.upstream(&self.label, CallState::InFlight),
        }
    }

    /// Puts a call off that has waited since `begun_at`; `gap` is what lies at least between two that come back.
    pub(super) fn put_off(&self, why: Why, begun_at: Instant, gap: Duration) -> PutOff {
        let now = Instant::now();
        self.metrics.put_off(&self.label, why.name());
        let mut load = self.load();
        let gap = gap.max(load.gap(now, self.in_flight_max));
        let after = load.put_off(now, gap);
        PutOff {
            why,
            upstream: self.name.clone(),
            in_flight: load.in_flight,
            waiting: load.waiting,
            quiet_for: load.quiet_for(now),
            waited: now - begun_at,
            after: rand::rng().random_range(after..=after * 5 / 4),
        }
    }

    /// Counts a call that its breaker refused.
    pub(super) fn refused(&self) {
        self.metrics.refused(&self.label);
    }

    fn load(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Something has come of the call.
    pub(super) fn heard(&self) {
        self.places.load().heard(Instant::now());
    }

    /// The call ends since nothing came of it in time.
    pub(super) fn unheard(&self) {
        self.unheard.store(true, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.load().end(Instant::now(), self.places.in_flight_max, self.unheard.load(Ordering::Relaxed));
    }
}

/// One that waits; counted until it is dropped.
#[derive(Debug)]
struct Waiter {
    places: Arc<Places>,
    #[expect(dead_code, reason = "it is held for its end")]
    counted: Counted,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.places.load().waiting -= 1;
    }
}

#[cfg(test)]
mod tests {
    use coxswain_shared::telemetry;

    use super::*;

    fn places(concurrency: u16, queue: u16) -> Arc<Places> {
        let silence = Duration::from_secs(1);
        let limits = UpstreamLimits { concurrency, queue, silence, ..UpstreamLimits::default() };
        let metrics = Metrics::new(&telemetry::Metrics::new());
        Arc::new(Places::new(UpstreamName::of("h", 80), ("other", &limits), 16, metrics))
    }

    fn far() -> Instant {
        Instant::now() + Duration::from_hours(1)
    }

    fn in_flight_and_waiting(places: &Places) -> (usize, usize) {
        let load = places.load();
        (load.in_flight, load.waiting)
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_its_turn_while_the_upstream_shows_life() {
        let places = places(1, 1);
        let first = places.enter(far()).await.unwrap();
        let wait = places.enter(far());
        tokio::pin!(wait);
        for _ in 0..3 {
            assert!(tokio::time::timeout(Duration::from_millis(900), &mut wait).await.is_err());
            first.heard();
        }
        assert_eq!(in_flight_and_waiting(&places), (1, 1));
        let refused = places.enter(far()).await.unwrap_err();
        assert_eq!((refused.why, refused.in_flight, refused.waiting), (Why::Full, 1, 1));
        drop(first);
        let second = wait.await.unwrap();
        assert_eq!(second.waited, Duration::from_millis(2_700));
        assert_eq!(in_flight_and_waiting(&places), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_an_upstream_that_is_silent() {
        let places = places(1, 9);
        let _stalled = places.enter(far()).await.unwrap();
        let refused = places.enter(far()).await.unwrap_err();
        assert_eq!((refused.why, refused.waited), (Why::Silent, Duration::from_secs(1)));
        let refused = places.enter(far()).await.unwrap_err();
        assert_eq!(
            (refused.why, refused.waited, refused.waiting),
            (Why::Silent, Duration::ZERO, 0),
            "at once from then on"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_no_longer_than_it_may() {
        let places = places(1, 9);
        let first = places.enter(far()).await.unwrap();
        let alive = async {
            loop {
                tokio::time::sleep(Duration::from_millis(500)).await;
                first.heard();
            }
        };
        let refused = tokio::select! {
            refused = places.enter(far()) => refused.unwrap_err(),
            () = alive => unreachable!("it lives for ever"),
        };
        assert_eq!((refused.why, refused.waited), (Why::Slow, Duration::from_secs(5)));
        let refused = places.enter(Instant::now() + Duration::from_millis(300)).await.unwrap_err();
        assert_eq!((refused.why, refused.waited), (Why::Slow, Duration::from_millis(300)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_dropped_while_it_waits_leaves_nothing_behind() {
        let places = places(1, 9);
        let first = places.enter(far()).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(10), places.enter(far())).await.is_err());
        assert_eq!(in_flight_and_waiting(&places), (1, 0));
        drop(first);
        assert_eq!(in_flight_and_waiting(&places), (0, 0));
        drop(places.enter(far()).await.unwrap());
    }
}
