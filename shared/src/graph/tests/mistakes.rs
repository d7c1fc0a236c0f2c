//! Graphs that are wrong: what is said about each mistake, word by word. The graphs and the words are in `mistakes/`:
//! a graph, the lines that start with `!`, a line of dashes.

use crate::graph::*;

/// Says of each graph of a file exactly what stands under it.
fn hold(name: &str, table: &str) {
    let mut wrong = Vec::new();
    for case in table.split("\n---\n").filter(|case| !case.trim().is_empty()) {
        let is_said = |line: &&str| line.starts_with("! ");
        let text: Vec<&str> = case.lines().filter(|line| !is_said(line)).collect();
        let wanted: Vec<&str> = case.lines().filter(is_said).collect();
        let text = text.join("\n");
        let said = said(&text);
        if said != wanted {
            wrong.push(format!("{text}\n{}\n---", said.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "mistakes/{name}.txt should read\n{}", wrong.join("\n"));
}

fn said(text: &str) -> Vec<String> {
    let (graph, diagnostics) = check(&Source::new("g.yaml", text), &no_files);
    assert_eq!(graph.is_some(), !diagnostics.has_errors());
    let show = |diagnostic: &Diagnostic| {
        let line = diagnostic.line.map(|line| format!(" @{line}")).unwrap_or_default();
        let remedy = diagnostic.remedy.as_ref().map(|remedy| format!(" | {remedy}")).unwrap_or_default();
        format!("! {} {}{line}: {}{remedy}", diagnostic.severity.name(), diagnostic.path, diagnostic.message)
    };
    diagnostics.iter().map(show).collect()
}

#[test]
fn mistakes_in_the_file_as_a_whole() {
    hold("file", include_str!("mistakes/file.txt"));
}

#[test]
fn mistakes_in_the_state() {
    hold("state", include_str!("mistakes/state.txt"));
}

#[test]
fn mistakes_in_limits_and_policies() {
    hold("limits", include_str!("mistakes/limits.txt"));
}

#[test]
fn mistakes_in_nodes() {
    hold("nodes", include_str!("mistakes/nodes.txt"));
}

#[test]
fn mistakes_in_edges_and_where_they_lead() {
    hold("edges", include_str!("mistakes/edges.txt"));
}

#[test]
fn mistakes_in_child_graphs() {
    hold("children", include_str!("mistakes/children.txt"));
}

#[test]
fn mistakes_in_the_files_of_child_graphs() {
    let child = |path: &str| format!("nodes: {{a: {{kind: graph, graph: {path}}}}}\nedges: [START -> a -> END]\n");
    let load = |path: &str| match path {
        "dir/b.yaml" => Ok(child("../a.yaml")),
        "dir/bad.yaml" => Ok("nodes: {a: {kind: wait}}\nedges: [START -> a]".to_owned()),
        path if path.starts_with("deep") => Ok(child(&format!("deep{path}"))),
        _ => Err("no such file".to_owned()),
    };
    let said = |path: &str| {
        let text = format!("name: t\n{}", child(path));
        check(&Source::new("a.yaml", &text), &load).1.to_string()
    };
    let round = said("dir/b.yaml");
    assert!(
        round.starts_with(
            "error: nodes.a.graph: the graph contains itself: a.yaml → dir/b.yaml → a.yaml\n  --> dir/b.yaml:1:"
        ),
        "{round}"
    );
    let bad = said("dir/bad.yaml");
    assert!(bad.contains("error: nodes.a: the node has no `for`\n  --> dir/bad.yaml:1:9"), "{bad}");
    let none = said("none.yaml");
    assert!(none.contains("nodes.a.graph: the file `none.yaml` cannot be read: no such file"), "{none}");
    let deep = said("deep.yaml");
    assert!(deep.contains("child graphs are nested deeper than 8"), "{deep}");
}

#[test]
fn children_of_children_do_not_blow_up() {
    let wide = |child: &str| {
        let nodes: Vec<_> = (0..40).map(|n| format!("n{n}: {{kind: graph, graph: {child}, into: x}}")).collect();
        let edges: Vec<_> = (0..40).map(|n| format!("START -> n{n} -> END")).collect();
        format!("state: {{x: }}, nodes: {{{}}}, edges: [{}]", nodes.join(", "), edges.join(", "))
    };
    let (first, second, third) = (wide("g1"), wide("g2"), wide("g3"));
    let last = "state: {x: }, nodes: {a: {kind: wait, for: 1}}, edges: [START -> a -> END]";
    let text = format!("{{name: t, {first}, graphs: {{g1: {{{second}}}, g2: {{{third}}}, g3: {{{last}}}}}}}");
    let said = said(&text);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("graphs.g1.nodes.n12") && said[0].contains("more than 1000 nodes"), "{said:?}");
}

#[test]
fn the_largest_graph_is_judged_in_time() {
    let nodes: Vec<_> = (0..1_000).map(|n| format!("n{n}: {{kind: wait, for: 1}}")).collect();
    let edges: Vec<_> = (0..9_999).map(|n| format!("n{} -> n{}", n % 1_000, (n * 7 + n / 1_000) % 1_000)).collect();
    let text = format!("{{name: t, nodes: {{{}}}, edges: [START -> n0, {}]}}", nodes.join(", "), edges.join(", "));
    let started = std::time::Instant::now();
    assert!(said(&text).len() < 2_000);
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn the_list_reads_like_a_compilers() {
    let text = "name: t\nstate: {count: }\nnodes:\n  a: {kind: exec, command: [], into: cuont}\nedges: [START -> a]\n";
    let (_, diagnostics) = check(&Source::new("flow/g.yaml", text), &no_files);
    let wanted = "warning: nodes.a: no edge leads on from `a`, not even to END
  --> flow/g.yaml:4:3
  help: add `a -> END` if the branch ends here
error: nodes.a.command: the command is empty
  --> flow/g.yaml:4:19
  help: write [program, argument, …]
error: nodes.a.into: there is no channel `cuont`
  --> flow/g.yaml:4:32
  help: did you mean `count`?
2 errors, 1 warning";
    assert_eq!(diagnostics.to_string(), wanted);
    let json = serde_json::to_value(&diagnostics).unwrap();
    assert_eq!(json[0]["severity"], "warning");
    assert_eq!(serde_json::from_value::<Diagnostics>(json).unwrap(), diagnostics);
}
