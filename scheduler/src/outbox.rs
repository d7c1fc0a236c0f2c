//! Sends task messages and strikes them off: publishes in batches, and notes in the store what the broker confirmed.
//!
//! Nothing is lost here. What is not published, or not struck off, is on the store's agenda, and a sweep hands it out
//! again. So the queue into the outbox is bounded, and overflow is dropped. What a sweep hands out while it still waits
//! here is not put in a second time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use coxswain_shared::broker::Broker;
use coxswain_shared::crashpoint::CrashPoint;
use coxswain_shared::id::{Partition, TaskKey};
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::priority::Lane;
use coxswain_shared::store::Store;
use tokio::sync::mpsc;

use crate::metrics::SchedulerMetrics;
use crate::survey::Lanes;
use crate::waiting::Waiting;

/// Batches that may wait; beyond it the broker is too slow, and the sweep will send later.
const WAITING_MAX: usize = 1_024;
/// Messages that are published together.
const PUBLISH_MAX: usize = 512;
/// How long struck-off tasks are gathered before the store is told: most are claimed by then, and it costs nothing.
const STRIKE_EVERY: Duration = Duration::from_millis(250);
/// Struck-off tasks that are told to the store at once.
const STRIKE_MAX: usize = 500;

/// A message to be sent: the lane whose queue it goes to, and the task.
pub(crate) type Message = (Lane, TaskKey);

/// Where advancers and the sweeper put what is to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    batches: mpsc::Sender<Vec<Message>>,
    waiting: Arc<Waiting>,
    metrics: SchedulerMetrics,
    lanes: Lanes,
}

/// The end that publishes.
struct Publisher {
    batches: mpsc::Receiver<Vec<Message>>,
    waiting: Arc<Waiting>,
    broker: Arc<dyn Broker>,
    strike: mpsc::Sender<Vec<TaskKey>>,
    metrics: SchedulerMetrics,
}

impl Outbox {
    /// Starts an outbox. It ends when the last handle is dropped, and publishes what waits before it does.
    pub(crate) fn start(
        store: Arc<dyn Store>,
        broker: Arc<dyn Broker>,
        resend_after: Duration,
        metrics: SchedulerMetrics,
        tasks: &Tasks,
    ) -> Self {
        let (sender, batches) = mpsc::channel(WAITING_MAX);
        let (strike, sent) = mpsc::channel(WAITING_MAX);
        let waiting = Arc::new(Waiting::default());
        let publisher = Publisher { batches, waiting: Arc::clone(&waiting), broker, strike, metrics: metrics.clone() };
        tasks.spawn(publisher.run());
        tasks.spawn(strike_off(sent, store, resend_after, metrics.clone()));
        Self { batches: sender, waiting, metrics, lanes: Lanes::default() }
    }

    /// The lanes that it has seen.
    pub(crate) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// Puts messages in. Never waits: what does not fit is left to the sweep.
    pub(crate) fn put(&self, messages: Vec<Message>) {
        if messages.is_empty() {
            return;
        }
        self.lanes.note(messages.iter().map(|(lane, _)| lane));
        // Before it can be published: what is forgotten before it is remembered would never be forgotten.
        self.waiting.add(&messages);
        if let Err(full) = self.batches.try_send(messages) {
            let messages = full.into_inner();
            self.waiting.take(&messages);
            self.metrics.sent("overflow", messages.len());
        }
    }

    /// Puts in what a sweep handed out, but for what waits here already.
    pub(crate) fn put_missing(&self, messages: Vec<Message>) {
        let count = messages.len();
        let missing = self.waiting.missing(messages);
        self.metrics.sent("waiting", count - missing.len());
        self.put(missing);
    }
}

impl Publisher {
    async fn run(mut self) {
        let mut arrived = Vec::new();
        while self.batches.recv_many(&mut arrived, WAITING_MAX).await > 0 {
            let mut messages: VecDeque<Message> = arrived.drain(..).flatten().collect();
            while !messages.is_empty() {
                let chunk: Vec<Message> = messages.drain(..messages.len().min(PUBLISH_MAX)).collect();
                messages.extend(self.publish(&chunk).await);
            }
        }
    }

    /// Publishes messages; returns those that were not confirmed, and that a sweep will not send again soon, because it
    /// relied on them while they waited.
    async fn publish(&self, chunk: &[Message]) -> Vec<Message> {
        let was_relied_on = self.waiting.take(chunk);
        let answers = self.broker.publish_confirmed(chunk).await;
        let (mut confirmed, mut again) = (Vec::with_capacity(chunk.len()), Vec::new());
        for ((message, answer), was_relied_on) in chunk.iter().zip(answers).zip(was_relied_on) {
            let (lane, task) = message;
            match answer {
                Ok(()) => confirmed.push(task.clone()),
                Err(error) => {
                    tracing::warn!(%error, %lane, run.id = %task.run.id, task = %task.task, "a task message was not confirmed; it will be sent again");
                    again.extend(was_relied_on.then(|| message.clone()));
                }
            }
        }
        CrashPoint::Sent.reach().await;
        self.metrics.sent("confirmed", confirmed.len());
        self.metrics.sent("failed", chunk.len() - confirmed.len());
        if self.strike.try_send(confirmed).is_err() {
            tracing::debug!("too many tasks wait to be struck off; the sweep will look at them");
        }
        self.waiting.add(&again);
        again
    }
}

async fn strike_off(
    mut sent: mpsc::Receiver<Vec<TaskKey>>,
    store: Arc<dyn Store>,
    resend_after: Duration,
    metrics: SchedulerMetrics,
) {
    let mut batches = Vec::new();
    while sent.recv_many(&mut batches, WAITING_MAX).await > 0 {
        let mut by_partition: BTreeMap<Partition, Vec<TaskKey>> = BTreeMap::new();
        for task in batches.drain(..).flatten() {
            by_partition.entry(task.run.partition).or_default().push(task);
        }
        for chunk in by_partition.values().flat_map(|tasks| tasks.chunks(STRIKE_MAX)) {
            if let Err(error) = store.mark_sent(chunk, resend_after).await {
                metrics.store_failed();
                tracing::warn!(%error, tasks = chunk.len(), "sent tasks could not be struck off; they may be sent twice");
            }
        }
        CrashPoint::StruckOff.reach().await;
        tokio::time::sleep(STRIKE_EVERY).await;
    }
}

#[cfg(test)]
mod tests;
