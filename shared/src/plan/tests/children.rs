//! Child runs: what they are given, and what becomes of their end.

use std::time::Duration;

use serde_json::{Value, json};

use super::case::{Case, edge_list, graph, said, settled, values};
use crate::graph::{NodeKind, canonical};
use crate::id::TaskId;
use crate::limits::CHILD_DEPTH_MAX;
use crate::outcome::{Failure, FailureKind, Outcome};
use crate::priority::Priority;
use crate::run::RunStatus;
use crate::submission::NewRun;
use crate::task::Dispatch;
use crate::time::Timestamp;

/// A graph whose node `sub` runs a child over `q`, `n` and `x`; `more` are the other fields of that node.
fn parent(more: &Value) -> Case {
    let child = json!({
        "name": "child",
        "state": {"q": {}, "n": {"reducer": "add"}, "x": {}},
        "nodes": {"inner": {"kind": "rust", "handler": "h"}},
        "edges": edge_list(&json!([[null, "inner"]])),
        "limits": {"run_timeout": "20s"},
    });
    let mut sub = json!({"kind": "graph", "graph": child});
    sub.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Case::new(graph(json!({
        "name": "g",
        "state": {"q": {}, "n": {"default": 5}, "answer": {}, "mine": {"default": 1}},
        "nodes": {"sub": sub, "after": {"kind": "rust", "handler": "h"}},
        "edges": edge_list(&json!([[null, "sub"], ["sub", "after"]])),
    })))
    .with_input(json!({"q": "why?"}))
}

fn child(case: &mut Case) -> NewRun {
    let then = case.advance();
    let Some(Dispatch::Child { run }) = case.new_tasks.first().map(|task| task.dispatch.clone()) else {
        panic!("{then:?}")
    };
    *run
}

fn child_ended(status: RunStatus, failure: Option<Failure>) -> Outcome {
    Outcome::ChildEnded { run: "r1.1.sub.0".parse().unwrap(), status, failure: failure.map(Box::new) }
}

fn ended(case: &mut Case, status: RunStatus, state: Option<Value>) -> String {
    let id: TaskId = case.tasks[0].id.clone();
    case.tasks = vec![settled(&id, child_ended(status, None))];
    case.children.extend(state.map(|state| (id, values(state))));
    said(&case.advance())
}

#[test]
fn a_child_has_its_own_thread_its_parents_task_and_the_channels_of_the_same_names() {
    let mut case = parent(&json!({}));
    case.spec.actor = "ann@host".to_owned();
    case.spec.priority = Priority::Low;
    let run = child(&mut case);
    assert_eq!(run.spec.priority, Priority::Low, "it is as urgent as its parent");
    assert_eq!((run.id.as_str(), run.thread.as_str(), run.graph.as_str()), ("r1.1.sub.0", "r1.1.sub.0", "child"));
    let NodeKind::Graph(node) = &case.graph.nodes["sub"].kind else { panic!("`sub` is a child") };
    assert_eq!(run.graph_hash, canonical::hash(&node.graph), "as its submitter stores it");
    let parent = run.parent.unwrap();
    assert_eq!((parent.run, parent.task, parent.depth), (case.run.clone(), case.tasks[0].id.clone(), 1));
    assert_eq!(run.spec.input, values(json!({"q": "why?", "n": 5})));
    assert_eq!((run.spec.actor.as_str(), run.spec.max_steps), ("ann@host", None));
}

#[test]
fn its_input_can_be_expressions_or_only_what_the_node_reads() {
    let run = child(&mut parent(&json!({"input": {"q": "q | upper", "x": "[n, mine]"}})));
    assert_eq!(run.spec.input, values(json!({"q": "WHY?", "x": [5, 1]})));
    let run = child(&mut parent(&json!({"reads": ["n", "mine"]})));
    assert_eq!(run.spec.input, values(json!({"n": 5})));
    let then = said(&parent(&json!({"input": {"q": "answer"}})).advance());
    assert!(
        then.contains("node `sub`: the expression of its `input.q` failed") && then.ends_with("(expression)"),
        "{then}"
    );
}

