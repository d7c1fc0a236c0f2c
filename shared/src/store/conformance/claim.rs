//! Cases of `claim`: leases, takeovers, crashes, and who comes in vain.
#![expect(missing_docs, reason = "the name of a case says what it shows")]

use std::time::Duration;

use serde_json::json;

use super::fixture::Fixture;
use super::make::{self, LONG, SHORT};
use crate::id::{RunKey, Step, TaskKey};
use crate::limits::{Limit, UNCOUNTED_CRASHES_MAX};
use crate::outcome::Outcome;
use crate::plan::Then;
use crate::priority::Priority;
use crate::spend::Spend;
use crate::store::{Claim, Claimed, NewRun, Release, Released, Renewal, Renewed, Settled, Verdict};
use crate::task::{Dispatch, NewTask, TaskState};

fn takeover(task: &TaskKey, after: Duration) -> Claim {
    Claim { takeover_after: Some(after), alone: true, ..make::claim_by(task, "worker-2") }
}

pub async fn a_lease_comes_with_all_that_its_worker_needs(fixture: &Fixture) {
    let new = make::run("r");
    let key = fixture.made(new.clone()).await;
    let task = NewTask { item: Some(json!({"n": 1})), timeout: LONG, ..make::task("1:work:0") };
    fixture.checkpoint(&key, 0, 7, make::step(1, vec![task.clone()])).await;
    let task_key = TaskKey { run: key.clone(), task: task.id.clone() };
    let made_at = fixture.run(&key).await.created_at;
    let lease = fixture.lease(&task_key).await;
    assert_eq!((lease.fence.get(), lease.attempt.get(), lease.crashes), (1, 1, 0));
    assert_eq!((lease.graph_hash, lease.thread, lease.taken_over), (new.graph_hash, new.thread, false));
    assert_eq!((lease.task, lease.values), (task, make::values(&[("x", 7.into())])));
    assert_eq!(Some(lease.run_deadline), fixture.run(&key).await.deadline_at);
    assert!(lease.queued_at >= made_at && lease.queued_at <= lease.now, "it has waited since then");
    assert!(
        lease.now >= made_at
            && lease.task_deadline >= made_at.after(LONG)
            && lease.task_deadline <= lease.now.after(LONG)
    );
    let found = fixture.task(&task_key).await;
    assert_eq!((found.state, found.attempts, found.fence.get()), (TaskState::Leased, 1, 1));
    assert_eq!((found.worker.unwrap().as_str(), found.started_at), ("worker-1", Some(lease.now)));
    assert_eq!(fixture.run(&key).await.open_leases, 1);
}

