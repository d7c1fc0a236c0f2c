//! The sandbox on real processes: what passes a limit is ended with its reason, and the next evaluation is not touched by it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use coxswain_shared::expr::{Error, Evaluation, Evaluator as _, Form};
use coxswain_shared::sandbox::{Evaluations, Refusal, Reply, Request, Sandbox, TIME_MAX};
use coxswain_tests::Cox;
use serde_json::{Value, json};

/// One test at a time: each counts on having all processors, and one kills all processes of the sandbox that there are.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sandbox() -> Sandbox {
    Sandbox::of(&Cox::path("cox"))
}

fn evaluate(sandbox: &Sandbox, form: Form, text: &str, values: &Value) -> Result<Reply, Refusal> {
    let values = values.as_object().unwrap().iter();
    let values = values.map(|(name, value)| (name.as_str().into(), std::borrow::Cow::Borrowed(value))).collect();
    let evaluation = Evaluation { form, text: text.into(), values };
    sandbox.ask(&Request::Evaluate(evaluation), TIME_MAX, &|| true).0
}

fn check(sandbox: &Sandbox, schema: Value, value: Option<Value>) -> Result<Reply, Refusal> {
    sandbox.ask(&Request::Check { schema, value }, TIME_MAX, &|| true).0
}

#[test]
fn what_takes_too_much_is_ended_and_the_next_evaluation_is_as_good_as_ever() {
    let _alone = alone();
    let sandbox = sandbox();
    let many: Vec<_> = (0..100_000).collect();
    let state = json!({"many": many, "x": "ab", "n": 2});
    for (form, text, bound) in [
        (Form::Expression, "range(99999) | join('x' * 100000) | length", "MiB"),
        (Form::Expression, "many | reject('in', many) | list", "longer than"),
        (
            Form::Template,
            "{% set a %}{% for i in many %}{{ x * 50000000 }}{% endfor %}{% endset %}{{ a | length }}",
            "MiB",
        ),
    ] {
        let refused = evaluate(&sandbox, form, text, &state).unwrap_err();
        assert!(matches!(&refused, Refusal::Exceeded(told) if told.contains(bound)), "{text}: {refused:?}");
        assert_eq!(evaluate(&sandbox, Form::Expression, "n * 21", &state), Ok(Reply::Value(json!(42))));
    }
}

#[test]
fn a_schema_that_doubles_with_each_reference_is_ended() {
    let _alone = alone();
    let sandbox = sandbox();
    let doubling = |depth: usize| {
        let mut definitions = serde_json::Map::new();
        for level in 0..depth {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            definitions.insert(format!("d{level}"), json!({"allOf": [next, next], "anyOf": [next, next]}));
        }
        definitions.insert(format!("d{depth}"), json!({"type": "object"}));
        json!({"$ref": "#/$defs/d0", "$defs": definitions})
    };
    for depth in [24, 60] {
        let refused = check(&sandbox, doubling(depth), Some(json!({"a": 1})));
        assert!(matches!(&refused, Err(Refusal::Exceeded(_))), "{depth}: {refused:?}");
    }
    let schema = json!({"type": "object", "required": ["name"]});
    assert_eq!(check(&sandbox, schema.clone(), Some(json!({"name": 1}))), Ok(Reply::Mistakes(Vec::new())));
    assert!(matches!(check(&sandbox, schema, Some(json!({}))), Ok(Reply::Mistakes(told)) if told.len() == 1));
    assert!(matches!(check(&sandbox, json!({"type": "nothing"}), None), Ok(Reply::NoSchema(_))));
}

#[test]
fn what_nobody_wants_any_more_ends_at_once() {
    let _alone = alone();
    let sandbox = sandbox();
    let many: Vec<_> = (0..100_000).collect();
    let begun = Instant::now();
    let evaluations = Evaluations::of_attempt(sandbox, move || begun.elapsed() < Duration::from_millis(200));
    let values = [("many".into(), std::borrow::Cow::Owned(json!(many)))].into_iter().collect();
    let text = "many | reject('in', many) | list";
    let left = evaluations.heavy(&Evaluation { form: Form::Expression, text: text.into(), values });
    assert!(matches!(&left, Err(Error::Unavailable { .. })), "{left:?}");
    assert!(begun.elapsed() < TIME_MAX, "{:?}", begun.elapsed());
    assert!(evaluations.trouble().is_some());
}

#[test]
fn all_evaluations_of_one_plan_together_have_a_time() {
    let _alone = alone();
    let evaluations = Evaluations::of_plan(sandbox(), || true);
    let many: Vec<_> = (0..100_000).collect();
    let values = [("many".into(), std::borrow::Cow::Owned(json!(many)))].into_iter().collect();
    let endless = Evaluation { form: Form::Expression, text: "many | reject('in', many) | list".into(), values };
    for _ in 0..4 {
        assert!(matches!(evaluations.heavy(&endless), Err(Error::Exceeded { .. })));
    }
    let short = Evaluation { form: Form::Expression, text: "1".into(), values: BTreeMap::new() };
    let refused = evaluations.heavy(&short).unwrap_err();
    assert!(refused.to_string().contains("together with what was evaluated before it"), "{refused}");
    assert_eq!(evaluations.trouble(), None, "it is the plan's own fault");
}

#[test]
fn a_process_that_was_killed_while_it_was_idle_is_replaced_without_a_word() {
    let _alone = alone();
    let sandbox = sandbox();
    for _ in 0..3 {
        assert_eq!(evaluate(&sandbox, Form::Expression, "[1] * 3", &json!({})), Ok(Reply::Value(json!([1, 1, 1]))));
        for child in children_of(std::process::id()) {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), nix::sys::signal::Signal::SIGKILL).unwrap();
        }
    }
}

/// The processes of the sandbox that this program's own tests have started.
fn children_of(parent: u32) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let is_ours = |pid: &i32| {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let status = read("status");
        let parents =
            status.lines().any(|line| line.strip_prefix("PPid:").is_some_and(|of| of.trim() == parent.to_string()));
        parents && read("cmdline").contains(coxswain_shared::sandbox::ARGUMENT)
    };
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_ours).collect()
}
