//! Graphs that are right: what is read, and that it survives being stored.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use crate::graph::*;
use crate::id::NodeName;

const EVERYTHING: &str = include_str!("everything.yaml");

fn yaml(text: &str) -> Result<Graph, Diagnostics> {
    parse(&Source::new("test.yaml", text), &no_files)
}

fn everything() -> Graph {
    let load = |path: &str| match path {
        "file-child.yaml" => {
            Ok("state: {x: }\nnodes: {a: {kind: set, set: {x: 1}}}\nedges: [START -> a -> END]".to_owned())
        }
        _ => Err("no such file".to_owned()),
    };
    let (graph, diagnostics) = check(&Source::new("everything.yaml", EVERYTHING), &load);
    assert!(diagnostics.is_empty(), "{diagnostics}");
    graph.unwrap()
}

fn edges(graph: &Graph) -> Vec<String> {
    graph.edges.iter().map(|edge| serde_json::to_string(edge).unwrap()).collect()
}

#[test]
fn every_field_is_read() {
    let graph = everything();
    let node = |name: &str| &graph.nodes[&NodeName::new(name).unwrap()];
    assert_eq!(graph.limits.run_timeout, Duration::from_hours(2));
    assert_eq!((graph.limits.max_steps, graph.limits.node_runs, graph.limits.max_repeats), (50, 500, 20));
    assert_eq!(graph.state.len(), 8);
    let work = node("work");
    assert_eq!(work.policy.attempt_timeout, Some(Duration::from_secs(2)));
    assert_eq!(work.policy.timeout, Some(Duration::from_mins(5)), "from the defaults");
    assert_eq!(work.policy.retry.attempts, 4);
    assert_eq!(work.policy.retry.backoff.first, Duration::from_millis(500), "from the defaults");
    assert_eq!(work.policy.on_failure, OnFailure::Goto(NodeName::new("repair").unwrap()));
    assert_eq!(work.pool.as_str(), "gpu");
    assert_eq!(work.reads.as_ref().unwrap().len(), 2);
    let NodeKind::Exec(exec) = &work.kind else { panic!("{work:?}") };
    assert_eq!(exec.env["N"], "3");
    assert!(!exec.warm && exec.call.is_none());
    let NodeKind::Exec(exec) = &node("call").kind else { panic!("it is a process") };
    assert!(exec.warm && exec.call.as_deref() == Some("judge"));
    let children: Vec<_> = canonical::children(&graph).map(|child| child.name.to_string()).collect();
    assert_eq!(children, ["file-child", "own", "named"], "by node name: from_file, inline, sub");
}

