//! The trait of a node kind, and the work that it starts.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::handler::{Context, NodeError, Reply};

/// A kind of node that a worker runs.
pub trait Kind: Send + Sync + fmt::Debug + 'static {
    /// Its name: what a graph's `kind` says.
    fn name(&self) -> &'static str;

    /// Prepares the work of one attempt; cheap, and without side effects: those belong in the work's future, which
    /// runs where handlers run.
    fn start(&self, ctx: Context) -> Result<Work, NodeError>;

    /// Ends what outlives an attempt, such as processes that are kept. Called once, when the attempts have ended.
    fn close(&self) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

/// The work of one attempt.
pub struct Work {
    pub(crate) future: BoxFuture<'static, Result<Reply, NodeError>>,
    pub(crate) wants_grace: bool,
    pub(crate) last_words: Duration,
}

impl Work {
    /// Work that is dropped as soon as there is a reason to end it.
    pub fn new(future: impl Future<Output = Result<Reply, NodeError>> + Send + 'static) -> Self {
        Self { future: Box::pin(future), wants_grace: false, last_words: Duration::ZERO }
    }

    /// Work that watches [`Context::stopped`] and is dropped only when the grace is over.
    #[must_use]
    pub const fn with_grace(mut self, wants_grace: bool) -> Self {
        self.wants_grace = wants_grace;
        self
    }

    /// Work that needs a moment beyond its grace, or without one, to see that what it killed is gone.
    #[must_use]
    pub(crate) const fn with_last_words(mut self, last_words: Duration) -> Self {
        self.last_words = last_words;
        self
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("wants_grace", &self.wants_grace).finish_non_exhaustive()
    }
}
