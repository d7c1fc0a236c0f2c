//! A server that answers and does not serve: every refusal is passing at every call, and a failover behind one address is
//! followed by all connections that are kept.

use std::time::Duration;

use coxswain_shared::id::{GraphHash, Step, TaskKey};
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::store::redis::{RedisConfig, RedisStore};
use coxswain_shared::store::{Advanced, Claimed, Error, RunFilter, Signal, Store, SweepLimits};
use coxswain_tests::{RedisOptions, RedisServer, Refuser, wait_for};

use crate::rig::*;

const HEALED_WITHIN: Duration = Duration::from_secs(20);

/// What servers say that do not serve, and a word of the remedy.
const REFUSALS: [(&str, &str); 13] = [
    ("READONLY You can't write against a read only replica.", "primary"),
    ("LOADING Redis is loading the dataset in memory", "by itself"),
    ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "failover"),
    ("NOAUTH Authentication required.", "password"),
    ("WRONGPASS invalid username-password pair or user is disabled.", "password"),
    ("NOPERM this user has no permissions to run the 'evalsha' command", "give the user"),
    ("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", "SCRIPT KILL"),
    ("MISCONF Redis is configured to save RDB snapshots, but it's unable to persist to disk.", "disk"),
    ("OOM command not allowed when used memory > 'maxmemory'.", "maxmemory"),
    ("NOREPLICAS Not enough good replicas to write.", "min-replicas"),
    ("CLUSTERDOWN Hash slot not served", "cluster"),
    ("TRYAGAIN Multiple keys request during rehashing of slot", "cluster"),
    (
        "ERR Error running script (call to f_0): @user_script:1: -READONLY You can't write against a read only replica.",
        "primary",
    ),
];

/// Makes a call of every kind: a script, a command, and a read over the pool; whether each gets through.
async fn calls(store: &RedisStore, task: &TaskKey) -> Vec<Result<(), Error>> {
    let limits = SweepLimits { tasks: 1, runs: 1, resend_after: Duration::from_secs(30), ahead: Duration::ZERO };
    let (nobody, graph) = (run_id("nobody"), GraphHash::new("00ff").unwrap());
    // At once: each is repeated for a moment before it is given up.
    let (claim, sweep, stop, run, now, probe, tasks, workers, graph) = tokio::join!(
        store.claim(claim(task)),
        store.sweep(task.run.partition, limits),
        store.stop(&nobody, order()),
        store.run(&task.run.id),
        store.now(),
        store.probe(),
        store.tasks(&task.run, Step::new(1), 0, 10),
        store.workers(),
        store.graph(&graph),
    );
    vec![
        claim.map(drop),
        sweep.map(drop),
        stop.map(drop),
        run.map(drop),
        now.map(drop),
        probe.map(drop),
        tasks.map(drop),
        workers.map(drop),
        graph.map(drop),
    ]
}

async fn all_get_through(store: &RedisStore, task: &TaskKey) {
    wait_for("all calls to get through", HEALED_WITHIN, async || {
        let failed: Vec<_> = calls(store, task).await.into_iter().filter_map(Result::err).collect();
        if failed.is_empty() { Ok(()) } else { Err(format!("{failed:?}")) }
    })
    .await;
}

#[tokio::test]
async fn every_refusal_after_the_start_is_passing_at_every_call_and_told_with_its_remedy() {
    let server = shared_server().await;
    for (text, remedy) in REFUSALS {
        let refuser = Refuser::start(server.port()).await;
        let store = RedisStore::connect(config(refuser.url("")), &Tasks::new()).await.unwrap();
        let task = dispatched(&store, "r1").await;
        all_get_through(&store, &task).await;
        refuser.refuse(text);
        for (place, answer) in calls(&store, &task).await.into_iter().enumerate() {
            let error = answer.expect_err("it is refused");
            let told = error.to_string();
            assert!(error.is_retryable(), "call {place}: {told}");
            assert!(told.contains(&text[..text.len().min(60)]) && told.contains(remedy), "call {place}: {told}");
        }
        // Whatever reconnects meanwhile is refused too, and must come to no harm by it.
        refuser.cut();
        for answer in calls(&store, &task).await {
            assert!(answer.expect_err("it is refused still").is_retryable());
        }
        refuser.serve();
        all_get_through(&store, &task).await;
    }
}

#[tokio::test]
async fn one_refused_login_while_it_reconnects_keeps_no_program_out() {
    let server = shared_server().await;
    let mut raw = server.connection().await;
    let user = ["SETUSER", "kept", "on", ">secret", "~*", "&*", "+@all"];
    redis::cmd("ACL").arg(&user).exec_async(&mut raw).await.unwrap();
    let refuser = Refuser::start(server.port()).await;
    let store = RedisStore::connect(config(refuser.url("kept:secret@")), &Tasks::new()).await.unwrap();
    let task = dispatched(&store, "r1").await;
    let mut signals = store.signals();
    redis::cmd("ACL").arg(&["SETUSER", "kept", "off"]).exec_async(&mut raw).await.unwrap();
    refuser.cut();
    for answer in calls(&store, &task).await {
        let told = answer.expect_err("the user is off").to_string();
        assert!(told.contains("password") && !told.contains("secret"), "{told}");
    }
    redis::cmd("ACL").arg(&["SETUSER", "kept", "on"]).exec_async(&mut raw).await.unwrap();
    all_get_through(&store, &task).await;
    let told = tokio::time::timeout(HEALED_WITHIN, signals.recv()).await.expect("the pushes come again");
    assert_eq!(told.unwrap(), Signal::Lost);
}

