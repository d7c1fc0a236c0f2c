//! The outbox before a broker that publishes only when it is let, and is told what to refuse.

use std::sync::Mutex;

use async_trait::async_trait;
use coxswain_shared::broker::conformance::{lane, task};
use coxswain_shared::broker::{Complaint, Consumer, Error, LocalBroker};
use coxswain_shared::priority::Lane;
use coxswain_shared::store::sqlite::{SqliteConfig, SqliteStore};
use coxswain_shared::telemetry::Metrics;
use tokio::sync::Semaphore;

use super::*;

/// A broker that does one publish a permit, and refuses as many as it is told to.
#[derive(Debug)]
struct Gate {
    inner: LocalBroker,
    begun: Semaphore,
    permits: Semaphore,
    refusals: Semaphore,
    published: Mutex<Vec<TaskKey>>,
}

#[async_trait]
impl Broker for Gate {
    async fn publish_confirmed(&self, tasks: &[Message]) -> Vec<Result<(), Error>> {
        self.begun.add_permits(1);
        self.permits.acquire().await.expect("the gate is never closed").forget();
        if let Ok(refusal) = self.refusals.try_acquire() {
            refusal.forget();
            let refused = || Error::Unavailable { place: "the gate".to_owned(), why: "it refuses".to_owned() };
            return tasks.iter().map(|_| Err(refused())).collect();
        }
        self.published.lock().unwrap().extend(tasks.iter().map(|(_, task)| task.clone()));
        tasks.iter().map(|_| Ok(())).collect()
    }

    async fn consume(&self, lane: &Lane, prefetch: u16) -> Result<Box<dyn Consumer>, Error> {
        self.inner.consume(lane, prefetch).await
    }

    async fn backlog(&self, lane: &Lane) -> Result<Option<u64>, Error> {
        self.inner.backlog(lane).await
    }

    async fn bury(&self, payload: &[u8], reason: &str) -> Result<(), Error> {
        self.inner.bury(payload, reason).await
    }

    fn complaint(&self) -> Option<Complaint> {
        None
    }

    fn reconnects(&self) -> u64 {
        0
    }
}

struct Bench {
    gate: Arc<Gate>,
    outbox: Outbox,
    tasks: Tasks,
    metrics: Metrics,
}

impl Bench {
    fn start() -> Self {
        let store = Arc::new(SqliteStore::open(SqliteConfig::memory()).unwrap());
        let none = || Semaphore::new(0);
        let gate = Arc::new(Gate {
            inner: LocalBroker::new(),
            begun: none(),
            permits: none(),
            refusals: none(),
            published: Mutex::default(),
        });
        let (tasks, metrics) = (Tasks::new(), Metrics::new());
        let figures = SchedulerMetrics::new(&metrics);
        let outbox = Outbox::start(store, Arc::<Gate>::clone(&gate), Duration::from_secs(30), figures, &tasks);
        Self { gate, outbox, tasks, metrics }
    }

    /// Waits until a publish has begun, which holds what it took until it is let.
    async fn begun(&self) {
        let begun = tokio::time::timeout(Duration::from_secs(20), self.gate.begun.acquire()).await;
        begun.expect("a publish begins").unwrap().forget();
    }

    /// Lets everything be published, and returns it.
    async fn published(self) -> Vec<TaskKey> {
        self.gate.permits.add_permits(100);
        drop(self.outbox);
        assert!(self.tasks.join(Duration::from_secs(20)).await, "the outbox ends");
        self.gate.published.lock().unwrap().clone()
    }

    fn counts(&self, result: &str, expected: u64) {
        let line = format!(r#"cox_tasks_sent_total{{result="{result}"}} {expected}"#);
        let text = self.metrics.render();
        assert!(text.contains(&line), "no `{line}` in\n{text}");
    }
}

fn messages(range: std::ops::Range<usize>) -> Vec<Message> {
    range.map(|n| (lane("a"), task(n))).collect()
}

#[tokio::test]
async fn what_waits_is_not_sent_twice_if_a_sweep_hands_it_out_meanwhile() {
    let bench = Bench::start();
    bench.outbox.put(messages(0..1));
    bench.begun().await;
    bench.outbox.put(messages(1..3));
    // The first is under way, and may be back from a worker already; the last is new.
    bench.outbox.put_missing(messages(0..4));
    bench.counts("waiting", 2);
    assert_eq!(bench.published().await, [0, 1, 2, 0, 3].map(task));
}

#[tokio::test]
async fn what_a_sweep_relied_on_is_sent_again_if_it_was_not_confirmed() {
    let bench = Bench::start();
    bench.outbox.put(messages(0..1));
    bench.begun().await;
    bench.outbox.put(messages(1..3));
    bench.outbox.put_missing(messages(2..3));
    bench.gate.permits.add_permits(1);
    bench.begun().await;
    bench.gate.refusals.add_permits(1);
    assert_eq!(bench.published().await, [0, 2].map(task), "the other one is on the agenda");
}

#[tokio::test]
async fn what_does_not_fit_is_left_to_the_sweep_and_not_taken_for_waiting() {
    let bench = Bench::start();
    bench.outbox.put(messages(0..1));
    bench.begun().await;
    for n in 1..=WAITING_MAX {
        bench.outbox.put(messages(n..n + 1));
    }
    let over = WAITING_MAX + 1..WAITING_MAX + 2;
    bench.outbox.put(messages(over.clone()));
    bench.counts("overflow", 1);
    assert_eq!(bench.outbox.waiting.missing(messages(over.clone())), messages(over));
    assert_eq!(bench.published().await.len(), WAITING_MAX + 1);
}
