//! Cases of what is kept and shown: listings, checkpoints, tasks, events, the audit trail, workers and graphs.
#![expect(missing_docs, reason = "the name of a case says what it shows")]

use std::time::Duration;

use serde_json::json;

use super::fixture::Fixture;
use super::make;
use crate::checkpoint::{CHECKPOINT_FORMAT, Checkpoint};
use crate::id::{GraphHash, GraphName, PoolName, RunId, Step, WorkerId};
use crate::limits::EVENTS_PER_RUN_MAX;
use crate::plan::Then;
use crate::priority::Priority;
use crate::run::RunStatus;
use crate::stop::Cause;
use crate::store::{Error, NewEvent, NewRun, OnConflict, Role, RunFilter, RunSpec, StoredGraph, Waited, WorkerRecord};
use crate::time::Timestamp;

/// All runs that a filter admits, page by page.
async fn list(fixture: &Fixture, filter: &RunFilter, limit: usize) -> Vec<RunId> {
    let (mut ids, mut cursor) = (Vec::new(), None);
    for _ in 0..1_000 {
        let page = fixture.store().runs(filter, cursor.as_deref(), limit).await.unwrap();
        assert!(page.rows.len() <= limit);
        ids.extend(page.rows.into_iter().map(|run| run.key.id));
        match page.next {
            None => return ids,
            next => cursor = next,
        }
    }
    panic!("the listing has no end");
}

pub async fn runs_are_listed_newest_first_page_by_page(fixture: &Fixture) {
    let mut made = Vec::new();
    for number in 0..7 {
        made.push(fixture.begin(&format!("r{number}")).await.id);
        if number % 2 == 0 {
            fixture.pass(Duration::from_millis(2)).await;
        }
    }
    let mut wanted: Vec<_> = Vec::new();
    for id in made {
        wanted.push((fixture.store().run(&id).await.unwrap().unwrap().created_at, id));
    }
    wanted.sort();
    wanted.reverse();
    let wanted: Vec<_> = wanted.into_iter().map(|(_, id)| id).collect();
    for limit in [1, 2, 7, 100] {
        assert_eq!(list(fixture, &RunFilter::default(), limit).await, wanted, "in pages of {limit}");
    }
}

pub async fn a_listing_shows_what_its_filter_admits(fixture: &Fixture) {
    let labelled = RunSpec {
        labels: [("team".to_owned(), "red".to_owned()), ("tier".to_owned(), "1".to_owned())].into(),
        priority: Priority::Low,
        ..RunSpec::default()
    };
    let a = fixture.made(NewRun { spec: labelled, ..make::run_on("a", "t", OnConflict::Enqueue) }).await;
    fixture.made(make::run_on("b", "t", OnConflict::Enqueue)).await;
    fixture.pass(Duration::from_millis(2)).await;
    let later = NewRun { graph: GraphName::new("other").unwrap(), ..make::run("c") };
    let c = fixture.made(later).await;
    fixture.succeed(&c).await;
    let created = fixture.run(&c).await.created_at;
    let all = RunFilter::default();
    let label = |name: &str, value: &str| RunFilter { labels: [(name.into(), value.into())].into(), ..all.clone() };
    let both = vec![RunStatus::Queued, RunStatus::Succeeded];
    let cases = [
        (RunFilter { status: vec![RunStatus::Succeeded], ..all.clone() }, vec!["c"]),
        (RunFilter { status: both, ..all.clone() }, vec!["c", "b", "a"]),
        (RunFilter { status: vec![RunStatus::Failed], ..all.clone() }, vec![]),
        (RunFilter { thread: Some("t".parse().unwrap()), ..all.clone() }, vec!["b", "a"]),
        (RunFilter { graph: Some("other".parse().unwrap()), ..all.clone() }, vec!["c"]),
        (RunFilter { created_before: Some(created), ..all.clone() }, vec!["b", "a"]),
        (label("team", "red"), vec!["a"]),
        (label("team", "blue"), vec![]),
        (RunFilter { graph: Some("graph".parse().unwrap()), ..label("tier", "1") }, vec!["a"]),
        (RunFilter { priority: Some(Priority::Low), ..all.clone() }, vec!["a"]),
        (RunFilter { priority: Some(Priority::Normal), ..all.clone() }, vec!["c", "b"]),
        (RunFilter { priority: Some(Priority::High), ..all.clone() }, vec![]),
    ];
    // Runs of one thread made in the same millisecond are listed by id, the larger one first: `b` before `a`.
    for (filter, wanted) in cases {
        let found = list(fixture, &filter, 2).await;
        assert_eq!(found.iter().map(RunId::as_str).collect::<Vec<_>>(), wanted, "{filter:?}");
    }
    assert_eq!(fixture.thread(&a).await.active, Some(a.id));
}

