//! The gate of one upstream: a call goes through at once, waits for its turn, or is put off.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::limits::UpstreamLimits;
use super::load::Load;
use crate::metrics::{CallState, Counted, Metrics};

/// The gate of one upstream.
#[derive(Debug)]
pub(in crate::outside) struct Gate {
    /// `host:port`.
    name: String,
    /// Its name in metrics.
    label: String,
    limits: UpstreamLimits,
    places: usize,
    waiters: usize,
    free: Arc<Semaphore>,
    load: Mutex<Load>,
    metrics: Metrics,
}

/// The right to a call, and a place among those in flight: until it is dropped.
#[derive(Debug)]
pub(in crate::outside) struct Turn {
    gate: Arc<Gate>,
    /// How long it was waited for.
    pub(in crate::outside) waited: Duration,
    unheard: AtomicBool,
    #[expect(dead_code, reason = "it is held for its end")]
    permit: OwnedSemaphorePermit,
    #[expect(dead_code, reason = "it is held for its end")]
    counted: Counted,
}

/// What is in the way of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::outside) enum Why {
    /// As many as may wait do so already.
    Full,
    /// Nothing comes of the calls in flight.
    Silent,
    /// Its turn did not come in time.
    Slow,
}

/// A call that is put off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::outside) struct PutOff {
    pub(in crate::outside) why: Why,
    /// `host:port`.
    pub(in crate::outside) upstream: String,
    pub(in crate::outside) in_flight: usize,
    /// How many others wait.
    pub(in crate::outside) waiting: usize,
    /// For how long nothing has come of the calls in flight.
    pub(in crate::outside) quiet_for: Duration,
    /// How long this one has waited.
    pub(in crate::outside) waited: Duration,
    /// When it should come back.
    pub(in crate::outside) after: Duration,
}

impl Why {
    /// Its name in metrics.
    pub(in crate::outside) const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Silent => "silent",
            Self::Slow => "slow",
        }
    }
}

impl Gate {
    pub(super) fn new(name: String, (label, limits): (&str, &UpstreamLimits), slots: usize, metrics: Metrics) -> Self {
        let (places, waiters) = (limits.places(slots), limits.waiters(slots));
        Self {
            name,
            label: label.to_owned(),
            limits: limits.clone(),
            places,
            waiters,
            free: Arc::new(Semaphore::new(places)),
            load: Mutex::new(Load::new(Instant::now())),
            metrics,
        }
    }

    /// Gives a call its turn: now, or by `until` or the upstream's own `wait` at the latest. Cancel safe: who drops it
    /// waits no more.
    pub(in crate::outside) async fn enter(self: &Arc<Self>, until: Instant) -> Result<Turn, PutOff> {
        let begun_at = Instant::now();
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(self.turn(permit, begun_at));
        }
        let Some(waiter) = self.join() else { return Err(self.put_off(Why::Full, begun_at)) };
        let until = until.min(begun_at + self.limits.wait);
        let turn = Arc::clone(&self.free).acquire_owned();
        tokio::pin!(turn);
        loop {
            let silent_at = self.load().silent_at(self.limits.silence, begun_at);
            tokio::select! {
                biased;
                permit = &mut turn => {
                    let permit = permit.expect("the places of a gate are never closed");
                    return Ok(self.turn(permit, begun_at));
                }
                () = sleep_until(silent_at.min(until)) => {}
            }
            let now = Instant::now();
            let is_silent = self.load().quiet_for(now) >= self.limits.silence;
            if is_silent || now >= until {
                drop(waiter);
                return Err(self.put_off(if is_silent { Why::Silent } else { Why::Slow }, begun_at));
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
        Some(Waiter { gate: Arc::clone(self), counted })
    }

    fn turn(self: &Arc<Self>, permit: OwnedSemaphorePermit, begun_at: Instant) -> Turn {
        let now = Instant::now();
        self.load().begin(now);
        Turn {
            gate: Arc::clone(self),
            waited: now - begun_at,
            unheard: AtomicBool::new(false),
            permit,
            counted: self.metrics.upstream(&self.label, CallState::InFlight),
        }
    }

    fn put_off(&self, why: Why, begun_at: Instant) -> PutOff {
        let now = Instant::now();
        self.metrics.put_off(&self.label, why.name());
        let mut load = self.load();
        let after = load.put_off(now, self.places);
        PutOff {
            why,
            upstream: self.name.clone(),
            in_flight: load.in_flight,
            waiting: load.waiting,
            quiet_for: load.quiet_for(now),
            waited: now - begun_at,
            after: rand::rng().random_range(after * 3 / 4..=after * 5 / 4),
        }
    }

    fn load(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Something has come of the call.
    pub(in crate::outside) fn heard(&self) {
        self.gate.load().heard(Instant::now());
    }

    /// The call ends since nothing came of it in time.
    pub(in crate::outside) fn unheard(&self) {
        self.unheard.store(true, Ordering::Relaxed);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.gate.load().end(Instant::now(), self.gate.places, self.unheard.load(Ordering::Relaxed));
    }
}

/// One that waits; counted until it is dropped.
#[derive(Debug)]
struct Waiter {
    gate: Arc<Gate>,
    #[expect(dead_code, reason = "it is held for its end")]
    counted: Counted,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.gate.load().waiting -= 1;
    }
}

#[cfg(test)]
mod tests {
    use coxswain_shared::telemetry;

