//! Decides what comes next: graph + checkpoint + outcomes → next checkpoint and tasks, a pause, or the end.
//!
//! Pure and deterministic: the same arguments give the same answer, byte for byte, whoever asks and however often.
//! The semantics are on one page in `docs/planning.md`.

mod child;
mod complete;
mod decide;
mod dispatch;
mod edges;
mod error;
mod fan_out;
mod first;
mod input;
mod joins;
mod judge;
mod rounds;
mod so_far;
mod then;

pub use child::run_id as child_run_id;
pub use decide::plan;
pub use error::Error;
pub use input::{Base, PlanInput};
pub use joins::waiting_joins;
pub use so_far::{Incomplete, so_far};
pub use then::{Planned, Then};

#[cfg(test)]
mod tests;