pub async fn a_cursor_that_is_none_is_refused(fixture: &Fixture) {
    fixture.begin("r").await;
    let refused = fixture.store().runs(&RunFilter::default(), Some("over there"), 10).await.unwrap_err();
    assert!(matches!(&refused, Error::Cursor { text } if text == "over there"), "{refused}");
    let refused = fixture.store().audit(None, Some("over there"), 10).await.unwrap_err();
    assert!(matches!(&refused, Error::Cursor { .. }), "{refused}");
}

pub async fn a_checkpoint_of_a_later_format_is_refused_by_its_number(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    let later = Checkpoint { format: CHECKPOINT_FORMAT + 1, ..make::checkpoint(0, &[]) };
    fixture.write(&key, later, make::values(&[]), Then::Succeed).await;
    let refused = fixture.store().checkpoints(&key, Step::new(0), 10).await.unwrap_err();
    let Error::Format { format, known, key: named } = &refused else { panic!("{refused}") };
    assert_eq!((*format, *known), (CHECKPOINT_FORMAT + 1, CHECKPOINT_FORMAT));
    assert!(named.contains('r'), "{named}");
    assert!(!refused.is_retryable());
}

pub async fn checkpoints_say_when_they_were_kept(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    let before = fixture.store().now().await.unwrap();
    fixture.checkpoint(&key, 0, 1, Then::Succeed).await;
    let stored = fixture.store().checkpoints(&key, Step::new(0), 10).await.unwrap();
    assert_eq!(stored.len(), 1);
    assert!(stored[0].at >= before && stored[0].at <= fixture.store().now().await.unwrap());
}

pub async fn tasks_are_listed_by_node_then_item(fixture: &Fixture) {
    let ids = ["1:b:2", "1:a:10", "1:b:10", "1:a:9", "1:a-b:0", "1:B:0"];
    let (key, _) = fixture.dispatched("r", ids.iter().map(|id| make::task(id)).collect()).await;
    let found = fixture.store().tasks(&key, Step::new(1), 0, 10).await.unwrap();
    let found: Vec<_> = found.iter().map(|task| task.id.to_string()).collect();
    assert_eq!(found, ["1:B:0", "1:a:9", "1:a:10", "1:a-b:0", "1:b:2", "1:b:10"]);
    let page = fixture.store().tasks(&key, Step::new(1), 2, 3).await.unwrap();
    assert_eq!(page.iter().map(|task| task.id.to_string()).collect::<Vec<_>>(), found[2..5]);
    assert!(fixture.store().tasks(&key, Step::new(2), 0, 10).await.unwrap().is_empty());
}

pub async fn events_come_in_order_and_only_the_newest_are_kept(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0")]).await;
    let event = |n: usize| NewEvent { task: tasks[0].task.clone(), kind: "progress".into(), value: json!({"n": n}) };
    fixture.store().emit(&key, vec![]).await.unwrap();
    fixture.store().emit(&key, vec![event(0), event(1)]).await.unwrap();
    fixture.store().emit(&key, vec![event(2)]).await.unwrap();
    let found = fixture.store().events(&key, 1, 1).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].seq, &found[0].event), (2, &event(1)));
    for start in (3..EVENTS_PER_RUN_MAX + 13).step_by(101) {
        fixture
            .store()
            .emit(&key, (start..(start + 101).min(EVENTS_PER_RUN_MAX + 13)).map(event).collect())
            .await
            .unwrap();
    }
    let found = fixture.store().events(&key, 0, 1_000).await.unwrap();
    let seqs: Vec<u64> = found.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (14..14 + EVENTS_PER_RUN_MAX as u64).collect::<Vec<_>>());
    assert_eq!(found.last().unwrap().event, event(EVENTS_PER_RUN_MAX + 12));
}

