//! Going round without getting on: what ends a run, what does not, and what is said.

use serde_json::{Value, json};

use super::case::{Case, edge_list, graph, said, wired, wrote};
use crate::checkpoint::Checkpoint;
use crate::outcome::Outcome;
use crate::plan::Then;
use crate::rounds::Rounds;
use crate::stop::Cause;

/// Runs it until it ends or has done so many steps, `done` telling what a node does in a step; says how it ended.
fn driven(case: &mut Case, steps: u64, done: impl Fn(&str, u64) -> Outcome) -> String {
    let mut then = case.advance();
    while case.checkpoint.as_ref().is_none_or(|last| last.step.get() < steps) {
        match &then {
            Then::Step { step, tasks, .. } => {
                let names: Vec<_> = tasks.iter().map(|task| task.id.node.to_string()).collect();
                let outcomes: Vec<_> = names.iter().map(|name| (name.as_str(), done(name, step.get()))).collect();
                then = case.step(&outcomes);
            }
            Then::Pause { .. } => {
                case.resumed = true;
                then = case.advance();
            }
            Then::Succeed | Then::Fail { .. } => break,
        }
    }
    said(&then)
}

fn nothing(_: &str, _: u64) -> Outcome {
    wrote(json!({}))
}

/// `think` and `search` in turn, over channels of which `search` reads the question alone.
fn agent(search: &Value) -> Case {
    let mut node = json!({"kind": "rust", "handler": "search", "reads": ["question"]});
    node.as_object_mut().unwrap().extend(search.as_object().unwrap().clone());
    Case::new(graph(json!({
        "name": "agent",
        "state": {"question": {"default": "why"}, "log": {"reducer": "append"}, "n": {"reducer": "add"}},
        "nodes": {"think": {"kind": "rust", "handler": "think"}, "search": node},
        "edges": edge_list(&json!([[null, "think"], ["think", "search"], ["search", "think"]])),
    })))
}

#[test]
fn a_run_that_stays_in_its_state_is_ended_with_cause_loop_and_the_round_is_named() {
    let mut case = Case::new(wired(&["a"], &json!({"x": {}}), &json!([[null, "a"], ["a", "a"]])));
    case.graph.limits.max_repeats = 3;
    let mut then = case.advance();
    while let Then::Step { .. } = then {
        then = case.step(&[("a", wrote(json!({"x": 1})))]);
    }
    let Then::Fail { failure, order: Some(order) } = &then else { panic!("{then:?}") };
    assert_eq!((order.cause, order.actor.as_str()), (Cause::Loop, "scheduler"));
    assert_eq!(order.reason.as_ref(), Some(&failure.message));
    assert_eq!(
        failure.message,
        "the run has been in the same state 3 times since step 1: it goes round without getting on, or `max_repeats` (3) is too low"
    );
    assert_eq!((case.last().step.get(), case.last().next.len()), (3, 1), "what is complete is kept, and what was due");
}

#[test]
fn the_same_input_again_and_again_ends_the_run_though_something_else_grows() {
    let mut case = agent(&json!({}));
    let grows = |node: &str, step: u64| if node == "think" { wrote(json!({"log": step})) } else { nothing(node, step) };
    assert_eq!(
        driven(&mut case, 900, grows),
        "fail [loop]: node `search` has run with the same input 100 times since step 2: it goes round through `think`, `search` without getting on, or `max_repeats` (100) is too low (exhausted)"
    );
    assert_eq!(case.last().step.get(), 200, "long before `max_steps`");
}

#[test]
fn what_a_node_is_handed_is_its_input() {
    let by_list = json!([[null, "a"], ["a", "a", {"for_each": "list"}]]);
    let http = |url: &str| json!({"kind": "http", "url": url});
    let http_case = |url: &str| {
        let edges = edge_list(&json!([[null, "a"], ["a", "a"]]));
        Case::new(graph(json!({
            "name": "g", "state": {"n": {"reducer": "add"}}, "nodes": {"a": http(url)}, "edges": edges,
        })))
    };
    let fanned = |list: Value| {
        let state = json!({"list": {"default": list}, "n": {"reducer": "add"}});
        Case::new(wired(&["a"], &state, &by_list))
    };
    let counts = |_: &str, _: u64| wrote(json!({"n": 1}));
    let shifts = |_: &str, step: u64| wrote(json!({"list": [step]}));
    assert!(driven(&mut agent(&json!({})), 900, counts).contains("[loop]: node `search`"), "it does not read `n`");
    assert!(driven(&mut http_case("http://h/"), 900, counts).contains("[loop]: node `a`"), "nor does its template");
    assert!(driven(&mut fanned(json!([1])), 900, counts).contains("[loop]: node `a`"), "nor do its items");
    for (what, case) in [
        ("it is handed everything", &mut agent(&json!({"reads": null}))),
        ("it reads what grows", &mut agent(&json!({"reads": ["n"]}))),
        ("its template does", &mut http_case("http://h/{{ n }}")),
    ] {
        assert!(driven(case, 900, counts).starts_with("step 901"), "{what}");
    }
    assert!(driven(&mut fanned(json!([1])), 900, shifts).starts_with("step 901"), "its items are others");
}

