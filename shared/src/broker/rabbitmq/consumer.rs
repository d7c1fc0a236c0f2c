//! The consumer that a worker holds: it only takes what the subscription's task has put into the inbox.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::DropGuard;

use super::subscription::Inbox;
use crate::broker::{Consumer, Delivery};

#[derive(Debug)]
pub(super) struct RabbitConsumer {
    pub(super) inbox: Arc<Inbox>,
    /// Ends the subscription's task.
    pub(super) _stop: DropGuard,
}

#[async_trait]
impl Consumer for RabbitConsumer {
    async fn next(&mut self) -> Option<Box<dyn Delivery>> {
        let delivery = self.inbox.next().await?;
        Some(Box::new(delivery))
    }

    fn is_subscribed(&self) -> bool {
        self.inbox.is_subscribed()
    }
}
