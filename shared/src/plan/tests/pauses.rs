//! Waiting for humans: at a node, and between two steps.

use serde_json::json;

use super::case::{Case, edge_list, graph, said, settled, wired, wrote};
use crate::graph::Graph;
use crate::id::NodeName;
use crate::plan::Then;
use crate::task::TaskState;

fn line() -> Graph {
    wired(&["a", "b", "c"], &json!({"n": {"reducer": "add"}}), &json!([[null, "a"], ["a", "b"], ["b", "c"]]))
}

fn names(names: &[&str]) -> Vec<NodeName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn a_pause_comes_before_the_step_of_a_node_or_after_it_and_not_again_once_resumed() {
    for (before, after, wanted) in [
        (vec!["b"], vec![], ["step 1: a", "pause 2", "step 2: b", "step 3: c", "succeed"].as_slice()),
        (vec![], vec!["b"], &["step 1: a", "step 2: b", "pause 3", "step 3: c", "succeed"]),
        (vec!["a"], vec![], &["pause 1", "step 1: a", "step 2: b", "step 3: c", "succeed"]),
        (vec!["b"], vec!["a"], &["step 1: a", "pause 2", "step 2: b", "step 3: c", "succeed"]),
        (vec!["b"], vec!["b"], &["step 1: a", "pause 2", "step 2: b", "pause 3", "step 3: c", "succeed"]),
        (vec![], vec!["c"], &["step 1: a", "step 2: b", "step 3: c", "succeed"]),
        (vec!["x"], vec!["x"], &["step 1: a", "step 2: b", "step 3: c", "succeed"]),
    ] {
        let mut case = Case::new(line());
        case.spec.interrupt_before = names(&before);
        case.spec.interrupt_after = names(&after);
        let mut story = Vec::new();
        loop {
            let then = case.settle(&[]).advance();
            story.push(said(&then));
            case.resumed = matches!(then, Then::Pause { .. });
            if matches!(then, Then::Succeed | Then::Fail { .. }) {
                break;
            }
        }
        assert_eq!(story, wanted, "before {before:?}, after {after:?}");
    }
}

#[test]
fn a_pause_writes_the_step_that_is_complete_and_going_on_writes_nothing() {
    let mut case = Case::new(line());
    case.spec.interrupt_before = names(&["b"]);
    case.advance();
    case.step(&[("a", wrote(json!({"n": 1})))]);
    assert_eq!((case.last().step.get(), case.state()), (1, json!({"n": 1})));
    assert_eq!(
        case.planned().unwrap().then,
        Then::Pause { step: case.last().step.next() },
        "asked again, it still waits"
    );
    case.resumed = true;
    let planned = case.planned().unwrap();
    assert!(planned.checkpoint.is_none() && planned.changed.is_empty());
    assert_eq!(said(&planned.then), "step 2: b");
}

#[test]
fn a_step_in_which_only_humans_are_waited_for_pauses_and_their_answers_complete_it() {
    let graph = graph(json!({
        "name": "g",
        "state": {"n": {"reducer": "add"}, "verdict": {}},
        "nodes": {
            "ask": {"kind": "interrupt", "into": "verdict"},
            "work": {"kind": "rust", "handler": "h"},
            "after": {"kind": "rust", "handler": "h"},
        },
        "edges": edge_list(&json!([[null, "ask"], [null, "work"], ["ask", "after"]])),
    }));
    let mut case = Case::new(graph);
    assert_eq!(said(&case.advance()), "step 1: ask work");
    let work = case.tasks.iter().position(|task| task.state == TaskState::Queued).unwrap();
    case.tasks[work] = settled(&case.tasks[work].id, wrote(json!({"n": 1})));
    let planned = case.planned().unwrap();
    assert!(planned.checkpoint.is_none() && said(&planned.then) == "pause 1", "{planned:?}");
    assert_eq!(said(&case.step(&[("ask", wrote(json!({"verdict": "yes"})))])), "step 2: after");
    assert_eq!(case.state(), json!({"n": 1, "verdict": "yes"}));
}

#[test]
fn what_a_human_is_to_be_shown_must_evaluate() {
    let graph = graph(json!({
        "name": "g",
        "state": {"n": {}},
        "nodes": {"ask": {"kind": "interrupt", "show": "n + 1"}},
        "edges": edge_list(&json!([[null, "ask"]])),
    }));
    let then = said(&Case::new(graph).advance());
    assert!(
        then.starts_with("fail: node `ask`: its `show` (nodes.ask.show) failed") && then.ends_with("(expression)"),
        "{then}"
    );
}
