//! A store that does not do its work: the command says so at once, with the remedy, and can be left.

use coxswain_tests::{Cox, RedisOptions, RedisServer, Signal, wait_for};

use crate::{Desk, SOON, code};

/// Locks the store's file, as a backup may, and goes on until it is ended.
fn locking(desk: &Desk) -> String {
    let file = desk.path().join(".cox/cox.db");
    let hold = format!(
        "import sqlite3, time; c = sqlite3.connect('{}', isolation_level=None); c.execute('BEGIN IMMEDIATE'); time.sleep(3600)",
        file.display()
    );
    format!(
        "name: locking\nnodes: {{ hold: {{ kind: exec, command: [python3, -c, \"{hold}\"] }} }}\nedges: [START -> hold -> END]\n"
    )
}

/// Waits until the command has said all of this.
async fn said(cox: &Cox, parts: &[&str]) {
    wait_for(&format!("{parts:?} on standard error"), SOON, async || {
        let told = cox.stderr();
        parts.iter().all(|part| told.contains(part)).then_some(()).ok_or(told)
    })
    .await;
}

#[tokio::test]
async fn a_locked_file_is_told_at_once_and_the_second_signal_leaves_with_69() {
    let desk = Desk::new();
    std::fs::write(desk.path().join("locking.yaml"), locking(&desk)).unwrap();
    let mut cox = desk.start("run locking.yaml --id a");
    said(&cox, &["error: the store at .cox/cox.db is locked", "help: another process keeps it locked"]).await;
    cox.kill(Signal::SIGINT);
    said(&cox, &["stopping run a"]).await;
    cox.kill(Signal::SIGINT);
    let status = cox.wait_exit(SOON).await;
    assert_eq!(status.code(), Some(69), "{}", cox.tails());
    said(&cox, &["run a is left as it is: the store at .cox/cox.db"]).await;
    // What held the lock was ended with the worker, so the store does its work again.
    assert_eq!(code(&desk.run("cancel a").await), 0);
}

#[tokio::test]
async fn a_redis_that_is_gone_is_told_at_once_by_all_who_wait() {
    let (desk, mut redis) = (Desk::new(), RedisServer::start(RedisOptions::default()).await);
    let url = redis.url();
    let start = |words: &str| desk.start(&format!("--store {url} {words}"));
    let mut run = start("run slow.yaml --id a");
    said(&run, &["run a of slow"]).await;
    let mut watch = start("watch a");
    said(&watch, &["run a of slow"]).await;
    redis.kill().await;
    for waiting in [&run, &watch] {
        said(waiting, &["error: the store at ", "is unavailable: ", "help: see that it runs"]).await;
    }
    run.kill(Signal::SIGINT);
    said(&run, &["stopping run a"]).await;
    run.kill(Signal::SIGINT);
    assert_eq!(run.wait_exit(SOON).await.code(), Some(69), "{}", run.tails());
    watch.kill(Signal::SIGINT);
    assert_eq!(watch.wait_exit(SOON).await.code(), Some(130), "{}", watch.tails());
    let output = desk.run(&format!("--store {url} cancel a --wait")).await;
    assert_eq!(code(&output), 69, "{output:?}");
}
