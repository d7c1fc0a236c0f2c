//! Upstreams: what a call passes before it is made, so that one host that stalls, limits or breaks harms no run that does
//! not use it, and is not harmed further itself.
//!
//! ```text
//!       gate
//! call ──► breaker ──► places ──────► rate ──────► in flight ──► next
//!            │ open      │ none free    │ used up      │ signs of life, ends, failures
//!            ▼           ▼              ▼              └──► load (this worker's), watch (told to the fleet)
//!          fails       waits in its slot while its turn may come soon, else is put off:
//!                      gives its slot back, and comes back later; that was no try
//! ```
//!
//! `load` and `watch` decide, `places` and `gate` wait, `fleet` asks the store. What an operator sees: `docs/upstreams.md`.

mod fleet;
mod gate;
mod limits;
mod load;
mod places;
mod read;
mod refusal;
mod registry;
mod watch;

pub(super) use gate::{Terms, Turn};
pub use limits::{Isolate, RetryBudget, Share, UpstreamLimits, Upstreams};
pub(super) use refusal::{PutOff, Refusal, Why};
pub(super) use registry::Gates;
pub(super) use watch::Open;
