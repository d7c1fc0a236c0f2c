//! What a user of the SDK writes against: handlers, their context, replies and errors.

mod context;
mod error;
mod registry;
mod reply;

pub use context::Context;
pub(crate) use context::{Assignment, Hook, PARTIAL_BYTES_MAX};
pub use error::NodeError;
pub(crate) use registry::Handlers;
pub use registry::{Handler, Policy};
pub use reply::{IntoReply, Reply};
pub(crate) use reply::{Product, json_size};
