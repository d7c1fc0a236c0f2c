//! What an operator sees of a real fleet: Prometheus' answers, readiness, and what `promtool` says of the pages.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use coxswain_shared::control::{Submission, submit};
use coxswain_shared::graph;
use coxswain_shared::id::RunId;
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::run::RunStatus;
use coxswain_shared::stop::{Cause, NewOrder};
use coxswain_shared::store::redis::{RedisConfig, RedisStore};
use coxswain_shared::store::{Role, Store};
use coxswain_tests::process::Launch;
use coxswain_tests::{
    Cox, PrometheusServer, RabbitServer, RedisOptions, RedisServer, Signal, installed, ports, wait_for, web,
};

/// Enough for anything that takes a second on an idle machine.
const SOON: Duration = Duration::from_mins(1);

/// Runs to its end at once.
const QUICK: &str = "
name: quick
nodes: { work: { kind: exec, command: ['true'] } }
edges: [START -> work -> END]
";

/// Goes on until it is stopped.
const ENDLESS: &str = "
name: endless
nodes: { work: { kind: exec, command: [sleep, '3600'], attempt_timeout: 1h, timeout: 1h } }
edges: [START -> work -> END]
";

/// Its one try takes longer than it may.
const TOO_SLOW: &str = "
name: too-slow
nodes: { work: { kind: exec, command: [sleep, '3600'], attempt_timeout: 300ms, retry: { attempts: 1 } } }
edges: [START -> work -> END]
";

/// Its one task kills its worker; the first crash while it runs alone is the last that is allowed.
const POISON: &str = "
name: poison
nodes:
  work: { kind: exec, command: [sh, -c, 'kill -9 $(cut -d\" \" -f4 /proc/$PPID/stat); sleep 60'], attempt_timeout: 1h, timeout: 1h, max_crashes: 1 }
edges: [START -> work -> END]
";

