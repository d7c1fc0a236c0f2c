//! What only the embedded adapter has: files, several processes, threads. What all adapters share is `conformance`.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::checkpoint::Values;
use crate::id::{Partition, RunId, TaskKey};
use crate::outcome::Outcome;
use crate::run::RunStatus;
use crate::spend::Spend;
use crate::stop::Cause;
use crate::store::conformance::{Fixture, make};
use crate::store::{BreakerCall, Claimed, Created, Ends, Error, Settle, Settled, Signal, StopAnswer, Store, Verdict};
use crate::time::{Clock, Timestamp};
use crate::upstream::{Admission, Breaker, BreakerEvent, BreakerLimits, Rate, UpstreamName};

/// Makes a run and its first step of one task; answers the task.
async fn dispatched(store: &SqliteStore, id: &str) -> TaskKey {
    let fixture = Fixture::real(Arc::new(store.clone()), ());
    fixture.dispatched(id, vec![make::task("1:work:0")]).await.1.remove(0)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn what_was_answered_is_there_when_the_file_is_opened_again() {
    let folder = folder();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(SqliteConfig::file(&path)).unwrap();
    let task = dispatched(&store, "r1").await;
    let Claimed::Leased(lease) = store.claim(make::claim(&task)).await.unwrap() else { panic!("not leased") };
    drop(store);

    let store = SqliteStore::open(SqliteConfig { partitions: 4, ..SqliteConfig::file(&path) }).unwrap();
    assert_eq!(store.partitions(), 16, "the file keeps its number of partitions");
    let settle = Settle {
        task: task.clone(),
        fence: lease.fence,
        verdict: Verdict::Done(Outcome::wrote(Values::new())),
        spent: Spend::default(),
    };
    assert_eq!(store.settle(settle).await.unwrap(), Settled::Accepted { step_complete: true });
    let ready = store.take_ready(task.run.partition, 10, Duration::from_secs(5)).await.unwrap();
    assert_eq!(ready.len(), 1);
    assert_eq!(ready[0].run.status, RunStatus::Running);
}

#[tokio::test]
async fn processes_that_share_a_file_share_rates_and_breakers_as_long_as_they_matter() {
    let folder = folder();
    let path = folder.path().join("store.db");
    let clock = Clock::manual(Timestamp::from_millis(1_000_000));
    let open = || SqliteStore::open(SqliteConfig { clock: clock.clone(), ..SqliteConfig::file(&path) }).unwrap();
    let (one, other) = (open(), open());
    let upstream = UpstreamName::of("api.example.com", 443);
    let rate: Rate = "1/m".parse().unwrap();
    assert_eq!(one.admit(&upstream, &rate).await.unwrap(), Admission::Admitted);
    assert_eq!(other.admit(&upstream, &rate).await.unwrap(), Admission::After(Duration::from_mins(1)));
    let limits = BreakerLimits { of: 2, ..BreakerLimits::default() };
    let call = |event, last: Option<&str>| BreakerCall {
        upstream: upstream.clone(),
        event,
        last: last.map(str::to_owned),
        limits,
    };
    let failed = BreakerEvent::Reported { calls: 2, failed: 2 };
    one.breaker(call(failed, Some("status 503"))).await.unwrap();
    let seen = other.breaker(call(BreakerEvent::Reported { calls: 0, failed: 0 }, None)).await.unwrap();
    assert!(matches!(seen.breaker, Breaker::Open { calls: 2, failed: 2, .. }), "{seen:?}");
    assert_eq!(seen.last.as_deref(), Some("status 503"));

    let kept = || {
        let conn = rusqlite::Connection::open(&path).unwrap();
        let count = "SELECT (SELECT count(*) FROM upstream_rates) + (SELECT count(*) FROM upstream_breakers)";
        conn.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    one.sweep(Partition::new(0), make::limits()).await.unwrap();
    assert_eq!(kept(), 2);
    clock.advance(Duration::from_mins(10));
    one.sweep(Partition::new(0), make::limits()).await.unwrap();
    assert_eq!(kept(), 0);
}

#[tokio::test]
async fn a_file_of_a_build_that_did_not_count_ends_begins_to_count() {
    let folder = folder();
    let path = folder.path().join("store.db");
    drop(SqliteStore::open(SqliteConfig::file(&path)).unwrap());
    rusqlite::Connection::open(&path).unwrap().execute_batch("DROP TABLE ends").unwrap();
    let store = SqliteStore::open(SqliteConfig::file(&path)).unwrap();
    assert_eq!(store.ends().await.unwrap(), Ends::default());
    store.create_run(make::run("r1")).await.unwrap();
    store.stop(&RunId::new("r1").unwrap(), make::order(Cause::Cancelled)).await.unwrap();
    drop(store);
    let store = SqliteStore::open(SqliteConfig::file(&path)).unwrap();
    assert_eq!(store.ends().await.unwrap().runs, [((RunStatus::Cancelled, Some(Cause::Cancelled)), 1)].into());
}

#[tokio::test]
async fn a_stop_order_of_another_process_is_pushed_to_this_one() {
    let folder = folder();
    let path = folder.path().join("store.db");
    let ours = SqliteStore::open(SqliteConfig::file(&path)).unwrap();
    let task = dispatched(&ours, "r1").await;
    assert!(matches!(ours.claim(make::claim(&task)).await.unwrap(), Claimed::Leased(_)));
    let mut signals = ours.signals();

    // A handle that was opened for itself shares nothing with ours but the file.
    let theirs = SqliteStore::open(SqliteConfig::file(&path)).unwrap();
    let answer = theirs.stop(&task.run.id, make::order(Cause::Cancelled)).await.unwrap();
    assert!(matches!(answer, StopAnswer::Accepted(_)), "{answer:?}");
    let pushed = tokio::time::timeout(Duration::from_secs(5), async {
        loop {
            if let Signal::Stop { run, report, .. } = signals.recv().await.unwrap() {
                return (run, report.leases);
            }
        }
    })
    .await
    .expect("the order of the other handle was never pushed");
    assert_eq!(pushed, (task.run.id.clone(), 1));
}

#[tokio::test]
async fn a_run_that_another_process_makes_is_announced_as_ready() {
    let folder = folder();
    let path = folder.path().join("store.db");
    let ours = SqliteStore::open(SqliteConfig::file(&path)).unwrap();
    let mut signals = ours.signals();
    let theirs = SqliteStore::open(SqliteConfig::file(&path)).unwrap();
    let Created::Made { key, .. } = theirs.create_run(make::run("r1")).await.unwrap() else { panic!("it was there") };
    let announced = tokio::time::timeout(Duration::from_secs(5), async {
        loop {
            if signals.recv().await.unwrap() == Signal::Ready(key.partition) {
                return;
            }
        }
    });
    announced.await.expect("the run of the other handle was never announced");
}

#[tokio::test]
async fn many_calls_at_once_are_all_answered() {
    let folder = folder();
    let config = SqliteConfig { queue_max: 8, ..SqliteConfig::file(folder.path().join("store.db")) };
    let store = SqliteStore::open(config).unwrap();
    let made = futures_util::future::join_all((0..500).map(|n| store.create_run(make::run(&format!("r{n}"))))).await;
    assert!(made.iter().all(|made| matches!(made, Ok(Created::Made { .. }))));
    let page = store.runs(&crate::store::RunFilter::default(), None, 1_000).await.unwrap();
    assert_eq!(page.rows.len(), 500);
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let folder = folder();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "these are not the tables you are looking for, by far ".repeat(100)).unwrap();
    let refused = SqliteStore::open(SqliteConfig::file(&path)).unwrap_err();
    assert!(matches!(&refused, Error::Unsuitable { why, .. } if why.contains("no SQLite database")), "{refused}");
}

#[test]
fn a_folder_and_a_file_in_no_folder_are_refused() {
    let folder = folder();
    for path in [folder.path().to_owned(), folder.path().join("none/store.db")] {
        let refused = SqliteStore::open(SqliteConfig::file(&path)).unwrap_err();
        assert!(matches!(&refused, Error::Unsuitable { .. }), "{refused}");
    }
}

#[test]
fn a_database_of_another_program_is_refused() {
    let folder = folder();
    let path = folder.path().join("other.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
    let refused = SqliteStore::open(SqliteConfig::file(&path)).unwrap_err();
    assert!(matches!(&refused, Error::Unsuitable { why, .. } if why.contains("another program")), "{refused}");
}

#[test]
fn a_file_of_a_newer_build_is_refused_with_both_versions() {
    let folder = folder();
    let path = folder.path().join("store.db");
    drop(SqliteStore::open(SqliteConfig::file(&path)).unwrap());
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let refused = SqliteStore::open(SqliteConfig::file(&path)).unwrap_err();
    assert!(
        matches!(&refused, Error::Unsuitable { why, .. } if why.contains("version 7") && why.contains("knows 2")),
        "{refused}"
    );
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 1).unwrap();
    let refused = SqliteStore::open(SqliteConfig::file(&path)).unwrap_err().to_string();
    assert!(refused.contains("version 1") && refused.contains("another file"), "{refused}");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_named_and_holds_up_no_other_run() {
    let folder = folder();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(SqliteConfig { partitions: 1, ..SqliteConfig::file(&path) }).unwrap();
    for id in ["bad", "good"] {
        store.create_run(make::run(id)).await.unwrap();
    }
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute("UPDATE runs SET status = 'dancing' WHERE id = 'bad'", []).unwrap();
    let refused = store.run(&RunId::new("bad").unwrap()).await.unwrap_err();
    assert!(matches!(&refused, Error::Corrupt { key, .. } if key.contains("bad")), "{refused}");
    let ready = store.take_ready(Partition::new(0), 10, Duration::from_secs(5)).await.unwrap();
    assert_eq!(ready.iter().map(|ready| ready.run.key.id.as_str()).collect::<Vec<_>>(), ["good"]);
}

#[tokio::test]
async fn a_file_that_another_process_keeps_locked_is_unavailable_and_comes_back() {
    let folder = folder();
    let path = folder.path().join("store.db");
    let config = SqliteConfig { busy_timeout: Duration::from_millis(50), ..SqliteConfig::file(&path) };
    let store = SqliteStore::open(config).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = store.create_run(make::run("r1")).await.unwrap_err();
    assert!(refused.is_retryable(), "{refused}");
    assert!(store.run(&RunId::new("r1").unwrap()).await.unwrap().is_none(), "reads go on");
    other.execute_batch("ROLLBACK").unwrap();
    assert!(matches!(store.create_run(make::run("r1")).await.unwrap(), Created::Made { .. }));
}

#[tokio::test]
async fn a_full_disk_is_told_with_its_remedy_until_a_write_gets_through() {
    let folder = folder();
    let store = SqliteStore::open(SqliteConfig::file(folder.path().join("store.db"))).unwrap();
    store.create_run(make::run("r1")).await.unwrap();
    assert_eq!(store.trouble(), None);
    // SQLite says of a file that may not grow what it says of a full disk.
    store.limit_pages(1).await;
    let mut number = 1;
    let refused = loop {
        number += 1;
        let run = make::run(&format!("r{number}"));
        if let Err(error) = store.create_run(run).await {
            break error;
        }
    };
    let remedy = refused.remedy().unwrap_or_default();
    assert!(refused.is_retryable() && remedy.contains("make room on its disk"), "{refused:?}");
    let trouble = store.trouble().expect("the last write has failed");
    assert!(trouble.why.contains("database or disk is full") && trouble.remedy == remedy, "{trouble:?}");
    assert!(store.run(&RunId::new("r1").unwrap()).await.unwrap().is_some(), "it can still be read");
    assert!(store.trouble().is_some(), "that a read gets through says nothing of writes");
    store.limit_pages(u32::MAX - 1).await;
    store.create_run(make::run("last")).await.unwrap();
    assert_eq!(store.trouble(), None);
}
