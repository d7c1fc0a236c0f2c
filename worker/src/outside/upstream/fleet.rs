//! What a worker asks the store about an upstream. A store that does not answer at once stands in nobody's way: then the
//! worker goes by what it knows itself.

use std::sync::Arc;
use std::time::Duration;

use coxswain_shared::id::Nonce;
use coxswain_shared::store::{BreakerCall, BreakerView, Error, Store};
use coxswain_shared::upstream::{Admission, BreakerEvent, BreakerLimits, Rate, UpstreamName};
use tokio::time::timeout;

use super::watch::Tally;

/// How long an answer of the store is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// The store, about one upstream.
#[derive(Debug)]
pub(super) struct Fleet {
    upstream: UpstreamName,
    store: Arc<dyn Store>,
}

impl Fleet {
    pub(super) fn new(upstream: UpstreamName, store: Arc<dyn Store>) -> Self {
        Self { upstream, store }
    }

    pub(super) const fn upstream(&self) -> &UpstreamName {
        &self.upstream
    }

    /// Whether a call may be made now.
    pub(super) async fn admit(&self, rate: &Rate) -> Option<Admission> {
        self.answer(self.store.admit(&self.upstream, rate)).await
    }

    /// Tells what calls have come to, and where the breaker stands then.
    pub(super) async fn report(&self, tally: &Tally, limits: BreakerLimits) -> Option<BreakerView> {
        let event = BreakerEvent::Reported { calls: tally.calls, failed: tally.failed };
        self.breaker(event, tally.last.clone(), limits).await
    }

    /// Asks for the one call that tries.
    pub(super) async fn ask(&self, probe: &Nonce, limits: BreakerLimits) -> Option<BreakerView> {
        self.breaker(BreakerEvent::Asked { probe: probe.clone() }, None, limits).await
    }

    /// Tells how that call has ended: well, or by this failure.
    pub(super) async fn probed(
        &self,
        probe: Nonce,
        failure: Option<String>,
        limits: BreakerLimits,
    ) -> Option<BreakerView> {
        let event = BreakerEvent::Probed { probe, well: failure.is_none() };
        self.breaker(event, failure, limits).await
    }

    async fn breaker(&self, event: BreakerEvent, last: Option<String>, limits: BreakerLimits) -> Option<BreakerView> {
        let call = BreakerCall { upstream: self.upstream.clone(), event, last, limits };
        self.answer(self.store.breaker(call)).await
    }

    async fn answer<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Option<T> {
        match timeout(PATIENCE, call).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                tracing::debug!(upstream = %self.upstream, %error, "the store does not know of an upstream");
                None
            }
            Err(_) => {
                tracing::debug!(upstream = %self.upstream, "the store did not answer in time about an upstream");
                None
            }
        }
    }
}
