//! The table is held to the readers, the schema to what they find right, and the files in `docs` to both.

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::field::Field;
use super::{calls, kinds, page, policy, schema, vector, whole};
use crate::graph::read::KNOWN;
use crate::graph::{Graph, Source, check};

/// Set to any value, it makes a stale file be written anew. The test fails all the same: look at what it wrote.
const REWRITE: &str = "COXSWAIN_TESTS_REWRITE";

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

const EVERYTHING: &str = include_str!("../tests/everything.yaml");

fn validator() -> Validator {
    jsonschema::validator_for(&schema()).expect("it is a schema")
}

fn load(path: &str) -> Result<String, String> {
    match path {
        "file-child.yaml" => {
            Ok("state: {x: }\nnodes: {a: {kind: set, set: {x: 1}}}\nedges: [START -> a -> END]".to_owned())
        }
        _ => Err("no such file".to_owned()),
    }
}

/// What the readers say of a file: its graph if it is right, and its mistakes.
fn read(name: &str, text: &str) -> (Option<Graph>, String) {
    let (graph, diagnostics) = check(&Source::new(name, text), &load);
    (graph, diagnostics.to_string())
}

fn tree(text: &str) -> Value {
    Source::new("t.yaml", text).tree().expect("it is YAML").to_json()
}

/// What the schema says against a file, as `place: message`.
fn objections(validator: &Validator, value: &Value) -> Vec<String> {
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn names<'a>(fields: impl IntoIterator<Item = &'a Field>) -> BTreeSet<&'static str> {
    fields.into_iter().map(|field| field.name).collect()
}

#[test]
fn every_field_that_a_reader_knows_is_in_the_table() {
    KNOWN.take();
    let (graph, said) = read("everything.yaml", EVERYTHING);
    assert!(graph.is_some(), "{said}");
    let mut table: BTreeMap<String, BTreeSet<_>> = [
        ("a graph", whole::graph()),
        ("`limits`", whole::limits()),
        ("a channel", whole::channel()),
        ("an edge", whole::edge()),
        ("`policy`", whole::fan_out_policy()),
        ("`on_failure`", whole::on_failure()),
        ("`defaults`", policy::fields()),
        ("`retry`", policy::retry()),
        ("`embed`", vector::embed()),
        ("a fallback", calls::fallback()),
    ]
    .map(|(what, fields)| (what.to_owned(), names(&fields)))
    .into();
    let common: Vec<_> = kinds::shared().into_iter().chain(policy::fields()).collect();
    for kind in kinds::all() {
        let fields = names(kind.fields.iter().chain(&common)).into_iter().chain(["kind"]).collect();
        table.insert(format!("a node of kind `{}`", kind.name), fields);
    }
    let known = KNOWN.take();
    let all = |of: &BTreeMap<String, BTreeSet<&str>>| -> BTreeSet<String> {
        of.iter().flat_map(|(what, names)| names.iter().map(move |name| format!("`{name}` of {what}"))).collect()
    };
    let (known, told) = (all(&known), all(&table));
    let (lacks, invents): (Vec<_>, Vec<_>) = (known.difference(&told).collect(), told.difference(&known).collect());
    assert!(
        lacks.is_empty() && invents.is_empty(),
        "the table in shared/src/graph/reference lacks {lacks:?}, and has what nobody reads: {invents:?}"
    );
}

#[test]
fn every_page_and_schema_is_what_the_table_says() {
    let schema = serde_json::to_string_pretty(&schema()).expect("it is plain data");
    let mut stale = Vec::new();
    for (path, wanted) in [("docs/graph.schema.json", schema + "\n"), ("docs/nodes.md", page())] {
        let file = format!("{ROOT}/{path}");
        let found = std::fs::read_to_string(&file).unwrap_or_default();
        if found != wanted {
            stale.push(path);
            if std::env::var_os(REWRITE).is_some() {
                std::fs::write(&file, &wanted).expect("it can be written");
            }
        }
    }
    assert!(stale.is_empty(), "{stale:?} are stale: run this test with {REWRITE}=1 and look at the change");
}

