//! Which edges are taken: conditions, joins, fan-outs and `goto`.

use serde_json::{Value, json};

use super::case::{Case, said, values, went, wired, wrote};
use crate::checkpoint::Due;
use crate::limits::FAN_OUT_MAX;
use crate::plan::waiting_joins;

fn state() -> Value {
    json!({"n": {"default": 0}, "list": {"default": []}, "more": {"default": []}, "log": {"reducer": "append"}})
}

fn started(nodes: &[&str], edges: &Value) -> Case {
    let mut case = Case::new(wired(nodes, &state(), edges));
    case.advance();
    case
}

#[test]
fn every_edge_whose_condition_holds_on_the_new_state_is_taken_and_otherwise_where_none_did() {
    let edges = json!([
        [null, "a"],
        ["a", "big", {"when": {"if": "n > 10"}}],
        ["a", "even", {"when": {"if": "n is even"}}],
        ["a", "rest", {"when": "otherwise"}],
        ["a", "always"],
    ]);
    let case = started(&["a", "big", "even", "rest", "always"], &edges);
    for (n, wanted) in [
        (12, "step 2: always big even"),
        (11, "step 2: always big"),
        (2, "step 2: always even"),
        (1, "step 2: always rest"),
    ] {
        assert_eq!(said(&case.clone().step(&[("a", wrote(json!({"n": n})))])), wanted, "n = {n}");
    }
}

#[test]
fn start_edges_have_conditions_too_and_a_node_due_by_several_edges_runs_once() {
    let edges = json!([
        [null, "a", {"when": {"if": "n == 1"}}],
        [null, "b", {"when": "otherwise"}],
        [null, "c"],
        [null, "c", {"when": {"if": "n < 2"}}],
    ]);
    for (n, wanted) in [(1, "step 1: a c"), (0, "step 1: c"), (2, "step 1: b c")] {
        let graph = wired(&["a", "b", "c"], &state(), &edges);
        assert_eq!(said(&Case::new(graph).with_input(json!({"n": n})).advance()), wanted, "n = {n}");
    }
}

#[test]
fn an_edge_to_the_end_makes_nothing_due() {
    let edges = json!([[null, "a"], ["a", null, {"when": {"if": "n > 0"}}], ["a", "a", {"when": "otherwise"}]]);
    let mut case = started(&["a"], &edges);
    assert_eq!(said(&case.step(&[])), "step 2: a");
    assert_eq!(said(&case.step(&[("a", wrote(json!({"n": 1})))])), "succeed");
}

#[test]
fn a_join_waits_until_all_have_arrived_since_it_last_fired() {
    let edges = json!([
        [null, "a"], [null, "b"], ["b", "slow"],
        [["a", "slow"], "join"],
        ["join", "a", {"when": {"if": "n == 0"}}],
    ]);
    let mut case = started(&["a", "b", "slow", "join"], &edges);
    assert_eq!(said(&case.step(&[])), "step 2: slow");
    assert_eq!(serde_json::to_value(&case.last().joins).unwrap(), json!({"3": ["a"]}));
    assert_eq!(said(&case.step(&[])), "step 3: join");
    assert!(case.last().joins.is_empty(), "it has fired, and waits for all again");
    assert_eq!(said(&case.step(&[])), "step 4: a");
    assert!(waiting_joins(&case.graph, case.last()).is_empty(), "it is not the end");
    assert_eq!(said(&case.step(&[])), "succeed");
    assert_eq!(serde_json::to_value(&case.last().joins).unwrap(), json!({"3": ["a"]}));
    let warnings = waiting_joins(&case.graph, case.last());
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(
        warning.starts_with("the edge `a & slow -> join` still waited at the end: `a` had arrived, `slow` had not")
    );
}

#[test]
fn the_condition_of_a_join_is_asked_once_when_all_have_arrived() {
    let edges = json!([
        [null, "a"], [null, "b"],
        [["a", "b"], "yes", {"when": {"if": "n > 0"}}],
        [["a", "b"], "no", {"when": "otherwise"}],
    ]);
    let case = started(&["a", "b", "yes", "no"], &edges);
    assert_eq!(said(&case.clone().step(&[])), "step 2: no");
    assert_eq!(said(&case.clone().step(&[("b", wrote(json!({"n": 1})))])), "step 2: yes");
}

