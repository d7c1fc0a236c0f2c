//! The graphs inside of a graph: in place, by a name in `graphs`, or in a file of their own.
//!
//! What is read is bounded in depth, nodes, bytes and files, counted as if every child were written out in its place;
//! a graph that contains itself is refused.

use std::collections::BTreeMap;

use super::fields::Fields;
use crate::graph::canonical;
use crate::graph::diagnostic::Diagnostic;
use crate::graph::finding::Findings;
use crate::graph::model::{Graph, NodeKind};
use crate::graph::parse::{Format, Source};
use crate::graph::place::Place;
use crate::graph::tree::{Branch, Tree};
use crate::id::NodeName;
use crate::limits::{CHILD_DEPTH_MAX, GRAPH_BYTES_MAX, GRAPH_NODES_MAX};

/// Reads the text of a file.
pub(in crate::graph) type Loader<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// Files that one graph may be made of.
const FILES_MAX: usize = 100;

/// Everything that is shared between the files of one graph.
pub(in crate::graph) struct Session<'a> {
    loader: Loader<'a>,
    diagnostics: Vec<Diagnostic>,
    files: BTreeMap<String, Option<Graph>>,
    open: Vec<String>,
    depth: u32,
}

impl<'a> Session<'a> {
    /// Starts with nothing read.
    pub(in crate::graph) const fn new(loader: Loader<'a>) -> Self {
        Self { loader, diagnostics: Vec::new(), files: BTreeMap::new(), open: Vec::new(), depth: 0 }
    }

    /// Reads a file's text to a graph. What is wrong with it goes to the diagnostics.
    pub(in crate::graph) fn read(&mut self, source: &Source<'_>, name: Option<&str>) -> Option<Graph> {
        let tree = match source.tree() {
            Ok(tree) => tree,
            Err(diagnostic) => {
                self.diagnostics.push(diagnostic);
                return None;
            }
        };
        let mut findings = Findings::default();
        tree.find_duplicates(&Place::root(), &mut findings);
        let duplicates = findings.into_iter().map(|finding| {
            let at = tree.locate(&finding.place);
            finding.locate(Some(source.name), at)
        });
        self.diagnostics.extend(duplicates);
        self.open.push(normal(source.name));
        let mut children = Children { session: self, file: source.name, tree: &tree, tables: Vec::new() };
        let graph = children.read_graph(&tree, &Place::root(), name);
        self.open.pop();
        graph
    }

    /// What was found wrong.
    pub(in crate::graph) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    fn read_file(&mut self, path: &str, findings: &mut Findings, place: &Place) -> Option<Graph> {
        if self.open.iter().any(|open| open == path) {
            let round: Vec<&str> = self.open.iter().map(String::as_str).chain([path]).collect();
            let message = format!("the graph contains itself: {}", round.join(" → "));
            findings.error(place, message).remedy("a loop is made with edges, not with child graphs");
            return None;
        }
        if let Some(known) = self.files.get(path) {
            return known.clone();
        }
        if self.files.len() == FILES_MAX {
            findings.error(place, format!("the graph is made of more than {FILES_MAX} files"));
            return None;
        }
        let graph = match (self.loader)(path) {
            Ok(text) => {
                let stem = path.rsplit('/').next().and_then(|file| file.split('.').next()).map(ToOwned::to_owned);
                let source = Source { name: path, text: &text, format: Format::of_name(path) };
                self.read(&source, stem.as_deref())
            }
            Err(reason) => {
                findings.error(place, format!("the file `{path}` cannot be read: {reason}"));
                None
            }
        };
        self.files.insert(path.to_owned(), graph.clone());
        graph
    }
}

/// The graphs that one file holds.
pub(super) struct Children<'f, 's> {
    session: &'s mut (dyn Shared + 's),
    pub(super) file: &'f str,
    pub(super) tree: &'f Tree,
    tables: Vec<Vec<Named<'f>>>,
}

/// What one file needs of the session.
trait Shared {
    fn load(&mut self, path: &str, findings: &mut Findings, place: &Place) -> Option<Graph>;
    fn diagnostics(&mut self) -> &mut Vec<Diagnostic>;
    fn depth(&mut self) -> &mut u32;
}

