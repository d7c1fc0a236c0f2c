//! What the store says in its own name: the outcomes and failures that no worker and no human gave.
//!
//! When they are given is in `docs/store.md`; the scripts get them as constants, with placeholders for names.

use std::collections::BTreeMap;

use crate::id::{NodeName, RunId};
use crate::limits::Limit;
use crate::outcome::{Failure, FailureKind, Outcome};
use crate::run::RunStatus;
use crate::task::crashed_message;

/// The failure of a task that was still queued when a limit of `length` had passed.
pub(super) fn timed_out(limit: Limit, length: &str, (node, pool): (&NodeName, &str)) -> Failure {
    let what = if limit == Limit::QueueTimeout {
        format!("no worker of the pool `{pool}` took the task")
    } else {
        "the task was not done".to_owned()
    };
    Failure::new(FailureKind::TimedOut, format!("{what} within its {limit} of {length}")).at(node)
}

/// The failure of a task whose last crash that is allowed has happened.
pub(super) fn crashed(crashes: &str, uncounted: &str, node: &NodeName) -> Failure {
    Failure::new(FailureKind::Crashed, crashed_message(crashes, uncounted)).at(node)
}

/// The outcome of a `wait` that is over.
pub(super) const fn waited() -> Outcome {
    Outcome::wrote(BTreeMap::new())
}

/// The failure of a task that stands for a child run whose id another run has.
pub(super) fn child_taken(child: &RunId, node: &NodeName) -> Failure {
    Failure::new(FailureKind::Child, format!("there is a run {child} already")).at(node)
}

/// The outcome of a task whose attempt was stopped without a word from its worker, or by handing it back.
pub(super) const fn stopped() -> Outcome {
    Outcome::stopped(None)
}

/// The run's failure when a bad outcome of a node's task fails it: the outcome's own, where it has one.
pub(super) fn failure_of(outcome: &Outcome, node: &NodeName) -> Failure {
    match outcome {
        Outcome::Failed { failure } | Outcome::TimedOut { failure, .. } | Outcome::Crashed { failure } => {
            failure.clone()
        }
        Outcome::ChildEnded { run, status, failure } => Failure::of_child(run, *status, failure.as_deref()).at(node),
        Outcome::Stopped { .. } | Outcome::Succeeded { .. } => {
            Failure::new(FailureKind::Stopped, "the attempt was stopped").at(node)
        }
    }
}

/// The parent's failure when a child run that ended badly fails it; the script adds why.
pub(super) fn child_ended(child: &RunId, status: RunStatus, node: &NodeName) -> Failure {
    Failure::of_child(child, status, None).at(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_a_task_fails_keeps_the_failure_of_its_outcome() {
        let node = NodeName::new("ask").unwrap();
        let outcome = Outcome::Crashed { failure: crashed("3", "1", &node) };
        assert!(outcome.is_bad());
        assert_eq!(Some(&failure_of(&outcome, &node)), outcome.failure());
    }

    #[test]
    fn a_run_that_a_child_fails_names_the_child_and_its_end() {
        let (node, run) = (NodeName::new("ask").unwrap(), RunId::new("c1").unwrap());
        let why = Some(Box::new(Failure::new(FailureKind::Handler, "no luck").at(&node)));
        let failure = failure_of(&Outcome::ChildEnded { run, status: RunStatus::Failed, failure: why }, &node);
        assert_eq!(failure.to_string(), "node `ask`: child run `c1` ended as failed: node `ask`: no luck");
    }
}
