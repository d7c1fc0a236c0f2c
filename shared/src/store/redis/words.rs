//! What the store says in its own name: the outcomes and failures that no worker and no human gave.
//!
//! When they are given is in `docs/store.md`; the scripts get them as constants, with placeholders for names.

use std::collections::BTreeMap;

use crate::id::{NodeName, RunId};
use crate::limits::Limit;
use crate::outcome::{Failure, FailureKind, Outcome, OutcomeKind};
use crate::run::RunStatus;

/// The outcome of a task that was still queued when a limit of its had passed.
pub(super) fn timed_out(limit: Limit, node: &NodeName) -> Outcome {
    let message = format!("no worker had taken it when its {limit} passed");
    Outcome::TimedOut { limit, failure: Failure::new(FailureKind::TimedOut, message).at(node) }
}

/// The outcome of a task whose last crash that is allowed has happened.
pub(super) fn crashed(node: &NodeName) -> Outcome {
    let message = "its workers died under it, or let go of its lease, too often";
    Outcome::Crashed { failure: Failure::new(FailureKind::Crashed, message).at(node) }
}

/// The outcome of a `wait` that is over.
pub(super) const fn waited() -> Outcome {
    Outcome::wrote(BTreeMap::new())
}

/// The outcome of a task that stands for a child run whose id another run has.
pub(super) fn child_taken(node: &NodeName) -> Outcome {
    let message = "another run has the id of its child run";
    Outcome::Failed { failure: Failure::new(FailureKind::Child, message).at(node) }
}

/// The outcome of a task whose attempt was stopped without a word from its worker, or by handing it back.
pub(super) const fn stopped() -> Outcome {
    Outcome::Stopped { partial: None }
}

/// The run's failure when a bad outcome of a node's task fails it: the outcome's own, where it has one.
pub(super) fn failure_of(outcome: &Outcome, node: &NodeName) -> Failure {
    match outcome {
        Outcome::Failed { failure } | Outcome::TimedOut { failure, .. } | Outcome::Crashed { failure } => {
            failure.clone()
        }
        Outcome::ChildEnded { run, status } => child_ended(run, *status, node),
        Outcome::Stopped { .. } | Outcome::Succeeded { .. } => {
            Failure::new(FailureKind::Stopped, "its attempt was stopped").at(node)
        }
    }
}

/// The parent's failure when a child run that ended badly fails it.
pub(super) fn child_ended(child: &RunId, status: RunStatus, node: &NodeName) -> Failure {
    Failure::new(FailureKind::Child, format!("the child run {child} ended as {status}")).at(node)
}

/// Whether an outcome is bad: anything but a success.
pub(super) fn is_bad(outcome: &Outcome) -> bool {
    outcome.kind() != OutcomeKind::Succeeded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_a_task_fails_keeps_the_failure_of_its_outcome() {
        let node = NodeName::new("ask").unwrap();
        let outcome = crashed(&node);
        assert!(is_bad(&outcome));
        assert_eq!(Some(&failure_of(&outcome, &node)), outcome.failure());
    }

    #[test]
    fn a_run_that_a_child_fails_names_the_child_and_its_end() {
        let (node, run) = (NodeName::new("ask").unwrap(), RunId::new("c1").unwrap());
        let failure = failure_of(&Outcome::ChildEnded { run, status: RunStatus::TimedOut }, &node);
        assert_eq!(failure.message, "the child run c1 ended as timed_out");
    }
}
