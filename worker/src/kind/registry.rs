//! The kinds that a worker knows, by name; and what it says of those that it does not.

use std::collections::BTreeMap;
use std::sync::Arc;

use coxswain_shared::outcome::FailureKind;
use futures_util::future::join_all;

use super::{Kind, Work};
use crate::handler::{Context, NodeError};
use crate::hint::hint;

/// Kinds that the planner deals with itself; they are never sent to a worker.
const PLANNED: [&str; 3] = ["wait", "interrupt", "graph"];

/// The kinds that a worker knows.
#[derive(Debug, Default)]
pub(crate) struct Kinds(BTreeMap<&'static str, Arc<dyn Kind>>);

impl Kinds {
    /// Adds a kind; false if its name is taken.
    pub(crate) fn add(&mut self, kind: Arc<dyn Kind>) -> bool {
        self.0.insert(kind.name(), kind).is_none()
    }

    /// Ends what outlives an attempt.
    pub(crate) async fn close(&self) {
        join_all(self.0.values().map(|kind| kind.close())).await;
    }

    /// Prepares the work of an attempt.
    pub(crate) fn start(&self, ctx: Context) -> Result<Work, NodeError> {
        let name = ctx.definition().kind.name();
        match self.0.get(name) {
            Some(kind) => kind.start(ctx),
            None if PLANNED.contains(&name) => Err(NodeError::refused(
                FailureKind::Unknown,
                format!(
                    "a node of the kind `{name}` was sent to a worker: the scheduler deals with it itself, so the two are of different versions"
                ),
            )),
            None => Err(NodeError::refused(
                FailureKind::Unknown,
                format!("this worker knows no node kind `{name}`{}", hint(name, self.0.keys().copied())),
            )),
        }
    }
}
