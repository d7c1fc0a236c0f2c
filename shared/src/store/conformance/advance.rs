//! Cases of `advance`: steps, pauses, ends, and who is too late.
#![expect(missing_docs, reason = "the name of a case says what it shows")]

use serde_json::json;

use super::fixture::Fixture;
use super::make::{self, LONG, SHORT};
use crate::id::{Nonce, Revision, RunKey, Step, TaskKey};
use crate::limits::{FAN_OUT_MAX, PAGE_MAX};
use crate::plan::Then;
use crate::run::RunStatus;
use crate::stop::Cause;
use crate::store::{Advance, Advanced, NewRun, StopAnswer};
use crate::task::TaskState;

pub async fn a_step_makes_its_tasks(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    let tasks = vec![make::task("1:a:0"), make::wait("1:b:0", LONG), make::human("1:c:0")];
    let tasks = fixture.step(&key, 1, tasks).await;
    let run = fixture.run(&key).await;
    assert_eq!((run.status, run.step.get(), run.revision.get()), (RunStatus::Running, 1, 1));
    assert_eq!((run.open_tasks, run.open_leases), (2, 0), "one that waits for a human is not counted");
    for (task, state) in tasks.iter().zip([TaskState::Queued, TaskState::Waiting, TaskState::Human]) {
        let found = fixture.task(task).await;
        assert_eq!((found.state, found.attempts, found.crashes, found.fence.get()), (state, 0, 0, 0));
        assert_eq!((found.worker, found.started_at, found.outcome), (None, None, None));
        assert_eq!(found.payload.is_some(), state == TaskState::Human);
    }
    assert!(!fixture.is_ready(&key).await);
}

pub async fn the_same_plan_twice_is_done_once(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    let plan = fixture.plan(&key, make::step(1, vec![make::task("1:a:0")])).await;
    assert_eq!(fixture.store().advance(plan.clone()).await.unwrap(), Advanced::Ok);
    let task = TaskKey { run: key.clone(), task: "1:a:0".parse().unwrap() };
    let lease = fixture.lease(&task).await;
    assert_eq!(fixture.store().advance(plan.clone()).await.unwrap(), Advanced::Ok);
    assert_eq!(fixture.run(&key).await.revision.get(), 1);
    assert_eq!(fixture.task(&task).await.fence, lease.fence, "the task was not made anew");
    fixture.cancel(&key).await;
    assert_eq!(fixture.store().advance(plan).await.unwrap(), Advanced::Ok, "answered as the first time");
}

pub async fn a_plan_for_another_revision_is_too_late(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    let late = fixture.plan(&key, Then::Succeed).await;
    fixture.step(&key, 1, vec![make::settled("1:a:0", make::success())]).await;
    assert_eq!(fixture.store().advance(late.clone()).await.unwrap(), Advanced::Conflict);
    let early = Advance { expected: Revision::new(9), nonce: Nonce::fresh(), ..late };
    assert_eq!(fixture.store().advance(early).await.unwrap(), Advanced::Conflict);
    assert_eq!(fixture.status(&key).await, RunStatus::Running);
}

pub async fn a_plan_for_no_run_or_one_with_open_tasks_is_a_conflict(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    assert_eq!(fixture.advance(&key, Then::Succeed).await, Advanced::Conflict);
    let none = RunKey { id: make::run_id("none"), ..key.clone() };
    let plan = Advance { run: none, ..fixture.plan(&key, Then::Succeed).await };
    assert_eq!(fixture.store().advance(plan).await.unwrap(), Advanced::Conflict);
    fixture.done(&tasks[0]).await;
    assert_eq!(fixture.advance(&key, Then::Succeed).await, Advanced::Ok);
}

pub async fn values_are_kept_once_a_version(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    let odd = json!({"deep": [[], {}, "\u{0}", 1.5e-7, -0.0, 18_446_744_073_709_551_615_u64], "": null});
    let first = make::values(&[("x", 1.into()), ("odd", odd.clone())]);
    let again = |step| make::step(step, vec![make::settled(&format!("{step}:a:0"), make::success())]);
    fixture.write(&key, make::checkpoint(0, &[("x", 0), ("odd", 0)]), first.clone(), again(1)).await;
    let second = make::values(&[("x", 2.into())]);
    fixture.write(&key, make::checkpoint(1, &[("x", 1), ("odd", 0)]), second, again(2)).await;
    fixture.write(&key, make::checkpoint(2, &[("x", 1)]), make::values(&[]), again(3)).await;
    let values = |step| fixture.store().values(&key, Step::new(step));
    assert_eq!(values(0).await.unwrap(), Some(first));
    assert_eq!(values(1).await.unwrap(), Some(make::values(&[("x", 2.into()), ("odd", odd)])));
    assert_eq!(values(2).await.unwrap(), Some(make::values(&[("x", 2.into())])));
    assert_eq!(values(3).await.unwrap(), None);
    let stored = fixture.store().checkpoints(&key, Step::new(1), 1).await.unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].checkpoint, make::checkpoint(1, &[("x", 1), ("odd", 0)]));
    let steps: Vec<_> = fixture.store().checkpoints(&key, Step::new(0), 10).await.unwrap();
    assert_eq!(steps.iter().map(|stored| stored.checkpoint.step.get()).collect::<Vec<_>>(), [0, 1, 2]);
}

