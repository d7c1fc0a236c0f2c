//! Calls of tools that a run leaves open on its thread, and what the next run makes of them.

use serde_json::{Value, json};

use super::case::{Case, edge_list, failed, graph, said, values, wrote};
use crate::id::RunId;
use crate::plan::Base;
use crate::submission::Start;

/// A model and its tools, over a conversation; `done` leads out.
fn agent() -> Case {
    Case::new(graph(json!({
        "name": "agent",
        "state": {"talk": {"reducer": "messages"}, "done": {"default": false}},
        "nodes": {"model": {"kind": "rust", "handler": "model"}, "tools": {"kind": "rust", "handler": "tools"}},
        "edges": edge_list(&json!([
            [null, "model"], ["model", "tools", {"when": {"if": "not done"}}], ["tools", "model"],
        ])),
    })))
}

fn call(id: &str) -> Value {
    json!({"role": "assistant", "content": null, "tool_calls": [{"id": id, "type": "function"}]})
}

/// A run whose model has called a tool, and that has ended there: well, or because its tools failed.
fn before(well: bool) -> Case {
    let mut case = agent().with_input(json!({"talk": {"role": "user", "content": "hi"}}));
    case.advance();
    let then = case.step(&[("model", wrote(json!({"talk": call("a"), "done": well})))]);
    if !well {
        assert_eq!(said(&then), "step 2: tools");
        assert!(said(&case.clone().step(&[("tools", failed("no"))])).starts_with("fail"));
    }
    case
}

fn after(case: &Case, input: Value) -> Case {
    let mut next = agent().with_input(input);
    next.run = RunId::new("r2").unwrap();
    let (run, checkpoint) = (case.run.clone(), case.last().clone());
    next.base = Some(Base { run, checkpoint, values: case.values.clone(), settled: Vec::new() });
    next
}

/// Who speaks, and what is said for a tool.
fn told(case: &Case) -> Vec<String> {
    let word = |message: &Value| match message["role"].as_str().unwrap() {
        "tool" => message["content"].as_str().unwrap().split_whitespace().take(3).collect::<Vec<_>>().join(" "),
        role => role.to_owned(),
    };
    case.state()["talk"].as_array().unwrap().iter().map(word).collect()
}

#[test]
fn the_calls_that_a_broken_run_left_open_are_answered_for_the_next_one_on_the_thread() {
    let again = json!({"talk": {"role": "user", "content": "and now?"}});
    for input in [json!({}), again] {
        let mut case = after(&before(false), input.clone());
        assert_eq!(said(&case.advance()), "step 1: model");
        let told = told(&case);
        assert_eq!(told[..3], ["user", "assistant", "cancelled: run `r1`"], "{input}: {told:?}");
        let talk = case.state()["talk"].clone();
        assert_eq!((&talk[2]["tool_call_id"], &talk[2]["id"]), (&json!("a"), &json!("r2:0:cancelled:0:0")));
    }
}

#[test]
fn a_run_that_brings_the_answer_is_not_told_another() {
    let answer = json!({"talk": {"role": "tool", "tool_call_id": "a", "content": "42"}});
    for well in [true, false] {
        let mut case = after(&before(well), answer.clone());
        case.advance();
        assert_eq!(told(&case), ["user", "assistant", "42"], "{well}");
    }
}

#[test]
fn what_a_run_that_ended_well_left_open_is_for_the_next_one_until_the_conversation_goes_on() {
    let mut open = after(&before(true), json!({}));
    open.advance();
    assert_eq!(told(&open), ["user", "assistant"]);
    let mut passed_over = after(&before(true), json!({"talk": {"role": "user", "content": "never mind"}}));
    passed_over.advance();
    assert_eq!(told(&passed_over), ["user", "assistant", "cancelled: run `r1`", "user"]);
}

#[test]
fn a_run_that_goes_on_from_a_checkpoint_answers_its_calls_itself() {
    let origin = before(false);
    let mut case = after(&origin, json!({}));
    case.spec.start = Start::From { run: origin.run.clone(), step: origin.last().step, update: values(json!({})) };
    assert_eq!(said(&case.advance()), "step 1: tools");
    assert_eq!(told(&case), ["user", "assistant"], "what was due is to answer");
}

#[test]
fn what_is_handed_in_without_a_run_before_is_left_as_it_is() {
    let mut case = agent().with_input(json!({"talk": [call("a"), {"role": "user", "content": "hi"}]}));
    case.advance();
    assert_eq!(told(&case), ["assistant", "user"]);
}
