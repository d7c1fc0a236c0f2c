//! Cases of the count of ended runs: every way in which a run ends.
#![expect(missing_docs, reason = "the name of a case says what it shows")]

use std::time::Duration;

use super::fixture::Fixture;
use super::make::{self, LONG, SHORT};
use crate::id::RunKey;
use crate::plan::Then;
use crate::spend::Spend;
use crate::stop::Cause;
use crate::store::{Advanced, Claim, Claimed, NewRun, OnConflict, Release, Verdict};
use crate::task::NewTask;

/// What is counted: status, cause or nothing, and how many.
async fn counted(fixture: &Fixture) -> Vec<(&'static str, &'static str, u64)> {
    let ends = fixture.store().ends().await.unwrap().runs;
    ends.into_iter().map(|((status, cause), count)| (status.name(), cause.map_or("", Cause::name), count)).collect()
}

pub async fn ends_that_a_plan_brings_are_counted_by_status_and_cause(fixture: &Fixture) {
    assert!(counted(fixture).await.is_empty(), "nothing has ended in a fresh store");
    for id in ["a", "b"] {
        let key = fixture.begin(id).await;
        let plan = fixture.plan(&key, Then::Succeed).await;
        for _ in 0..2 {
            assert_eq!(fixture.store().advance(plan.clone()).await.unwrap(), Advanced::Ok);
        }
    }
    let failed = fixture.begin("failed").await;
    fixture.advance(&failed, Then::Fail { failure: make::failure(), order: None }).await;
    let spent = fixture.begin("spent").await;
    let order = Some(make::order(Cause::Loop));
    fixture.advance(&spent, Then::Fail { failure: make::failure(), order }).await;
    assert_eq!(counted(fixture).await, [("succeeded", "", 2), ("failed", "", 1), ("failed", "loop", 1)]);
}

pub async fn runs_that_stop_at_once_are_counted(fixture: &Fixture) {
    let fresh = fixture.begin("fresh").await;
    let (queued, _) = fixture.dispatched("queued", vec![make::task("1:a:0")]).await;
    let (paused, tasks) = fixture.dispatched("paused", vec![make::human("1:a:0")]).await;
    fixture.advance(&paused, Then::Pause { step: tasks[0].task.step }).await;
    for key in [&fresh, &queued, &paused] {
        fixture.cancel(key).await;
        fixture.cancel(key).await;
    }
    let budget = fixture.begin("budget").await;
    fixture.stop(&budget.id, Cause::Budget).await;
    assert_eq!(counted(fixture).await, [("failed", "budget", 1), ("cancelled", "cancelled", 3)]);
}

pub async fn the_last_release_of_a_stopped_run_is_counted_once(fixture: &Fixture) {
    let tasks = vec![make::task("1:a:0"), make::task("1:b:0")];
    let (key, tasks) = fixture.dispatched("r", tasks).await;
    let (first, second) = (fixture.lease(&tasks[0]).await, fixture.lease(&tasks[1]).await);
    fixture.cancel(&key).await;
    fixture.release(&tasks[0], &first, Release::HandedBack(Spend::default())).await;
    assert!(counted(fixture).await.is_empty());
    for _ in 0..2 {
        fixture.release(&tasks[1], &second, Release::Stopped(make::proof())).await;
    }
    assert_eq!(counted(fixture).await, [("cancelled", "cancelled", 1)]);
}

pub async fn a_lease_that_runs_out_under_an_order_is_counted_as_its_runs_end(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    fixture.lease_for(&tasks[0], SHORT).await;
    fixture.stop(&key.id, Cause::Policy).await;
    fixture.pass(SHORT).await;
    for _ in 0..2 {
        fixture.sweep(&key).await;
    }
    assert_eq!(counted(fixture).await, [("cancelled", "policy", 1)]);
}

