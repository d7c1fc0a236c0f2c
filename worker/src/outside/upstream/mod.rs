//! Upstreams: how many calls of this worker one host and port may have at a time, so that one that stalls does not take
//! the slots of runs that do not use it.
//!
//! ```text
//!               a free place                                   the answer was read, or dropped
//! call ──► gate ────────────────► in flight ─────────────────────────────────────────────────► next
//!            │ none                   │ a sign of life
//!            ├──► waits, in its slot, while the upstream shows life and its turn may come soon
//!            └──► is put off: gives its slot back, and comes back later; that was no try
//! ```
//!
//! `load` decides, `gate` waits. What an operator sees of it: `docs/upstreams.md`.

mod gate;
mod limits;
mod load;
mod read;
mod registry;

pub(super) use gate::{PutOff, Turn, Why};
pub use limits::{Share, UpstreamLimits, Upstreams};
pub(super) use registry::Gates;