pub async fn events_of_a_run_that_is_not_there_are_dropped(fixture: &Fixture) {
    let key = crate::id::RunKey { id: make::run_id("none"), partition: crate::id::Partition::new(0) };
    let event = NewEvent { task: "1:a:0".parse().unwrap(), kind: "progress".into(), value: 1.into() };
    fixture.store().emit(&key, vec![event]).await.unwrap();
    assert!(fixture.store().events(&key, 0, 10).await.unwrap().is_empty());
}

pub async fn the_audit_trail_is_read_newest_first_page_by_page(fixture: &Fixture) {
    for number in 0..5 {
        fixture.stop(&make::run_id(&format!("r{number}")), Cause::Cancelled).await;
        fixture.pass(Duration::from_millis(2)).await;
    }
    let (mut seen, mut cursor) = (Vec::new(), None);
    for _ in 0..100 {
        let page = fixture.store().audit(None, cursor.as_deref(), 2).await.unwrap();
        assert!(page.rows.len() <= 2);
        seen.extend(page.rows.into_iter().map(|entry| entry.run.to_string()));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["r4", "r3", "r2", "r1", "r0"]);
    let of_one = fixture.store().audit(Some(&make::run_id("r3")), None, 10).await.unwrap();
    assert_eq!((of_one.rows.len(), of_one.next), (1, None));
    assert!(fixture.store().audit(Some(&make::run_id("none")), None, 10).await.unwrap().rows.is_empty());
}

pub async fn workers_are_shown_as_they_last_reported(fixture: &Fixture) {
    let record = |id: &str, busy| WorkerRecord {
        id: WorkerId::new(id).unwrap(),
        role: Role::Worker,
        pools: vec![PoolName::standard()],
        slots: 4,
        busy,
        stuck: 0,
        waited: vec![Waited { pool: PoolName::standard(), longest: Duration::from_millis(1_500) }],
        draining: false,
        version: "1".to_owned(),
        started_at: Timestamp::from_millis(1),
        seen_at: Timestamp::from_millis(1),
    };
    for (id, busy) in [("w2", 0), ("w1", 1), ("w2", 3)] {
        fixture.store().report_worker(record(id, busy)).await.unwrap();
    }
    let found = fixture.store().workers().await.unwrap();
    let shown: Vec<_> = found.iter().map(|worker| (worker.id.as_str(), worker.busy)).collect();
    assert_eq!(shown, [("w1", 1), ("w2", 3)]);
    assert_eq!(found[0].waited, record("w1", 1).waited);
    let now = fixture.store().now().await.unwrap();
    assert!(found.iter().all(|worker| now.since(worker.seen_at) < Duration::from_mins(1)), "the store says when");
    fixture.store().forget_worker(&WorkerId::new("w1").unwrap()).await.unwrap();
    fixture.store().forget_worker(&WorkerId::new("w9").unwrap()).await.unwrap();
    assert_eq!(fixture.store().workers().await.unwrap().len(), 1);
}

pub async fn a_graph_is_kept_under_its_hash(fixture: &Fixture) {
    let graph = |hash: &str, json: &str| StoredGraph {
        hash: GraphHash::new(hash).unwrap(),
        name: GraphName::new("g").unwrap(),
        json: json.to_owned(),
    };
    let first = graph("aa", r#"{"name":"g"}"#);
    fixture.store().put_graph(&first).await.unwrap();
    fixture.store().put_graph(&first).await.unwrap();
    fixture.store().put_graph(&graph("bb", "{}")).await.unwrap();
    assert_eq!(fixture.store().graph(&first.hash).await.unwrap(), Some(first));
    assert_eq!(fixture.store().graph(&GraphHash::new("cc").unwrap()).await.unwrap(), None);
}
