//! Cases of runs that meet on one thread: the four strategies, the queue and the head.
#![expect(missing_docs, reason = "the name of a case says what it shows")]

use super::fixture::Fixture;
use super::make;
use crate::id::{RunId, RunKey, Step};
use crate::limits::THREAD_QUEUE_MAX;
use crate::plan::Then;
use crate::run::RunStatus;
use crate::stop::Cause;
use crate::store::{Created, OnConflict, Release, StopAnswer};

/// Makes a run on thread `t`.
async fn on_thread(fixture: &Fixture, id: &str, on_conflict: OnConflict) -> RunKey {
    fixture.made(make::run_on(id, "t", on_conflict)).await
}

async fn queue(fixture: &Fixture, key: &RunKey) -> Vec<RunId> {
    fixture.thread(key).await.queue
}

pub async fn reject_says_which_run_is_in_flight_and_changes_nothing(fixture: &Fixture) {
    let first = on_thread(fixture, "a", OnConflict::Reject).await;
    let refused = fixture.store().create_run(make::run_on("b", "t", OnConflict::Reject)).await.unwrap();
    assert_eq!(refused, Created::Busy { active: first.id.clone() });
    assert!(fixture.store().run(&make::run_id("b")).await.unwrap().is_none());
    assert!(queue(fixture, &first).await.is_empty());
    fixture.succeed(&first).await;
    let made = fixture.store().create_run(make::run_on("b", "t", OnConflict::Reject)).await.unwrap();
    assert!(matches!(made, Created::Made { .. }), "a thread whose run has ended is free: {made:?}");
}

pub async fn enqueued_runs_start_in_the_order_in_which_they_came(fixture: &Fixture) {
    let a = on_thread(fixture, "a", OnConflict::Enqueue).await;
    let z = on_thread(fixture, "z", OnConflict::Enqueue).await;
    let b = on_thread(fixture, "b", OnConflict::Enqueue).await;
    assert_eq!(queue(fixture, &a).await, [z.id.clone(), b.id.clone()]);
    let waiting = fixture.run(&z).await;
    assert_eq!((waiting.status, waiting.started_at, waiting.deadline_at), (RunStatus::Queued, None, None));
    let ready: Vec<_> = fixture.take_ready(&a).await.into_iter().map(|ready| ready.run.key).collect();
    assert_eq!(ready, std::slice::from_ref(&a));

    fixture.checkpoint(&a, 0, 1, Then::Succeed).await;
    let thread = fixture.thread(&a).await;
    assert_eq!(thread.active, Some(z.id.clone()));
    assert_eq!(thread.queue, std::slice::from_ref(&b.id));
    assert_eq!(thread.head, Some((a.id.clone(), Step::new(0))));
    let started = fixture.run(&z).await;
    assert_eq!(started.base, Some((a.id.clone(), Step::new(0))));
    assert_eq!(started.deadline_at, started.started_at.map(|at| at.after(std::time::Duration::from_hours(1))));
    assert!(started.started_at.is_some());
    assert!(fixture.is_ready(&z).await);
    fixture.succeed(&z).await;
    assert_eq!(fixture.thread(&b).await.active, Some(b.id.clone()));
}

pub async fn a_thread_has_room_for_so_many_runs(fixture: &Fixture) {
    let first = on_thread(fixture, "first", OnConflict::Enqueue).await;
    for number in 0..THREAD_QUEUE_MAX {
        on_thread(fixture, &format!("r{number}"), OnConflict::Enqueue).await;
    }
    let refused = fixture.store().create_run(make::run_on("last", "t", OnConflict::Enqueue)).await.unwrap();
    assert_eq!(refused, Created::QueueFull { max: THREAD_QUEUE_MAX });
    assert!(fixture.store().run(&make::run_id("last")).await.unwrap().is_none());
    fixture.succeed(&first).await;
    on_thread(fixture, "last", OnConflict::Enqueue).await;
    assert_eq!(queue(fixture, &first).await.last(), Some(&make::run_id("last")));
}

