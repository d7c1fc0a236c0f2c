//! The calls of the store port that are about upstreams: what each takes and answers.

use crate::time::Timestamp;
use crate::upstream::{Breaker, BreakerEvent, BreakerLimits, UpstreamName};

/// What has happened at an upstream's breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerCall {
    /// Which upstream.
    pub upstream: UpstreamName,
    /// What has happened.
    pub event: BreakerEvent,
    /// What the last failure was, if the event tells of one.
    pub last: Option<String>,
    /// When the breaker opens, and for how long.
    pub limits: BreakerLimits,
}

/// Where a breaker stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerView {
    /// Its state.
    pub breaker: Breaker,
    /// What the last failure was that was told of.
    pub last: Option<String>,
    /// The store's time.
    pub now: Timestamp,
}
