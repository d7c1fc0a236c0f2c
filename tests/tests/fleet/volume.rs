//! Much at once: the widest fan-out, and a worker that comes to a long queue. G10.

use std::time::Duration;

use coxswain_shared::control::Submission;
use coxswain_shared::graph::{Channel, Graph, Node};
use coxswain_shared::limits::FAN_OUT_MAX;
use coxswain_tests::fleet::{ACTOR, Fleet, SOON, builder, waiting};
use coxswain_tests::wait_for;
use serde_json::json;

use crate::rig::{self, within};

/// Long enough for the machine that is shared with other tests, in a build without optimisation.
const MUCH: Duration = Duration::from_mins(4);

/// Runs of the backlog, each with as many messages as a step may have.
const BACKLOG_RUNS: usize = 10;

/// A worker's memory beside a backlog: it holds a message a slot, so no more than one without a backlog needs.
const RSS_MAX_KB: u64 = 256 * 1024;

/// One step of as many items as allowed, each adding one.
fn wide() -> Graph {
    let graph = builder("wide").channel("items", Channel::last()).channel("count", Channel::add(0));
    let graph = graph.node("n", Node::set([("count", "1")])).for_each("START", "n", "items").edge("n", "END");
    graph.build().unwrap()
}

fn submission() -> Submission {
    let items: Vec<usize> = (0..FAN_OUT_MAX).collect();
    let input = [("items".parse().unwrap(), json!(items))].into_iter().collect();
    Submission { input, ..Submission::new(wide(), ACTOR) }
}

#[tokio::test]
async fn a_step_as_wide_as_allowed_completes_and_counts_every_item_once() {
    let fleet = Fleet::start(1, 2).await;
    let start = rig::now();
    let run = fleet.submit_as(submission()).await;
    let ended = fleet.succeeded(&run, MUCH).await;
    rig::tell(format_args!("{FAN_OUT_MAX} items: {:?}", rig::now().since(start)));
    let values = fleet.store.values(&ended.key, ended.step).await.unwrap().expect("the last step has values");
    assert_eq!(values["count"], json!(FAN_OUT_MAX));
    fleet.verdict(&[run]).await;
}

/// The tasks are counted, not the messages: while so many are published, some are sent twice.
#[tokio::test]
async fn a_worker_that_comes_to_a_long_queue_works_at_once_and_stays_small() {
    let mut fleet = Fleet::start(1, 0).await;
    let mut runs = Vec::new();
    for _ in 0..BACKLOG_RUNS {
        runs.push(fleet.submit_as(submission()).await);
    }
    let messages = (BACKLOG_RUNS * FAN_OUT_MAX) as u64;
    let broker = fleet.broker().await;
    wait_for("the backlog to be on the queue", MUCH, async || {
        let waiting = waiting(&broker).await;
        if waiting >= messages { Ok(()) } else { Err(format!("{waiting} messages")) }
    })
    .await;
    let started = rig::now();
    fleet.add_worker(&[]).await;
    wait_for("the worker to work", SOON, async || {
        let mut open = 0;
        for run in &runs {
            open += u64::from(fleet.run(run).await.open_tasks);
        }
        if open < messages - 100 { Ok(()) } else { Err(format!("{open} tasks are open")) }
    })
    .await;
    within("worker's start → 100 tasks done", rig::now().since(started), Duration::from_secs(30));
    let kb = resident_kb(fleet.workers[0].pid());
    rig::tell(format_args!("the worker's memory: {kb} kB"));
    assert!(kb < RSS_MAX_KB, "the worker takes {kb} kB beside a backlog of {messages} messages");
}

fn resident_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel tells the memory");
    line.trim().trim_end_matches(" kB").parse().expect("the kernel tells it in kB")
}
