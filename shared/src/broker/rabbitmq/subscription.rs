//! A consumer's subscription: a task that subscribes, hands deliveries on, and subscribes again when it ends.
//!
//! It ends for many reasons, all of them ordinary: the connection is lost, the broker closes the channel because a
//! delivery was held beyond `consumer_timeout`, or cancels the consumer because the queue was deleted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::adapter::Shared;
use super::backoff::Backoff;
use super::delivery::{Origin, RabbitDelivery};
use super::failure::Failure;

/// How long a polite cancel may take.
const CANCEL_WITHIN: Duration = Duration::from_secs(2);

/// What the task and the consumer share. The broker keeps `arrived` below the prefetch: what a lost channel left is
/// thrown away before the next one delivers.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    arrived: Mutex<VecDeque<RabbitDelivery>>,
    changed: Notify,
    is_subscribed: AtomicBool,
    is_closed: AtomicBool,
}

impl Inbox {
    /// The next delivery that can still be settled; `None` once the task has ended. Cancel safe: nothing is awaited once
    /// a delivery is taken.
    pub(super) async fn next(&self) -> Option<RabbitDelivery> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            while let Some(delivery) = self.pop() {
                if !delivery.is_stale() {
                    return Some(delivery);
                }
            }
            if self.is_closed.load(Ordering::Acquire) {
                return None;
            }
            changed.await;
        }
    }

    pub(super) fn is_subscribed(&self) -> bool {
        self.is_subscribed.load(Ordering::Acquire)
    }

    fn pop(&self) -> Option<RabbitDelivery> {
        self.arrived().pop_front()
    }

    fn push(&self, delivery: RabbitDelivery) {
        self.arrived().push_back(delivery);
        self.changed.notify_one();
    }

    fn clear(&self) {
        let left = std::mem::take(&mut *self.arrived());
        drop(left);
    }

    fn close(&self) {
        self.is_subscribed.store(false, Ordering::Release);
        self.is_closed.store(true, Ordering::Release);
        self.clear();
        self.changed.notify_one();
    }

    fn arrived(&self) -> MutexGuard<'_, VecDeque<RabbitDelivery>> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task. It ends when `stop` is cancelled or the broker's tasks drain.
pub(super) struct Subscription {
    pub(super) shared: Arc<Shared>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) queue: ShortString,
    pub(super) prefetch: u16,
    pub(super) stop: CancellationToken,
}

/// Why a subscription ended.
enum Ended {
    /// It is to be made again.
    Lost(Failure),
    /// Nobody wants it any more.
    Stopped,
}

impl Subscription {
    /// Keeps the subscription up. `first` is told how the first try went; if it failed, the task ends with it.
    pub(super) async fn run(self, first: oneshot::Sender<Result<(), Failure>>) {
        let mut first = Some(first);
        let (min, max) = self.shared.backoff();
        let mut backoff = Backoff::new(min, max);
        // What has been logged already: it is told once, not at each try.
        let mut last = None;
        loop {
            let subscribed = tokio::select! {
                () = self.stopped() => break,
                subscribed = self.subscribe() => subscribed,
            };
            let failure = match subscribed {
                Ok((channel, consumer)) => {
                    let since = Instant::now();
                    self.note_subscribed(first.take());
                    last = None;
                    match self.receive(&channel, consumer).await {
                        Ended::Stopped => break,
                        Ended::Lost(failure) => {
                            self.inbox.is_subscribed.store(false, Ordering::Release);
                            self.inbox.clear();
                            if since.elapsed() >= max {
                                backoff.reset();
                            }
                            failure
                        }
                    }
                }
                Err(failure) => failure,
            };
            if let Some(first) = first.take() {
                // Nobody waits any more: `consume` was dropped.
                let _ = first.send(Err(failure));
                break;
            }
            if last.as_ref() != Some(&failure) {
                tracing::warn!(queue = %self.queue, why = failure.why, "the subscription is lost, subscribing again");
            }
            last = Some(failure);
            tokio::select! {
                () = self.stopped() => break,
                () = sleep(backoff.pause()) => {}
            }
        }
        self.inbox.close();
    }

    async fn stopped(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.shared.draining() => {}
        }
    }

    async fn subscribe(&self) -> Result<(Channel, Consumer), Failure> {
        let deadline = Instant::now() + self.shared.patience();
        let connection = self.shared.consume_link().connection(deadline).await?;
        let of_queue = |error: lapin::Error| Failure::of_queue(&error, self.queue.as_str());
        let subscribing = async {
            let channel = connection.create_channel().await.map_err(|error| Failure::of(&error))?;
            self.shared.topology().declare_tasks(&channel, &self.queue).await?;
            // Of each consumer, not of the channel: a quorum queue knows no other prefetch.
            let qos = BasicQosOptions { global: false };
            channel.basic_qos(self.prefetch, qos).await.map_err(of_queue)?;
            let (tag, options) = (ShortString::default(), BasicConsumeOptions::default());
            let consumed = channel.basic_consume(self.queue.clone(), tag, options, FieldTable::default()).await;
            consumed.map(|consumer| (channel, consumer)).map_err(of_queue)
        };
        match timeout_at(deadline, subscribing).await {
            Ok(subscribed) => subscribed,
            Err(_) => Err(Failure::passing("it did not answer in time")),
        }
    }

    fn note_subscribed(&self, first: Option<oneshot::Sender<Result<(), Failure>>>) {
        self.inbox.is_subscribed.store(true, Ordering::Release);
        if let Some(first) = first {
            // If nobody waits any more, `stop` is cancelled with the consumer that `consume` would have made.
            drop(first.send(Ok(())));
        } else {
            self.shared.note_reconnect();
            tracing::info!(queue = %self.queue, "subscribed again");
        }
    }

    async fn receive(&self, channel: &Channel, mut consumer: Consumer) -> Ended {
        let origin = Arc::new(Origin::new(channel.clone()));
        let failure = loop {
            let received = tokio::select! {
                () = self.stopped() => {
                    self.cancel(channel, &origin, consumer).await;
                    return Ended::Stopped;
                }
                received = consumer.next() => received,
            };
            match received {
                Some(Ok(delivery)) => {
                    self.inbox.push(RabbitDelivery::new(delivery, Arc::clone(&origin), Arc::clone(&self.shared)));
                }
                Some(Err(error)) => break Failure::of(&error),
                None => {
                    break Failure::passing(
                        "the broker cancelled the consumer: its queue was deleted, or a delivery held too long",
                    );
                }
            }
        };
        origin.note_lost();
        Ended::Lost(failure)
    }

    /// Takes no more deliveries, and gives back those that nobody has taken. Those in hand keep the channel open.
    async fn cancel(&self, channel: &Channel, origin: &Arc<Origin>, mut consumer: Consumer) {
        // If it fails the channel is gone, and the broker has taken everything back.
        let _ = timeout(CANCEL_WITHIN, channel.basic_cancel(consumer.tag(), BasicCancelOptions::default())).await;
        while let Some(Some(Ok(delivery))) = consumer.next().now_or_never() {
            drop(RabbitDelivery::new(delivery, Arc::clone(origin), Arc::clone(&self.shared)));
        }
    }
}
