//! Cases of orders to single tasks (`stop_tasks`), and of groups: turns, enough successes, too many failures.
#![expect(missing_docs, reason = "the name of a case says what it shows")]

use super::fixture::Fixture;
use super::make::{self, LONG, SHORT};
use crate::id::{NodeName, RunKey, Step, TaskKey};
use crate::outcome::{FailureKind, Outcome};
use crate::plan::Then;
use crate::run::RunStatus;
use crate::spend::Spend;
use crate::stop::{Cause, NewOrder};
use crate::store::{
    Advanced, Claimed, Release, Released, Renewal, Renewed, Settled, Signal, StopTasks, TaskTally, TasksStopped,
    Verdict,
};
use crate::task::{Dispatch, Group, NewTask, TaskState};

const BY: &str = "by ann@host: too slow";

/// An order to all tasks of a node, which are skipped.
fn skip(key: &RunKey, node: &str) -> StopTasks {
    let order = make::order(Cause::Cancelled);
    StopTasks { run: key.id.clone(), node: node_name(node), items: Vec::new(), skip: true, order }
}

fn node_name(name: &str) -> NodeName {
    NodeName::new(name).expect("the node of a case is a name")
}

fn done(settled: u32, stopping: u32, already: u32) -> TasksStopped {
    TasksStopped::Done(TaskTally { settled, stopping, already })
}

fn skipped(why: &str) -> Outcome {
    Outcome::Stopped { partial: None, skipped: true, why: Some(why.to_owned()) }
}

/// Tasks whose failure does not fail the run.
fn handled(id: &str) -> NewTask {
    NewTask { fails_run: false, ..make::task(id) }
}

async fn renewed(fixture: &Fixture, task: &TaskKey, fence: crate::id::Fence) -> Renewed {
    let renewal = Renewal { task: task.clone(), fence, ttl: LONG, spent: Spend::default() };
    fixture.store().renew(&[renewal]).await.unwrap().remove(0)
}

pub async fn an_order_to_a_queued_task_settles_it_and_the_run_goes_on(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0"), make::task("1:b:0")]).await;
    assert_eq!(fixture.store().stop_tasks(skip(&key, "a")).await.unwrap(), done(1, 0, 0));
    assert_eq!(fixture.outcome(&tasks[0]).await, skipped(BY));
    assert_eq!(fixture.claim(make::claim(&tasks[0])).await, Claimed::Stale);
    assert_eq!(fixture.status(&key).await, RunStatus::Running);
    assert_eq!(fixture.store().stop_tasks(skip(&key, "a")).await.unwrap(), done(0, 0, 0), "nothing is left of it");
    assert_eq!(fixture.done(&tasks[1]).await, Settled::Accepted { step_complete: true });
    assert!(fixture.is_ready(&key).await);
    let audited = [
        ("stop_tasks".to_owned(), "a: 1 settled, 0 stopping, 0 already".to_owned()),
        ("stop_tasks".to_owned(), "a: 0 settled, 0 stopping, 0 already".to_owned()),
    ];
    assert_eq!(fixture.audited(&key.id).await, audited);
}

pub async fn the_last_open_task_that_is_stopped_completes_the_step(fixture: &Fixture) {
    let waits = make::wait("1:b:0", LONG);
    let (key, tasks) = fixture.dispatched("r", vec![handled("1:a:0"), waits]).await;
    let stop = StopTasks { skip: false, ..skip(&key, "a") };
    assert_eq!(fixture.store().stop_tasks(stop).await.unwrap(), done(1, 0, 0));
    let stopped = Outcome::Stopped { partial: None, skipped: false, why: Some(BY.to_owned()) };
    assert_eq!(fixture.outcome(&tasks[0]).await, stopped);
    assert!(!fixture.is_ready(&key).await);
    assert_eq!(fixture.store().stop_tasks(skip(&key, "b")).await.unwrap(), done(1, 0, 0));
    assert!(fixture.is_ready(&key).await);
}

