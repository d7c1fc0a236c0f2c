//! The RabbitMQ adapter: one durable quorum queue a pool, publisher confirms, and connections that heal themselves.
//!
//! ```text
//!  RabbitBroker ── Publisher ── channels ── Link "publish" ── connection   (the only one that an alarm blocks)
//!       │
//!       ├── backlog, declare ─┐
//!       └── RabbitConsumer ───┴─ channels ── Link "consume" ── connection
//! ```
//!
//! Each [`link`] is a task that keeps one connection up, and each consumer has a task that keeps its subscription up, on
//! a channel of its own. The client library's own recovery is off: it gives up after a number of tries, does not reopen
//! a channel that was closed alone, and does not subscribe again after a `basic.cancel`, so that a loop of ours would be
//! needed around it anyway; with one loop there is one place that knows whether there is a connection.
//!
//! What is absent: any trust in a delivery. Acks, confirms and delivery counts hasten and tidy; the store decides.

mod adapter;
mod backoff;
mod config;
mod consumer;
mod delivery;
mod failure;
mod link;
mod publisher;
mod subscription;
mod topology;

pub use adapter::RabbitBroker;
pub use config::{BrokerUrl, RabbitConfig, is_prefix};