/// Five thousand tasks that take no time.
const MANY: &str = "
name: many
state: { items: { default: [] }, n: add }
nodes:
  fill: { kind: set, set: { items: \"range(4999) | list\" } }
  work: { kind: set, set: { n: 1 } }
edges: [START -> fill, { from: fill, to: work, for_each: items }, work -> END]
";

/// For a pool that nobody serves.
const UNSERVED: &str = "
name: unserved
nodes: { work: { kind: exec, command: ['true'], pool: nobody, queue_timeout: 1s } }
edges: [START -> work -> END]
";

/// A scheduler, a worker and their servers.
struct Fleet {
    scheduler: Cox,
    worker: Cox,
    pages: [(&'static str, SocketAddr); 2],
    store: RedisStore,
    rabbit: RabbitServer,
    redis: RedisServer,
}

impl Fleet {
    /// Starts all of it, and returns when both programs are ready.
    async fn start(worker_settings: &[(&str, &str)]) -> Self {
        let (rabbit, redis) = tokio::join!(RabbitServer::start(), RedisServer::start(RedisOptions::default()));
        let pages = ["scheduler", "worker"].map(|job| (job, free_address()));
        let scheduler = launch("cox-scheduler", pages[0].1, &redis, &rabbit).start();
        let worker = launch("cox-worker", pages[1].1, &redis, &rabbit);
        let worker = worker_settings.iter().fold(worker, |worker, (name, value)| worker.env(name, value)).start();
        let store = RedisStore::connect(RedisConfig::new(redis.url()), &Tasks::new()).await;
        let store = store.expect("a running Redis can be used");
        let this = Self { scheduler, worker, pages, store, rabbit, redis };
        this.wait_until_readiness_is(200, "ready").await;
        this
    }

    /// Waits until both programs answer so, with these words on the page.
    async fn wait_until_readiness_is(&self, status: u16, words: &str) {
        for (job, address) in self.pages {
            wait_for(&format!("the {job} to be {words} ({status})"), SOON, async || {
                let (found, text) = get(address, "readyz").await?;
                ensure!(found == status && text.contains(words), "{found}: {text}{}", self.tails());
                anyhow::Ok(())
            })
            .await;
        }
    }

    async fn submit(&self, graph: &str, run_timeout: Option<Duration>) -> RunId {
        let graph = graph::parse(&graph::Source::new("graph.yaml", graph), &graph::no_files)
            .expect("the test's graphs are valid");
        let submission = Submission { run_timeout, ..Submission::new(graph, "test") };
        submit(&self.store, submission).await.expect("a run can be submitted").key.id
    }

    async fn wait_until_ended(&self, run: &RunId, status: RunStatus) {
        wait_for(&format!("the run to be {status}"), SOON, async || {
            let found = self.store.run(run).await?.context("it is not there")?;
            let is_over = found.status.is_final() && found.status != status;
            assert!(!is_over, "it ended as {}: {:?}{}", found.status, found.failure, self.tails());
            ensure!(found.status == status, "it is {}: {:?}{}", found.status, found.failure, self.tails());
            anyhow::Ok(())
        })
        .await;
    }

    async fn wait_until_running(&self, prometheus: &PrometheusServer) {
        is_seen(prometheus, r#"sum(cox_slots{state="busy"})"#, 1.0).await;
    }

    fn tails(&self) -> String {
        format!("\nscheduler: {}\nworker: {}", self.scheduler.tails(), self.worker.tails())
    }
}

#[tokio::test]
async fn prometheus_sees_what_a_fleet_does() {
    let fleet = Fleet::start(&[("COX_SLOTS", "4")]).await;
    let prometheus = PrometheusServer::start(&fleet.pages).await;
    for (job, _) in fleet.pages {
        is_seen(&prometheus, &format!(r#"up{{job="{job}"}}"#), 1.0).await;
    }
    let quick = fleet.submit(QUICK, None).await;
    fleet.wait_until_ended(&quick, RunStatus::Succeeded).await;
    let cancelled = fleet.submit(ENDLESS, None).await;
    fleet.wait_until_running(&prometheus).await;
    fleet.store.stop(&cancelled, cancellation()).await.expect("a run can be stopped");
    fleet.wait_until_ended(&cancelled, RunStatus::Cancelled).await;
    let overdue = fleet.submit(ENDLESS, Some(Duration::from_secs(1))).await;
    fleet.wait_until_ended(&overdue, RunStatus::TimedOut).await;
    let too_slow = fleet.submit(TOO_SLOW, None).await;
    fleet.wait_until_ended(&too_slow, RunStatus::Failed).await;

    for (expression, value) in [
        (r#"cox_store_runs_ended_total{job="scheduler",status="succeeded",cause="none"}"#, 1.0),
        (r#"cox_store_runs_ended_total{job="scheduler",status="failed",cause="none"}"#, 1.0),
        (r#"cox_store_runs_ended_total{job="scheduler",status="cancelled",cause="cancelled"}"#, 1.0),
        (r#"cox_store_runs_ended_total{job="scheduler",status="timed_out",cause="deadline"}"#, 1.0),
        (r#"sum(cox_store_runs_ended_total{job="scheduler"})"#, 4.0),
        (r#"cox_backlog{job="scheduler",pool="default",priority="normal"}"#, 0.0),
        (r#"cox_attempts_total{job="worker",kind="exec",end="succeeded"}"#, 1.0),
        (r#"cox_attempts_total{job="worker",kind="exec",end="stopped"}"#, 2.0),
        (r#"cox_attempts_total{job="worker",kind="exec",end="timed_out"}"#, 1.0),
        (r#"cox_limits_hit_total{job="worker",limit="attempt_timeout"}"#, 1.0),
        (r#"cox_limits_hit_total{job="worker",limit="idle_timeout"}"#, 0.0),
        (r#"cox_tasks_sent_total{job="scheduler",result="confirmed"}"#, 4.0),
        (r#"cox_deliveries_total{job="worker",end="leased"}"#, 4.0),
        (r#"cox_stop_seconds_count{job="worker",stage="observed"}"#, 2.0),
        (r#"cox_stop_seconds_count{job="worker",stage="dropped"}"#, 2.0),
        (r#"cox_stop_seconds_count{job="worker",stage="cleaned"}"#, 2.0),
        (r#"cox_kills_total{job="worker",signal="SIGTERM"}"#, 3.0),
        (r#"cox_kills_total{job="worker",signal="SIGKILL"}"#, 0.0),
        (r#"cox_slots{job="worker",state="all"}"#, 4.0),
        (r#"cox_slots{job="worker",state="busy"}"#, 0.0),
        (r#"cox_slots{job="worker",state="stuck"}"#, 0.0),
        (r#"cox_leases_expired_total{job="scheduler"}"#, 0.0),
        (r#"cox_leases_lost_total{job="worker"}"#, 0.0),
        (r#"cox_leases_taken_over_total{job="worker"}"#, 0.0),
        (r#"cox_broker_reconnects{job="worker"}"#, 0.0),
        (r#"cox_scheduler_broker_reconnects{job="scheduler"}"#, 0.0),
    ] {
        is_seen(&prometheus, expression, value).await;
    }
    for (job, address) in fleet.pages {
        let (_, page) = get(address, "metrics").await.expect("the page is served");
        check_with_promtool(job, &page);
    }
}

#[tokio::test]
async fn readiness_follows_the_broker_and_the_reconnects_are_counted() {
    let mut fleet = Fleet::start(&[]).await;
    let prometheus = PrometheusServer::start(&fleet.pages).await;
    fleet.rabbit.kill().await;
    fleet.wait_until_readiness_is(503, "broker").await;
    for (job, address) in fleet.pages {
        assert_eq!(get(address, "healthz").await.expect("the page is served").0, 200, "{job} is healthy all the same");
    }
    fleet.rabbit.restart().await;
    fleet.wait_until_readiness_is(200, "ready").await;
    let run = fleet.submit(QUICK, None).await;
    fleet.wait_until_ended(&run, RunStatus::Succeeded).await;
    for expression in ["cox_broker_reconnects > bool 0", "cox_scheduler_broker_reconnects > bool 0"] {
        is_seen(&prometheus, expression, 1.0).await;
    }
}

#[tokio::test]
async fn a_worker_that_hangs_shows_as_an_expired_and_then_a_lost_lease() {
    // Long enough that a busy machine does not lose a lease of its own accord.
    let mut fleet = Fleet::start(&[("COX_HEARTBEAT", "500ms"), ("COX_LEASE_TTL", "4s")]).await;
    let prometheus = PrometheusServer::start(&fleet.pages).await;
    fleet.submit(ENDLESS, None).await;
    fleet.wait_until_running(&prometheus).await;
    fleet.worker.kill(Signal::SIGSTOP);
    is_seen(&prometheus, "cox_leases_expired_total", 1.0).await;
    fleet.worker.kill(Signal::SIGCONT);
    is_seen(&prometheus, "cox_leases_lost_total", 1.0).await;
    let told = fleet.worker.stderr();
    let line = told.lines().find(|line| line.contains("a lease was lost")).expect("a lost lease is logged");
    for part in ["run.id=", "node.name=work", "cause="] {
        assert!(line.contains(part), "{part} is missing in: {line}");
    }
}

#[tokio::test]
async fn a_killed_workers_lease_is_taken_over_and_counted() {
    let mut fleet = Fleet::start(&[]).await;
    let other = free_address();
    let targets = [fleet.pages[1], ("other", other)];
    let prometheus = PrometheusServer::start(&targets).await;
    fleet.submit(ENDLESS, None).await;
    fleet.wait_until_running(&prometheus).await;
    let _other = launch("cox-worker", other, &fleet.redis, &fleet.rabbit).start();
    is_seen(&prometheus, r#"cox_leases_taken_over_total{job="other"}"#, 0.0).await;
    fleet.worker.kill(Signal::SIGKILL);
    is_seen(&prometheus, r#"cox_leases_taken_over_total{job="other"}"#, 1.0).await;
    is_seen(&prometheus, r#"cox_slots{job="other",state="busy"}"#, 1.0).await;
}

#[tokio::test]
async fn a_task_that_the_next_workers_claim_gives_up_is_counted_and_a_killed_worker_loses_no_lease() {
    let fleet = Fleet::start(&[]).await;
    let prometheus = PrometheusServer::start(&fleet.pages).await;
    let scheduler = r#"{job="scheduler"}"#;
    is_seen(&prometheus, &format!("cox_tasks_poisoned_total{scheduler}"), 0.0).await;
    // The next workers are there already: each gets the message when the one before it dies. The second runs the task
    // alone, and the claim of the third gives it up.
    let others = [(); 2].map(|()| launch("cox-worker", free_address(), &fleet.redis, &fleet.rabbit).start());
    wait_for("the other workers", SOON, async || {
        let workers = fleet.store.workers().await?;
        let working = workers.iter().filter(|one| one.role == Role::Worker).count();
        ensure!(working == 3, "{workers:?}");
        anyhow::Ok(())
    })
    .await;
    let run = fleet.submit(POISON, None).await;
    fleet.wait_until_ended(&run, RunStatus::Failed).await;
    is_seen(&prometheus, &format!("cox_tasks_poisoned_total{scheduler}"), 1.0).await;
    is_seen(&prometheus, &format!("cox_leases_expired_total{scheduler}"), 0.0).await;
    drop(others);
}

#[tokio::test]
async fn ten_thousand_short_tasks_raise_no_figure_that_an_alert_watches() {
    // Heartbeats as often as may be, so that they cross as many ends of attempts as may be.
    let fleet = Fleet::start(&[("COX_HEARTBEAT", "10ms"), ("COX_SLOTS", "64")]).await;
    let prometheus = PrometheusServer::start(&fleet.pages).await;
    let runs = [fleet.submit(MANY, None).await, fleet.submit(MANY, None).await];
    for run in &runs {
        fleet.wait_until_ended(run, RunStatus::Succeeded).await;
    }
    is_seen(&prometheus, r#"cox_attempts_total{job="worker",kind="set",end="succeeded"}"#, 10_000.0).await;
    for quiet in [
        r#"cox_leases_lost_total{job="worker"}"#,
        r#"cox_leases_taken_over_total{job="worker"}"#,
        r#"cox_heartbeats_failed_total{job="worker"}"#,
        r#"cox_stops_by_heartbeat_total{job="worker"}"#,
        r#"cox_leases_expired_total{job="scheduler"}"#,
        r#"cox_tasks_poisoned_total{job="scheduler"}"#,
        r#"cox_queue_timeouts_total{job="scheduler"}"#,
        r#"cox_scheduler_store_errors_total{job="scheduler"}"#,
    ] {
        is_seen(&prometheus, quiet, 0.0).await;
    }
    assert!(!fleet.worker.stderr().contains("a lease was lost"), "{}", fleet.tails());
}

#[tokio::test]
async fn a_task_that_nobody_takes_in_time_is_counted() {
    let fleet = Fleet::start(&[]).await;
    let prometheus = PrometheusServer::start(&fleet.pages).await;
    is_seen(&prometheus, r#"cox_queue_timeouts_total{job="scheduler"}"#, 0.0).await;
    let run = fleet.submit(UNSERVED, None).await;
    fleet.wait_until_ended(&run, RunStatus::Failed).await;
    is_seen(&prometheus, r#"cox_queue_timeouts_total{job="scheduler"}"#, 1.0).await;
}

/// Waits until Prometheus answers the expression with one series of this value.
async fn is_seen(prometheus: &PrometheusServer, expression: &str, value: f64) {
    wait_for(&format!("{expression} to be {value}"), SOON, async || {
        let found = prometheus.value(expression).await?;
        ensure!((found - value).abs() < f64::EPSILON, "it is {found}");
        anyhow::Ok(())
    })
    .await;
}

/// A program of the fleet, about to start.
fn launch(name: &str, address: SocketAddr, redis: &RedisServer, rabbit: &RabbitServer) -> Launch {
    let program = Cox::program(name).env("COX_STORE", redis.url()).env("COX_BROKER", rabbit.url());
    program.env("COX_HTTP", address.to_string())
}

fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, ports::free()).into()
}

async fn get(address: SocketAddr, page: &str) -> anyhow::Result<(u16, String)> {
    let client = web::client(Duration::from_secs(5));
    let answer = client.get(format!("http://{address}/{page}")).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

fn cancellation() -> NewOrder {
    NewOrder { cause: Cause::Cancelled, reason: None, actor: "test".to_owned(), grace: None, force: false }
}

/// Fails on anything that `promtool check metrics` finds: malformed lines, and names against the conventions.
fn check_with_promtool(job: &str, page: &str) {
    let input = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    std::fs::write(&input, page).expect("a temporary file can be written");
    let mut promtool = Command::new(installed::promtool());
    let stdin = Stdio::from(input.reopen().expect("the file is there"));
    let checked = promtool.args(["check", "metrics"]).stdin(stdin).output().expect("promtool can be started");
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "promtool on the {job}'s page: {said}\n{page}");
}
