//! What the manifests say, as data: which program is started with which settings, and what names what.
//!
//! It reads; it judges nothing. Whether a file fits its format is `scripts/manifests`' matter.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A program as a manifest starts it.
#[derive(Debug)]
pub(crate) struct Started {
    /// Which manifest, and where in it.
    pub(crate) place: String,
    /// `cox-worker`, `cox-scheduler`.
    pub(crate) program: String,
    /// Its `COX_*` variables; one that comes from a secret has a stand-in.
    pub(crate) settings: BTreeMap<String, String>,
    /// How long it has between SIGTERM and SIGKILL, in seconds.
    pub(crate) patience: Option<u64>,
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the repository").to_owned()
}

/// A file's text.
pub(crate) fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The documents of a YAML file.
pub(crate) fn documents(file: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The one document of a YAML file.
pub(crate) fn document(file: &str) -> Value {
    serde_saphyr::from_str(&read(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// All objects of the base and the autoscaling folder.
pub(crate) fn objects() -> Vec<Value> {
    ["k8s/base/scheduler.yaml", "k8s/base/worker.yaml", "k8s/autoscaling/scaledobject.yaml"]
        .iter()
        .flat_map(|file| documents(file))
        .collect()
}

/// The objects of a kind.
pub(crate) fn of_kind(kind: &str) -> Vec<Value> {
    let found: Vec<Value> = objects().into_iter().filter(|object| object["kind"] == kind).collect();
    assert!(!found.is_empty(), "there is no {kind}");
    found
}

/// What Kubernetes starts: each Deployment with its maps and secrets.
pub(crate) fn started_on_kubernetes() -> Vec<Started> {
    of_kind("Deployment").iter().map(started_by_deployment).collect()
}

/// What the Compose file starts of ours.
pub(crate) fn started_by_compose() -> Vec<Started> {
    let compose = document("docker-compose.yml");
    entries(&compose["services"]).filter_map(|(name, service)| started_by_service(name, service)).collect()
}

/// The variables that the image sets.
pub(crate) fn settings_of_image() -> BTreeMap<String, String> {
    let text = read("Dockerfile");
    let lines = text.lines().filter_map(|line| line.strip_prefix("ENV "));
    lines
        .map(|pair| pair.split_once('=').unwrap_or_else(|| panic!("ENV {pair}: write NAME=VALUE")))
        .map(owned)
        .collect()
}

/// The texts of a list.
pub(crate) fn texts(list: &Value) -> Vec<&str> {
    list.as_array().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// A map's entries.
pub(crate) fn entries(map: &Value) -> impl Iterator<Item = (&String, &Value)> {
    map.as_object().into_iter().flatten()
}

/// A text that must be there.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a text is expected, found {value}"))
}

/// Every word of a text that has the form of one of our variables.
pub(crate) fn variables_in(text: &str) -> impl Iterator<Item = &str> {
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    text.split(move |c| !is_name(c)).filter(|word| word.starts_with("COX_") && word.len() > 4)
}

fn started_by_deployment(deployment: &Value) -> Started {
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let name = text(&deployment["metadata"]["name"]);
    let maps = container["envFrom"].as_array().expect("a program has settings").iter();
    let mut settings: BTreeMap<String, String> =
        maps.flat_map(|map| generated_map(text(&map["configMapRef"]["name"]))).collect();
    for variable in container["env"].as_array().expect("a program has secrets") {
        let key = text(&variable["valueFrom"]["secretKeyRef"]["key"]);
        settings.insert(text(&variable["name"]).to_owned(), stand_in(key).to_owned());
    }
    Started {
        place: format!("Deployment {name}"),
        program: texts(&container["args"])[0].to_owned(),
        settings,
        patience: pod["terminationGracePeriodSeconds"].as_u64(),
    }
}

/// A map that kustomize makes of files.
fn generated_map(name: &str) -> BTreeMap<String, String> {
    let kustomization = document("k8s/base/kustomization.yaml");
    let maps = kustomization["configMapGenerator"].as_array().expect("kustomize generates maps");
    let map = maps.iter().find(|map| map["name"] == name).unwrap_or_else(|| panic!("no map `{name}` is generated"));
    let lines = texts(&map["envs"]).into_iter().map(|file| read(&format!("k8s/base/{file}"))).collect::<String>();
    let lines = lines.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| owned(line.split_once('=').unwrap_or_else(|| panic!("{name}: {line}: write NAME=VALUE"))))
        .collect()
}

/// What a secret's key may hold.
fn stand_in(key: &str) -> &'static str {
    match key {
        "store" => "redis://redis:6379",
        "broker" => "amqp://rabbitmq:5672/%2f",
        other => panic!("the secret `cox-backend` has no key `{other}`"),
    }
}

fn started_by_service(name: &str, service: &Value) -> Option<Started> {
    let program = *texts(&service["command"]).first()?;
    if !program.starts_with("cox") {
        return None;
    }
    let settings = entries(&service["environment"]).map(|(name, value)| (name.clone(), substituted(text(value))));
    let patience = service["stop_grace_period"].as_str().and_then(|time| time.strip_suffix('s')?.parse().ok());
    Some(Started {
        place: format!("service {name}"),
        program: program.to_owned(),
        settings: settings.collect(),
        patience,
    })
}

/// The text with `${NAME:-default}` replaced by its default, as Compose does.
fn substituted(text: &str) -> String {
    let Some((before, rest)) = text.split_once("${") else { return text.to_owned() };
    let (reference, after) = rest.split_once('}').unwrap_or_else(|| panic!("{text}: a brace is open"));
    let (_, default) = reference.split_once(":-").unwrap_or_else(|| panic!("{text}: give a default"));
    format!("{before}{default}{}", substituted(after))
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}
