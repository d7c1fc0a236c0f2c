//! What a failure does: ends the run, is stood in for, or goes to a handler.

use serde_json::{Value, json};

use super::case::{Case, edge_list, failed, graph, said, unsettled, wrote};
use crate::id::Step;
use crate::limits::Limit;
use crate::outcome::{Failure, FailureKind, Outcome};
use crate::task::TaskState;

/// `a` and `b` side by side, then `after`; `rescue` stands apart. What a failure of `a` does is `on_failure`.
fn started(on_failure: &Value, failure_channel: &Value) -> Case {
    let rust = |on_failure: &Value| json!({"kind": "rust", "handler": "h", "on_failure": on_failure});
    let mut state = json!({"out": {}, "log": {"reducer": "append"}});
    if !failure_channel.is_null() {
        state["failure"] = failure_channel.clone();
    }
    let fail = json!("fail");
    let mut case = Case::new(graph(json!({
        "name": "g",
        "state": state,
        "nodes": {"a": rust(on_failure), "b": rust(on_failure), "c": rust(&fail), "after": rust(&fail), "rescue": rust(&fail)},
        "edges": edge_list(&json!([[null, "a"], [null, "b"], [null, "c"], ["a", "after"]])),
    })));
    case.advance();
    case
}

#[test]
fn a_failure_ends_the_run_with_the_first_in_order_and_the_last_checkpoint_stays() {
    let bad: [(Outcome, &str); 4] = [
        (failed("no luck"), "fail: node `a`: no luck (handler)"),
        (
            Outcome::TimedOut {
                limit: Limit::AttemptTimeout,
                failure: Failure::new(FailureKind::TimedOut, "no answer within 2 s"),
            },
            "fail: node `a`: no answer within 2 s (timed_out)",
        ),
        (
            Outcome::Crashed { failure: Failure::new(FailureKind::Crashed, "3 workers died") },
            "fail: node `a`: 3 workers died (crashed)",
        ),
        (Outcome::stopped(Some(json!(1))), "fail: node `a`: it was stopped (stopped)"),
    ];
    for (outcome, wanted) in bad {
        let mut case = started(&json!("fail"), &Value::Null);
        let then = case.step(&[("c", failed("later in order")), ("a", outcome), ("b", wrote(json!({"out": 1})))]);
        assert_eq!(said(&then), wanted);
        assert_eq!((case.last().step, case.state()), (Step::new(0), json!({"log": []})));
    }
}

#[test]
fn a_fallback_is_written_instead_and_the_edges_are_followed_as_usual() {
    let mut case = started(&json!({"continue": {"out": "none", "log": "fell back"}}), &json!({}));
    let then = case.step(&[("a", failed("no luck")), ("b", wrote(json!({"log": "b"})))]);
    assert_eq!(said(&then), "step 2: after");
    assert_eq!(case.state(), json!({"out": "none", "log": ["fell back", "b"]}));
    let ran = &case.last().ran[0];
    assert_eq!(ran.handled.as_deref(), Some("fallback"));
    assert_eq!(ran.failure.as_ref().unwrap().message, "no luck");
}

#[test]
fn a_handler_is_due_instead_of_the_nodes_edges_and_reads_the_failure() {
    let mut case = started(&json!({"goto": "rescue"}), &json!({}));
    assert_eq!(said(&case.step(&[("a", failed("no luck"))])), "step 2: rescue");
    assert_eq!(
        case.state()["failure"],
        json!({"node": "a", "kind": "handler", "message": "no luck", "outcome": "failed"})
    );
    let ran = &case.last().ran[0];
    assert_eq!((ran.handled.as_deref(), ran.wrote.len()), (Some("goto rescue"), 1));
}

#[test]
fn without_a_channel_for_it_the_failure_is_in_history_alone() {
    let mut case = started(&json!({"goto": "rescue"}), &Value::Null);
    assert_eq!(said(&case.step(&[("a", failed("no luck"))])), "step 2: rescue");
    assert_eq!(case.state(), json!({"log": []}));
    assert!(case.last().ran[0].failure.is_some());
}

#[test]
fn two_failures_at_once_are_no_conflict_a_last_channel_has_the_first_and_a_list_both() {
    let both = [("a", failed("one")), ("b", failed("two"))];
    let mut single = started(&json!({"goto": "rescue"}), &json!({}));
    assert_eq!(said(&single.step(&both)), "step 2: rescue");
    assert_eq!(single.state()["failure"]["message"], "one");
    let mut list = started(&json!({"goto": "rescue"}), &json!({"reducer": "append"}));
    assert_eq!(said(&list.step(&both)), "step 2: rescue");
    assert_eq!(list.state()["failure"].as_array().unwrap().len(), 2);
}

#[test]
fn one_failed_item_sends_its_whole_node_to_the_handler_but_the_others_writes_are_kept() {
    let rust = json!({"kind": "rust", "handler": "h"});
    let work = json!({"kind": "rust", "handler": "h", "on_failure": {"goto": "rescue"}});
    let mut case = Case::new(graph(json!({
        "name": "g",
        "state": {"list": {"default": [1, 2]}, "log": {"reducer": "append"}},
        "nodes": {"work": work, "after": rust, "rescue": rust},
        "edges": edge_list(&json!([[null, "work", {"for_each": "list"}], ["work", "after"]])),
    })));
    case.advance();
    let then = case.step(&[("work:0", failed("no")), ("work:1", wrote(json!({"log": "fine"})))]);
    assert_eq!(said(&then), "step 2: rescue");
    assert_eq!(case.state()["log"], json!(["fine"]));
}

#[test]
fn a_failure_does_not_wait_for_a_human() {
    let mut case = started(&json!("fail"), &Value::Null);
    case.settle(&[("c", failed("no"))]);
    case.tasks[0] = unsettled(&case.tasks[0].id, TaskState::Human);
    assert_eq!(said(&case.advance()), "fail: node `c`: no (handler)");
}
