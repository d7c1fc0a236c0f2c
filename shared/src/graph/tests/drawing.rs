//! Drawings, line by line.

use crate::graph::*;

fn graph() -> Graph {
    let text = "
name: papers
description: Reads papers until enough are good.
limits: {run_timeout: 10m, max_steps: 20}
state: {docs: append, good: {reducer: add, default: 0}, x: }
graphs:
  judge: {state: {x: }, nodes: {ask: {kind: interrupt, show: \"'|\\\"?'\"}}, edges: [START -> ask -> END]}
nodes:
  find: {kind: exec, command: [find, ., -name, '*.txt', -newer, last, -a, -size, +10k], into: docs, on_failure: {goto: mend}}
  mend: {kind: rust, handler: mend}
  read: {kind: rust, handler: read, into: x, on_failure: {continue: {}}}
  count: {kind: set, set: {good: 1}}
  nap: {kind: wait, for: 90s}
  judge: {kind: graph, graph: judge, into: x}
  left: {kind: rust, handler: l}
  right: {kind: rust, handler: r}
edges:
  - START -> find
  - {from: find, to: read, for_each: docs}
  - read -> left & right
  - left & right -> count
  - {from: count, to: END, when: good >= 10 and docs | length > 3}
  - {from: count, to: nap, otherwise: true}
  - nap -> find
  - mend -> judge -> END
";
    parse(&Source::new("papers.yaml", text), &no_files).unwrap()
}

#[test]
fn a_terminal_shows_layers_conditions_fan_outs_joins_and_loops() {
    let drawn = render::text(&graph(), 80);
    assert!(drawn.lines().all(|line| line.chars().count() <= 80));
    assert_eq!(drawn, include_str!("drawing/papers.txt"), "it is drawn as\n{drawn}");
}

#[test]
fn mermaid_shows_the_same_with_safe_labels() {
    let drawn = render::mermaid(&graph());
    assert_eq!(drawn, include_str!("drawing/papers.mmd"), "it is drawn as\n{drawn}");
}

#[test]
fn every_graph_can_be_drawn_at_any_width() {
    let mut graph = graph();
    for width in [0, 1, 40, 80, 120, 10_000] {
        let drawn = render::text(&graph, width);
        assert!(graph.nodes.keys().all(|name| drawn.contains(name.as_str())), "{drawn}");
    }
    // Drawing must not rely on the checks: a graph under repair is shown too.
    graph.nodes.remove("find");
    graph.edges.remove(0);
    assert!(render::text(&graph, 80).contains("no edge leads to"));
    assert!(render::mermaid(&graph).contains("flowchart TD"));
}
