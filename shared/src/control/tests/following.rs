//! Following a run until its end.

use std::time::Duration;

use serde_json::json;

use super::fleet::{Fleet, graph, id, looping, order, values};
use crate::control::{Error, Follow, Progress, TaskChange, cancel, describe};
use crate::id::{PolicyName, Step};
use crate::outcome::Outcome;
use crate::run::RunStatus;
use crate::spend::Spend;
use crate::stop::StopProof;
use crate::store::{NewEvent, PolicyChange, Release, Settle, Verdict};

/// What is told up to and with something.
async fn until(follow: &mut Follow, mut is_it: impl FnMut(&Progress) -> bool) -> Vec<Progress> {
    let mut told = Vec::new();
    while let Some(progress) = follow.next().await.unwrap() {
        let found = is_it(&progress);
        told.push(progress);
        if found {
            return told;
        }
    }
    panic!("it ended before: {told:?}");
}

fn word(progress: &Progress) -> String {
    match progress {
        Progress::Status { status, .. } => status.to_string(),
        Progress::Checkpoint(stored) => format!("checkpoint {}", stored.checkpoint.step),
        Progress::Task { change, task } => format!("{change:?} {}", task.id),
        Progress::Event(event) => event.event.kind.clone(),
        Progress::Stop(report) => format!("stop {}/{}", report.released, report.leases),
        Progress::HeldUp { .. } => "held up".to_owned(),
        Progress::Unavailable { .. } => "unavailable".to_owned(),
        Progress::Ended(run) => format!("ended {}", run.status),
    }
}

fn words(told: &[Progress]) -> Vec<String> {
    told.iter().map(word).collect()
}

#[tokio::test]
async fn everything_that_happens_is_told_once_and_in_order() {
    let fleet = Fleet::new();
    let key = fleet.submit(looping(), "a").await.key;
    let mut follow = Follow::new(fleet.store.clone(), id("a"));
    let told = until(&mut follow, |progress| matches!(progress, Progress::Status { .. })).await;
    assert_eq!(words(&told), ["queued"]);

    fleet.plan().await;
    let (task, fence) = fleet.claim("a").await;
    let event = NewEvent { task: task.task.clone(), kind: "progress".to_owned(), value: json!(50) };
    fleet.store.emit(&key, vec![event]).await.unwrap();
    let told = until(&mut follow, |progress| matches!(progress, Progress::Event(_))).await;
    assert_eq!(words(&told), ["running", "checkpoint 0", "Started 1:work:0", "progress"]);

    cancel::one(fleet.store.as_ref(), &id("a"), &order()).await.unwrap();
    let told = until(&mut follow, |progress| matches!(progress, Progress::Stop(_))).await;
    assert_eq!(words(&told), ["stopping", "stop 0/1"]);

    let proof = StopProof { confirmed: true, ..StopProof::default() };
    fleet.store.release(&task, fence, Release::Stopped(proof)).await.unwrap();
    let told = until(&mut follow, |progress| matches!(progress, Progress::Ended(_))).await;
    assert_eq!(words(&told), ["Settled 1:work:0", "stop 1/1", "ended cancelled"]);
    assert!(follow.next().await.unwrap().is_none(), "nothing follows the end");
}

#[tokio::test]
async fn a_run_that_has_ended_is_told_from_its_beginning_or_from_a_step() {
    let fleet = Fleet::new();
    fleet.finished("a").await;
    let mut follow = Follow::new(fleet.store.clone(), id("a"));
    let told = until(&mut follow, |progress| matches!(progress, Progress::Ended(_))).await;
    let steps = ["checkpoint 0", "checkpoint 1", "checkpoint 2", "checkpoint 3", "ended succeeded"];
    assert_eq!(words(&told), steps);
    let mut follow = Follow::new(fleet.store.clone(), id("a")).from_step(Step::new(3));
    let told = until(&mut follow, |progress| matches!(progress, Progress::Ended(_))).await;
    assert_eq!(words(&told), steps[3..]);
}

#[tokio::test]
async fn a_stop_that_is_over_is_told_as_an_order_and_its_end() {
    let fleet = Fleet::new();
    fleet.submit(looping(), "a").await;
    cancel::one(fleet.store.as_ref(), &id("a"), &order()).await.unwrap();
    let mut follow = Follow::new(fleet.store.clone(), id("a"));
    let told = until(&mut follow, |progress| matches!(progress, Progress::Ended(_))).await;
    let [Progress::Stop(ordered), Progress::Stop(closed), Progress::Ended(run)] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert!(ordered.closed_at.is_none() && closed.closed_at.is_some());
    assert_eq!(run.status, RunStatus::Cancelled);
}

#[tokio::test]
async fn a_try_that_failed_is_told_as_retrying() {
    let fleet = Fleet::new();
    fleet.submit(looping(), "a").await;
    fleet.plan().await;
    let (task, fence) = fleet.claim("a").await;
    let failure = crate::outcome::Failure::new(crate::outcome::FailureKind::Handler, "no luck");
    let verdict = crate::store::Verdict::Retry { failure, after: std::time::Duration::from_mins(1) };
    fleet.store.settle(crate::store::Settle { task, fence, verdict, spent: Spend::default() }).await.unwrap();
    let mut follow = Follow::new(fleet.store.clone(), id("a"));
    let told =
        until(&mut follow, |progress| matches!(progress, Progress::Task { change: TaskChange::Retrying, .. })).await;
    assert_eq!(words(&told), ["running", "checkpoint 0", "Retrying 1:work:0"]);
}

