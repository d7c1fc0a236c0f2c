//! The ends that a subscription can come to, and what becomes of the deliveries.

use std::collections::BTreeSet;
use std::time::Duration;

use coxswain_shared::broker::conformance::{backlog_becomes, lane, next, publish, task};
use coxswain_shared::broker::{Broker, Error};
use coxswain_tests::{RabbitServer, wait_for};
use lapin::options::QueueDeleteOptions;

use crate::rig::{self, RECOVERED};

#[tokio::test]
async fn a_delivery_held_beyond_the_brokers_timeout_goes_to_another_consumer_and_its_own_goes_on() {
    let server = RabbitServer::start().await;
    server.set_consumer_timeout(Duration::from_secs(1)).await;
    let config = rig::config(&server.url());
    let (slow, quick) = (rig::connected(config.clone()).await, rig::connected(config).await);
    let mut slow_consumer = slow.consume(&lane("a"), 1).await.unwrap();
    publish(&slow, &lane("a"), 1).await;
    let held = next(&mut *slow_consumer).await;

    let mut quick_consumer = quick.consume(&lane("a"), 1).await.unwrap();
    let taken = next(&mut *quick_consumer).await;
    assert!(taken.is_redelivered());
    assert_eq!(taken.task().unwrap(), held.task().unwrap());
    assert!(taken.ack().await);
    wait_for("the slow one to be subscribed again", RECOVERED, async || slow.reconnects() > 0).await;
    assert!(slow_consumer.is_subscribed());
    assert!(!held.ack().await, "the broker took it back: by closing the channel, or since 4.3 by ending the consumer");

    drop(quick_consumer);
    assert_eq!(slow.reconnects(), 1, "a subscription, and no connection");
    publish(&slow, &lane("a"), 1).await;
    assert!(next(&mut *slow_consumer).await.ack().await);
    backlog_becomes(&slow, &lane("a"), 0).await;
}

#[tokio::test]
async fn a_consumer_whose_queue_is_deleted_makes_it_again() {
    let server = RabbitServer::start().await;
    let config = rig::config(&server.url());
    let queue = format!("{}.tasks.a", config.queue_prefix);
    let broker = rig::connected(config).await;
    let mut consumer = broker.consume(&lane("a"), 1).await.unwrap();
    let channel = rig::channel(&server.url()).await;
    for round in 1..=3 {
        channel.queue_delete(queue.clone().into(), QueueDeleteOptions::default()).await.unwrap();
        wait_for("the subscription to be restored", RECOVERED, async || {
            broker.reconnects() >= round && consumer.is_subscribed()
        })
        .await;
        publish(&broker, &lane("a"), 1).await;
        assert!(next(&mut *consumer).await.ack().await);
    }
    assert!(broker.is_ready());
}

#[tokio::test]
async fn a_subscription_that_cannot_be_restored_says_so_and_is_restored_when_it_can() {
    let server = RabbitServer::start().await;
    let broker = rig::connected(rig::config(&server.url())).await;
    let consumer = broker.consume(&lane("a"), 1).await.unwrap();
    server.ctl(&["clear_permissions", "guest"]).await;
    server.close_all_connections().await;
    wait_for("the subscription to be lost", RECOVERED, async || !consumer.is_subscribed()).await;
    server.ctl(&["set_permissions", "guest", ".*", ".*", ".*"]).await;
    wait_for("the subscription to be restored", RECOVERED, async || consumer.is_subscribed()).await;
}

#[tokio::test]
async fn a_message_that_comes_back_too_often_is_a_dead_letter() {
    let server = RabbitServer::start().await;
    let mut config = rig::config(&server.url());
    config.delivery_limit = 2;
    let prefix = config.queue_prefix.clone();
    let broker = rig::connected(config).await;
    let mut consumer = broker.consume(&lane("a"), 1).await.unwrap();
    publish(&broker, &lane("a"), 1).await;
    for _ in 0..3 {
        // Held while its connection is lost: the one return that every version of the broker counts.
        let held = next(&mut *consumer).await;
        assert_eq!(held.task().unwrap(), task(0));
        server.close_all_connections().await;
    }
    let letters = wait_for("the dead letter", RECOVERED, async || {
        let letters = rig::dead_letters(&server.url(), &prefix).await;
        (!letters.is_empty()).then_some(letters)
    })
    .await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].1, "delivery_limit");
    backlog_becomes(&broker, &lane("a"), 0).await;
}

