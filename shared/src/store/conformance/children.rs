//! Cases of child runs: how they start and end with their parents.
#![expect(missing_docs, reason = "the name of a case says what it shows")]

use std::time::Duration;

use super::fixture::Fixture;
use super::make::{self, LONG, SHORT};
use crate::id::{RunKey, TaskKey};
use crate::outcome::{FailureKind, Outcome};
use crate::plan::Then;
use crate::run::RunStatus;
use crate::stop::Cause;
use crate::store::{NewRun, Release, Released, StopAnswer};
use crate::task::TaskState;

fn key_of(parent: &RunKey, id: &str) -> RunKey {
    RunKey { partition: parent.partition, id: make::run_id(id) }
}

/// A run `p` whose first step is one task, for which the child run `c` stands.
async fn family(fixture: &Fixture) -> (RunKey, TaskKey, RunKey) {
    let parent = fixture.begin("p").await;
    let tasks = fixture.step(&parent, 1, vec![make::child(&parent, "1:sub:0", "c", 1)]).await;
    let child = key_of(&parent, "c");
    (parent, tasks[0].clone(), child)
}

/// Three generations: `p`, `c` and `g`, which has a leased task.
async fn generations(fixture: &Fixture) -> (RunKey, RunKey, RunKey, TaskKey, crate::store::Lease) {
    let (parent, _, child) = family(fixture).await;
    fixture.step(&child, 1, vec![make::child(&child, "1:sub:0", "g", 2)]).await;
    let grandchild = key_of(&parent, "g");
    let tasks = fixture.step(&grandchild, 1, vec![make::task("1:work:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    (parent, child, grandchild, tasks[0].clone(), lease)
}

pub async fn a_child_starts_with_its_parents_step(fixture: &Fixture) {
    let (parent, task, child) = family(fixture).await;
    let run = fixture.run(&child).await;
    assert_eq!(run.key, child, "it has its parent's partition");
    assert_eq!(fixture.store().locate(&child.id).await.unwrap(), Some(child.clone()));
    let link = run.parent.unwrap();
    assert_eq!((link.run, link.task, link.depth), (parent.id.clone(), task.task.clone(), 1));
    assert!(run.started_at.is_some() && run.base.is_none());
    assert_eq!(run.status, RunStatus::Queued);
    assert_eq!(fixture.task(&task).await.state, TaskState::Child);
    assert_eq!(fixture.run(&parent).await.open_tasks, 1);
    let ready: Vec<_> = fixture.take_ready(&parent).await.into_iter().map(|ready| ready.run.key).collect();
    assert_eq!(ready, [child]);
}

pub async fn a_child_has_no_more_time_than_its_parent(fixture: &Fixture) {
    let parent = fixture.made(NewRun { run_timeout: LONG, ..make::run("p") }).await;
    let brief = NewRun { run_timeout: Duration::from_mins(1), ..make::run("brief") };
    let tasks = vec![make::child(&parent, "1:a:0", "c", 1), make::child_of(&parent, "1:b:0", brief, 1)];
    fixture.step(&parent, 1, tasks).await;
    let (child, brief) = (fixture.run(&key_of(&parent, "c")).await, fixture.run(&key_of(&parent, "brief")).await);
    assert_eq!(child.deadline_at, fixture.run(&parent).await.deadline_at);
    assert_eq!(brief.deadline_at, brief.started_at.map(|at| at.after(Duration::from_mins(1))));
}

pub async fn the_end_of_a_child_settles_its_parents_task(fixture: &Fixture) {
    let (parent, task, child) = family(fixture).await;
    fixture.take_ready(&parent).await;
    fixture.succeed(&child).await;
    let outcome = fixture.outcome(&task).await;
    assert_eq!(outcome, Outcome::ChildEnded { run: child.id, status: RunStatus::Succeeded, failure: None });
    assert_eq!(fixture.run(&parent).await.open_tasks, 0);
    assert!(fixture.is_ready(&parent).await);
}

pub async fn a_child_that_fails_stops_its_parents_other_tasks(fixture: &Fixture) {
    let parent = fixture.begin("p").await;
    let tasks = vec![make::child(&parent, "1:sub:0", "c", 1), make::task("1:work:0")];
    let tasks = fixture.step(&parent, 1, tasks).await;
    let lease = fixture.lease(&tasks[1]).await;
    let failed = Then::Fail { failure: make::failure(), order: None };
    fixture.advance(&key_of(&parent, "c"), failed).await;
    let run = fixture.run(&parent).await;
    assert_eq!(run.status, RunStatus::Stopping);
    let failure = run.failure.unwrap();
    assert_eq!((failure.kind, failure.chain.as_slice()), (FailureKind::Child, &["it broke".to_owned()][..]));
    let outcome = fixture.outcome(&tasks[0]).await;
    let why = Some(Box::new(make::failure()));
    let child = make::run_id("c");
    assert_eq!(outcome, Outcome::ChildEnded { run: child, status: RunStatus::Failed, failure: why });
    let order = run.stop.unwrap().order.order;
    assert_eq!((order.cause, order.actor.as_str()), (Cause::SiblingFailed, "node sub"));
    assert_eq!(order.reason, Some(failure.message));
    fixture.release(&tasks[1], &lease, Release::Stopped(make::proof())).await;
    assert_eq!(fixture.status(&parent).await, RunStatus::Failed);
}

pub async fn an_order_reaches_every_depth_and_the_last_release_ends_all(fixture: &Fixture) {
    let (parent, child, grandchild, task, lease) = generations(fixture).await;
    let StopAnswer::Accepted(report) = fixture.cancel(&parent).await else { panic!("not accepted") };
    assert_eq!((report.leases, report.closed_at), (1, None));
    for key in [&parent, &child, &grandchild] {
        assert_eq!(fixture.status(key).await, RunStatus::Stopping, "{key:?}");
        assert_eq!(fixture.report(key).await.order, report.order, "the same order with the same time");
    }
    let released = fixture.release(&task, &lease, Release::Stopped(make::proof())).await;
    assert_eq!(released, Released::Accepted { run_ended: true });
    for key in [&parent, &child, &grandchild] {
        let run = fixture.run(key).await;
        let report = run.stop.unwrap();
        assert_eq!((run.status, report.leases, report.released), (RunStatus::Cancelled, 1, 1), "{key:?}");
        assert!(report.is_confirmed());
    }
    assert_eq!(fixture.audited(&parent.id).await.len(), 1);
    assert!(fixture.audited(&child.id).await.is_empty(), "a cascade is one order, not many");
}

pub async fn the_last_release_of_a_parent_ends_nothing_while_a_child_is_open_however_often_it_is_repeated(
    fixture: &Fixture,
) {
    let parent = fixture.begin("p").await;
    let tasks = vec![make::child(&parent, "1:sub:0", "c", 1), make::task("1:work:0")];
    let tasks = fixture.step(&parent, 1, tasks).await;
    let own = fixture.lease(&tasks[1]).await;
    let child = key_of(&parent, "c");
    let works = fixture.step(&child, 1, vec![make::task("1:work:0")]).await;
    let lease = fixture.lease(&works[0]).await;
    fixture.cancel(&parent).await;
    let stopped = || Release::Stopped(make::proof());
    let (goes_on, ends) = (Released::Accepted { run_ended: false }, Released::Accepted { run_ended: true });
    for _ in 0..3 {
        assert_eq!(fixture.release(&tasks[1], &own, stopped()).await, goes_on);
        let run = fixture.run(&parent).await;
        let report = run.stop.unwrap();
        assert_eq!((run.status, run.open_tasks, run.open_leases), (RunStatus::Stopping, 1, 0));
        assert_eq!((report.leases, report.released, report.closed_at), (2, 1, None));
    }
    assert_eq!(fixture.release(&works[0], &lease, stopped()).await, ends);
    for _ in 0..2 {
        assert_eq!(fixture.release(&tasks[1], &own, stopped()).await, goes_on, "as it was answered first");
        assert_eq!(fixture.release(&works[0], &lease, stopped()).await, ends);
        let report = fixture.report(&parent).await;
        assert_eq!((report.released, report.unconfirmed), (2, 0));
        assert_eq!(fixture.status(&parent).await, RunStatus::Cancelled);
    }
}

pub async fn doubt_about_a_child_is_doubt_about_its_parent(fixture: &Fixture) {
    let (parent, child, grandchild, task, lease) = generations(fixture).await;
    fixture.cancel(&parent).await;
    fixture.release(&task, &lease, Release::Stopped(make::doubt())).await;
    for key in [&parent, &child, &grandchild] {
        let report = fixture.report(key).await;
        assert_eq!((report.released, report.unconfirmed), (0, 1), "{key:?}");
        assert!(report.closed_at.is_some() && !report.is_confirmed());
    }
}

pub async fn idle_children_stop_at_once_with_their_parent(fixture: &Fixture) {
    let parent = fixture.begin("p").await;
    let tasks = (0..3).map(|n| make::child(&parent, &format!("1:sub:{n}"), &format!("c{n}"), 1)).collect();
    let tasks = fixture.step(&parent, 1, tasks).await;
    let StopAnswer::Accepted(report) = fixture.cancel(&parent).await else { panic!("not accepted") };
    assert_eq!((report.leases, report.released, report.unconfirmed), (3, 3, 0));
    assert!(report.is_confirmed());
    for (number, task) in tasks.iter().enumerate() {
        let child = key_of(&parent, &format!("c{number}"));
        assert_eq!(fixture.status(&child).await, RunStatus::Cancelled);
        let outcome = Outcome::ChildEnded { run: child.id, status: RunStatus::Cancelled, failure: None };
        assert_eq!(fixture.outcome(task).await, outcome);
    }
    assert_eq!(fixture.run(&parent).await.open_tasks, 0);
    assert!(fixture.take_ready(&parent).await.is_empty());
}

pub async fn force_reaches_the_children(fixture: &Fixture) {
    let (parent, child, grandchild, ..) = generations(fixture).await;
    fixture.cancel(&parent).await;
    let answer = fixture.store().stop(&parent.id, make::force()).await.unwrap();
    assert!(matches!(answer, StopAnswer::Already { forced: true, .. }), "{answer:?}");
    for key in [&parent, &child, &grandchild] {
        assert!(fixture.report(key).await.forced_at.is_some(), "{key:?}");
    }
}

pub async fn a_child_that_is_stopped_alone_is_a_bad_outcome_of_its_task(fixture: &Fixture) {
    let (parent, task, child) = family(fixture).await;
    fixture.cancel(&child).await;
    let outcome = fixture.outcome(&task).await;
    assert_eq!(outcome, Outcome::ChildEnded { run: child.id, status: RunStatus::Cancelled, failure: None });
    let run = fixture.run(&parent).await;
    assert_eq!((run.status, run.stop), (RunStatus::Running, None), "nothing else is open: the plan decides");
    assert!(fixture.is_ready(&parent).await);
}

pub async fn a_child_whose_id_is_taken_fails_its_task(fixture: &Fixture) {
    let other = fixture.begin("c").await;
    let parent = fixture.begin("p").await;
    let tasks = fixture.step(&parent, 1, vec![make::child(&parent, "1:sub:0", "c", 1)]).await;
    let outcome = fixture.outcome(&tasks[0]).await;
    assert!(matches!(&outcome, Outcome::Failed { failure } if failure.kind == FailureKind::Child), "{outcome:?}");
    assert!(fixture.is_ready(&parent).await);
    assert_eq!(fixture.run(&other).await.parent, None);
}

pub async fn a_parents_deadline_stops_its_children_as_its_own(fixture: &Fixture) {
    let parent = fixture.made(NewRun { run_timeout: SHORT, ..make::run("p") }).await;
    fixture.step(&parent, 1, vec![make::child(&parent, "1:sub:0", "c", 1)]).await;
    fixture.pass(SHORT).await;
    let swept = fixture.sweep(&parent).await;
    assert_eq!(swept.overdue, std::slice::from_ref(&parent));
    assert_eq!(fixture.status(&parent).await, RunStatus::TimedOut);
    assert_eq!(fixture.status(&key_of(&parent, "c")).await, RunStatus::TimedOut);
}

pub async fn a_child_can_time_out_for_itself(fixture: &Fixture) {
    let parent = fixture.begin("p").await;
    let child = NewRun { run_timeout: SHORT, ..make::run("c") };
    let tasks = fixture.step(&parent, 1, vec![make::child_of(&parent, "1:sub:0", child, 1)]).await;
    fixture.pass(SHORT).await;
    let swept = fixture.sweep(&parent).await;
    let child = key_of(&parent, "c");
    assert_eq!(swept.overdue, std::slice::from_ref(&child));
    let outcome = Outcome::ChildEnded { run: child.id, status: RunStatus::TimedOut, failure: None };
    assert_eq!(fixture.outcome(&tasks[0]).await, outcome);
    assert!(fixture.is_ready(&parent).await);
}
