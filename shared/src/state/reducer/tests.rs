//! The reducers as tables: what was there, what was written, what becomes of it.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn run() -> RunId {
    RunId::new("r1").unwrap()
}

fn tasks(names: &[&str]) -> Vec<TaskId> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// Applies writes by the nodes `a`, `b`, … in step 2.
fn reduced(reducer: Reducer, current: Option<&Value>, writes: &[Value]) -> Result<Value, Error> {
    let tasks: Vec<TaskId> =
        ('a'..='z').take(writes.len()).map(|node| format!("2:{node}:0").parse().unwrap()).collect();
    let writes: Vec<_> = tasks.iter().zip(writes).map(|(task, value)| Write { task, value }).collect();
    apply(&run(), &ChannelName::new("x").unwrap(), reducer, current, &writes)
}

#[test]
fn every_reducer_follows_its_table() {
    let huge = u64::MAX;
    #[rustfmt::skip]
    let table = [
        (Reducer::Last, json!(1), vec![], json!(1)),
        (Reducer::Last, json!(1), vec![json!(2)], json!(2)),
        (Reducer::Last, json!([1]), vec![json!(null)], json!(null)),
        (Reducer::Append, json!([]), vec![json!(1), json!([2, 3]), json!([]), json!([[4]])], json!([1, 2, 3, [4]])),
        (Reducer::Append, json!([0]), vec![json!(null), json!({"a": 1})], json!([0, null, {"a": 1}])),
        (Reducer::Add, json!(0), vec![json!(2), json!(-5)], json!(-3)),
        (Reducer::Add, json!(1), vec![json!(0.5), json!(2)], json!(3.5)),
        (Reducer::Add, json!(huge), vec![json!(-1)], json!(huge - 1)),
        (Reducer::Add, json!(9_007_199_254_740_993_u64), vec![json!(0)], json!(9_007_199_254_740_993_u64)),
        (Reducer::Add, json!(i64::MIN), vec![json!(huge)], json!(i64::MAX)),
        (Reducer::Merge, json!({}), vec![json!({"a": {"b": 1}}), json!({"a": {"c": 2}})], json!({"a": {"b": 1, "c": 2}})),
        (Reducer::Merge, json!({"a": {"b": 1}}), vec![json!({"a": null})], json!({"a": null})),
        (Reducer::Merge, json!({"a": {"b": 1}}), vec![json!({"a": [1]}), json!({"a": {"c": 1}})], json!({"a": {"c": 1}})),
        (Reducer::Messages, json!([]), vec![json!({"id": "m1", "text": "hi"})], json!([{"id": "m1", "text": "hi"}])),
        (
            Reducer::Messages,
            json!([{"id": "m1", "text": "hi"}, {"id": "m2"}]),
            vec![json!([{"id": "m1", "text": "ho"}, {"id": "m3"}, {"id": "m3", "again": true}])],
            json!([{"id": "m1", "text": "ho"}, {"id": "m2"}, {"id": "m3", "again": true}]),
        ),
        (
            Reducer::Messages,
            json!([]),
            vec![json!({"text": "one"}), json!([{"text": "two"}, {"text": "three", "id": null}])],
            json!([
                {"id": "r1:2:a:0:0", "text": "one"},
                {"id": "r1:2:b:0:0", "text": "two"},
                {"id": "r1:2:b:0:1", "text": "three"},
            ]),
        ),
    ];
    for (reducer, current, writes, wanted) in table {
        let got = reduced(reducer, Some(&current), &writes);
        assert_eq!(got, Ok(wanted), "{} of {current} and {writes:?}", reducer.name());
    }
}

#[test]
fn an_absent_value_counts_as_the_first_value_of_its_reducer() {
    for reducer in Reducer::ALL {
        let write = match reducer {
            Reducer::Add => json!(3),
            Reducer::Last | Reducer::Append | Reducer::Merge | Reducer::Messages => json!({"id": "m"}),
        };
        let absent = reduced(reducer, None, std::slice::from_ref(&write));
        assert_eq!(absent, reduced(reducer, first(reducer).as_ref(), &[write]), "{}", reducer.name());
    }
}

