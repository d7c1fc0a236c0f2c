//! The broker port: carries hints that tasks exist, from schedulers to workers.
//!
//! A message may be lost, late or doubled, and nothing breaks: a claim in the store decides, and a sweep sends again.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
#[cfg(any(test, feature = "testing"))]
pub mod fault;
mod local;
mod port;
mod rabbitmq;

pub use local::{DeadLetter, LOCAL_DEAD_LETTERS_MAX, LOCAL_POOLS_MAX, LOCAL_QUEUE_MAX, LocalBroker};
pub use port::{Broker, Complaint, Consumer, Delivery, Error, Hindrance};
pub use rabbitmq::{BrokerUrl, RabbitBroker, RabbitConfig, is_prefix};
