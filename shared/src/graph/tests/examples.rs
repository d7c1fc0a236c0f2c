//! The examples of the repository: they are right, and their expressions give what they promise.

use serde_json::{Value, json};

use crate::checkpoint::Values;
use crate::expr::{Here, Program, Scope};
use crate::graph::*;
use crate::id::{ChannelName, NodeName};

fn examples() -> Vec<(String, Graph)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let graphs = files.filter(|path| path.extension().is_some_and(|end| end == "yaml")).map(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let load =
            |child: &str| std::fs::read_to_string(format!("{folder}/{child}")).map_err(|error| error.to_string());
        let (graph, diagnostics) = check(&Source::new(&name, &load(&name).unwrap()), &load);
        assert!(diagnostics.is_empty(), "{diagnostics}");
        (name, graph.unwrap())
    });
    graphs.collect()
}

fn example(name: &str) -> Graph {
    examples().into_iter().find(|(file, _)| file == name).unwrap_or_else(|| panic!("there is no {name}")).1
}

/// What a `set` node writes, over the start values of its graph and these.
fn set(graph: &Graph, node: &str, channel: &str, state: &Value) -> Value {
    let NodeKind::Set(set) = &graph.nodes[&NodeName::new(node).unwrap()].kind else {
        panic!("{node} is no `set` node")
    };
    let mut values: Values =
        graph.state.iter().filter_map(|(name, channel)| Some((name.clone(), channel.default.clone()?))).collect();
    let given = state.as_object().unwrap().iter();
    values.extend(given.map(|(name, value)| (ChannelName::new(name).unwrap(), value.clone())));
    Program::compile(set.set[channel].0.as_str()).unwrap().eval(&Scope::of(&values, &Here)).unwrap()
}

#[test]
fn every_example_is_right_and_has_no_warning() {
    let names: Vec<_> = examples().into_iter().map(|(name, _)| name).collect();
    for name in [
        "hello.yaml",
        "endless-loop.yaml",
        "document-metrics.yaml",
        "python.yaml",
        "financial-metrics.yaml",
        "incident-analyzer.yaml",
    ] {
        assert!(names.iter().any(|found| found == name), "{name} is not among {names:?}");
    }
}

#[test]
fn the_endless_loop_ends_where_its_bound_says() {
    let graph = example("endless-loop.yaml");
    assert_eq!(set(&graph, "route", "done", &json!({"count": 999_999})), json!(false));
    assert_eq!(set(&graph, "route", "done", &json!({"count": 5, "bound": 5})), json!(true));
}

#[test]
fn the_summary_of_documents_counts_what_is_missing() {
    let graph = example("document-metrics.yaml");
    let measured = json!([{"name": "a", "words": 3}, {"name": "b", "words": 5}]);
    let summary = set(&graph, "summarize", "summary", &json!({"measured": measured, "missing": 2}));
    assert_eq!(summary, json!({"documents": 4, "measured": 2, "missing": 2, "words": 8, "longest": "b"}));
    let nothing = set(&graph, "summarize", "summary", &json!({"measured": []}));
    assert_eq!(nothing["longest"], Value::Null);
    assert_eq!(nothing["words"], json!(0));
}

#[test]
fn the_summary_of_figures_names_the_pieces_without_an_answer() {
    let graph = example("financial-metrics.yaml");
    let found = |name: &str, tokens: u64| json!({"name": name, "figures": "…", "tokens": tokens});
    let findings = json!([found("revenue", 20), found("?", 0), found("costs", 12), found("cash", 9)]);
    let summary = set(&graph, "summarize", "summary", &json!({"findings": findings, "missing": 1}));
    let told = |name: &str| summary[name].clone();
    assert_eq!((told("pieces"), told("answered"), told("tokens")), (json!(4), json!(3), json!(41)));
    assert_eq!(told("missing"), json!(["outlook"]));
}

#[test]
fn the_report_of_an_incident_says_what_is_missing() {
    let graph = example("incident-analyzer.yaml");
    let similar = json!([{"id": "INC-1", "score": 0.91234}, {"id": "INC-2", "score": 0.5}]);
    let report = set(
        &graph,
        "report",
        "report",
        &json!({"similar": similar, "analysis": "The pool.", "missing": [], "tokens": 9}),
    );
    let told =
        json!({"analysis": "The pool.", "like": ["INC-1", "INC-2"], "nearest": 0.912, "missing": [], "tokens": 9});
    assert_eq!(report, told);
    let report = set(&graph, "report", "report", &json!({"missing": ["the search"], "tokens": 0}));
    assert_eq!(
        (&report["like"], &report["nearest"], &report["missing"]),
        (&json!([]), &Value::Null, &json!(["the search"]))
    );
    assert!(report["analysis"].as_str().unwrap().contains("read the logs yourself"), "{report}");
}

#[test]
fn hello_sums_up_its_greetings() {
    let graph = example("hello.yaml");
    let result = set(&graph, "finish", "result", &json!({"greetings": ["Hi!", "Salut !", "Hi!"]}));
    assert_eq!(result, json!("3 greetings: Hi! Salut !"));
}

#[test]
fn the_graphs_in_the_documents_are_right() {
    let page = include_str!("../../../../docs/graphs.md");
    let text = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let (graph, diagnostics) = check(&Source::new("docs/graphs.md", text), &no_files);
    assert!(diagnostics.is_empty(), "{diagnostics}");
    assert_eq!(graph.unwrap().name.as_str(), "papers");
    let built = Graph::builder("papers")
        .channel("found", Channel::append())
        .channel("good", Channel::add(0))
        .node("search", Node::exec(["./search.sh"]).into("found").retry(Retry::attempts(3)))
        .node("judge", Node::rust("judge").into("good").or_continue([("good", 0)]))
        .edge(START, "search")
        .for_each("search", "judge", "found")
        .edge_if("judge", END, "good >= 10")
        .otherwise("judge", "search")
        .build();
    assert_eq!(built.unwrap().nodes.len(), 2);
}
