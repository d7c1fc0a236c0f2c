//! One attempt: `claim → run → classify → settle → ack`, one file a step.
//!
//! ```text
//! attend ── claim ── prepare ── supervise ── classify ── close ── ack
//!             │                    │ job on the work runtime
//!             └ watches a lease    └ switch: thrown by a stop order, a deadline, a lost lease, a shutdown
//!               that is busy
//! ```
//!
//! All of it runs on the *control* runtime; only handlers and their hooks run on the *work* runtime.

mod attend;
mod claim;
mod classify;
mod close;
mod job;
mod meter;
mod police;
mod room;
mod shared;
mod state;
mod supervise;
mod switch;

pub(crate) use attend::attend;
pub(crate) use job::WorkPlace;
pub(crate) use meter::Meter;
pub(crate) use police::PutOff;
pub(crate) use room::{Presence, Room};
pub(crate) use shared::{Shared, Stuck, Terms};
pub use state::{Event, IllegalTransition, State};
pub(crate) use switch::Switch;
