//! Why a call did not succeed: which limit, of what, how long, and what came before.

use std::error::Error;
use std::time::Duration;

use coxswain_shared::duration::show;
use coxswain_shared::exhaustion::Resource;
use coxswain_shared::limits::Limit;
use coxswain_shared::outcome::{Failure, FailureKind};

use super::client::NotFollowed;
use super::guard::Private;
use super::upstream::{Open, PutOff, Refusal, Why};
use crate::handler::NodeError;

/// The longest chain of causes that is looked through.
const CHAIN_MAX: usize = 16;

/// How far a call had come, for what is told of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// Since the call began.
    pub(super) elapsed: Duration,
    /// How much of that it waited for its turn.
    pub(super) waited: Duration,
    /// The status, once there is one.
    pub(super) status: Option<u16>,
    /// Bytes of the body so far.
    pub(super) bytes: u64,
}

impl Progress {
    /// In words: `after 2.1s, status 200 and 512 bytes`.
    pub(super) fn tell(&self) -> String {
        let mut elapsed = show(millis(self.elapsed));
        let waited = millis(self.waited);
        if !waited.is_zero() {
            elapsed = format!("{elapsed}, of which it waited for its turn for {}", show(waited));
        }
        match self.status {
            None => format!("nothing had come after {elapsed}"),
            Some(status) => format!("status {status} and {} bytes had come after {elapsed}", self.bytes),
        }
    }
}

/// A limit of the call was hit.
pub(super) fn timed_out(limit: Limit, length: Duration, call: &str, progress: Progress) -> NodeError {
    let message = format!("{limit} ({}) passed in {call}: {}", show(length), progress.tell());
    NodeError::TimedOut { limit, failure: Failure::new(FailureKind::TimedOut, message) }
}

/// The call was not made: it has to come back later, or its upstream's breaker is open.
pub(super) fn refused(refusal: &Refusal, call: &str) -> NodeError {
    match refusal {
        Refusal::PutOff(put_off) => {
            let (after, reason) = (put_off.after, reason_of(put_off));
            let message = format!("{call} was put off for {}: {reason}", show(millis(after)));
            NodeError::PutOff { failure: Failure::new(FailureKind::Outside, message), after }
        }
        Refusal::Open(upstream, Open { left, calls, failed, last }) => {
            let last = last.as_ref().map(|last| format!(", the last by: {last}")).unwrap_or_default();
            let message = format!(
                "{call} was not made: the breaker of {upstream} is open for {} more, since {failed} of its last {calls} calls failed{last}",
                show(millis(*left))
            );
            NodeError::Later { failure: Failure::new(FailureKind::Outside, message), after: *left }
        }
    }
}

fn reason_of(put_off: &PutOff) -> String {
    let PutOff { upstream, in_flight, waiting, quiet_for, waited, .. } = put_off;
    let full = format!("{in_flight} calls to {upstream} are in flight, as many as may be");
    match put_off.why {
        Why::Full => format!("{full}, and {waiting} wait for their turn"),
        Why::Silent => format!("{full}, and nothing has come of them for {}", show(millis(*quiet_for))),
        Why::Slow => format!("{full}, and its turn did not come within {}", show(millis(*waited))),
        Why::Rate => format!("the fleet calls {upstream} as often as its rate allows"),
        Why::Tried => format!("the breaker of {upstream} was open, and one call tries now whether it is back"),
    }
}

/// As it is shown: in whole milliseconds.
fn millis(span: Duration) -> Duration {
    Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

/// The answer is longer than it may be.
pub(super) fn too_long(max: u64, call: &str) -> NodeError {
    let message = format!("the answer to {call} is longer than {max} bytes (`max_bytes`): the rest was not read");
    NodeError::Fatal(Failure::new(FailureKind::TooLarge, message))
}

/// What the client says, as far as it concerns the call; `redact` takes secrets out.
pub(super) fn of_client(
    error: &reqwest::Error,
    call: &str,
    progress: Progress,
    redact: impl Fn(&str) -> String,
) -> NodeError {
    let chain = chain_of(error);
    let refusal = chain.iter().find(|error| error.is::<Private>() || error.is::<NotFollowed>());
    if let Some(refusal) = refusal {
        // A redirect comes of a request that was made.
        let what = if error.is_redirect() { "was not followed" } else { "was not made" };
        let message = format!("{call} {what}: {}", redact(&refusal.to_string()));
        return NodeError::Fatal(Failure::new(FailureKind::BadInput, message));
    }
    if let Some(resource) = chain.iter().find_map(|error| Resource::behind(*error)) {
        let cause = chain.last().map(|error| redact(&error.to_string())).unwrap_or_default();
        return NodeError::no_resources(&format!("{call} could not be made: {cause}"), resource);
    }
    if error.is_builder() {
        let mut failure = Failure::new(FailureKind::BadInput, format!("{call} cannot be made"));
        failure.chain = chain.iter().map(|error| redact(&error.to_string())).collect();
        return NodeError::Fatal(failure);
    }
    let what = if error.is_connect() { "could not connect" } else { "broke off" };
    let mut failure = Failure::new(FailureKind::Outside, format!("{call} {what}: {}", progress.tell()));
    failure.chain = chain.iter().map(|error| redact(&error.to_string())).collect();
    NodeError::Retryable(failure)
}

/// Whether a call failed by what its caller asked for, and not by the upstream.
pub(super) fn is_of_the_caller(error: &reqwest::Error) -> bool {
    error.is_builder() || chain_of(error).iter().any(|error| error.is::<Private>() || error.is::<NotFollowed>())
}

fn chain_of(error: &reqwest::Error) -> Vec<&(dyn Error + 'static)> {
    let (mut chain, mut next) = (Vec::new(), error.source());
    while let Some(inner) = next.filter(|_| chain.len() < CHAIN_MAX) {
        chain.push(inner);
        next = inner.source();
    }
    chain
}

/// An address that may not be called.
pub(super) fn private(private: &Private, call: &str) -> NodeError {
    NodeError::Fatal(Failure::new(FailureKind::BadInput, format!("{call} was not made: {private}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_says_which_how_long_of_what_and_what_came_before() {
        let progress =
            Progress { elapsed: Duration::from_millis(2_100), waited: Duration::ZERO, status: Some(200), bytes: 512 };
        let error = timed_out(Limit::IdleTimeout, Duration::from_secs(30), "GET http://a/b", progress);
        let NodeError::TimedOut { limit: Limit::IdleTimeout, failure } = error else { panic!("{error}") };
        assert_eq!(
            failure.message,
            "idle_timeout (30s) passed in GET http://a/b: status 200 and 512 bytes had come after 2s100ms"
        );
        let progress = Progress { elapsed: Duration::from_secs(5), waited: Duration::ZERO, status: None, bytes: 0 };
        let error = timed_out(Limit::ConnectTimeout, Duration::from_secs(5), "GET http://a/b", progress).to_string();
        assert!(error.ends_with("nothing had come after 5s"), "{error}");
        let late = Progress { waited: Duration::from_millis(1_200), ..progress };
        assert!(late.tell().ends_with("after 5s, of which it waited for its turn for 1s200ms"), "{}", late.tell());
    }
}