#[tokio::test]
async fn a_run_that_does_not_exist_cannot_be_followed() {
    let fleet = Fleet::new();
    let mut follow = Follow::new(fleet.store.clone(), id("nope"));
    assert!(matches!(follow.next().await, Err(Error::RunNotFound(_))));
}

#[tokio::test]
async fn a_follower_that_is_interrupted_again_and_again_still_gets_on() {
    let fleet = Fleet::new();
    fleet.submit(looping(), "a").await;
    let mut follow = Follow::new(fleet.store.clone(), id("a"));
    until(&mut follow, |progress| matches!(progress, Progress::Status { .. })).await;
    // Long enough for the pause between two looks to have grown beyond the interruptions.
    let interrupted = std::time::Duration::from_millis(100);
    for _ in 0..10 {
        assert!(tokio::time::timeout(interrupted, follow.next()).await.is_err(), "nothing happens to the run");
    }
    cancel::one(fleet.store.as_ref(), &id("a"), &order()).await.unwrap();
    for _ in 0..100 {
        if let Ok(told) = tokio::time::timeout(interrupted, follow.next()).await {
            assert!(matches!(told.unwrap(), Some(Progress::Stop(_))));
            return;
        }
    }
    panic!("the stop was not told within ten seconds");
}

#[tokio::test]
async fn every_item_of_a_wide_fan_out_is_told_as_it_completes() {
    let fleet = Fleet::new();
    let wide = graph(json!({
        "name": "wide",
        "state": {"items": {"default": (0..600).collect::<Vec<_>>()}, "done": {"reducer": "append"}},
        "nodes": {"work": {"kind": "rust", "handler": "work"}},
        "edges": [{"from": [], "to": {"node": "work"}, "for_each": "items"}, {"from": ["work"], "to": "end"}],
    }));
    fleet.submit(wide, "a").await;
    fleet.plan().await;
    let mut follow = Follow::new(fleet.store.clone(), id("a"));
    until(&mut follow, |progress| matches!(progress, Progress::Checkpoint(_))).await;
    for item in [599, 3, 300] {
        let (task, fence) = fleet.claim_item("a", item).await;
        let verdict = Verdict::Done(Outcome::wrote(values(json!({"done": item}))));
        fleet.store.settle(Settle { task, fence, verdict, spent: Spend::default() }).await.unwrap();
        let is_it = |progress: &Progress| matches!(progress, Progress::Task { change: TaskChange::Settled, task } if task.id.item == item);
        let told = tokio::time::timeout(Duration::from_secs(20), until(&mut follow, is_it)).await;
        told.unwrap_or_else(|_| panic!("item {item} was never told, while the others go on"));
    }
}

#[tokio::test]
async fn a_run_that_waits_for_a_policy_says_so_once_and_goes_on_when_there_is_room() {
    let fleet = Fleet::new();
    let name = PolicyName::new("calm").unwrap();
    let policy = serde_json::from_value(json!({"window": "1h", "limits": {"runs": 0}, "then": "pause"})).unwrap();
    let change = PolicyChange { name, policy: Some(policy), actor: "ann".to_owned(), reason: None };
    fleet.store.set_policy(change.clone()).await.unwrap();
    fleet.submit(looping(), "a").await;
    let described = describe(fleet.store.as_ref(), &id("a")).await.unwrap();
    let told = described.held_up.expect("nothing is allowed");
    assert!(told.starts_with("policy `calm` allows 0 runs in 1h"), "{told}");

    let mut follow = Follow::new(fleet.store.clone(), id("a"));
    let told = until(&mut follow, |progress| matches!(progress, Progress::HeldUp { .. })).await;
    assert_eq!(words(&told), ["queued", "held up"]);
    fleet.store.set_policy(PolicyChange { policy: None, ..change }).await.unwrap();
    fleet.plan().await;
    let told = until(&mut follow, |progress| matches!(progress, Progress::Checkpoint(_))).await;
    assert_eq!(words(&told), ["running", "checkpoint 0"]);
    assert_eq!(describe(fleet.store.as_ref(), &id("a")).await.unwrap().held_up, None);
}

#[tokio::test]
async fn who_begins_at_a_step_is_told_no_events_of_earlier_ones() {
    let fleet = Fleet::new();
    let event =
        |task: &str, kind: &str| NewEvent { task: task.parse().unwrap(), kind: kind.to_owned(), value: json!(1) };
    let fresh = fleet.submit(looping(), "b").await.key;
    fleet.plan().await;
    fleet.store.emit(&fresh, vec![event("1:work:0", "old"), event("2:work:0", "new")]).await.unwrap();
    let mut follow = Follow::new(fleet.store.clone(), id("b")).from_step(Step::new(2));
    let told = until(&mut follow, |progress| matches!(progress, Progress::Event(_))).await;
    assert_eq!(words(&told).last().map(String::as_str), Some("new"));
}