#[test]
fn the_schema_that_an_editor_reads_a_file_by_means_nothing() {
    let json = r#"{"name": "t", "state": {"x": null}, "nodes": {"a": {"kind": "set", "set": {"x": "1"}}}, "edges": ["START -> a"]}"#;
    let named = json.replacen('{', r#"{"$schema": "https://example.org/graph.schema.json", "#, 1);
    let read = |text: &str| parse(&Source::new("t.json", text), &no_files).unwrap();
    assert_eq!(read(&named), read(json));
    assert_eq!(canonical::canonical(&read(&named)).hash, canonical::canonical(&read(json)).hash);
    let wrong = json.replacen('{', r#"{"$schema": [], "#, 1);
    let told = parse(&Source::new("t.json", &wrong), &no_files).unwrap_err().to_string();
    assert!(told.contains("$schema: this must be a text"), "{told}");
}

#[test]
fn chains_joins_and_mappings_become_edges() {
    let text = "
name: t
state: {n: 0x10, list: append}
nodes: {a: &n {kind: wait, for: 1}, b: *n, c: *n, d: *n}
edges:
  - START -> a & b -> c
  - '[a, b] -> d -> END'
  - {from: c, to: [END, d], when: n > 1}
  - {from: c, to: d, otherwise: true}
  - {from: START, to: d, for_each: list}
  - {from: START, to: c, for_each: list, policy: {quorum: 2}, results: list}
";
    let text = text.replace("n: 0x10", "n: ");
    assert_eq!(
        edges(&yaml(&text).unwrap()),
        [
            r#"{"from":[],"to":{"node":"a"}}"#,
            r#"{"from":[],"to":{"node":"b"}}"#,
            r#"{"from":["a","b"],"to":{"node":"c"}}"#,
            r#"{"from":["a","b"],"to":{"node":"d"}}"#,
            r#"{"from":["d"],"to":"end"}"#,
            r#"{"from":["c"],"to":"end","when":{"if":"n > 1"}}"#,
            r#"{"from":["c"],"to":{"node":"d"},"when":{"if":"n > 1"}}"#,
            r#"{"from":["c"],"to":{"node":"d"},"when":"otherwise"}"#,
            r#"{"from":[],"to":{"node":"d"},"for_each":"list"}"#,
            r#"{"from":[],"to":{"node":"c"},"for_each":"list","fan_out":{"policy":{"quorum":2},"results":"list"}}"#,
        ]
    );
}

#[test]
fn json_is_read_like_yaml() {
    let text = json!({
        "name": "t", "state": {"n": {"reducer": "add", "default": 18_446_744_073_709_551_615_u64}},
        "nodes": {"a": {"kind": "set", "set": {"n": 1}}}, "edges": ["START -> a -> END"]
    });
    let from_json = parse(&Source::new("t.json", &text.to_string()), &no_files).unwrap();
    let from_yaml = yaml(&text.to_string()).unwrap();
    assert_eq!(from_json, from_yaml);
    let default = from_json.state.values().next().unwrap().default.clone();
    assert_eq!(default, Some(json!(18_446_744_073_709_551_615_u64)));
}

#[test]
fn what_is_stored_reads_back_and_has_one_text_and_one_hash() {
    let graph = everything();
    let stored = canonical::canonical(&graph);
    let back = canonical::from_stored(&stored.json).unwrap();
    assert_eq!(back, graph);
    assert_eq!(canonical::canonical(&back), stored);
    assert_eq!(stored.hash.as_str().len(), 64);
    assert!(stored.json.starts_with(r#"{"format":1,"graph":{"#), "{}", stored.json);
    assert!(validate(&back).is_empty());
}

#[test]
fn what_is_not_warm_is_stored_as_it_always_was() {
    let node =
        |more: &str| format!("name: t\nnodes: {{a: {{kind: exec, command: [ls]{more}}}}}\nedges: [START -> a -> END]");
    let stored = |more: &str| canonical::json(&yaml(&node(more)).unwrap());
    assert_eq!(stored(", warm: false"), stored(""));
    assert!(!stored("").contains("warm") && !stored("").contains("call"), "{}", stored(""));
    assert!(stored(", warm: true, call: f").contains(r#""call":"f","command":["ls"],"kind":"exec""#));
}

#[test]
fn the_order_of_the_file_does_not_change_the_hash() {
    let a = "name: t\nstate: {x: , y: }\nnodes: {a: {kind: wait, for: 1s}, b: {for: 2s, kind: wait}}\nedges: [START -> a -> b -> END]";
    let b = "edges: [START -> a, a -> b, b -> END]\nnodes: {b: {kind: wait, for: 2000ms}, a: {for: 1, kind: wait}}\nstate: {y: last, x: {reducer: last}}\nname: t";
    assert_eq!(canonical::hash(&yaml(a).unwrap()), canonical::hash(&yaml(b).unwrap()));
    let c = a.replace("2s", "3s");
    assert_ne!(canonical::hash(&yaml(a).unwrap()), canonical::hash(&yaml(&c).unwrap()));
    assert_eq!(
        canonical::hash(&yaml(a).unwrap()).as_str(),
        "0a696f62a47f76e9883e1032e321eb12d2dc4df9db16516a21036a695c86ccd1",
        "the text of a stored graph has changed: raise GRAPH_FORMAT"
    );
}

#[test]
fn a_stored_graph_of_another_format_is_refused_with_the_remedy() {
    let newer = canonical::from_stored(r#"{"format":2,"graph":{"shape":"unknown"}}"#).unwrap_err().to_string();
    assert_eq!(newer, "the stored graph has format 2; this build understands 1: upgrade it, or submit the graph again");
    for bad in [
        "",
        "{}",
        "[]",
        r#"{"format":1}"#,
        r#"{"format":1,"graph":{"name":"a:b"}}"#,
        r#"{"format":1,"graph":{"name":"t","nodes":{},"edges":[],"new":1}}"#,
    ] {
        assert!(matches!(canonical::from_stored(bad), Err(canonical::Error::Malformed(_))), "{bad}");
    }
    let deep = format!("{{\"format\":1,\"graph\":{}", "{\"nodes\":{\"a\":{\"kind\":\"graph\",\"graph\":".repeat(5_000));
    assert!(canonical::from_stored(&deep).is_err());
}

#[test]
fn all_graphs_of_a_graph_are_stored_once_the_outermost_last() {
    let all = canonical::canonical_all(&everything());
    let names: Vec<_> = all.iter().map(|stored| stored.name.to_string()).collect();
    assert_eq!(names, ["file-child", "own", "named", "everything"]);
}

/// Makes a mistake somewhere in a text.
fn mutate(text: &str, kind: u8, at: usize, with: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let line = at % lines.len();
    let edited = |edit: &dyn Fn(&str) -> String| {
        let lines = lines.iter().enumerate().map(|(n, text)| if n == line { edit(text) } else { (*text).to_owned() });
        lines.collect::<Vec<_>>().join("\n")
    };
    match kind % 6 {
        0 => edited(&|_| String::new()),
        1 => edited(&|text| format!("{text}\n{text}")),
        2 => edited(&|text| format!(" {text}")),
        3 => {
            let at = text.char_indices().nth(at % text.chars().count()).map_or(0, |(at, _)| at);
            format!("{}{with}{}", &text[..at], &text[at..])
        }
        4 => {
            let words: Vec<&str> = text.split(' ').collect();
            let word = at % words.len();
            words.iter().enumerate().map(|(n, w)| if n == word { with } else { w }).collect::<Vec<_>>().join(" ")
        }
        _ => text.chars().enumerate().filter(|(n, _)| *n != at % text.len()).map(|(_, c)| c).collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn a_mutated_file_is_a_graph_or_a_list_of_mistakes(
        changes in prop::collection::vec((any::<u8>(), any::<usize>(), "(\\PC{0,4}|-1|[\\[\\]{}:,&*!|>'\"]|1e999|null|END|START|: |\n|item|99999999999999999999)"), 1..4)
    ) {
        let mut text = EVERYTHING.to_owned();
        for (kind, at, with) in changes {
            text = mutate(&text, kind, at, &with);
            prop_assume!(!text.trim().is_empty());
        }
        let (graph, diagnostics) = check(&Source::new("m.yaml", &text), &no_files);
        prop_assert_eq!(graph.is_some(), !diagnostics.has_errors());
        prop_assert!(diagnostics.iter().all(|diagnostic| !diagnostic.message.is_empty()));
        if let Some(graph) = graph {
            prop_assert_eq!(canonical::from_stored(&canonical::json(&graph)).unwrap(), graph);
        }
    }
}
