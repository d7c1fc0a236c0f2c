//! What every broker adapter must do: one suite, run by the unit tests for the embedded adapter and by
//! `tests/tests/broker` for RabbitMQ.
//!
//! `broker_conformance!(subject)` makes a test of each case; `subject` is an async function that makes a fresh
//! [`Subject`]. Cases wait for what must come, never for time to pass.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::join_all;

use super::{Broker, Consumer, Delivery};
use crate::id::{Partition, RunId, RunKey, TaskKey};
use crate::limits::MESSAGE_BYTES_MAX;
use crate::priority::{Lane, Priority};

/// Longer than anything here takes on a machine that does other work as well.
const SOON: Duration = Duration::from_mins(1);

/// An adapter under test. No other test uses its queues.
#[async_trait]
pub trait Subject: Send + Sync {
    /// The adapter.
    fn broker(&self) -> Arc<dyn Broker>;

    /// Puts raw bytes on a pool's queue, which exists.
    async fn publish_raw(&self, lane: &Lane, payload: &[u8]);

    /// The dead letters: payload and reason.
    async fn dead_letters(&self) -> Vec<(Vec<u8>, String)>;
}

/// Makes a test of each case of the suite.
#[macro_export]
macro_rules! broker_conformance {
    ($subject:path) => {
        $crate::broker_conformance! {
            $subject:
            a_published_task_is_delivered_once_and_acked_away
            what_is_given_back_or_dropped_is_delivered_again_and_marked
            the_prefetch_is_never_exceeded
            nothing_is_lost_among_three_consumers
            garbage_is_an_error_and_can_be_buried
            a_task_without_a_worker_can_be_buried_by_its_bytes
            the_backlog_counts_what_nobody_has_in_hand
            a_pool_that_nobody_knew_has_no_backlog
            a_pool_that_nobody_knew_takes_tasks
            a_big_batch_is_answered_one_by_one
            a_dropped_wait_loses_nothing
            a_dropped_consumer_gives_back_what_it_had_not_handed_out
            pools_do_not_mix
            the_priorities_of_a_pool_do_not_mix_and_none_is_anothers_pool
        }
    };
    ($subject:path: $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::broker::conformance::$case($subject().await).await;
            }
        )*
    };
}

/// A published task is delivered once and acked away.
pub async fn a_published_task_is_delivered_once_and_acked_away(subject: impl Subject) {
    let (broker, lane) = (subject.broker(), lane("a"));
    let mut consumer = broker.consume(&lane, 4).await.unwrap();
    assert!(consumer.is_subscribed() && broker.is_ready());
    publish(&*broker, &lane, 1).await;
    let delivery = next(&mut *consumer).await;
    assert_eq!(delivery.task().unwrap(), task(0));
    assert!(!delivery.is_redelivered());
    assert!(delivery.ack().await);
    drop(consumer);
    let mut second = broker.consume(&lane, 4).await.unwrap();
    assert_eq!(broker.backlog(&lane).await.unwrap().unwrap_or(0), 0);
    assert!(second.next().now_or_never().is_none(), "an acked message is gone");
}

/// What is given back, or dropped, is delivered again and marked as such.
pub async fn what_is_given_back_or_dropped_is_delivered_again_and_marked(subject: impl Subject) {
    let (broker, lane) = (subject.broker(), lane("a"));
    let mut consumer = broker.consume(&lane, 1).await.unwrap();
    publish(&*broker, &lane, 1).await;
    let first = next(&mut *consumer).await;
    assert!(!first.is_redelivered());
    first.give_back().await;
    let second = next(&mut *consumer).await;
    assert!(second.is_redelivered(), "given back");
    drop(second);
    let third = next(&mut *consumer).await;
    assert!(third.is_redelivered(), "dropped");
    assert_eq!(third.task().unwrap(), task(0));
    assert!(third.ack().await);
}

