//! Submitting and looking.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::fleet::{Fleet, approval, channel, graph, id, looping, values};
use crate::control::{self, Error, ErrorKind, Submission};
use crate::graph::canonical;
use crate::id::{NodeName, Step, ThreadId};
use crate::limits::{DESCENDANTS_CEILING, LABELS_MAX};
use crate::load::{Over, Overload, PoolLoad};
use crate::priority::Priority;
use crate::run::RunStatus;
use crate::spend::Budget;
use crate::store::OnConflict;
use crate::time::Timestamp;

fn submission() -> Submission {
    Submission::new(looping(), "ann@host")
}

async fn refusal(submission: Submission) -> Error {
    let fleet = Fleet::new();
    let refused = control::submit(fleet.store.as_ref(), submission).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Usage, "{refused}");
    let runs = fleet.store.runs(&crate::store::RunFilter::default(), None, 10).await.unwrap();
    assert!(runs.rows.is_empty(), "a refused submission makes no run");
    refused
}

#[tokio::test]
async fn a_channel_that_does_not_exist_is_refused_with_the_one_that_was_meant() {
    let refused = refusal(Submission { input: values(json!({"cuont": 1})), ..submission() }).await;
    assert!(refused.to_string().contains("`cuont`"), "{refused}");
    assert_eq!(refused.remedy().unwrap(), "did you mean `count`?");
}

#[tokio::test]
async fn a_value_that_its_reducer_does_not_take_is_refused() {
    let refused = refusal(Submission { input: values(json!({"count": "many"})), ..submission() }).await;
    assert!(refused.to_string().contains("`count`"), "{refused}");
}

#[tokio::test]
async fn a_node_to_pause_at_has_to_exist() {
    let interrupt_before = vec![NodeName::new("wrok").unwrap()];
    let refused = refusal(Submission { interrupt_before, ..submission() }).await;
    assert_eq!(refused.remedy().unwrap(), "did you mean `work`?");
}

#[tokio::test]
async fn labels_texts_and_limits_are_bounded() {
    let many: BTreeMap<_, _> = (0..=LABELS_MAX).map(|n| (format!("l{n}"), String::new())).collect();
    let long = BTreeMap::from([("team".to_owned(), "x".repeat(2_000))]);
    let nameless = BTreeMap::from([(String::new(), "x".to_owned())]);
    for labels in [many, long, nameless] {
        refusal(Submission { labels, ..submission() }).await;
    }
    refusal(Submission { actor: "x".repeat(2_000), ..submission() }).await;
    refusal(Submission { run_timeout: Some(Duration::ZERO), ..submission() }).await;
    refusal(Submission { max_steps: Some(0), ..submission() }).await;
    let budget = Budget { descendants: Some(DESCENDANTS_CEILING + 1), ..Budget::default() };
    refusal(Submission { budget, ..submission() }).await;
}

#[tokio::test]
async fn submitting_again_with_the_same_id_changes_nothing() {
    let fleet = Fleet::new();
    let first = fleet.submit(looping(), "a").await;
    let second = fleet.submit(approval(), "a").await;
    assert!(!first.existed && second.existed);
    assert_eq!(fleet.run("a").await.graph.as_str(), "looping");
}