#[tokio::test]
async fn at_the_start_a_user_who_is_refused_is_a_mistake_and_a_server_that_cannot_yet_is_not() {
    let server = shared_server().await;
    for (text, remedy) in REFUSALS {
        let refuser = Refuser::start(server.port()).await;
        refuser.refuse(text);
        let told = RedisStore::connect(config(refuser.url("")), &Tasks::new()).await.unwrap_err();
        let is_mistake = ["NOAUTH", "WRONGPASS", "NOPERM"].iter().any(|code| text.starts_with(code));
        assert_eq!(matches!(told, Error::Unsuitable { .. }), is_mistake, "{told}");
        assert!(told.to_string().contains(remedy), "{told}");
    }
    let url = server.url().replace("redis://", "redis://ann:hunter2@");
    let told = RedisStore::connect(config(url), &Tasks::new()).await.unwrap_err();
    assert!(matches!(told, Error::Unsuitable { .. }) && !told.to_string().contains("hunter2"), "{told}");
}

/// Makes one server a replica of another, and waits until it has all that the other has.
async fn follow(replica: &RedisServer, primary: &RedisServer) {
    let mut raw = replica.connection().await;
    let port = primary.port().to_string();
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(&port).exec_async(&mut raw).await.unwrap();
    wait_for("the replica to follow", HEALED_WITHIN, async || {
        let info: String =
            redis::cmd("INFO").arg("replication").query_async(&mut raw).await.map_err(|e| e.to_string())?;
        if info.contains("master_link_status:up") && info.contains("master_sync_in_progress:0") {
            Ok(())
        } else {
            Err(info)
        }
    })
    .await;
}

async fn promote(replica: &RedisServer) {
    let mut raw = replica.connection().await;
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec_async(&mut raw).await.unwrap();
}

#[tokio::test]
async fn a_failover_behind_one_address_is_followed_by_every_kept_connection_though_none_breaks() {
    let (first, second) =
        (RedisServer::start(RedisOptions::default()).await, RedisServer::start(RedisOptions::default()).await);
    let refuser = Refuser::start(first.port()).await;
    let config = RedisConfig { pool_size: 2, ..config(refuser.url("")) };
    let store = RedisStore::connect(config, &Tasks::new()).await.unwrap();
    let task = dispatched(&store, "r1").await;
    all_get_through(&store, &task).await;
    follow(&second, &first).await;
    let mut signals = store.signals();
    // The old primary lives on, as a replica, and closes nothing.
    promote(&second).await;
    refuser.lead_to(second.port());
    follow(&first, &second).await;

    // Nobody calls: the store finds it out by itself, and says that pushes may have been lost.
    let told = tokio::time::timeout(HEALED_WITHIN, signals.recv()).await.expect("it is found out");
    assert_eq!(told.unwrap(), Signal::Lost);
    let other = dispatched(&store, "r2").await;
    assert!(matches!(store.claim(claim(&other)).await.unwrap(), Claimed::Leased(_)));
    store.stop(&other.run.id, order()).await.unwrap();
    let heard = async {
        loop {
            if matches!(signals.recv().await.unwrap(), Signal::Stop { run, .. } if run == other.run.id) {
                return;
            }
        }
    };
    tokio::time::timeout(HEALED_WITHIN, heard).await.expect("pushes come from the new primary");
    // Reads over the pool see what was written just now: the old primary does not have it any more.
    let mut raw = first.connection().await;
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec_async(&mut raw).await.unwrap();
    redis::cmd("FLUSHALL").exec_async(&mut raw).await.unwrap();
    for _ in 0..4 {
        assert_eq!(store.tasks(&other.run, Step::new(1), 0, 10).await.unwrap().len(), 1);
    }
}

/// The rights of docs/operations.md are enough for all that a store does: large steps, pushes, listings, sweeps.
#[tokio::test]
async fn a_user_with_the_documented_rights_can_do_all() {
    let page = include_str!("../../../docs/operations.md");
    let line = page.lines().find_map(|line| line.strip_prefix("redis-cli ACL SETUSER cox ")).expect("the page has it");
    let rights = line.replace('\'', "").replace("SECRET", "secret");
    let server = shared_server().await;
    let mut raw = server.connection().await;
    let mut user = redis::cmd("ACL");
    user.arg("SETUSER").arg("cox").arg(rights.split_whitespace().collect::<Vec<_>>());
    user.exec_async(&mut raw).await.unwrap();
    let url = server.url().replace("redis://", "redis://cox:secret@");
    let store = RedisStore::connect(RedisConfig::new(url), &Tasks::new()).await.unwrap();
    let mut signals = store.signals();
    let task = dispatched(&store, "r1").await;
    all_get_through(&store, &task).await;
    let wide = made(&store, new_run("wide")).await;
    let many = (0..1_200).map(|item| queued(&format!("1:work:{item}"))).collect();
    assert_eq!(store.advance(advance(&wide, 0, step(1, many))).await.unwrap(), Advanced::Ok);
    store.stop(&task.run.id, order()).await.unwrap();
    let heard = async { while !matches!(signals.recv().await.unwrap(), Signal::Stop { .. }) {} };
    tokio::time::timeout(HEALED_WITHIN, heard).await.expect("the push is heard");
    assert_eq!(store.runs(&RunFilter::default(), None, 10).await.unwrap().rows.len(), 2);
    assert!(!store.audit(None, None, 10).await.unwrap().rows.is_empty());
}
