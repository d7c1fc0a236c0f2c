//! The store port: the truth about runs, tasks, leases, checkpoints and stop orders.
//!
//! Every method of [`Store`] that changes something is one atomic step (one Lua script; one transaction in the embedded adapter) and safe
//! to repeat: a repeated call with the same nonce, fence or id answers as it did the first time. The clock that judges
//! leases and deadlines is the store's.
//!
//! What is absent: planning (that is `plan`), templates, and any knowledge of node kinds.

pub mod bounds;
mod calls;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod error;
#[cfg(any(test, feature = "testing"))]
pub mod fault;
mod gather;
#[cfg(any(test, feature = "testing"))]
pub mod model;
mod policies;
mod port;
mod records;
pub mod redis;
pub mod sqlite;
mod upstreams;

pub use calls::*;
pub use error::{Advised, Error, Trouble};
pub use gather::{tasks_where, values_of_children};
pub use policies::{MeterCall, PolicyChange, PolicyChanged};
pub use port::{SignalReceiver, Store};
pub use records::*;
pub use upstreams::{BreakerCall, BreakerView};
