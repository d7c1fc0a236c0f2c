//! A message in hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::FutureExt;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use lapin::{Acker, Channel};
use tokio::time::timeout;

use super::adapter::Shared;
use crate::broker::Delivery;
use crate::id::TaskKey;
use crate::wire;

const REQUEUE: BasicNackOptions = BasicNackOptions { multiple: false, requeue: true };

/// Where deliveries came from: a channel, on which alone their tags mean something, and the consumer on it.
#[derive(Debug)]
pub(super) struct Origin {
    /// Open for as long as a delivery of it is in hand.
    _channel: Channel,
    /// The broker has ended the consumer, and may have taken back what was in hand. Since 4.3 it does so when a delivery is
    /// held too long, and leaves the channel open: an ack then goes through, and means nothing.
    is_lost: AtomicBool,
}

impl Origin {
    pub(super) fn new(channel: Channel) -> Self {
        Self { _channel: channel, is_lost: AtomicBool::new(false) }
    }

    pub(super) fn note_lost(&self) {
        self.is_lost.store(true, Ordering::Release);
    }

    fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }
}

/// A delivery.
#[derive(Debug)]
pub(super) struct RabbitDelivery {
    /// Present until it is settled; what is dropped with it goes back to the queue.
    acker: Option<Acker>,
    payload: Vec<u8>,
    is_redelivered: bool,
    origin: Arc<Origin>,
    shared: Arc<Shared>,
}

impl RabbitDelivery {
    pub(super) fn new(delivery: lapin::message::Delivery, origin: Arc<Origin>, shared: Arc<Shared>) -> Self {
        Self {
            acker: Some(delivery.acker),
            payload: delivery.data,
            is_redelivered: delivery.redelivered,
            origin,
            shared,
        }
    }

    /// Whether its channel or consumer is gone, so that the broker delivers it again whatever is done here.
    pub(super) fn is_stale(&self) -> bool {
        self.origin.is_lost() || self.acker.as_ref().is_none_or(|acker| !acker.usable())
    }

    fn take(&mut self) -> Acker {
        self.acker.take().expect("a delivery is settled once, since settling consumes it")
    }
}

#[async_trait]
impl Delivery for RabbitDelivery {
    fn task(&self) -> Result<TaskKey, wire::Error> {
        wire::decode(&self.payload)
    }

    fn payload(&self) -> &[u8] {
        &self.payload
    }

    fn is_redelivered(&self) -> bool {
        self.is_redelivered
    }

    async fn ack(mut self: Box<Self>) -> bool {
        let acker = self.take();
        let answer = timeout(self.shared.patience(), acker.ack(BasicAckOptions::default())).await;
        // `Ok(false)` is the library's word for a channel that is gone.
        matches!(answer, Ok(Ok(true))) && !acker.poisoned() && !self.origin.is_lost()
    }

    async fn give_back(mut self: Box<Self>) {
        let acker = self.take();
        // If it fails the channel is gone, and the message is back on the queue already.
        let _ = timeout(self.shared.patience(), acker.nack(REQUEUE)).await;
    }

    async fn bury(self: Box<Self>, reason: &str) {
        match self.shared.bury(&self.payload, reason).await {
            Ok(()) => {
                self.ack().await;
            }
            Err(error) => {
                tracing::warn!(%error, reason, "a message that cannot be dealt with stays on its queue, since the dead letters cannot be reached");
                self.give_back().await;
            }
        }
    }
}

impl Drop for RabbitDelivery {
    fn drop(&mut self) {
        if let Some(acker) = self.acker.take() {
            // The first poll hands the order to the connection's thread; there is nothing to wait for.
            let _ = acker.nack(REQUEUE).now_or_never();
        }
    }
}