#[test]
fn every_example_of_a_kind_is_right_and_fits_the_schema() {
    let validator = validator();
    for kind in kinds::all() {
        let nodes = kind.example.replace('\n', "\n  ");
        let names: Vec<_> = kind
            .example
            .lines()
            .filter(|line| !line.starts_with(' '))
            .filter_map(|line| line.split(':').next())
            .collect();
        let edges: Vec<_> = names.iter().map(|name| format!("START -> {name} -> END")).collect();
        let state = "{docs: append, answer: , question: {default: why}, count: add}";
        let text = format!("name: t\nstate: {state}\nnodes:\n  {nodes}\nedges: [{}]\n", edges.join(", "));
        let (graph, said) = read("t.yaml", &text);
        assert!(graph.is_some() && said == "0 errors, 0 warnings", "{}: {said}\n{text}", kind.name);
        assert_eq!(objections(&validator, &tree(&text)), [""; 0], "{}", kind.name);
    }
}

#[test]
fn every_graph_of_the_repository_fits_the_schema() {
    let validator = validator();
    let files = std::fs::read_dir(format!("{ROOT}/examples")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(objections(&validator, &tree(&text)), [""; 0], "{}", file.display());
    }
    assert_eq!(objections(&validator, &tree(EVERYTHING)), [""; 0]);
    let page = include_str!("../../../../docs/graphs.md");
    let text = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(objections(&validator, &tree(text)), [""; 0]);
}

#[test]
fn a_graph_that_is_only_warned_of_fits_the_schema() {
    let (validator, mut found) = (validator(), 0);
    let corpus = [include_str!("../tests/mistakes/nodes.txt"), include_str!("../tests/mistakes/edges.txt")];
    let corpus = corpus.into_iter().chain([include_str!("../tests/mistakes/children.txt")]);
    for case in corpus.flat_map(|table| table.split("\n---\n")) {
        let text: Vec<_> = case.lines().filter(|line| !line.starts_with("! ")).collect();
        let text = text.join("\n");
        if read("t.yaml", &text).0.is_some() {
            assert_eq!(objections(&validator, &tree(&text)), [""; 0], "{text}");
            found += 1;
        }
    }
    assert!(found >= 4, "only {found} graphs of the corpus are right");
}

#[test]
fn a_wrong_file_is_refused_at_the_place_of_its_mistake() {
    let validator = validator();
    let graph = |node: &str, edges: &str, more: &str| {
        format!("name: t\nstate: {{x: }}\nnodes: {{a: {node}}}\nedges: {edges}\n{more}")
    };
    let (wait, plain) = ("{kind: wait, for: 1s}", "[START -> a -> END]");
    assert_eq!(objections(&validator, &tree(&graph(wait, plain, ""))), [""; 0]);
    for (text, place) in [
        (graph("{kind: wait, for: 1s, fur: 2s}", plain, ""), "/nodes/a"),
        (graph("{kind: wait}", plain, ""), "/nodes/a"),
        (graph("{kind: wiat, for: 1s}", plain, ""), "/nodes/a/kind"),
        (graph("{for: 1s}", plain, ""), "/nodes/a"),
        (graph("{kind: wait, for: soon}", plain, ""), "/nodes/a/for"),
        (graph("{kind: wait, for: 1s, into: x}", plain, ""), "/nodes/a/into"),
        (graph("{kind: wait, for: 1s, timeout: 0}", plain, ""), "/nodes/a/timeout"),
        (graph("{kind: wait, for: 1s, retry: 3}", plain, ""), "/nodes/a/retry"),
        (graph("{kind: wait, for: 1s, retry: {attempts: 101}}", plain, ""), "/nodes/a/retry/attempts"),
        (graph("{kind: wait, for: 1s, on_failure: ignore}", plain, ""), "/nodes/a/on_failure"),
        (graph("{kind: exec, command: echo hello}", plain, ""), "/nodes/a/command"),
        (graph("{kind: exec, command: [ls], env: {COX_X: 1}}", plain, ""), "/nodes/a/env"),
        (graph("{kind: exec, command: [ls], warm: yes}", plain, ""), "/nodes/a/warm"),
        (graph("{kind: http, url: 'http://a', method: FETCH}", plain, ""), "/nodes/a/method"),
        (graph("{kind: http, url: 'http://a', accept: [99]}", plain, ""), "/nodes/a/accept/0"),
        (graph("{kind: llm, model: m, provider: opnai, prompt: q}", plain, ""), "/nodes/a/provider"),
        (graph("{kind: llm, model: m, messages: hello}", plain, ""), "/nodes/a/messages"),
        (graph(wait, plain, "limits: {max_step: 3}"), "/limits"),
        (graph(wait, plain, "limits: {max_steps: 0}"), "/limits/max_steps"),
        (graph(wait, plain, "names: 1"), ""),
        (graph(wait, "[START => a]", ""), "/edges/0"),
        (graph(wait, "[{from: START}]", ""), "/edges/0"),
        (graph(wait, "[{from: START, to: a, policy: race}]", ""), "/edges/0"),
        (graph(wait, "[{from: START, to: a, for_each: x, policy: fastest}]", ""), "/edges/0/policy"),
        (graph(wait, "[{from: START, to: a, for_each: x, policy: {quorum: 0}}]", ""), "/edges/0/policy"),
        (graph(wait, plain, "").replace("{x: }", "{x: appendix}"), "/state/x"),
        (graph(wait, plain, "").replace("name: t\n", ""), ""),
    ] {
        let (graph, _) = read("t.yaml", &text);
        assert!(graph.is_none(), "this is right:\n{text}");
        let said = objections(&validator, &tree(&text));
        assert!(said.iter().any(|objection| objection.starts_with(&format!("{place}: "))), "{said:#?} of\n{text}");
    }
}