pub async fn a_task_has_no_more_time_than_its_run(fixture: &Fixture) {
    let key = fixture.made(NewRun { run_timeout: LONG, ..make::run("r") }).await;
    let tasks = fixture.step(&key, 1, vec![make::task("1:work:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    assert_eq!(lease.task_deadline, lease.run_deadline);
}

pub async fn a_task_is_handed_the_channels_that_it_reads(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    let reads = Some(vec![make::channel("b"), make::channel("none")]);
    let tasks =
        vec![NewTask { reads, ..make::task("1:some:0") }, NewTask { reads: Some(vec![]), ..make::task("1:nil:0") }];
    let values = make::values(&[("a", 1.into()), ("b", 2.into())]);
    fixture.write(&key, make::checkpoint(0, &[("a", 0), ("b", 0)]), values, make::step(1, tasks)).await;
    let some = TaskKey { run: key.clone(), task: "1:some:0".parse().unwrap() };
    assert_eq!(fixture.lease(&some).await.values, make::values(&[("b", 2.into())]));
    let nil = TaskKey { run: key, task: "1:nil:0".parse().unwrap() };
    assert!(fixture.lease(&nil).await.values.is_empty());
}

pub async fn the_same_claim_twice_is_one_lease(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let claim = make::claim(&tasks[0]);
    let Claimed::Leased(first) = fixture.claim(claim.clone()).await else { panic!("not leased") };
    let Claimed::Leased(again) = fixture.claim(claim.clone()).await else { panic!("not leased again") };
    assert_eq!((again.fence, again.attempt, again.taken_over), (first.fence, first.attempt, false));
    assert_eq!(fixture.run(&key).await.open_leases, 1);
    fixture.settle(&tasks[0], &first, Verdict::Done(make::success())).await;
    assert_eq!(fixture.claim(claim).await, Claimed::Stale);
}

pub async fn a_leased_task_is_busy_for_others(fixture: &Fixture) {
    let (_, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    fixture.pass(SHORT).await;
    let answer = fixture.claim(make::claim_by(&tasks[0], "worker-2")).await;
    let Claimed::Busy { worker, fence, silent } = answer else { panic!("{answer:?}") };
    assert_eq!((worker.as_str(), fence), ("worker-1", lease.fence));
    assert!(silent >= SHORT);
    let answer = fixture.claim(takeover(&tasks[0], LONG)).await;
    assert!(matches!(answer, Claimed::Busy { .. }), "it was not silent for so long: {answer:?}");
}

pub async fn fences_grow_with_every_claim_in_a_run(fixture: &Fixture) {
    let (_, tasks) = fixture.dispatched("r", vec![make::task("1:a:0"), make::task("1:b:0")]).await;
    let first = fixture.lease(&tasks[0]).await;
    let second = fixture.lease(&tasks[1]).await;
    fixture.release(&tasks[0], &first, Release::HandedBack(Spend::default())).await;
    let third = fixture.lease(&tasks[0]).await;
    assert!(first.fence < second.fence && second.fence < third.fence);
}

pub async fn a_silent_lease_is_taken_over_and_its_fence_is_dead(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let old = fixture.lease(&tasks[0]).await;
    fixture.pass(SHORT).await;
    let claim = takeover(&tasks[0], SHORT);
    let Claimed::Leased(new) = fixture.claim(claim.clone()).await else { panic!("not leased") };
    assert!(new.fence > old.fence);
    assert_eq!((new.attempt.get(), new.crashes, new.taken_over), (1, 1, true));
    let Claimed::Leased(again) = fixture.claim(claim).await else { panic!("not leased again") };
    assert_eq!((again.fence, again.taken_over), (new.fence, true));

    let renewal = Renewal { task: tasks[0].clone(), fence: old.fence, ttl: LONG, spent: Spend::default() };
    assert_eq!(fixture.store().renew(&[renewal]).await.unwrap(), [Renewed::Lost]);
    assert_eq!(fixture.settle(&tasks[0], &old, Verdict::Done(make::failed())).await, Settled::Stale);
    assert_eq!(fixture.release(&tasks[0], &old, Release::HandedBack(Spend::default())).await, Released::Stale);
    let found = fixture.task(&tasks[0]).await;
    assert_eq!((found.state, found.fence, found.attempts), (TaskState::Leased, new.fence, 1));
    assert_eq!((found.crashes, found.crashes_uncounted), (0, 1), "it did not run alone");
    assert_eq!(found.worker.unwrap().as_str(), "worker-2");
    assert_eq!(fixture.run(&key).await.open_leases, 1);
}

pub async fn a_lease_that_was_renewed_is_not_taken_over(fixture: &Fixture) {
    let (_, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    fixture.pass(SHORT).await;
    let renewal = Renewal { task: tasks[0].clone(), fence: lease.fence, ttl: LONG, spent: Spend::default() };
    assert_eq!(fixture.store().renew(&[renewal]).await.unwrap(), [Renewed::Held]);
    let answer = fixture.claim(takeover(&tasks[0], SHORT * 10)).await;
    assert!(matches!(&answer, Claimed::Busy { silent, .. } if *silent < SHORT * 10), "{answer:?}");
}

pub async fn the_last_crash_that_is_allowed_ends_the_task(fixture: &Fixture) {
    let task = NewTask { max_crashes: 2, ..make::task("1:a:0") };
    let (key, tasks) = fixture.dispatched("r", vec![task]).await;
    fixture.lease_alone(&tasks[0], LONG).await;
    let answer = fixture.claim(takeover(&tasks[0], Duration::ZERO)).await;
    let Claimed::Leased(lease) = answer else { panic!("{answer:?}") };
    assert_eq!((lease.crashes, fixture.renew(&tasks[0], &lease, LONG).await), (1, Renewed::Held));
    let answer = fixture.claim(takeover(&tasks[0], Duration::ZERO)).await;
    assert_eq!(answer, Claimed::Poisoned { crashes: 2, uncounted: 0 });
    let found = fixture.task(&tasks[0]).await;
    assert_eq!((found.state, found.crashes, found.attempts), (TaskState::Settled, 2, 0));
    assert!(matches!(found.outcome, Some(Outcome::Crashed { .. })), "{found:?}");
    assert_eq!(fixture.claim(takeover(&tasks[0], Duration::ZERO)).await, Claimed::Stale);
    let run = fixture.run(&key).await;
    assert_eq!((run.open_tasks, run.open_leases), (0, 0));
    assert!(fixture.is_ready(&key).await);
}

pub async fn a_task_that_was_under_way_in_a_crash_is_given_only_to_a_worker_that_runs_it_alone(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    fixture.lease(&tasks[0]).await;
    let beside_others = Claim { alone: false, ..takeover(&tasks[0], Duration::ZERO) };
    assert_eq!(fixture.claim(beside_others.clone()).await, Claimed::Suspect);
    let found = fixture.task(&tasks[0]).await;
    assert_eq!((found.state, found.attempts, found.crashes_uncounted), (TaskState::Queued, 0, 1));
    assert_eq!(fixture.run(&key).await.open_leases, 0, "nobody holds it while it waits");
    fixture.pass(Duration::from_secs(3)).await;
    assert!(fixture.sweep(&key).await.send.is_empty(), "who asked has its message");
    assert_eq!(fixture.claim(beside_others).await, Claimed::Suspect);
    assert_eq!(fixture.task(&tasks[0]).await.crashes_uncounted, 1, "to ask changes nothing");
    let first = fixture.lease_alone(&tasks[0], LONG).await;
    let retry = Verdict::Retry { failure: make::failure(), after: Duration::ZERO };
    fixture.settle(&tasks[0], &first, retry).await;
    fixture.sweep(&key).await;
    assert_eq!(fixture.claim(make::claim(&tasks[0])).await, Claimed::Suspect, "it is one until it is settled");
    let second = fixture.lease_alone(&tasks[0], LONG).await;
    fixture.release(&tasks[0], &second, Release::HandedBack(Spend::default())).await;
    assert_eq!(fixture.claim(make::claim(&tasks[0])).await, Claimed::Suspect);
}

pub async fn a_crash_counts_if_the_attempt_ran_alone_and_its_worker_had_the_lease(fixture: &Fixture) {
    let (_, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let crashes = async || {
        let found = fixture.task(&tasks[0]).await;
        (found.crashes, found.crashes_uncounted)
    };
    let beside = fixture.lease(&tasks[0]).await;
    assert_eq!(fixture.renew(&tasks[0], &beside, LONG).await, Renewed::Held);
    let answer = fixture.claim(takeover(&tasks[0], Duration::ZERO)).await;
    assert!(matches!(answer, Claimed::Leased(_)), "{answer:?}");
    assert_eq!(crashes().await, (0, 1), "it ran beside others");
    let answer = fixture.claim(takeover(&tasks[0], Duration::ZERO)).await;
    let Claimed::Leased(lease) = answer else { panic!("{answer:?}") };
    assert_eq!(crashes().await, (0, 2), "the reply to its claim may have been lost");
    assert_eq!(fixture.renew(&tasks[0], &lease, LONG).await, Renewed::Held);
    let answer = fixture.claim(takeover(&tasks[0], Duration::ZERO)).await;
    assert!(matches!(answer, Claimed::Leased(_)), "{answer:?}");
    assert_eq!(crashes().await, (1, 2), "it ran alone");
}

pub async fn crashes_that_do_not_count_are_bounded(fixture: &Fixture) {
    let (_, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    fixture.lease(&tasks[0]).await;
    for _ in 1..UNCOUNTED_CRASHES_MAX {
        let answer = fixture.claim(takeover(&tasks[0], Duration::ZERO)).await;
        assert!(matches!(answer, Claimed::Leased(_)), "{answer:?}");
    }
    let answer = fixture.claim(takeover(&tasks[0], Duration::ZERO)).await;
    assert_eq!(answer, Claimed::Poisoned { crashes: 0, uncounted: UNCOUNTED_CRASHES_MAX });
    assert!(matches!(fixture.outcome(&tasks[0]).await, Outcome::Crashed { .. }));
}

pub async fn a_worker_that_turns_out_to_live_takes_its_crash_back(fixture: &Fixture) {
    let task = NewTask { max_crashes: 2, ..make::task("1:a:0") };
    let (key, tasks) = fixture.dispatched("r", vec![task]).await;
    for round in 1..=3 {
        let lease = fixture.lease_alone(&tasks[0], SHORT).await;
        fixture.pass(SHORT).await;
        fixture.sweep(&key).await;
        assert_eq!(fixture.task(&tasks[0]).await.crashes, 1, "its lease ran out");
        for _ in 0..2 {
            assert_eq!(fixture.renew(&tasks[0], &lease, LONG).await, Renewed::Lost);
        }
        let found = fixture.task(&tasks[0]).await;
        assert_eq!((found.crashes, found.crashes_uncounted), (0, round), "its worker lives");
    }
}

pub async fn what_cannot_be_claimed_is_stale(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    let tasks = vec![
        make::wait("1:wait:0", LONG),
        make::human("1:human:0"),
        make::child(&key, "1:child:0", "c", 1),
        make::settled("1:done:0", make::success()),
        make::task_by("1:retried:0", Dispatch::Queue { pool: "other".parse().unwrap(), priority: Priority::Normal }),
    ];
    let tasks = fixture.step(&key, 1, tasks).await;
    let lease = fixture.lease(&tasks[4]).await;
    fixture.settle(&tasks[4], &lease, Verdict::Retry { failure: make::failure(), after: LONG }).await;
    for task in &tasks {
        assert_eq!(fixture.claim(make::claim(task)).await, Claimed::Stale, "{task:?}");
    }
    let absent = TaskKey { task: "1:none:0".parse().unwrap(), ..tasks[0].clone() };
    assert_eq!(fixture.claim(make::claim(&absent)).await, Claimed::Stale);
    let nowhere = TaskKey { run: RunKey { id: make::run_id("none"), ..key }, ..absent };
    assert_eq!(fixture.claim(make::claim(&nowhere)).await, Claimed::Stale);
}

pub async fn a_task_of_a_run_that_ended_by_itself_is_stale(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    fixture.done(&tasks[0]).await;
    fixture.advance(&key, Then::Fail { failure: make::failure(), order: None }).await;
    assert_eq!(fixture.claim(make::claim(&tasks[0])).await, Claimed::Stale);
}

pub async fn a_claim_that_comes_too_late_settles_the_task(fixture: &Fixture) {
    let slow = NewTask { queue_timeout: SHORT, fails_run: false, ..make::task("1:slow:0") };
    let late = NewTask { timeout: SHORT, fails_run: false, ..make::task("1:late:0") };
    let both = NewTask { timeout: SHORT, queue_timeout: SHORT, fails_run: false, ..make::task("1:both:0") };
    let (key, tasks) = fixture.dispatched("r", vec![slow, late, both]).await;
    fixture.pass(SHORT).await;
    for (task, wanted) in tasks.iter().zip([Limit::QueueTimeout, Limit::Timeout, Limit::Timeout]) {
        assert_eq!(fixture.claim(make::claim(task)).await, Claimed::Stale);
        let outcome = fixture.outcome(task).await;
        assert!(matches!(&outcome, Outcome::TimedOut { limit, .. } if *limit == wanted), "{task:?}: {outcome:?}");
    }
    assert_eq!(fixture.run(&key).await.open_tasks, 0);
    let ready = fixture.take_ready(&key).await;
    assert_eq!((ready.len(), ready[0].run.step), (1, Step::new(1)));
}

pub async fn a_task_of_an_overdue_run_is_left_to_the_order_that_is_due(fixture: &Fixture) {
    let key = fixture.made(NewRun { run_timeout: SHORT, ..make::run("r") }).await;
    let tasks = fixture.step(&key, 1, vec![make::task("1:a:0"), make::task("1:b:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    fixture.pass(SHORT).await;
    assert_eq!(fixture.claim(make::claim(&tasks[1])).await, Claimed::Stale);
    assert_eq!(fixture.claim(takeover(&tasks[0], Duration::ZERO)).await, Claimed::Stale);
    assert_eq!(fixture.task(&tasks[1]).await.state, TaskState::Queued);
    assert_eq!(fixture.task(&tasks[0]).await.fence, lease.fence);
    let settled = fixture.settle(&tasks[0], &lease, Verdict::Done(make::success())).await;
    assert_eq!(settled, Settled::Accepted { step_complete: false }, "what was done in time is not thrown away");
}
