//! Cases of `renew`, `settle` and `release`: what becomes of a lease.
#![expect(missing_docs, reason = "the name of a case says what it shows")]

use std::time::Duration;

use super::fixture::Fixture;
use super::make::{self, LONG, SHORT};
use crate::id::{Fence, RunKey, TaskKey};
use crate::limits::{HANDED_BACK_PAUSE, Limit};
use crate::outcome::{Outcome, OutcomeKind};
use crate::run::RunStatus;
use crate::spend::Spend;
use crate::stop::{Cause, NewOrder, StopProof};
use crate::store::{Claimed, Lease, Release, Released, Renewal, Renewed, Settle, Settled, StopAnswer, Verdict};
use crate::task::{HandedBack, NewTask, TaskState};

const DONE: Settled = Settled::Accepted { step_complete: true };
const NOT_YET: Settled = Settled::Accepted { step_complete: false };

async fn renew(fixture: &Fixture, task: &TaskKey, lease: &Lease, ttl: Duration) -> Renewed {
    let renewal = Renewal { task: task.clone(), fence: lease.fence, ttl, spent: Spend::default() };
    fixture.store().renew(&[renewal]).await.unwrap().remove(0)
}

fn retry(after: Duration) -> Verdict {
    Verdict::Retry { failure: make::failure(), after }
}

pub async fn a_renewed_lease_lives_on(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let lease = fixture.lease_for(&tasks[0], SHORT).await;
    fixture.pass(SHORT).await;
    assert_eq!(renew(fixture, &tasks[0], &lease, LONG).await, Renewed::Held, "it has run out, but nobody has swept");
    assert_eq!(fixture.sweep(&key).await.expired, 0);
    assert_eq!(fixture.task(&tasks[0]).await.state, TaskState::Leased);
}

pub async fn renewals_are_answered_one_by_one_in_their_order(fixture: &Fixture) {
    let (_, tasks) = fixture.dispatched("r", vec![make::task("1:a:0"), make::task("1:b:0")]).await;
    let held = fixture.lease(&tasks[0]).await;
    let (stopped, more) = fixture.dispatched("s", vec![make::task("1:a:0")]).await;
    let other = fixture.lease(&more[0]).await;
    fixture.cancel(&stopped).await;
    let renewal = |task: &TaskKey, fence| Renewal { task: task.clone(), fence, ttl: LONG, spent: Spend::default() };
    let absent = TaskKey { run: RunKey { id: make::run_id("none"), ..stopped.clone() }, task: tasks[0].task.clone() };
    let renewals = [
        renewal(&tasks[1], held.fence),
        renewal(&more[0], other.fence),
        renewal(&tasks[0], held.fence),
        renewal(&tasks[0], held.fence.next()),
        renewal(&absent, held.fence),
    ];
    let report = Box::new(fixture.report(&stopped).await);
    let wanted = [Renewed::Lost, Renewed::Stop(report), Renewed::Held, Renewed::Lost, Renewed::Lost];
    assert_eq!(fixture.store().renew(&renewals).await.unwrap(), wanted);
    assert!(fixture.store().renew(&[]).await.unwrap().is_empty());
}

pub async fn under_an_order_a_lease_lives_for_the_grace_alone(fixture: &Fixture) {
    let task = NewTask { grace: LONG, ..make::task("1:a:0") };
    let (key, tasks) = fixture.dispatched("r", vec![task.clone()]).await;
    let lease = fixture.lease(&tasks[0]).await;
    let order = NewOrder { grace: Some(Duration::ZERO), ..make::order(Cause::Cancelled) };
    fixture.store().stop(&key.id, order).await.unwrap();
    assert!(matches!(renew(fixture, &tasks[0], &lease, LONG).await, Renewed::Stop(_)));
    fixture.pass(SHORT).await;
    assert_eq!(renew(fixture, &tasks[0], &lease, SHORT).await, Renewed::Lost, "order + no grace + ttl is past");
    let released = fixture.release(&tasks[0], &lease, Release::Stopped(make::proof())).await;
    assert_eq!(released, Released::Accepted { run_ended: true }, "it can still be released");

    let (key, tasks) = fixture.dispatched("own", vec![task]).await;
    let lease = fixture.lease(&tasks[0]).await;
    fixture.cancel(&key).await;
    fixture.pass(SHORT).await;
    let answer = renew(fixture, &tasks[0], &lease, SHORT).await;
    assert!(matches!(answer, Renewed::Stop(_)), "the task's own grace holds where the order has none: {answer:?}");
}

