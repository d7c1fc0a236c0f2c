//! Takes from answers what the page leaves to each adapter: the texts of failures that a store writes itself.

use crate::outcome::{Failure, FailureKind, Outcome};
use crate::stop::{Cause, StopReport};
use crate::store::{AuditEntry, Ready, Renewed, Run, StopAnswer};
use crate::task::Task;

/// Something that may have such texts in it.
pub(super) trait Plain {
    /// Blanks them.
    fn make_plain(&mut self);

    /// The same without them.
    fn plain(mut self) -> Self
    where
        Self: Sized,
    {
        self.make_plain();
        self
    }
}

impl Plain for Failure {
    fn make_plain(&mut self) {
        let is_stores = matches!(
            self.kind,
            FailureKind::TimedOut
                | FailureKind::Crashed
                | FailureKind::Child
                | FailureKind::Stopped
                | FailureKind::Exhausted
        );
        if is_stores {
            self.message.clear();
            self.chain.clear();
        }
    }
}

impl Plain for Outcome {
    fn make_plain(&mut self) {
        match self {
            Self::Failed { failure } | Self::TimedOut { failure, .. } | Self::Crashed { failure } => {
                failure.make_plain();
            }
            Self::ChildEnded { failure, .. } => {
                if let Some(failure) = failure {
                    failure.make_plain();
                }
            }
            Self::Succeeded { .. } | Self::Stopped { .. } => {}
        }
    }
}

impl Plain for StopReport {
    fn make_plain(&mut self) {
        // The reason is the failure's message.
        if matches!(self.order.order.cause, Cause::SiblingFailed | Cause::Budget) {
            self.order.order.reason = None;
        }
    }
}

impl Plain for AuditEntry {
    fn make_plain(&mut self) {
        if self.actor.starts_with("node ") {
            self.reason = None;
        }
    }
}

impl Plain for Run {
    fn make_plain(&mut self) {
        self.stop.make_plain();
        self.failure.make_plain();
    }
}

impl Plain for Task {
    fn make_plain(&mut self) {
        self.outcome.make_plain();
        self.last_failure.make_plain();
    }
}

impl Plain for Ready {
    fn make_plain(&mut self) {
        self.run.make_plain();
        self.tasks.make_plain();
    }
}

impl Plain for StopAnswer {
    fn make_plain(&mut self) {
        match self {
            Self::Accepted(report) | Self::Already { report, .. } => report.make_plain(),
            Self::Finished(_) | Self::Early => {}
        }
    }
}

impl Plain for Renewed {
    fn make_plain(&mut self) {
        match self {
            Self::Stop(report) => report.make_plain(),
            Self::Held | Self::Lost => {}
        }
    }
}

impl<T: Plain> Plain for Option<T> {
    fn make_plain(&mut self) {
        self.iter_mut().for_each(Plain::make_plain);
    }
}

impl<T: Plain> Plain for Vec<T> {
    fn make_plain(&mut self) {
        self.iter_mut().for_each(Plain::make_plain);
    }
}
