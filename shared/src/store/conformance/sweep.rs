//! Cases of `sweep` and `mark_sent`: what time brings about.
#![expect(missing_docs, reason = "the name of a case says what it shows")]

use std::time::Duration;

use super::fixture::Fixture;
use super::make::{self, LONG, SHORT};
use crate::id::{Partition, RunKey, Step, TaskKey};
use crate::limits::Limit;
use crate::outcome::Outcome;
use crate::plan::Then;
use crate::priority::{Lane, Priority};
use crate::run::RunStatus;
use crate::spend::Spend;
use crate::stop::Cause;
use crate::store::{Advanced, Claimed, NewRun, Release, RunSpec, Sending, Settled, SweepLimits, Swept, Verdict};
use crate::task::{Dispatch, Group, NewTask, TaskState};

/// The tasks to send, and whether they were sent before; in the order of their ids.
fn sent(swept: &Swept) -> Vec<(TaskKey, bool)> {
    let mut sent: Vec<_> = swept.send.iter().map(|sending| (sending.task.clone(), sending.again)).collect();
    sent.sort();
    sent
}

async fn ahead(fixture: &Fixture, key: &RunKey) -> Swept {
    fixture.sweep_within(key, SweepLimits { ahead: LONG * 10, ..make::limits() }).await
}

pub async fn a_task_that_nobody_sent_is_handed_out_after_two_seconds(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let made = fixture.store().now().await.unwrap();
    let early = fixture.sweep(&key).await;
    let swept_at = fixture.store().now().await.unwrap();
    assert!(early.send.is_empty() || swept_at.since(made) >= Duration::from_millis(1_900), "handed out too early");
    fixture.pass(Duration::from_secs(2)).await;
    let swept = fixture.sweep(&key).await;
    assert_eq!(sent(&swept), [(tasks[0].clone(), false)]);
    assert_eq!(swept.send[0].lane.to_string(), "default");
    assert!(fixture.sweep(&key).await.send.is_empty(), "the next time is after `resend_after`");
}

pub async fn a_task_is_handed_out_again_as_long_as_nobody_claims_it(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let soon = SweepLimits { resend_after: SHORT, ..make::limits() };
    assert_eq!(sent(&fixture.sweep_within(&key, SweepLimits { ahead: LONG, ..soon }).await).len(), 1);
    fixture.pass(SHORT).await;
    assert_eq!(sent(&fixture.sweep_within(&key, soon).await), [(tasks[0].clone(), false)]);
    fixture.store().mark_sent(&tasks, SHORT).await.unwrap();
    fixture.pass(SHORT).await;
    assert_eq!(sent(&fixture.sweep_within(&key, soon).await), [(tasks[0].clone(), true)], "it was sent before");
    fixture.lease(&tasks[0]).await;
    fixture.pass(SHORT).await;
    assert!(fixture.sweep_within(&key, soon).await.send.is_empty());
}

pub async fn a_task_that_was_sent_is_left_in_peace_for_a_while(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    fixture.store().mark_sent(&tasks, LONG).await.unwrap();
    fixture.pass(Duration::from_secs(2)).await;
    assert!(fixture.sweep(&key).await.send.is_empty());
    assert_eq!(sent(&ahead(fixture, &key).await), [(tasks[0].clone(), true)], "unless all is asked for");
}

pub async fn only_queued_tasks_are_marked_as_sent(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0"), make::task("1:b:0")]).await;
    let lease = fixture.lease_for(&tasks[0], SHORT).await;
    let absent = TaskKey { run: RunKey { id: make::run_id("none"), ..key.clone() }, task: tasks[0].task.clone() };
    let none = TaskKey { run: key.clone(), task: "9:a:0".parse().unwrap() };
    fixture.store().mark_sent(&[absent, none, tasks[0].clone(), tasks[1].clone()], LONG).await.unwrap();
    fixture.pass(SHORT).await;
    let swept = fixture.sweep(&key).await;
    assert_eq!((swept.expired, sent(&swept)), (1, vec![(tasks[0].clone(), false)]), "its lease ran out all the same");
    assert_eq!(fixture.settle(&tasks[0], &lease, Verdict::Done(make::success())).await, Settled::Stale);
}

pub async fn ahead_hands_out_queued_tasks_alone(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    let tasks = vec![make::task("1:a:0"), make::task("1:b:0"), make::task("1:c:0"), make::wait("1:w:0", LONG)];
    let tasks = fixture.step(&key, 1, tasks).await;
    fixture.lease(&tasks[1]).await;
    let lease = fixture.lease(&tasks[2]).await;
    fixture.settle(&tasks[2], &lease, Verdict::Retry { failure: make::failure(), after: LONG }).await;
    let swept = ahead(fixture, &key).await;
    assert_eq!((sent(&swept), swept.expired), (vec![(tasks[0].clone(), false)], 0));
    assert_eq!(fixture.task(&tasks[2]).await.state, TaskState::Delayed);
    assert_eq!(fixture.task(&tasks[3]).await.state, TaskState::Waiting);
}

