//! The scheduler: plans runs, enqueues their tasks, and reclaims what is overdue.
//!
//! Schedulers are stateless and all alike; any number of them may run at once, without a leader, because `advance` is
//! one compare-and-set in the store.
//!
//! ```text
//!   Signal::Ready ─► dirty partitions ─► advancer (n) ── take_ready, plan, advance ──┐
//!   poll tick ─────►                                                                 ├─► outbox ─► broker, mark_sent
//!                                        sweeper (one a partition in turn) ──────────┘
//! ```
//!
//! Beside them the surveyor looks up figures: how many runs have ended, and what waits on the queues.
//!
//! What is absent: any knowledge of what a node does.

mod advance;
mod base;
mod config;
mod dirty;
mod graphs;
mod metrics;
mod outbox;
mod overload;
mod planner;
mod report;
mod scheduler;
mod survey;
mod sweep;
mod waiting;

#[cfg(test)]
mod tests;

pub use config::SchedulerConfig;
pub use metrics::SchedulerMetrics;
pub use scheduler::Scheduler;
