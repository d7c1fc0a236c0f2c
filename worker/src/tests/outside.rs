//! Nodes that call the outside, whatever their kind: the worker that may, their outcomes, and the limits that they hit.

use coxswain_shared::limits::Limit;
use coxswain_shared::outcome::Outcome;
use serde_json::{Value, json};

use super::bench::{Bench, Running, values};
use super::upstream::{Exchange, Upstream};
use crate::{Config, OutsideConfig, Worker};

pub(super) fn config(folder: Option<&std::path::Path>) -> Config {
    let outside = OutsideConfig {
        allow: vec!["127.0.0.1".parse().unwrap()],
        secrets_dir: folder.map(ToOwned::to_owned),
        ..OutsideConfig::default()
    };
    Config { outside, ..Bench::config() }
}

pub(super) fn start(bench: &Bench) -> Running {
    bench.start(Worker::builder(config(None)))
}

/// Runs one node to its end.
pub(super) async fn outcome(bench: &Bench, node: Value) -> Outcome {
    let run = bench.prepare(node, values(json!({"text": "a b", "count": 3})), None).await;
    bench.publish(&run).await;
    bench.settled(&run).await.outcome.expect("a settled task has an outcome")
}

pub(super) fn wrote(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Succeeded { writes, .. } => serde_json::to_value(writes).unwrap(),
        other => panic!("it did not succeed: {other:?}"),
    }
}

pub(super) fn failure(outcome: &Outcome) -> String {
    let failure = outcome.failure().unwrap_or_else(|| panic!("it did not fail: {outcome:?}"));
    format!("{} {}", failure.message, failure.chain.join(" | "))
}

/// Runs one node against a server, and gives its failure once it has hit this limit.
pub(super) async fn hits<F, R>(limit: Limit, node: impl FnOnce(&Upstream) -> Value, answer: F) -> (String, Upstream)
where
    F: Fn(Exchange) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let upstream = Upstream::start(answer).await;
    let bench = Bench::new();
    let running = start(&bench);
    let outcome = outcome(&bench, node(&upstream)).await;
    let Outcome::TimedOut { limit: hit, .. } = &outcome else { panic!("{outcome:?}") };
    assert_eq!(*hit, limit, "{outcome:?}");
    assert_eq!(bench.metric(&format!("cox_limits_hit_total{{limit=\"{limit}\"}}")), 1);
    running.drain().await;
    (failure(&outcome), upstream)
}
