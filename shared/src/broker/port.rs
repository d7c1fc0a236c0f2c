//! The port itself.

use async_trait::async_trait;

use crate::id::TaskKey;
use crate::priority::Lane;
use crate::wire;

/// What can go wrong with a broker.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached, is blocked by an alarm, or did not confirm in time. The message may still arrive.
    #[error("the broker at {place} is unavailable: {why}")]
    Unavailable {
        /// Which broker, without credentials.
        place: String,
        /// What happened.
        why: String,
    },
    /// It took the message and had no queue for it.
    #[error("the broker at {place} has no queue for {lane}")]
    Unroutable {
        /// Which broker, without credentials.
        place: String,
        /// Of which pool and priority.
        lane: Lane,
    },
    /// It refuses to work as it is set up.
    #[error("the broker at {place} cannot be used: {why}")]
    Unsuitable {
        /// Which broker, without credentials.
        place: String,
        /// What is wrong, with the remedy.
        why: String,
    },
}

/// Why nothing can be sent now, as a metric names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hindrance {
    /// There is no connection.
    NoConnection,
    /// An alarm of the broker blocks all that publish.
    Blocked,
    /// The broker refuses it to the user, or refuses the settings.
    Refused,
    /// What was sent found no queue, and none could be made.
    Unroutable,
    /// What was sent was not confirmed in time.
    Unconfirmed,
}

impl Hindrance {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::NoConnection, Self::Blocked, Self::Refused, Self::Unroutable, Self::Unconfirmed];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoConnection => "no_connection",
            Self::Blocked => "blocked",
            Self::Refused => "refused",
            Self::Unroutable => "unroutable",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

/// Why a broker is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// What is in the way.
    pub hindrance: Hindrance,
    /// The same in words, with the remedy where there is one.
    pub why: String,
}

/// Carries task messages.
#[async_trait]
pub trait Broker: Send + Sync + std::fmt::Debug + 'static {
    /// Publishes messages and waits until the broker has them safe, or for a bounded time. One answer a message, in order.
    async fn publish_confirmed(&self, tasks: &[(Lane, TaskKey)]) -> Vec<Result<(), Error>>;

    /// Starts to consume a lane's queue with at most `prefetch` deliveries in hand. The consumer heals itself for as
    /// long as it is held: it reconnects and subscribes again.
    async fn consume(&self, lane: &Lane, prefetch: u16) -> Result<Box<dyn Consumer>, Error>;

    /// Messages of a lane's queue that no consumer has in hand. Absent where nobody has made the queue: asking makes none.
    async fn backlog(&self, lane: &Lane) -> Result<Option<u64>, Error>;

    /// Puts a message on the dead letters, with the reason.
    async fn bury(&self, payload: &[u8], reason: &str) -> Result<(), Error>;

    /// What is in the way of sending and receiving now, for readiness; nothing if it works as far as is known.
    fn complaint(&self) -> Option<Complaint>;

    /// Whether nothing is in the way.
    fn is_ready(&self) -> bool {
        self.complaint().is_none()
    }

    /// How often a lost connection, channel or subscription has been restored.
    fn reconnects(&self) -> u64;
}

/// A subscription to one lane's queue.
#[async_trait]
pub trait Consumer: Send + std::fmt::Debug {
    /// The next delivery; waits while there is none, and through reconnects. Cancel safe. `None` only after the broker was shut down by its owner.
    async fn next(&mut self) -> Option<Box<dyn Delivery>>;

    /// Whether the subscription is alive now.
    fn is_subscribed(&self) -> bool;
}

/// A message in hand. It is acknowledged, given back or buried exactly once; dropped, it is given back.
#[async_trait]
pub trait Delivery: Send + std::fmt::Debug {
    /// What it says.
    fn task(&self) -> Result<TaskKey, wire::Error>;

    /// The raw bytes, for the dead letters.
    fn payload(&self) -> &[u8];

    /// Whether the broker has delivered it before.
    fn is_redelivered(&self) -> bool;

    /// It is dealt with. `false` if the connection it came by is gone, so that the broker will deliver it again.
    async fn ack(self: Box<Self>) -> bool;

    /// It was not dealt with: back to the queue.
    async fn give_back(self: Box<Self>);

    /// It cannot be dealt with: to the dead letters.
    async fn bury(self: Box<Self>, reason: &str);
}
