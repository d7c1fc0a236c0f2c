//! Handlers by name: typed where they are registered, JSON where they are called.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use coxswain_shared::id::ChannelName;
use coxswain_shared::outcome::FailureKind;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;

use super::{Context, IntoReply, NodeError, Reply};

/// How a handler works together with the worker when its attempt is to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether it watches [`Context::stopped`] and ends by itself: its future is then dropped when the grace is over,
    /// not at once. An order by force, or a lost lease, gives no grace.
    pub wants_grace: bool,
}

/// Something that does a node's work.
///
/// Its input is the item of a fan-out, or else the state as an object (the channels that the node reads). Its output is
/// an object of writes by channel, or whatever goes into the node's `into` channel; or a [`Reply`]. The future may be
/// dropped at any await.
pub trait Handler: Send + Sync + 'static {
    /// What it is given.
    type Input: DeserializeOwned + Send;
    /// What it gives back.
    type Output: IntoReply;

    /// How it works together with the worker.
    fn policy(&self) -> Policy {
        Policy::default()
    }

    /// Does the work.
    fn run(&self, ctx: Context, input: Self::Input) -> impl Future<Output = Result<Self::Output, NodeError>> + Send;
}

/// A handler that takes and gives JSON.
pub(crate) struct Erased {
    pub(crate) policy: Policy,
    run: Box<dyn Fn(Context) -> BoxFuture<'static, Result<Reply, NodeError>> + Send + Sync>,
}

impl Erased {
    /// The work of one attempt. Reading the input is part of it, so that it runs where handlers run.
    pub(crate) fn start(&self, ctx: Context) -> BoxFuture<'static, Result<Reply, NodeError>> {
        (self.run)(ctx)
    }
}

/// Handlers by name.
#[derive(Default)]
pub(crate) struct Handlers(BTreeMap<String, Arc<Erased>>);

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Handlers {
    /// Adds a handler; false if the name is taken.
    pub(crate) fn add<H: Handler>(&mut self, name: String, handler: H) -> bool {
        let policy = handler.policy();
        let handler = Arc::new(handler);
        self.insert(name, policy, move |ctx| {
            let handler = Arc::clone(&handler);
            Box::pin(async move {
                let input = read_input(&ctx)?;
                handler.run(ctx, input).await.map(IntoReply::into_reply)
            })
        })
    }

    /// Adds a function; false if the name is taken.
    pub(crate) fn add_function<F, I, O, R>(&mut self, name: String, function: F) -> bool
    where
        F: Fn(Context, I) -> R + Send + Sync + 'static,
        I: DeserializeOwned + Send + 'static,
        O: IntoReply,
        R: Future<Output = Result<O, NodeError>> + Send + 'static,
    {
        let function = Arc::new(function);
        self.insert(name, Policy::default(), move |ctx| {
            let function = Arc::clone(&function);
            Box::pin(async move {
                let input = read_input(&ctx)?;
                function(ctx, input).await.map(IntoReply::into_reply)
            })
        })
    }

    /// The handler of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Erased>> {
        self.0.get(name)
    }

    /// The names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    fn insert(
        &mut self,
        name: String,
        policy: Policy,
        run: impl Fn(Context) -> BoxFuture<'static, Result<Reply, NodeError>> + Send + Sync + 'static,
    ) -> bool {
        let erased = Arc::new(Erased { policy, run: Box::new(run) });
        self.0.insert(name, erased).is_none()
    }
}

fn read_input<I: DeserializeOwned>(ctx: &Context) -> Result<I, NodeError> {
    serde_json::from_value(ctx.input()).map_err(|error| {
        let source = if ctx.item().is_some() { "the item" } else { "the state" };
        let reads = ctx.state().keys().map(ChannelName::as_str).collect::<Vec<_>>().join(", ");
        let handed = if ctx.item().is_some() { String::new() } else { format!("; it was handed: {reads}") };
        NodeError::refused(FailureKind::BadInput, format!("{source} is not the input of its handler: {error}{handed}"))
    })
}
