//! Calls to the outside, for every node kind that makes one: what may be called, what is sent, and how long each part
//! of it may take.
//!
//! ```text
//! texts ──► secrets        the request is filled in from the state, then with what only the worker knows
//!   │
//!   ▼
//! clients ─► guard         a connection is made only to an address that may be called, after each look-up and redirect
//!   │
//!   ▼
//! upstream ► gate          its turn among the worker's calls to that host and port, or it is put off
//!   │
//!   ▼
//! call ────► failure       first byte, idle, size: each with its limit and its own words
//! ```
//!
//! A call is dropped with the attempt that makes it, which closes its connection.

mod address;
mod call;
mod caller;
mod client;
mod config;
mod echo;
mod entities;
mod extra;
mod failure;
mod forms;
mod guard;
mod prices;
pub(crate) mod request;
mod reveal;
mod secrets;
mod setting;
mod texts;
mod upstream;

pub(crate) use call::{Answer, Call, Next, Refused};
pub(crate) use caller::Caller;
pub use config::{Allowed, BadPattern, NotAllowed, OutsideConfig, Pattern};
pub(crate) use extra::Extra;
pub use prices::Prices;
pub(crate) use prices::Tokens;
pub(crate) use secrets::Secrets;
pub(crate) use texts::Texts;
pub use upstream::{Isolate, RetryBudget, Share, UpstreamLimits, Upstreams};
