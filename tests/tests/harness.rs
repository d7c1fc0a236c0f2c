//! The harness held to its own promises: servers that keep what they must, faults that happen, and nothing left behind.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use coxswain_tests::{Cox, Direction, Mode, Proxy, RabbitServer, RedisCluster, RedisOptions, RedisServer, wait_for};
use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use redis::AsyncCommands;

/// Enough for anything that takes milliseconds on an idle machine.
const SOON: Duration = Duration::from_secs(10);

/// The time a broker may take to elect a queue's leader after a crash.
const RECOVERED: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_killed_redis_keeps_its_append_only_file() {
    let mut redis = RedisServer::start(RedisOptions { appendonly: true, ..Default::default() }).await;
    let () = redis.connection().await.set("key", "kept").await.unwrap();
    redis.kill().await;
    redis.restart().await;
    let value: Option<String> = redis.connection().await.get("key").await.unwrap();
    assert_eq!(value.as_deref(), Some("kept"));
}

#[tokio::test]
async fn a_redis_without_the_file_forgets() {
    let mut redis = RedisServer::start(RedisOptions::default()).await;
    let () = redis.connection().await.set("key", "lost").await.unwrap();
    redis.restart().await;
    let value: Option<String> = redis.connection().await.get("key").await.unwrap();
    assert_eq!(value, None);
}

#[tokio::test]
async fn a_paused_redis_answers_when_it_is_resumed() {
    let mut redis = RedisServer::start(RedisOptions::default()).await;
    let mut connection = redis.connection().await;
    redis.pause();
    let answer = redis::cmd("PING").query_async::<String>(&mut connection).await;
    assert!(answer.is_err(), "a paused server answered {answer:?}");
    redis.resume();
    wait_for("the resumed server to answer", SOON, async || {
        redis::cmd("PING").query_async::<String>(&mut connection).await
    })
    .await;
}

#[tokio::test]
async fn a_cluster_refuses_a_script_that_touches_two_slots() {
    let cluster = RedisCluster::start(3).await;
    assert_eq!(cluster.urls().len(), 3);
    let mut connection = cluster.node_of("{a}").await.connection().await;
    let script = |keys: [&str; 2]| {
        let mut eval = redis::cmd("EVAL");
        eval.arg("return redis.call('MSET', KEYS[1], 1, KEYS[2], 2)").arg(2).arg(&keys);
        eval
    };
    let same = script(["{a}:1", "{a}:2"]).query_async::<()>(&mut connection).await;
    same.expect("keys that share a tag are in one slot");
    let error = script(["{a}:1", "{b}:2"]).query_async::<()>(&mut connection).await.unwrap_err();
    assert_eq!(error.code(), Some("CROSSSLOT"));
}

#[tokio::test]
async fn a_killed_broker_keeps_the_messages_of_a_quorum_queue() {
    let mut rabbit = RabbitServer::start().await;
    publish_confirmed(&channel(&rabbit.url()).await, "kept").await;
    rabbit.kill().await;
    rabbit.restart().await;
    let body = wait_for("the message to be there again", RECOVERED, async || {
        first_message(&channel(&rabbit.url()).await).await
    })
    .await;
    assert_eq!(body, "kept");
}

#[tokio::test]
async fn a_broker_obeys_its_operator() {
    let mut rabbit = RabbitServer::start().await;
    let connection = connect(&rabbit.url()).await;
    rabbit.close_all_connections().await;
    wait_for("the connection to be closed", SOON, async || !connection.status().connected()).await;

    let publisher = connect(&rabbit.url()).await;
    rabbit.set_memory_alarm(true).await;
    let channel = publisher.create_channel().await.unwrap();
    let publish = channel.basic_publish(
        "".into(),
        "nowhere".into(),
        BasicPublishOptions::default(),
        b"x",
        BasicProperties::default(),
    );
    let _blocked = tokio::time::timeout(Duration::from_millis(200), publish).await;
    wait_for("the publisher to be blocked", SOON, async || publisher.status().blocked()).await;
    rabbit.set_memory_alarm(false).await;
    wait_for("the publisher to be free again", SOON, async || !publisher.status().blocked()).await;

    rabbit.restart().await;
    assert!(connect(&rabbit.url()).await.status().connected());
}

#[tokio::test]
async fn a_channel_that_holds_a_delivery_too_long_is_closed() {
    let rabbit = RabbitServer::start().await;
    rabbit.set_consumer_timeout(Duration::from_millis(500)).await;
    let channel = channel(&rabbit.url()).await;
    publish_confirmed(&channel, "held").await;
    first_message(&channel).await.expect("a published message is delivered");
    wait_for("the channel to be closed", SOON, async || !channel.status().connected()).await;
}

#[tokio::test]
async fn a_proxy_cuts_stalls_loses_and_refuses() {
    let redis = RedisServer::start(RedisOptions::default()).await;
    let proxy = Proxy::start(redis.port()).await;
    let url = proxy.url(&redis.url());
    let mut connection = RedisServer::connection_to(&url).await.unwrap();
    let () = connection.set("n", 0).await.unwrap();

    proxy.set(Mode::Latency(Duration::from_millis(50)));
    let start = std::time::Instant::now();
    let _: i64 = connection.get("n").await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(100), "a round trip waits twice");

    proxy.set(Mode::HalfOpen(Direction::ToClient));
    let lost: redis::RedisResult<i64> = connection.incr("n", 1).await;
    assert!(lost.is_err() && proxy.swallowed() > 0, "the reply is lost: {lost:?}");
    let n: i64 = redis.connection().await.get("n").await.unwrap();
    assert_eq!(n, 1, "the command was executed");

    proxy.set(Mode::Pass);
    wait_for("the spoiled connection to end", SOON, async || proxy.connections() == 0).await;
    let mut connection = RedisServer::connection_to(&url).await.unwrap();
    proxy.cut();
    wait_for("the cut connection to end", SOON, async || proxy.connections() == 0).await;
    let cut: redis::RedisResult<i64> = connection.get("n").await;
    assert!(cut.is_err(), "a cut connection answered {cut:?}");

    proxy.set(Mode::Refuse);
    assert!(RedisServer::connection_to(&url).await.is_err());
}

