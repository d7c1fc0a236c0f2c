//! What the manifests and docs/operations.md say of the programs, held against the programs themselves.
//!
//! It starts nothing that stays: programs are asked for their settings, and metrics are registered in this process. That
//! the files fit their formats is `scripts/manifests`' matter.

mod docs;
mod manifests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coxswain_scheduler::{Scheduler, SchedulerConfig};
use coxswain_shared::backend::BackendConfig;
use coxswain_shared::broker::LocalBroker;
use coxswain_shared::config::{Mistakes, Source};
use coxswain_shared::duration;
use coxswain_shared::id::PoolName;
use coxswain_shared::limits::Limit;
use coxswain_shared::store::Store;
use coxswain_shared::store::sqlite::{SqliteConfig, SqliteStore};
use coxswain_shared::telemetry::{HttpConfig, LogConfig, Metrics, Registered};
use coxswain_tests::Cox;
use coxswain_worker::{Config as WorkerConfig, Worker};
use docs::Setting;
use manifests::{Started, document, entries, of_kind, read, root, text, texts, variables_in};
use serde_json::{Value, json};

const SCHEDULER: &str = "cox-scheduler";
const WORKER: &str = "cox-worker";

/// Printing a list takes milliseconds.
const SOON: Duration = Duration::from_secs(20);

/// Beyond the grace of a drain and that of its nodes: the last calls to the store, and a busy machine.
const LAST_CALLS: u64 = 10;

#[tokio::test]
async fn every_setting_in_a_manifest_is_one_that_its_program_knows_and_accepts() {
    let started: Vec<Started> =
        manifests::started_on_kubernetes().into_iter().chain(manifests::started_by_compose()).collect();
    for program in [SCHEDULER, WORKER] {
        let known = names(&known_settings(program).await);
        let of_program = || started.iter().filter(|started| started.program == program);
        assert!(of_program().count() >= 2, "{program} is started by Kubernetes and by Compose");
        for Started { place, settings, .. } in of_program() {
            let mut settings = settings.clone();
            settings.extend(manifests::settings_of_image());
            let unknown: Vec<&String> = settings.keys().filter(|name| !known.contains(*name)).collect();
            assert!(unknown.is_empty(), "{place}: {program} knows no {unknown:?} and refuses to start");
            accept(program, settings).unwrap_or_else(|mistakes| panic!("{place}: {mistakes}"));
        }
    }
}

#[tokio::test]
async fn every_variable_that_is_named_somewhere_exists() {
    let mut known = names(&known_settings(SCHEDULER).await);
    known.extend(names(&known_settings(WORKER).await));
    known.insert("COX_CONFIG".to_owned());
    let mut files = vec!["docker-compose.yml".to_owned(), "Dockerfile".to_owned(), docs::PAGE.to_owned()];
    files.extend(files_below("k8s"));
    for file in files {
        let text = read(&file);
        let unknown: BTreeSet<&str> = variables_in(&text).filter(|name| !known.contains(*name)).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}, which no program knows");
    }
}

#[tokio::test]
async fn the_page_lists_every_setting_with_its_default() {
    let programs = [(SCHEDULER, known_settings(SCHEDULER).await), (WORKER, known_settings(WORKER).await)];
    docs::assert_part("settings", &docs::settings_table(&programs));
}

#[test]
fn the_page_lists_just_the_metrics_that_the_programs_register() {
    let tables = docs::metrics_tables(&[(SCHEDULER, scheduler_metrics()), (WORKER, worker_metrics())]);
    docs::assert_part("metrics", &tables);
}

