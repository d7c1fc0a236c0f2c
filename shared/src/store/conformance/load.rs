//! Cases of `report_load`, `load` and `shed`: what an overloaded fleet keeps and does.
#![expect(missing_docs, reason = "the name of a case says what it shows")]

use super::fixture::Fixture;
use super::make::{self, LONG, SHORT};
use crate::id::RunKey;
use crate::load::{Over, Overload, PoolLoad};
use crate::priority::Priority;
use crate::run::RunStatus;
use crate::stop::{Cause, NewOrder};
use crate::store::{Claimed, OnConflict, Release, Shed};
use crate::time::Timestamp;

fn judged(pool: &str, by: &str) -> PoolLoad {
    let over = Over::Backlog { waiting: 12, max: 10 };
    let overload = Some(Overload { since: Timestamp::from_millis(7), over });
    let shed = [(Priority::Low, 3)].into();
    PoolLoad { pool: pool.parse().unwrap(), by: by.to_owned(), overload, shed }
}

fn order() -> NewOrder {
    NewOrder { reason: Some("12 tasks wait".to_owned()), ..make::order(Cause::Overload) }
}

async fn shed(fixture: &Fixture, key: &RunKey) -> Shed {
    fixture.store().shed(key, order()).await.unwrap()
}

pub async fn a_judgement_holds_for_a_while_and_is_its_makers_to_change(fixture: &Fixture) {
    let store = fixture.store();
    let first = judged("gpu", "one");
    assert_eq!(store.load(&first.pool).await.unwrap(), None);
    assert_eq!(store.report_load(&first, LONG).await.unwrap(), first);
    assert_eq!(store.load(&first.pool).await.unwrap(), Some(first.clone()));
    assert_eq!(store.load(&"cpu".parse().unwrap()).await.unwrap(), None, "each pool has its own");
    let second = PoolLoad { overload: None, ..judged("gpu", "two") };
    assert_eq!(store.report_load(&second, LONG).await.unwrap(), first, "another one's holds");
    let calm = PoolLoad { overload: None, ..first };
    assert_eq!(store.report_load(&calm, SHORT).await.unwrap(), calm);
    fixture.pass(SHORT).await;
    assert_eq!(store.load(&calm.pool).await.unwrap(), None, "who judged it does so no more");
    assert_eq!(store.report_load(&second, LONG).await.unwrap(), second);
}

pub async fn a_run_that_nobody_has_begun_is_shed_and_its_message_is_worth_nothing(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0"), make::task("1:b:0")]).await;
    assert_eq!(shed(fixture, &key).await, Shed::Stopped);
    let run = fixture.run(&key).await;
    assert_eq!(run.status, RunStatus::Cancelled);
    let report = fixture.report(&key).await;
    assert_eq!(report.order.order, order());
    assert!(report.is_confirmed(), "nothing was under way");
    assert_eq!(fixture.claim(make::claim(&tasks[0])).await, Claimed::Stopped);
    assert_eq!(fixture.audited(&key.id).await, [("stop".to_owned(), "accepted".to_owned())]);
    assert_eq!(shed(fixture, &key).await, Shed::Frozen, "once");
    assert_eq!(fixture.audited(&key.id).await.len(), 1, "and only that is an entry");
}

pub async fn what_a_worker_has_ever_had_is_not_shed(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0"), make::task("1:b:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    assert_eq!(shed(fixture, &key).await, Shed::Begun, "it is at work");
    fixture.release(&tasks[0], &lease, Release::HandedBack(crate::spend::Spend::default())).await;
    assert_eq!(shed(fixture, &key).await, Shed::Begun, "it was");
    assert_eq!(fixture.status(&key).await, RunStatus::Running);
    assert!(fixture.audited(&key.id).await.is_empty());

    let nobody = RunKey { id: make::run_id("nobody"), ..key.clone() };
    assert_eq!(shed(fixture, &nobody).await, Shed::Frozen);
    let made = fixture.made(make::run_on("nobody", key.id.as_str(), OnConflict::Enqueue)).await;
    assert_eq!(fixture.status(&made).await, RunStatus::Queued, "no order was kept for a run to come");
}

pub async fn child_runs_and_their_parents_are_not_shed(fixture: &Fixture) {
    let parent = fixture.begin("p").await;
    let tasks = fixture.step(&parent, 1, vec![make::child(&parent, "1:a:0", "c", 1)]).await;
    assert_eq!(tasks.len(), 1);
    let child = RunKey { id: make::run_id("c"), ..parent.clone() };
    assert_eq!(shed(fixture, &child).await, Shed::Begun);
    assert_eq!(shed(fixture, &parent).await, Shed::Begun);
    assert_eq!(fixture.status(&parent).await, RunStatus::Running);
}
