//! What an attempt's end means: a pure decision over how the work ended, why it was to end, and what the policy allows.
//!
//! | reason | returned well | returned an error | panicked | dropped | stuck |
//! |---|---|---|---|---|---|
//! | none | succeeded | tried again, or failed | tried again, or failed | handed back | abandoned |
//! | shutdown | succeeded | handed back | handed back | handed back | abandoned |
//! | deadline of a try | tried again, or timed out | the same | the same | the same | timed out |
//! | deadline of the task | timed out | timed out | timed out | timed out | timed out |
//! | deadline of the run | the run is stopped | the same | the same | the same | the same |
//! | stop order | released, result refused | released | released | released | released, unconfirmed |
//! | lease lost | abandoned | abandoned | abandoned | abandoned | abandoned |
//!
//! An error that puts the task off is no try: whatever the policy says, it comes back later if it still fits, else it has
//! failed. A fatal error is never tried again, and neither is a try that is stuck: it cannot be ended, and two at once would
//! be worse than none. `the_table_holds` walks all of it.

use std::fmt::Write as _;
use std::time::Duration;

use coxswain_shared::graph::Retry;
use coxswain_shared::id::AttemptNumber;
use coxswain_shared::limits::Limit;
use coxswain_shared::outcome::{Failure, FailureKind, Outcome};
use coxswain_shared::policing::Halt;
use coxswain_shared::retry;
use coxswain_shared::stop::EndReason;
use coxswain_shared::store::Verdict;
use rand::Rng;

use crate::handler::{NodeError, Product};

/// Added to a failure.
const TOO_LATE: &str = "it was not tried again: the next try would begin after the task's timeout";

/// How the work of an attempt ended.
#[derive(Debug)]
pub(crate) enum Finish {
    /// It came to its own end.
    Returned(Result<Product, NodeError>),
    /// It panicked.
    Panicked(String),
    /// It was dropped.
    Dropped,
    /// It blocks without awaiting, and was given up.
    Stuck,
}

impl Finish {
    /// Whether it succeeded by itself.
    pub(crate) const fn is_good(&self) -> bool {
        matches!(self, Self::Returned(Ok(_)))
    }
}

/// What is to be written of an attempt.
#[derive(Debug, PartialEq)]
pub(crate) enum Consequence {
    /// Its outcome, or another try.
    Settle(Verdict),
    /// Nothing, but the proof that it was stopped.
    Release {
        /// Whether a result came after the order, and was refused.
        refused_result: bool,
        /// Whether nothing of it runs on.
        confirmed: bool,
    },
    /// An order that stops its run, whose time is up; then the proof.
    StopRun {
        /// Whether nothing of it runs on.
        confirmed: bool,
    },
    /// An order that stops its run, or the one at the top of its tree, which a policy of the operators gives; then the proof.
    StopByPolicy(Box<Halt>),
    /// Nothing: the task is queued again, and this was no try.
    HandBack,
    /// Nothing at all.
    Abandon,
}

impl Consequence {
    /// Whether it is another try.
    pub(crate) const fn is_retry(&self) -> bool {
        matches!(self, Self::Settle(Verdict::Retry { .. }))
    }
}

/// What the decision needs beside the end and the reason.
#[derive(Debug)]
pub(crate) struct Terms<'a> {
    /// The node's retry policy.
    pub(crate) retry: &'a Retry,
    /// Which try this was.
    pub(crate) attempt: AttemptNumber,
    /// What the task has left of its time.
    pub(crate) remaining: Duration,
    /// How long each limit was that may have been hit, for the message.
    pub(crate) length: Duration,
    /// Why there is no other try although the policy has one left: it would have to be paid for.
    pub(crate) over_budget: Option<String>,
    /// How far the work had come, if it says so: told where a limit of the attempt has ended it.
    pub(crate) come: Option<String>,
}

/// Decides what an attempt's end means.
pub(crate) fn classify(
    finish: Finish,
    reason: Option<&EndReason>,
    terms: &Terms<'_>,
    rng: &mut impl Rng,
) -> Consequence {
    match reason {
        None => by_itself(finish, terms, rng),
        Some(EndReason::Shutdown) => match finish {
            Finish::Returned(Ok(product)) => succeeded(product),
            Finish::Returned(Err(_)) | Finish::Panicked(_) | Finish::Dropped => Consequence::HandBack,
            Finish::Stuck => Consequence::Abandon,
        },
        Some(EndReason::DeadlineExceeded(limit)) => timed_out(&finish, *limit, terms, rng),
        Some(EndReason::StopOrdered(_)) => {
            Consequence::Release { refused_result: finish.is_good(), confirmed: !matches!(finish, Finish::Stuck) }
        }
        Some(EndReason::LeaseLost) => Consequence::Abandon,
    }
}

