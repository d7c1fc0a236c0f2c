//! Going on from another run's checkpoint.

use serde_json::{Value, json};

use super::case::{Case, failed, said, values, wired, wrote};
use crate::checkpoint::Source;
use crate::id::RunId;
use crate::outcome::Outcome;
use crate::plan::Base;
use crate::submission::Start;
use crate::task::{Dispatch, NewTask, TaskState};

/// A run whose second step has failed: `split` wrote a list, of whose items `work` did all but the one that is 2.
fn broken() -> Case {
    let state = json!({"list": {}, "done": {"reducer": "append"}, "n": {"default": 1}});
    let edges = json!([
        [null, "split"], ["split", "work", {"for_each": "list"}], ["split", "beside"],
        ["work", "after"], [["split", "after"], "join"],
    ]);
    let mut case = Case::new(wired(&["split", "work", "beside", "after", "join"], &state, &edges));
    case.advance();
    case.step(&[("split", wrote(json!({"list": [1, 2, 3]})))]);
    case.settle(&[
        ("work:0", wrote(json!({"done": 1}))),
        ("work:1", failed("no")),
        ("work:2", wrote(json!({"done": 3}))),
    ]);
    assert_eq!(said(&case.clone().advance()), "fail: node `work`: no (handler)");
    case
}

/// A run that goes on where this one has failed.
fn successor(case: &Case, update: Value) -> Case {
    let checkpoint = case.last().clone();
    let mut next = Case::new(case.graph.clone());
    next.run = RunId::new("r2").unwrap();
    next.spec.start = Start::From { run: case.run.clone(), step: checkpoint.step, update: values(update) };
    next.base =
        Some(Base { run: case.run.clone(), checkpoint, values: case.values.clone(), settled: case.tasks.clone() });
    next
}

fn done(tasks: &[NewTask]) -> Vec<String> {
    let settled = |task: &&NewTask| matches!(task.dispatch, Dispatch::Settled { .. });
    tasks.iter().filter(settled).map(|task| format!("{}:{}", task.id.node, task.id.item)).collect()
}

#[test]
fn it_takes_over_the_state_what_was_due_and_the_joins_and_does_again_only_what_had_not_succeeded() {
    let origin = broken();
    let mut case = successor(&origin, json!({}));
    assert_eq!(said(&case.advance()), "step 1: beside work work:1 work:2");
    assert_eq!(done(&case.new_tasks), ["beside:0", "work:0", "work:2"]);
    let checkpoint = case.last();
    assert_eq!(checkpoint.source, Source::Resumed { run: origin.run.clone(), step: origin.last().step });
    assert_eq!((checkpoint.step.get(), checkpoint.node_runs), (0, 0));
    assert!(checkpoint.versions.values().all(|step| step.get() == 0));
    assert_eq!((&checkpoint.next, &checkpoint.joins), (&origin.last().next, &origin.last().joins));
    assert_eq!(case.values, origin.values);
    assert_eq!(said(&case.step(&[("work:1", wrote(json!({"done": 2})))])), "step 2: after");
    assert_eq!(case.state()["done"], json!([1, 2, 3]));
    assert_eq!(said(&case.step(&[])), "step 3: join", "`split` had arrived before");
}

#[test]
fn if_all_was_done_the_step_completes_without_a_worker() {
    let mut origin = broken();
    origin.tasks.retain(|task| task.outcome.as_ref().is_some_and(|outcome| outcome.failure().is_none()));
    let mut case = successor(&origin, json!({"list": [1]}));
    assert_eq!(said(&case.advance()), "step 1: beside work");
    assert!(case.tasks.iter().all(|task| task.state == TaskState::Settled));
    assert_eq!(said(&case.advance()), "step 2: after");
}

#[test]
fn a_hand_set_value_replaces_its_channels_and_an_outcome_is_kept_for_its_own_item_alone() {
    let mut case = successor(&broken(), json!({"list": [1, 5, 7, 3], "n": 9}));
    assert_eq!(said(&case.advance()), "step 1: beside work work:1 work:2 work:3");
    assert_eq!(done(&case.new_tasks), ["beside:0", "work:0"], "the third item is another one now");
    assert_eq!(case.state()["n"], json!(9));

    let mut emptied = successor(&broken(), json!({"list": []}));
    assert_eq!(said(&emptied.advance()), "step 1: after beside", "as an empty fan-out does anywhere");
}

#[test]
fn what_cannot_be_gone_on_from_fails_the_run_with_a_remedy() {
    type Spoil<'a> = (&'a dyn Fn(&mut Case), &'a str);
    let spoil: [Spoil<'_>; 5] = [
        (&|case| case.base = None, "the checkpoint that the run is to go on from is not there"),
        (&|case| case.spec.input = values(json!({"n": 1})), "set values with `update`"),
        (
            &|case| case.spec.start = successor(&broken(), json!({"N": 1})).spec.start,
            "the update wrote channel `N`, which the graph does not declare: did you mean `n`?",
        ),
        (&|case| case.graph.edges.truncate(1), "is no `for_each` edge to it in this graph"),
        (
            &|case| drop(case.graph.nodes.remove("beside")),
            "the run is to go on at node `beside`, which the graph does not have",
        ),
    ];
    for (spoil, words) in spoil {
        let mut case = successor(&broken(), json!({}));
        spoil(&mut case);
        let then = said(&case.advance());
        assert!(then.contains(words) && then.ends_with("(bad_input)"), "{then}");
    }
}

#[test]
fn it_does_not_pause_where_it_is_let_go_on_but_later() {
    let mut case = successor(&broken(), json!({}));
    case.spec.interrupt_before = vec!["work".parse().unwrap(), "join".parse().unwrap()];
    assert_eq!(said(&case.advance()), "step 1: beside work work:1 work:2");
    assert_eq!(said(&case.step(&[])), "step 2: after");
    assert_eq!(said(&case.step(&[])), "pause 3");
}

#[test]
fn an_outcome_that_was_no_success_is_not_carried_over() {
    let mut origin = broken();
    for task in &mut origin.tasks {
        task.outcome = Some(Outcome::stopped(None));
    }
    let mut case = successor(&origin, json!({}));
    case.advance();
    assert!(done(&case.new_tasks).is_empty());
}
