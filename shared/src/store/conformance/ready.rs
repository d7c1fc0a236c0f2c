//! Cases of `take_ready`: who is handed out, in which order, and how often.
#![expect(missing_docs, reason = "the name of a case says what it shows")]

use std::time::Duration;

use super::fixture::Fixture;
use super::make::{self, LONG, SHORT};
use crate::checkpoint::CHECKPOINT_FORMAT;
use crate::id::{Partition, Revision, RunKey};
use crate::priority::Priority;
use crate::store::{Held, OnConflict, Signal, Taken};
use crate::task::TaskState;

/// Runs in one partition, whichever it is: the ids of the first `count` of `r0`, `r1`, … that fall into it.
fn together(fixture: &Fixture, count: usize) -> Vec<String> {
    let partitions = fixture.store().partitions();
    let of = |id: &String| Partition::of(&make::run(id).thread, partitions);
    let ids: Vec<String> = (0..10_000).map(|number| format!("r{number}")).collect();
    let first = of(&ids[0]);
    ids.into_iter().filter(|id| of(id) == first).take(count).collect()
}

async fn take(fixture: &Fixture, key: &RunKey, limit: usize, hold: Duration) -> Vec<RunKey> {
    let ready = fixture.store().take_ready(key.partition, limit, hold).await.unwrap();
    ready.into_iter().map(|ready| ready.run.key).collect()
}

pub async fn the_run_that_waits_longest_is_taken_first(fixture: &Fixture) {
    let mut keys = Vec::new();
    for id in together(fixture, 3).iter().rev() {
        keys.push(fixture.begin(id).await);
        fixture.pass(Duration::from_millis(2)).await;
    }
    assert_eq!(take(fixture, &keys[0], 2, LONG).await, keys[..2]);
    assert_eq!(take(fixture, &keys[0], 2, LONG).await, keys[2..]);
    assert!(take(fixture, &keys[0], 2, LONG).await.is_empty());
}

pub async fn an_urgent_run_is_planned_before_those_that_can_wait_until_these_have_waited_for_long(fixture: &Fixture) {
    let ids = together(fixture, 6);
    let made = async |id: &str, priority| {
        let mut run = make::run(id);
        run.spec.priority = priority;
        let key = fixture.made(run).await;
        fixture.pass(Duration::from_millis(2)).await;
        key
    };
    let mut keys = Vec::new();
    for (id, priority) in ids.iter().zip([Priority::Low, Priority::Normal, Priority::High]) {
        keys.push(made(id, priority).await);
    }
    let [low, normal, high] = [keys[0].clone(), keys[1].clone(), keys[2].clone()];
    assert_eq!(take(fixture, &low, 2, SHORT).await, [high.clone(), normal.clone()]);
    assert_eq!(take(fixture, &low, 2, SHORT).await, [low]);
    // A step later it is as urgent as before.
    for key in [&normal, &high] {
        let tasks = fixture.step(key, 1, vec![make::task("1:a:0")]).await;
        fixture.done(&tasks[0]).await;
        fixture.pass(Duration::from_millis(2)).await;
    }
    assert_eq!(take(fixture, &high, 2, LONG).await, [high, normal]);
}

pub async fn a_run_that_was_taken_is_hidden_for_a_while(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    assert_eq!(take(fixture, &key, 10, SHORT).await, std::slice::from_ref(&key));
    fixture.pass(SHORT).await;
    assert_eq!(take(fixture, &key, 10, LONG).await, std::slice::from_ref(&key), "whoever took it has died");
    assert!(take(fixture, &key, 10, LONG).await.is_empty());
}

/// Takes one run, and gives how many of its plans were lost; nothing if it is hidden.
async fn lost(fixture: &Fixture, key: &RunKey, hold: Duration) -> Option<u32> {
    let ready = fixture.store().take_ready(key.partition, 10, hold).await.unwrap();
    ready.into_iter().find(|ready| ready.run.key == *key).map(|ready| ready.lost_plans)
}

async fn hold(fixture: &Fixture, key: &RunKey, revision: u64, hold: Duration, state: Held) {
    let taken = Taken { run: key.id.clone(), revision: Revision::new(revision) };
    fixture.store().hold_ready(key.partition, &[taken], hold, state).await.unwrap();
}

pub async fn whoever_has_a_run_may_hide_it_for_longer(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    assert_eq!(lost(fixture, &key, SHORT).await, Some(0));
    hold(fixture, &key, 0, LONG, Held::InWork).await;
    fixture.pass(SHORT).await;
    assert_eq!(lost(fixture, &key, LONG).await, None);
    let absent = RunKey { partition: key.partition, id: make::run_id("nobody") };
    hold(fixture, &absent, 0, LONG, Held::InWork).await;
    hold(fixture, &absent, 0, LONG, Held::GivenBack).await;
    assert_eq!(fixture.store().run(&absent.id).await.unwrap(), None);
}