pub async fn a_leased_task_is_told_its_result_refused_and_its_proof_taken(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0"), make::task("1:a:1")]).await;
    let claim = make::claim(&tasks[0]);
    let Claimed::Leased(lease) = fixture.claim(claim.clone()).await else { panic!("not leased") };
    let other = fixture.lease(&tasks[1]).await;
    let mut signals = fixture.store().signals();
    let stop = StopTasks { items: vec![0, 7], ..skip(&key, "a") };
    assert_eq!(fixture.store().stop_tasks(stop.clone()).await.unwrap(), done(0, 1, 0));
    let report = loop {
        if let Signal::StopTasks { run, made_at, tasks: told, report } = signals.recv().await.unwrap() {
            assert_eq!((made_at, lease.run_made_at), (fixture.run(&key).await.created_at, made_at));
            assert_eq!((&run, &told), (&key.id, &vec![tasks[0].task.clone()]));
            break report;
        }
    };
    assert_eq!(report.order.order, make::order(Cause::Cancelled));
    assert_eq!(fixture.task(&tasks[0]).await.state, TaskState::Stopping);
    assert_eq!(renewed(fixture, &tasks[0], lease.fence).await, Renewed::Stop(report));
    assert_eq!(renewed(fixture, &tasks[1], other.fence).await, Renewed::Held);
    let again = fixture.claim(claim).await;
    assert!(matches!(&again, Claimed::Leased(same) if same.fence == lease.fence), "as before: {again:?}");
    assert_eq!(fixture.claim(make::claim(&tasks[0])).await, Claimed::Stale);
    assert_eq!(fixture.settle(&tasks[0], &lease, Verdict::Done(make::success())).await, Settled::Frozen);
    assert_eq!(fixture.store().stop_tasks(stop).await.unwrap(), done(0, 0, 1));

    let proof = crate::stop::StopProof { partial: Some("half".into()), ..make::proof() };
    for _ in 0..2 {
        let released = fixture.release(&tasks[0], &lease, Release::Stopped(proof.clone())).await;
        assert_eq!(released, Released::Accepted { run_ended: false });
    }
    let task = fixture.task(&tasks[0]).await;
    let outcome = Outcome::Stopped { partial: Some("half".into()), skipped: true, why: Some(BY.to_owned()) };
    assert_eq!((task.outcome, task.proof), (Some(outcome), Some(proof)));
    let run = fixture.run(&key).await;
    assert_eq!((run.status, run.open_tasks, run.open_leases), (RunStatus::Running, 1, 1));
    let settled = fixture.settle(&tasks[1], &other, Verdict::Done(make::success())).await;
    assert_eq!(settled, Settled::Accepted { step_complete: true });
}

pub async fn a_task_that_is_stopped_and_not_skipped_counts_as_failed(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0"), make::task("1:b:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    let stop = StopTasks { skip: false, ..skip(&key, "a") };
    assert_eq!(fixture.store().stop_tasks(stop).await.unwrap(), done(0, 1, 0));
    fixture.release(&tasks[0], &lease, Release::HandedBack(Spend::default())).await;
    let run = fixture.run(&key).await;
    assert_eq!(run.status, RunStatus::Failed);
    assert_eq!(run.stop.unwrap().order.order.cause, Cause::SiblingFailed);
    let failure = run.failure.unwrap();
    assert_eq!((failure.kind, failure.message), (FailureKind::Stopped, format!("it was stopped {BY}")));
    assert_eq!(failure.node, Some(node_name("a")));
}

pub async fn a_silent_worker_leaves_its_stopped_task_without_proof(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    fixture.lease_for(&tasks[0], SHORT).await;
    fixture.store().stop_tasks(skip(&key, "a")).await.unwrap();
    fixture.pass(SHORT).await;
    let swept = fixture.sweep(&key).await;
    assert_eq!((swept.expired, swept.send.len()), (1, 0));
    let task = fixture.task(&tasks[0]).await;
    assert_eq!((task.outcome, task.proof, task.crashes), (Some(skipped(BY)), None, 0));
    assert!(fixture.is_ready(&key).await);
}

