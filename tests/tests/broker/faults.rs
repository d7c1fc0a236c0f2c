//! A broker that dies, restarts, hangs, cuts connections or runs out of memory: nothing that was confirmed is lost, no
//! call waits longer than it may, and everything goes on by itself.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use coxswain_shared::broker::conformance::{backlog_becomes, lane, next, publish, task};
use coxswain_shared::broker::{Broker, BrokerUrl, Error, RabbitBroker};
use coxswain_shared::id::TaskKey;
use coxswain_tests::{Direction, Mode, Proxy, RabbitServer, poll, wait_for};
use tokio_util::sync::CancellationToken;

use crate::rig::{self, RECOVERED};

/// Short, so that tests which wait for it are short.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a call may take beyond its patience: it may wait for the connection, then for the confirm, on a busy machine.
const SLACK: Duration = Duration::from_secs(8);

/// After so long what has not arrived is kept back: rarely, a quorum queue that was restored counts as many messages as the
/// prefetch as handed to a consumer of before (rabbitmq-server #15473). They are safe, and come once connections were closed.
/// (A fleet does not wait for that: a sweep sends their tasks again.)
const KEPT_BACK: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_confirmed_is_lost_when_the_broker_is_killed_under_traffic() {
    under_traffic(async |server| {
        server.kill().await;
        server.restart().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_confirmed_is_lost_when_the_broker_is_restarted_under_traffic() {
    under_traffic(async |server| server.restart().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_confirmed_is_lost_when_all_connections_are_closed_under_traffic() {
    under_traffic(async |server| server.close_all_connections().await).await;
}

/// Publishes and consumes without a pause while the broker suffers, then expects every confirmed task to have arrived.
async fn under_traffic(harm: impl AsyncFnOnce(&mut RabbitServer)) {
    let mut server = RabbitServer::start().await;
    let broker = rig::connected(rig::config(&server.url())).await;
    let mut consumer = broker.consume(&lane("a"), 20).await.unwrap();
    let (confirmed, arrived) = (Mutex::new(BTreeSet::new()), Mutex::new(BTreeSet::new()));
    let (enough, over) = (CancellationToken::new(), CancellationToken::new());

    let publishing = publish_until(&broker, &confirmed, &enough);
    let consuming = over.run_until_cancelled(async {
        while let Some(delivery) = consumer.next().await {
            arrived.lock().unwrap().insert(delivery.task().unwrap());
            delivery.ack().await;
        }
    });
    let count = |set: &Mutex<BTreeSet<TaskKey>>| set.lock().unwrap().len();
    let grows = async |set: &Mutex<BTreeSet<TaskKey>>| {
        let before = count(set);
        wait_for("the traffic to flow", RECOVERED, async || count(set) > before + 200).await;
    };
    let harming = async {
        grows(&arrived).await;
        harm(&mut server).await;
        grows(&confirmed).await;
        grows(&arrived).await;
        enough.cancel();
        let all_here = async || {
            let missing = confirmed.lock().unwrap().difference(&*arrived.lock().unwrap()).count();
            if missing == 0 { Ok(()) } else { Err(format!("{missing} are missing")) }
        };
        if let Err(kept) = poll(KEPT_BACK, all_here).await {
            let counts = server.ctl(&["list_queues", "messages_ready", "messages_unacknowledged"]).await;
            server.close_all_connections().await;
            wait_for(&format!("what was kept back ({kept}: {counts})"), RECOVERED, all_here).await;
        }
        over.cancel();
    };
    tokio::join!(publishing, consuming, harming);
    assert!(broker.reconnects() >= 2, "{} reconnects of a connection and a subscription", broker.reconnects());
    // The last harm may have been done a moment ago.
    wait_for("all to be in order again", RECOVERED, async || broker.is_ready() && consumer.is_subscribed()).await;
}

/// Publishes batch after batch, and notes what was confirmed.
async fn publish_until(broker: &RabbitBroker, confirmed: &Mutex<BTreeSet<TaskKey>>, enough: &CancellationToken) {
    for first in (0..).step_by(25) {
        if enough.is_cancelled() {
            return;
        }
        let batch: Vec<_> = (first..first + 25).map(|n| (lane("a"), task(n))).collect();
        let answers = broker.publish_confirmed(&batch).await;
        let safe = batch.into_iter().zip(answers).filter(|(_, answer)| answer.is_ok());
        confirmed.lock().unwrap().extend(safe.map(|((_, task), _)| task));
    }
}

#[tokio::test]
async fn a_delivery_of_a_lost_connection_cannot_be_acked_and_comes_again() {
    let server = RabbitServer::start().await;
    let broker = rig::connected(rig::config(&server.url())).await;
    let mut consumer = broker.consume(&lane("a"), 2).await.unwrap();
    publish(&broker, &lane("a"), 2).await;
    let held = next(&mut *consumer).await;
    server.close_all_connections().await;
    wait_for("the subscription to be restored", RECOVERED, async || broker.reconnects() >= 3).await;
    assert!(consumer.is_subscribed());
    let held_task = held.task().unwrap();
    assert!(!held.ack().await, "the tag of a lost channel means nothing any more");
    let mut again = BTreeSet::new();
    for _ in 0..2 {
        let delivery = next(&mut *consumer).await;
        again.insert(delivery.task().unwrap());
        assert!(delivery.is_redelivered());
        assert!(delivery.ack().await);
    }
    assert!(again.contains(&held_task), "the one in hand, and the one that was fetched but not handed out");
    backlog_becomes(&broker, &lane("a"), 0).await;
}

#[tokio::test]
async fn an_alarm_refuses_publishes_in_time_and_blocks_nothing_else() {
    let server = RabbitServer::start().await;
    let mut config = rig::config(&server.url());
    config.publish_timeout = PATIENCE;
    let broker = rig::connected(config).await;
    publish(&broker, &lane("a"), 3).await;
    let mut consumer = broker.consume(&lane("a"), 1).await.unwrap();

    server.set_memory_alarm(true).await;
    assert_unavailable(&broker, "in time").await;
    wait_for("the block to be noticed", RECOVERED, async || !broker.is_ready()).await;
    assert_unavailable(&broker, "alarm").await;
    for _ in 0..3 {
        assert!(next(&mut *consumer).await.ack().await, "consuming goes on");
    }
    backlog_becomes(&broker, &lane("a"), 0).await;

    server.set_memory_alarm(false).await;
    rig::becomes_ready(&broker).await;
    let answers = broker.publish_confirmed(&[(lane("a"), task(77))]).await;
    answers[0].as_ref().expect("publishing works again");
    // What was published under the alarm may arrive as well, late.
    wait_for("the new task", RECOVERED, async || {
        let delivery = next(&mut *consumer).await;
        let task = delivery.task().unwrap();
        delivery.ack().await;
        task == self::task(77)
    })
    .await;
}

#[tokio::test]
async fn a_frozen_broker_holds_up_no_call() {
    let mut server = RabbitServer::start().await;
    let mut config = rig::config(&server.url());
    config.publish_timeout = PATIENCE;
    let broker = rig::connected(config).await;
    publish(&broker, &lane("a"), 1).await;
    let mut consumer = broker.consume(&lane("a"), 1).await.unwrap();
    let held = next(&mut *consumer).await;

    server.pause();
    assert_unavailable(&broker, "in time").await;
    let start = Instant::now();
    assert!(broker.backlog(&lane("a")).await.is_err());
    assert!(broker.consume(&lane("a"), 1).await.is_err());
    held.ack().await;
    assert!(start.elapsed() < 3 * PATIENCE + SLACK, "three calls took {:?}", start.elapsed());

    server.resume();
    wait_for("publishing to work again", RECOVERED, async || {
        broker.publish_confirmed(&[(lane("a"), task(1))]).await.remove(0)
    })
    .await;
    wait_for("consuming to work again", RECOVERED, async || {
        let delivery = next(&mut *consumer).await;
        let task = delivery.task().unwrap();
        delivery.ack().await;
        task == self::task(1)
    })
    .await;
}

#[tokio::test]
async fn a_broker_that_is_not_there_yet_is_waited_for() {
    let mut server = RabbitServer::start().await;
    server.stop().await;
    let mut config = rig::config(&server.url());
    config.publish_timeout = PATIENCE;
    let broker = RabbitBroker::start(config).unwrap();
    assert!(!broker.is_ready());
    assert_unavailable(&broker, "no connection").await;
    assert!(matches!(broker.consume(&lane("a"), 1).await, Err(Error::Unavailable { .. })));
    server.restart().await;
    broker.connected(RECOVERED).await.unwrap();
    publish(&broker, &lane("a"), 1).await;
    assert_eq!(broker.reconnects(), 0, "a first connection restores nothing");
}

#[tokio::test]
async fn a_network_that_swallows_replies_is_noticed_and_left_behind() {
    let server = RabbitServer::start().await;
    let proxy = Proxy::start(server.port()).await;
    let mut config = rig::config(&server.url());
    let direct = rig::connected(config.clone()).await;
    config.url = BrokerUrl::new(&proxy.url(&server.url())).unwrap();
    config.publish_timeout = PATIENCE;
    let broker = rig::connected(config).await;
    publish(&broker, &lane("a"), 1).await;
    let mut consumer = broker.consume(&lane("a"), 1).await.unwrap();
    assert!(next(&mut *consumer).await.ack().await);

    proxy.set(Mode::HalfOpen(Direction::ToClient));
    assert_unavailable(&broker, "in time").await;
    wait_for("the silence to be noticed", RECOVERED, async || !broker.is_ready() && !consumer.is_subscribed()).await;
    backlog_becomes(&direct, &lane("a"), 1).await;

    proxy.set(Mode::Pass);
    rig::becomes_ready(&broker).await;
    let delivery = next(&mut *consumer).await;
    assert_eq!(delivery.task().unwrap(), task(0), "it had been taken, though its confirm was lost");
    assert!(delivery.ack().await);
}

/// A publish is answered `Unavailable` in time, with this word.
async fn assert_unavailable(broker: &RabbitBroker, word: &str) {
    let start = Instant::now();
    let answer = broker.publish_confirmed(&[(lane("a"), task(0))]).await.remove(0);
    let error = answer.expect_err("the broker is out of order");
    assert!(matches!(&error, Error::Unavailable { why, .. } if why.contains(word)), "{error}");
    assert!(start.elapsed() < PATIENCE + SLACK, "it took {:?}", start.elapsed());
}