#[test]
fn alerts_are_made_of_metrics_that_exist_and_each_is_explained() {
    let registered: Vec<Registered> = [scheduler_metrics(), worker_metrics()].concat();
    let known: BTreeSet<&str> = registered.iter().map(|metric| metric.name.as_str()).collect();
    let alerts = document("k8s/alerts.yml");
    let rules = alerts["groups"][0]["rules"].as_array().expect("there are alerts");
    for rule in rules {
        for name in metrics_in(text(&rule["expr"])) {
            assert!(known.contains(name), "{}: no program registers {name}", rule["alert"]);
        }
    }
    let page = read(docs::PAGE);
    let explained: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `Cox")?.split('`').next()).collect();
    let alerting = rules.iter().map(|rule| text(&rule["alert"]).strip_prefix("Cox").expect("alerts begin with Cox"));
    assert_eq!(explained, alerting.collect(), "the table of alerts and k8s/alerts.yml");
    let tests = read("k8s/alerts.test.yml");
    for rule in rules {
        let tested = tests.matches(&format!("alertname: {}", text(&rule["alert"]))).count();
        assert!(tested >= 2, "{} is tested both firing and silent", rule["alert"]);
    }
}

#[test]
fn a_program_has_more_time_to_end_than_its_drain_takes() {
    let started = manifests::started_on_kubernetes().into_iter().chain(manifests::started_by_compose());
    for Started { place, program, settings, patience } in started {
        let drain = match settings.get("COX_DRAIN_GRACE") {
            Some(grace) if program == WORKER => duration::parse(grace).expect("a duration") + Limit::Grace.default(),
            Some(_) | None => Duration::from_secs(10),
        };
        let needed = drain.as_secs() + LAST_CALLS;
        let given = patience.unwrap_or_else(|| panic!("{place} says how long {program} may take to end"));
        assert!(given >= needed, "{place}: {given} s until SIGKILL, and {program} may take {needed} s");
    }
}

#[test]
fn what_a_manifest_refers_to_exists() {
    let deployments = of_kind("Deployment");
    let names: BTreeSet<&str> = deployments.iter().map(|object| text(&object["metadata"]["name"])).collect();
    let labels: Vec<&Value> =
        deployments.iter().map(|object| &object["spec"]["template"]["metadata"]["labels"]).collect();
    for (deployment, labels) in deployments.iter().zip(&labels) {
        assert_eq!(deployment["spec"]["selector"]["matchLabels"], **labels);
        let spread = &deployment["spec"]["template"]["spec"]["topologySpreadConstraints"][0];
        assert_eq!(spread["labelSelector"]["matchLabels"], **labels);
    }
    for budget in of_kind("PodDisruptionBudget") {
        assert!(labels.contains(&&budget["spec"]["selector"]["matchLabels"]), "{budget}");
    }
    let [scaled] = &of_kind("ScaledObject")[..] else { panic!("one kind of pods is scaled") };
    assert!(names.contains(text(&scaled["spec"]["scaleTargetRef"]["name"])));
    let triggers = scaled["spec"]["triggers"].as_array().expect("triggers");
    let [authentication] = &of_kind("TriggerAuthentication")[..] else { panic!("one way to reach the broker") };
    for (trigger, lane) in triggers.iter().zip(["", "-high", "-low"]) {
        assert_eq!(text(&trigger["metadata"]["queueName"]), format!("cox.tasks{lane}.{}", PoolName::standard()));
        assert_eq!(trigger["authenticationRef"]["name"], authentication["metadata"]["name"]);
    }
    assert_eq!(triggers.len(), 3, "a queue of each priority");
    let container = &deployments[0]["spec"]["template"]["spec"]["containers"][0];
    let broker = container["env"].as_array().expect("secrets").iter().find(|variable| variable["name"] == "COX_BROKER");
    let secret = &broker.expect("the broker's URL is a secret")["valueFrom"]["secretKeyRef"];
    let target = &authentication["spec"]["secretTargetRef"][0];
    assert_eq!((&target["name"], &target["key"]), (&secret["name"], &secret["key"]));
}