pub async fn a_lease_past_its_tasks_time_is_lost(fixture: &Fixture) {
    let task = NewTask { timeout: SHORT, grace: Duration::ZERO, ..make::task("1:a:0") };
    let (_, tasks) = fixture.dispatched("r", vec![task]).await;
    let lease = fixture.lease(&tasks[0]).await;
    fixture.pass(SHORT * 2).await;
    assert_eq!(renew(fixture, &tasks[0], &lease, LONG).await, Renewed::Held);
    assert_eq!(renew(fixture, &tasks[0], &lease, SHORT).await, Renewed::Lost);
    let settled = fixture.settle(&tasks[0], &lease, Verdict::Done(make::success())).await;
    assert_eq!(settled, DONE, "it is still the worker's, though not for longer");
}

pub async fn an_outcome_is_kept_and_completes_the_step(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0"), make::task("1:b:0")]).await;
    let (first, second) = (fixture.lease(&tasks[0]).await, fixture.lease(&tasks[1]).await);
    let outcome = Outcome::Succeeded { writes: make::values(&[("x", 1.into())]), goto: vec!["END".to_owned()] };
    assert_eq!(fixture.settle(&tasks[0], &first, Verdict::Done(outcome.clone())).await, NOT_YET);
    let run = fixture.run(&key).await;
    assert_eq!((run.open_tasks, run.open_leases), (1, 1));
    assert_eq!(fixture.settle(&tasks[1], &second, Verdict::Done(make::success())).await, DONE);
    let found = fixture.task(&tasks[0]).await;
    assert_eq!((found.state, found.outcome), (TaskState::Settled, Some(outcome)));
    assert!(found.settled_at.is_some() && found.settled_at >= found.started_at);
    assert!(fixture.is_ready(&key).await);
}

pub async fn the_same_settle_twice_is_answered_alike(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0"), make::task("1:b:0")]).await;
    let (first, second) = (fixture.lease(&tasks[0]).await, fixture.lease(&tasks[1]).await);
    assert_eq!(fixture.settle(&tasks[0], &first, Verdict::Done(make::success())).await, NOT_YET);
    assert_eq!(fixture.settle(&tasks[1], &second, Verdict::Done(make::success())).await, DONE);
    assert_eq!(fixture.settle(&tasks[0], &first, Verdict::Done(make::success())).await, NOT_YET);
    assert_eq!(fixture.settle(&tasks[1], &second, Verdict::Done(make::failed())).await, DONE);
    assert_eq!(fixture.outcome(&tasks[1]).await, make::success(), "a repeat writes nothing");
    assert_eq!(fixture.release(&tasks[1], &second, Release::HandedBack(Spend::default())).await, Released::Stale);
    fixture.cancel(&key).await;
    assert_eq!(fixture.settle(&tasks[1], &second, Verdict::Done(make::success())).await, DONE);
}

pub async fn a_write_with_a_fence_that_is_not_the_holders_is_refused(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0"), make::task("1:b:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    for fence in [Fence::new(0), lease.fence.next()] {
        let wrong = Lease { fence, ..lease.clone() };
        assert_eq!(fixture.settle(&tasks[0], &wrong, Verdict::Done(make::success())).await, Settled::Stale);
        assert_eq!(fixture.settle(&tasks[1], &wrong, retry(SHORT)).await, Settled::Stale);
        assert_eq!(fixture.release(&tasks[0], &wrong, Release::HandedBack(Spend::default())).await, Released::Stale);
    }
    let absent = TaskKey { run: RunKey { id: make::run_id("none"), ..key }, task: tasks[0].task.clone() };
    let settle = Settle {
        task: absent.clone(),
        fence: lease.fence,
        verdict: Verdict::Done(make::success()),
        spent: Spend::default(),
    };
    assert_eq!(fixture.store().settle(settle).await.unwrap(), Settled::Stale);
    assert_eq!(fixture.release(&absent, &lease, Release::HandedBack(Spend::default())).await, Released::Stale);
    assert_eq!(fixture.task(&tasks[0]).await.state, TaskState::Leased);
}

