//! Puts a worker together: handlers, kinds, and the two ports.

use std::sync::Arc;

use coxswain_shared::broker::{self, Broker};
use coxswain_shared::config::Source;
use coxswain_shared::id::WorkerId;
use coxswain_shared::store::{self, Store};
use coxswain_shared::telemetry;
use serde::de::DeserializeOwned;

use super::worker::{WorkRuntime, Worker};
use crate::config::Config;
use crate::handler::{Context, Handler, Handlers, IntoReply, NodeError};
use crate::kind::{CallingKind, ExecKind, Kind, Kinds, RustKind, SetKind};
use crate::metrics::Metrics;
use crate::outside::Caller;

/// Why a worker cannot be built, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Two handlers of the same name.
    #[error("the handler `{0}` is registered twice")]
    HandlerTwice(String),
    /// Two kinds of the same name.
    #[error("the node kind `{0}` is registered twice")]
    KindTwice(&'static str),
    /// The threads for handlers could not be started.
    #[error("the threads for handlers could not be started")]
    Runtime(#[source] std::io::Error),
    /// The store refuses to work.
    #[error("the store cannot be used")]
    Store(#[source] store::Error),
    /// The broker refuses to work.
    #[error("the broker cannot be used")]
    Broker(#[source] broker::Error),
}

/// A worker that is being put together.
#[derive(Debug)]
pub struct Builder {
    config: Config,
    handlers: Handlers,
    kinds: Vec<Arc<dyn Kind>>,
    twice: Option<String>,
}

impl Builder {
    pub(crate) fn new(config: Config) -> Self {
        Self { config, handlers: Handlers::default(), kinds: vec![Arc::new(SetKind)], twice: None }
    }

    /// Registers a function as the handler of `rust` nodes that name it.
    #[must_use]
    pub fn handler<F, I, O, R>(mut self, name: impl Into<String>, function: F) -> Self
    where
        F: Fn(Context, I) -> R + Send + Sync + 'static,
        I: DeserializeOwned + Send + 'static,
        O: IntoReply,
        R: Future<Output = Result<O, NodeError>> + Send + 'static,
    {
        let name = name.into();
        if !self.handlers.add_function(name.clone(), function) {
            self.twice = Some(name);
        }
        self
    }

    /// Registers a [`Handler`] as the handler of `rust` nodes that name it.
    #[must_use]
    pub fn node(mut self, name: impl Into<String>, handler: impl Handler) -> Self {
        let name = name.into();
        if !self.handlers.add(name.clone(), handler) {
            self.twice = Some(name);
        }
        self
    }

    /// Adds a node kind.
    #[must_use]
    pub fn kind(mut self, kind: impl Kind) -> Self {
        self.kinds.push(Arc::new(kind));
        self
    }

    /// Builds the worker. Its metrics are registered with `metrics`: one worker a registry.
    pub fn build(
        self,
        store: Arc<dyn Store>,
        broker: Arc<dyn Broker>,
        metrics: &telemetry::Metrics,
    ) -> Result<Worker, Error> {
        if let Some(name) = self.twice {
            return Err(Error::HandlerTwice(name));
        }
        let mut kinds = Kinds::new(&self.config.kinds);
        kinds.add(Arc::new(RustKind::new(self.handlers)));
        for kind in self.kinds {
            let name = kind.name();
            if is_taken(name) || !kinds.add(kind) {
                return Err(Error::KindTwice(name));
            }
        }
        let id = self.config.id.clone().unwrap_or_else(|| {
            let host = Source::foreign("HOSTNAME").or_else(|| nix::unistd::gethostname().ok()?.into_string().ok());
            WorkerId::fresh(host.as_deref().unwrap_or("host"))
        });
        let runtime = WorkRuntime::start(self.config.work_threads()).map_err(Error::Runtime)?;
        for told in self.config.outside.upstreams.cut_by_share(self.config.slots) {
            tracing::warn!("{told}");
        }
        let unbound = self.config.outside.unbound();
        if !unbound.is_empty() {
            let secrets = unbound.join(", ");
            tracing::warn!(
                secrets,
                "graphs may send these secrets to any host: bind each to its own, as in COX_SECRETS=NAME@HOST"
            );
        }
        // Nothing fails from here on: what is registered stays registered.
        let metrics = Metrics::new(metrics);
        kinds.add(Arc::new(ExecKind::new(&self.config, metrics.clone())));
        let caller = Caller::new(self.config.outside.clone(), self.config.slots, Arc::clone(&store), metrics.clone());
        for kind in CallingKind::all(&caller) {
            kinds.add(Arc::new(kind));
        }
        Ok(Worker::new(self.config, id, kinds, runtime, (store, broker, metrics)))
    }
}

/// Whether it is the name of a kind that is added after all others.
fn is_taken(name: &str) -> bool {
    name == ExecKind::NAME || CallingKind::has(name)
}
