//! What a fleet knows of the hosts that its nodes call: how often they may be called ([`Rate`]), and whether they may be
//! called at all just now ([`Breaker`]). Pure: who keeps it, and who calls, is not known here.

mod breaker;
mod name;
mod rate;

pub use breaker::{Breaker, BreakerEvent, BreakerLimits};
pub use name::UpstreamName;
pub use rate::{Admission, NotARate, Rate, admit};
