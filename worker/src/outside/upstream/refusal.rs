//! Why a call is not made now.

use std::time::Duration;

use coxswain_shared::upstream::UpstreamName;

use super::watch::Open;

/// A call that is not made now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::outside) enum Refusal {
    /// It comes back later.
    PutOff(PutOff),
    /// The upstream's breaker is open: it has failed.
    Open(UpstreamName, Open),
}

/// A call that is put off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::outside) struct PutOff {
    pub(in crate::outside) why: Why,
    pub(in crate::outside) upstream: UpstreamName,
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

/// What is in the way of a call that is put off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::outside) enum Why {
    /// As many as may wait do so already.
    Full,
    /// Nothing comes of the calls in flight.
    Silent,
    /// Its turn did not come in time.
    Slow,
    /// The fleet calls as often as it may.
    Rate,
    /// Its breaker was open, and one call tries just now whether it is back.
    Tried,
}

impl Why {
    /// Its name in metrics.
    pub(in crate::outside) const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Silent => "silent",
            Self::Slow => "slow",
            Self::Rate => "rate",
            Self::Tried => "tried",
        }
    }
}