pub async fn a_failed_try_is_repeated_after_its_pause(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    assert_eq!(fixture.settle(&tasks[0], &lease, retry(SHORT)).await, NOT_YET);
    let found = fixture.task(&tasks[0]).await;
    assert_eq!((found.state, found.attempts, found.outcome), (TaskState::Delayed, 1, None));
    assert_eq!(found.last_failure, Some(make::failure()));
    let run = fixture.run(&key).await;
    assert_eq!((run.open_tasks, run.open_leases), (1, 0));
    assert_eq!(fixture.settle(&tasks[0], &lease, retry(SHORT)).await, NOT_YET);
    fixture.pass(SHORT).await;
    let swept = fixture.sweep(&key).await;
    assert_eq!(
        swept.send.iter().map(|sending| (&sending.task, sending.again)).collect::<Vec<_>>(),
        [(&tasks[0], false)]
    );
    assert_eq!(fixture.settle(&tasks[0], &lease, retry(SHORT)).await, NOT_YET, "queued again: still the last answer");
    let second = fixture.lease(&tasks[0]).await;
    assert_eq!((second.attempt.get(), second.crashes), (2, 0));
    assert_eq!(fixture.settle(&tasks[0], &lease, retry(SHORT)).await, Settled::Stale);
    assert_eq!(fixture.settle(&tasks[0], &second, Verdict::Done(make::success())).await, DONE);
    assert_eq!(fixture.task(&tasks[0]).await.attempts, 2);
}

pub async fn a_task_that_is_put_off_comes_back_later_and_was_not_tried(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let put_off = || Verdict::PutOff { failure: make::failure(), after: SHORT };
    for _ in 0..3 {
        let lease = fixture.lease(&tasks[0]).await;
        assert_eq!(lease.attempt.get(), 1);
        assert_eq!(fixture.settle(&tasks[0], &lease, put_off()).await, NOT_YET);
        assert_eq!(fixture.settle(&tasks[0], &lease, put_off()).await, NOT_YET, "a repeat");
        let found = fixture.task(&tasks[0]).await;
        assert_eq!((found.state, found.attempts, found.crashes, found.outcome), (TaskState::Delayed, 0, 0, None));
        assert_eq!(found.last_failure, Some(make::failure()));
        let run = fixture.run(&key).await;
        assert_eq!((run.open_tasks, run.open_leases), (1, 0));
        assert_eq!(fixture.claim(make::claim(&tasks[0])).await, Claimed::Stale, "not before its time");
        fixture.pass(SHORT).await;
        assert_eq!(fixture.sweep(&key).await.send.len(), 1);
    }
    let lease = fixture.lease(&tasks[0]).await;
    fixture.cancel(&key).await;
    assert_eq!(fixture.settle(&tasks[0], &lease, put_off()).await, Settled::Frozen);
}

pub async fn a_pause_ends_with_the_tasks_time_at_the_latest(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![NewTask { timeout: SHORT, ..make::task("1:a:0") }]).await;
    let lease = fixture.lease(&tasks[0]).await;
    fixture.settle(&tasks[0], &lease, retry(LONG)).await;
    fixture.pass(SHORT).await;
    let swept = fixture.sweep(&key).await;
    assert_eq!((swept.send.len(), swept.queue_timeouts), (0, 0));
    let outcome = fixture.outcome(&tasks[0]).await;
    assert!(matches!(outcome, Outcome::TimedOut { limit: Limit::Timeout, .. }), "{outcome:?}");
    assert!(fixture.is_ready(&key).await);
}

