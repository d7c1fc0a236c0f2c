//! The worker SDK: executes the tasks of graphs under leases, deadlines and stop orders.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use coxswain_worker::{Config, Context, NodeError, Worker};
//! # use coxswain_shared::{broker::Broker, lifecycle::Tasks, store::Store, telemetry::Metrics};
//! # async fn example(store: Arc<dyn Store>, broker: Arc<dyn Broker>) -> Result<(), coxswain_worker::Error> {
//! #[derive(serde::Deserialize)]
//! struct Input {
//!     text: String,
//! }
//! #[derive(serde::Serialize)]
//! struct Output {
//!     words: usize,
//! }
//!
//! let worker = Worker::builder(Config::default())
//!     .handler("count_words", |_ctx: Context, input: Input| async move {
//!         Ok::<_, NodeError>(Output { words: input.text.split_whitespace().count() })
//!     })
//!     .build(store, broker, &Metrics::new())?;
//! worker.run(Tasks::new()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A program calls [`begin`] first, so that its worker can run `exec` nodes. [`Context`] is what a handler is told and can say; [`Handler`] is the trait behind longer-lived handlers. What is
//! absent: planning, sending, and any decision about who owns a task. Those are the scheduler's and the store's.

// The examples are written as a user writes them, and are tested inside the crate.
#[cfg(test)]
extern crate self as coxswain_worker;

mod attempt;
mod begin;
mod clock;
mod config;
mod events;
mod exec_limits;
mod graphs;
mod handler;
mod hint;
mod kind;
mod leases;
mod metrics;
mod outside;
mod pause;
mod retries;
mod run;
#[cfg(test)]
mod tests;
mod waits;

pub use attempt::{Event as AttemptEvent, IllegalTransition, State as AttemptState};
pub use begin::begin;
pub use config::Config;
pub use exec_limits::ExecLimits;
pub use handler::{Context, Handler, IntoReply, NodeError, Policy, Reply};
pub use kind::{Kind, KindName, Work};
pub use outside::{
    Allowed, BadPattern, Isolate, NotAllowed, OutsideConfig, Pattern, Prices, RetryBudget, Share, UpstreamLimits,
    Upstreams,
};
pub use run::{Builder, EXIT_STUCK, Ended, Error, Worker};
