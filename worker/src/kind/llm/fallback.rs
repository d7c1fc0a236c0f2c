//! Which model answers: the node's own, or one that is asked in its place, one after another in the same try.
//!
//! | the model before | the next one is asked |
//! |---|---|
//! | is put off, or wants to be left alone for a while | at once |
//! | failed, and another try may help | when there is no other try |
//! | cannot be paid for | at once |
//! | failed for good | never |
//!
//! A model wants to be left alone if its upstream's breaker is open, or if it answered with a `Retry-After`.

use coxswain_shared::graph::NodeKind;
use coxswain_shared::outcome::Failure;
use serde_json::json;

use super::call::{CallError, call};
use crate::handler::{Context, NodeError, Reply};
use crate::outside::Caller;

/// Asks the node's model, and where it is not to be had, those that stand in for it.
pub(in crate::kind) async fn run(ctx: &Context, caller: &Caller) -> Result<Reply, NodeError> {
    let NodeKind::Llm(node) = &ctx.definition().kind else {
        unreachable!("the registry hands each kind its own nodes");
    };
    let mut errors = match call(ctx, node, caller).await {
        Ok(reply) => return Ok(reply),
        Err(error) => vec![(node.model.0.clone(), error)],
    };
    let is_last_try = ctx.attempt().get() >= ctx.definition().policy.retry.attempts;
    for asked in node.alternatives() {
        let (before, error) = errors.last().expect("one has failed");
        if !gives_way(error, is_last_try) {
            break;
        }
        caller.count_fallback();
        let event = json!({
            "from": before, "to": asked.model.0, "provider": asked.provider, "why": tell(error),
        });
        ctx.emit("fallback", event);
        match call(ctx, &asked, caller).await {
            Ok(reply) => return Ok(reply),
            Err(error) => errors.push((asked.model.0, error)),
        }
    }
    Err(together(errors))
}

/// Whether another model may be asked after this.
fn gives_way(error: &CallError, is_last_try: bool) -> bool {
    match error {
        CallError::Unpaid(_) | CallError::Node(NodeError::PutOff { .. } | NodeError::Later { .. }) => true,
        CallError::Node(NodeError::Retryable(_) | NodeError::TimedOut { .. }) => is_last_try,
        CallError::Node(NodeError::Fatal(_) | NodeError::Stopped) => false,
    }
}

/// What it comes to when all have failed: what befell the first one that another try may find better, with what befell the
/// others. It was no try only if none was: what has been paid for is not repeated without being counted.
fn together(mut errors: Vec<(String, CallError)>) -> NodeError {
    let asked = |error: &CallError| !matches!(error, CallError::Node(NodeError::PutOff { .. }));
    let is_any_asked = errors.iter().any(|(_, error)| asked(error));
    let may_help = |error: &CallError| asked(error) && matches!(error, CallError::Node(_));
    let place = errors.iter().position(|(_, error)| may_help(error));
    let place = place.or_else(|| errors.iter().position(|(_, error)| !asked(error))).unwrap_or_default();
    let (_, error) = errors.remove(place);
    let mut error = match error {
        // That a model that stands in fails for good does not mean that the node's own would; one that cannot be paid for does.
        CallError::Node(NodeError::Fatal(failure)) if errors[..place].iter().any(|(_, error)| !is_unpaid(error)) => {
            NodeError::Retryable(failure)
        }
        CallError::Node(NodeError::PutOff { failure, after }) if is_any_asked => NodeError::Later { failure, after },
        CallError::Node(error) => error,
        CallError::Unpaid(failure) => NodeError::Fatal(failure),
    };
    if let Some(failure) = failure_of(&mut error) {
        failure.chain.extend(errors.iter().map(|(model, error)| format!("the model `{model}`: {}", tell(error))));
    }
    error
}

const fn is_unpaid(error: &CallError) -> bool {
    matches!(error, CallError::Unpaid(_))
}

