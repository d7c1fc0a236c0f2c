//! Evaluates what is not bounded by what it reads in processes that can be killed: heavy expressions, and JSON schemas.
//!
//! ```text
//!   plan, node ──► Evaluations ──► Sandbox ──► one of a few warm processes of this same program
//!                  time of the     queue       limits on memory and time; killed and replaced
//!                  whole           of its own  when it passes one
//! ```
//!
//! The processes hold nothing: no connection, no variable of the environment, no file. What is in here blocks the thread that
//! asks, and is not for a thread that also serves others.

mod child;
mod entry;
mod evaluations;
mod frame;
mod inline;
mod pool;
mod request;
mod schema;
mod warm;

pub use entry::{ARGUMENT, serve_if_asked};
pub use evaluations::Evaluations;
pub use inline::Inline;
pub use pool::{Refusal, Sandbox};
pub use request::{Reply, Request};

use std::time::Duration;

/// Bytes of memory of one evaluation.
pub const BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How long one evaluation may take.
pub const TIME_MAX: Duration = Duration::from_secs(2);
/// How long all evaluations of one plan, or of one attempt, may take together. What is waited for a process counts for nothing.
pub const TIME_TOGETHER_MAX: Duration = Duration::from_secs(4);
/// Processes of one program.
pub const PROCESSES_MAX: usize = 2;
/// How long one may wait for a process before it is told that none is to be had.
pub const QUEUE_TIME_MAX: Duration = Duration::from_mins(1);