#[tokio::test]
async fn a_busy_thread_refuses_a_run_that_would_not_wait() {
    let fleet = Fleet::new();
    let thread = Some(ThreadId::new("t").unwrap());
    let on = |on_conflict| Submission { thread: thread.clone(), on_conflict, ..submission() };
    control::submit(fleet.store.as_ref(), on(OnConflict::Reject)).await.unwrap();
    let refused = control::submit(fleet.store.as_ref(), on(OnConflict::Reject)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    let waits = control::submit(fleet.store.as_ref(), on(OnConflict::Enqueue)).await.unwrap();
    assert_eq!(waits.status, RunStatus::Queued);
}

#[tokio::test]
async fn the_graphs_of_child_runs_are_stored_with_their_parent() {
    let fleet = Fleet::new();
    let parent = graph(json!({
        "name": "parent",
        "nodes": {"child": {"kind": "graph", "graph": looping()}},
        "edges": [{"from": [], "to": {"node": "child"}}, {"from": ["child"], "to": "end"}],
    }));
    let hash = control::deploy(fleet.store.as_ref(), &parent).await.unwrap();
    let inner = control::deploy(Fleet::new().store.as_ref(), &looping()).await.unwrap();
    assert_eq!(control::graph_of(fleet.store.as_ref(), &hash).await.unwrap(), parent);
    assert_eq!(control::graph_of(fleet.store.as_ref(), &inner).await.unwrap(), looping());
}

#[tokio::test]
async fn a_run_that_can_wait_is_refused_while_a_pool_that_it_needs_is_overloaded() {
    let fleet = Fleet::new();
    let store = fleet.store.as_ref();
    let judged = |pool: &str| {
        let over = Over::Backlog { waiting: 12, max: 10 };
        let overload = Some(Overload { since: Timestamp::from_millis(0), over });
        PoolLoad { overload, ..PoolLoad::unknown(pool.parse().unwrap(), "scheduler 1".to_owned()) }
    };
    let wish = |name: &str, priority| Submission { id: Some(id(name)), priority, ..submission() };
    store.report_load(&judged("gpu"), Duration::from_hours(1)).await.unwrap();
    control::submit(store, wish("a", Priority::Low)).await.expect("it needs another pool");

    store.report_load(&judged("default"), Duration::from_hours(1)).await.unwrap();
    let refused = control::submit(store, wish("b", Priority::Low)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Overloaded);
    let told = "runs of low priority are not taken now: pool `default` is overloaded since 1970-01-01";
    let why = ": 12 tasks wait for a worker, more than 10";
    assert!(refused.to_string().starts_with(told) && refused.to_string().ends_with(why), "{refused}");
    assert!(refused.remedy().is_some_and(|remedy| remedy.contains("higher priority")));
    let hash = control::deploy(store, &looping()).await.unwrap();
    assert!(control::create(store, hash, wish("b", Priority::Low)).await.is_err());
    assert_eq!(store.locate(&id("b")).await.unwrap(), None, "nothing was made");
    assert!(control::submit(store, wish("a", Priority::Low)).await.unwrap().existed, "what is there is there");
    for (name, priority) in [("c", Priority::Normal), ("d", Priority::High)] {
        assert!(!control::submit(store, wish(name, priority)).await.unwrap().existed);
    }
}

#[tokio::test]
async fn a_stored_graph_is_what_schedulers_and_workers_read() {
    let fleet = Fleet::new();
    let hash = control::deploy(fleet.store.as_ref(), &looping()).await.unwrap();
    let stored = fleet.store.graph(&hash).await.unwrap().expect("it was stored under its hash");
    assert_eq!(canonical::from_stored(&stored.json).unwrap(), looping());
    assert_eq!(hash, canonical::hash(&looping()), "it is the hash that a plan gives to a child graph");
}

#[tokio::test]
async fn history_and_state_show_each_step() {
    let fleet = Fleet::new();
    fleet.finished("a").await;
    let (run, checkpoints) = control::history(fleet.store.as_ref(), &id("a"), Step::new(0), 100).await.unwrap();
    assert_eq!(run.status, RunStatus::Succeeded);
    let steps: Vec<_> = checkpoints.iter().map(|stored| stored.checkpoint.step.get()).collect();
    assert_eq!(steps, [0, 1, 2, 3]);
    assert_eq!(checkpoints[1].checkpoint.ran[0].wrote, [channel("count"), channel("log")]);
    assert_eq!(checkpoints[1].checkpoint.next[0].node.as_str(), "work");
    let (_, page) = control::history(fleet.store.as_ref(), &id("a"), Step::new(1), 2).await.unwrap();
    assert_eq!(page, checkpoints[1..3]);

    let at = async |step: Option<u64>| control::state(fleet.store.as_ref(), &id("a"), step.map(Step::new)).await;
    assert_eq!(at(Some(2)).await.unwrap().values, values(json!({"count": 2, "limit": 3, "log": [1, 2]})));
    assert_eq!(at(None).await.unwrap().step, Step::new(3));
    let missing = at(Some(9)).await.unwrap_err();
    assert_eq!(
        (missing.kind(), missing.remedy().unwrap().as_str()),
        (ErrorKind::NotFound, "its last checkpoint is of step 3")
    );
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let fleet = Fleet::new();
    let missing = control::describe(fleet.store.as_ref(), &id("nope")).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    fleet.submit(looping(), "new").await;
    let stateless = control::state(fleet.store.as_ref(), &id("new"), None).await.unwrap_err();
    assert_eq!(stateless.kind(), ErrorKind::NotFound, "{stateless}");
    let described = control::describe(fleet.store.as_ref(), &id("new")).await.unwrap();
    assert!(described.tasks.is_empty() && described.thread.unwrap().active == Some(id("new")));
}
