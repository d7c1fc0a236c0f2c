//! The adapter itself: the port's calls, put together from links, publisher and subscriptions.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{Channel, ErrorKind};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::RabbitConfig;
use super::consumer::RabbitConsumer;
use super::failure::Failure;
use super::link::Link;
use super::publisher::{Fate, Outgoing, Publisher};
use super::subscription::{Inbox, Subscription};
use super::topology::Topology;
use crate::broker::{Broker, Complaint, Consumer, Error, Hindrance};
use crate::id::TaskKey;
use crate::lifecycle::Tasks;
use crate::limits::{MESSAGE_BYTES_MAX, TEXT_BYTES_MAX};
use crate::priority::Lane;
use crate::wire;

/// Messages that are unconfirmed at a time: enough to keep a broker busy, and little to remember.
const WINDOW: usize = 1_000;

/// The pauses before messages that the broker would not take are sent again.
const REFUSED_PAUSES: [Duration; 3] =
    [Duration::from_millis(20), Duration::from_millis(80), Duration::from_millis(200)];

/// How often it is tried whether anything can be published.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// How long what was in the way of messages counts, if none was sent since: longer than their sweep takes to send them again.
const COMPLAINT_KEPT: Duration = Duration::from_mins(1);

/// How long the connections may take to close.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

const NOT_FOUND: u16 = 404;
/// How long a channel that was just closed keeps its number.
const STALE_CHANNEL: Duration = Duration::from_millis(5);

/// A broker on RabbitMQ. Clones share its connections; they close when the last clone, consumer and delivery is gone.
#[derive(Debug, Clone)]
pub struct RabbitBroker(Arc<Shared>);

/// What the handle, the consumers and the deliveries share.
#[derive(Debug)]
pub(super) struct Shared {
    config: Arc<RabbitConfig>,
    place: String,
    topology: Topology,
    publish_link: Arc<Link>,
    consume_link: Link,
    publisher: Publisher,
    tasks: Tasks,
    reconnects: Arc<AtomicU64>,
    /// What was in the way of the last messages, and of the last probe.
    sending: Mutex<Sending>,
}

#[derive(Debug, Default)]
struct Sending {
    messages: Option<(Complaint, Instant)>,
    probe: Option<Complaint>,
}

impl RabbitBroker {
    /// Starts to connect, on the runtime that it is called from, and goes on for as long as the handle is held. A call waits
    /// for `publish_timeout` at most; for three of them where it finds a queue missing, and declares it, and sends again.
    pub fn start(config: RabbitConfig) -> Result<Self, Error> {
        config.check()?;
        let config = Arc::new(config);
        let (tasks, reconnects) = (Tasks::new(), Arc::new(AtomicU64::new(0)));
        let link = |role| Link::start(Arc::clone(&config), role, &tasks, Arc::clone(&reconnects));
        let publish_link = Arc::new(link("publish"));
        let consume_link = link("consume");
        let shared = Arc::new(Shared {
            place: config.url.to_string(),
            topology: Topology::new(&config),
            publisher: Publisher::new(Arc::clone(&publish_link)),
            publish_link,
            consume_link,
            config,
            tasks,
            reconnects,
            sending: Mutex::default(),
        });
        shared.tasks.spawn(probe_always(Arc::downgrade(&shared), shared.tasks.clone()));
        Ok(Self(shared))
    }

    /// Waits until both connections are there; if they are not in time, says why.
    pub async fn connected(&self, within: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + within;
        let publish = self.0.publish_link.connection(deadline).await;
        let both = match publish {
            Ok(_) => self.0.consume_link.connection(deadline).await,
            Err(failure) => Err(failure),
        };
        both.map(drop).map_err(|failure| self.0.fail(failure))
    }

    /// Closes the connections: consumers are told `None`, calls are refused, what is in hand goes back to its queue.
    pub async fn close(&self) {
        self.0.tasks.start_drain();
        self.0.tasks.join(CLOSE_WITHIN).await;
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tasks.start_drain();
    }
}

