//! Cases of what is over a size limit: it is refused by name and size, and changes nothing.
#![expect(missing_docs, reason = "the name of a case says what it shows")]

use serde_json::json;

use super::fixture::Fixture;
use super::make;
use crate::id::{Nonce, TaskKey};
use crate::limits::{
    EVENT_BYTES_MAX, FAN_OUT_MAX, GRAPH_BYTES_MAX, LABELS_MAX, OUTCOME_BYTES_MAX, STATE_BYTES_MAX, TEXT_BYTES_MAX,
};
use crate::outcome::Outcome;
use crate::plan::Then;
use crate::spend::Spend;
use crate::stop::{Cause, NewOrder, StopProof};
use crate::store::{Advance, Error, NewEvent, NewRun, Release, Resume, RunSpec, Settle, StoredGraph, Verdict};
use crate::task::TaskState;

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Error>, limit: usize) {
    match answer {
        Err(error @ Error::TooLarge { .. }) => {
            let Error::TooLarge { size, max, .. } = &error else { return };
            assert!(*size > limit && *max == limit, "{error}");
            assert!(!error.is_retryable());
        }
        other => panic!("not refused as too large: {other:?}"),
    }
}

fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

pub async fn a_run_over_a_limit_is_not_made(fixture: &Fixture) {
    let spec = RunSpec::default();
    let input = make::values(&[("x", text(STATE_BYTES_MAX).into())]);
    let labels = (0..=LABELS_MAX).map(|number| (number.to_string(), String::new())).collect();
    let long = [("name".to_owned(), text(TEXT_BYTES_MAX + 1))].into();
    let cases = [
        (RunSpec { input, ..spec.clone() }, STATE_BYTES_MAX),
        (RunSpec { labels, ..spec.clone() }, LABELS_MAX),
        (RunSpec { labels: long, ..spec.clone() }, TEXT_BYTES_MAX),
        (RunSpec { actor: text(TEXT_BYTES_MAX + 1), ..spec }, TEXT_BYTES_MAX),
    ];
    for (spec, limit) in cases {
        refused(fixture.store().create_run(NewRun { spec, ..make::run("r") }).await, limit);
        assert!(fixture.store().run(&make::run_id("r")).await.unwrap().is_none());
    }
}

pub async fn a_plan_over_a_limit_changes_nothing(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    let plan = fixture.plan(&key, Then::Succeed).await;
    let changed = make::values(&[("x", text(STATE_BYTES_MAX).into())]);
    let checkpoint = Some(make::checkpoint(0, &[("x", 0)]));
    refused(fixture.store().advance(Advance { checkpoint, changed, ..plan.clone() }).await, STATE_BYTES_MAX);
    let tasks = (0..=FAN_OUT_MAX).map(|item| make::task(&format!("1:a:{item}"))).collect();
    refused(fixture.store().advance(Advance { then: make::step(1, tasks), ..plan }).await, FAN_OUT_MAX);
    let run = fixture.run(&key).await;
    assert_eq!((run.revision.get(), run.open_tasks), (0, 0));
}

pub async fn an_outcome_over_the_limit_leaves_the_lease_as_it_is(fixture: &Fixture) {
    let (_, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    let large = Outcome::wrote(make::values(&[("x", text(OUTCOME_BYTES_MAX).into())]));
    let settle =
        Settle { task: tasks[0].clone(), fence: lease.fence, verdict: Verdict::Done(large), spent: Spend::default() };
    refused(fixture.store().settle(settle).await, OUTCOME_BYTES_MAX);
    let proof = StopProof { partial: Some(text(OUTCOME_BYTES_MAX).into()), ..make::proof() };
    let release = fixture.store().release(&tasks[0], lease.fence, Release::Stopped(proof)).await;
    refused(release, OUTCOME_BYTES_MAX);
    assert_eq!(fixture.task(&tasks[0]).await.state, TaskState::Leased);
}

pub async fn an_order_with_a_novel_as_its_reason_is_refused(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    let order = NewOrder { reason: Some(text(TEXT_BYTES_MAX + 1)), ..make::order(Cause::Cancelled) };
    refused(fixture.store().stop(&key.id, order).await, TEXT_BYTES_MAX);
    let order = NewOrder { actor: text(TEXT_BYTES_MAX + 1), ..make::order(Cause::Cancelled) };
    refused(fixture.store().stop(&key.id, order).await, TEXT_BYTES_MAX);
    assert_eq!(fixture.run(&key).await.stop, None);
}

pub async fn answers_events_and_graphs_have_limits_too(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::human("1:ask:0")]).await;
    let TaskKey { task, .. } = &tasks[0];
    let large = Outcome::wrote(make::values(&[("x", text(OUTCOME_BYTES_MAX).into())]));
    let answers = [(task.clone(), large)].into();
    let resume = Resume { run: key.clone(), nonce: Nonce::fresh(), answers, actor: "ann".into(), reason: None };
    refused(fixture.store().resume(resume).await, OUTCOME_BYTES_MAX);
    let event = NewEvent { task: task.clone(), kind: "progress".into(), value: json!(text(EVENT_BYTES_MAX)) };
    refused(fixture.store().emit(&key, vec![event]).await, EVENT_BYTES_MAX);
    assert!(fixture.store().events(&key, 0, 10).await.unwrap().is_empty());
    let graph =
        StoredGraph { hash: "aa".parse().unwrap(), name: "g".parse().unwrap(), json: text(GRAPH_BYTES_MAX + 1) };
    refused(fixture.store().put_graph(&graph).await, GRAPH_BYTES_MAX);
    assert!(fixture.store().graph(&graph.hash).await.unwrap().is_none());
}