pub async fn a_step_whose_tasks_were_done_before_is_complete_at_once(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    let tasks = vec![make::settled("1:a:0", make::success()), make::settled("1:b:0", make::failed())];
    fixture.step(&key, 1, tasks).await;
    let ready = fixture.take_ready(&key).await;
    let outcomes: Vec<_> = ready[0].tasks.iter().map(|task| task.outcome.clone().unwrap()).collect();
    assert_eq!(outcomes, [make::success(), make::failed()]);
    assert!(ready[0].tasks.iter().all(|task| task.settled_at.is_some() && task.started_at.is_none()));
    assert_eq!(ready[0].run.status, RunStatus::Running, "it has no consequences before the plan");
}

pub async fn a_step_that_waits_for_humans_alone_goes_back_to_the_plan(fixture: &Fixture) {
    let (key, _) = fixture.dispatched("r", vec![make::human("1:ask:0")]).await;
    let ready = fixture.take_ready(&key).await;
    assert_eq!(ready.len(), 1);
    assert_eq!(ready[0].tasks[0].state, TaskState::Human);
    assert_eq!(ready[0].tasks[0].payload, Some("well?".into()));
}

pub async fn a_pause_interrupts_the_run_but_not_its_time(fixture: &Fixture) {
    let key = fixture.made(NewRun { run_timeout: SHORT, ..make::run("r") }).await;
    assert_eq!(fixture.advance(&key, Then::Pause { step: Step::new(1) }).await, Advanced::Ok);
    let run = fixture.run(&key).await;
    assert_eq!((run.status, run.step.get(), run.revision.get()), (RunStatus::Interrupted, 1, 1));
    assert!(!fixture.is_ready(&key).await);
    assert_eq!(fixture.advance(&key, Then::Succeed).await, Advanced::Conflict);
    fixture.pass(SHORT).await;
    assert_eq!(fixture.sweep(&key).await.overdue, std::slice::from_ref(&key));
    assert_eq!(fixture.status(&key).await, RunStatus::TimedOut);
}

pub async fn a_run_ends_well(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    fixture.checkpoint(&key, 0, 1, Then::Succeed).await;
    let run = fixture.run(&key).await;
    assert_eq!((run.status, run.stop, run.failure), (RunStatus::Succeeded, None, None));
    assert!(run.ended_at.is_some());
    let thread = fixture.thread(&key).await;
    assert_eq!((thread.active, thread.head), (None, Some((key.id.clone(), Step::new(0)))));
    assert!(!fixture.is_ready(&key).await);
    assert_eq!(fixture.advance(&key, Then::Succeed).await, Advanced::Frozen);
}

pub async fn a_run_ends_badly(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    fixture.advance(&key, Then::Fail { failure: make::failure(), order: None }).await;
    let run = fixture.run(&key).await;
    assert_eq!((run.status, run.stop, run.failure), (RunStatus::Failed, None, Some(make::failure())));
    assert!(fixture.audited(&key.id).await.is_empty());
}

pub async fn a_run_that_used_up_a_limit_ends_under_an_order_that_is_closed(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    let order = make::order(Cause::Loop);
    fixture.advance(&key, Then::Fail { failure: make::failure(), order: Some(order.clone()) }).await;
    let run = fixture.run(&key).await;
    let report = run.stop.unwrap();
    assert_eq!((run.status, run.failure), (RunStatus::Failed, Some(make::failure())));
    assert_eq!((&report.order.order, report.leases, report.closed_at), (&order, 0, run.ended_at));
    assert!(report.is_confirmed());
    assert_eq!(fixture.audited(&key.id).await, [("stop".to_owned(), "accepted".to_owned())]);
    let answer = fixture.cancel(&key).await;
    assert_eq!(answer, StopAnswer::Already { report, forced: false });
}

pub async fn a_step_may_have_ten_thousand_tasks(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    let tasks = (0..FAN_OUT_MAX).map(|item| make::task(&format!("1:work:{item}"))).collect();
    let tasks = fixture.step(&key, 1, tasks).await;
    assert_eq!(fixture.run(&key).await.open_tasks as usize, FAN_OUT_MAX);
    let mut seen = 0;
    while seen < FAN_OUT_MAX {
        let page = fixture.store().tasks(&key, Step::new(1), seen, PAGE_MAX).await.unwrap();
        assert_eq!(page.len(), PAGE_MAX);
        for task in page {
            assert_eq!(task.id.item as usize, seen);
            seen += 1;
        }
    }
    assert!(fixture.store().tasks(&key, Step::new(1), seen, PAGE_MAX).await.unwrap().is_empty());
    fixture.done(tasks.last().unwrap()).await;
    assert_eq!(fixture.run(&key).await.open_tasks as usize, FAN_OUT_MAX - 1);
    let answer = fixture.cancel(&key).await;
    assert!(matches!(&answer, StopAnswer::Accepted(report) if report.is_confirmed()), "{answer:?}");
}

pub async fn a_next_step_takes_the_place_of_the_last(fixture: &Fixture) {
    let (key, first) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let lease = fixture.lease(&first[0]).await;
    fixture.settle(&first[0], &lease, crate::store::Verdict::Done(make::success())).await;
    let second = fixture.step(&key, 2, vec![make::task("2:a:0")]).await;
    let run = fixture.run(&key).await;
    assert_eq!((run.step.get(), run.revision.get(), run.open_tasks), (2, 2, 1));
    assert_eq!(fixture.claim(make::claim(&first[0])).await, crate::store::Claimed::Stale);
    let again = fixture.settle(&first[0], &lease, crate::store::Verdict::Done(make::success())).await;
    assert_eq!(again, crate::store::Settled::Accepted { step_complete: true }, "a late repeat is answered as before");
    fixture.lease(&second[0]).await;
}