#[test]
fn the_pages_are_served_and_scraped_at_one_port() {
    let image = manifests::settings_of_image();
    let port: u64 = image["COX_HTTP"].rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
    assert!(read("Dockerfile").contains(&format!("EXPOSE {port}\n")));
    for started in manifests::started_on_kubernetes().into_iter().chain(manifests::started_by_compose()) {
        assert!(started.settings["COX_HTTP"].ends_with(&format!(":{port}")), "{}", started.place);
    }
    for deployment in of_kind("Deployment") {
        let template = &deployment["spec"]["template"];
        let container = &template["spec"]["containers"][0];
        assert_eq!(container["ports"][0], json!({"name": "http", "containerPort": port}));
        assert_eq!(template["metadata"]["annotations"]["prometheus.io/port"], port.to_string());
        for (probe, page) in
            [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
        {
            assert_eq!(container[probe]["httpGet"], json!({"path": page, "port": "http"}), "{probe}");
        }
    }
    let services = document("docker-compose.yml");
    for job in document("k8s/prometheus.yml")["scrape_configs"].as_array().expect("jobs") {
        let found = &job["dns_sd_configs"][0];
        assert_eq!(found["port"], port);
        for name in texts(&found["names"]) {
            assert!(services["services"][name].is_object(), "Prometheus scrapes {name}, which Compose does not start");
        }
    }
}

#[test]
fn what_the_compose_file_refers_to_exists() {
    let compose = document("docker-compose.yml");
    for (name, service) in entries(&compose["services"]) {
        for (needed, _) in entries(&service["depends_on"]) {
            assert!(compose["services"][needed]["healthcheck"].is_object(), "{name} waits until {needed} is healthy");
        }
        for mount in texts(&service["volumes"]) {
            let source = mount.split(':').next().expect("a mount has a source");
            let is_there = match source.strip_prefix("./") {
                Some(file) => root().join(file).is_file(),
                None => compose["volumes"].get(source).is_some(),
            };
            assert!(is_there, "{name} mounts {source}, which is not there");
        }
    }
    let redis = texts(&compose["services"]["redis"]["command"]).join(" ");
    for setting in ["--appendonly yes", "--maxmemory-policy noeviction"] {
        assert!(redis.contains(setting), "Redis is started with {setting}");
    }
}

/// What a program says that it knows.
async fn known_settings(program: &str) -> Vec<Setting> {
    let listed = Cox::program(program).arg("--settings").run(SOON).await;
    assert!(listed.status.success(), "{program} --settings: {listed:?}");
    docs::settings(&listed.stdout)
}

fn names(settings: &[Setting]) -> BTreeSet<String> {
    settings.iter().map(|setting| setting.name.clone()).collect()
}

/// Reads the settings as the program would.
fn accept(program: &str, settings: BTreeMap<String, String>) -> Result<(), Mistakes> {
    let source = Source::from_pairs(settings);
    BackendConfig::read(&source, program)?;
    LogConfig::read(&source)?;
    HttpConfig::read(&source)?;
    match program {
        SCHEDULER => SchedulerConfig::read(&source).map(drop),
        WORKER => WorkerConfig::read(&source).map(drop),
        other => panic!("there is no program {other}"),
    }
}

fn scheduler_metrics() -> Vec<Registered> {
    let metrics = Metrics::new();
    let config = SchedulerConfig::read(&Source::default()).expect("the defaults have no mistakes");
    let _scheduler = Scheduler::new(config, store(), Arc::new(LocalBroker::new()), &metrics);
    metrics.registered()
}

fn worker_metrics() -> Vec<Registered> {
    let metrics = Metrics::new();
    let worker = Worker::builder(WorkerConfig::default()).build(store(), Arc::new(LocalBroker::new()), &metrics);
    worker.expect("a worker can be put together");
    metrics.registered()
}

fn store() -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(SqliteConfig::memory()).expect("a store in memory can be opened"))
}

/// The metrics' names in an expression; those of a histogram's series without their ending.
fn metrics_in(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| word.starts_with("cox_"))
        .map(|name| ["_bucket", "_sum", "_count"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name))
}

/// The files below a folder, at every depth.
fn files_below(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let paths = entries.map(|entry| {
        let entry = entry.expect("a folder of the repository can be listed");
        (entry.path().is_dir(), format!("{folder}/{}", entry.file_name().to_string_lossy()))
    });
    paths.flat_map(|(is_folder, path)| if is_folder { files_below(&path) } else { vec![path] }).collect()
}
