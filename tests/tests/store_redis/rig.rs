//! What the tests of the Redis store share: one server for those that only add keys, and short ways to say things.

use std::sync::atomic::{AtomicU32, Ordering};

use coxswain_shared::checkpoint::{CHECKPOINT_FORMAT, Checkpoint, Source, Values};
use coxswain_shared::id::{Nonce, Revision, RunKey, Step, TaskKey};
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::plan::Then;
use coxswain_shared::stop::{Cause, NewOrder};
use coxswain_shared::store::conformance::make;
pub(crate) use coxswain_shared::store::conformance::make::{
    claim, run as new_run, run_id, step, task as queued, values,
};
use coxswain_shared::store::redis::{RedisConfig, RedisStore};
use coxswain_shared::store::{Advance, Created, NewRun, Store};
use coxswain_shared::time::Clock;
use coxswain_tests::{RedisCluster, RedisOptions, RedisServer};
use tokio::sync::OnceCell;

/// The server of all tests that leave it alone.
static SERVER: OnceCell<RedisServer> = OnceCell::const_new();
/// The cluster of all tests that leave it alone.
static CLUSTER: OnceCell<RedisCluster> = OnceCell::const_new();
static PREFIXES: AtomicU32 = AtomicU32::new(0);

pub(crate) async fn shared_server() -> &'static RedisServer {
    SERVER.get_or_init(|| RedisServer::start(RedisOptions::default())).await
}

pub(crate) async fn shared_cluster() -> &'static RedisCluster {
    CLUSTER.get_or_init(|| RedisCluster::start(3)).await
}

/// A configuration for a database of its own on a server.
pub(crate) fn config(url: impl Into<String>) -> RedisConfig {
    let prefix = format!("t{}", PREFIXES.fetch_add(1, Ordering::Relaxed));
    RedisConfig { key_prefix: prefix, ..RedisConfig::new(url) }
}

/// A store of its own on the shared server.
pub(crate) async fn store() -> RedisStore {
    RedisStore::connect(config(shared_server().await.url()), &Tasks::new()).await.unwrap()
}

/// The same, whose time stands still until it is moved.
pub(crate) async fn store_at(clock: &Clock) -> RedisStore {
    let config = RedisConfig { partitions: 2, ..config(shared_server().await.url()) };
    RedisStore::connect_with_clock(config, &Tasks::new(), clock.clone()).await.unwrap()
}

pub(crate) fn order() -> NewOrder {
    make::order(Cause::Cancelled)
}

/// A checkpoint with these channels, all written by its step.
pub(crate) fn checkpoint(step: u64, channels: &Values) -> Checkpoint {
    Checkpoint {
        format: CHECKPOINT_FORMAT,
        step: Step::new(step),
        source: if step == 0 { Source::Input } else { Source::Step },
        versions: channels.keys().map(|name| (name.clone(), Step::new(step))).collect(),
        ran: Vec::new(),
        next: Vec::new(),
        joins: std::collections::BTreeMap::default(),
        node_runs: step,
        rounds: coxswain_shared::rounds::Rounds::default(),
    }
}

pub(crate) fn advance(run: &RunKey, expected: u64, then: Then) -> Advance {
    Advance {
        run: run.clone(),
        expected: Revision::new(expected),
        nonce: Nonce::fresh(),
        checkpoint: None,
        changed: Values::new(),
        then,
    }
}

pub(crate) fn task(run: &RunKey, id: &str) -> TaskKey {
    TaskKey { run: run.clone(), task: id.parse().unwrap() }
}

pub(crate) async fn made(store: &dyn Store, run: NewRun) -> RunKey {
    match store.create_run(run).await.unwrap() {
        Created::Made { key, .. } => key,
        other => panic!("it was not made: {other:?}"),
    }
}

/// Makes a run and its first step of one task.
pub(crate) async fn dispatched(store: &dyn Store, id: &str) -> TaskKey {
    let key = made(store, new_run(id)).await;
    let step = step(1, vec![queued("1:work:0")]);
    assert_eq!(store.advance(advance(&key, 0, step)).await.unwrap(), coxswain_shared::store::Advanced::Ok);
    task(&key, "1:work:0")
}
