//! The embedded adapter: one SQLite file that several processes may use at once, or memory.
//!
//! ```text
//!   handles ──bounded queue──► writer thread: BEGIN IMMEDIATE, a savepoint for each call, one COMMIT, then the answers
//!      │                          └─ every 100 ms: what have other processes written? ──► signals
//!      └──────bounded queue──► reader threads, each with a connection of its own (WAL: they never wait for the writer)
//! ```
//!
//! One file for each group of calls; `tx` is a call at work, `run_row` and `task_row` are the records, `finish` is where
//! every settling and every end goes through. In memory, calls run where they are made, without threads.
//!
//! Absent: what the calls mean, which is the page `docs/store.md`, and the state machines, which are `run` and `task`.

mod advance;
mod audit;
mod checkpoints;
mod claim;
mod column;
mod config;
mod create;
mod early;
mod engine;
mod events;
mod fault;
pub(crate) mod files;
mod finish;
mod fleet;
mod forget;
mod lease;
mod listing;
mod loads;
mod policies;
mod reader;
mod ready;
mod resume;
mod run_row;
mod schema;
mod scope;
mod spend;
mod standing;
mod stop;
mod store;
mod sweep;
mod task_row;
mod threads;
mod tx;
mod upstreams;
mod watch;
mod writer;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod keeping;
#[cfg(test)]
mod tests;

pub use config::SqliteConfig;
pub use store::SqliteStore;