impl Shared for Session<'_> {
    fn load(&mut self, path: &str, findings: &mut Findings, place: &Place) -> Option<Graph> {
        self.read_file(path, findings, place)
    }

    fn diagnostics(&mut self) -> &mut Vec<Diagnostic> {
        &mut self.diagnostics
    }

    fn depth(&mut self) -> &mut u32 {
        &mut self.depth
    }
}

/// An entry of `graphs`.
struct Named<'f> {
    name: &'f str,
    tree: &'f Tree,
    place: Place,
    used: bool,
    progress: Progress,
}

enum Progress {
    Unread,
    Reading,
    Read(Option<Box<Graph>>),
}

impl<'f> Children<'f, '_> {
    /// Makes the entries of `graphs` known to what is read next.
    pub(super) fn open_table(&mut self, fields: &mut Fields<'f>, findings: &mut Findings) {
        let place = fields.place("graphs");
        let entries = match fields.get("graphs").map(|tree| (tree, &tree.value)) {
            None => &[],
            Some((_, Branch::Map(entries))) => entries.as_slice(),
            Some((tree, _)) => {
                findings.error(&place, format!("`graphs` must be a mapping, not {}", tree.describe()));
                &[]
            }
        };
        let named = entries.iter().map(|entry| Named {
            name: &entry.key,
            tree: &entry.value,
            place: place.key(&entry.key),
            used: false,
            progress: Progress::Unread,
        });
        self.tables.push(named.collect());
    }

    /// Reads what no node has used, for its mistakes; then forgets the entries.
    pub(super) fn close_table(&mut self, findings: &mut Findings) {
        let level = self.tables.len() - 1;
        for index in 0..self.tables[level].len() {
            let _ = self.read_named(level, index, findings);
        }
        let table = self.tables.pop().unwrap_or_default();
        for named in table.iter().filter(|named| !named.used) {
            findings.warning(&named.place, format!("no node uses the graph `{}`", named.name));
        }
    }

    /// The graph that a `graph` field means.
    pub(super) fn resolve(
        &mut self,
        tree: &'f Tree,
        place: &Place,
        node: &NodeName,
        findings: &mut Findings,
    ) -> Option<Graph> {
        match &tree.value {
            Branch::Text(text) => self.by_name(text, place, findings),
            Branch::Map(_) => self.deeper(place, findings, |this, _| this.read_graph(tree, place, Some(node.as_str()))),
            Branch::Null | Branch::Bool(_) | Branch::Number(_) | Branch::List(_) => {
                let message = format!("`graph` cannot be {}", tree.describe());
                let remedy = "write the name of one of `graphs`, a file's path, or the graph itself";
                findings.error(place, message).remedy(remedy);
                None
            }
        }
    }

    /// Notes what is wrong.
    pub(super) fn report(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        self.session.diagnostics().extend(diagnostics);
    }

    fn by_name(&mut self, text: &str, place: &Place, findings: &mut Findings) -> Option<Graph> {
        let found =
            self.tables.iter().enumerate().rev().find_map(|(level, table)| {
                table.iter().position(|named| named.name == text).map(|index| (level, index))
            });
        if let Some((level, index)) = found {
            self.tables[level][index].used = true;
            return self.read_named(level, index, findings);
        }
        let is_path = text.contains('/') || [".yaml", ".yml", ".json"].iter().any(|end| text.ends_with(end));
        if is_path {
            let path = beside(self.file, text);
            return self.deeper(place, findings, |this, findings| this.session.load(&path, findings, place));
        }
        let known = self.tables.iter().flatten().map(|named| named.name);
        findings.error(place, format!("there is no graph `{text}`")).suggest(text, known);
        None
    }

    fn read_named(&mut self, level: usize, index: usize, findings: &mut Findings) -> Option<Graph> {
        let named = &mut self.tables[level][index];
        let (name, tree, place) = (named.name, named.tree, named.place.clone());
        match std::mem::replace(&mut named.progress, Progress::Reading) {
            Progress::Read(graph) => {
                named.progress = Progress::Read(graph.clone());
                return graph.map(|graph| *graph);
            }
            Progress::Reading => {
                let message = format!("the graph `{name}` contains itself");
                findings.error(&place, message).remedy("a loop is made with edges, not with child graphs");
                return None;
            }
            Progress::Unread => {}
        }
        // It sees the graphs around it, not those of the graph that uses it.
        let hidden = self.tables.split_off(level + 1);
        let graph = match &tree.value {
            Branch::Text(path) if !self.tables.iter().flatten().any(|named| named.name == path) => {
                let path = beside(self.file, path);
                self.deeper(&place, findings, |this, findings| this.session.load(&path, findings, &place))
            }
            Branch::Text(other) => self.by_name(other, &place, findings),
            _ => self.deeper(&place, findings, |this, _| this.read_graph(tree, &place, Some(name))),
        };
        self.tables.extend(hidden);
        self.tables[level][index].progress = Progress::Read(graph.clone().map(Box::new));
        graph
    }

    fn deeper<T>(
        &mut self,
        place: &Place,
        findings: &mut Findings,
        read: impl FnOnce(&mut Self, &mut Findings) -> Option<T>,
    ) -> Option<T> {
        if *self.session.depth() == CHILD_DEPTH_MAX {
            findings.error(place, format!("child graphs are nested deeper than {CHILD_DEPTH_MAX}"));
            return None;
        }
        *self.session.depth() += 1;
        let result = read(self, findings);
        *self.session.depth() -= 1;
        result
    }
}