pub async fn interrupt_takes_over_at_once_where_nothing_is_leased(fixture: &Fixture) {
    let a = on_thread(fixture, "a", OnConflict::Enqueue).await;
    fixture.checkpoint(&a, 0, 1, make::step(1, vec![make::task("1:n:0")])).await;
    let b = on_thread(fixture, "b", OnConflict::Interrupt).await;
    let stopped = fixture.run(&a).await;
    assert_eq!(stopped.status, RunStatus::Cancelled);
    let order = stopped.stop.unwrap().order.order;
    assert_eq!((order.cause, order.force, order.grace), (Cause::Superseded, false, None));
    assert_eq!((order.actor.as_str(), order.reason.as_deref()), ("run b", Some("superseded by run b")));
    let thread = fixture.thread(&b).await;
    assert_eq!((thread.active, thread.queue), (Some(b.id.clone()), vec![]));
    assert_eq!(thread.head, Some((a.id.clone(), Step::new(0))), "what was done is kept");
    assert_eq!(fixture.run(&b).await.base, Some((a.id.clone(), Step::new(0))));
    assert!(fixture.is_ready(&b).await);
    assert_eq!(fixture.audited(&a.id).await, [("stop".to_owned(), "accepted".to_owned())]);
}

pub async fn interrupt_waits_until_the_run_in_flight_has_stopped(fixture: &Fixture) {
    let a = on_thread(fixture, "a", OnConflict::Enqueue).await;
    let tasks = fixture.step(&a, 1, vec![make::task("1:n:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    let b = on_thread(fixture, "b", OnConflict::Interrupt).await;
    assert_eq!(fixture.status(&a).await, RunStatus::Stopping);
    assert_eq!(fixture.run(&b).await.started_at, None);
    assert_eq!(queue(fixture, &a).await, std::slice::from_ref(&b.id));
    fixture.release(&tasks[0], &lease, Release::Stopped(make::proof())).await;
    assert_eq!(fixture.status(&a).await, RunStatus::Cancelled);
    assert_eq!(fixture.thread(&b).await.active, Some(b.id.clone()));
    assert!(fixture.run(&b).await.started_at.is_some());
}

pub async fn interrupt_ends_the_runs_that_wait(fixture: &Fixture) {
    let first = on_thread(fixture, "a", OnConflict::Enqueue).await;
    let tasks = fixture.step(&first, 1, vec![make::task("1:n:0")]).await;
    fixture.lease(&tasks[0]).await;
    let second = on_thread(fixture, "b", OnConflict::Enqueue).await;
    let third = on_thread(fixture, "c", OnConflict::Interrupt).await;
    let ended = fixture.run(&second).await;
    assert_eq!((ended.status, ended.started_at), (RunStatus::Cancelled, None));
    assert_eq!(ended.stop.unwrap().order.order.cause, Cause::Superseded);
    let fourth = on_thread(fixture, "d", OnConflict::Interrupt).await;
    assert_eq!(fixture.status(&third).await, RunStatus::Cancelled);
    assert_eq!(queue(fixture, &first).await, std::slice::from_ref(&fourth.id));
    assert_eq!(fixture.report(&first).await.order.order.actor, "run c", "the first order holds");
    let entries = fixture.audited(&first.id).await;
    assert_eq!(entries, [("stop".to_owned(), "accepted".to_owned()), ("stop".to_owned(), "already".to_owned())]);
    let fifth = on_thread(fixture, "e", OnConflict::Enqueue).await;
    assert_eq!(queue(fixture, &first).await, [fourth.id, fifth.id]);
}

pub async fn rollback_takes_back_what_the_run_in_flight_has_done(fixture: &Fixture) {
    let a = on_thread(fixture, "a", OnConflict::Enqueue).await;
    fixture.checkpoint(&a, 0, 1, Then::Succeed).await;
    let b = on_thread(fixture, "b", OnConflict::Enqueue).await;
    fixture.checkpoint(&b, 0, 2, make::step(1, vec![make::task("1:n:0")])).await;
    let c = on_thread(fixture, "c", OnConflict::Rollback).await;
    assert_eq!(fixture.status(&b).await, RunStatus::Cancelled);
    let head = Some((a.id.clone(), Step::new(0)));
    assert_eq!(fixture.thread(&c).await.head, head);
    assert_eq!(fixture.run(&c).await.base, head);
    fixture.succeed(&c).await;
    assert_eq!(fixture.thread(&c).await.head, head, "a run without a checkpoint leaves the head alone");
}

pub async fn rollback_of_the_first_run_leaves_the_thread_without_a_head(fixture: &Fixture) {
    let a = on_thread(fixture, "a", OnConflict::Enqueue).await;
    fixture.checkpoint(&a, 0, 1, make::step(1, vec![make::task("1:n:0")])).await;
    let b = on_thread(fixture, "b", OnConflict::Rollback).await;
    assert_eq!(fixture.thread(&b).await.head, None);
    assert_eq!(fixture.run(&b).await.base, None);
}

pub async fn rollback_also_takes_back_a_run_that_is_being_stopped(fixture: &Fixture) {
    let a = on_thread(fixture, "a", OnConflict::Enqueue).await;
    fixture.checkpoint(&a, 0, 1, make::step(1, vec![make::task("1:n:0")])).await;
    let task = crate::id::TaskKey { run: a.clone(), task: "1:n:0".parse().unwrap() };
    let lease = fixture.lease(&task).await;
    fixture.cancel(&a).await;
    let b = on_thread(fixture, "b", OnConflict::Rollback).await;
    assert_eq!(fixture.report(&a).await.order.order.cause, Cause::Cancelled, "the first order holds");
    fixture.release(&task, &lease, Release::Stopped(make::proof())).await;
    assert_eq!(fixture.thread(&b).await.head, None);
    assert_eq!(fixture.thread(&b).await.active, Some(b.id));
}

pub async fn a_stopped_run_leaves_its_last_checkpoint_to_its_thread(fixture: &Fixture) {
    let a = on_thread(fixture, "a", OnConflict::Enqueue).await;
    fixture.checkpoint(&a, 0, 1, make::step(1, vec![make::task("1:n:0")])).await;
    fixture.cancel(&a).await;
    let thread = fixture.thread(&a).await;
    assert_eq!((thread.active, thread.head), (None, Some((a.id.clone(), Step::new(0)))));
}

pub async fn a_waiting_run_that_is_stopped_leaves_the_queue_and_no_trace_on_the_thread(fixture: &Fixture) {
    let a = on_thread(fixture, "a", OnConflict::Enqueue).await;
    let b = on_thread(fixture, "b", OnConflict::Enqueue).await;
    let c = on_thread(fixture, "c", OnConflict::Enqueue).await;
    let answer = fixture.cancel(&b).await;
    assert!(matches!(&answer, StopAnswer::Accepted(report) if report.closed_at.is_some()), "{answer:?}");
    assert_eq!(fixture.status(&b).await, RunStatus::Cancelled);
    let thread = fixture.thread(&a).await;
    assert_eq!((thread.active, thread.queue, thread.head), (Some(a.id.clone()), vec![c.id.clone()], None));
    fixture.succeed(&a).await;
    assert_eq!(fixture.thread(&a).await.active, Some(c.id));
}

pub async fn a_run_that_waits_is_not_advanced(fixture: &Fixture) {
    on_thread(fixture, "a", OnConflict::Enqueue).await;
    let b = on_thread(fixture, "b", OnConflict::Enqueue).await;
    assert_eq!(fixture.advance(&b, Then::Succeed).await, crate::store::Advanced::Conflict);
    assert_eq!(fixture.status(&b).await, RunStatus::Queued);
}
