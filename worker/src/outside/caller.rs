//! What every kind that calls the outside holds, and makes its calls from.

use std::sync::Arc;

use coxswain_shared::expr::Scope;

use super::call::{Call, Limits};
use super::client::Clients;
use super::config::OutsideConfig;
use super::texts::Texts;
use crate::handler::Context;
use crate::metrics::Metrics;

/// The clients and the figures of a worker's calls. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    clients: Arc<Clients>,
    metrics: Metrics,
}

impl Caller {
    pub(crate) fn new(config: OutsideConfig, metrics: Metrics) -> Self {
        Self { clients: Arc::new(Clients::new(config)), metrics }
    }

    /// Begins to fill in what a call sends.
    pub(crate) fn texts<'a>(&self, scope: Scope<'a>) -> Texts<'a> {
        Texts::new(scope, Arc::clone(self.clients.config()))
    }

    /// A call of an attempt, once its request was filled in: with the limits of its node's policy.
    pub(crate) fn call<'a>(
        &'a self,
        ctx: &'a Context,
        texts: Texts<'_>,
        (max_bytes, retry_on): (u64, &'a [u16]),
    ) -> Call<'a> {
        let limits = Limits::of(&ctx.definition().policy);
        let (clients, metrics, secrets) = (&self.clients, &self.metrics, texts.into_secrets());
        Call { ctx, clients, metrics, limits, secrets, max_bytes, retry_on }
    }
}