pub async fn a_lease_that_runs_out_is_a_crash_and_the_task_is_handed_out(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let old = fixture.lease_for(&tasks[0], SHORT).await;
    fixture.pass(SHORT).await;
    let swept = fixture.sweep(&key).await;
    assert_eq!((swept.expired, sent(&swept)), (1, vec![(tasks[0].clone(), false)]));
    let found = fixture.task(&tasks[0]).await;
    assert_eq!((found.state, found.attempts, found.crashes, found.crashes_uncounted), (TaskState::Queued, 0, 0, 1));
    assert_eq!(fixture.run(&key).await.open_leases, 0);
    assert_eq!(fixture.settle(&tasks[0], &old, Verdict::Done(make::success())).await, Settled::Stale);
    let new = fixture.lease_alone(&tasks[0], LONG).await;
    assert_eq!((new.attempt.get(), new.crashes, new.taken_over), (1, 1, false));
    assert!(new.fence > old.fence);
}

pub async fn a_task_that_crashes_too_often_is_poison(fixture: &Fixture) {
    let poison = NewTask { max_crashes: 1, ..make::task("1:a:0") };
    let (key, tasks) = fixture.dispatched("r", vec![poison, make::task("1:b:0")]).await;
    fixture.lease_alone(&tasks[0], SHORT).await;
    fixture.pass(SHORT).await;
    let swept = fixture.sweep(&key).await;
    assert_eq!((swept.expired, swept.poisoned), (1, vec![tasks[0].clone()]));
    assert!(swept.send.is_empty());
    assert!(matches!(fixture.outcome(&tasks[0]).await, Outcome::Crashed { .. }));
    let run = fixture.run(&key).await;
    assert_eq!(run.status, RunStatus::Failed, "it failed the run, and nothing else was leased");
    assert_eq!(run.stop.unwrap().order.order.cause, Cause::SiblingFailed);
}

pub async fn a_wait_ends_at_its_time(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::wait("1:w:0", SHORT)]).await;
    assert!(!fixture.is_ready(&key).await);
    fixture.pass(SHORT).await;
    let swept = fixture.sweep(&key).await;
    assert!(swept.send.is_empty());
    assert_eq!(fixture.outcome(&tasks[0]).await, make::success());
    assert_eq!(fixture.run(&key).await.open_tasks, 0);
    assert!(fixture.is_ready(&key).await);
}

pub async fn a_task_that_no_worker_takes_in_time_is_settled(fixture: &Fixture) {
    let slow = NewTask { queue_timeout: SHORT, fails_run: false, ..make::task("1:slow:0") };
    let late = NewTask { timeout: SHORT, fails_run: false, ..make::task("1:late:0") };
    let (key, tasks) = fixture.dispatched("r", vec![slow, late]).await;
    fixture.store().mark_sent(&tasks, LONG).await.unwrap();
    fixture.pass(SHORT).await;
    let swept = fixture.sweep(&key).await;
    assert_eq!((swept.queue_timeouts, swept.send.len()), (1, 0), "a mark never reaches beyond a deadline");
    for (task, wanted) in tasks.iter().zip([Limit::QueueTimeout, Limit::Timeout]) {
        let outcome = fixture.outcome(task).await;
        assert!(matches!(&outcome, Outcome::TimedOut { limit, .. } if *limit == wanted), "{outcome:?}");
    }
    assert!(fixture.is_ready(&key).await);
}

pub async fn each_time_in_the_queue_has_its_own_limit(fixture: &Fixture) {
    let task = NewTask { queue_timeout: SHORT * 2, ..make::task("1:a:0") };
    let (key, tasks) = fixture.dispatched("r", vec![task]).await;
    let lease = fixture.lease(&tasks[0]).await;
    fixture.pass(SHORT * 2).await;
    fixture.release(&tasks[0], &lease, Release::HandedBack(Spend::default())).await;
    let swept = fixture.sweep(&key).await;
    assert_eq!((swept.queue_timeouts, swept.send.len()), (0, 1), "it is counted from when it was queued anew");
    fixture.pass(SHORT * 2).await;
    assert_eq!(fixture.sweep(&key).await.queue_timeouts, 1);
}

