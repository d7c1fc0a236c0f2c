//! Cases of `stop`: the freeze, the report, force, and what stays readable.
#![expect(missing_docs, reason = "the name of a case says what it shows")]

use std::time::Duration;

use super::fixture::Fixture;
use super::make::{self, SHORT};
use crate::id::{RunKey, TaskKey};
use crate::outcome::Outcome;
use crate::plan::Then;
use crate::run::RunStatus;
use crate::stop::Cause;
use crate::store::{
    Advanced, Claimed, Lease, NewEvent, Release, Released, Resume, Resumed, Settled, Signal, StopAnswer, Verdict,
};
use crate::task::TaskState;

/// A run with two tasks, the first of them leased, under an order.
async fn stopping(fixture: &Fixture, id: &str) -> (RunKey, Vec<TaskKey>, Lease) {
    let (key, tasks) = fixture.dispatched(id, vec![make::task("1:a:0"), make::task("1:b:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    let answer = fixture.cancel(&key).await;
    assert!(matches!(&answer, StopAnswer::Accepted(report) if report.closed_at.is_none()), "{answer:?}");
    (key, tasks, lease)
}

pub async fn a_run_with_nothing_leased_stops_at_once(fixture: &Fixture) {
    let (key, _) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let StopAnswer::Accepted(report) = fixture.cancel(&key).await else { panic!("not accepted") };
    assert_eq!(report.order.order, make::order(Cause::Cancelled));
    assert_eq!((report.leases, report.released, report.unconfirmed), (0, 0, 0));
    assert!(report.is_confirmed());
    let run = fixture.run(&key).await;
    assert_eq!((run.status, run.ended_at), (RunStatus::Cancelled, report.closed_at));
    assert_eq!(run.stop, Some(report));
    assert_eq!(run.open_tasks, 1, "the counters stay as they were");
    assert_eq!(fixture.thread(&key).await.active, None);
    assert!(!fixture.is_ready(&key).await);
}

pub async fn a_run_that_waits_for_its_plan_is_not_ready_any_more(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    fixture.cancel(&key).await;
    assert!(!fixture.is_ready(&key).await);
    assert_eq!(fixture.advance(&key, Then::Succeed).await, Advanced::Frozen);
    assert_eq!(fixture.status(&key).await, RunStatus::Cancelled);
}

pub async fn after_the_order_nothing_of_the_run_is_claimed_or_written(fixture: &Fixture) {
    let (key, tasks, lease) = stopping(fixture, "r").await;
    assert_eq!(fixture.claim(make::claim(&tasks[1])).await, Claimed::Stopped);
    assert_eq!(fixture.settle(&tasks[0], &lease, Verdict::Done(make::success())).await, Settled::Frozen);
    let retry = Verdict::Retry { failure: make::failure(), after: Duration::ZERO };
    assert_eq!(fixture.settle(&tasks[0], &lease, retry).await, Settled::Frozen);
    assert_eq!(fixture.advance(&key, Then::Succeed).await, Advanced::Frozen);
    let event = NewEvent { task: tasks[0].task.clone(), kind: "progress".into(), value: 1.into() };
    fixture.store().emit(&key, vec![event]).await.unwrap();
    assert!(fixture.store().events(&key, 0, 10).await.unwrap().is_empty());
    let resume = Resume {
        run: key.clone(),
        nonce: crate::id::Nonce::fresh(),
        answers: [].into(),
        actor: "ann".into(),
        reason: None,
    };
    assert_eq!(fixture.store().resume(resume).await.unwrap(), Resumed::NotInterrupted(RunStatus::Stopping));
    let task = fixture.task(&tasks[0]).await;
    assert_eq!((task.state, task.outcome), (TaskState::Leased, None));
    assert_eq!(fixture.run(&key).await.open_leases, 1);
}

pub async fn the_last_release_ends_the_run(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0"), make::task("1:b:0")]).await;
    let (first, second) = (fixture.lease(&tasks[0]).await, fixture.lease(&tasks[1]).await);
    let StopAnswer::Accepted(report) = fixture.cancel(&key).await else { panic!("not accepted") };
    assert_eq!((report.leases, report.closed_at), (2, None));
    let released = fixture.release(&tasks[0], &first, Release::Stopped(make::proof())).await;
    assert_eq!(released, Released::Accepted { run_ended: false });
    let run = fixture.run(&key).await;
    assert_eq!((run.status, run.open_leases, run.stop.unwrap().released), (RunStatus::Stopping, 1, 1));
    let released = fixture.release(&tasks[1], &second, Release::Stopped(make::proof())).await;
    assert_eq!(released, Released::Accepted { run_ended: true });
    let run = fixture.run(&key).await;
    let report = run.stop.unwrap();
    assert_eq!((report.leases, report.released, report.unconfirmed), (2, 2, 0));
    assert!(report.is_confirmed());
    assert_eq!((run.status, run.ended_at, run.open_leases), (RunStatus::Cancelled, report.closed_at, 0));
    assert_eq!(fixture.claim(make::claim(&tasks[0])).await, Claimed::Stopped);
    assert_eq!(fixture.advance(&key, Then::Succeed).await, Advanced::Frozen);
}

pub async fn a_worker_that_is_not_sure_leaves_the_stop_unconfirmed(fixture: &Fixture) {
    let (key, tasks, lease) = stopping(fixture, "r").await;
    fixture.release(&tasks[0], &lease, Release::Stopped(make::doubt())).await;
    let report = fixture.report(&key).await;
    assert_eq!((report.released, report.unconfirmed), (0, 1));
    assert!(report.closed_at.is_some() && !report.is_confirmed());
}

pub async fn a_lease_that_runs_out_under_an_order_is_unconfirmed(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    fixture.lease_for(&tasks[0], SHORT).await;
    fixture.cancel(&key).await;
    fixture.pass(SHORT).await;
    let swept = fixture.sweep(&key).await;
    assert_eq!((swept.expired, swept.send.len(), swept.poisoned.len()), (1, 0, 0));
    let run = fixture.run(&key).await;
    let report = run.stop.unwrap();
    assert_eq!((run.status, report.released, report.unconfirmed), (RunStatus::Cancelled, 0, 1));
    assert!(!report.is_confirmed());
    assert_eq!(fixture.outcome(&tasks[0]).await, Outcome::stopped(None));
    assert_eq!(fixture.task(&tasks[0]).await.proof, None);
}

pub async fn the_first_order_holds(fixture: &Fixture) {
    let (key, tasks, lease) = stopping(fixture, "r").await;
    let answer = fixture.stop(&key.id, Cause::Deadline).await;
    let StopAnswer::Already { report, forced: false } = answer else { panic!("{answer:?}") };
    assert_eq!((report.order.order.cause, report.closed_at), (Cause::Cancelled, None));
    fixture.release(&tasks[0], &lease, Release::Stopped(make::proof())).await;
    assert_eq!(fixture.status(&key).await, RunStatus::Cancelled);
    let answer = fixture.stop(&key.id, Cause::Deadline).await;
    let StopAnswer::Already { report, forced: false } = answer else { panic!("{answer:?}") };
    assert_eq!(Some(report), fixture.run(&key).await.stop);
}

pub async fn force_follows_a_graceful_order_once(fixture: &Fixture) {
    let (key, tasks, lease) = stopping(fixture, "r").await;
    let mut signals = fixture.store().signals();
    let answer = fixture.store().stop(&key.id, make::force()).await.unwrap();
    let StopAnswer::Already { report, forced: true } = answer else { panic!("{answer:?}") };
    assert!(report.forced_at.is_some() && !report.order.order.force);
    let again = fixture.store().stop(&key.id, make::force()).await.unwrap();
    assert_eq!(again, StopAnswer::Already { report: report.clone(), forced: false });
    loop {
        // The push of the first order may be on its way still.
        match signals.recv().await.unwrap() {
            Signal::Stop { run, report: pushed, .. } if pushed.forced_at.is_some() => {
                assert_eq!((run, pushed.forced_at), (key.id.clone(), report.forced_at));
                break;
            }
            _ => {}
        }
    }
    fixture.release(&tasks[0], &lease, Release::Stopped(make::proof())).await;
    let results: Vec<_> = fixture.audited(&key.id).await.into_iter().map(|(_, result)| result).collect();
    assert_eq!(results, ["accepted", "forced", "already"]);
}

pub async fn force_is_not_added_to_force_or_to_a_run_that_has_closed(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    fixture.lease(&tasks[0]).await;
    fixture.store().stop(&key.id, make::force()).await.unwrap();
    let again = fixture.store().stop(&key.id, make::force()).await.unwrap();
    assert!(matches!(&again, StopAnswer::Already { report, forced: false } if report.forced_at.is_none()), "{again:?}");

    let closed = fixture.begin("closed").await;
    fixture.cancel(&closed).await;
    let again = fixture.store().stop(&closed.id, make::force()).await.unwrap();
    assert!(matches!(&again, StopAnswer::Already { report, forced: false } if report.forced_at.is_none()), "{again:?}");
}

pub async fn a_run_that_has_ended_by_itself_is_finished(fixture: &Fixture) {
    let good = fixture.begin("good").await;
    fixture.succeed(&good).await;
    assert_eq!(fixture.cancel(&good).await, StopAnswer::Finished(RunStatus::Succeeded));
    let bad = fixture.begin("bad").await;
    fixture.advance(&bad, Then::Fail { failure: make::failure(), order: None }).await;
    assert_eq!(fixture.cancel(&bad).await, StopAnswer::Finished(RunStatus::Failed));
    assert_eq!(fixture.run(&bad).await.stop, None);
}

pub async fn the_cause_decides_the_end(fixture: &Fixture) {
    for cause in Cause::ALL {
        let key = fixture.begin(cause.name()).await;
        fixture.stop(&key.id, cause).await;
        assert_eq!(fixture.status(&key).await, cause.end(), "{cause}");
    }
}

pub async fn an_interrupted_run_can_be_stopped(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::human("1:ask:0")]).await;
    fixture.advance(&key, Then::Pause { step: tasks[0].task.step }).await;
    assert_eq!(fixture.status(&key).await, RunStatus::Interrupted);
    fixture.cancel(&key).await;
    assert_eq!(fixture.status(&key).await, RunStatus::Cancelled);
}

pub async fn every_order_is_in_the_audit_trail_with_what_came_of_it(fixture: &Fixture) {
    let id = make::run_id("r");
    fixture.stop(&id, Cause::Cancelled).await;
    fixture.store().create_run(make::run("r")).await.unwrap();
    fixture.stop(&id, Cause::Policy).await;
    let done = fixture.begin("done").await;
    fixture.succeed(&done).await;
    fixture.cancel(&done).await;
    let entries = fixture.audit(&id).await;
    let results: Vec<_> = entries.iter().map(|entry| (entry.action.as_str(), entry.result.as_str())).collect();
    assert_eq!(results, [("stop", "early"), ("stop", "already")]);
    assert!(entries.iter().all(|entry| entry.run == id && entry.actor == "ann@host"));
    assert!(entries.iter().all(|entry| entry.reason.as_deref() == Some("too slow")));
    assert_eq!(fixture.audited(&done.id).await, [("stop".to_owned(), "finished".to_owned())]);
}

pub async fn an_order_is_pushed_where_leases_are_open(fixture: &Fixture) {
    let idle = fixture.begin("idle").await;
    let (busy, tasks) = fixture.dispatched("busy", vec![make::task("1:a:0")]).await;
    fixture.lease(&tasks[0]).await;
    let mut signals = fixture.store().signals();
    fixture.cancel(&idle).await;
    fixture.cancel(&busy).await;
    loop {
        if let Signal::Stop { run, made_at, report } = signals.recv().await.unwrap() {
            assert_eq!(made_at, fixture.run(&busy).await.created_at);
            assert_eq!(run, busy.id, "nobody has to hear of a run without leases");
            assert_eq!(*report, fixture.report(&busy).await);
            break;
        }
    }
}

pub async fn what_was_done_in_the_unfinished_step_stays_readable(fixture: &Fixture) {
    let tasks = vec![make::task("1:a:0"), make::task("1:b:0"), make::task("1:c:0")];
    let (key, tasks) = fixture.dispatched("r", tasks).await;
    fixture.done(&tasks[0]).await;
    let lease = fixture.lease(&tasks[1]).await;
    fixture.cancel(&key).await;
    let proof = crate::stop::StopProof { partial: Some("half".into()), ..make::proof() };
    fixture.release(&tasks[1], &lease, Release::Stopped(proof)).await;
    let found = fixture.store().tasks(&key, tasks[0].task.step, 0, 10).await.unwrap();
    let outcomes: Vec<_> = found.iter().map(|task| (task.state, task.outcome.clone())).collect();
    assert_eq!(
        outcomes,
        [
            (TaskState::Settled, Some(make::success())),
            (TaskState::Settled, Some(Outcome::stopped(Some("half".into())))),
            (TaskState::Queued, None),
        ]
    );
}

pub async fn queued_tasks_of_a_stopped_run_are_not_handed_out(fixture: &Fixture) {
    let (key, tasks, lease) = stopping(fixture, "r").await;
    let limits = crate::store::SweepLimits { ahead: make::LONG * 10, ..make::limits() };
    assert!(fixture.sweep_within(&key, limits).await.send.is_empty());
    fixture.release(&tasks[0], &lease, Release::Stopped(make::proof())).await;
    fixture.store().mark_sent(&tasks, Duration::ZERO).await.unwrap();
    assert!(fixture.sweep_within(&key, limits).await.send.is_empty());
}

pub async fn many_runs_are_stopped_one_after_the_other(fixture: &Fixture) {
    let mut keys = Vec::new();
    for number in 0..200 {
        keys.push(fixture.begin(&format!("r{number}")).await);
    }
    let answers = futures_util::future::join_all(keys.iter().map(|key| fixture.cancel(key))).await;
    assert!(answers.iter().all(|answer| matches!(answer, StopAnswer::Accepted(report) if report.is_confirmed())));
    for key in &keys {
        assert_eq!(fixture.status(key).await, RunStatus::Cancelled);
        assert!(!fixture.is_ready(key).await);
    }
}
