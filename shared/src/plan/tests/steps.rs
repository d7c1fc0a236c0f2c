//! Steps, state and checkpoints.

use serde_json::{Value, json};

use super::case::{Case, said, settled, unsettled, wired, wrote};
use crate::checkpoint::{CHECKPOINT_FORMAT, Source};
use crate::graph::Graph;
use crate::id::Step;
use crate::plan::Error;
use crate::priority::Priority;
use crate::task::{Dispatch, TaskState};

fn line() -> Graph {
    let state = json!({"n": {"reducer": "add"}, "log": {"reducer": "append"}, "last": {}});
    wired(&["a", "b"], &state, &json!([[null, "a"], ["a", "b"], ["b", null]]))
}

#[test]
fn the_first_plan_applies_the_input_as_checkpoint_0_and_dispatches_step_1() {
    let mut case = Case::new(line()).with_input(json!({"n": 3, "log": "hi"}));
    assert_eq!(said(&case.advance()), "step 1: a");
    assert_eq!(case.state(), json!({"n": 3, "log": ["hi"]}));
    let checkpoint = case.last();
    assert_eq!((checkpoint.step, &checkpoint.source, checkpoint.node_runs), (Step::new(0), &Source::Input, 0));
    assert_eq!(serde_json::to_value(&checkpoint.versions).unwrap(), json!({"n": 0, "log": 0}));
    assert_eq!(serde_json::to_value(&checkpoint.next).unwrap(), json!([{"node": "a"}]));
}

#[test]
fn a_step_writes_its_checkpoint_with_the_versions_it_changed_and_the_run_ends_where_nothing_is_due() {
    let mut case = Case::new(line());
    case.advance();
    assert_eq!(said(&case.step(&[("a", wrote(json!({"n": 1, "last": "x"})))])), "step 2: b");
    assert_eq!(said(&case.step(&[("b", wrote(json!({"n": 2})))])), "succeed");
    assert_eq!(case.state(), json!({"n": 3, "log": [], "last": "x"}));
    let checkpoint = case.last();
    assert_eq!((checkpoint.step, checkpoint.node_runs), (Step::new(2), 2));
    assert_eq!(serde_json::to_value(&checkpoint.versions).unwrap(), json!({"n": 2, "log": 0, "last": 1}));
    assert_eq!(checkpoint.ran.len(), 1);
    assert_eq!(checkpoint.ran[0].wrote.iter().map(crate::id::ChannelName::as_str).collect::<Vec<_>>(), ["n"]);
}

#[test]
fn the_state_of_the_thread_is_taken_over_as_far_as_the_graph_declares_it() {
    let mut first = Case::new(line()).with_input(json!({"n": 3, "log": "hi", "last": 1}));
    first.advance();
    let mut values = first.values.clone();
    values.insert("gone".parse().unwrap(), json!(1));
    let mut case = Case::new(line()).with_input(json!({"n": 1, "log": "ho"}));
    case.base = Some(crate::plan::Base {
        run: first.run.clone(),
        checkpoint: first.last().clone(),
        values,
        settled: Vec::new(),
    });
    assert_eq!(said(&case.advance()), "step 1: a");
    assert_eq!(case.state(), json!({"n": 4, "log": ["hi", "ho"], "last": 1}));
    assert_eq!(case.last().source, Source::Input);
}

#[test]
fn bad_input_fails_the_run_and_names_the_channel() {
    for (input, words) in [
        (json!({"N": 1}), "the input wrote channel `N`, which the graph does not declare: did you mean `n`?"),
        (json!({"n": "1"}), "the input wrote a string to channel `n`"),
    ] {
        let then = said(&Case::new(line()).with_input(input).advance());
        assert!(then.starts_with(&format!("fail: {words}")) && then.ends_with("(bad_input)"), "{then}");
    }
}

#[test]
fn two_nodes_beside_each_other_see_the_same_state_and_conflict_on_a_last_channel() {
    let graph =
        wired(&["a", "b"], &json!({"last": {}, "log": {"reducer": "append"}}), &json!([[null, "a"], [null, "b"]]));
    let mut case = Case::new(graph);
    assert_eq!(said(&case.advance()), "step 1: a b");
    let mut fine = case.clone();
    fine.step(&[("b", wrote(json!({"log": "b"}))), ("a", wrote(json!({"log": "a"})))]);
    assert_eq!(fine.state(), json!({"log": ["a", "b"]}), "by node, whoever was first");
    let then = said(&case.step(&[("a", wrote(json!({"last": 1}))), ("b", wrote(json!({"last": 1})))]));
    assert!(then.starts_with("fail: node `b`: nodes `a` and `b` both wrote channel `last`"), "{then}");
    assert_eq!(case.last().step, Step::new(0), "the last checkpoint stays");
}

