//! Upstreams: how often they are called, and their breakers. Kept in memory: they are of the last minute, and of this
//! process, since a fleet has another store.

use std::collections::BTreeMap;

use crate::store::{BreakerCall, BreakerView};
use crate::time::Timestamp;
use crate::upstream::{Admission, Breaker, Rate, UpstreamName, admit};

/// Upstreams that are known at a time; beyond it all are forgotten, which costs a burst each.
const KNOWN_MAX: usize = 10_000;

/// What is known of upstreams.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    arrivals: BTreeMap<UpstreamName, i64>,
    breakers: BTreeMap<UpstreamName, (Breaker, Option<String>)>,
}

impl Upstreams {
    pub(super) fn admit(&mut self, upstream: &UpstreamName, rate: &Rate, now: Timestamp) -> Admission {
        let (answer, arrival) = admit(self.arrivals.get(upstream).copied(), now, rate);
        if self.arrivals.len() >= KNOWN_MAX {
            self.arrivals.clear();
        }
        self.arrivals.insert(upstream.clone(), arrival);
        answer
    }

    pub(super) fn breaker(&mut self, call: BreakerCall, now: Timestamp) -> BreakerView {
        let (breaker, last) = self.breakers.remove(&call.upstream).unwrap_or_else(|| (Breaker::new(now), None));
        let (breaker, last) = (breaker.next(&call.event, now, &call.limits), call.last.or(last));
        if self.breakers.len() >= KNOWN_MAX {
            self.breakers.clear();
        }
        self.breakers.insert(call.upstream, (breaker.clone(), last.clone()));
        BreakerView { breaker, last, now }
    }
}
