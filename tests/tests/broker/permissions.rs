//! What a user of the broker must be allowed, and what one is told who is not.

use coxswain_shared::broker::conformance::{backlog_becomes, lane, publish, task};
use coxswain_shared::broker::{Broker, Error, Hindrance, RabbitBroker, RabbitConfig};
use coxswain_tests::{RabbitServer, wait_for};
use tokio::sync::OnceCell;

use crate::rig::{self, SOON};

static SERVER: OnceCell<RabbitServer> = OnceCell::const_new();

/// The permissions of docs/operations.md: configure, write, read.
fn documented(prefix: &str) -> [String; 3] {
    let page = include_str!("../../../docs/operations.md");
    let line =
        page.lines().find(|line| line.starts_with("rabbitmqctl set_permissions")).expect("the page has the command");
    let quoted: Vec<_> = line
        .split('\'')
        .skip(1)
        .step_by(2)
        .take(3)
        .map(|text| text.replace("cox\\.", &format!("{prefix}\\.")))
        .collect();
    quoted.try_into().expect("three patterns")
}

/// A user of this name with these permissions, and settings for it.
async fn user(name: &str, permissions: impl FnOnce(&str) -> [String; 3]) -> RabbitConfig {
    let server = SERVER.get_or_init(RabbitServer::start).await;
    server.ctl(&["add_user", name, "secret"]).await;
    let config = rig::config(&server.url().replace("guest:guest", &format!("{name}:secret")));
    grant(name, &permissions(&config.queue_prefix)).await;
    config
}

async fn grant(name: &str, permissions: &[String; 3]) {
    let server = SERVER.get().expect("it was started for the user");
    let [configure, write, read] = permissions.each_ref().map(String::as_str);
    server.ctl(&["set_permissions", "-p", "/", name, configure, write, read]).await;
}

async fn refused_publish(broker: &RabbitBroker) -> String {
    match broker.publish_confirmed(&[(lane("a"), task(0))]).await.remove(0) {
        Err(Error::Unsuitable { why, .. }) => why,
        other => panic!("not refused as it should be: {other:?}"),
    }
}

#[tokio::test]
async fn exactly_the_documented_permissions_are_enough() {
    let config = user("enough", documented).await;
    let prefix = config.queue_prefix.clone();
    let broker = rig::connected(config).await;
    let mut consumer = broker.consume(&lane("a"), 2).await.unwrap();
    publish(&broker, &lane("a"), 2).await;
    consumer.next().await.unwrap().ack().await;
    consumer.next().await.unwrap().bury("a test").await;
    publish(&broker, &lane("b"), 1).await;
    backlog_becomes(&broker, &lane("b"), 1).await;
    broker.bury(b"another", "another test").await.unwrap();
    wait_for("both dead letters", SOON, async || {
        let listed = SERVER.get().unwrap().ctl(&["list_queues", "name", "messages"]).await;
        let is_there = listed.lines().any(|line| line == format!("{prefix}.dead\t2"));
        if is_there { Ok(()) } else { Err(listed) }
    })
    .await;
    assert_eq!(broker.complaint(), None);
}

#[tokio::test]
async fn what_a_user_may_not_do_is_told_with_the_permission_that_lacks() {
    let without = |which: usize| {
        move |prefix: &str| {
            let mut permissions = documented(prefix);
            permissions[which] = "^$".to_owned();
            permissions
        }
    };
    // Write: the page once said that its own queues are enough.
    let config = user("mute", |prefix| {
        let mut permissions = documented(prefix);
        permissions[1] = permissions[0].clone();
        permissions
    })
    .await;
    let prefix = config.queue_prefix.clone();
    let broker = RabbitBroker::start(config).unwrap();
    broker.connected(SOON).await.unwrap();
    wait_for("the probe to be refused", SOON, async || {
        let complaint = broker.complaint().ok_or("it is ready")?;
        let is_told =
            complaint.hindrance == Hindrance::Refused && complaint.why.contains("grant write on `amq.default`");
        if is_told { Ok(()) } else { Err(format!("{complaint:?}")) }
    })
    .await;
    let why = refused_publish(&broker).await;
    assert!(why.contains("grant write on `amq.default`"), "{why}");
    grant("mute", &documented(&prefix)).await;
    wait_for("it to be ready without a restart", SOON, async || {
        publish(&broker, &lane("a"), 1).await;
        broker.complaint().map_or(Ok(()), |complaint| Err(complaint.why))
    })
    .await;

    let broker = RabbitBroker::start(user("idle", without(0)).await).unwrap();
    broker.connected(SOON).await.unwrap();
    let why = refused_publish(&broker).await;
    assert!(why.contains("grant configure and read on it"), "{why}");
    assert_eq!(broker.complaint().map(|complaint| complaint.hindrance), Some(Hindrance::Refused));

    let broker = RabbitBroker::start(user("deaf", without(2)).await).unwrap();
    broker.connected(SOON).await.unwrap();
    let Err(Error::Unsuitable { why, .. }) = broker.consume(&lane("a"), 1).await else { panic!("not refused") };
    assert!(why.contains("read on it"), "{why}");
}
