//! The gate of one upstream: what a call passes before it is made. Its breaker, then its places, then its rate; and last,
//! where the breaker was open, whether this is the call that tries.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coxswain_shared::id::Nonce;
use coxswain_shared::limits::Limit;
use coxswain_shared::upstream::{Admission, Breaker, BreakerLimits, Rate};
use tokio::time::{Instant, sleep};

use super::fleet::Fleet;
use super::limits::{RetryBudget, UpstreamLimits};
use super::places::{Place, Places};
use super::refusal::{PutOff, Refusal, Why};
use super::watch::{Watch, Word};
use crate::retries::Retries;

/// The longest that a call waits in its place for the upstream's rate: it asks the store a few times, and no more.
const RATE_WAIT: Duration = Duration::from_millis(250);

/// The gate of one upstream.
#[derive(Debug)]
pub(in crate::outside) struct Gate {
    places: Arc<Places>,
    rate: Option<Rate>,
    /// The part of the rate that this one may use, where it shares the upstream with others that are kept apart.
    own_rate: Option<(Rate, Fleet)>,
    /// How long a limit must be so that the upstream is to blame when it passes.
    breaker: BreakerLimits,
    /// Absent where there is no breaker.
    watch: Option<Mutex<Watch>>,
    fleet: Fleet,
    /// Absent where retries are not limited.
    retries: Option<Arc<Retries>>,
}

/// The right to a call: until it is dropped.
#[derive(Debug)]
pub(in crate::outside) struct Turn {
    gate: Arc<Gate>,
    place: Place,
    /// When its try is over.
    deadline: Instant,
    begun_at: Instant,
    /// Set if it is the call that tries whether the upstream is back.
    probe: Mutex<Option<Nonce>>,
    fate: Mutex<Fate>,
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// Nothing yet.
    Open,
    Well,
    Failed(String),
    /// It was given up by a limit of its caller that is too short to tell anything of the upstream.
    Unknown,
}

/// How much time a call gives its upstream.
#[derive(Debug, Clone, Copy)]
pub(in crate::outside) struct Terms {
    /// Until when it waits for its turn.
    pub(in crate::outside) until: Instant,
    /// When its try is over.
    pub(in crate::outside) deadline: Instant,
    /// To connect.
    pub(in crate::outside) connect: Duration,
    /// To begin to answer.
    pub(in crate::outside) first_byte: Duration,
}

impl Gate {
    /// The gate before these places. `shared` is the upstream as all see it, where this gate is of one that is kept apart.
    pub(super) fn new(places: Arc<Places>, limits: &UpstreamLimits, fleet: Fleet, shared: Option<Fleet>) -> Self {
        let own = limits.rate.map(|rate| rate.part(limits.isolate_share.as_percent()));
        let (fleet, own_rate) = (fleet, shared.and_then(|shared| Some((own?, shared))));
        let watch = limits.breaker.map(|limits| Mutex::new(Watch::new(limits)));
        let retries = limits.retry_budget.map(|RetryBudget { share, reserve }| {
            Arc::new(Retries::new(fleet.upstream().to_string(), share.as_percent(), reserve))
        });
        let breaker = limits.breaker.unwrap_or_default();
        Self { places, rate: limits.rate, own_rate, breaker, watch, fleet, retries }
    }

    /// Gives a call its turn. Cancel safe: who drops it waits no more.
    pub(in crate::outside) async fn enter(self: &Arc<Self>, terms: Terms) -> Result<Turn, Refusal> {
        let Terms { until, deadline, .. } = terms;
        let begun_at = Instant::now();
        self.look().await;
        let word = self.word(begun_at, self.has_short_limits(&terms))?;
        let place = self.places.enter(until).await.map_err(Refusal::PutOff)?;
        self.keep_rate(begun_at, until).await.map_err(Refusal::PutOff)?;
        let probe = if matches!(word, Word::Ask { .. }) { Some(self.ask(begun_at).await?) } else { None };
        if let Some(retries) = &self.retries {
            retries.called();
        }
        let (probe, fate) = (Mutex::new(probe), Mutex::new(Fate::Open));
        Ok(Turn { gate: Arc::clone(self), place, deadline, begun_at: Instant::now(), probe, fate })
    }

    /// Whether a call gives the upstream so little time that its failure would tell nothing.
    fn has_short_limits(&self, terms: &Terms) -> bool {
        let left = terms.deadline.saturating_duration_since(Instant::now());
        terms.first_byte.min(left) < self.breaker.min_timeout_of(Limit::FirstByteTimeout)
            || terms.connect < self.breaker.min_timeout_of(Limit::ConnectTimeout)
    }

    /// Tells the store what has happened, and learns where the breaker stands, if it is time.
    async fn look(&self) {
        let Some(watch) = &self.watch else { return };
        let (tally, limits) = {
            let mut watch = lock(watch);
            let Some(tally) = watch.due(Instant::now()) else { return };
            (tally, watch.limits())
        };
        let view = self.fleet.report(&tally, limits).await;
        let mut watch = lock(watch);
        match view {
            Some(view) => watch.see(view, Instant::now()),
            None => watch.untold(tally),
        }
    }

    fn word(&self, begun_at: Instant, is_short: bool) -> Result<Word, Refusal> {
        let Some(watch) = &self.watch else { return Ok(Word::Go) };
        let word = lock(watch).word(Instant::now());
        match word {
            // A call with short limits may fail by its own limit, and then nothing is known: others try first.
            Word::Ask { since } if is_short && since < self.breaker.open_for => {
                Err(Refusal::PutOff(self.tried(begun_at, self.breaker.open_for.saturating_sub(since))))
            }
            Word::Go | Word::Ask { .. } => Ok(word),
            Word::Tried { left } => Err(Refusal::PutOff(self.tried(begun_at, left))),
            Word::Open(open) => {
                self.places.refused();
                Err(Refusal::Open(self.fleet.upstream().clone(), open))
            }
        }
    }

