//! Cases of child runs that wait for their turn in a group.
#![expect(missing_docs, reason = "the name of a case says what it shows")]

use std::time::Duration;

use super::fixture::Fixture;
use super::make::{self, SHORT};
use crate::id::{NodeName, RunKey, Step, TaskKey};
use crate::outcome::{FailureKind, Outcome};
use crate::plan::Then;
use crate::run::RunStatus;
use crate::stop::Cause;
use crate::store::{Advanced, NewRun, StopAnswer, StopTasks, TaskTally, TasksStopped};
use crate::task::{Dispatch, Group, NewTask, TaskState};

fn node() -> NodeName {
    NodeName::new("a").expect("a name")
}

/// A run with a group of children of node `a` that have these ids, one of them at a time.
async fn line_of(fixture: &Fixture, ids: &[&str], group: Group) -> (RunKey, Vec<TaskKey>) {
    let parent = fixture.begin("p").await;
    let child = |(item, id): (usize, &&str)| {
        let task = make::child(&parent, &format!("1:a:{item}"), id, 1);
        let Dispatch::Child { run } = task.dispatch else { unreachable!("a child stands for it") };
        let run = Box::new(NewRun { run_timeout: Duration::from_mins(1), ..*run });
        let dispatch = if item == 0 { Dispatch::Child { run } } else { Dispatch::PendingChild { run } };
        NewTask { dispatch, group: Some(0), fails_run: false, ..task }
    };
    let tasks: Vec<_> = ids.iter().enumerate().map(child).collect();
    let keys = tasks.iter().map(|task| TaskKey { run: parent.clone(), task: task.id.clone() }).collect();
    let advanced = fixture.advance(&parent, Then::Step { step: Step::new(1), tasks, groups: vec![group] }).await;
    assert_eq!(advanced, Advanced::Ok);
    (parent, keys)
}

fn group(count: u32) -> Group {
    Group { node: node(), first: 0, count, need: None, may_fail: None }
}

/// A run `p` with the children `c0`, `c1` and so on, one of them at a time.
async fn line(fixture: &Fixture, group: Group) -> (RunKey, Vec<TaskKey>) {
    let ids = ["c0", "c1", "c2"];
    line_of(fixture, &ids[..group.count as usize], group).await
}

fn key_of(parent: &RunKey, id: &str) -> RunKey {
    RunKey { partition: parent.partition, id: make::run_id(id) }
}

async fn is_there(fixture: &Fixture, id: &str) -> bool {
    let run = fixture.store().run(&make::run_id(id)).await.unwrap();
    assert_eq!(fixture.store().locate(&make::run_id(id)).await.unwrap(), run.as_ref().map(|run| run.key.clone()));
    run.is_some()
}

/// Lets a child run take its first plan, which ends it.
async fn end(fixture: &Fixture, child: &RunKey, then: Then) {
    assert!(fixture.take_ready(child).await.iter().any(|ready| ready.run.key == *child), "it waits for its plan");
    assert_eq!(fixture.advance(child, then).await, Advanced::Ok);
}

fn failing() -> Then {
    Then::Fail { failure: make::failure(), order: None }
}

async fn states(fixture: &Fixture, tasks: &[TaskKey]) -> Vec<&'static str> {
    let mut states = Vec::new();
    for task in tasks {
        states.push(fixture.task(task).await.state.name());
    }
    states
}

pub async fn a_child_is_made_when_it_is_its_turn_and_its_time_begins_then(fixture: &Fixture) {
    let (parent, tasks) = line(fixture, group(2)).await;
    assert_eq!(states(fixture, &tasks).await, ["child", "pending"]);
    assert_eq!((is_there(fixture, "c0").await, is_there(fixture, "c1").await), (true, false));
    assert_eq!(fixture.run(&parent).await.open_tasks, 2);
    fixture.pass(SHORT).await;
    let ended = fixture.store().now().await.unwrap();
    end(fixture, &key_of(&parent, "c0"), Then::Succeed).await;
    assert_eq!(states(fixture, &tasks).await, ["settled", "child"]);
    let next = fixture.run(&key_of(&parent, "c1")).await;
    assert!(next.started_at >= Some(ended) && next.created_at >= ended, "{next:?}");
    assert_eq!(next.deadline_at, next.started_at.map(|at| at.after(Duration::from_mins(1))));
    let link = next.parent.clone().unwrap();
    assert_eq!((link.run, link.task), (parent.id.clone(), tasks[1].task.clone()));
    end(fixture, &next.key, Then::Succeed).await;
    let outcome = Outcome::ChildEnded { run: next.key.id, status: RunStatus::Succeeded, failure: None };
    assert_eq!(fixture.outcome(&tasks[1]).await, outcome);
    assert!(fixture.is_ready(&parent).await);
}

pub async fn a_group_of_children_that_is_decided_makes_no_more(fixture: &Fixture) {
    let (parent, tasks) = line(fixture, Group { need: Some(1), ..group(3) }).await;
    end(fixture, &key_of(&parent, "c0"), Then::Succeed).await;
    assert_eq!(states(fixture, &tasks).await, ["settled"; 3]);
    assert!(fixture.is_ready(&parent).await);
    for id in ["c1", "c2"] {
        assert!(!is_there(fixture, id).await, "{id} is not needed");
    }
}