pub async fn a_failure_stops_its_siblings_and_fails_the_run(fixture: &Fixture) {
    let (key, tasks) =
        fixture.dispatched("r", vec![make::task("1:a:0"), make::task("1:b:0"), make::task("1:c:0")]).await;
    let (first, second) = (fixture.lease(&tasks[0]).await, fixture.lease(&tasks[1]).await);
    assert_eq!(fixture.settle(&tasks[0], &first, Verdict::Done(make::failed())).await, NOT_YET);
    let run = fixture.run(&key).await;
    assert_eq!((run.status, run.failure, run.open_leases), (RunStatus::Stopping, Some(make::failure()), 1));
    let order = run.stop.unwrap().order.order;
    assert_eq!((order.cause, order.force, order.grace), (Cause::SiblingFailed, false, None));
    assert_eq!((order.actor.as_str(), order.reason.as_deref()), ("node a", Some("it broke")));
    assert_eq!(fixture.settle(&tasks[0], &first, Verdict::Done(make::failed())).await, NOT_YET, "a repeat");
    assert_eq!(fixture.claim(make::claim(&tasks[2])).await, Claimed::Stopped);
    fixture.release(&tasks[1], &second, Release::Stopped(make::proof())).await;
    assert_eq!(fixture.status(&key).await, RunStatus::Failed);
    assert_eq!(fixture.audited(&key.id).await, [("stop".to_owned(), "accepted".to_owned())]);
}

pub async fn a_failure_without_open_siblings_goes_to_the_plan(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0"), make::human("1:ask:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    assert_eq!(
        fixture.settle(&tasks[0], &lease, Verdict::Done(make::failed())).await,
        DONE,
        "a human is not waited for"
    );
    let run = fixture.run(&key).await;
    assert_eq!((run.status, run.failure, run.stop), (RunStatus::Running, None, None));
    assert!(fixture.is_ready(&key).await);
}

