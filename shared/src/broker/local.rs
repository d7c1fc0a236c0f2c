//! The embedded adapter: queues inside this process, for `cox` in one process and for tests.
//!
//! Nothing survives the process: the store is the truth, and its sweep fills the queues again at the next start.
//! Queues are bounded; a publish beyond the bound is answered `Unavailable`, and the sweep sends the task again later.
//! A message that was given back is delivered again before newer ones, as often as it takes: there is no delivery limit.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{Broker, Complaint, Consumer, Delivery, Error, Hindrance};
use crate::id::{PoolName, TaskKey};
use crate::limits::{MESSAGE_BYTES_MAX, TEXT_BYTES_MAX};
use crate::priority::{Lane, Priority};
use crate::wire;

/// Messages that wait on one lane's queue: some 20 MB. What was given back may exceed it by what was in hand.
pub const LOCAL_QUEUE_MAX: usize = 100_000;
/// Pools that have queues: each graph may name its own, and names come from outside.
pub const LOCAL_POOLS_MAX: usize = 1_000;
/// Dead letters that are kept; older ones go first. Their payloads are cut at [`MESSAGE_BYTES_MAX`].
pub const LOCAL_DEAD_LETTERS_MAX: usize = 1_000;

const PLACE: &str = "this process";

/// A broker inside this process. Clones share its queues.
#[derive(Debug, Clone, Default)]
pub struct LocalBroker(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    pools: Mutex<HashMap<PoolName, Vec<Arc<Queue>>>>,
    dead: Mutex<VecDeque<DeadLetter>>,
    closed: CancellationToken,
}

/// A message that could not be dealt with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The message.
    pub payload: Vec<u8>,
    /// Why it was buried.
    pub reason: String,
}

impl LocalBroker {
    /// Makes a broker without queues; they come into being when they are named.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends it: consumers are told `None`, publishes are refused. What was queued is gone.
    pub fn close(&self) {
        self.0.closed.cancel();
    }

    /// The dead letters, oldest first.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        lock(&self.0.dead).iter().cloned().collect()
    }

    /// Puts raw bytes on a lane's queue, as a program of another version might.
    pub fn publish_raw(&self, lane: &Lane, payload: Vec<u8>) -> Result<(), Error> {
        self.0.queue(lane)?.push(payload)
    }
}

#[async_trait]
impl Broker for LocalBroker {
    async fn publish_confirmed(&self, tasks: &[(Lane, TaskKey)]) -> Vec<Result<(), Error>> {
        tasks.iter().map(|(lane, task)| self.0.queue(lane)?.push(wire::encode(task))).collect()
    }

    async fn consume(&self, lane: &Lane, prefetch: u16) -> Result<Box<dyn Consumer>, Error> {
        let slots = Arc::new(Semaphore::new(usize::from(prefetch.max(1))));
        Ok(Box::new(LocalConsumer { queue: self.0.queue(lane)?, slots, shared: Arc::clone(&self.0) }))
    }

    async fn backlog(&self, lane: &Lane) -> Result<Option<u64>, Error> {
        let waiting = self.0.known(lane)?.map(|queue| lock(&queue.waiting).len());
        Ok(waiting.map(|waiting| u64::try_from(waiting).unwrap_or(u64::MAX)))
    }

    async fn bury(&self, payload: &[u8], reason: &str) -> Result<(), Error> {
        self.0.bury(payload, reason);
        Ok(())
    }

    fn complaint(&self) -> Option<Complaint> {
        let why = || Complaint { hindrance: Hindrance::NoConnection, why: "it has been closed".to_owned() };
        self.0.closed.is_cancelled().then(why)
    }

    fn reconnects(&self) -> u64 {
        0
    }
}

impl Shared {
    /// A lane's queue, if its pool has any.
    fn known(&self, lane: &Lane) -> Result<Option<Arc<Queue>>, Error> {
        if self.closed.is_cancelled() {
            return Err(unavailable("it has been closed".to_owned()));
        }
        Ok(lock(&self.pools).get(&lane.pool).map(|queues| of_lane(queues, lane)))
    }

    /// A lane's queue; its pool gets some if it has none.
    fn queue(&self, lane: &Lane) -> Result<Arc<Queue>, Error> {
        if let Some(queue) = self.known(lane)? {
            return Ok(queue);
        }
        let mut pools = lock(&self.pools);
        if pools.len() >= LOCAL_POOLS_MAX {
            return Err(unavailable(format!("it has queues for {LOCAL_POOLS_MAX} pools, and makes no more")));
        }
        let queue = |priority| {
            let lane = Lane::new(lane.pool.clone(), priority);
            Arc::new(Queue { lane, waiting: Mutex::default(), arrived: Notify::new() })
        };
        // Another call may have been as quick.
        let queues = pools.entry(lane.pool.clone()).or_insert_with(|| Priority::ALL.map(queue).to_vec());
        Ok(of_lane(queues, lane))
    }

