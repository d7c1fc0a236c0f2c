//! Decides what comes next: graph + checkpoint + outcomes → next checkpoint and tasks, a pause, or the end.
//!
//! Pure and deterministic: the same arguments give the same answer, byte for byte, whoever asks and however often.

mod then;

pub use then::{Planned, Then};