#[async_trait]
impl Broker for RabbitBroker {
    async fn publish_confirmed(&self, tasks: &[(Lane, TaskKey)]) -> Vec<Result<(), Error>> {
        let mut answers = Vec::with_capacity(tasks.len());
        let mut gone: Option<Failure> = None;
        for window in tasks.chunks(WINDOW) {
            if let Some(failure) = &gone {
                answers.extend(window.iter().map(|_| Err(self.0.fail(failure.clone()))));
                continue;
            }
            let fates = self.0.publish_window(window).await;
            self.0.note_sent(&fates);
            // A window that got nothing through would be followed by others that wait as long for nothing.
            if let Some(Fate::Unsure(failure)) = fates.iter().all(|fate| *fate != Fate::Confirmed).then(|| &fates[0]) {
                gone = Some(failure.clone());
            }
            answers.extend(fates.into_iter().zip(window).map(|(fate, (lane, _))| self.0.answer(fate, lane)));
        }
        answers
    }

    async fn consume(&self, lane: &Lane, prefetch: u16) -> Result<Box<dyn Consumer>, Error> {
        let shared = &self.0;
        let (inbox, stop) = (Arc::new(Inbox::default()), CancellationToken::new());
        // From here on, whatever becomes of this call ends the task.
        let consumer = RabbitConsumer { inbox: Arc::clone(&inbox), _stop: stop.clone().drop_guard() };
        let queue = shared.topology.tasks(lane);
        let subscription = Subscription { shared: Arc::clone(shared), inbox, queue, prefetch: prefetch.max(1), stop };
        let (first, told) = oneshot::channel();
        shared.tasks.spawn(subscription.run(first));
        match told.await {
            Ok(Ok(())) => Ok(Box::new(consumer)),
            Ok(Err(failure)) => Err(shared.fail(failure)),
            Err(_) => Err(shared.fail(Failure::apart("it has been closed"))),
        }
    }

    async fn backlog(&self, lane: &Lane) -> Result<Option<u64>, Error> {
        let queue = self.0.topology.tasks(lane);
        self.0.backlog(queue).await.map_err(|failure| self.0.fail(failure))
    }

    async fn bury(&self, payload: &[u8], reason: &str) -> Result<(), Error> {
        self.0.bury(payload, reason).await
    }

    fn complaint(&self) -> Option<Complaint> {
        let shared = &self.0;
        shared
            .publish_link
            .complaint()
            .or_else(|| shared.consume_link.complaint())
            .or_else(|| shared.sending_complaint())
    }

