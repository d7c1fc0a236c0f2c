//! RabbitMQ and Redis that are killed and come back under load: G5.

use std::time::Duration;

use coxswain_shared::graph::Graph;
use coxswain_shared::id::RunId;
use coxswain_tests::fleet::{Fleet, SOON};
use coxswain_tests::{Refuser, ports, wait_for, web};

/// Runs in flight while a server dies.
const RUNS: usize = 20;

/// A broker that comes back has its queues to recover, and the fleet its connections; on a shared machine.
const RECOVERED: Duration = Duration::from_mins(2);

fn graph(fleet: &Fleet) -> Graph {
    let step = || fleet.script("note start; sleep 0.2; finish");
    fleet.chain([step(), step(), step()])
}

async fn load(fleet: &Fleet) -> Vec<RunId> {
    let graph = graph(fleet);
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(fleet.submit(&graph).await);
    }
    fleet.noted(&runs[0], "done", 1, SOON).await;
    runs
}

async fn all_end_well(fleet: &Fleet, runs: &[RunId]) {
    for run in runs {
        fleet.succeeded(run, RECOVERED).await;
    }
    fleet.verdict(runs).await;
}

#[tokio::test]
async fn a_broker_that_is_killed_under_load_loses_and_doubles_nothing() {
    let mut fleet = Fleet::with_own_broker(2, 2).await;
    let mut runs = load(&fleet).await;
    fleet.rabbit_mut().kill().await;
    // Redis alone takes runs.
    runs.push(fleet.submit(&graph(&fleet)).await);
    fleet.rabbit_mut().restart().await;
    all_end_well(&fleet, &runs).await;
}

#[tokio::test]
async fn a_redis_that_is_killed_under_load_loses_and_doubles_nothing() {
    let mut fleet = Fleet::start(2, 2).await;
    let runs = load(&fleet).await;
    fleet.redis.kill().await;
    fleet.redis.restart().await;
    all_end_well(&fleet, &runs).await;
}

/// While the alarm is on, what was queued is worked off, and of what was submitted since nothing comes to the queue.
#[tokio::test]
async fn a_broker_with_a_memory_alarm_delays_runs_and_loses_none() {
    let fleet = Fleet::with_own_broker(1, 1).await;
    let mut runs = load(&fleet).await;
    fleet.rabbit().set_memory_alarm(true).await;
    let graph = graph(&fleet);
    let mut delayed = Vec::new();
    for _ in 0..RUNS {
        delayed.push(fleet.submit(&graph).await);
    }
    wait_for("the broker to block the scheduler", RECOVERED, async || {
        let states = fleet.rabbit().ctl(&["list_connections", "state"]).await;
        if states.lines().any(|state| state == "blocked") { Ok(()) } else { Err(states) }
    })
    .await;
    for run in &delayed {
        wait_for("the run to be planned", RECOVERED, async || fleet.run(run).await.open_tasks == 1).await;
    }
    wait_for("what was queued to be worked off", RECOVERED, async || {
        let mut left = fleet.backlog().await;
        for run in &runs {
            left += u64::from(fleet.run(run).await.open_leases);
        }
        if left == 0 { Ok(()) } else { Err(format!("{left} tasks are queued or in hand")) }
    })
    .await;
    for run in &delayed {
        let found = fleet.run(run).await;
        assert_eq!((found.open_tasks, found.open_leases), (1, 0), "a message got through: {found:?}");
        assert_eq!(fleet.effects(run), [], "a message got through");
    }
    fleet.rabbit().set_memory_alarm(false).await;
    runs.extend(delayed);
    all_end_well(&fleet, &runs).await;
}

/// As in a failover: for some seconds the store answers, and does nothing. What has ended meanwhile is written when it serves.
#[tokio::test]
async fn a_store_that_refuses_for_a_while_loses_no_result_and_buries_no_message() {
    let mut fleet = Fleet::start(0, 0).await;
    let refuser = Refuser::start(fleet.redis.port()).await;
    let pages = [ports::free(), ports::free()].map(|port| format!("127.0.0.1:{port}"));
    let url = refuser.url("");
    fleet.add_scheduler(&[("COX_STORE", &url), ("COX_HTTP", &pages[0])]).await;
    fleet.add_worker(&[("COX_STORE", &url), ("COX_HTTP", &pages[1]), ("COX_LEASE_TTL", "2m")]).await;
    let until_go = fleet.script("note start; while [ ! -e \"$EFFECTS.go\" ]; do sleep 0.02; done; finish");
    let run = fleet.submit(&fleet.chain([until_go, fleet.script("note start; finish")])).await;
    fleet.noted(&run, "start", 1, SOON).await;
    refuser.refuse("READONLY You can't write against a read only replica.");
    fleet.open("go");
    fleet.noted(&run, "done", 1, SOON).await;
    for page in &pages {
        wait_for("the page to say that the store does not serve", SOON, async || {
            let text = web::page(&format!("http://{page}/readyz")).await.map_err(|error| error.to_string())?;
            if text.contains("store: ") && text.contains("READONLY") { Ok(()) } else { Err(text) }
        })
        .await;
    }
    let log = fleet.workers[0].stderr() + &fleet.workers[0].stdout();
    assert!(log.contains("READONLY") && log.contains("let the URL name the primary"), "{log}");
    refuser.serve();
    fleet.succeeded(&run, SOON).await;
    let starts = fleet.effects(&run).into_iter().filter(|effect| effect.word == "start").count();
    assert_eq!(starts, 2, "each node once");
    let dead = fleet.queue().replace("tasks.default", "dead");
    let listed = fleet.rabbit().ctl(&["list_queues", "name", "messages"]).await;
    assert!(listed.lines().any(|line| line == format!("{dead}\t0")), "{listed}");
    fleet.verdict(&[run]).await;
}
