//! The kind `rust`: handlers that are registered with the worker.

use coxswain_shared::graph::NodeKind;
use coxswain_shared::outcome::FailureKind;

use super::{Kind, Work};
use crate::handler::{Context, Handlers, NodeError};
use crate::hint::hint;

/// Handlers that are registered with the worker.
#[derive(Debug, Default)]
pub(crate) struct RustKind {
    handlers: Handlers,
}

impl RustKind {
    pub(crate) const fn new(handlers: Handlers) -> Self {
        Self { handlers }
    }
}

impl Kind for RustKind {
    fn name(&self) -> &'static str {
        "rust"
    }

    fn start(&self, ctx: Context) -> Result<Work, NodeError> {
        let NodeKind::Rust(node) = &ctx.definition().kind else {
            unreachable!("the registry hands each kind its own nodes");
        };
        let Some(handler) = self.handlers.get(&node.handler) else {
            let message =
                format!("this worker has no handler `{}`{}", node.handler, hint(&node.handler, self.handlers.names()));
            return Err(NodeError::refused(FailureKind::Unknown, message));
        };
        let wants_grace = handler.policy.wants_grace;
        Ok(Work::new(handler.start(ctx)).with_grace(wants_grace))
    }
}
