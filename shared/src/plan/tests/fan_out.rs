//! Fan-outs whose items are dealt with together: turns, policies, and one list of results.

use serde_json::{Value, json};

use super::case::{Case, edge_list, failed, graph, said, settled, wrote};
use crate::graph::{Edge, Expression};
use crate::id::{ChannelName, NodeName, Step};
use crate::outcome::Outcome;
use crate::plan::{Base, Then};
use crate::submission::Start;
use crate::task::{Dispatch, Group};

/// `work` for each of the items, then `after`; `rescue` stands apart. `fan_out` is what the edge says of the items.
fn started(items: &Value, fan_out: &Value, on_failure: &Value) -> (Case, Then) {
    let work = json!({"kind": "rust", "handler": "h", "into": "out", "on_failure": on_failure});
    let other = json!({"kind": "rust", "handler": "h"});
    let mut case = Case::new(graph(json!({
        "name": "g",
        "state": {"items": {"default": items}, "out": {}, "results": {}, "log": {"reducer": "append"}, "failure": {}},
        "nodes": {"work": work, "after": other, "rescue": other},
        "edges": edge_list(&json!([
            [null, "work", {"for_each": "items", "fan_out": fan_out}],
            ["work", "after"]
        ])),
    })));
    let then = case.advance();
    (case, then)
}

fn groups(then: &Then) -> Vec<Group> {
    let Then::Step { groups, .. } = then else { panic!("no step: {then:?}") };
    groups.clone()
}

fn skipped() -> Outcome {
    Outcome::Stopped { partial: None, skipped: true, why: Some("by its fan-out".into()) }
}

const FAIL: &str = "fail";

fn node_into(channel: &str) -> Value {
    json!({"kind": "rust", "handler": "h", "into": channel})
}

#[test]
fn so_many_items_are_sent_as_may_run_at_once_and_the_others_wait_for_their_turn() {
    let (case, then) = started(&json!([1, 2, 3]), &json!({"concurrency": 2}), &json!(FAIL));
    let turns: Vec<_> = case.new_tasks.iter().map(|task| matches!(task.dispatch, Dispatch::Pending { .. })).collect();
    assert_eq!(turns, [false, false, true]);
    assert!(case.new_tasks.iter().all(|task| task.group == Some(0) && task.fails_run));
    let node = case.new_tasks[0].id.node.clone();
    assert_eq!(groups(&then), [Group { node, first: 0, count: 3, need: None, may_fail: None }]);
}

#[test]
fn child_runs_take_turns_like_tasks_of_workers() {
    let child = json!({
        "name": "child", "state": {"x": {}}, "edges": edge_list(&json!([[null, "a"]])),
        "nodes": {"a": {"kind": "rust", "handler": "h"}},
    });
    let mut case = Case::new(graph(json!({
        "name": "g", "state": {"items": {"default": [1, 2, 3]}},
        "nodes": {"sub": {"kind": "graph", "graph": child}},
        "edges": edge_list(&json!([[null, "sub", {"for_each": "items", "fan_out": {"concurrency": 2}}]])),
    })));
    let then = case.advance();
    let turns: Vec<_> = case.new_tasks.iter().map(|task| task.dispatch.is_pending()).collect();
    assert_eq!(turns, [false, false, true]);
    assert!(case.new_tasks.iter().all(|task| task.dispatch.child().is_some() && task.group == Some(0)));
    assert_eq!(groups(&then)[0].count, 3);
}

#[test]
fn a_plain_fan_out_has_no_group() {
    let (case, then) = started(&json!([1, 2]), &json!({}), &json!(FAIL));
    assert_eq!((groups(&then), case.new_tasks[0].group), (vec![], None));
}

#[test]
fn the_store_is_told_when_a_fan_out_is_decided() {
    for (policy, need, may_fail) in [
        (json!("collect"), None, None),
        (json!("fail_fast"), None, Some(0)),
        (json!({"quorum": 2}), Some(2), Some(1)),
        (json!("race"), Some(1), Some(2)),
    ] {
        let fan_out = json!({"policy": policy, "results": "results"});
        let (case, then) = started(&json!([1, 2, 3]), &fan_out, &json!(FAIL));
        let told = groups(&then);
        assert_eq!(
            told.first().map_or((None, None), |group| (group.need, group.may_fail)),
            (need, may_fail),
            "{policy}"
        );
        assert_eq!(case.new_tasks[0].fails_run, policy == "fail_fast", "{policy}");
    }
}