#[test]
fn its_time_is_the_least_of_its_own_its_tasks_and_what_its_parent_has_left() {
    for (timeout, deadline, wanted) in [
        ("10m", None, Duration::from_secs(20)),
        ("7s", None, Duration::from_secs(7)),
        ("7s", Some(4_000), Duration::from_secs(3)),
        ("7s", Some(0), Duration::from_millis(1)),
    ] {
        let mut case = parent(&json!({"timeout": timeout}));
        case.run_deadline = deadline.map(Timestamp::from_millis);
        assert_eq!(child(&mut case).run_timeout, wanted, "{timeout}, {deadline:?}");
    }
}

#[test]
fn children_nest_only_so_deep() {
    let mut case = parent(&json!({}));
    case.depth = CHILD_DEPTH_MAX - 1;
    assert_eq!(child(&mut case.clone()).parent.unwrap().depth, CHILD_DEPTH_MAX);
    case.depth += 1;
    let then = said(&case.advance());
    assert!(then.contains("nested 9 deep, more than 8") && then.ends_with("(exhausted)"), "{then}");
}

#[test]
fn what_a_child_leaves_is_written_by_name_by_expression_or_whole() {
    let state = json!({"q": "done", "n": 7, "x": 1});
    for (more, wanted) in [
        (json!({}), json!({"q": "done", "n": 7, "mine": 1})),
        (json!({"output": {"answer": "x + n", "n": "0"}}), json!({"q": "why?", "n": 0, "answer": 8, "mine": 1})),
        (json!({"into": "answer"}), json!({"q": "why?", "n": 5, "answer": state, "mine": 1})),
        (
            json!({"into": "answer", "output": {"sum": "x + n"}}),
            json!({"q": "why?", "n": 5, "answer": {"sum": 8}, "mine": 1}),
        ),
    ] {
        let mut case = parent(&more);
        case.advance();
        assert_eq!(ended(&mut case, RunStatus::Succeeded, Some(state.clone())), "step 2: after", "{more}");
        assert_eq!(case.state(), wanted, "{more}");
    }
}

#[test]
fn a_child_that_ends_badly_fails_its_task_and_the_nodes_policy_holds() {
    for (status, state, words) in [
        (RunStatus::Failed, None, "child run `r1.1.sub.0` ended as failed (child)"),
        (RunStatus::TimedOut, None, "ended as timed_out (child)"),
        (RunStatus::Cancelled, None, "ended as cancelled (child)"),
        (RunStatus::Succeeded, None, "the state of its child run `r1.1.sub.0` is not there (child)"),
    ] {
        let mut case = parent(&json!({}));
        case.advance();
        let then = ended(&mut case, status, state);
        assert!(then.starts_with("fail: node `sub`: ") && then.ends_with(words), "{then}");
    }
    let mut case = parent(&json!({}));
    case.advance();
    let why = Failure::new(FailureKind::Exhausted, "it goes round").at(&"a".parse().unwrap());
    case.tasks = vec![settled(&case.tasks[0].id, child_ended(RunStatus::Failed, Some(why)))];
    let then = said(&case.advance());
    assert!(then.ends_with("child run `r1.1.sub.0` ended as failed: node `a`: it goes round (child)"), "{then}");

    let mut case = parent(&json!({"on_failure": {"continue": {"answer": "none"}}}));
    case.advance();
    assert_eq!(ended(&mut case, RunStatus::Failed, None), "step 2: after");
    assert_eq!(case.state()["answer"], "none");
}

#[test]
fn an_output_that_does_not_evaluate_fails_the_task() {
    let mut case = parent(&json!({"output": {"answer": "y"}}));
    case.advance();
    let then = ended(&mut case, RunStatus::Succeeded, Some(json!({"x": 1})));
    assert!(then.starts_with("fail: node `sub`: the expression of its `output.answer` failed"), "{then}");
    assert!(then.ends_with("(expression)"), "{then}");
}