    fn bury(&self, payload: &[u8], reason: &str) {
        let payload = payload[..payload.len().min(MESSAGE_BYTES_MAX)].to_vec();
        let mut dead = lock(&self.dead);
        if dead.len() >= LOCAL_DEAD_LETTERS_MAX {
            dead.pop_front();
        }
        let reason = reason[..reason.floor_char_boundary(TEXT_BYTES_MAX)].to_owned();
        dead.push_back(DeadLetter { payload, reason });
    }
}

fn of_lane(queues: &[Arc<Queue>], lane: &Lane) -> Arc<Queue> {
    let queue = queues.iter().find(|queue| queue.lane.priority == lane.priority);
    Arc::clone(queue.expect("a pool has a queue of each priority"))
}

/// One lane's messages. Every push is followed by a notification; every consumer enrols for one before it looks.
#[derive(Debug)]
struct Queue {
    lane: Lane,
    waiting: Mutex<VecDeque<Message>>,
    arrived: Notify,
}

#[derive(Debug)]
struct Message {
    payload: Vec<u8>,
    is_redelivered: bool,
}

impl Queue {
    fn push(&self, payload: Vec<u8>) -> Result<(), Error> {
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= LOCAL_QUEUE_MAX {
            return Err(unavailable(format!("the queue of {} is full at {LOCAL_QUEUE_MAX} messages", self.lane)));
        }
        waiting.push_back(Message { payload, is_redelivered: false });
        drop(waiting);
        self.arrived.notify_one();
        Ok(())
    }

    fn give_back(&self, message: Message) {
        lock(&self.waiting).push_front(Message { is_redelivered: true, ..message });
        self.arrived.notify_one();
    }

    /// Cancel safe: nothing is awaited once a message is taken, and a notification that a dropped wait had received
    /// goes on to the next one.
    async fn pop(&self) -> Message {
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if let Some(message) = lock(&self.waiting).pop_front() {
                return message;
            }
            arrived.await;
        }
    }
}

#[derive(Debug)]
struct LocalConsumer {
    queue: Arc<Queue>,
    /// One permit a delivery in hand.
    slots: Arc<Semaphore>,
    shared: Arc<Shared>,
}

#[async_trait]
impl Consumer for LocalConsumer {
    async fn next(&mut self) -> Option<Box<dyn Delivery>> {
        let take = async {
            let slot = Arc::clone(&self.slots).acquire_owned().await.expect("the slots are never closed");
            (slot, self.queue.pop().await)
        };
        let (slot, message) = tokio::select! {
            biased;
            () = self.shared.closed.cancelled() => return None,
            taken = take => taken,
        };
        let (queue, shared) = (Arc::clone(&self.queue), Arc::clone(&self.shared));
        Some(Box::new(LocalDelivery { message: Some(message), queue, shared, _slot: slot }))
    }

    fn is_subscribed(&self) -> bool {
        !self.shared.closed.is_cancelled()
    }
}

#[derive(Debug)]
struct LocalDelivery {
    /// Present until the delivery is acknowledged or buried; if it is dropped before, this goes back.
    message: Option<Message>,
    queue: Arc<Queue>,
    shared: Arc<Shared>,
    _slot: OwnedSemaphorePermit,
}

impl LocalDelivery {
    fn message(&self) -> &Message {
        self.message.as_ref().expect("a delivery has its message until it is consumed")
    }
}

#[async_trait]
impl Delivery for LocalDelivery {
    fn task(&self) -> Result<TaskKey, wire::Error> {
        wire::decode(&self.message().payload)
    }

    fn payload(&self) -> &[u8] {
        &self.message().payload
    }

    fn is_redelivered(&self) -> bool {
        self.message().is_redelivered
    }

    async fn ack(mut self: Box<Self>) -> bool {
        self.message = None;
        !self.shared.closed.is_cancelled()
    }

    async fn give_back(self: Box<Self>) {
        drop(self);
    }

    async fn bury(mut self: Box<Self>, reason: &str) {
        if let Some(message) = self.message.take() {
            self.shared.bury(&message.payload, reason);
        }
    }
}

impl Drop for LocalDelivery {
    fn drop(&mut self) {
        if let Some(message) = self.message.take() {
            self.queue.give_back(message);
        }
    }
}