#[test]
fn a_fan_out_makes_one_task_an_item_and_several_into_one_node_are_put_together() {
    let edges = json!([
        [null, "a"],
        ["a", "work", {"for_each": "list"}],
        ["a", "work", {"for_each": "more"}],
        ["a", "work", {"when": {"if": "n > 0"}}],
        ["work", "after"],
    ]);
    let mut case = started(&["a", "work", "after"], &edges);
    let mut both = case.clone();
    let writes = wrote(json!({"list": ["x", "y"], "more": [7]}));
    assert_eq!(said(&case.step(&[("a", writes)])), "step 2: work work:1 work:2");
    let items: Vec<_> = case.new_tasks.iter().map(|task| task.item.clone().unwrap()).collect();
    assert_eq!(items, [json!("x"), json!("y"), json!(7)]);
    assert!(case.new_tasks.iter().all(|task| task.reads.as_deref() == Some(&[])), "an item, and nothing beside it");
    assert_eq!(case.last().next, [Due { node: "work".parse().unwrap(), for_each: vec![1, 2] }]);
    assert_eq!(said(&case.step(&[])), "step 3: after", "the edges of a fanned-out node are followed once");
    assert_eq!(case.last().ran.len(), 3);
    assert_eq!(case.last().node_runs, 4);

    assert_eq!(said(&both.step(&[("a", wrote(json!({"list": ["x"], "n": 1})))])), "step 2: work work:1");
    let items: Vec<_> = both.new_tasks.iter().map(|task| (task.item.clone(), task.reads.is_none())).collect();
    assert_eq!(items, [(None, true), (Some(json!("x")), false)], "the plain visit comes first");
}

#[test]
fn a_fan_out_over_an_empty_list_leads_on_as_if_its_target_had_run_with_no_items() {
    let edges = json!([
        [null, "a"],
        ["a", "work", {"for_each": "list"}],
        ["work", "more", {"for_each": "more"}],
        ["more", "after"],
        [["a", "work"], "join"],
    ]);
    let nodes = ["a", "work", "more", "after", "join"];
    let case = started(&nodes, &edges);
    assert_eq!(said(&case.clone().step(&[])), "step 2: after join", "through two empty fan-outs at once");
    let some = wrote(json!({"more": [1]}));
    assert_eq!(said(&case.clone().step(&[("a", some)])), "step 2: join more");

    let from_start = wired(&nodes, &state(), &json!([[null, "work", {"for_each": "list"}], ["work", "after"]]));
    assert_eq!(said(&Case::new(from_start).advance()), "step 1: after");
}

#[test]
fn an_empty_fan_out_does_not_pass_over_a_node_that_is_due_otherwise_and_a_circle_of_them_ends() {
    let edges = json!([
        [null, "a"],
        ["a", "work", {"for_each": "list"}],
        ["a", "work", {"for_each": "more"}],
        ["work", "after"],
    ]);
    let mut case = started(&["a", "work", "after"], &edges);
    assert_eq!(said(&case.step(&[("a", wrote(json!({"more": [1]})))])), "step 2: work");

    let circle = json!([[null, "a"], ["a", "b", {"for_each": "list"}], ["b", "a", {"for_each": "list"}]]);
    assert_eq!(said(&started(&["a", "b"], &circle).step(&[])), "succeed");
}

#[test]
fn a_fan_out_that_is_too_wide_fails_the_run_and_keeps_the_step() {
    let mut case = started(&["a", "work"], &json!([[null, "a"], ["a", "work", {"for_each": "list"}]]));
    let list: Vec<_> = (0..=FAN_OUT_MAX).collect();
    let then = said(&case.step(&[("a", wrote(json!({"list": list})))]));
    assert!(then.starts_with("fail: node `work`: fanning out") && then.ends_with("(too_large)"), "{then}");
    assert_eq!(case.last().step.get(), 1);
}

#[test]
fn the_targets_of_goto_are_due_beside_the_edges_and_end_is_one_of_them() {
    let edges = json!([[null, "a"], ["a", "b"]]);
    let case = started(&["a", "b", "c"], &edges);
    for (goto, wanted) in
        [(vec![], "step 2: b"), (vec!["c", "c"], "step 2: b c"), (vec!["b"], "step 2: b"), (vec!["END"], "step 2: b")]
    {
        assert_eq!(said(&case.clone().step(&[("a", went(&goto))])), wanted, "{goto:?}");
    }
    let then = said(&case.clone().step(&[("a", went(&["A"]))]));
    assert!(then.contains("asked to go to node `A`, which the graph does not have: did you mean `a`?"), "{then}");
    assert!(then.ends_with("(bad_output)"), "{then}");
}

#[test]
fn an_expression_that_fails_fails_the_run_by_the_name_of_its_edge_and_keeps_the_step_undone() {
    for (more, words) in [
        (json!({"when": {"if": "m > 1"}}), "the condition of the edge `a -> b` failed"),
        (json!({"when": {"if": "n >"}}), "the condition of the edge `a -> b` failed"),
        (json!({"when": {"if": "n"}}), "the condition of the edge `a -> b` failed"),
        (json!({"for_each": "n"}), "the `for_each` of the edge `a -> b` failed"),
    ] {
        let mut case = started(&["a", "b"], &json!([[null, "a"], ["a", "b", more]]));
        let then = said(&case.step(&[]));
        assert!(then.contains(words) && then.ends_with("(expression)"), "{then}");
        assert_eq!(
            (case.last().step.get(), &case.values),
            (0, &values(json!({"n": 0, "list": [], "more": [], "log": []})))
        );
    }
}