fn by_itself(finish: Finish, terms: &Terms<'_>, rng: &mut impl Rng) -> Consequence {
    let failed = |failure| Outcome::Failed { failure };
    match finish {
        Finish::Returned(Ok(product)) => succeeded(product),
        Finish::Returned(Err(NodeError::Fatal(failure))) => Consequence::Settle(Verdict::Done(failed(failure))),
        Finish::Returned(Err(NodeError::Retryable(failure))) => again_or(failure, failed, terms, rng),
        Finish::Returned(Err(NodeError::Later { failure, after })) => again_after(failure, failed, (after, terms), rng),
        Finish::Returned(Err(NodeError::PutOff { failure, after })) => put_off(failure, after, terms),
        Finish::Returned(Err(NodeError::TimedOut { limit, mut failure })) => {
            let _ = write!(failure.message, " (attempt {})", terms.attempt);
            again_or(failure, |failure| Outcome::TimedOut { limit, failure }, terms, rng)
        }
        Finish::Returned(Err(NodeError::Stopped)) => {
            let message = "the handler says that it was stopped, but nothing had asked it to stop";
            again_or(Failure::new(FailureKind::Handler, message), failed, terms, rng)
        }
        Finish::Panicked(message) => {
            let failure = Failure::new(FailureKind::Panicked, format!("the handler panicked: {message}"));
            again_or(failure, failed, terms, rng)
        }
        // Nobody asked for it: the runtime itself is going down.
        Finish::Dropped => Consequence::HandBack,
        Finish::Stuck => Consequence::Abandon,
    }
}

fn timed_out(finish: &Finish, limit: Limit, terms: &Terms<'_>, rng: &mut impl Rng) -> Consequence {
    let is_stuck = matches!(finish, Finish::Stuck);
    let length = coxswain_shared::duration::show(terms.length);
    let done = |failure| Outcome::TimedOut { limit, failure };
    if is_stuck && limit != Limit::RunTimeout {
        let message = format!(
            "the handler still blocked, without awaiting, after {limit} ({length}) and its grace; \
             it was fenced, and is not tried again while it runs on: use spawn_blocking for work that blocks"
        );
        return Consequence::Settle(Verdict::Done(done(Failure::new(FailureKind::Stuck, message))));
    }
    let mut failure =
        Failure::new(FailureKind::TimedOut, format!("{limit} ({length}) passed on attempt {}", terms.attempt));
    failure.chain.extend(terms.come.clone());
    match limit {
        Limit::RunTimeout => Consequence::StopRun { confirmed: !is_stuck },
        Limit::Timeout | Limit::QueueTimeout => Consequence::Settle(Verdict::Done(done(failure))),
        Limit::AttemptTimeout | Limit::ConnectTimeout | Limit::FirstByteTimeout | Limit::IdleTimeout | Limit::Grace => {
            again_or(failure, done, terms, rng)
        }
    }
}

fn succeeded(product: Product) -> Consequence {
    Consequence::Settle(Verdict::Done(Outcome::Succeeded { writes: product.writes, goto: product.goto }))
}

/// The task comes back later, and this was no try; else it has failed.
fn put_off(mut failure: Failure, after: Duration, terms: &Terms<'_>) -> Consequence {
    failure.kind = FailureKind::PutOff;
    let verdict = if retry::fits(after, Limit::AttemptTimeout.floor(), terms.remaining) {
        Verdict::PutOff { failure, after }
    } else {
        failure.chain.push(TOO_LATE.to_owned());
        Verdict::Done(Outcome::Failed { failure })
    };
    Consequence::Settle(verdict)
}

/// Another try, if the policy has one left and it can start before the task's time is up; else the bad outcome.
fn again_or(
    failure: Failure,
    done: impl FnOnce(Failure) -> Outcome,
    terms: &Terms<'_>,
    rng: &mut impl Rng,
) -> Consequence {
    again_after(failure, done, (Duration::ZERO, terms), rng)
}