#[test]
fn what_does_not_fit_is_refused_by_the_names_of_the_node_the_channel_and_the_reducer() {
    for (reducer, current, write, words) in [
        (
            Reducer::Add,
            json!(1),
            json!("2"),
            "node `a` wrote a string to channel `x`, whose reducer `add` takes a number",
        ),
        (Reducer::Add, json!([]), json!(2), "channel `x` holds a list, but its reducer `add` adds to a number"),
        (Reducer::Append, json!({}), json!(2), "channel `x` holds an object, but its reducer `append` adds to a list"),
        (
            Reducer::Merge,
            json!({}),
            json!([1]),
            "node `a` wrote a list to channel `x`, whose reducer `merge` takes an object",
        ),
        (Reducer::Merge, json!(null), json!({}), "channel `x` holds null"),
        (Reducer::Messages, json!([]), json!("hi"), "node `a` wrote a string to channel `x`, whose reducer `messages`"),
        (Reducer::Messages, json!([]), json!([{"id": 7}]), "wrote a message whose `id` is no string"),
        (Reducer::Messages, json!("no"), json!([]), "channel `x` holds a string"),
    ] {
        let error = reduced(reducer, Some(&current), &[write]).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_sum_that_leaves_the_range_of_numbers_is_refused() {
    for (current, write) in [(json!(u64::MAX), json!(1)), (json!(i64::MIN), json!(-1)), (json!(1e308), json!(1e308))] {
        let error = reduced(Reducer::Add, Some(&current), &[write]).unwrap_err();
        assert!(matches!(error, Error::Overflow { .. }), "{error}");
    }
}

#[test]
fn two_writers_of_a_last_channel_conflict_even_if_they_agree() {
    let error = reduced(Reducer::Last, None, &[json!(1), json!(1)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "nodes `a` and `b` both wrote channel `x` in one step, whose reducer `last` takes one writer: give it another reducer, or let one node follow the other"
    );
}

#[test]
fn two_items_of_a_fan_out_conflict_and_are_told_of_append() {
    let (tasks, value) = (tasks(&["2:work:0", "2:work:1"]), json!(1));
    let writes: Vec<_> = tasks.iter().map(|task| Write { task, value: &value }).collect();
    let error = apply(&run(), &ChannelName::new("x").unwrap(), Reducer::Last, None, &writes).unwrap_err().to_string();
    assert!(
        error.starts_with("items 0 and 1 of node `work`") && error.ends_with("give it the reducer `append`"),
        "{error}"
    );
}

#[test]
fn another_run_on_the_thread_does_not_replace_the_messages_of_the_first() {
    let (tasks, value) = (tasks(&["1:chat:0"]), json!({"text": "hi"}));
    let write = [Write { task: &tasks[0], value: &value }];
    let channel = ChannelName::new("x").unwrap();
    let one = apply(&run(), &channel, Reducer::Messages, None, &write).unwrap();
    let two = apply(&RunId::new("r2").unwrap(), &channel, Reducer::Messages, Some(&one), &write).unwrap();
    assert_eq!(two.as_array().unwrap().len(), 2);
    assert_eq!(apply(&run(), &channel, Reducer::Messages, Some(&one), &write).unwrap(), one, "the same write again");
}

/// Any small JSON value.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("(id|a|b)", inner, 0..3).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_value_and_no_write_makes_a_reducer_panic(
        reducer in prop::sample::select(Reducer::ALL.to_vec()),
        current in prop::option::of(any_value()),
        writes in prop::collection::vec(any_value(), 0..4),
    ) {
        let one = reduced(reducer, current.as_ref(), &writes);
        prop_assert_eq!(one, reduced(reducer, current.as_ref(), &writes));
    }

    #[test]
    fn a_sum_of_integers_is_exact_or_refused(numbers in prop::collection::vec(any::<i64>(), 0..6)) {
        let writes: Vec<_> = numbers.iter().map(|number| json!(number)).collect();
        if let Ok(sum) = reduced(Reducer::Add, None, &writes) {
            let exact: i128 = numbers.iter().map(|number| i128::from(*number)).sum();
            prop_assert_eq!(sum.to_string(), exact.to_string());
        }
    }
}