#[tokio::test]
async fn a_stalled_proxy_hands_on_later_what_it_kept() {
    let redis = RedisServer::start(RedisOptions::default()).await;
    let proxy = Proxy::start(redis.port()).await;
    let url = proxy.url(&redis.url());
    let mut connection = RedisServer::connection_to(&url).await.unwrap();
    proxy.set(Mode::Stall);
    let kept: redis::RedisResult<i64> = connection.incr("n", 1).await;
    assert!(kept.is_err(), "a stalled connection answered {kept:?}");
    proxy.set(Mode::Pass);
    wait_for("the kept command to arrive", SOON, async || {
        connection.get::<_, Option<i64>>("n").await.is_ok_and(|n| n == Some(1))
    })
    .await;
}

#[tokio::test]
async fn nothing_is_left_of_a_dropped_server() {
    let rabbit = RabbitServer::start().await;
    let redis = RedisServer::start(RedisOptions::default()).await;
    rabbit.ctl(&["eval", "1."]).await;
    let folder = rabbit.folder().to_owned();
    let pids = BTreeSet::from([rabbit.pid(), redis.pid()]);
    assert!(processes_of(&folder).contains(&rabbit.pid()));
    drop((rabbit, redis));
    wait_for("all processes to be gone", SOON, async || {
        let left: Vec<u32> = pids.iter().copied().filter(|pid| is_alive(*pid)).chain(processes_of(&folder)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("left: {left:?}")) }
    })
    .await;
    assert!(!folder.exists(), "{} is left", folder.display());
}

#[tokio::test]
async fn a_program_runs_to_its_end_and_shows_what_it_wrote() {
    let help = Cox::program("cox").arg("--help").run(SOON).await;
    assert!(help.status.success(), "{help:?}");
    assert_eq!(help.stderr, "");
}

/// Runs only as the victim of the next test: with the variable set, by itself, until it is killed.
const VICTIM: &str = "COXSWAIN_TESTS_VICTIM";

#[tokio::test]
async fn nothing_is_left_when_the_test_process_is_killed() {
    if let Some(report) = std::env::var_os(VICTIM) {
        let rabbit = RabbitServer::start().await;
        std::fs::write(&report, rabbit.folder().as_os_str().as_encoded_bytes()).unwrap();
        return std::future::pending().await;
    }
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_is_left_when_the_test_process_is_killed"])
        .env(VICTIM, &report)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let servers = wait_for("the victim's broker", Duration::from_mins(2), async || {
        std::fs::read_to_string(&report).ok().filter(|path| !path.is_empty()).map(std::path::PathBuf::from)
    })
    .await;
    assert!(!processes_of(&servers).is_empty());
    victim.kill().unwrap();
    victim.wait().unwrap();
    wait_for("the victim's servers to be gone", SOON, async || {
        let left = processes_of(&servers);
        if left.is_empty() && !servers.exists() { Ok(()) } else { Err(format!("left: {left:?}")) }
    })
    .await;
}

async fn connect(url: &str) -> Connection {
    Connection::connect(url, ConnectionProperties::default()).await.expect("a running broker can be reached")
}

/// A channel of a connection of its own, with confirms and the queue `tasks`.
async fn channel(url: &str) -> Channel {
    let channel = connect(url).await.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(LongString::from("quorum")));
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare("tasks".into(), options, arguments).await.unwrap();
    channel
}

async fn publish_confirmed(channel: &Channel, body: &str) {
    let persistent = BasicProperties::default().with_delivery_mode(2);
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish("".into(), "tasks".into(), options, body.as_bytes(), persistent);
    let confirm = sent.await.unwrap().await.unwrap();
    assert!(confirm.is_ack(), "{confirm:?}");
}

/// Takes the first message without acknowledging it.
async fn first_message(channel: &Channel) -> anyhow::Result<String> {
    let options = BasicConsumeOptions::default();
    let mut consumer = channel.basic_consume("tasks".into(), "".into(), options, FieldTable::default()).await?;
    let delivery = tokio::time::timeout(Duration::from_secs(5), consumer.next()).await?;
    let delivery = delivery.ok_or_else(|| anyhow::anyhow!("the consumer was cancelled"))??;
    Ok(String::from_utf8(delivery.data)?)
}

/// The living processes whose environment or arguments name the folder. A zombie has neither.
fn processes_of(folder: &std::path::Path) -> Vec<u32> {
    let needle = folder.to_str().expect("temporary folders have plain names");
    let names = |pid: &u32| {
        ["environ", "cmdline"].iter().any(|file| {
            let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).contains(needle)
        })
    };
    let entries = std::fs::read_dir("/proc").expect("processes are listed in /proc").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(names).collect()
}

fn is_alive(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|arguments| !arguments.is_empty())
}