#[test]
fn collected_results_are_one_list_in_the_order_of_the_items_whatever_became_of_them() {
    let fan_out = json!({"policy": "collect", "results": "results"});
    let (mut case, _) = started(&json!([1, 2, 3]), &fan_out, &json!(FAIL));
    let then = case.step(&[
        ("work:0", wrote(json!({"out": "one"}))),
        ("work:1", failed("no luck")),
        ("work:2", wrote(json!({"out": "three", "log": "x"}))),
    ]);
    assert_eq!(said(&then), "step 2: after");
    assert_eq!(
        case.state()["results"],
        json!([
            {"item": 0, "outcome": "succeeded", "value": "one"},
            {"item": 1, "outcome": "failed", "failure": {"kind": "handler", "message": "no luck"}},
            {"item": 2, "outcome": "succeeded", "value": "three"},
        ])
    );
    assert_eq!((&case.state()["log"], case.state().get("out")), (&json!([]), None), "they write nowhere else");
    let ran = &case.last().ran[1];
    assert_eq!((ran.handled.as_deref(), ran.failure.is_some()), (Some("collect"), true));
}

#[test]
fn the_winner_of_a_race_writes_alone_and_its_losers_are_no_failures() {
    let (mut case, _) = started(&json!([1, 2, 3]), &json!({"policy": "race"}), &json!(FAIL));
    let then =
        case.step(&[("work:0", failed("no luck")), ("work:1", wrote(json!({"out": "two"}))), ("work:2", skipped())]);
    assert_eq!(said(&then), "step 2: after");
    assert_eq!(case.state()["out"], "two");
}

#[test]
fn a_race_that_nobody_wins_fails_once_with_the_first_failure() {
    let bad = [("work:0", failed("one")), ("work:1", failed("two"))];
    let (mut case, _) = started(&json!([1, 2]), &json!({"policy": "race"}), &json!(FAIL));
    assert_eq!(
        said(&case.step(&bad)),
        "fail: node `work`: 0 of its 2 items succeeded, fewer than the 1 needed (race): the first failure: one (fan_out)"
    );
    let fallback = json!({"continue": {"log": "nobody"}});
    let (mut case, _) = started(&json!([1, 2]), &json!({"policy": "race"}), &fallback);
    assert_eq!(said(&case.step(&bad)), "step 2: after");
    assert_eq!(case.state()["log"], json!(["nobody"]), "once, not for each item");
    let (mut case, _) = started(&json!([1, 2]), &json!({"policy": "race"}), &json!({"goto": "rescue"}));
    assert_eq!(said(&case.step(&bad)), "step 2: rescue");
    assert_eq!(case.state()["failure"]["kind"], "fan_out");
}

#[test]
fn a_quorum_that_is_not_reached_leaves_what_succeeded_unwritten() {
    let fan_out = json!({"policy": {"quorum": 2}, "results": "results"});
    let (mut case, _) = started(&json!([1, 2, 3]), &fan_out, &json!({"goto": "rescue"}));
    let then = case.step(&[("work:0", wrote(json!({"out": 1}))), ("work:1", failed("a")), ("work:2", failed("b"))]);
    assert_eq!(said(&then), "step 2: rescue");
    let results = &case.state()["results"];
    assert_eq!(results[0], json!({"item": 0, "outcome": "succeeded", "value": 1}), "but it is in the list");
    assert_eq!(results.as_array().unwrap().len(), 3);
}

#[test]
fn items_that_an_operator_skips_do_not_make_a_quorum() {
    let (mut case, _) = started(&json!([1, 2]), &json!({"policy": {"quorum": 2}}), &json!(FAIL));
    let then = case.step(&[("work:0", wrote(json!({"out": 1}))), ("work:1", skipped())]);
    assert_eq!(
        said(&then),
        "fail: node `work`: 1 of its 2 items succeeded, fewer than the 2 needed (quorum: 2) (fan_out)"
    );
}

#[test]
fn a_quorum_of_more_than_there_are_items_is_refused_at_once() {
    let (_, then) = started(&json!([1]), &json!({"policy": {"quorum": 2}}), &json!(FAIL));
    assert_eq!(
        said(&then),
        "fail: node `work`: its fan-out (quorum: 2) needs more successes than it has items, 1 (fan_out)"
    );
}