pub async fn a_run_that_its_deadline_stops_is_counted_as_timed_out(fixture: &Fixture) {
    let brief = |id| NewRun { run_timeout: SHORT, ..make::run_on(id, "thread", OnConflict::Enqueue) };
    let idle = fixture.made(brief("idle")).await;
    fixture.pass(SHORT).await;
    fixture.sweep(&idle).await;
    let busy = fixture.made(brief("busy")).await;
    let tasks = fixture.step(&busy, 1, vec![make::task("1:a:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    fixture.pass(SHORT).await;
    fixture.sweep(&busy).await;
    assert_eq!(counted(fixture).await, [("timed_out", "deadline", 1)]);
    fixture.release(&tasks[0], &lease, Release::Stopped(make::proof())).await;
    assert_eq!(counted(fixture).await, [("timed_out", "deadline", 2)]);
}

pub async fn a_run_that_a_failure_beside_it_stops_is_counted_as_failed(fixture: &Fixture) {
    let (_, tasks) = fixture.dispatched("settled", vec![make::task("1:a:0"), make::task("1:b:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    fixture.settle(&tasks[0], &lease, Verdict::Done(make::failed())).await;
    let fragile = |id| crate::task::NewTask { max_crashes: 1, ..make::task(id) };
    let (key, tasks) = fixture.dispatched("crashed", vec![fragile("1:a:0"), make::task("1:b:0")]).await;
    fixture.lease_alone(&tasks[0], SHORT).await;
    fixture.pass(SHORT).await;
    fixture.sweep(&key).await;
    assert_eq!(counted(fixture).await, [("failed", "sibling_failed", 2)]);
}

pub async fn a_run_that_was_stopped_before_it_was_made_is_counted(fixture: &Fixture) {
    for id in ["alone", "child"] {
        fixture.stop(&make::run_id(id), Cause::Overload).await;
    }
    assert!(counted(fixture).await.is_empty());
    for _ in 0..2 {
        fixture.store().create_run(make::run("alone")).await.unwrap();
    }
    assert_eq!(counted(fixture).await, [("cancelled", "overload", 1)]);
    let parent = fixture.begin("parent").await;
    fixture.step(&parent, 1, vec![make::child(&parent, "1:a:0", "child", 1)]).await;
    assert_eq!(counted(fixture).await, [("cancelled", "overload", 2)]);
}

pub async fn runs_that_are_superseded_are_counted_whether_they_waited_or_were_in_flight(fixture: &Fixture) {
    for id in ["flight", "wait-1", "wait-2"] {
        fixture.made(make::run_on(id, "thread", OnConflict::Enqueue)).await;
    }
    fixture.made(make::run_on("new", "thread", OnConflict::Rollback)).await;
    assert_eq!(counted(fixture).await, [("cancelled", "superseded", 3)]);
}

pub async fn children_are_counted_beside_their_parents(fixture: &Fixture) {
    let child_of = |parent: &RunKey, id: &str| RunKey { partition: parent.partition, id: make::run_id(id) };
    let parent = fixture.begin("p").await;
    let tasks = vec![make::child(&parent, "1:a:0", "good", 1), make::child(&parent, "1:b:0", "idle", 1)];
    fixture.step(&parent, 1, tasks).await;
    fixture.succeed(&child_of(&parent, "good")).await;
    assert_eq!(counted(fixture).await, [("succeeded", "", 1)]);
    fixture.cancel(&parent).await;
    assert_eq!(counted(fixture).await, [("succeeded", "", 1), ("cancelled", "cancelled", 2)]);
}

pub async fn runs_in_flight_are_not_counted(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    fixture.lease(&tasks[0]).await;
    fixture.made(make::run_on("waits", "r", OnConflict::Enqueue)).await;
    fixture.cancel(&key).await;
    assert!(counted(fixture).await.is_empty());
}

/// Tasks that were given up as crashed, and those that no worker took in time.
async fn tasks_counted(fixture: &Fixture) -> (u64, u64) {
    let ends = fixture.store().ends().await.unwrap();
    (ends.tasks_crashed, ends.queue_timeouts)
}

pub async fn a_task_is_counted_as_crashed_whoever_finds_its_last_crash(fixture: &Fixture) {
    let poison = |task: &str| NewTask { max_crashes: 1, fails_run: false, ..make::task(task) };
    let (key, tasks) = fixture.dispatched("r", vec![poison("1:a:0"), poison("1:b:0"), poison("1:c:0")]).await;
    fixture.lease_alone(&tasks[0], LONG).await;
    let takeover = Claim { takeover_after: Some(Duration::ZERO), ..make::claim(&tasks[0]) };
    assert_eq!(fixture.claim(takeover.clone()).await, Claimed::Poisoned { crashes: 1, uncounted: 0 });
    assert_eq!(fixture.claim(takeover).await, Claimed::Stale);
    assert_eq!(tasks_counted(fixture).await, (1, 0), "by a claim");
    fixture.lease_alone(&tasks[1], SHORT).await;
    fixture.pass(SHORT).await;
    fixture.sweep(&key).await;
    assert_eq!(tasks_counted(fixture).await, (2, 0), "by a sweep");
    fixture.done(&tasks[2]).await;
    assert_eq!(tasks_counted(fixture).await, (2, 0));
}

pub async fn a_task_that_no_worker_takes_in_time_is_counted_whoever_finds_it(fixture: &Fixture) {
    let hasty = |task: &str| NewTask { queue_timeout: SHORT, fails_run: false, ..make::task(task) };
    let late = NewTask { timeout: SHORT, fails_run: false, ..make::task("1:c:0") };
    let (key, tasks) = fixture.dispatched("r", vec![hasty("1:a:0"), hasty("1:b:0"), late]).await;
    fixture.store().mark_sent(&tasks, LONG).await.unwrap();
    fixture.pass(SHORT).await;
    assert_eq!(fixture.claim(make::claim(&tasks[0])).await, Claimed::Stale);
    assert_eq!(tasks_counted(fixture).await, (0, 1), "by a claim");
    fixture.sweep(&key).await;
    assert_eq!(tasks_counted(fixture).await, (0, 2), "by a sweep, and the other limit is none of the queue");
}
