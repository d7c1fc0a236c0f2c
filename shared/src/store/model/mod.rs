//! A second reading of `docs/store.md`: the store port as a few maps, without SQL, scripts or threads; and a test that drives an
//! adapter and the model with the same random operations (wrong fences, repeats and time included) and compares answers and
//! all that is visible after each.
//!
//! Absent: what is kept for a while only (a minute, a day, the retention), sizes, formats, signals, and limits that are reached.

mod call;
mod check;
mod fit;
mod life;
mod operation;
mod plain;
mod plan;
mod scope;
mod state;
mod work;

pub use check::hold_to_the_model;
pub use state::Model;
