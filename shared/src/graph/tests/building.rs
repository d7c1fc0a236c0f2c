//! Graphs built in Rust.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use crate::graph::*;
use crate::spend::{Budget, Cost};

fn notes() -> VectorCollection {
    VectorCollection::new(VectorStore::Chroma, "https://b", "notes")
}

fn near() -> NodeBuilder {
    let search = VectorSearchNode::new(notes(), "{{ q }}", Embed::new("small"));
    Node::vector_search(VectorSearchNode { limit: Some(3), ..search }).into("q")
}

fn keep() -> NodeBuilder {
    Node::vector_upsert(VectorUpsertNode::new(notes(), json!("{{ log }}"), Some(Embed::new("small"))))
}

/// Limits and channels.
fn begun() -> GraphBuilder {
    Graph::builder("built")
        .description("by hand")
        .run_timeout(Duration::from_hours(2))
        .max_steps(50)
        .max_repeats(20)
        .node_runs(500)
        .budget(Budget { tokens: Some(9), cost: Cost::from_units(0.25), tool_calls: None, descendants: Some(7) })
        .channel("count", Channel::add(0))
        .channel("log", Channel::append())
        .channel("meta", Channel::merge().with_default(json!({"k": 1})))
        .channel("talk", Channel::messages())
        .channel("q", Channel::last().with_default("why"))
}

fn built() -> Result<Graph, Diagnostics> {
    let child = Graph::builder("child")
        .channel("q", Channel::last())
        .node("only", Node::set([("q", "q ~ '!'")]))
        .edge(START, "only")
        .edge("only", END)
        .build()?;
    begun()
        .node(
            "work",
            Node::exec(["sh", "-c", "echo 1"])
                .env("N", "3")
                .cwd("/tmp")
                .into("count")
                .reads(["count"])
                .pool("gpu")
                .timeout(Duration::from_mins(5))
                .queue_timeout(Duration::from_mins(1))
                .attempt_timeout(Duration::from_secs(2))
                .idle_timeout(Duration::from_secs(1))
                .grace(Duration::ZERO)
                .max_crashes(5)
                .retry(Retry::attempts(3))
                .or_goto("mend"),
        )
        .node("judge", Node::exec(["python3", "tools.py"]).warm().call("grade").into("q"))
        .node("mend", Node::rust("mend").with(json!([1])).or_continue([("q", json!(null))]))
        .node("each", Node::set([("log", "item")]))
        .node("nap", Node::wait(Duration::from_secs(10)))
        .node("ask", Node::interrupt("q").into("q"))
        .node("sub", Node::graph(child).input([("q", "q")]).output([("q", "q")]))
        .node(
            "fetch",
            Node::http(HttpNode { accept: vec![404], ..HttpNode::new(Method::Post, "https://a/{{ q }}") })
                .connect_timeout(Duration::from_secs(2))
                .first_byte_timeout(Duration::from_secs(3))
                .into("q"),
        )
        .node(
            "think",
            Node::llm(LlmNode { temperature: Some(0.5), ..LlmNode::new(Provider::Anthropic, "small", "why {{ q }}?") })
                .into("q"),
        )
        .node("near", near())
        .node("keep", keep())
        .edge(START, "work")
        .edge("mend", "fetch")
        .edge("fetch", "think")
        .edge("think", "near")
        .edge("near", "keep")
        .edge("keep", END)
        .edge_if("work", END, "count >= 10")
        .otherwise("work", "nap")
        .edge("mend", "nap")
        .edge("nap", "ask")
        .edge("nap", "sub")
        .join(["ask", "sub"], "work")
        .for_each("work", "each", "log")
        .for_each_with("nap", "each", "log", FanOut { concurrency: Some(8), policy: FanOutPolicy::Race, results: None })
        .edge("each", "judge")
        .edge("judge", END)
        .build()
}

#[test]
fn a_built_graph_is_the_graph_of_its_file() {
    let file = "
name: built
description: by hand
limits: {run_timeout: 2h, max_steps: 50, node_runs: 500, max_repeats: 20, tokens: 9, cost: 0.25, descendants: 7}
state: {count: {reducer: add, default: 0}, log: append, meta: {reducer: merge, default: {k: 1}}, talk: messages, q: {default: why}}
nodes:
  work: {kind: exec, command: [sh, -c, echo 1], env: {N: 3}, cwd: /tmp, into: count, reads: [count], pool: gpu, timeout: 5m,
    queue_timeout: 1m, attempt_timeout: 2s, idle_timeout: 1s, grace: 0, max_crashes: 5, retry: {attempts: 3}, on_failure: {goto: mend}}
  judge: {kind: exec, command: [python3, tools.py], warm: true, call: grade, into: q}
  mend: {kind: rust, handler: mend, with: [1], on_failure: {continue: {q: null}}}
  each: {kind: set, set: {log: item}}
  nap: {kind: wait, for: 10s}
  ask: {kind: interrupt, show: q, into: q}
  sub: {kind: graph, input: {q: q}, output: {q: q}, graph: {name: child, state: {q: }, nodes: {only: {kind: set, set: {q: q ~ '!'}}}, edges: [START -> only -> END]}}
  fetch: {kind: http, method: POST, url: 'https://a/{{ q }}', accept: [404], connect_timeout: 2s, first_byte_timeout: 3s, into: q}
  think: {kind: llm, provider: anthropic, model: small, prompt: 'why {{ q }}?', temperature: 0.5, into: q}
  near: {kind: vector_search, store: chroma, url: 'https://b', collection: notes, query: '{{ q }}', embed: {model: small}, limit: 3, into: q}
  keep: {kind: vector_upsert, store: chroma, url: 'https://b', collection: notes, items: '{{ log }}', embed: {model: small}}
edges:
  - START -> work
  - mend -> fetch -> think -> near -> keep -> END
  - {from: work, to: END, when: count >= 10}
  - {from: work, to: nap, otherwise: true}
  - mend -> nap -> ask
  - nap -> sub
  - ask & sub -> work
  - {from: work, to: each, for_each: log}
  - {from: nap, to: each, for_each: log, concurrency: 8, policy: race}
  - each -> judge -> END
";
    let from_file = parse(&Source::new("built.yaml", file), &no_files).unwrap();
    let built = built().unwrap();
    assert_eq!(canonical::json(&built), canonical::json(&from_file));
    assert_eq!(canonical::from_stored(&canonical::json(&built)).unwrap(), built);
}

