//! One upstream that stalls, and the runs that do not use it: what it takes of a worker, in numbers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use coxswain_shared::broker::Broker as _;
use coxswain_shared::id::{Partition, RunKey};
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::outcome::Outcome;
use coxswain_shared::store::SweepLimits;
use coxswain_shared::task::TaskState;
use serde_json::{Value, json};

use super::bench::{Bench, Running, values, wait_for};
use super::upstream::{Exchange, Upstream};
use crate::{Config, OutsideConfig, UpstreamLimits, Upstreams, Worker};

const SLOTS: u16 = 16;
/// As many as the share of one upstream is of them.
const PLACES: usize = 12;

fn start(bench: &Bench, slots: u16, others: UpstreamLimits) -> Running {
    let upstreams = Upstreams { others, ..Upstreams::default() };
    let allow = vec!["127.0.0.1".parse().unwrap()];
    let outside = OutsideConfig { allow, upstreams, ..OutsideConfig::default() };
    bench.start(Worker::builder(Config { slots, outside, ..Bench::config() }))
}

fn get(url: &str) -> Value {
    json!({"kind": "http", "url": url, "into": "other"})
}

/// Does what a scheduler does, for as long as what it gives is held: sends delayed tasks again once they are due.
pub(super) struct Sweeping(Tasks);

impl Sweeping {
    pub(super) fn start(bench: &Bench) -> Self {
        let (tasks, store, broker) = (Tasks::new(), Arc::clone(&bench.store), bench.broker.clone());
        let limits = SweepLimits { tasks: 500, runs: 10, resend_after: Duration::from_secs(30), ahead: Duration::ZERO };
        tasks.spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            loop {
                ticks.tick().await;
                for partition in 0..store.partitions() {
                    let swept = store.sweep(Partition::new(partition), limits).await.unwrap();
                    let due: Vec<_> = swept.send.into_iter().map(|sending| (sending.lane, sending.task)).collect();
                    broker.publish_confirmed(&due).await;
                }
            }
        });
        Self(tasks)
    }
}

impl Drop for Sweeping {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How long a run of one call takes, from its message to its outcome.
async fn latency(bench: &Bench, node: &Value) -> Duration {
    let run = bench.prepare(node.clone(), values(json!({})), None).await;
    let begun = Instant::now();
    bench.publish(&run).await;
    let task = bench.settled(&run).await;
    assert!(matches!(task.outcome, Some(Outcome::Succeeded { .. })), "{task:?}");
    begun.elapsed()
}

async fn median(bench: &Bench, node: &Value) -> Duration {
    let mut all = Vec::new();
    for _ in 0..25 {
        all.push(latency(bench, node).await);
    }
    all.sort();
    all[all.len() / 2]
}

pub(super) async fn begin_many(bench: &Bench, node: &Value, count: usize) -> Vec<RunKey> {
    let mut runs = Vec::new();
    for _ in 0..count {
        runs.push(bench.prepare(node.clone(), values(json!({})), None).await);
    }
    for run in &runs {
        bench.publish(run).await;
    }
    runs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_upstream_does_not_slow_runs_that_do_not_use_it() {
    let stalled = Upstream::start(Exchange::hang).await;
    let healthy = Upstream::start(|exchange| exchange.json("1")).await;
    let bench = Bench::new();
    let _sweeping = Sweeping::start(&bench);
    let running = start(&bench, SLOTS, UpstreamLimits::default());
    let (bad, good) = (get(&stalled.url("/")), get(&healthy.url("/")));

    let before = median(&bench, &good).await;
    let runs = begin_many(&bench, &bad, 300).await;
    let onset = latency(&bench, &good).await;
    let during = median(&bench, &good).await;

    assert_eq!(stalled.requests().len(), PLACES, "no more than its share");
    assert_eq!(bench.metric(r#"cox_upstream_calls{state="in_flight",upstream="other"}"#), PLACES as u64);
    assert!(bench.metric(r#"cox_upstream_put_off_total{upstream="other",why="silent"}"#) >= 288);
    // The calls that stall would hold their slots for half a minute.
    assert!(onset < Duration::from_secs(15), "{onset:?}");
    assert!(during < before * 8, "{during:?} instead of {before:?}");
    let task = bench.task_when(runs.last().unwrap(), |task| task.state == TaskState::Delayed).await;
    assert_eq!(task.attempts, 0, "to be put off is no try");
    let why = task.last_failure.unwrap().message;
    assert!(why.contains("12 calls to 127.0.0.1:") && why.contains("nothing has come of them for"), "{why}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_wait_for_a_busy_upstream_get_their_turn_and_none_is_a_try() {
    let upstream = Upstream::start(|exchange| exchange.json("1")).await;
    let bench = Bench::new();
    let _sweeping = Sweeping::start(&bench);
    let limits = UpstreamLimits { concurrency: 2, queue: 2, ..UpstreamLimits::default() };
    let running = start(&bench, SLOTS, limits);
    for run in begin_many(&bench, &get(&upstream.url("/")), 60).await {
        let task = bench.settled(&run).await;
        assert!(matches!(task.outcome, Some(Outcome::Succeeded { .. })), "{task:?}");
        assert_eq!(task.attempts, 1);
    }
    assert_eq!(upstream.requests().len(), 60);
    assert_eq!(bench.metric(r#"cox_attempts_total{end="succeeded",kind="http"}"#), 60);
    for state in ["in_flight", "waiting"] {
        assert_eq!(bench.metric(&format!("cox_upstream_calls{{state=\"{state}\",upstream=\"other\"}}")), 0);
    }
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_a_call_that_waits_for_its_turn_at_once() {
    let upstream = Upstream::start(Exchange::hang).await;
    let bench = Bench::new();
    let hour = Duration::from_hours(1);
    let limits = UpstreamLimits { concurrency: 1, wait: hour, silence: hour, ..UpstreamLimits::default() };
    let running = start(&bench, SLOTS, limits);
    let runs = begin_many(&bench, &get(&upstream.url("/")), 2).await;
    let line = r#"cox_upstream_calls{state="waiting",upstream="other"}"#;
    bench.metric_reaches(line, 1).await;
    let calling = wait_for(|| async { upstream.requests().pop().ok_or_else(|| "none calls".to_owned()) }).await;
    let waiting = runs.iter().find(|run| !calling.contains(run.id.as_str())).expect("one of two calls").clone();
    bench.stop(&waiting, None, false).await;
    let run = bench.run_ended(&waiting).await;
    assert!(run.stop.unwrap().is_confirmed());
    assert_eq!((bench.metric(line), upstream.requests().len()), (0, 1));
    running.drain().await;
}
