//! Channels by their reducers.

use serde_json::Value;

use crate::graph::model::{Channel, Reducer};

impl Channel {
    /// A channel that keeps the last write; absent until the first.
    pub const fn last() -> Self {
        Self { reducer: Reducer::Last, default: None }
    }

    /// A list that grows by each write.
    pub const fn append() -> Self {
        Self { reducer: Reducer::Append, default: None }
    }

    /// A number that grows by each write, from this one.
    pub fn add(start: impl Into<serde_json::Number>) -> Self {
        Self { reducer: Reducer::Add, default: Some(Value::Number(start.into())) }
    }

    /// An object that takes over the keys of each write.
    pub const fn merge() -> Self {
        Self { reducer: Reducer::Merge, default: None }
    }

    /// A list of messages, replaced by their `id`.
    pub const fn messages() -> Self {
        Self { reducer: Reducer::Messages, default: None }
    }

    /// The same channel with a value before the first write.
    #[must_use]
    pub fn with_default(mut self, value: impl Into<Value>) -> Self {
        self.default = Some(value.into());
        self
    }
}