pub async fn children_that_fail_use_up_what_may_fail_of_their_group(fixture: &Fixture) {
    let (parent, tasks) = line(fixture, Group { may_fail: Some(1), ..group(3) }).await;
    end(fixture, &key_of(&parent, "c0"), failing()).await;
    assert_eq!(states(fixture, &tasks).await, ["settled", "child", "pending"]);
    end(fixture, &key_of(&parent, "c1"), failing()).await;
    assert_eq!(states(fixture, &tasks).await, ["settled"; 3]);
    assert!(!is_there(fixture, "c2").await);
    let Outcome::Stopped { skipped: true, why, .. } = fixture.outcome(&tasks[2]).await else {
        panic!("it was skipped")
    };
    assert_eq!(why.as_deref(), Some("by its fan-out: too many of its items failed"));
}

pub async fn a_run_that_is_stopped_makes_no_child_that_waits(fixture: &Fixture) {
    let (parent, _) = line(fixture, group(2)).await;
    fixture.cancel(&parent).await;
    let run = fixture.run(&parent).await;
    assert_eq!(
        (run.status, fixture.status(&key_of(&parent, "c0")).await),
        (RunStatus::Cancelled, RunStatus::Cancelled)
    );
    assert_eq!(run.stop.unwrap().leases, 1, "only the child that was there");
    assert!(!is_there(fixture, "c1").await);
}

pub async fn a_child_that_waits_can_be_stopped_by_its_task(fixture: &Fixture) {
    let (parent, tasks) = line(fixture, group(3)).await;
    let order = make::order(Cause::Cancelled);
    let stop = StopTasks { run: parent.id.clone(), node: node(), items: vec![1], skip: true, order };
    let tally = TaskTally { settled: 1, ..TaskTally::default() };
    assert_eq!(fixture.store().stop_tasks(stop).await.unwrap(), TasksStopped::Done(tally));
    assert_eq!(states(fixture, &tasks).await, ["child", "settled", "pending"]);
    end(fixture, &key_of(&parent, "c0"), Then::Succeed).await;
    assert_eq!(states(fixture, &tasks).await, ["settled", "settled", "child"]);
    assert!(!is_there(fixture, "c1").await && is_there(fixture, "c2").await);
}

pub async fn an_order_that_comes_before_its_turn_ends_a_child_at_it_and_the_next_follows(fixture: &Fixture) {
    let (parent, tasks) = line(fixture, group(3)).await;
    let early = key_of(&parent, "c1");
    assert_eq!(fixture.stop(&early.id, Cause::Cancelled).await, StopAnswer::Early);
    end(fixture, &key_of(&parent, "c0"), Then::Succeed).await;
    assert_eq!(states(fixture, &tasks).await, ["settled", "settled", "child"]);
    let run = fixture.run(&early).await;
    assert_eq!((run.status, run.started_at), (RunStatus::Cancelled, None));
    let outcome = Outcome::ChildEnded { run: early.id, status: RunStatus::Cancelled, failure: None };
    assert_eq!(fixture.outcome(&tasks[1]).await, outcome);
    assert_eq!(fixture.run(&parent).await.open_tasks, 1);
    fixture.cancel(&parent).await;
    assert_eq!(fixture.report(&parent).await.leases, 1, "only one child was open");
    assert_eq!(fixture.status(&parent).await, RunStatus::Cancelled);
}

pub async fn a_child_whose_id_is_taken_at_its_turn_fails_its_task_and_the_next_follows(fixture: &Fixture) {
    let (parent, tasks) = line_of(fixture, &["c0", "c0", "c2"], group(3)).await;
    end(fixture, &key_of(&parent, "c0"), Then::Succeed).await;
    assert_eq!(states(fixture, &tasks).await, ["settled", "settled", "child"]);
    let Outcome::Failed { failure } = fixture.outcome(&tasks[1]).await else { panic!("it has failed") };
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Child, "there is a run c0 already"));
    end(fixture, &key_of(&parent, "c2"), Then::Succeed).await;
    assert!(fixture.is_ready(&parent).await);
}

pub async fn a_child_that_waits_and_fails_its_run_at_its_turn_is_followed_by_none(fixture: &Fixture) {
    let (parent, mut tasks) = line(fixture, group(3)).await;
    end(fixture, &key_of(&parent, "c0"), failing()).await;
    assert_eq!(fixture.status(&parent).await, RunStatus::Running, "its tasks do not fail it");
    fixture.cancel(&key_of(&parent, "c1")).await;
    assert_eq!(states(fixture, &tasks).await, ["settled", "settled", "child"]);
    fixture.cancel(&parent).await;
    assert_eq!(fixture.task(&tasks.remove(2)).await.state, TaskState::Settled);
    assert_eq!(fixture.status(&parent).await, RunStatus::Cancelled);
}
