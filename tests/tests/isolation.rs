//! A wide fan-out in one process, with a Rust handler that hangs for some of its items: the others are not held up.

use std::sync::Arc;
use std::time::Duration;

use coxswain_scheduler::{Scheduler, SchedulerConfig};
use coxswain_shared::broker::{Broker, LocalBroker};
use coxswain_shared::config::Source;
use coxswain_shared::control::{self, Submission};
use coxswain_shared::graph::{Channel, FanOut, FanOutPolicy, Graph, Node};
use coxswain_shared::id::Step;
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::limits::{FAN_OUT_MAX, PAGE_MAX};
use coxswain_shared::run::RunStatus;
use coxswain_shared::store::sqlite::{SqliteConfig, SqliteStore};
use coxswain_shared::store::{Run, Store};
use coxswain_shared::task::Task;
use coxswain_shared::telemetry::Metrics;
use coxswain_tests::wait_for;
use coxswain_worker::{Config, Context, NodeError, Worker};
use serde_json::json;

/// One in so many items hangs.
const HANGS: usize = 20;

/// The time of one item.
const ITEM: Duration = Duration::from_secs(3);

/// Enough for two fan-outs in a build without optimisation, on a machine that is shared.
const PATIENCE: Duration = Duration::from_mins(4);

/// More than hang, so that those never have all of them.
const SLOTS: u16 = 1_000;

async fn handle(_ctx: Context, hangs: bool) -> Result<&'static str, NodeError> {
    if hangs {
        std::future::pending::<()>().await;
    }
    Ok("done")
}

fn graph() -> Graph {
    let policy = FanOutPolicy::Collect;
    let fan_out = FanOut { policy, results: Some("results".parse().unwrap()), concurrency: None };
    Graph::builder("isolation")
        .channel("items", Channel::last())
        .channel("results", Channel::last())
        .channel("answer", Channel::last())
        .node("work", Node::rust("work").attempt_timeout(ITEM).into("answer"))
        .for_each_with("START", "work", "items", fan_out)
        .edge("work", "END")
        .build()
        .unwrap()
}

/// Runs one fan-out of this many items; gives the run, and how long its last item took that did not hang.
async fn run(store: &dyn Store, hang: bool) -> (Run, Duration) {
    let items: Vec<_> = (0..FAN_OUT_MAX).map(|item| hang && item % HANGS == 0).collect();
    let input = [("items".parse().unwrap(), json!(items))].into_iter().collect();
    let submission = Submission { input, ..Submission::new(graph(), "ann@test") };
    let id = control::submit(store, submission).await.unwrap().key.id;
    let (run, tasks) = wait_for("the items to have ended", PATIENCE, async || {
        let run = store.run(&id).await.unwrap().unwrap();
        match run.status {
            RunStatus::Succeeded => Ok((run.clone(), tasks(store, &run).await)),
            _ => Err(format!("{} items are open", run.open_tasks)),
        }
    })
    .await;
    let healthy = tasks.iter().filter(|task| !items[task.id.item as usize]);
    let last = healthy.filter_map(|task| task.settled_at).max().unwrap();
    let took = last.since(run.started_at.unwrap());
    (run, took)
}

async fn tasks(store: &dyn Store, run: &Run) -> Vec<Task> {
    let mut tasks = Vec::new();
    while tasks.len() < FAN_OUT_MAX {
        let page = store.tasks(&run.key, Step::new(1), tasks.len(), PAGE_MAX).await.unwrap();
        assert!(!page.is_empty(), "the tasks of the step are kept for a minute");
        tasks.extend(page);
    }
    tasks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_that_hang_delay_the_others_by_less_than_the_time_of_one_item() {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(SqliteConfig::memory()).unwrap());
    let broker: Arc<dyn Broker> = Arc::new(LocalBroker::new());
    let (metrics, tasks) = (Metrics::new(), Tasks::new());
    let config = SchedulerConfig::read(&Source::default()).unwrap();
    let scheduler = Scheduler::new(config, Arc::clone(&store), Arc::clone(&broker), &metrics);
    let worker = Worker::builder(Config { slots: SLOTS, ..Config::default() })
        .handler("work", handle)
        .build(Arc::clone(&store), broker, &metrics)
        .unwrap();
    tasks.spawn(scheduler.run(tasks.clone()));
    tasks.spawn(worker.run(tasks.clone()));

    let (_, alone) = run(store.as_ref(), false).await;
    let (ended, beside) = run(store.as_ref(), true).await;
    assert!(beside <= alone * 2 + ITEM, "alone {alone:?}, beside items that hang {beside:?}");
    let values = store.values(&ended.key, Step::new(1)).await.unwrap().unwrap();
    let results = values["results"].as_array().unwrap();
    let count = |outcome: &str| results.iter().filter(|entry| entry["outcome"] == outcome).count();
    assert_eq!((count("succeeded"), count("timed_out")), (FAN_OUT_MAX - FAN_OUT_MAX / HANGS, FAN_OUT_MAX / HANGS));
    assert_eq!((&results[0]["outcome"], &results[1]["value"]), (&json!("timed_out"), &json!("done")));
    tell(format_args!("{FAN_OUT_MAX} items: {alone:?}; the healthy ones beside 5 % that hang: {beside:?}"));
    tasks.abort();
}

#[expect(clippy::print_stdout, reason = "the test harness captures it, and shows it when it is asked to")]
fn tell(measured: impl std::fmt::Display) {
    println!("{measured}");
}
