//! The conformance suite of the store port: what `docs/store.md` says, one case a behaviour, for any adapter.
//!
//! [`store_conformance!`](crate::store_conformance) makes a test of each case; the argument is an async function that answers a [`Fixture`]
//! with a fresh store. Cases that need time to pass ask the fixture for it: where the store's clock is its own, they wait for real, by
//! fractions of a second.
//!
//! Absent: what only one adapter has (files, connections, recovery), and what takes minutes or days; that is tested beside each adapter.

pub mod advance;
pub mod children;
pub mod claim;
pub mod create;
pub mod ends;
pub mod lease;
pub mod load;
pub mod policies;
pub mod reads;
pub mod ready;
pub mod resume;
pub mod scope;
pub mod sizes;
pub mod spend;
pub mod stop;
pub mod sweep;
pub mod threads;
pub mod turns;
pub mod upstreams;

mod fixture;
mod list;
pub mod make;
#[cfg(test)]
mod tests;

pub use fixture::Fixture;