/// The prefetch is never exceeded.
pub async fn the_prefetch_is_never_exceeded(subject: impl Subject) {
    let (broker, lane) = (subject.broker(), lane("a"));
    let mut consumer = broker.consume(&lane, 3).await.unwrap();
    publish(&*broker, &lane, 10).await;
    let mut hand = Vec::new();
    for _ in 0..3 {
        hand.push(next(&mut *consumer).await);
    }
    assert!(consumer.next().now_or_never().is_none(), "a fourth delivery with three in hand");
    backlog_becomes(&*broker, &lane, 7).await;
    assert!(consumer.next().now_or_never().is_none(), "a fourth delivery with three in hand");
    for left in (0..7).rev() {
        assert!(hand.pop().unwrap().ack().await);
        hand.push(next(&mut *consumer).await);
        backlog_becomes(&*broker, &lane, left).await;
    }
    let distinct: BTreeSet<_> = hand.iter().map(|delivery| delivery.task().unwrap()).collect();
    assert_eq!(distinct.len(), 3);
}

/// Nothing is lost among three consumers that give back and drop some of it.
pub async fn nothing_is_lost_among_three_consumers(subject: impl Subject) {
    const COUNT: usize = 2_000;
    let (broker, lane) = (subject.broker(), lane("a"));
    let mut consumers = Vec::new();
    for prefetch in [1, 10, 100] {
        consumers.push(broker.consume(&lane, prefetch).await.unwrap());
    }
    let acked = std::sync::Mutex::new(Vec::new());
    let all_acked = tokio_util::sync::CancellationToken::new();
    let work = async |consumer: &mut Box<dyn Consumer>| {
        for n in 1_usize.. {
            let Some(delivery) = all_acked.run_until_cancelled(next(&mut **consumer)).await else { break };
            let is_first = !delivery.is_redelivered();
            if is_first && n % 7 == 0 {
                delivery.give_back().await;
            } else if is_first && n % 11 == 0 {
                drop(delivery);
            } else {
                let task = delivery.task().unwrap();
                assert!(delivery.ack().await);
                let mut acked = acked.lock().unwrap();
                acked.push(task);
                if acked.len() == COUNT {
                    all_acked.cancel();
                }
            }
        }
    };
    let ((), _) = tokio::join!(publish(&*broker, &lane, COUNT), join_all(consumers.iter_mut().map(work)));
    let acked = acked.into_inner().unwrap();
    let distinct: BTreeSet<_> = acked.iter().cloned().collect();
    assert_eq!((acked.len(), distinct.len()), (COUNT, COUNT), "each task once");
    backlog_becomes(&*broker, &lane, 0).await;
}

/// Garbage is an error, can be buried, and does not hold up what is behind it.
pub async fn garbage_is_an_error_and_can_be_buried(subject: impl Subject) {
    let (broker, lane) = (subject.broker(), lane("a"));
    let mut consumer = broker.consume(&lane, 1).await.unwrap();
    let garbage: [&[u8]; 4] = [b"", b"{\"v\":99}", b"\xff\xfe", &[b'x'; MESSAGE_BYTES_MAX + 1]];
    for payload in garbage {
        subject.publish_raw(&lane, payload).await;
    }
    publish(&*broker, &lane, 1).await;
    for payload in garbage {
        let delivery = next(&mut *consumer).await;
        assert_eq!(delivery.payload(), payload);
        let reason = delivery.task().unwrap_err().to_string();
        delivery.bury(&reason).await;
    }
    let delivery = next(&mut *consumer).await;
    assert_eq!(delivery.task().unwrap(), task(0));
    assert!(delivery.ack().await);
    backlog_becomes(&*broker, &lane, 0).await;

    let dead = subject.dead_letters().await;
    assert_eq!(dead.len(), garbage.len());
    let is_buried = |payload: &[u8], reason: &str| dead.iter().any(|(p, r)| p == payload && r.contains(reason));
    assert!(is_buried(b"{\"v\":99}", "version 99"), "{dead:?}");
    assert!(is_buried(&garbage[3][..MESSAGE_BYTES_MAX], "more than"), "a long one is cut");
}

/// A message can be buried by its bytes alone, and a reason that is too long is cut.
pub async fn a_task_without_a_worker_can_be_buried_by_its_bytes(subject: impl Subject) {
    let broker = subject.broker();
    broker.bury(b"poison", "it crashed three workers").await.unwrap();
    broker.bury(b"wordy", &"ä".repeat(10_000)).await.unwrap();
    let dead = subject.dead_letters().await;
    assert_eq!(dead[0], (b"poison".to_vec(), "it crashed three workers".to_owned()));
    assert_eq!(dead[1].0, b"wordy");
    assert!(dead[1].1.starts_with("ää") && dead[1].1.len() < 2_000, "{} bytes", dead[1].1.len());
}

