//! Graphs that would take a program's memory, time or stack: they fail, with the reason, and nobody else notices.

use std::time::{Duration, Instant};

use coxswain_shared::control::Submission;
use coxswain_shared::graph::{Channel, Graph, Node};
use coxswain_shared::id::RunId;
use coxswain_shared::run::RunStatus;
use coxswain_tests::fleet::{ACTOR, Fleet, SOON, builder};
use coxswain_tests::{Signal, ports, web};
use serde_json::{Value, json};

use crate::rig;

/// Much more than one evaluation may take, and one after the other in a build without optimisation.
const HOSTILE: Duration = Duration::from_mins(2);
/// A health check that takes longer would have a program restarted. Measured times are printed; the design's figure is 100 ms.
const HEALTHY: Duration = Duration::from_secs(2);

/// Memory that a program may come to while it is asked for gigabytes: the runs' states, in all stages of their plans.
const RSS_MAX_KB: u64 = 512 * 1024;

/// A graph with this condition on its first edge.
fn on_an_edge(name: &str, when: &str) -> Graph {
    let graph = builder(name).channel("found", Channel::last()).channel("seen", Channel::last());
    let graph = graph.channel("n", Channel::add(0)).node("a", Node::set([("n", "1")]));
    graph.edge_if("START", "a", when).edge("a", "END").build().unwrap()
}

/// A graph whose node has this expression.
fn in_a_node(name: &str, expression: &str) -> Graph {
    let graph = builder(name).channel("found", Channel::last()).channel("seen", Channel::last());
    let graph = graph.channel("x", Channel::last()).node("a", Node::set([("x", expression)]));
    graph.edge("START", "a").edge("a", "END").build().unwrap()
}

/// A graph whose node's process has this template in its environment.
fn in_a_template(name: &str, template: &str) -> Graph {
    let graph = builder(name).channel("found", Channel::last()).channel("seen", Channel::last());
    let node = Node::exec(["true"]).env("X", template);
    graph.node("a", node).edge("START", "a").edge("a", "END").build().unwrap()
}

fn hostile() -> Vec<Graph> {
    let doubled = format!("{{% set a = 'xxxxxxxx' %}}{}{{{{ a | length }}}}", "{% set a = a ~ a %}".repeat(40));
    let captured = "{% set a %}{% for i in range(90000) %}{{ found }}{% endfor %}{% endset %}{{ a | length }}";
    vec![
        on_an_edge("memory", "range(99999) | join('x' * 100000) | length > 0"),
        on_an_edge("time", "range(100000) | select('in', range(100000) | list) | list | length > 0"),
        on_an_edge("data", "found | reject('in', seen) | list | length > 100000000"),
        on_an_edge("texts", "('x' * 100000000 ~ 'x' * 100000000) * 9 == 'y'"),
        on_an_edge("escapes", "(found | tojson | tojson | tojson | tojson | tojson | tojson | tojson) == 'y'"),
        in_a_node("node-memory", "range(99999) | join('x' * 100000)"),
        in_a_node("node-time", "range(100000) | select('in', range(100000) | list) | list"),
        in_a_template("doubled", &doubled),
        in_a_template("captured", captured),
    ]
}

fn submission(graph: Graph) -> Submission {
    let many: Vec<Value> = (0..12_000).map(|number| json!({ "id": number })).collect();
    let input = [("found", json!(many)), ("seen", json!(many))];
    let input = input.map(|(name, value)| (name.parse().unwrap(), value)).into_iter().collect();
    Submission { input, ..Submission::new(graph, ACTOR) }
}

#[tokio::test]
async fn hostile_graphs_fail_with_the_reason_and_hold_up_nobody() {
    let mut fleet = Fleet::start(0, 0).await;
    let pages = [ports::free(), ports::free()].map(|port| format!("127.0.0.1:{port}"));
    fleet.add_scheduler(&[("COX_HTTP", &pages[0])]).await;
    fleet.add_worker(&[("COX_HTTP", &pages[1])]).await;

    let mut runs: Vec<RunId> = Vec::new();
    for graph in hostile() {
        runs.push(fleet.submit_as(submission(graph)).await);
    }
    let innocent = fleet.chain([fleet.script("finish"), fleet.script("finish"), fleet.script("finish")]);
    let (mut slowest, mut healthiest) = (Duration::ZERO, Duration::ZERO);
    let begun = Instant::now();
    let mut left = runs.clone();
    while !left.is_empty() {
        assert!(begun.elapsed() < HOSTILE, "{left:?} still run\n{}", fleet.tails());
        let started = Instant::now();
        let run = fleet.submit(&innocent).await;
        fleet.succeeded(&run, SOON).await;
        slowest = slowest.max(started.elapsed());
        for page in &pages {
            let asked = Instant::now();
            web::page(&format!("http://{page}/healthz")).await.unwrap();
            healthiest = healthiest.max(asked.elapsed());
        }
        let mut open = Vec::new();
        for run in left {
            if !fleet.run(&run).await.status.is_final() {
                open.push(run);
            }
        }
        left = open;
    }
    rig::tell(format_args!("beside {} hostile runs: a chain of three {slowest:?}, health {healthiest:?}", runs.len()));
    assert!(healthiest <= HEALTHY, "a health check took {healthiest:?}");

    for (run, graph) in runs.iter().zip(hostile()) {
        let ended = fleet.run(run).await;
        let failure = ended.failure.as_ref().map(ToString::to_string).unwrap_or_default();
        // On a fast machine, these two stay within their bounds.
        if ["data", "escapes"].contains(&graph.name.as_str()) && ended.status == RunStatus::Succeeded {
            continue;
        }
        assert_eq!(ended.status, RunStatus::Failed, "{}: {failure}", graph.name);
        let names_its_place = failure.contains("`a`") || failure.contains("START -> a");
        let names_a_bound =
            ["MiB", "longer than", "instructions", "bytes", "too large"].iter().any(|word| failure.contains(word));
        assert!(names_its_place && names_a_bound, "{}: {failure}", graph.name);
    }
    for program in fleet.schedulers.iter_mut().chain(&mut fleet.workers) {
        assert!(program.is_running(), "{}", program.tails());
        let peak = peak_kb(program.pid());
        assert!(peak <= RSS_MAX_KB, "it came to {peak} kB");
        program.kill(Signal::SIGTERM);
        program.wait_exit(SOON).await;
    }
}

/// The most memory that a process has had.
fn peak_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}