    use super::*;

    fn gate(concurrency: u16, queue: u16) -> Arc<Gate> {
        let limits = UpstreamLimits { concurrency, queue, ..UpstreamLimits::default() };
        let metrics = Metrics::new(&telemetry::Metrics::new());
        Arc::new(Gate::new("h:80".to_owned(), ("other", &limits), 16, metrics))
    }

    fn far() -> Instant {
        Instant::now() + Duration::from_hours(1)
    }

    fn in_flight_and_waiting(gate: &Gate) -> (usize, usize) {
        let load = gate.load();
        (load.in_flight, load.waiting)
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_its_turn_while_the_upstream_shows_life() {
        let gate = gate(1, 1);
        let first = gate.enter(far()).await.unwrap();
        let wait = gate.enter(far());
        tokio::pin!(wait);
        for _ in 0..3 {
            assert!(tokio::time::timeout(Duration::from_millis(900), &mut wait).await.is_err());
            first.heard();
        }
        assert_eq!(in_flight_and_waiting(&gate), (1, 1));
        let refused = gate.enter(far()).await.unwrap_err();
        assert_eq!((refused.why, refused.in_flight, refused.waiting), (Why::Full, 1, 1));
        drop(first);
        let second = wait.await.unwrap();
        assert_eq!(second.waited, Duration::from_millis(2_700));
        assert_eq!(in_flight_and_waiting(&gate), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_an_upstream_that_is_silent() {
        let gate = gate(1, 9);
        let _stalled = gate.enter(far()).await.unwrap();
        let refused = gate.enter(far()).await.unwrap_err();
        assert_eq!((refused.why, refused.waited), (Why::Silent, Duration::from_secs(1)));
        let refused = gate.enter(far()).await.unwrap_err();
        assert_eq!(
            (refused.why, refused.waited, refused.waiting),
            (Why::Silent, Duration::ZERO, 0),
            "at once from then on"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_no_longer_than_it_may() {
        let gate = gate(1, 9);
        let first = gate.enter(far()).await.unwrap();
        let alive = async {
            loop {
                tokio::time::sleep(Duration::from_millis(500)).await;
                first.heard();
            }
        };
        let refused = tokio::select! {
            refused = gate.enter(far()) => refused.unwrap_err(),
            () = alive => unreachable!("it lives for ever"),
        };
        assert_eq!((refused.why, refused.waited), (Why::Slow, Duration::from_secs(5)));
        let refused = gate.enter(Instant::now() + Duration::from_millis(300)).await.unwrap_err();
        assert_eq!((refused.why, refused.waited), (Why::Slow, Duration::from_millis(300)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_dropped_while_it_waits_leaves_nothing_behind() {
        let gate = gate(1, 9);
        let first = gate.enter(far()).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(10), gate.enter(far())).await.is_err());
        assert_eq!(in_flight_and_waiting(&gate), (1, 0));
        drop(first);
        assert_eq!(in_flight_and_waiting(&gate), (0, 0));
        drop(gate.enter(far()).await.unwrap());
    }
}
