//! Stores that share a server: by database and by prefix they neither see nor hear each other.

use std::time::Duration;

use coxswain_shared::id::TaskKey;
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::store::redis::{RedisConfig, RedisStore};
use coxswain_shared::store::{Claimed, Signal, SignalReceiver, Store};

use crate::rig::{claim, config, dispatched, order, shared_server};

/// A run of this id whose task a worker has, and what the store pushes from then on.
async fn at_work(store: &RedisStore, run: &str) -> (TaskKey, SignalReceiver) {
    let task = dispatched(store, run).await;
    assert!(matches!(store.claim(claim(&task)).await.unwrap(), Claimed::Leased(_)));
    (task, store.signals())
}

/// The first stop order that is pushed.
async fn first_order(signals: &mut SignalReceiver) -> Signal {
    let pushed = async {
        loop {
            let signal = signals.recv().await.unwrap();
            if matches!(signal, Signal::Stop { .. }) {
                return signal;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), pushed).await.expect("an order is pushed")
}

/// Orders the runs `same` and then `own` to stop: `same` in the first store, `own` in the second.
async fn hold_apart(first: RedisConfig, second: RedisConfig) {
    let first = RedisStore::connect(first, &Tasks::new()).await.unwrap();
    let second = RedisStore::connect(second, &Tasks::new()).await.unwrap();
    let (same, _) = at_work(&first, "same").await;
    let (other, _) = at_work(&second, "same").await;
    let (own, mut heard) = at_work(&second, "own").await;
    first.stop(&same.run.id, order()).await.unwrap();
    second.stop(&own.run.id, order()).await.unwrap();
    let made_at = second.run(&own.run.id).await.unwrap().unwrap().created_at;
    let told = first_order(&mut heard).await;
    assert!(matches!(&told, Signal::Stop { run, made_at: at, .. } if *run == own.run.id && *at == made_at), "{told:?}");
    let untouched = second.run(&other.run.id).await.unwrap().unwrap();
    assert_eq!((untouched.stop, untouched.open_leases), (None, 1));
}

#[tokio::test]
async fn two_databases_of_one_server_do_not_hear_each_other() {
    let first = config(shared_server().await.url());
    let url = format!("{}3", shared_server().await.url());
    hold_apart(first.clone(), RedisConfig { key_prefix: first.key_prefix.clone(), ..RedisConfig::new(url) }).await;
}

#[tokio::test]
async fn two_prefixes_in_one_database_neither_see_nor_hear_each_other() {
    let url = shared_server().await.url();
    hold_apart(config(url.clone()), config(url)).await;
}