fn unavailable(why: String) -> Error {
    Error::Unavailable { place: PLACE.to_owned(), why }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds a queue")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;
    use crate::broker::conformance::{Subject, lane, task};

    crate::broker_conformance!(subject);

    async fn subject() -> LocalBroker {
        LocalBroker::new()
    }

    #[async_trait]
    impl Subject for LocalBroker {
        fn broker(&self) -> Arc<dyn Broker> {
            Arc::new(self.clone())
        }

        async fn publish_raw(&self, lane: &Lane, payload: &[u8]) {
            Self::publish_raw(self, lane, payload.to_vec()).unwrap();
        }

        async fn dead_letters(&self) -> Vec<(Vec<u8>, String)> {
            Self::dead_letters(self).into_iter().map(|letter| (letter.payload, letter.reason)).collect()
        }
    }

    fn batch(count: usize) -> Vec<(Lane, TaskKey)> {
        (0..count).map(|n| (lane("default"), task(n))).collect()
    }

    #[tokio::test]
    async fn a_publish_beyond_the_bound_is_refused_in_clear_words() {
        let broker = LocalBroker::new();
        let answers = broker.publish_confirmed(&batch(LOCAL_QUEUE_MAX + 1)).await;
        assert!(answers[..LOCAL_QUEUE_MAX].iter().all(Result::is_ok));
        let refused = answers[LOCAL_QUEUE_MAX].as_ref().unwrap_err().to_string();
        assert!(refused.contains("the queue of default is full at 100000 messages"), "{refused}");

        let mut consumer = broker.consume(&lane("default"), 1).await.unwrap();
        assert!(consumer.next().await.unwrap().ack().await);
        assert!(broker.publish_confirmed(&batch(1)).await[0].is_ok(), "there is room for one more");
    }

    #[tokio::test]
    async fn more_pools_than_allowed_are_refused() {
        let broker = LocalBroker::new();
        for n in 0..LOCAL_POOLS_MAX {
            broker.consume(&lane(&format!("p{n}")), 1).await.unwrap();
        }
        assert!(broker.consume(&lane("default"), 1).await.is_err());
        assert_eq!(broker.backlog(&lane("default")).await.unwrap(), None);
        assert!(broker.consume(&lane("p0"), 1).await.is_ok());
    }

    #[tokio::test]
    async fn dead_letters_keep_the_newest() {
        let broker = LocalBroker::new();
        for n in 0..=LOCAL_DEAD_LETTERS_MAX {
            broker.bury(format!("{n}").as_bytes(), "too strange").await.unwrap();
        }
        let dead = broker.dead_letters();
        assert_eq!(dead.len(), LOCAL_DEAD_LETTERS_MAX);
        assert_eq!(dead[0], DeadLetter { payload: b"1".to_vec(), reason: "too strange".to_owned() });
    }

    #[tokio::test]
    async fn a_closed_broker_ends_its_consumers_and_refuses_publishes() {
        let broker = LocalBroker::new();
        let mut consumer = broker.consume(&lane("default"), 1).await.unwrap();
        assert!(broker.is_ready() && consumer.is_subscribed());
        broker.clone().close();
        assert!(consumer.next().await.is_none());
        assert!(!broker.is_ready() && !consumer.is_subscribed());
        assert!(broker.publish_confirmed(&batch(1)).await[0].is_err());
    }

    #[tokio::test]
    async fn a_dropped_wait_loses_no_message_and_no_slot() {
        let broker = LocalBroker::new();
        let lane = lane("default");
        let mut first = broker.consume(&lane, 1).await.unwrap();
        let mut second = broker.consume(&lane, 1).await.unwrap();
        let mut woken = first.next();
        assert!((&mut woken).now_or_never().is_none(), "nothing is there yet");
        let mut waiting = second.next();
        assert!((&mut waiting).now_or_never().is_none());

        broker.publish_confirmed(&batch(1)).await;
        drop(woken);
        let delivery = waiting.now_or_never().flatten().expect("the one who waits on is woken instead");
        delivery.give_back().await;
        assert!(first.next().now_or_never().flatten().is_some(), "the dropped wait kept no slot");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_hundred_thousand_messages_pass_in_little_time() {
        let broker = LocalBroker::new();
        let mut consumer = broker.consume(&lane("default"), 64).await.unwrap();
        let passing = async {
            for chunk in batch(LOCAL_QUEUE_MAX).chunks(500) {
                assert!(broker.publish_confirmed(chunk).await.iter().all(Result::is_ok));
                for _ in chunk {
                    let delivery = consumer.next().await.unwrap();
                    delivery.task().unwrap();
                    assert!(delivery.ack().await);
                }
            }
        };
        // Generous for an unoptimised build on a busy machine; the target itself is measured by the benchmark.
        tokio::time::timeout(Duration::from_secs(20), passing).await.unwrap();
        assert_eq!(broker.backlog(&lane("default")).await.unwrap(), Some(0));
    }
}
