//! Publishing: a batch goes out at once, then all its confirms are awaited together.
//!
//! A batch has a channel to itself. The library ties a returned message to whichever confirm comes next, which on a
//! shared channel may be another caller's; within a batch, returns are told apart by queue and payload. A channel whose
//! batch ended badly is thrown away, and with it the library's memory of what is still open.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::failure::Failure;
use super::link::Link;

/// Batches that are on their way at the same time; more wait for their turn. Two saturate a broker on one machine.
const CHANNELS_MAX: usize = 8;

/// Persistent: the message survives the broker.
const PERSISTENT: u8 = 2;

/// A message to be sent.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) queue: ShortString,
    /// For people who look at the queue; nothing is decided by it.
    pub(super) message_id: Option<ShortString>,
    pub(super) headers: Option<FieldTable>,
    pub(super) payload: Vec<u8>,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// The broker has it safe.
    Confirmed,
    /// There is no such queue.
    Returned,
    /// The broker would not take it: the queue is full, or is only just being made and has no leader yet.
    Refused,
    /// It is not known to be safe; it may arrive all the same.
    Unsure(Failure),
}

#[derive(Debug)]
pub(super) struct Publisher {
    link: Arc<Link>,
    turns: Semaphore,
    /// Open channels that no batch uses.
    idle: Mutex<Vec<Channel>>,
}

impl Publisher {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link, turns: Semaphore::new(CHANNELS_MAX), idle: Mutex::default() }
    }

    /// Sends a batch and waits until each message is confirmed or returned, or for the deadline. One fate a message, in order.
    pub(super) async fn publish(&self, batch: &[Outgoing], deadline: Instant) -> Vec<Fate> {
        let turn = timeout_at(deadline, self.turns.acquire()).await;
        let channel = match turn {
            Ok(_) => self.channel(deadline).await,
            Err(_) => Err(Failure::passing("other batches hold all channels")),
        };
        let channel = match channel {
            Ok(channel) => channel,
            Err(failure) => return vec![Fate::Unsure(failure); batch.len()],
        };
        let fates = send(&channel, batch, deadline).await;
        if fates.iter().all(|fate| !matches!(fate, Fate::Unsure(_))) {
            self.idle().push(channel);
        }
        fates
    }

    async fn channel(&self, deadline: Instant) -> Result<Channel, Failure> {
        let connection = self.link.unblocked(deadline).await?;
        let open = std::mem::take(&mut *self.idle()).into_iter().filter(|channel| channel.status().connected());
        let mut open: Vec<_> = open.collect();
        let reused = open.pop();
        self.idle().append(&mut open);
        if let Some(channel) = reused {
            return Ok(channel);
        }
        let opening = async {
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok(channel)
        };
        match timeout_at(deadline, opening).await {
            Ok(opened) => opened.map_err(|error: lapin::Error| Failure::of(&error)),
            Err(_) => Err(Failure::passing("it did not open a channel in time")),
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Channel>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn send(channel: &Channel, batch: &[Outgoing], deadline: Instant) -> Vec<Fate> {
    let late = Fate::Unsure(Failure::passing("it did not confirm in time"));
    let mut fates = vec![late; batch.len()];
    let mut returned = HashSet::new();
    // All are polled by this one task, so that they leave in the order in which the library numbers them.
    let mut confirms: FuturesUnordered<_> = batch
        .iter()
        .enumerate()
        .map(|(index, message)| async move { (index, send_one(channel, message).await) })
        .collect();
    while let Ok(Some((index, confirmation))) = timeout_at(deadline, confirms.next()).await {
        fates[index] = match confirmation {
            Ok(Confirmation::Ack(back)) => {
                returned.extend(back.map(|back| (back.delivery.routing_key.clone(), back.delivery.data)));
                Fate::Confirmed
            }
            Ok(Confirmation::Nack(_)) => Fate::Refused,
            Ok(Confirmation::NotRequested) => unreachable!("every channel of ours asks for confirms"),
            Err(error) => Fate::Unsure(Failure::of_publishing(&error)),
        };
    }
    drop(confirms);
    if !returned.is_empty() {
        for (fate, message) in fates.iter_mut().zip(batch) {
            if *fate == Fate::Confirmed && returned.contains(&(message.queue.clone(), message.payload.clone())) {
                *fate = Fate::Returned;
            }
        }
    }
    fates
}

async fn send_one(channel: &Channel, message: &Outgoing) -> lapin::Result<Confirmation> {
    let mut properties =
        BasicProperties::default().with_delivery_mode(PERSISTENT).with_content_type("application/json".into());
    if let Some(id) = &message.message_id {
        properties = properties.with_message_id(id.clone());
    }
    if let Some(headers) = &message.headers {
        properties = properties.with_headers(headers.clone());
    }
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let published = channel.basic_publish("".into(), message.queue.clone(), options, &message.payload, properties);
    published.await?.await
}
