//! What every kind that calls the outside holds, and makes its calls from.

use std::sync::Arc;

use coxswain_shared::expr::Scope;
use coxswain_shared::outcome::FailureKind;
use coxswain_shared::store::Store;

use super::call::{Call, Limits};
use super::client::Clients;
use super::config::OutsideConfig;
use super::prices::{Prices, Tokens};
use super::texts::Texts;
use super::upstream::Gates;
use crate::handler::{Context, NodeError};
use crate::metrics::Metrics;

/// The clients and the figures of a worker's calls. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    clients: Arc<Clients>,
    gates: Arc<Gates>,
    metrics: Metrics,
}

impl Caller {
    /// What a worker with so many slots makes its calls from; the store knows what the fleet's other workers do.
    pub(crate) fn new(config: OutsideConfig, slots: u16, store: Arc<dyn Store>, metrics: Metrics) -> Self {
        let gates = Gates::new(config.upstreams.clone(), usize::from(slots), store, metrics.clone());
        Self { clients: Arc::new(Clients::new(config)), gates: Arc::new(gates), metrics }
    }

    /// Begins to fill in what a call sends.
    pub(crate) fn texts<'a>(&self, scope: Scope<'a>) -> Texts<'a> {
        Texts::new(scope, Arc::clone(self.clients.config()))
    }

    /// What models cost.
    pub(crate) fn prices(&self) -> &Prices {
        &self.clients.config().prices
    }

    /// Refuses a model without a price where the run's cost is limited.
    pub(crate) fn check_price(&self, ctx: &Context, model: &str) -> Result<(), NodeError> {
        if !ctx.assignment().lease.limits_cost || self.prices().cost([model], Tokens::default()).is_some() {
            return Ok(());
        }
        let message = format!(
            "the cost of the run is limited, and the worker has no price for the model `{model}`: give it one in COX_PRICES"
        );
        Err(NodeError::refused(FailureKind::BadInput, message))
    }

    /// Counts a model that is asked in place of another.
    pub(crate) fn count_fallback(&self) {
        self.metrics.llm_fallbacks.inc();
    }

    /// A call of an attempt, once its request was filled in: with the limits of its node's policy.
    pub(crate) fn call<'a>(
        &'a self,
        ctx: &'a Context,
        texts: &Texts<'_>,
        (max_bytes, retry_on): (u64, &'a [u16]),
    ) -> Call<'a> {
        let limits = Limits::of(&ctx.definition().policy);
        let (clients, gates, metrics, secrets) = (&self.clients, &self.gates, &self.metrics, texts.secrets().clone());
        Call { ctx, clients, gates, metrics, limits, secrets, max_bytes, retry_on, is_stream: false }
    }
}
