//! The kinds that a worker knows, by name; and what it says of those that it does not.

use std::collections::BTreeMap;
use std::sync::Arc;

use coxswain_shared::outcome::FailureKind;
use futures_util::future::join_all;

use super::enabled::{Enabled, KindName};
use super::{Kind, Work};
use crate::handler::{Context, NodeError};
use crate::hint::hint;

/// Kinds that the planner deals with itself; they are never sent to a worker.
const PLANNED: [&str; 3] = ["wait", "interrupt", "graph"];

/// The kinds that a worker knows.
#[derive(Debug)]
pub(crate) struct Kinds {
    known: BTreeMap<&'static str, Arc<dyn Kind>>,
    enabled: Enabled,
}

impl Kinds {
    /// No kinds yet; only these are run of those that will be known, or all.
    pub(crate) fn new(enabled: &[KindName]) -> Self {
        Self { known: BTreeMap::new(), enabled: Enabled::new(enabled) }
    }

    /// Adds a kind; false if its name is taken.
    pub(crate) fn add(&mut self, kind: Arc<dyn Kind>) -> bool {
        self.known.insert(kind.name(), kind).is_none()
    }

    /// Ends what outlives an attempt.
    pub(crate) async fn close(&self) {
        join_all(self.known.values().map(|kind| kind.close())).await;
    }

    /// Prepares the work of an attempt.
    pub(crate) fn start(&self, ctx: Context) -> Result<Work, NodeError> {
        let name = ctx.definition().kind.name();
        self.enabled.check(name)?;
        match self.known.get(name) {
            Some(kind) => kind.start(ctx),
            None if PLANNED.contains(&name) => Err(NodeError::refused(
                FailureKind::Unknown,
                format!(
                    "a node of the kind `{name}` was sent to a worker: the scheduler deals with it itself, so the two are of different versions"
                ),
            )),
            None => Err(NodeError::refused(
                FailureKind::Unknown,
                format!("this worker knows no node kind `{name}`{}", hint(name, self.known.keys().copied())),
            )),
        }
    }
}