#[tokio::test]
async fn a_full_queue_refuses_what_is_too_much_and_loses_nothing_it_took() {
    let server = RabbitServer::start().await;
    let mut config = rig::config(&server.url());
    config.queue_length_max = 10;
    let broker = rig::connected(config).await;
    publish(&broker, &lane("a"), 1).await;
    let mut confirmed = BTreeSet::from([task(0)]);
    // The limit is soft: it takes effect a few messages late.
    let refused = wait_for("the queue to be full", RECOVERED, async || {
        let n = confirmed.len();
        match broker.publish_confirmed(&[(lane("a"), task(n))]).await.remove(0) {
            Ok(()) => {
                confirmed.insert(task(n));
                None
            }
            Err(error) => Some(error),
        }
    })
    .await;
    assert!(matches!(&refused, Error::Unavailable { why, .. } if why.contains("full")), "{refused}");

    let mut consumer = broker.consume(&lane("a"), 5).await.unwrap();
    while !confirmed.is_empty() {
        let delivery = next(&mut *consumer).await;
        confirmed.remove(&delivery.task().unwrap());
        assert!(delivery.ack().await);
    }
    wait_for("room for more", RECOVERED, async || broker.publish_confirmed(&[(lane("a"), task(500))]).await.remove(0))
        .await;
}

/// Such a queue has no leader for some milliseconds, in which the broker refuses what is sent to it.
#[tokio::test]
async fn the_first_messages_to_queues_that_are_only_just_made_are_taken() {
    let server = RabbitServer::start().await;
    let config = rig::config(&server.url());
    let (workers, scheduler) = (rig::connected(config.clone()).await, rig::connected(config).await);
    for number in 0..30 {
        let lane = lane(&format!("new-{number}"));
        let messages = [(lane.clone(), task(number))];
        // Two who make one queue at once may be cut off by the broker: those who consume come again.
        let consuming = wait_for("a subscription", RECOVERED, async || workers.consume(&lane, 1).await);
        let (mut consumer, answers) = tokio::join!(consuming, scheduler.publish_confirmed(&messages));
        assert!(answers[0].is_ok(), "lane {number}: {answers:?}");
        assert!(next(&mut *consumer).await.ack().await);
    }
}

#[tokio::test]
async fn a_closed_adapter_ends_its_consumers_and_gives_everything_back() {
    let server = RabbitServer::start().await;
    let config = rig::config(&server.url());
    let broker = rig::connected(config.clone()).await;
    publish(&broker, &lane("a"), 3).await;
    let mut consumer = broker.consume(&lane("a"), 2).await.unwrap();
    let held = next(&mut *consumer).await;
    broker.close().await;
    assert!(consumer.next().await.is_none());
    assert!(!consumer.is_subscribed() && !broker.is_ready());
    assert!(!held.ack().await);
    let refused = broker.publish_confirmed(&[(lane("a"), task(0))]).await.remove(0).unwrap_err().to_string();
    assert!(refused.contains("closed"), "{refused}");
    assert!(broker.consume(&lane("a"), 1).await.is_err());
    let other = rig::connected(config).await;
    backlog_becomes(&other, &lane("a"), 3).await;
}

#[tokio::test]
async fn what_is_dropped_leaves_no_connection_behind() {
    let server = RabbitServer::start().await;
    let broker = rig::connected(rig::config(&server.url())).await;
    publish(&broker, &lane("a"), 2).await;
    let mut consumer = broker.consume(&lane("a"), 1).await.unwrap();
    let held = next(&mut *consumer).await;
    drop(broker);
    assert!(held.ack().await, "a consumer and a delivery keep the connection");
    assert!(next(&mut *consumer).await.ack().await);
    drop(consumer);
    wait_for("the connections to be gone", RECOVERED, async || {
        let left = server.ctl(&["list_connections", "name"]).await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}