fn tell(error: &CallError) -> String {
    match error {
        CallError::Node(error) => error.to_string(),
        CallError::Unpaid(failure) => failure.to_string(),
    }
}

const fn failure_of(error: &mut NodeError) -> Option<&mut Failure> {
    match error {
        NodeError::Retryable(failure)
        | NodeError::Fatal(failure)
        | NodeError::Later { failure, .. }
        | NodeError::PutOff { failure, .. }
        | NodeError::TimedOut { failure, .. } => Some(failure),
        NodeError::Stopped => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use coxswain_shared::limits::Limit;
    use coxswain_shared::outcome::FailureKind;

    use super::*;

    fn failure(text: &str) -> Failure {
        Failure::new(FailureKind::Outside, text)
    }

    fn put_off(text: &str) -> NodeError {
        NodeError::PutOff { failure: failure(text), after: Duration::from_secs(1) }
    }

    fn later(text: &str) -> NodeError {
        NodeError::Later { failure: failure(text), after: Duration::from_secs(1) }
    }

    fn timed_out(text: &str) -> NodeError {
        NodeError::TimedOut { limit: Limit::IdleTimeout, failure: failure(text) }
    }

    #[test]
    fn a_model_gives_way_as_the_table_says() {
        let errors =
            [put_off(""), later(""), NodeError::retryable(""), timed_out(""), NodeError::fatal(""), NodeError::Stopped];
        let errors = errors.map(CallError::Node);
        assert_eq!(errors.each_ref().map(|error| gives_way(error, false)), [true, true, false, false, false, false]);
        assert_eq!(errors.each_ref().map(|error| gives_way(error, true)), [true, true, true, true, false, false]);
        assert!(gives_way(&CallError::Unpaid(failure("")), false));
    }

    /// What it comes to where the models `a`, `b`, `c` failed so.
    fn all(errors: Vec<impl Into<CallError>>) -> NodeError {
        let named = ["a", "b", "c"].map(str::to_owned).into_iter();
        together(named.zip(errors.into_iter().map(Into::into)).collect())
    }

    #[test]
    fn what_all_come_to_is_no_try_only_if_none_was_asked() {
        let none = all(vec![put_off("1"), put_off("2")]);
        let NodeError::PutOff { failure, .. } = none else { panic!("{none:?}") };
        assert_eq!((failure.message.as_str(), failure.chain), ("1", vec!["the model `b`: 2".to_owned()]));
        let some = all(vec![put_off("1"), timed_out("2"), put_off("3")]);
        let NodeError::TimedOut { failure, .. } = some else { panic!("{some:?}") };
        assert_eq!(failure.chain, ["the model `a`: 1", "the model `c`: 3"]);
        assert!(matches!(all(vec![put_off("1"), NodeError::fatal("no key")]), NodeError::Retryable(_)));
        assert!(matches!(all(vec![later("1"), NodeError::fatal("no key")]), NodeError::Later { .. }));
        assert!(matches!(all(vec![NodeError::fatal("1")]), NodeError::Fatal(_)));
    }

    #[test]
    fn another_try_helps_only_if_one_of_the_models_can_be_paid_for() {
        let unpaid = || CallError::Unpaid(failure("no credit"));
        assert!(matches!(all(vec![unpaid()]), NodeError::Fatal(_)));
        assert!(matches!(all(vec![unpaid(), unpaid()]), NodeError::Fatal(_)));
        assert!(matches!(all(vec![unpaid(), NodeError::fatal("no key").into()]), NodeError::Fatal(_)));
        let broken = all(vec![unpaid(), NodeError::retryable("1").into()]);
        let NodeError::Retryable(failure) = &broken else { panic!("{broken:?}") };
        assert_eq!(failure.chain, ["the model `a`: no credit"]);
        assert!(matches!(all(vec![unpaid(), put_off("1").into()]), NodeError::Later { .. }), "it was a try");
    }
}