pub async fn a_stopped_task_is_renewed_until_its_grace_is_over(fixture: &Fixture) {
    let task = NewTask { grace: LONG, ..make::task("1:a:0") };
    let (key, tasks) = fixture.dispatched("r", vec![task]).await;
    let lease = fixture.lease(&tasks[0]).await;
    let order = NewOrder { grace: Some(std::time::Duration::ZERO), ..make::order(Cause::Cancelled) };
    fixture.store().stop_tasks(StopTasks { order, ..skip(&key, "a") }).await.unwrap();
    fixture.pass(SHORT).await;
    let renewal = Renewal { task: tasks[0].clone(), fence: lease.fence, ttl: SHORT, spent: Spend::default() };
    assert_eq!(fixture.store().renew(&[renewal]).await.unwrap(), [Renewed::Lost]);
    assert!(matches!(renewed(fixture, &tasks[0], lease.fence).await, Renewed::Stop(_)));
}

pub async fn force_may_follow_for_a_task_as_well(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    fixture.store().stop_tasks(skip(&key, "a")).await.unwrap();
    let force = StopTasks { order: make::force(), ..skip(&key, "a") };
    assert_eq!(fixture.store().stop_tasks(force.clone()).await.unwrap(), done(0, 1, 0));
    assert_eq!(fixture.store().stop_tasks(force).await.unwrap(), done(0, 0, 1));
    let Renewed::Stop(report) = renewed(fixture, &tasks[0], lease.fence).await else { panic!("no order") };
    assert!(report.forced_at.is_some() && !report.order.order.force);
}

pub async fn a_run_that_stops_takes_its_stopping_tasks_along(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    fixture.store().stop_tasks(skip(&key, "a")).await.unwrap();
    fixture.cancel(&key).await;
    assert_eq!(fixture.report(&key).await.leases, 1);
    assert_eq!(fixture.store().stop_tasks(skip(&key, "a")).await.unwrap(), TasksStopped::Frozen(RunStatus::Stopping));
    let released = fixture.release(&tasks[0], &lease, Release::Stopped(make::proof())).await;
    assert_eq!(released, Released::Accepted { run_ended: true });
    assert_eq!(fixture.outcome(&tasks[0]).await, Outcome::stopped(None), "by the order to its run");
}

pub async fn the_child_of_a_stopped_task_is_stopped(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    let tasks = fixture.step(&key, 1, vec![make::child(&key, "1:a:0", "c", 1), make::task("1:b:0")]).await;
    assert_eq!(fixture.store().stop_tasks(skip(&key, "a")).await.unwrap(), done(1, 0, 0));
    let child = RunKey { id: crate::id::RunId::new("c").unwrap(), ..key.clone() };
    assert_eq!(fixture.status(&child).await, RunStatus::Cancelled);
    assert_eq!(fixture.outcome(&tasks[0]).await, skipped(BY));
    assert_eq!(fixture.status(&key).await, RunStatus::Running);
}

pub async fn a_child_that_is_at_work_settles_its_stopped_task_when_it_has_ended(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    let tasks = fixture.step(&key, 1, vec![make::child(&key, "1:a:0", "c", 1), make::task("1:b:0")]).await;
    let child = RunKey { id: crate::id::RunId::new("c").unwrap(), ..key.clone() };
    let work = fixture.step(&child, 1, vec![make::task("1:work:0")]).await;
    let lease = fixture.lease(&work[0]).await;
    assert_eq!(fixture.store().stop_tasks(skip(&key, "a")).await.unwrap(), done(0, 1, 0));
    assert_eq!(fixture.store().stop_tasks(skip(&key, "a")).await.unwrap(), done(0, 0, 1));
    assert_eq!(fixture.task(&tasks[0]).await.state, TaskState::Child);
    fixture.release(&work[0], &lease, Release::Stopped(make::proof())).await;
    assert_eq!(fixture.outcome(&tasks[0]).await, skipped(BY));
    assert_eq!(fixture.run(&key).await.open_tasks, 1);
}