/// The backlog counts what nobody has in hand, and asking about an unknown pool is harmless.
pub async fn the_backlog_counts_what_nobody_has_in_hand(subject: impl Subject) {
    let (broker, lane) = (subject.broker(), lane("a"));
    assert_eq!(broker.backlog(&lane).await.unwrap(), None, "nobody knows this pool");
    publish(&*broker, &lane, 5).await;
    backlog_becomes(&*broker, &lane, 5).await;
    let mut consumer = broker.consume(&lane, 2).await.unwrap();
    let delivery = next(&mut *consumer).await;
    let _second = next(&mut *consumer).await;
    backlog_becomes(&*broker, &lane, 3).await;
    drop(consumer);
    delivery.give_back().await;
    backlog_becomes(&*broker, &lane, 4).await;
}

/// A pool that nobody knew has no backlog, whoever asks how often, and who asks disturbs nobody.
pub async fn a_pool_that_nobody_knew_has_no_backlog(subject: impl Subject) {
    let (broker, known, unknown) = (subject.broker(), lane("a"), lane("b"));
    publish(&*broker, &known, 1).await;
    let mut consumer = broker.consume(&known, 1).await.unwrap();
    let held = next(&mut *consumer).await;
    for answer in join_all((0..20).map(|_| broker.backlog(&unknown))).await {
        assert_eq!(answer.unwrap(), None);
    }
    assert!(consumer.is_subscribed() && held.ack().await, "its own channel is as it was");
    assert_eq!((broker.is_ready(), broker.reconnects()), (true, 0));
    publish(&*broker, &unknown, 1).await;
    backlog_becomes(&*broker, &unknown, 1).await;
}

/// A pool that nobody knew takes tasks, and keeps them for the consumer to come.
pub async fn a_pool_that_nobody_knew_takes_tasks(subject: impl Subject) {
    let (broker, lane) = (subject.broker(), lane("a"));
    publish(&*broker, &lane, 3).await;
    let mut consumer = broker.consume(&lane, 8).await.unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let delivery = next(&mut *consumer).await;
        seen.insert(delivery.task().unwrap());
        assert!(delivery.ack().await);
    }
    assert_eq!(seen, (0..3).map(task).collect());
}

/// A big batch over several pools, with repetitions, is answered one by one; an empty one with nothing.
pub async fn a_big_batch_is_answered_one_by_one(subject: impl Subject) {
    let broker = subject.broker();
    let pools = [lane("a"), lane("b"), lane("c")];
    let batch: Vec<_> = (0..5_000).map(|n| (pools[n % 3].clone(), task(n / 2))).collect();
    let answers = broker.publish_confirmed(&batch).await;
    assert_eq!(answers.len(), batch.len());
    for answer in answers {
        answer.expect("the broker takes the task");
    }
    for (lane, count) in pools.iter().zip([1_667, 1_667, 1_666]) {
        backlog_becomes(&*broker, lane, count).await;
    }
    assert!(broker.publish_confirmed(&[]).await.is_empty());
}

/// A wait for the next delivery may be dropped at any time, and nothing is lost by it.
pub async fn a_dropped_wait_loses_nothing(subject: impl Subject) {
    const COUNT: usize = 200;
    let (broker, lane) = (subject.broker(), lane("a"));
    let mut consumer = broker.consume(&lane, 4).await.unwrap();
    let mut seen = BTreeSet::new();
    let collect = async {
        while seen.len() < COUNT {
            // Polled a few times each, so that it is dropped in every state that it can be in.
            tokio::select! {
                biased;
                delivery = consumer.next() => {
                    let delivery = delivery.unwrap();
                    seen.insert(delivery.task().unwrap());
                    assert!(delivery.ack().await);
                }
                () = tokio::task::yield_now() => {}
            }
        }
    };
    let both = async { tokio::join!(publish(&*broker, &lane, COUNT), collect) };
    tokio::time::timeout(SOON, both).await.expect("every task arrives though most waits are dropped");
    backlog_becomes(&*broker, &lane, 0).await;
}