#[test]
fn failing_fast_hands_the_first_failure_to_the_node_and_keeps_what_succeeded_before() {
    let (mut case, _) = started(&json!([1, 2, 3]), &json!({"policy": "fail_fast"}), &json!({"goto": "rescue"}));
    let then =
        case.step(&[("work:0", wrote(json!({"log": "done"}))), ("work:1", failed("first")), ("work:2", skipped())]);
    assert_eq!(said(&then), "step 2: rescue");
    assert_eq!((&case.state()["log"], &case.state()["failure"]["message"]), (&json!(["done"]), &json!("first")));
}

#[test]
fn a_run_that_goes_on_needs_fewer_successes_by_those_it_has_already() {
    for (policy, need, settled_now) in [(json!({"quorum": 2}), Some(1), 1), (json!("race"), None, 3)] {
        let (case, _) = started(&json!([1, 2, 3]), &json!({"policy": policy}), &json!(FAIL));
        let mut again = Case::new(case.graph.clone());
        let done = settled(&case.new_tasks[1].id, wrote(json!({"log": "kept"})));
        again.spec.start = Start::From { run: case.run.clone(), step: Step::new(0), update: [].into() };
        again.base = Some(Base {
            run: case.run.clone(),
            checkpoint: case.last().clone(),
            values: case.values.clone(),
            settled: vec![done],
        });
        let then = again.advance();
        assert_eq!(groups(&then).first().and_then(|group| group.need), need, "{policy}");
        let is_settled = |task: &&crate::task::NewTask| matches!(task.dispatch, Dispatch::Settled { .. });
        assert_eq!(again.new_tasks.iter().filter(is_settled).count(), settled_now, "{policy}");
        let good = wrote(json!({"log": "new"}));
        let then = again.step(&[("work:0", good), ("work:2", skipped())]);
        assert_eq!(said(&then), "step 2: after", "{policy}");
    }
}

#[test]
fn a_fan_out_over_nothing_has_an_empty_list_of_results_and_not_that_of_the_round_before() {
    let rules = json!({"policy": "collect", "results": "results"});
    let (case, then) = started(&json!([]), &rules, &json!(FAIL));
    assert_eq!((said(&then).as_str(), &case.state()["results"]), ("step 1: after", &json!([])), "at the start");

    let mut case = Case::new(graph(json!({
        "name": "g",
        "state": {"items": {"default": [1]}, "results": {}, "log": {"reducer": "append"}, "kept": {}, "out": {}},
        "nodes": {"work": node_into("out"), "again": node_into("kept"), "look": node_into("log"), "after": node_into("log")},
        "edges": edge_list(&json!([
            [null, "work", {"for_each": "items", "fan_out": rules}],
            ["work", "look", {"when": {"if": "results | length > 0"}}],
            ["work", "after", {"when": "otherwise"}],
            // What is made from these results is passed over with them, though it was due first.
            ["look", "again", {"for_each": "results", "fan_out": {"policy": "collect", "results": "kept"}}],
            ["look", "work", {"for_each": "items", "fan_out": rules}],
        ])),
    })));
    case.advance();
    assert_eq!(said(&case.step(&[("work", wrote(json!({"out": "a"})))])), "step 2: look");
    assert_eq!(case.state()["results"].as_array().unwrap().len(), 1);
    case.values.insert(ChannelName::new("items").unwrap(), json!([]));
    assert_eq!(said(&case.step(&[])), "step 3: after", "its edges are asked on what it has left: nothing");
    assert_eq!((&case.state()["results"], &case.state()["kept"]), (&json!([]), &json!([])));
    let step = Some(&Step::new(2));
    assert_eq!((case.last().versions.get("results"), case.last().versions.get("kept")), (step, step));
}

#[test]
fn a_list_of_results_that_grows_keeps_what_it_has_when_there_is_nothing_to_do() {
    let (mut case, _) = started(&json!([1]), &json!({"policy": "collect", "results": "log"}), &json!(FAIL));
    case.values.insert(ChannelName::new("log").unwrap(), json!(["before"]));
    let edge = case.graph.edges[0].clone();
    case.graph.edges[1] =
        Edge { from: vec![NodeName::new("work").unwrap()], for_each: Some(Expression("[]".into())), ..edge };
    case.step(&[]);
    assert_eq!(case.state()["log"].as_array().unwrap().len(), 2);
}