    fn tried(&self, begun_at: Instant, left: Duration) -> PutOff {
        let put_off = self.places.put_off(Why::Tried, begun_at, Duration::ZERO);
        PutOff { after: put_off.after.min(left.max(RATE_WAIT)), ..put_off }
    }

    /// Waits for the fleet's rate, as long as that takes a moment.
    async fn keep_rate(&self, begun_at: Instant, until: Instant) -> Result<(), PutOff> {
        let Some(rate) = &self.rate else { return Ok(()) };
        let until = until.min(Instant::now() + RATE_WAIT);
        let Some((own, shared)) = &self.own_rate else { return self.keep(rate, &self.fleet, begun_at, until).await };
        self.keep(own, &self.fleet, begun_at, until).await?;
        self.keep(rate, shared, begun_at, until).await
    }

    async fn keep(&self, rate: &Rate, fleet: &Fleet, begun_at: Instant, until: Instant) -> Result<(), PutOff> {
        loop {
            let Some(Admission::After(wait)) = fleet.admit(rate).await else { return Ok(()) };
            if Instant::now() + wait > until {
                let put_off = self.places.put_off(Why::Rate, begun_at, rate.interval());
                return Err(PutOff { after: put_off.after.max(wait), ..put_off });
            }
            sleep(wait).await;
        }
    }

    /// Asks for the one call that tries.
    async fn ask(&self, begun_at: Instant) -> Result<Nonce, Refusal> {
        let watch = self.watch.as_ref().expect("who is told to ask has a breaker");
        let (probe, limits) = (Nonce::fresh(), lock(watch).limits());
        // Without an answer it is made: somebody has to find out.
        let Some(view) = self.fleet.ask(&probe, limits).await else { return Ok(probe) };
        let is_mine = match &view.breaker {
            Breaker::HalfOpen { probe: granted, .. } => *granted == probe,
            // Another has tried meanwhile, and it went well.
            Breaker::Closed { .. } => true,
            Breaker::Open { .. } => false,
        };
        lock(watch).see(view, Instant::now());
        if is_mine {
            return Ok(probe);
        }
        self.word(begun_at, false)?;
        Err(Refusal::PutOff(self.tried(begun_at, RATE_WAIT)))
    }
}

impl Turn {
    /// Where another try has to be paid for.
    pub(in crate::outside) fn retries(&self) -> Option<&Arc<Retries>> {
        self.gate.retries.as_ref()
    }

    /// How long it was waited for.
    pub(in crate::outside) const fn waited(&self) -> Duration {
        self.place.waited
    }

    /// Something has come of the call.
    pub(in crate::outside) fn heard(&self) {
        self.place.heard();
    }

    /// The head of the answer has come, with this status.
    pub(in crate::outside) fn answered(&self, status: u16) {
        self.heard();
        let fate = if status >= 500 { Fate::Failed(format!("status {status}")) } else { Fate::Well };
        *lock(&self.fate) = fate;
    }

    /// The call has failed, and something had come: a refusal, or an end.
    pub(in crate::outside) fn broke(&self, failure: &str) {
        self.heard();
        *lock(&self.fate) = Fate::Failed(failure.to_owned());
    }

    /// The call has failed since nothing came of it within a limit. The upstream is to blame if the limit was long enough.
    pub(in crate::outside) fn unheard(&self, limit: Limit, length: Duration) {
        let fate = if length < self.gate.breaker.min_timeout_of(limit) {
            Fate::Unknown
        } else {
            self.place.unheard();
            Fate::Failed(limit.name().to_owned())
        };
        *lock(&self.fate) = fate;
    }

    /// The call has failed by what its caller asked for: nothing is known of the upstream.
    pub(in crate::outside) fn is_callers_fault(&self) {
        *lock(&self.fate) = Fate::Unknown;
    }

    /// Tells the store how the call went, if it is the one that tries whether the upstream is back.
    pub(in crate::outside) async fn tell_probe(&self) {
        let (Some(watch), Some(probe)) = (&self.gate.watch, lock(&self.probe).take()) else { return };
        let fate = std::mem::replace(&mut *lock(&self.fate), Fate::Open);
        let failure = match &fate {
            Fate::Open | Fate::Unknown => return,
            Fate::Well => None,
            Fate::Failed(failure) => Some(failure.clone()),
        };
        let limits = lock(watch).limits();
        if let Some(view) = self.gate.fleet.probed(probe, failure, limits).await {
            lock(watch).see(view, Instant::now());
        }
    }
}

impl Turn {
    fn had_enough_time(&self) -> bool {
        self.begun_at.elapsed() >= self.gate.breaker.min_timeout_of(Limit::AttemptTimeout)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let fate = std::mem::replace(&mut *lock(&self.fate), Fate::Open);
        let ended = match fate {
            Fate::Well => Some(None),
            Fate::Failed(failure) => Some(Some(failure)),
            // It was dropped before anything came: by its deadline, which is the upstream's doing if it had long enough, or
            // by a stop, which is not.
            Fate::Open if Instant::now() >= self.deadline && self.had_enough_time() => {
                self.place.unheard();
                Some(Some("no answer by the end of the try".to_owned()))
            }
            Fate::Open | Fate::Unknown => None,
        };
        if let (Some(watch), Some(failure)) = (&self.gate.watch, ended) {
            lock(watch).ended(failure);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