#[test]
fn a_circle_of_states_is_found_whatever_its_length_and_what_came_before() {
    for (before, length) in [(0, 1), (0, 7), (5, 2), (70, 3), (130, 20)] {
        let mut case = Case::new(wired(&["a", "b"], &json!({"x": {}}), &json!([[null, "a"], ["a", "a"]])));
        case.graph.limits.max_repeats = 5;
        case.graph.limits.max_steps = 10_000;
        let goes_round = |_: &str, step: u64| {
            let x = if step < before { json!(step) } else { json!([(step - before) % length]) };
            wrote(json!({"x": x}))
        };
        let end = driven(&mut case, 10_000, goes_round);
        assert!(end.starts_with("fail [loop]"), "{before} {length}: {end}");
        let took = case.last().step.get() - before;
        assert!(took <= 5 * length + 2 * 64, "{before} {length}: it took {took} steps");
    }
}

#[test]
fn a_loop_of_expressions_is_one_only_where_nothing_changes() {
    let set = |expression: &str, channel: &Value| {
        Case::new(graph(json!({
            "name": "g", "state": {"n": channel},
            "nodes": {"count": {"kind": "set", "set": {"n": expression}}},
            "edges": edge_list(&json!([[null, "count"], ["count", "count"]])),
        })))
    };
    let counts = driven(&mut set("1", &json!({"reducer": "add"})), 900, |_, _| wrote(json!({"n": 1})));
    assert!(counts.starts_with("step 901"), "{counts}");
    let stuck = driven(&mut set("1", &json!({})), 900, |_, _| wrote(json!({"n": 1})));
    assert!(stuck.starts_with("fail [loop]: the run has been in the same state 100 times"), "{stuck}");
}

#[test]
fn a_run_that_waits_or_asks_a_human_may_ask_for_the_same_as_often_as_it_likes() {
    for waiting in [json!({"kind": "wait", "for": "5s"}), json!({"kind": "interrupt"})] {
        let mut case = Case::new(graph(json!({
            "name": "poll", "state": {"status": {"default": "pending"}},
            "nodes": {"ask": {"kind": "http", "url": "http://h/"}, "wait": waiting},
            "edges": edge_list(&json!([[null, "ask"], ["ask", "wait"], ["wait", "ask"]])),
        })));
        let end = driven(&mut case, 900, |_, _| wrote(json!({"status": "pending"})));
        assert!(end.starts_with("step 901"), "{waiting}: {end}");
    }
    let mut case = Case::new(wired(&["a"], &json!({"x": {}}), &json!([[null, "a"], ["a", "a"]])));
    case.spec.interrupt_before = vec!["a".parse().unwrap()];
    assert_eq!(driven(&mut case, 900, nothing), "pause 901", "a human lets it go on each time");
}

#[test]
fn nothing_is_remembered_of_a_run_that_never_goes_back() {
    let edges = json!([[null, "a"], ["a", "b"], ["a", "c"], [["b", "c"], "d"]]);
    let mut case = Case::new(wired(&["a", "b", "c", "d"], &json!({"x": {}}), &edges));
    let mut then = case.advance();
    while let Then::Step { .. } = then {
        then = case.step(&[]);
        assert_eq!(case.last().rounds, Rounds::default());
        assert!(serde_json::to_value(case.last()).unwrap().get("rounds").is_none());
    }
    assert_eq!(said(&then), "succeed");
}

#[test]
fn a_checkpoint_from_before_there_was_this_is_gone_on_from() {
    let mut case = Case::new(wired(&["a"], &json!({"x": {}}), &json!([[null, "a"], ["a", "a"]])));
    case.graph.limits.max_repeats = 3;
    case.advance();
    case.step(&[]);
    case.step(&[]);
    let mut old = serde_json::to_value(case.last()).unwrap();
    assert!(old.as_object_mut().unwrap().remove("rounds").is_some());
    case.checkpoint = Some(serde_json::from_value::<Checkpoint>(old).unwrap());
    let then: Vec<_> = (0..3).map(|_| said(&case.step(&[]))).collect();
    assert_eq!(then[..2], ["step 4: a", "step 5: a"], "it counts anew");
    assert!(then[2].starts_with("fail [loop]"), "{then:?}");
}

#[test]
fn what_is_remembered_stays_small() {
    let names: Vec<_> = (0..100).map(|number| format!("n{number}")).collect();
    let mut edges: Vec<_> = names.iter().map(|name| json!([null, name])).collect();
    edges.extend(names.iter().map(|name| json!([name, name])));
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut case = Case::new(wired(&names, &json!({"x": {"reducer": "append"}}), &json!(edges)));
    driven(&mut case, 120, |name, step| if name == "n1" { wrote(json!({"x": step})) } else { wrote(json!({})) });
    let bytes = serde_json::to_string(&case.last().rounds).unwrap().len();
    assert!((1_000..4_000).contains(&bytes), "{bytes} bytes");
}