#[test]
fn an_undeclared_channel_fails_the_run_by_the_name_of_the_node() {
    let mut case = Case::new(line());
    case.advance();
    let then = said(&case.step(&[("a", wrote(json!({"lgo": 1})))]));
    assert!(then.contains("node `a` wrote channel `lgo`") && then.contains("did you mean `log`?"), "{then}");
}

#[test]
fn records_that_do_not_fit_leave_the_run_as_it_is() {
    let mut case = Case::new(line());
    case.advance();
    let ready = case.clone();

    case.tasks = vec![unsettled(&ready.tasks[0].id, TaskState::Leased)];
    assert!(matches!(case.planned(), Err(Error::NotReady { state: TaskState::Leased, .. })));
    case.tasks = vec![settled(&"2:a:0".parse().unwrap(), wrote(json!({})))];
    assert!(matches!(case.planned(), Err(Error::Misplaced { .. })));
    case.tasks = vec![settled(&ready.tasks[0].id, wrote(json!({}))); 2];
    assert!(matches!(case.planned(), Err(Error::Misplaced { .. })));
    case.tasks = vec![settled(&"1:b:0".parse().unwrap(), wrote(json!({})))];
    assert!(matches!(case.planned(), Err(Error::MissingTask { .. })));
    case.tasks.clear();
    assert!(matches!(case.planned(), Err(Error::MissingTask { .. })), "tasks out of sight are not made again");

    let mut newer = ready;
    newer.checkpoint.as_mut().unwrap().format = CHECKPOINT_FORMAT + 1;
    let error = newer.planned().unwrap_err();
    assert!(matches!(error, Error::Format { .. }) && error.to_string().ends_with("upgrade it"), "{error}");
}

#[test]
fn each_kind_of_node_is_dispatched_in_its_own_way() {
    let graph = super::case::graph(json!({
        "name": "g",
        "state": {"n": {"reducer": "add"}, "m": {}, "who": {"default": "ann"}},
        "nodes": {
            "calc": {"kind": "set", "set": {"m": "n + 1 if item is defined else n"}, "timeout": "30s", "attempt_timeout": "5m"},
            "call": {"kind": "rust", "handler": "h", "pool": "gpu", "reads": ["n"], "max_crashes": 7, "grace": "1s"},
            "nap": {"kind": "wait", "for": "90s"},
            "ask": {"kind": "interrupt", "show": "'go on, ' ~ who ~ '?'"},
            "mute": {"kind": "interrupt", "on_failure": {"continue": {}}},
            "proc": {"kind": "exec", "command": ["true"]},
        },
        "edges": super::case::edge_list(&json!([
            [null, "calc"], [null, "call"], [null, "nap"], [null, "ask"], [null, "mute"], [null, "proc"]
        ])),
    }));
    let mut case = Case::new(graph);
    assert_eq!(said(&case.advance()), "step 1: ask calc call mute nap proc");
    let shown: Vec<Value> = case.new_tasks.iter().map(|task| serde_json::to_value(task).unwrap()).collect();
    let seen = |index: usize, keys: &[&str]| -> Value {
        keys.iter().map(|key| ((*key).to_owned(), shown[index][key].clone())).collect()
    };
    assert_eq!(seen(0, &["dispatch", "payload"]), json!({"dispatch": "human", "payload": "go on, ann?"}));
    assert_eq!(
        seen(1, &["dispatch", "pool", "reads", "timeout", "queue_timeout", "attempt_timeout"]),
        json!({"dispatch": "queue", "pool": "default", "reads": ["n"], "timeout": "30s", "queue_timeout": "30s", "attempt_timeout": "30s"})
    );
    assert_eq!(
        seen(2, &["dispatch", "pool", "reads", "max_crashes", "grace", "fails_run"]),
        json!({"dispatch": "queue", "pool": "gpu", "reads": ["n"], "max_crashes": 7, "grace": "1s", "fails_run": true})
    );
    assert_eq!(seen(3, &["payload", "fails_run"]), json!({"payload": null, "fails_run": false}));
    assert_eq!(seen(4, &["dispatch", "length"]), json!({"dispatch": "wait", "length": "1m30s"}));
    assert_eq!(seen(5, &["dispatch", "reads"]), json!({"dispatch": "queue", "reads": null}));
    assert!(case.new_tasks.iter().all(|task| !matches!(task.dispatch, Dispatch::Settled { .. })));
}

#[test]
fn every_task_waits_in_its_pool_with_the_priority_of_its_run() {
    let mut case = Case::new(line());
    case.spec.priority = Priority::High;
    case.advance();
    let lanes: Vec<_> = case.new_tasks.iter().filter_map(|task| task.dispatch.lane()).collect();
    assert_eq!(lanes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["high:default"]);
}
