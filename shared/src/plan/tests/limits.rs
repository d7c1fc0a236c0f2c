//! The limits of a run: steps and node runs.

use serde_json::{Value, json};

use super::case::{Case, graph, said, wired, wrote};
use crate::plan::Then;
use crate::stop::Cause;

fn round_and_round() -> Value {
    json!([[null, "a"], ["a", "a"], ["a", "b", {"for_each": "list"}]])
}

fn started(max_steps: u64, node_runs: u64) -> Case {
    let mut graph = wired(&["a", "b"], &json!({"list": {"default": []}, "n": {"reducer": "add"}}), &round_and_round());
    graph.limits.max_steps = max_steps;
    graph.limits.node_runs = node_runs;
    Case::new(graph)
}

#[test]
fn one_step_too_many_ends_the_run_with_cause_loop_and_the_last_step_is_kept() {
    let mut case = started(2, 100);
    case.advance();
    assert_eq!(said(&case.step(&[])), "step 2: a");
    let then = case.step(&[("a", wrote(json!({"n": 1})))]);
    let Then::Fail { failure, order: Some(order) } = &then else { panic!("{then:?}") };
    assert_eq!((order.cause, order.actor.as_str()), (Cause::Loop, "scheduler"));
    assert_eq!(order.reason.as_ref(), Some(&failure.message));
    assert!(failure.message.contains("taken 2 steps, and `a` would be due"), "{failure}");
    assert_eq!((case.last().step.get(), case.state()["n"].clone()), (2, json!(1)));
    assert_eq!(case.last().next.len(), 1, "a run that goes on from there knows what was due");
}

#[test]
fn the_runs_own_bound_of_steps_goes_over_the_graphs() {
    for (own, wanted) in [(None, true), (Some(1), false), (Some(3), true), (Some(0), false)] {
        let mut case = started(2, 100);
        case.spec.max_steps = own;
        case.advance();
        let two = case.checkpoint.is_some() && !case.tasks.is_empty() && said(&case.step(&[])) == "step 2: a";
        assert_eq!(two, wanted, "max_steps {own:?}");
    }
}

#[test]
fn no_step_is_started_that_would_go_over_the_budget_of_node_runs() {
    let mut case = started(100, 3);
    case.advance();
    assert_eq!(said(&case.step(&[])), "step 2: a");
    let then = case.step(&[("a", wrote(json!({"list": [1]})))]);
    assert!(said(&then).starts_with("fail [budget]: the run has run 2 nodes, and 2 more are due"), "{then:?}");
    assert_eq!((case.last().step.get(), case.last().node_runs), (2, 2));
    case.graph.limits.node_runs = 4;
    case.resumed = true;
    case.tasks.clear();
    assert_eq!(said(&case.advance()), "step 3: a b", "four fit");
}

#[test]
fn a_limit_is_met_before_a_pause() {
    let mut case = started(1, 100);
    case.spec.interrupt_before = vec!["a".parse().unwrap()];
    assert_eq!(said(&case.advance()), "pause 1");
    case.resumed = true;
    assert_eq!(said(&case.advance()), "step 1: a");
    assert!(said(&case.step(&[])).starts_with("fail [loop]"));
}

#[test]
fn an_empty_graph_succeeds_at_once() {
    let mut case = Case::new(graph(json!({"name": "g", "nodes": {}, "edges": []})));
    assert_eq!(said(&case.advance()), "succeed");
    assert!(case.last().next.is_empty());
}