/// Every place in a value, but for the value itself.
fn places(value: &Value, place: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Array(items) => items.iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(key, field)| (key.replace('~', "~0").replace('/', "~1"), field)).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (key, child) in children {
        let place = format!("{place}/{key}");
        places(child, &place, found);
        found.push(place);
    }
}

/// `everything.yaml` as a graph for each of its nodes, and one for all that is around them, which is quicker to read;
/// each with the place that it is about.
fn pieces() -> Vec<(Value, String)> {
    let everything = tree(EVERYTHING);
    let other = json!({"kind": "rust", "handler": "h"});
    let alone = everything["nodes"].as_object().unwrap().iter().filter(|(name, _)| *name != "repair").map(|(name, node)| {
        let edges = json!([{"from": "START", "to": name, "for_each": "docs"}, format!("{name} -> END"), "START -> repair -> END"]);
        let mut piece = json!({"name": "t", "nodes": {"repair": other}, "edges": edges});
        (piece["state"], piece["graphs"]) = (everything["state"].clone(), everything["graphs"].clone());
        piece["nodes"][name] = node.clone();
        (piece, format!("/nodes/{name}"))
    });
    let names = everything["nodes"].as_object().unwrap().keys();
    let mut around = everything.clone();
    around["nodes"] = names.map(|name| (name.clone(), other.clone())).collect();
    alone.chain([(around, String::new())]).collect()
}

#[test]
fn what_the_readers_find_right_fits_the_schema_whatever_stands_in_each_place() {
    let validator = validator();
    let probes = [
        json!(null),
        json!(true),
        json!(0),
        json!(1.5),
        json!(404),
        json!("x"),
        json!("10s"),
        json!("{{ x }}"),
        json!([]),
        json!(["x"]),
        json!({}),
        json!({"x": 1}),
    ];
    let mut found_right = 0;
    for (piece, about) in pieces() {
        let (graph, said) = read("piece.json", &piece.to_string());
        assert!(graph.is_some(), "{said}");
        let mut all = Vec::new();
        places(piece.pointer(&about).expect("it is there"), &about, &mut all);
        for (place, probe) in all.iter().flat_map(|place| probes.iter().map(move |probe| (place, probe))) {
            let mut changed = piece.clone();
            *changed.pointer_mut(place).expect("the place was found there") = probe.clone();
            let (graph, said) = read("piece.json", &changed.to_string());
            assert_eq!(graph.is_none(), said.contains("error: "), "{place} as {probe}: {said}");
            if graph.is_some() {
                found_right += 1;
                assert_eq!(objections(&validator, &changed), [""; 0], "{place} as {probe}");
            }
        }
    }
    assert!(found_right > 500, "only {found_right} files were right");
}