/// A consumer that is dropped gives back what it had not handed out; what is in hand can still be acked.
pub async fn a_dropped_consumer_gives_back_what_it_had_not_handed_out(subject: impl Subject) {
    let (broker, lane) = (subject.broker(), lane("a"));
    publish(&*broker, &lane, 10).await;
    let mut first = broker.consume(&lane, 10).await.unwrap();
    let hand = [next(&mut *first).await, next(&mut *first).await];
    drop(first);
    backlog_becomes(&*broker, &lane, 8).await;
    let mut seen: BTreeSet<_> = hand.iter().map(|delivery| delivery.task().unwrap()).collect();
    for delivery in hand {
        assert!(delivery.ack().await);
    }
    let mut second = broker.consume(&lane, 10).await.unwrap();
    for _ in 0..8 {
        let delivery = next(&mut *second).await;
        assert!(seen.insert(delivery.task().unwrap()), "delivered twice");
        assert!(delivery.ack().await);
    }
    assert_eq!(seen.len(), 10);
}

/// A pool's consumer sees that pool's tasks alone.
pub async fn pools_do_not_mix(subject: impl Subject) {
    let (broker, left, right) = (subject.broker(), lane("left"), lane("right"));
    let answers = broker.publish_confirmed(&[(left.clone(), task(1)), (right.clone(), task(2))]).await;
    for answer in answers {
        answer.expect("the broker takes the task");
    }
    for (lane, expected) in [(left, task(1)), (right, task(2))] {
        let mut consumer = broker.consume(&lane, 5).await.unwrap();
        let delivery = next(&mut *consumer).await;
        assert_eq!(delivery.task().unwrap(), expected);
        assert!(delivery.ack().await);
    }
}

/// Each priority of a pool is a queue of its own, and has its own backlog; no pool's name leads to another's queue.
pub async fn the_priorities_of_a_pool_do_not_mix_and_none_is_anothers_pool(subject: impl Subject) {
    let broker = subject.broker();
    let mut lanes: Vec<_> = Priority::ALL.map(|priority| Lane { priority, ..lane("a.b") }).into();
    lanes.extend(["high.a.b", "a.b.high", "high", "a.b-high"].map(lane));
    let batch: Vec<_> = lanes.iter().cloned().zip((0..).map(task)).collect();
    for answer in broker.publish_confirmed(&batch).await {
        answer.expect("the broker takes the task");
    }
    for (lane, expected) in &batch {
        backlog_becomes(&*broker, lane, 1).await;
        let mut consumer = broker.consume(lane, 5).await.unwrap();
        let delivery = next(&mut *consumer).await;
        assert_eq!(delivery.task().unwrap(), *expected);
        assert!(consumer.next().now_or_never().is_none(), "{lane} has but one task");
        delivery.give_back().await;
        let again = next(&mut *consumer).await;
        assert_eq!(again.task().unwrap(), *expected, "what {lane} is given back stays there");
        assert!(again.ack().await);
    }
}

/// The lane of this text, such as `a` or `high:a`.
pub fn lane(text: &str) -> Lane {
    text.parse().expect("the name of a test's pool is a name")
}

/// The `n`th task of a test.
pub fn task(n: usize) -> TaskKey {
    let id = RunId::new(format!("r{n}")).expect("a letter and a number are a name");
    TaskKey { run: RunKey { partition: Partition::new(0), id }, task: "1:work:0".parse().expect("this is a task id") }
}

/// Publishes the first `count` tasks, and expects each to be confirmed.
pub async fn publish(broker: &dyn Broker, lane: &Lane, count: usize) {
    let batch: Vec<_> = (0..count).map(|n| (lane.clone(), task(n))).collect();
    for answer in broker.publish_confirmed(&batch).await {
        answer.expect("the broker takes the task");
    }
}

/// The next delivery, which must come soon.
pub async fn next(consumer: &mut dyn Consumer) -> Box<dyn Delivery> {
    let delivery = tokio::time::timeout(SOON, consumer.next()).await;
    delivery.expect("a delivery comes soon").expect("the broker has not been shut down")
}

/// Waits until the backlog is what it should be; the broker counts with a delay.
pub async fn backlog_becomes(broker: &dyn Broker, lane: &Lane, expected: u64) {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let last = broker.backlog(lane).await;
        if matches!(last, Ok(Some(count)) if count == expected) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "the backlog of {lane} is {last:?} instead of {expected}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