/// What a graph and the graphs in it amount to, written out.
#[derive(Debug, Default)]
pub(super) struct Weight {
    nodes: usize,
    bytes: usize,
    reported: bool,
}

impl Weight {
    /// Adds a node. Once it is too much, says so once, and refuses this and every further node.
    pub(super) fn add(&mut self, kind: Option<&NodeKind>, place: &Place, findings: &mut Findings) -> bool {
        self.nodes += 1;
        if let Some(NodeKind::Graph(child)) = kind {
            self.nodes += node_count(&child.graph);
            self.bytes += canonical::json(&child.graph).len();
        }
        let over = if self.nodes > GRAPH_NODES_MAX {
            Some(format!("the graph has more than {GRAPH_NODES_MAX} nodes, those of its child graphs included"))
        } else if self.bytes > GRAPH_BYTES_MAX {
            Some(format!("the graph's child graphs have more than {GRAPH_BYTES_MAX} bytes together"))
        } else {
            None
        };
        let fits = over.is_none();
        if let Some(message) = over
            && !std::mem::replace(&mut self.reported, true)
        {
            findings.error(place, message).remedy("fan out with `for_each` instead of writing nodes out");
        }
        fits
    }
}

/// The nodes of a graph and of the graphs in it.
pub(in crate::graph) fn node_count(graph: &Graph) -> usize {
    graph.nodes.len() + canonical::children(graph).map(node_count).sum::<usize>()
}

/// A path as it is meant by a file: beside that file.
fn beside(file: &str, path: &str) -> String {
    match file.rsplit_once('/') {
        Some((folder, _)) if !path.starts_with('/') => normal(&format!("{folder}/{path}")),
        _ => normal(path),
    }
}

/// A path without `.` and `..`, so that one file has one name.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            "" if !parts.is_empty() => {}
            ".." if parts.last().is_some_and(|last| !matches!(*last, ".." | "")) => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_meant_from_the_file_that_names_it() {
        for (file, path, wanted) in [
            ("main.yaml", "child.yaml", "child.yaml"),
            ("a/main.yaml", "./child.yaml", "a/child.yaml"),
            ("a/b/main.yaml", "../child.yaml", "a/child.yaml"),
            ("/a/main.yaml", "child.yaml", "/a/child.yaml"),
            ("a/main.yaml", "/etc/child.yaml", "/etc/child.yaml"),
            ("main.yaml", "../../x.yaml", "../../x.yaml"),
        ] {
            assert_eq!(beside(file, path), wanted);
        }
    }
}