/// The same, with a shortest pause.
fn again_after(
    mut failure: Failure,
    done: impl FnOnce(Failure) -> Outcome,
    (shortest, terms): (Duration, &Terms<'_>),
    rng: &mut impl Rng,
) -> Consequence {
    let verdict = match retry::after(terms.retry, terms.attempt, rng).map(|after| after.max(shortest)) {
        None => Verdict::Done(done(failure)),
        Some(_) if terms.over_budget.is_some() => {
            failure.chain.extend(terms.over_budget.clone());
            Verdict::Done(done(failure))
        }
        Some(after) if retry::fits(after, Limit::AttemptTimeout.floor(), terms.remaining) => {
            Verdict::Retry { failure, after }
        }
        Some(_) => {
            failure.chain.push(TOO_LATE.to_owned());
            Verdict::Done(done(failure))
        }
    };
    Consequence::Settle(verdict)
}

#[cfg(test)]
mod tests {
    use coxswain_shared::graph::{Backoff, Jitter};
    use coxswain_shared::stop::{Cause, NewOrder, StopOrder};
    use coxswain_shared::time::Timestamp;
    use rand::SeedableRng as _;

    use super::*;

    fn retry(attempts: u32) -> Retry {
        let backoff = Backoff { jitter: Jitter::None, ..Backoff::default() };
        Retry { attempts, backoff }
    }

    fn decide(finish: Finish, reason: Option<&EndReason>, attempts: u32, remaining: u64) -> Consequence {
        let retry = retry(attempts);
        let terms = Terms {
            retry: &retry,
            attempt: AttemptNumber::new(1),
            remaining: Duration::from_secs(remaining),
            length: Duration::from_mins(2),
            over_budget: None,
            come: None,
        };
        classify(finish, reason, &terms, &mut rand::rngs::StdRng::seed_from_u64(1))
    }

    fn ends() -> [Finish; 5] {
        [
            Finish::Returned(Ok(Product::default())),
            Finish::Returned(Err(NodeError::retryable("no"))),
            Finish::Panicked("boom".into()),
            Finish::Dropped,
            Finish::Stuck,
        ]
    }

    fn order() -> EndReason {
        let order = NewOrder { cause: Cause::Cancelled, reason: None, actor: "ann".into(), grace: None, force: false };
        EndReason::StopOrdered(StopOrder { order, at: Timestamp::from_millis(0) })
    }

    /// A consequence in the words of the table; `attempts` is 2, so a second try is allowed.
    fn words(consequence: &Consequence) -> &'static str {
        match consequence {
            Consequence::Settle(Verdict::Done(Outcome::Succeeded { .. })) => "succeeded",
            Consequence::Settle(Verdict::Done(Outcome::Failed { .. })) => "failed",
            Consequence::Settle(Verdict::Done(Outcome::TimedOut { .. })) => "timed out",
            Consequence::Settle(Verdict::Retry { .. }) => "again",
            Consequence::Settle(Verdict::PutOff { .. }) => "put off",
            Consequence::Settle(Verdict::Done(other)) => panic!("a worker never settles as {other:?}"),
            Consequence::Release { refused_result: true, confirmed: true } => "released, refused",
            Consequence::Release { refused_result: false, confirmed: true } => "released",
            Consequence::Release { confirmed: false, .. } => "released, unconfirmed",
            Consequence::StopRun { .. } => "run stopped",
            Consequence::StopByPolicy(_) => panic!("a policy speaks before the work"),
            Consequence::HandBack => "handed back",
            Consequence::Abandon => "abandoned",
        }
    }

    #[test]
    fn the_table_holds() {
        let deadline = |limit| Some(EndReason::DeadlineExceeded(limit));
        let table = [
            (None, ["succeeded", "again", "again", "handed back", "abandoned"]),
            (Some(EndReason::Shutdown), ["succeeded", "handed back", "handed back", "handed back", "abandoned"]),
            (deadline(Limit::AttemptTimeout), ["again", "again", "again", "again", "timed out"]),
            (deadline(Limit::IdleTimeout), ["again", "again", "again", "again", "timed out"]),
            (deadline(Limit::Timeout), ["timed out"; 5]),
            (deadline(Limit::RunTimeout), ["run stopped"; 5]),
            (Some(order()), ["released, refused", "released", "released", "released", "released, unconfirmed"]),
            (Some(EndReason::LeaseLost), ["abandoned"; 5]),
        ];
        for (reason, cells) in table {
            for (finish, cell) in ends().into_iter().zip(cells) {
                let shown = format!("{finish:?} under {reason:?}");
                assert_eq!(words(&decide(finish, reason.as_ref(), 2, 600)), cell, "{shown}");
            }
        }
    }

    #[test]
    fn without_tries_left_a_failure_is_final() {
        for finish in [Finish::Returned(Err(NodeError::retryable("no"))), Finish::Panicked("boom".into())] {
            assert_eq!(words(&decide(finish, None, 1, 600)), "failed");
        }
        let deadline = EndReason::DeadlineExceeded(Limit::AttemptTimeout);
        assert_eq!(words(&decide(Finish::Dropped, Some(&deadline), 1, 600)), "timed out");
    }

    #[test]
    fn a_try_that_nobody_pays_for_is_not_made_and_the_failure_says_so() {
        let why = "it was not tried again: retries are over their budget";
        let retry = retry(5);
        let decide = |finish, attempts| {
            let terms = Terms {
                retry: &Retry { attempts, ..retry.clone() },
                attempt: AttemptNumber::new(1),
                remaining: Duration::from_mins(10),
                length: Duration::ZERO,
                over_budget: Some(why.to_owned()),
                come: None,
            };
            classify(finish, None, &terms, &mut rand::rngs::StdRng::seed_from_u64(1))
        };
        for (attempts, chain) in [(5, vec![why.to_owned()]), (1, Vec::new())] {
            let decided = decide(Finish::Returned(Err(NodeError::retryable("no"))), attempts);
            let Consequence::Settle(Verdict::Done(Outcome::Failed { failure })) = decided else {
                panic!("{decided:?}")
            };
            assert_eq!(failure.chain, chain, "only where a try was left");
        }
    }

    #[test]
    fn a_fatal_error_is_never_tried_again() {
        assert_eq!(words(&decide(Finish::Returned(Err(NodeError::fatal("no"))), None, 9, 600)), "failed");
    }

    #[test]
    fn what_is_put_off_was_no_try_and_comes_back_while_its_time_lasts() {
        let put_off = || {
            let failure = Failure::new(FailureKind::Outside, "full");
            Finish::Returned(Err(NodeError::PutOff { failure, after: Duration::from_secs(9) }))
        };
        assert_eq!(words(&decide(put_off(), None, 1, 600)), "put off", "although no try is left");
        assert_eq!(words(&decide(put_off(), Some(&EndReason::Shutdown), 1, 600)), "handed back");
        assert_eq!(words(&decide(put_off(), Some(&order()), 1, 600)), "released");
        let decided = decide(put_off(), None, 5, 9);
        let Consequence::Settle(Verdict::Done(Outcome::Failed { failure })) = decided else { panic!("{decided:?}") };
        assert!(failure.message == "full" && failure.chain[0].contains("not tried again"), "{failure}");
        assert_eq!(failure.kind, FailureKind::PutOff, "whatever the handler called it");
    }

    #[test]
    fn a_try_that_cannot_fit_is_not_started_and_the_failure_says_so() {
        let decided = decide(Finish::Returned(Err(NodeError::retryable("no"))), None, 2, 1);
        let Consequence::Settle(Verdict::Done(Outcome::Failed { failure })) = decided else { panic!("{decided:?}") };
        assert!(failure.chain[0].contains("not tried again"), "{failure}");
    }

    #[test]
    fn a_stuck_handler_is_named_as_such_with_the_remedy() {
        let deadline = EndReason::DeadlineExceeded(Limit::AttemptTimeout);
        let decided = decide(Finish::Stuck, Some(&deadline), 9, 600);
        let Consequence::Settle(Verdict::Done(Outcome::TimedOut { failure, .. })) = decided else {
            panic!("{decided:?}")
        };
        assert_eq!(failure.kind, FailureKind::Stuck);
        assert!(failure.message.contains("spawn_blocking") && failure.message.contains("2m"), "{failure}");
    }

    #[test]
    fn an_unasked_stop_is_a_failure_that_says_so() {
        let decided = decide(Finish::Returned(Err(NodeError::Stopped)), None, 1, 600);
        let Consequence::Settle(Verdict::Done(Outcome::Failed { failure })) = decided else { panic!("{decided:?}") };
        assert!(failure.message.contains("nothing had asked"), "{failure}");
    }
}