    fn reconnects(&self) -> u64 {
        self.0.reconnects.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// How long a call may wait.
    pub(super) fn patience(&self) -> Duration {
        self.config.publish_timeout
    }

    pub(super) fn backoff(&self) -> (Duration, Duration) {
        (self.config.backoff_min, self.config.backoff_max)
    }

    pub(super) fn consume_link(&self) -> &Link {
        &self.consume_link
    }

    pub(super) fn topology(&self) -> &Topology {
        &self.topology
    }

    pub(super) fn note_reconnect(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) async fn draining(&self) {
        self.tasks.draining().await;
    }

    /// Notes whether messages get through.
    fn note_sent(&self, fates: &[Fate]) {
        let complaint = match fates.first() {
            _ if fates.contains(&Fate::Confirmed) => None,
            Some(Fate::Unsure(failure)) => Some(failure.clone().into_complaint()),
            Some(Fate::Returned) => Some(Complaint {
                hindrance: Hindrance::Unroutable,
                why: "what was sent found no queue, and none could be made".to_owned(),
            }),
            // A queue that is full says nothing about others.
            Some(Fate::Refused | Fate::Confirmed) | None => return,
        };
        self.sending().messages = complaint.map(|complaint| (complaint, Instant::now()));
    }

    fn sending_complaint(&self) -> Option<Complaint> {
        let sending = self.sending();
        let recent = sending.messages.as_ref().filter(|(_, at)| at.elapsed() < COMPLAINT_KEPT);
        recent.map(|(complaint, _)| complaint).or(sending.probe.as_ref()).cloned()
    }

    fn sending(&self) -> MutexGuard<'_, Sending> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message to a queue that nobody makes: it comes back if the user may publish, and leaves nothing behind.
    async fn probe(&self) {
        let nothing = Outgoing { queue: self.topology.nowhere(), message_id: None, headers: None, payload: Vec::new() };
        let fate = self.publisher.publish(std::slice::from_ref(&nothing), self.deadline()).await.pop();
        let complaint = match fate {
            Some(Fate::Unsure(failure)) => Some(failure.into_complaint()),
            Some(Fate::Returned | Fate::Confirmed | Fate::Refused) | None => None,
        };
        let before = std::mem::replace(&mut self.sending().probe, complaint.clone());
        if let Some(complaint) = complaint.filter(|complaint| before.as_ref() != Some(complaint)) {
            tracing::warn!(broker = %self.place, why = complaint.why, "nothing can be published now");
        }
    }

    /// Puts a message on the dead letters; they are declared if they are not there.
    pub(super) async fn bury(&self, payload: &[u8], reason: &str) -> Result<(), Error> {
        let reason = &reason[..reason.floor_char_boundary(TEXT_BYTES_MAX)];
        let mut headers = FieldTable::default();
        headers.insert("x-cox-reason".into(), AMQPValue::LongString(LongString::from(reason)));
        let letter = Outgoing {
            queue: self.topology.dead(),
            message_id: None,
            headers: Some(headers),
            payload: payload[..payload.len().min(MESSAGE_BYTES_MAX)].to_vec(),
        };
        let letter = std::slice::from_ref(&letter);
        let mut fates = self.publisher.publish(letter, self.deadline()).await;
        if fates == [Fate::Returned] {
            let declared = self.declaring(async |channel| self.topology.declare_dead(channel).await).await;
            declared.map_err(|failure| self.fail(failure))?;
            fates = self.publisher.publish(letter, self.deadline()).await;
        }
        match fates.pop() {
            Some(Fate::Confirmed) => Ok(()),
            Some(Fate::Unsure(failure)) => Err(self.fail(failure)),
            Some(Fate::Refused) => Err(self.fail(refused())),
            Some(Fate::Returned) | None => {
                Err(self.fail(Failure::passing("the queue of the dead letters is deleted as fast as it is made")))
            }
        }
    }

    /// Publishes a window. What is refused is sent again after a moment, a few times: a queue that was declared just now
    /// refuses its first messages for some milliseconds.
    async fn publish_window(&self, window: &[(Lane, TaskKey)]) -> Vec<Fate> {
        let mut fates = self.publish_once(window).await;
        for pause in REFUSED_PAUSES {
            let refused: Vec<_> = (0..fates.len()).filter(|index| fates[*index] == Fate::Refused).collect();
            if refused.is_empty() {
                break;
            }
            tokio::time::sleep(pause).await;
            let again: Vec<_> = refused.iter().map(|index| window[*index].clone()).collect();
            for (index, fate) in refused.into_iter().zip(self.publish_once(&again).await) {
                fates[index] = fate;
            }
        }
        fates
    }

    /// Publishes a window. Where there is no queue it is declared, and the message sent once more.
    async fn publish_once(&self, window: &[(Lane, TaskKey)]) -> Vec<Fate> {
        let batch: Vec<_> = window.iter().map(|(lane, task)| self.outgoing(lane, task)).collect();
        let mut fates = self.publisher.publish(&batch, self.deadline()).await;
        let returned: Vec<_> = (0..batch.len()).filter(|index| fates[*index] == Fate::Returned).collect();
        if returned.is_empty() {
            return fates;
        }
        let missing: BTreeMap<_, _> = returned.iter().map(|index| (batch[*index].queue.as_str(), *index)).collect();
        for index in missing.into_values() {
            let queue = &batch[index].queue;
            let declared = self.declaring(async |channel| self.topology.declare_tasks(channel, queue).await).await;
            if let Err(failure) = declared {
                let lost = returned.iter().filter(|index| batch[**index].queue == *queue);
                lost.for_each(|index| fates[*index] = Fate::Unsure(failure.clone()));
            }
        }
        let again: Vec<_> = returned.into_iter().filter(|index| fates[*index] == Fate::Returned).collect();
        let batch: Vec<_> = again.iter().map(|index| batch[*index].clone()).collect();
        let second = self.publisher.publish(&batch, self.deadline()).await;
        again.into_iter().zip(second).for_each(|(index, fate)| fates[index] = fate);
        fates
    }

    fn outgoing(&self, lane: &Lane, task: &TaskKey) -> Outgoing {
        Outgoing {
            queue: self.topology.tasks(lane),
            // AMQP allows 255 bytes; the longest names exceed it, and then it is left out.
            message_id: ShortString::try_new(format!("{}/{}", task.run.id, task.task)).ok(),
            headers: None,
            payload: wire::encode(task),
        }
    }

    fn answer(&self, fate: Fate, lane: &Lane) -> Result<(), Error> {
        match fate {
            Fate::Confirmed => Ok(()),
            Fate::Returned => Err(Error::Unroutable { place: self.place.clone(), lane: lane.clone() }),
            Fate::Refused => Err(self.fail(refused())),
            Fate::Unsure(failure) => Err(self.fail(failure)),
        }
    }

    /// Asks without declaring, on a channel of its own: the answer to an unknown queue closes the channel.
    async fn backlog(&self, queue: ShortString) -> Result<Option<u64>, Failure> {
        let asked = self.declaring(async |channel| {
            let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            match channel.queue_declare(queue.clone(), options, FieldTable::default()).await {
                Ok(known) => Ok(Some(u64::from(known.message_count()))),
                Err(error) if is_not_found(&error) => Ok(None),
                Err(error) => Err(Failure::of_queue(&error, queue.as_str())),
            }
        });
        asked.await
    }

    /// Does something on a channel of its own of the connection that no alarm blocks, within the time of a call.
    async fn declaring<T>(&self, act: impl AsyncFnOnce(&Channel) -> Result<T, Failure>) -> Result<T, Failure> {
        let deadline = self.deadline();
        let connection = self.consume_link.connection(deadline).await?;
        let acting = async {
            let channel = loop {
                match connection.create_channel().await {
                    Ok(channel) => break channel,
                    // The number of a channel that was just closed for an unknown queue, with its error still in it.
                    Err(error) if is_not_found(&error) => tokio::time::sleep(STALE_CHANNEL).await,
                    Err(error) => return Err(Failure::of(&error)),
                }
            };
            act(&channel).await
        };
        match timeout_at(deadline, acting).await {
            Ok(done) => done,
            Err(_) => Err(Failure::passing("it did not answer in time")),
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.patience()
    }

    fn fail(&self, failure: Failure) -> Error {
        failure.at(&self.place)
    }
}

/// Probes for as long as the broker is held.
async fn probe_always(shared: Weak<Shared>, tasks: Tasks) {
    loop {
        let Some(held) = shared.upgrade() else { return };
        tokio::select! {
            () = tasks.draining() => return,
            () = held.probe() => {}
        }
        drop(held);
        tokio::select! {
            () = tasks.draining() => return,
            () = tokio::time::sleep(PROBE_EVERY) => {}
        }
    }
}

fn refused() -> Failure {
    Failure::passing("it refused the message: the queue is full, or has no leader at the moment")
}

fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == NOT_FOUND)
}
