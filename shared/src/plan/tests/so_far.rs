//! What a step that was not completed has come to.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::case::{Case, edge_list, failed, graph, wrote};
use crate::outcome::Outcome;
use crate::plan::{Incomplete, so_far};

/// A run that was stopped while `work` was at three items; its fan-out is this, and these had settled.
fn stopped(fan_out: &Value, on_failure: &str, settled: &[(&str, Outcome)]) -> Value {
    let work = json!({"kind": "rust", "handler": "h", "into": "out", "on_failure": on_failure});
    let mut case = Case::new(graph(json!({
        "name": "g",
        "state": {"items": {"default": [1, 2, 3]}, "out": {"reducer": "append", "default": ["before"]}, "results": {}},
        "nodes": {"work": work},
        "edges": edge_list(&json!([[null, "work", {"for_each": "items", "fan_out": fan_out}]])),
    })));
    case.advance();
    case.settle(settled);
    for task in &mut case.tasks {
        let named = |(name, _): &&(&str, Outcome)| *name == format!("work:{}", task.id.item);
        if settled.iter().find(named).is_none() {
            task.outcome = Some(Outcome::stopped(Some("half of it".into())));
        }
    }
    // The last one never came to its turn.
    case.tasks[2].outcome = None;
    let incomplete = Incomplete {
        graph: &case.graph,
        run: &case.run,
        checkpoint: case.checkpoint.as_ref().unwrap(),
        values: &case.values,
        tasks: &case.tasks,
        children: &BTreeMap::new(),
        evaluator: &crate::expr::Here,
    };
    serde_json::to_value(so_far(&incomplete).unwrap()).unwrap()
}

#[test]
fn what_has_succeeded_stands_beside_what_was_there_before() {
    let told = stopped(&json!({}), "fail", &[("work:0", wrote(json!({"out": ["one"]})))]);
    assert_eq!(told, json!({"out": ["before", "one"]}));
}

#[test]
fn a_list_of_results_has_each_items_with_what_was_written_when_it_stopped() {
    let fan_out = json!({"policy": "collect", "results": "results"});
    let told = stopped(&fan_out, "fail", &[("work:0", wrote(json!({"out": ["one"]})))]);
    let entries = json!([
        {"item": 0, "outcome": "succeeded", "value": ["one"]},
        {"item": 1, "outcome": "stopped", "partial": "half of it"},
        {"item": 2, "outcome": "stopped"},
    ]);
    assert_eq!(told, json!({"results": entries}));
}

#[test]
fn a_failure_that_would_have_ended_the_run_takes_nothing_away_from_the_others() {
    let outcomes = [("work:0", wrote(json!({"out": ["one"]}))), ("work:1", failed("no"))];
    assert_eq!(stopped(&json!({}), "fail", &outcomes), json!({"out": ["before", "one"]}));
    let quorum = json!({"policy": {"quorum": 3}});
    assert_eq!(stopped(&quorum, "fail", &outcomes), json!({"out": ["before", "one"]}), "too few for its policy");
}
