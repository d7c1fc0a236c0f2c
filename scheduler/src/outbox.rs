//! Sends task messages and strikes them off: publishes in batches, and notes in the store what the broker confirmed.
//!
//! Nothing is lost here. What is not published, or not struck off, is on the store's agenda, and a sweep hands it out
//! again. So the queue into the outbox is bounded, and overflow is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coxswain_shared::broker::Broker;
use coxswain_shared::crashpoint::CrashPoint;
use coxswain_shared::id::{Partition, PoolName, TaskKey};
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::store::Store;
use tokio::sync::mpsc;

use crate::metrics::SchedulerMetrics;
use crate::survey::Pools;

/// Batches that may wait; beyond it the broker is too slow, and the sweep will send later.
const WAITING_MAX: usize = 1_024;
/// Messages that are published together.
const PUBLISH_MAX: usize = 512;
/// How long struck-off tasks are gathered before the store is told: most are claimed by then, and it costs nothing.
const STRIKE_EVERY: Duration = Duration::from_millis(250);
/// Struck-off tasks that are told to the store at once.
const STRIKE_MAX: usize = 500;

/// A message to be sent: the pool whose queue it goes to, and the task.
pub(crate) type Message = (PoolName, TaskKey);

/// Where advancers and the sweeper put what is to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    waiting: mpsc::Sender<Vec<Message>>,
    metrics: SchedulerMetrics,
    pools: Pools,
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
        let (waiting, receiver) = mpsc::channel(WAITING_MAX);
        let (strike, sent) = mpsc::channel(WAITING_MAX);
        tasks.spawn(publish(receiver, broker, strike, metrics.clone()));
        tasks.spawn(strike_off(sent, store, resend_after, metrics.clone()));
        Self { waiting, metrics, pools: Pools::default() }
    }

    /// The pools that it has seen.
    pub(crate) fn pools(&self) -> &Pools {
        &self.pools
    }

    /// Puts messages in. Never waits: what does not fit is left to the sweep.
    pub(crate) fn put(&self, messages: Vec<Message>) {
        if messages.is_empty() {
            return;
        }
        let count = messages.len();
        self.pools.note(messages.iter().map(|(pool, _)| pool));
        if self.waiting.try_send(messages).is_err() {
            self.metrics.sent("overflow", count);
        }
    }
}

async fn publish(
    mut waiting: mpsc::Receiver<Vec<Message>>,
    broker: Arc<dyn Broker>,
    strike: mpsc::Sender<Vec<TaskKey>>,
    metrics: SchedulerMetrics,
) {
    let mut batches = Vec::new();
    while waiting.recv_many(&mut batches, WAITING_MAX).await > 0 {
        let messages: Vec<Message> = batches.drain(..).flatten().collect();
        for chunk in messages.chunks(PUBLISH_MAX) {
            let answers = broker.publish_confirmed(chunk).await;
            let mut confirmed = Vec::with_capacity(chunk.len());
            for ((pool, task), answer) in chunk.iter().zip(answers) {
                match answer {
                    Ok(()) => confirmed.push(task.clone()),
                    Err(error) => {
                        tracing::warn!(%error, %pool, run.id = %task.run.id, task = %task.task, "a task message was not confirmed; the sweep will send it again");
                    }
                }
            }
            CrashPoint::Sent.reach().await;
            metrics.sent("confirmed", confirmed.len());
            metrics.sent("failed", chunk.len() - confirmed.len());
            if strike.try_send(confirmed).is_err() {
                tracing::debug!("too many tasks wait to be struck off; the sweep will look at them");
            }
        }
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
