//! A step's writes over the whole state.

use serde_json::{Value, json};

use super::*;
use crate::outcome::{Failure, FailureKind};

fn channels(text: Value) -> Channels {
    serde_json::from_value(text).unwrap()
}

fn values(value: Value) -> Values {
    serde_json::from_value(value).unwrap()
}

fn task(text: &str) -> TaskId {
    text.parse().unwrap()
}

/// Applies writes of tasks to a state, in the order given.
fn updated(declared: Value, state: Value, writes: &[(&str, Value)]) -> Result<Values, Error> {
    let writes: Vec<_> = writes.iter().map(|(id, writes)| (task(id), values(writes.clone()))).collect();
    let writes: Vec<_> = writes.iter().map(|(id, writes)| (id, writes)).collect();
    update(&channels(declared), &RunId::new("r1").unwrap(), &values(state), &writes)
}

#[test]
fn a_fresh_state_has_each_default_or_the_first_value_of_its_reducer() {
    let declared = channels(json!({
        "a": {}, "b": {"default": 7}, "c": {"reducer": "append"}, "d": {"reducer": "add"}, "e": {"reducer": "merge"},
        "f": {"reducer": "messages"}, "g": {"reducer": "add", "default": 0.5},
    }));
    assert_eq!(initial(&declared), values(json!({"b": 7, "c": [], "d": 0, "e": {}, "f": [], "g": 0.5})));
}

#[test]
fn writes_are_applied_by_node_then_item_whatever_their_order() {
    let writes = [
        ("3:b:0", json!({"log": "b0"})),
        ("3:a:10", json!({"log": "a10"})),
        ("3:a:2", json!({"log": "a2"})),
        ("3:a:0", json!({"log": ["a0"]})),
    ];
    let changed = updated(json!({"log": {"reducer": "append"}}), json!({"log": []}), &writes).unwrap();
    assert_eq!(changed, values(json!({"log": ["a0", "a2", "a10", "b0"]})));
}

#[test]
fn a_write_that_leaves_a_value_as_it_was_is_no_change() {
    let state = json!({"a": 1, "log": [1], "b": 1});
    let writes = [("3:x:0", json!({"a": 1, "log": [], "b": 1.0}))];
    let changed = updated(json!({"a": {}, "b": {}, "log": {"reducer": "append"}}), state, &writes).unwrap();
    assert_eq!(changed, values(json!({"b": 1.0})));
}

#[test]
fn an_undeclared_channel_is_refused_by_its_name_with_the_one_that_was_meant() {
    let error = updated(json!({"messages": {}}), json!({}), &[("3:chat:0", json!({"mesages": 1}))]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "node `chat` wrote channel `mesages`, which the graph does not declare: did you mean `messages`?"
    );
    let failure = Failure::from(error);
    assert_eq!((failure.kind, failure.node.unwrap().as_str()), (FailureKind::BadOutput, "chat"));
}

#[test]
fn a_mistake_in_the_input_is_laid_at_no_nodes_door() {
    let error = updated(json!({"n": {"reducer": "add"}}), json!({}), &[("0:input:0", json!({"n": "1"}))]).unwrap_err();
    assert!(error.to_string().starts_with("the input wrote a string to channel `n`"), "{error}");
    let failure = Failure::from(error);
    assert_eq!((failure.kind, failure.node), (FailureKind::BadInput, None));
}

#[test]
fn a_state_over_its_size_is_refused_by_the_name_of_its_largest_channel() {
    let half = "x".repeat(STATE_BYTES_MAX / 2);
    let declared = json!({"small": {}, "large": {}});
    let fits = updated(declared.clone(), json!({"large": half}), &[("1:a:0", json!({"small": 1}))]);
    assert!(fits.is_ok());
    let error = updated(declared, json!({"large": half}), &[("1:a:0", json!({"small": half[1..]}))]).unwrap_err();
    assert!(matches!(&error, Error::TooLarge { channel, .. } if channel.as_str() == "large"), "{error}");
    assert_eq!(Failure::from(error).kind, FailureKind::TooLarge);
}

#[test]
fn a_value_that_could_not_be_read_back_is_refused() {
    let deep = (0..1_000).fold(json!(1), |inner, _| json!([inner]));
    let error = updated(json!({"a": {}}), json!({}), &[("1:a:0", json!({})), ("1:b:0", json!({"a": deep}))]);
    assert!(matches!(error, Err(Error::TooDeep { .. })));
}

#[test]
fn a_hand_set_value_replaces_whatever_the_reducer() {
    let declared = channels(json!({"log": {"reducer": "append"}}));
    let mut state = values(json!({"log": [1, 2]}));
    replace(&declared, &mut state, &values(json!({"log": [9]})), &task("0:update:0")).unwrap();
    assert_eq!(state, values(json!({"log": [9]})));
    let error = replace(&declared, &mut state, &values(json!({"logs": []})), &task("0:update:0")).unwrap_err();
    assert!(error.to_string().contains("did you mean `log`?"), "{error}");
}