pub async fn a_failure_that_the_graph_handles_leaves_the_siblings_alone(fixture: &Fixture) {
    let handled = NewTask { fails_run: false, ..make::task("1:a:0") };
    let (key, tasks) = fixture.dispatched("r", vec![handled, make::task("1:b:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    assert_eq!(fixture.settle(&tasks[0], &lease, Verdict::Done(make::failed())).await, NOT_YET);
    assert_eq!(fixture.status(&key).await, RunStatus::Running);
    assert_eq!(fixture.done(&tasks[1]).await, DONE);
}

pub async fn a_task_that_is_handed_back_was_not_tried(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    let back = Released::HandedBack(HandedBack { times: 1, without_order: false });
    assert_eq!(fixture.release(&tasks[0], &lease, Release::HandedBack(Spend::default())).await, back);
    assert_eq!(fixture.release(&tasks[0], &lease, Release::HandedBack(Spend::default())).await, back, "a repeat");
    let found = fixture.task(&tasks[0]).await;
    assert_eq!((found.state, found.attempts, found.crashes), (TaskState::Queued, 0, 0));
    assert_eq!(fixture.run(&key).await.open_leases, 0);
    let swept = fixture.sweep(&key).await;
    assert_eq!(
        swept.send.iter().map(|sending| (&sending.task, sending.again)).collect::<Vec<_>>(),
        [(&tasks[0], false)]
    );
    assert_eq!(fixture.settle(&tasks[0], &lease, Verdict::Done(make::success())).await, Settled::Stale);
    assert_eq!(fixture.lease(&tasks[0]).await.attempt.get(), 1);
    assert_eq!(fixture.release(&tasks[0], &lease, Release::HandedBack(Spend::default())).await, Released::Stale);
}

pub async fn without_an_order_a_stopped_attempt_counts_as_handed_back(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    let released = fixture.release(&tasks[0], &lease, Release::Stopped(make::proof())).await;
    let back = HandedBack { times: 1, without_order: true };
    assert_eq!(released, Released::HandedBack(back), "and its worker is told");
    let again = fixture.release(&tasks[0], &lease, Release::Stopped(make::proof())).await;
    assert_eq!(again, Released::HandedBack(back), "a repeat");
    let found = fixture.task(&tasks[0]).await;
    assert_eq!((found.state, found.attempts, found.outcome, found.proof), (TaskState::Queued, 0, None, None));
    assert_eq!(found.handed_back, Some(back));
    assert_eq!(fixture.status(&key).await, RunStatus::Running);
}

pub async fn a_task_that_is_handed_back_again_and_again_waits_and_a_try_ends_that(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let back = async |times| {
        let lease = fixture.lease(&tasks[0]).await;
        let released = fixture.release(&tasks[0], &lease, Release::HandedBack(Spend::default())).await;
        assert_eq!(released, Released::HandedBack(HandedBack { times, without_order: false }));
        (fixture.task(&tasks[0]).await, fixture.run(&key).await.open_leases)
    };
    for times in [1, 2] {
        let (task, leases) = back(times).await;
        assert_eq!((task.state, leases), (TaskState::Queued, 0), "at once");
    }
    let (task, leases) = back(3).await;
    assert_eq!((task.state, task.attempts, leases), (TaskState::Delayed, 0, 0));
    assert_eq!(fixture.claim(make::claim(&tasks[0])).await, Claimed::Stale);
    assert!(fixture.sweep(&key).await.send.is_empty());
    fixture.pass(HANDED_BACK_PAUSE).await;
    assert_eq!(fixture.sweep(&key).await.send.len(), 1);
    let lease = fixture.lease(&tasks[0]).await;
    fixture.settle(&tasks[0], &lease, retry(Duration::ZERO)).await;
    assert_eq!(fixture.task(&tasks[0]).await.handed_back, None);
    fixture.sweep(&key).await;
    assert_eq!(back(1).await.0.state, TaskState::Queued, "at once again");
}

pub async fn a_stopped_attempt_leaves_its_testimony(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    fixture.cancel(&key).await;
    let proof = StopProof {
        spent: Spend { output_tokens: 7, ..Spend::default() },
        observed_at: Some(lease.now),
        stopped_at: Some(lease.now.after(Duration::from_millis(1))),
        cleaned_at: Some(lease.now.after(Duration::from_millis(2))),
        refused_result: true,
        confirmed: true,
        doubt: None,
        partial: Some("half".into()),
    };
    let ended = Released::Accepted { run_ended: true };
    assert_eq!(fixture.release(&tasks[0], &lease, Release::Stopped(proof.clone())).await, ended);
    assert_eq!(fixture.release(&tasks[0], &lease, Release::Stopped(make::doubt())).await, ended, "a repeat");
    let found = fixture.task(&tasks[0]).await;
    assert_eq!((found.state, found.proof), (TaskState::Settled, Some(proof)));
    assert_eq!(found.outcome, Some(Outcome::stopped(Some("half".into()))));
    assert_eq!(found.outcome.map(|outcome| outcome.kind()), Some(OutcomeKind::Stopped));
    let report = fixture.report(&key).await;
    assert_eq!((report.released, report.unconfirmed), (1, 0));
}

pub async fn under_an_order_a_task_that_is_handed_back_counts_as_stopped(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    let StopAnswer::Accepted(_) = fixture.cancel(&key).await else { panic!("not accepted") };
    let released = fixture.release(&tasks[0], &lease, Release::HandedBack(Spend::default())).await;
    assert_eq!(released, Released::Accepted { run_ended: true });
    let found = fixture.task(&tasks[0]).await;
    assert_eq!((found.outcome, found.proof), (Some(Outcome::stopped(None)), Some(make::proof())));
    assert!(fixture.report(&key).await.is_confirmed());
}

pub async fn counters_follow_a_task_through_its_life(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0"), make::task("1:b:0")]).await;
    let counters = async || {
        let run = fixture.run(&key).await;
        (run.open_tasks, run.open_leases)
    };
    assert_eq!(counters().await, (2, 0));
    let first = fixture.lease(&tasks[0]).await;
    assert_eq!(counters().await, (2, 1));
    fixture.release(&tasks[0], &first, Release::HandedBack(Spend::default())).await;
    assert_eq!(counters().await, (2, 0));
    fixture.done(&tasks[0]).await;
    assert_eq!(counters().await, (1, 0));
    let second = fixture.lease(&tasks[1]).await;
    fixture.settle(&tasks[1], &second, retry(LONG)).await;
    assert_eq!(counters().await, (1, 0));
}
