//! The fields of a policy: limits, retries, and what a failure does.

use std::time::Duration;

use super::field::{Field, field};
use super::shape::Shape;
use crate::duration::show;
use crate::graph::policy::{Backoff, Retry};
use crate::limits::{Limit, MAX_CRASHES, RETRY_ATTEMPTS_MAX};

/// The fields that every node and `defaults` may have.
pub(super) fn fields() -> Vec<Field> {
    let pool = field("pool", Shape::Name, "The workers it runs on").default("`default`");
    let limits = Limit::ALL.into_iter().filter(|limit| *limit != Limit::RunTimeout).map(limit);
    let rest = [
        field("retry", Shape::Own("retry", "mapping, see [below](#retry)"), "How often a failed try is repeated"),
        field(
            "max_crashes",
            Shape::Count(1, Some(100)),
            "Crashes of its worker while it ran alone, before the task is given up",
        )
        .default(format!("`{MAX_CRASHES}`")),
        field(
            "on_failure",
            Shape::Own("on_failure", "`fail`, `continue`, `{ continue: { channel: value } }`, `{ goto: node }`"),
            "What a failure does, once no try is left: it fails the run; the run goes on as if the node had written \
             this; or it goes on at another node",
        )
        .default("`fail`"),
    ];
    [pool].into_iter().chain(limits).chain(rest).collect()
}

fn limit(limit: Limit) -> Field {
    let outside = "an answer from the outside (`http`, `llm`, `vector_search`, `vector_upsert`)";
    let (meaning, default) = match limit {
        Limit::RunTimeout => ("The whole run, from its start".to_owned(), None),
        Limit::Timeout => ("The time of the task, queueing and retries included".to_owned(), None),
        Limit::QueueTimeout => ("The time to wait for a worker".to_owned(), Some("the task's `timeout`")),
        Limit::AttemptTimeout => ("The time of one try".to_owned(), None),
        Limit::ConnectTimeout => {
            ("The time to connect to the outside (`http`, `llm`, `vector_search`, `vector_upsert`)".to_owned(), None)
        }
        Limit::FirstByteTimeout => {
            (format!("The time to the first byte or token of {outside}, connecting included"), None)
        }
        Limit::IdleTimeout => (
            format!("The silence between signs of progress, or between the bytes or tokens of {outside}"),
            Some("`30s` for the outside, else none"),
        ),
        Limit::Grace => ("The time to clean up after a stop".to_owned(), None),
    };
    let default = default.map_or_else(|| format!("`{}`", show(limit.default())), ToOwned::to_owned);
    field(limit.name(), Shape::limit(limit), meaning).default(default)
}

/// The fields of `retry`.
pub(super) fn retry() -> Vec<Field> {
    let pause = Shape::Time(Duration::ZERO, Limit::Timeout.ceiling());
    let standard = Backoff::STANDARD;
    vec![
        field("attempts", Shape::Count(1, Some(RETRY_ATTEMPTS_MAX.into())), "Tries in all; 1 means no retry")
            .default(format!("`{}`", Retry::ONCE.attempts)),
        field("first", pause.clone(), "The pause before the second try")
            .default(format!("`{}`", show(standard.first))),
        field("factor", Shape::Number(1.0, 100.0), "How the pause grows from try to try")
            .default(format!("`{}`", standard.factor)),
        field("max", pause, "The longest pause").default(format!("`{}`, or `first` if that is longer", show(standard.max))),
        field(
            "jitter",
            Shape::Word(vec!["full", "equal", "none"]),
            "How the pause is spread: evenly between nothing and the pause, between half of it and all of it, or not at all",
        )
        .default("`full`"),
    ]
}
