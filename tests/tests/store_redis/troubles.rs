//! What servers and networks do to a store: restarts, cut connections, lost replies, settings that do not fit.

use std::time::Duration;

use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::outcome::Outcome;
use coxswain_shared::plan::Then;
use coxswain_shared::spend::Spend;
use coxswain_shared::store::redis::{Persistence, RedisConfig, RedisStore};
use coxswain_shared::store::{Advanced, Claimed, Error, Settle, Settled, Signal, StopAnswer, Store, Verdict};
use coxswain_tests::{Direction, Mode, Proxy, RedisOptions, RedisServer, wait_for};

use crate::rig::*;

const HEALED_WITHIN: Duration = Duration::from_secs(20);

async fn refusal(config: RedisConfig) -> Error {
    RedisStore::connect(config, &Tasks::new()).await.expect_err("the server does not suit")
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill_of_the_server() {
    let mut server = RedisServer::start(RedisOptions { appendonly: true, ..RedisOptions::default() }).await;
    let store = RedisStore::connect(config(server.url()), &Tasks::new()).await.unwrap();
    assert_eq!(store.persistence(), &Persistence::AppendOnlyAlways);
    assert_eq!(store.persistence().warning(), None);
    let (first, second) = (dispatched(&store, "r1").await, dispatched(&store, "r2").await);
    let Claimed::Leased(lease) = store.claim(claim(&first)).await.unwrap() else { panic!("not leased") };
    let settle = Settle {
        task: first.clone(),
        fence: lease.fence,
        verdict: Verdict::Done(Outcome::wrote(values(&[]))),
        spent: Spend::default(),
    };
    let done = Settled::Accepted { step_complete: true };
    assert_eq!(store.settle(settle.clone()).await.unwrap(), done);
    assert!(matches!(store.stop(&second.run.id, order()).await.unwrap(), StopAnswer::Accepted(_)));

    server.kill().await;
    let down = store.run(&first.run.id).await.unwrap_err();
    assert!(matches!(down, Error::Unavailable { .. }), "{down}");
    server.restart().await;

    // The same handle goes on, and the server has lost its scripts.
    wait_for("the store to answer again", HEALED_WITHIN, async || store.now().await.map_err(|e| e.to_string())).await;
    assert_eq!(store.settle(settle).await.unwrap(), done, "as before");
    assert_eq!(store.take_ready(first.run.partition, 10, Duration::from_secs(5)).await.unwrap().len(), 1);
    assert_eq!(store.claim(claim(&second)).await.unwrap(), Claimed::Stopped);
}

#[tokio::test]
async fn a_cut_connection_heals_and_lost_pushes_are_told() {
    let server = shared_server().await;
    let proxy = Proxy::start(server.port()).await;
    let store = RedisStore::connect(config(proxy.url(&server.url())), &Tasks::new()).await.unwrap();
    let mut signals = store.signals();
    let task = dispatched(&store, "r1").await;
    assert_eq!(signals.recv().await.unwrap(), Signal::Ready(task.run.partition));
    for _ in 0..3 {
        proxy.cut();
        assert!(store.run(&task.run.id).await.unwrap().is_some(), "a call over a cut connection is sent again");
        let told = tokio::time::timeout(HEALED_WITHIN, signals.recv()).await.expect("a reconnect is told");
        assert_eq!(told.unwrap(), Signal::Lost);
    }
    made(&store, new_run("r2")).await;
    let pushed = tokio::time::timeout(HEALED_WITHIN, signals.recv()).await.expect("pushes come again");
    assert!(matches!(pushed.unwrap(), Signal::Ready(_)));
}

#[tokio::test]
async fn a_dead_connection_for_pushes_is_found_out_and_told() {
    let server = shared_server().await;
    let proxy = Proxy::start(server.port()).await;
    let store = RedisStore::connect(config(proxy.url(&server.url())), &Tasks::new()).await.unwrap();
    let mut signals = store.signals();
    let open = proxy.connections();
    proxy.set(Mode::Blackhole);
    // The ping after a few seconds gets no answer, and the connection is given up, though nothing has closed it.
    wait_for("the listener to give up", HEALED_WITHIN, async || {
        if proxy.swallowed() > 0 && proxy.connections() != open { Ok(()) } else { Err(proxy.connections().to_string()) }
    })
    .await;
    proxy.set(Mode::Pass);
    let told = tokio::time::timeout(HEALED_WITHIN, signals.recv()).await.expect("a reconnect is told");
    assert_eq!(told.unwrap(), Signal::Lost);
}

#[tokio::test]
async fn a_call_whose_reply_was_lost_is_answered_alike_when_repeated() {
    let server = shared_server().await;
    let proxy = Proxy::start(server.port()).await;
    let config = RedisConfig { response_timeout: Duration::from_millis(300), ..config(proxy.url(&server.url())) };
    let store = RedisStore::connect(config, &Tasks::new()).await.unwrap();
    let key = made(&store, new_run("r1")).await;
    let plan = advance(&key, 0, step(1, vec![queued("1:work:0")]));

    let before = proxy.swallowed();
    proxy.set(Mode::HalfOpen(Direction::ToClient));
    let lost = store.advance(plan.clone()).await.unwrap_err();
    assert!(matches!(lost, Error::Unavailable { .. }) && lost.is_retryable(), "{lost}");
    assert!(proxy.swallowed() > before, "the server had answered");
    proxy.set(Mode::Pass);

    wait_for("the repeated call", HEALED_WITHIN, async || store.advance(plan.clone()).await.map_err(|e| e.to_string()))
        .await;
    let run = store.run(&key.id).await.unwrap().unwrap();
    assert_eq!((run.revision.get(), run.open_tasks), (1, 1), "it was applied once");
    assert_eq!(store.advance(advance(&key, 0, Then::Succeed)).await.unwrap(), Advanced::Conflict);
}

#[tokio::test]
async fn a_server_that_would_evict_runs_is_refused_with_the_remedy() {
    let settings = vec![("maxmemory-policy", "allkeys-lru".to_owned())];
    let server = RedisServer::start(RedisOptions { settings, ..RedisOptions::default() }).await;
    let refused = refusal(config(server.url())).await;
    assert!(matches!(refused, Error::Unsuitable { .. }), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("allkeys-lru") && text.contains("maxmemory-policy noeviction"), "{text}");
}

#[tokio::test]
async fn another_number_of_partitions_is_refused_with_the_remedy() {
    let first = config(shared_server().await.url());
    let store = RedisStore::connect(first.clone(), &Tasks::new()).await.unwrap();
    assert_eq!(store.partitions(), 16);
    let refused = refusal(RedisConfig { partitions: 8, ..first.clone() }).await.to_string();
    assert!(refused.contains("has 16 partitions") && refused.contains("set 16"), "{refused}");
    RedisStore::connect(first, &Tasks::new()).await.unwrap();
}

#[tokio::test]
async fn a_refused_password_shows_nowhere() {
    let url = shared_server().await.url().replace("redis://", "redis://ann:hunter2@");
    let refused = refusal(config(url)).await;
    let text = format!("{refused} {refused:?}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a_server_that_keeps_nothing_is_told_of() {
    let store = store().await;
    assert_eq!(store.persistence(), &Persistence::SnapshotsOrNothing);
    assert!(store.persistence().warning().unwrap().contains("appendonly yes"));
}

#[tokio::test]
async fn records_that_cannot_be_read_are_named_and_hold_up_nobody_else() {
    let config = config(shared_server().await.url());
    let prefix = config.key_prefix.clone();
    let store = RedisStore::connect(RedisConfig { partitions: 1, ..config }, &Tasks::new()).await.unwrap();
    let mut raw = shared_server().await.connection().await;
    let mut set = async |run: &str, field: &str, value: &str| {
        let mut command = redis::cmd("HSET");
        command.arg(format!("{prefix}:{{0}}:run:{run}")).arg(field).arg(value);
        command.query_async::<()>(&mut raw).await.unwrap();
    };
    let newer = dispatched(&store, "newer").await;
    let broken = dispatched(&store, "broken").await;
    made(&store, new_run("fine")).await;
    made(&store, new_run("odd")).await;
    set("newer", "v", "2").await;
    set("broken", "spec", "{").await;
    set("odd", "created", "yesterday").await;

    let refused = store.claim(claim(&newer)).await.unwrap_err();
    let key = format!("{prefix}:{{0}}:run:newer");
    assert!(matches!(&refused, Error::Format { key: named, format: 2, known: 1 } if *named == key), "{refused}");
    assert!(matches!(store.run(&newer.run.id).await.unwrap_err(), Error::Format { format: 2, .. }));
    let refused = store.run(&broken.run.id).await.unwrap_err();
    assert!(matches!(&refused, Error::Corrupt { key, .. } if key.ends_with("run:broken")), "{refused}");
    let ready = store.take_ready(newer.run.partition, 10, Duration::from_secs(5)).await.unwrap();
    let taken: Vec<_> = ready.iter().map(|ready| ready.run.key.id.as_str()).collect();
    assert_eq!(taken, ["fine"], "the odd one is left out");
}