#[test]
fn all_mistakes_of_a_built_graph_are_told_at_once() {
    let wrong = Graph::builder("t t")
        .channel("a b", Channel::last())
        .node("n", Node::exec(["ls"]).into("x y").pool("p p"))
        .node("n", Node::wait(Duration::ZERO).cwd("/").warm().call("f"))
        .edge(START, "n")
        .edge(END, "n")
        .join(Vec::<String>::new(), "n")
        .build()
        .unwrap_err();
    let said: Vec<_> = wrong.iter().map(|diagnostic| format!("{}: {}", diagnostic.path, diagnostic.message)).collect();
    let starts = [
        "name: graph name",
        "state.a b: channel name",
        "nodes.n.pool: pool name",
        "nodes.n.into: channel name",
        "nodes.n.cwd: only a node of kind `exec`",
        "nodes.n.warm: only a node of kind `exec`",
        "nodes.n.call: only a node of kind `exec`",
        "nodes.n: `n` is added twice",
        "edges[1]: END cannot stand here",
        "edges[2]: a join of no nodes",
    ];
    assert_eq!(said.len(), starts.len(), "{said:#?}");
    for (said, start) in said.iter().zip(starts) {
        assert!(said.starts_with(start), "{said} is not {start}");
    }
    let unknown = Graph::builder("t").node("n", Node::rust("h").into("x")).edge(START, "m").build().unwrap_err();
    assert_eq!(unknown.count(Severity::Error), 2, "{unknown}");
}

#[test]
fn mistakes_of_a_child_are_told_at_their_place_in_the_parent() {
    let mut child = built().unwrap();
    child.state.clear();
    let wrong = Graph::builder("t")
        .channel("x", Channel::last())
        .node("sub", Node::graph(child).into("x"))
        .edge(START, "sub")
        .edge("sub", END)
        .build()
        .unwrap_err();
    assert!(wrong.iter().any(|diagnostic| diagnostic.path == "nodes.sub.graph.nodes.work.into"), "{wrong}");
}

/// A graph of some nodes in a row, with conditions and fan-outs here and there.
fn any_graph() -> impl Strategy<Value = Result<Graph, Diagnostics>> {
    let node = (0..5_u8, 1..100_u64, 1..5_u32, any::<bool>());
    (prop::collection::vec(node, 1..8), any::<i64>(), "[a-z \"'é\\\\]{0,12}").prop_map(|(nodes, start, text)| {
        let mut graph = Graph::builder("g")
            .description(text.clone())
            .channel("n", Channel::add(start))
            .channel("list", Channel::append().with_default(json!([text, start, 1.5])));
        let mut last = START.to_owned();
        for (index, (kind, number, tries, fan)) in nodes.into_iter().enumerate() {
            let name = format!("n{index}");
            let node = match kind {
                0 => Node::wait(Duration::from_millis(number)),
                1 => Node::set([("n", format!("n + {number}"))]),
                2 => Node::rust(text.clone() + "h").with(json!({"k": text})),
                3 => Node::exec(["echo".to_owned(), text.clone()]).into("list"),
                _ => Node::interrupt("n").into("n").or_continue([("n", json!(number))]),
            };
            graph = graph.node(&name, node.retry(Retry::attempts(tries)).timeout(Duration::from_millis(number)));
            graph = if fan { graph.for_each(&last, &name, "list") } else { graph.edge(&last, &name) };
            graph = graph.edge_if(&name, END, format!("n > {number}"));
            last = name;
        }
        graph.edge(&last, END).build()
    })
}

proptest! {
    #[test]
    fn any_built_graph_is_stored_and_read_back_the_same(graph in any_graph()) {
        let graph = graph.unwrap();
        let stored = canonical::canonical(&graph);
        let back = canonical::from_stored(&stored.json).unwrap();
        prop_assert_eq!(&back, &graph);
        prop_assert_eq!(canonical::canonical(&back), stored);
    }
}
