//! A broker that counts the messages that are published through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use coxswain_shared::broker::{Broker, Complaint, Consumer, Error};
use coxswain_shared::id::TaskKey;
use coxswain_shared::priority::Lane;

/// Counts, and hands on.
#[derive(Debug)]
pub(super) struct Counted {
    inner: Arc<dyn Broker>,
    messages: AtomicU64,
}

impl Counted {
    /// Counts what goes to this broker.
    pub(super) fn new(inner: Arc<dyn Broker>) -> Self {
        Self { inner, messages: AtomicU64::new(0) }
    }

    /// What it counts for.
    pub(super) const fn inner(&self) -> &Arc<dyn Broker> {
        &self.inner
    }

    /// Messages that it was given so far.
    pub(super) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Broker for Counted {
    async fn publish_confirmed(&self, tasks: &[(Lane, TaskKey)]) -> Vec<Result<(), Error>> {
        self.messages.fetch_add(tasks.len() as u64, Ordering::Relaxed);
        self.inner.publish_confirmed(tasks).await
    }

    async fn consume(&self, lane: &Lane, prefetch: u16) -> Result<Box<dyn Consumer>, Error> {
        self.inner.consume(lane, prefetch).await
    }

    async fn backlog(&self, lane: &Lane) -> Result<Option<u64>, Error> {
        self.inner.backlog(lane).await
    }

    async fn bury(&self, payload: &[u8], reason: &str) -> Result<(), Error> {
        self.inner.bury(payload, reason).await
    }

    fn complaint(&self) -> Option<Complaint> {
        self.inner.complaint()
    }

    fn reconnects(&self) -> u64 {
        self.inner.reconnects()
    }
}
