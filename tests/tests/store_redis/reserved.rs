//! What Redis alone has to keep: that the id of a child run that waits for its turn is not given away in another partition.

use std::time::Duration;

use coxswain_shared::id::{NodeName, RunKey, Step};
use coxswain_shared::plan::Then;
use coxswain_shared::store::conformance::make;
use coxswain_shared::store::{Advanced, Created, Error, NewRun, OnConflict, Store};
use coxswain_shared::task::{Dispatch, Group, NewTask};
use coxswain_shared::time::{Clock, Timestamp};

use crate::rig::*;

/// How long a locator is kept for a maker that has asked for it, and longer.
const LOCATED_LOST: Duration = Duration::from_mins(2);

/// A run `p` with two children `c0` and `c1`, one at a time.
async fn parent(store: &dyn Store) -> RunKey {
    let parent = made(store, NewRun { run_timeout: Duration::from_hours(1), ..new_run("p") }).await;
    let first = make::child(&parent, "1:a:0", "c0", 1);
    let second = make::child(&parent, "1:a:1", "c1", 1);
    let Dispatch::Child { run } = second.dispatch else { unreachable!("a child stands for it") };
    let second = NewTask { dispatch: Dispatch::PendingChild { run }, group: Some(0), ..second };
    let group = Group { node: NodeName::new("a").unwrap(), first: 0, count: 2, need: None, may_fail: None };
    let tasks = vec![NewTask { group: Some(0), ..first }, second];
    let then = Then::Step { step: Step::new(1), tasks, groups: vec![group] };
    assert_eq!(store.advance(advance(&parent, 0, then)).await.unwrap(), Advanced::Ok);
    parent
}

/// A thread whose runs are in another partition than this run.
async fn thread_elsewhere(store: &dyn Store, run: &RunKey) -> String {
    for n in 0..100 {
        let (id, thread) = (format!("probe-{n}"), format!("t{n}"));
        if made(store, make::run_on(&id, &thread, OnConflict::Enqueue)).await.partition != run.partition {
            return thread;
        }
    }
    panic!("a hundred threads are in one of two partitions")
}

#[tokio::test]
async fn the_id_of_a_child_that_waits_for_its_turn_is_not_given_away_in_another_partition() {
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
    let store = store_at(&clock).await;
    let parent = parent(&store).await;
    let thread = thread_elsewhere(&store, &parent).await;
    clock.advance(LOCATED_LOST);
    let refused = store.create_run(make::run_on("c1", &thread, OnConflict::Enqueue)).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");

    let first = RunKey { partition: parent.partition, id: run_id("c0") };
    assert_eq!(store.advance(advance(&first, 0, Then::Succeed)).await.unwrap(), Advanced::Ok);
    let second = RunKey { partition: parent.partition, id: run_id("c1") };
    assert_eq!(store.locate(&second.id).await.unwrap(), Some(second.clone()), "it has got its turn");
    assert_eq!(store.run(&second.id).await.unwrap().and_then(|run| run.parent).unwrap().run, parent.id);
    let again = store.create_run(make::run_on("c1", &thread, OnConflict::Enqueue)).await.unwrap();
    assert!(matches!(&again, Created::Exists { key, .. } if *key == second), "{again:?}");
}
