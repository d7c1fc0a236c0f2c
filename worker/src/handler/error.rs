//! What a handler returns when it did not succeed.

use std::fmt;
use std::time::Duration;

use coxswain_shared::exhaustion::{self, Resource};
use coxswain_shared::expr;
use coxswain_shared::limits::Limit;
use coxswain_shared::outcome::{Failure, FailureKind};

/// Why a node did not succeed.
///
/// Every error converts into [`NodeError::Retryable`], so that `?` does what is wanted most often. It is no
/// `std::error::Error` itself, for the same reason that `anyhow::Error` is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeError {
    /// Another try may help: the node's retry policy decides.
    Retryable(Failure),
    /// No further try will help.
    Fatal(Failure),
    /// Another try may help, but not sooner than this: who was asked has named a time.
    Later {
        /// Why.
        failure: Failure,
        /// The shortest pause before the next try.
        after: Duration,
    },
    /// This was no try: what it needs is not to be had now. The task comes back after about this time, as often as its
    /// `timeout` allows, whatever its retry policy says. Only for what has done nothing yet.
    PutOff {
        /// What it waits for. It is stored as one of the kind [`FailureKind::PutOff`].
        failure: Failure,
        /// How long until it is worth coming back.
        after: Duration,
    },
    /// A time limit of its own was hit, such as one of a call to the outside: a failed try that ended in time.
    TimedOut {
        /// Which one.
        limit: Limit,
        /// Of what, how long it was, and what came before.
        failure: Failure,
    },
    /// It ended because it was asked to stop.
    Stopped,
}

impl NodeError {
    /// Another try may help.
    pub fn retryable(message: impl fmt::Display) -> Self {
        Self::Retryable(Failure::new(FailureKind::Handler, message.to_string()))
    }

    /// No further try will help.
    pub fn fatal(message: impl fmt::Display) -> Self {
        Self::Fatal(Failure::new(FailureKind::Handler, message.to_string()))
    }

    /// The machine ran out of something before anything was done: no try, and it comes back soon.
    pub(crate) fn no_resources(message: &str, resource: Resource) -> Self {
        let message = format!("{message}; this worker has no more {resource}");
        Self::PutOff { failure: Failure::new(FailureKind::PutOff, message), after: exhaustion::BACK_AFTER }
    }

    /// No further try will help, for a reason that is not the handler's own.
    pub fn refused(kind: FailureKind, message: impl Into<String>) -> Self {
        Self::Fatal(Failure::new(kind, message))
    }

    /// An expression at this place of the node did not give a value. Only one that could not be evaluated now is worth
    /// another try.
    pub(crate) fn of_expression(place: &str, error: &expr::Error) -> Self {
        let failure = Failure::new(FailureKind::Expression, format!("`{place}`: {error}"));
        if error.is_passing() { Self::Retryable(failure) } else { Self::Fatal(failure) }
    }
}

impl NodeError {
    /// The same error, with what it tells changed.
    pub(crate) fn map_texts(mut self, map: impl Fn(&str) -> String) -> Self {
        if let Self::Retryable(failure)
        | Self::Fatal(failure)
        | Self::Later { failure, .. }
        | Self::PutOff { failure, .. }
        | Self::TimedOut { failure, .. } = &mut self
        {
            failure.message = map(&failure.message);
            failure.chain.iter_mut().for_each(|text| *text = map(text));
        }
        self
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retryable(failure)
            | Self::Fatal(failure)
            | Self::Later { failure, .. }
            | Self::PutOff { failure, .. }
            | Self::TimedOut { failure, .. } => failure.fmt(f),
            Self::Stopped => f.write_str("it was stopped"),
        }
    }
}

impl<E: std::error::Error + 'static> From<E> for NodeError {
    fn from(error: E) -> Self {
        Self::Retryable(Failure::from_error(FailureKind::Handler, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_retryable_and_keeps_what_lay_under_it() {
        #[derive(Debug, thiserror::Error)]
        #[error("no answer")]
        struct Outer(#[source] std::io::Error);
        let error = NodeError::from(Outer(std::io::Error::other("refused")));
        let NodeError::Retryable(failure) = error else { panic!("{error:?}") };
        assert_eq!((failure.message.as_str(), failure.chain), ("no answer", vec!["refused".to_owned()]));
    }
}