pub async fn what_waits_for_a_human_or_is_not_there_is_passed_over(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::human("1:ask:0"), make::task("1:b:0")]).await;
    assert_eq!(fixture.store().stop_tasks(skip(&key, "ask")).await.unwrap(), done(0, 0, 0));
    assert_eq!(fixture.store().stop_tasks(skip(&key, "nobody")).await.unwrap(), done(0, 0, 0));
    assert_eq!(fixture.task(&tasks[0]).await.state, TaskState::Human);
    let nowhere = RunKey { id: crate::id::RunId::new("nowhere").unwrap(), ..key };
    assert_eq!(fixture.store().stop_tasks(skip(&nowhere, "a")).await.unwrap(), TasksStopped::NotFound);
}

/// A run with a group of four items of node `a`, two of them at once, beside a task of node `b`.
async fn group(fixture: &Fixture, need: Option<u32>, may_fail: Option<u32>) -> (RunKey, Vec<TaskKey>) {
    let key = fixture.begin("r").await;
    let item = |item: u32| {
        let task = NewTask { group: Some(0), ..handled(&format!("1:a:{item}")) };
        let Dispatch::Queue { pool, priority } = &task.dispatch else { unreachable!("a worker does it") };
        let pending = Dispatch::Pending { pool: pool.clone(), priority: *priority };
        if item < 2 { task } else { NewTask { dispatch: pending, ..task } }
    };
    let tasks: Vec<_> = (0..4).map(item).chain([make::task("1:b:0")]).collect();
    let keys = tasks.iter().map(|task| TaskKey { run: key.clone(), task: task.id.clone() }).collect();
    let groups = vec![Group { node: node_name("a"), first: 0, count: 4, need, may_fail }];
    let advanced = fixture.advance(&key, Then::Step { step: Step::new(1), tasks, groups }).await;
    assert_eq!(advanced, Advanced::Ok);
    (key, keys)
}

async fn states(fixture: &Fixture, tasks: &[TaskKey]) -> Vec<&'static str> {
    let mut states = Vec::new();
    for task in tasks {
        states.push(fixture.task(task).await.state.name());
    }
    states
}

pub async fn items_of_a_group_take_turns(fixture: &Fixture) {
    let (key, tasks) = group(fixture, None, None).await;
    assert_eq!(fixture.claim(make::claim(&tasks[2])).await, Claimed::Stale, "it is not its turn");
    assert_eq!(states(fixture, &tasks).await, ["queued", "queued", "pending", "pending", "queued"]);
    let mut signals = fixture.store().signals();
    let lease = fixture.lease(&tasks[1]).await;
    fixture.settle(&tasks[1], &lease, Verdict::Done(make::failed())).await;
    while signals.recv().await.unwrap() != Signal::Due(key.partition) {}
    assert_eq!(states(fixture, &tasks).await, ["queued", "settled", "queued", "pending", "queued"]);
    let swept = fixture.sweep(&key).await;
    assert!(swept.send.iter().any(|sending| sending.task == tasks[2] && !sending.again), "{swept:?}");
    let lease = fixture.lease(&tasks[0]).await;
    let retry = Verdict::Retry { failure: make::failure(), after: LONG };
    fixture.settle(&tasks[0], &lease, retry).await;
    assert_eq!(fixture.task(&tasks[3]).await.state, TaskState::Pending, "one that is tried again keeps its place");
    fixture.done(&tasks[2]).await;
    assert_eq!(fixture.done(&tasks[3]).await, Settled::Accepted { step_complete: false });
}

