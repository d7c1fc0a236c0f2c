//! The state of a run: what a step's writes make of its channels. Pure; it knows nothing of edges or stores.

mod abandoned;
mod error;
mod messages;
mod reducer;
mod size;
mod update;

pub use abandoned::{Abandoned, answer_abandoned};
pub use error::Error;
pub use reducer::{Write, apply};
pub use size::DEPTH_MAX;
pub use update::{Channels, check, initial, replace, update};