pub async fn a_run_past_its_deadline_is_ordered_to_stop(fixture: &Fixture) {
    let key = fixture.made(NewRun { run_timeout: SHORT, ..make::run("r") }).await;
    let tasks = fixture.step(&key, 1, vec![make::task("1:a:0"), make::task("1:b:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    fixture.pass(SHORT).await;
    let swept = fixture.sweep(&key).await;
    assert_eq!(swept.overdue, std::slice::from_ref(&key));
    assert!(swept.send.is_empty());
    let order = fixture.report(&key).await.order.order;
    assert_eq!((order.cause, order.actor.as_str(), order.force), (Cause::Deadline, "scheduler", false));
    assert_eq!(fixture.claim(make::claim(&tasks[1])).await, Claimed::Stopped);
    assert!(fixture.sweep(&key).await.overdue.is_empty());
    fixture.release(&tasks[0], &lease, Release::Stopped(make::proof())).await;
    assert_eq!(fixture.status(&key).await, RunStatus::TimedOut);
    assert_eq!(fixture.task(&tasks[1]).await.state, TaskState::Queued, "it ended by the run's time, not by its own");
    assert_eq!(fixture.audited(&key.id).await, [("stop".to_owned(), "accepted".to_owned())]);
}

pub async fn a_run_that_waits_on_its_thread_has_no_deadline_yet(fixture: &Fixture) {
    let first = fixture.made(make::run_on("a", "t", crate::store::OnConflict::Enqueue)).await;
    let brief = NewRun { run_timeout: SHORT, ..make::run_on("b", "t", crate::store::OnConflict::Enqueue) };
    let second = fixture.made(brief).await;
    fixture.pass(SHORT).await;
    assert!(fixture.sweep(&first).await.overdue.is_empty());
    fixture.succeed(&first).await;
    assert_eq!(fixture.status(&second).await, RunStatus::Queued);
    fixture.pass(SHORT).await;
    assert_eq!(fixture.sweep(&first).await.overdue, [second]);
}

pub async fn a_sweep_does_so_much_and_says_that_there_is_more(fixture: &Fixture) {
    let tasks = (0..5).map(|item| make::wait(&format!("1:w:{item}"), Duration::from_millis(1))).collect();
    let (key, tasks) = fixture.dispatched("r", tasks).await;
    fixture.pass(Duration::from_millis(2)).await;
    let limits = SweepLimits { tasks: 2, ..make::limits() };
    for left in [3, 1] {
        assert!(fixture.sweep_within(&key, limits).await.more);
        assert_eq!(fixture.run(&key).await.open_tasks, left);
    }
    assert!(!fixture.sweep_within(&key, limits).await.more);
    assert_eq!(fixture.run(&key).await.open_tasks, 0);
    assert_eq!(fixture.outcome(&tasks[4]).await, make::success());
    assert!(fixture.is_ready(&key).await);
}

pub async fn a_sweep_keeps_to_its_partition(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::wait("1:w:0", Duration::from_millis(1))]).await;
    fixture.pass(Duration::from_millis(2)).await;
    for number in (0..fixture.store().partitions()).filter(|number| *number != key.partition.get()) {
        let swept = fixture.store().sweep(Partition::new(number), make::limits()).await.unwrap();
        assert_eq!(swept, Swept::default());
    }
    assert_eq!(fixture.task(&tasks[0]).await.state, TaskState::Waiting);
}

pub async fn a_task_is_handed_out_for_its_lane_whatever_it_went_through(fixture: &Fixture) {
    let soon = SweepLimits { resend_after: SHORT, ..make::limits() };
    for priority in Priority::ALL {
        let spec = RunSpec { priority, ..RunSpec::default() };
        let key = fixture.made(NewRun { spec, ..make::run(priority.name()) }).await;
        let lane = Lane::new("gpu.1".parse().unwrap(), priority);
        let dispatch = |item| match item {
            0 => Dispatch::Queue { pool: lane.pool.clone(), priority },
            _ => Dispatch::Pending { pool: lane.pool.clone(), priority },
        };
        let task = |item: u32| {
            let task = NewTask { fails_run: false, ..make::task_by(&format!("1:a:{item}"), dispatch(item)) };
            NewTask { group: Some(0), ..task }
        };
        let groups = vec![Group { node: "a".parse().unwrap(), first: 0, count: 2, need: None, may_fail: None }];
        let step = Then::Step { step: Step::new(1), tasks: vec![task(0), task(1)], groups };
        assert_eq!(fixture.advance(&key, step).await, Advanced::Ok);
        let [first, second] = [0, 1].map(|item| TaskKey { run: key.clone(), task: task(item).id });
        let handed_out = async |task: &TaskKey, again, when: &str| {
            let swept = fixture.sweep_within(&key, SweepLimits { ahead: LONG, ..soon }).await;
            assert_eq!(swept.send, [Sending { lane: lane.clone(), task: task.clone(), again }], "{when}");
        };
        handed_out(&first, false, "new").await;
        fixture.store().mark_sent(std::slice::from_ref(&first), SHORT).await.unwrap();
        handed_out(&first, true, "its message may be lost").await;
        let lease = fixture.lease(&first).await;
        let retry = Verdict::Retry { failure: make::failure(), after: Duration::ZERO };
        fixture.settle(&first, &lease, retry).await;
        handed_out(&first, false, "tried again").await;
        let lease = fixture.lease(&first).await;
        fixture.release(&first, &lease, Release::HandedBack(Spend::default())).await;
        handed_out(&first, false, "handed back").await;
        fixture.lease_for(&first, SHORT).await;
        fixture.pass(SHORT).await;
        handed_out(&first, false, "its worker fell silent").await;
        let lease = fixture.lease_alone(&first, LONG).await;
        fixture.settle(&first, &lease, Verdict::Done(make::success())).await;
        handed_out(&second, false, "its turn has come").await;
        fixture.cancel(&key).await;
    }
}