pub async fn the_time_of_an_item_begins_with_its_turn(fixture: &Fixture) {
    let (_, tasks) = group(fixture, None, None).await;
    fixture.pass(SHORT).await;
    fixture.done(&tasks[0]).await;
    let (early, late) = (fixture.lease(&tasks[1]).await, fixture.lease(&tasks[2]).await);
    assert!(late.task_deadline.since(early.task_deadline) >= SHORT);
}

pub async fn enough_successes_stop_the_rest_of_a_group(fixture: &Fixture) {
    let (key, tasks) = group(fixture, Some(1), Some(3)).await;
    let (lease, loser) = (fixture.lease(&tasks[0]).await, fixture.lease(&tasks[1]).await);
    let mut signals = fixture.store().signals();
    let settled = fixture.settle(&tasks[0], &lease, Verdict::Done(make::success())).await;
    assert_eq!(settled, Settled::Accepted { step_complete: false });
    loop {
        if let Signal::StopTasks { tasks: told, report, .. } = signals.recv().await.unwrap() {
            assert_eq!(told, [tasks[1].task.clone()]);
            assert_eq!(report.order.order.cause, Cause::Superseded);
            break;
        }
    }
    assert_eq!(states(fixture, &tasks).await, ["settled", "stopping", "settled", "settled", "queued"]);
    let why = "by its fan-out: it has the successes that it needs";
    assert_eq!(fixture.outcome(&tasks[3]).await, skipped(why));
    assert_eq!(fixture.settle(&tasks[1], &loser, Verdict::Done(make::success())).await, Settled::Frozen);
    fixture.release(&tasks[1], &loser, Release::Stopped(make::proof())).await;
    assert_eq!(fixture.outcome(&tasks[1]).await, skipped(why));
    assert_eq!(fixture.status(&key).await, RunStatus::Running);
    assert_eq!(fixture.done(&tasks[4]).await, Settled::Accepted { step_complete: true });
}

pub async fn too_many_failures_stop_the_rest_of_a_group(fixture: &Fixture) {
    let (key, tasks) = group(fixture, None, Some(1)).await;
    for task in &tasks[..2] {
        assert_eq!(fixture.task(&tasks[3]).await.state, TaskState::Pending);
        let lease = fixture.lease(task).await;
        fixture.settle(task, &lease, Verdict::Done(make::failed())).await;
    }
    let why = "by its fan-out: too many of its items failed";
    assert_eq!(fixture.outcome(&tasks[2]).await, skipped(why));
    assert_eq!(fixture.outcome(&tasks[3]).await, skipped(why));
    let run = fixture.run(&key).await;
    assert_eq!((run.status, run.open_tasks), (RunStatus::Running, 1));
}

pub async fn the_last_settle_of_a_step_may_be_the_one_that_decides_its_group(fixture: &Fixture) {
    let (key, tasks) = group(fixture, Some(1), None).await;
    fixture.done(&tasks[4]).await;
    let lease = fixture.lease(&tasks[0]).await;
    for _ in 0..2 {
        let settled = fixture.settle(&tasks[0], &lease, Verdict::Done(make::success())).await;
        assert_eq!(settled, Settled::Accepted { step_complete: true });
    }
    assert!(fixture.is_ready(&key).await);
}

pub async fn an_item_that_is_stopped_before_its_turn_gives_no_turn_away(fixture: &Fixture) {
    let (key, tasks) = group(fixture, None, None).await;
    let stop = StopTasks { items: vec![2], ..skip(&key, "a") };
    assert_eq!(fixture.store().stop_tasks(stop).await.unwrap(), done(1, 0, 0));
    assert_eq!(states(fixture, &tasks).await, ["queued", "queued", "settled", "pending", "queued"]);
    fixture.done(&tasks[0]).await;
    assert_eq!(fixture.task(&tasks[3]).await.state, TaskState::Queued);
}