pub async fn a_plan_that_nobody_finished_counts_as_lost(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    for count in 0..3 {
        assert_eq!(lost(fixture, &key, SHORT).await, Some(count));
        fixture.pass(SHORT).await;
    }
    // A plan that is written begins anew.
    let tasks = fixture.step(&key, 1, vec![make::task("1:a:0")]).await;
    fixture.done(&tasks[0]).await;
    assert_eq!(lost(fixture, &key, SHORT).await, Some(0));
    fixture.pass(SHORT).await;
    assert_eq!(lost(fixture, &key, SHORT).await, Some(1));
}

pub async fn a_run_that_is_given_back_has_no_lost_plans(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    for count in 0..2 {
        assert_eq!(lost(fixture, &key, SHORT).await, Some(count));
        fixture.pass(SHORT).await;
    }
    assert_eq!(lost(fixture, &key, SHORT).await, Some(2));
    hold(fixture, &key, 0, SHORT, Held::GivenBack).await;
    assert_eq!(lost(fixture, &key, SHORT).await, None, "it is hidden still");
    fixture.pass(SHORT).await;
    assert_eq!(lost(fixture, &key, SHORT).await, Some(0));
}

pub async fn who_took_a_run_before_its_last_change_hides_it_no_more(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    assert_eq!(lost(fixture, &key, SHORT).await, Some(0));
    let tasks = fixture.step(&key, 1, vec![make::task("1:a:0")]).await;
    hold(fixture, &key, 0, LONG, Held::InWork).await;
    fixture.done(&tasks[0]).await;
    hold(fixture, &key, 0, LONG, Held::InWork).await;
    assert_eq!(lost(fixture, &key, SHORT).await, Some(0), "it waits for another plan");
}

pub async fn a_run_is_taken_from_its_own_partition_alone(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    for number in (0..fixture.store().partitions()).filter(|number| *number != key.partition.get()) {
        assert!(fixture.store().take_ready(Partition::new(number), 10, LONG).await.unwrap().is_empty());
    }
    assert_eq!(take(fixture, &key, 10, LONG).await, [key]);
}

pub async fn a_run_with_open_tasks_is_not_ready(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0"), make::task("1:b:0")]).await;
    assert!(!fixture.is_ready(&key).await);
    fixture.done(&tasks[0]).await;
    assert!(!fixture.is_ready(&key).await);
    fixture.done(&tasks[1]).await;
    assert!(fixture.is_ready(&key).await);
}

pub async fn a_ready_run_comes_with_all_that_its_plan_needs(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    fixture
        .checkpoint(&key, 0, 7, make::step(1, vec![make::task("1:b:0"), make::task("1:a:1"), make::task("1:a:0")]))
        .await;
    for id in ["1:a:0", "1:a:1", "1:b:0"] {
        fixture.done(&crate::id::TaskKey { run: key.clone(), task: id.parse().unwrap() }).await;
    }
    let ready = fixture.take_ready(&key).await;
    assert_eq!(ready.len(), 1);
    assert_eq!(ready[0].run, fixture.run(&key).await);
    assert_eq!(ready[0].checkpoint, Some(make::checkpoint(0, &[("x", 0)])));
    assert_eq!(ready[0].values, make::values(&[("x", 7.into())]));
    let tasks: Vec<_> = ready[0].tasks.iter().map(|task| task.id.to_string()).collect();
    assert_eq!(tasks, ["1:a:0", "1:a:1", "1:b:0"]);
    assert!(ready[0].tasks.iter().all(|task| task.state == TaskState::Settled && task.outcome.is_some()));
}

pub async fn a_hidden_run_that_is_advanced_can_be_taken_again_at_once(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    assert!(fixture.is_ready(&key).await);
    fixture.step(&key, 1, vec![make::settled("1:a:0", make::success())]).await;
    assert!(fixture.is_ready(&key).await);
}

pub async fn whoever_waits_for_ready_runs_is_told(fixture: &Fixture) {
    let mut signals = fixture.store().signals();
    let key = fixture.begin("r").await;
    while signals.recv().await.unwrap() != Signal::Ready(key.partition) {}
    let tasks = fixture.step(&key, 1, vec![make::task("1:a:0")]).await;
    let mut signals = fixture.store().signals();
    fixture.done(&tasks[0]).await;
    while signals.recv().await.unwrap() != Signal::Ready(key.partition) {}
}

pub async fn a_run_whose_checkpoint_is_of_a_later_format_holds_up_no_other(fixture: &Fixture) {
    let good = fixture.made(make::run_on("good", "t", OnConflict::Enqueue)).await;
    let bad = fixture.made(make::run_on("bad", "u", OnConflict::Enqueue)).await;
    let later = crate::checkpoint::Checkpoint { format: CHECKPOINT_FORMAT + 1, ..make::checkpoint(0, &[]) };
    let again = make::step(1, vec![make::settled("1:a:0", make::success())]);
    fixture.write(&bad, later, make::values(&[]), again).await;
    assert!(!fixture.is_ready(&bad).await);
    assert!(fixture.is_ready(&good).await);
    assert_eq!(fixture.status(&bad).await, crate::run::RunStatus::Running);
}
