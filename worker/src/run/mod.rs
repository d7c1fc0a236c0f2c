//! The worker's loop: it takes deliveries with a free slot in hand, keeps the leases alive, listens for stop orders,
//! and drains.
//!
//! ```text
//! intake ── a delivery and a slot ──► attempt ×slots ──► ack
//! heartbeat ── renew all leases ──┐       ▲
//! signals ── pushed stop orders ──┴── switch of each attempt
//! report ── worker record, the store's clock, gauges
//! flusher ── events
//! ```

mod builder;
mod drain;
mod heartbeat;
mod intake;
mod lanes;
mod pass_on;
mod report;
mod servers;
mod signals;
mod turns;
mod worker;

pub use builder::{Builder, Error};
pub use worker::{EXIT_STUCK, Ended, Worker};
