//! Stopping one run, and many.

use std::time::Duration;

use futures_util::stream::{self, TryStreamExt as _};
use serde_json::json;

use super::fleet::{Fleet, graph, id, looping, order};
use crate::control::Error;
use crate::control::cancel::{self, Orders, Progress, Summary};
use crate::id::{GraphName, RunId};
use crate::limits::TEXT_BYTES_MAX;
use crate::run::RunStatus;
use crate::stop::{NewOrder, StopProof};
use crate::store::{Release, RunFilter};

fn orders(wait: Option<Duration>) -> Orders {
    Orders { order: order(), concurrency: 16, wait }
}

async fn cancel_ids(fleet: &Fleet, ids: &[&str], wait: Option<Duration>) -> Summary {
    let runs: Vec<Result<RunId, Error>> = ids.iter().map(|text| Ok(id(text))).collect();
    cancel::many(fleet.store.as_ref(), stream::iter(runs), &orders(wait), |_, _| {}).await.unwrap()
}

async fn selected(fleet: &Fleet, filter: RunFilter) -> Vec<String> {
    let runs: Vec<_> = cancel::select(fleet.store.as_ref(), filter).try_collect().await.unwrap();
    runs.into_iter().map(|run| run.key.id.to_string()).collect()
}

#[tokio::test]
async fn the_summary_tells_each_answer_apart() {
    let fleet = Fleet::new();
    fleet.finished("done").await;
    fleet.submit(looping(), "before").await;
    cancel_ids(&fleet, &["before"], None).await;
    fleet.submit(looping(), "new").await;
    fleet.submit(looping(), "busy").await;
    fleet.plan().await;
    fleet.claim("busy").await;
    let summary = cancel_ids(&fleet, &["done", "before", "new", "busy", "unborn"], None).await;
    let wanted = Summary {
        asked: 5,
        accepted: 2,
        already: 1,
        finished: 1,
        early: 1,
        stopped: 2,
        confirmed: 2,
        stopping: 1,
        took: summary.took,
        ..Summary::default()
    };
    assert_eq!(summary, wanted);
}

#[tokio::test]
async fn waiting_ends_when_the_last_lease_is_released() {
    let fleet = Fleet::new();
    fleet.submit(looping(), "a").await;
    fleet.plan().await;
    let (task, fence) = fleet.claim("a").await;
    let store = fleet.store.clone();
    let mut told = Vec::new();
    let (asked, answered) = tokio::sync::oneshot::channel();
    let mut asked = Some(asked);
    let orders = orders(Some(Duration::from_secs(30)));
    let cancelling = cancel::many(store.as_ref(), stream::iter([Ok(id("a"))]), &orders, |progress, _| {
        told.push(matches!(progress, Progress::Stopped(..)));
        if let Some(asked) = asked.take() {
            asked.send(()).unwrap();
        }
    });
    let releasing = async {
        answered.await.unwrap();
        let proof = StopProof { confirmed: true, ..StopProof::default() };
        fleet.store.release(&task, fence, Release::Stopped(proof)).await.unwrap();
    };
    let (summary, ()) = tokio::join!(cancelling, releasing);
    let summary = summary.unwrap();
    assert_eq!((summary.stopped, summary.confirmed, summary.stopping), (1, 1, 0));
    assert_eq!(told, [false, true]);
}

#[tokio::test]
async fn waiting_ends_with_its_time_and_says_what_has_not_stopped() {
    let fleet = Fleet::new();
    fleet.submit(looping(), "a").await;
    fleet.plan().await;
    fleet.claim("a").await;
    let summary = cancel_ids(&fleet, &["a"], Some(Duration::from_millis(50))).await;
    assert_eq!((summary.stopped, summary.stopping), (0, 1));
    assert_eq!(fleet.run("a").await.status, RunStatus::Stopping);
}

#[tokio::test]
async fn an_order_for_a_run_that_does_not_exist_yet_stops_it_when_it_is_made() {
    let fleet = Fleet::new();
    cancel_ids(&fleet, &["later"], None).await;
    assert_eq!(fleet.submit(looping(), "later").await.status, RunStatus::Cancelled);
}

#[tokio::test]
async fn only_runs_in_flight_are_meant_unless_a_status_is_named() {
    let fleet = Fleet::new();
    fleet.finished("done").await;
    fleet.submit(looping(), "new").await;
    assert_eq!(selected(&fleet, RunFilter::default()).await, ["new"]);
    let filter = RunFilter { status: vec![RunStatus::Succeeded], ..RunFilter::default() };
    assert_eq!(selected(&fleet, filter).await, ["done"]);
}

#[tokio::test]
async fn child_runs_are_left_to_the_order_above_them_unless_their_graph_is_named() {
    let fleet = Fleet::new();
    let parent = graph(json!({
        "name": "parent",
        "nodes": {"child": {"kind": "graph", "graph": looping()}},
        "edges": [{"from": [], "to": {"node": "child"}}, {"from": ["child"], "to": "end"}],
    }));
    fleet.submit(parent, "above").await;
    fleet.plan().await;
    assert_eq!(selected(&fleet, RunFilter::default()).await, ["above"]);
    let of_child = RunFilter { graph: Some(GraphName::new("looping").unwrap()), ..RunFilter::default() };
    let children = selected(&fleet, of_child).await;
    assert_eq!(children.len(), 1);
    cancel_ids(&fleet, &["above"], None).await;
    assert_eq!(fleet.run(&children[0]).await.status, RunStatus::Cancelled);
}

#[tokio::test]
async fn two_thousand_queued_runs_are_stopped_page_by_page() {
    let fleet = Fleet::new();
    for n in 0..2_000 {
        fleet.submit(looping(), &format!("r{n}")).await;
    }
    let store = fleet.store.as_ref();
    let runs = cancel::select(store, RunFilter::default()).map_ok(|run| run.key.id);
    let summary = cancel::many(store, runs, &orders(None), |_, _| {}).await.unwrap();
    assert_eq!((summary.asked, summary.stopped, summary.confirmed), (2_000, 2_000, 2_000));
    assert!(selected(&fleet, RunFilter::default()).await.is_empty());
}

#[tokio::test]
async fn an_order_that_is_out_of_bounds_stops_nothing() {
    let fleet = Fleet::new();
    fleet.submit(looping(), "a").await;
    for (bad, why) in [
        (NewOrder { reason: Some("x".repeat(TEXT_BYTES_MAX + 1)), ..order() }, "the reason has"),
        (NewOrder { reason: Some("a\nb".to_owned()), ..order() }, "the reason has the control character U+000A"),
        (NewOrder { actor: "a\u{202e}b".to_owned(), ..order() }, "the actor has the control character U+202E"),
        (NewOrder { grace: Some(Duration::from_secs(301)), ..order() }, "grace"),
    ] {
        let refused = cancel::one(fleet.store.as_ref(), &id("a"), &bad).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    assert_eq!(fleet.run("a").await.status, RunStatus::Queued);
}
