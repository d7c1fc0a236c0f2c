//! What the embedded adapter keeps for how long: minutes, a day, the retention, and so many entries.

use std::sync::Arc;
use std::time::Duration;

use super::{SqliteConfig, SqliteStore};
use crate::id::{RunKey, Step, WorkerId};
use crate::limits::AUDIT_PER_PARTITION_MAX;
use crate::plan::Then;
use crate::run::RunStatus;
use crate::stop::Cause;
use crate::store::conformance::{Fixture, make};
use crate::store::{Created, NewRun, OnConflict, Role, Settled, Verdict, WorkerRecord};
use crate::time::{Clock, Timestamp};

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
const MOMENT: Duration = Duration::from_millis(1);

fn fixture() -> Fixture {
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
    let config = SqliteConfig { clock: clock.clone(), retention: DAY, ..SqliteConfig::memory() };
    Fixture::stepped(Arc::new(SqliteStore::open(config).unwrap()), clock, ())
}

async fn is_there(fixture: &Fixture, key: &RunKey) -> bool {
    fixture.store().run(&key.id).await.unwrap().is_some()
}

#[tokio::test]
async fn the_tasks_of_a_past_step_are_kept_for_a_minute() {
    let fixture = fixture();
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    fixture.settle(&tasks[0], &lease, Verdict::Done(make::success())).await;
    fixture.checkpoint(&key, 1, 1, make::step(2, vec![make::task("2:a:0")])).await;
    fixture.pass(MINUTE.saturating_sub(MOMENT)).await;
    fixture.sweep(&key).await;
    let again = fixture.settle(&tasks[0], &lease, Verdict::Done(make::success())).await;
    assert_eq!(again, Settled::Accepted { step_complete: true });
    fixture.pass(MOMENT).await;
    fixture.sweep(&key).await;
    assert!(fixture.store().tasks(&key, Step::new(1), 0, 10).await.unwrap().is_empty());
    assert_eq!(fixture.store().tasks(&key, Step::new(2), 0, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_unfinished_step_of_a_stopped_run_is_kept_with_it() {
    let fixture = fixture();
    let (key, _) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    fixture.cancel(&key).await;
    fixture.pass(DAY.saturating_sub(MOMENT)).await;
    fixture.sweep(&key).await;
    assert_eq!(fixture.store().tasks(&key, Step::new(1), 0, 10).await.unwrap().len(), 1);
    fixture.pass(MOMENT).await;
    fixture.sweep(&key).await;
    assert!(!is_there(&fixture, &key).await);
    assert!(fixture.store().tasks(&key, Step::new(1), 0, 10).await.unwrap().is_empty());
    let remade = fixture.store().create_run(make::run("r")).await.unwrap();
    assert!(matches!(remade, Created::Made { .. }), "its id is free again: {remade:?}");
}

#[tokio::test]
async fn a_run_that_holds_the_state_of_a_thread_in_use_is_kept() {
    let fixture = fixture();
    let first = fixture.made(make::run_on("a", "t", OnConflict::Enqueue)).await;
    fixture.checkpoint(&first, 0, 1, Then::Succeed).await;
    fixture.pass(Duration::from_mins(50)).await;
    let second = NewRun { run_timeout: DAY * 3, ..make::run_on("b", "t", OnConflict::Enqueue) };
    let second = fixture.made(second).await;
    fixture.pass(DAY).await;
    fixture.sweep(&first).await;
    assert!(is_there(&fixture, &first).await, "the run in flight goes on from it");

    fixture.succeed(&second).await;
    fixture.sweep(&first).await;
    assert!(!is_there(&fixture, &first).await);
    assert!(is_there(&fixture, &second).await);
    let thread = fixture.run(&second).await.thread;
    assert!(fixture.store().thread(&thread).await.unwrap().is_none(), "a thread goes with the state that it had");
}

#[tokio::test]
async fn an_early_order_waits_for_a_day() {
    let fixture = fixture();
    for id in ["soon", "late"] {
        fixture.stop(&make::run_id(id), Cause::Cancelled).await;
    }
    fixture.pass(DAY.saturating_sub(MOMENT)).await;
    let soon = fixture.begin("soon").await;
    assert_eq!(fixture.status(&soon).await, RunStatus::Cancelled);
    fixture.pass(MOMENT).await;
    let late = fixture.begin("late").await;
    assert_eq!(fixture.status(&late).await, RunStatus::Queued);
}

#[tokio::test]
async fn a_worker_that_is_silent_for_more_than_a_minute_is_not_shown() {
    let fixture = fixture();
    let record = WorkerRecord {
        id: WorkerId::new("w").unwrap(),
        role: Role::Worker,
        pools: vec![],
        slots: 1,
        busy: 0,
        stuck: 0,
        waited: Vec::new(),
        draining: false,
        version: "1".to_owned(),
        started_at: Timestamp::from_millis(0),
        seen_at: Timestamp::from_millis(0),
    };
    fixture.store().report_worker(record).await.unwrap();
    fixture.pass(MINUTE).await;
    assert_eq!(fixture.store().workers().await.unwrap().len(), 1);
    fixture.pass(MOMENT).await;
    assert!(fixture.store().workers().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_audit_trail_of_a_partition_forgets_its_oldest_entries() {
    let fixture = fixture();
    let id = make::run_id("r");
    fixture.stop(&id, Cause::Budget).await;
    for _ in 0..AUDIT_PER_PARTITION_MAX {
        fixture.stop(&id, Cause::Cancelled).await;
    }
    let (mut count, mut cursor) = (0, None);
    loop {
        let page = fixture.store().audit(Some(&id), cursor.as_deref(), 1_000).await.unwrap();
        count += page.rows.len();
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(count, AUDIT_PER_PARTITION_MAX);
}
