//! From a file to a graph.

use super::diagnostic::{Diagnostic, Diagnostics, Severity};
use super::model::Graph;
use super::read::Session;
use super::tree::Tree;
use crate::limits::GRAPH_BYTES_MAX;

/// How a file is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// YAML.
    #[default]
    Yaml,
    /// JSON.
    Json,
}

impl Format {
    /// The format that a file's name promises: JSON for `.json`, else YAML.
    pub fn of_name(name: &str) -> Self {
        let is_json = name.rsplit_once('.').is_some_and(|(_, end)| end.eq_ignore_ascii_case("json"));
        if is_json { Self::Json } else { Self::Yaml }
    }
}

/// A file that was read.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Its name, for messages and to find the files that it names.
    pub name: &'a str,
    /// What is in it.
    pub text: &'a str,
    /// How it is written.
    pub format: Format,
}

impl<'a> Source<'a> {
    /// A file whose name tells its format.
    pub fn new(name: &'a str, text: &'a str) -> Self {
        Self { name, text, format: Format::of_name(name) }
    }

    /// The file as a tree.
    pub(super) fn tree(&self) -> Result<Tree, Diagnostic> {
        let refuse = |message: String, at: Option<(u32, u32)>| Diagnostic {
            severity: Severity::Error,
            path: String::new(),
            file: Some(self.name.to_owned()),
            line: at.map(|(line, _)| line),
            column: at.map(|(_, column)| column),
            message,
            remedy: None,
        };
        if self.text.len() > GRAPH_BYTES_MAX {
            return Err(refuse(format!("the file has {} bytes, more than {GRAPH_BYTES_MAX}", self.text.len()), None));
        }
        let (tree, format) = match self.format {
            Format::Yaml => (Tree::from_yaml(self.text), "YAML"),
            Format::Json => (Tree::from_json(self.text), "JSON"),
        };
        tree.map_err(|error| refuse(format!("this is not {format}: {}", error.message), error.at))
    }
}

/// Reads a graph, or says everything that is wrong with it. Warnings of a graph that can be run are dropped: see [`check`].
///
/// `loader` reads the files that the graph names, by their path as it is meant from the file that names them.
pub fn parse(source: &Source<'_>, loader: &dyn Fn(&str) -> Result<String, String>) -> Result<Graph, Diagnostics> {
    let (graph, diagnostics) = check(source, loader);
    graph.ok_or(diagnostics)
}

/// Reads a graph, and says everything that is wrong with it, warnings included. There is a graph if there is no error.
pub fn check(source: &Source<'_>, loader: &dyn Fn(&str) -> Result<String, String>) -> (Option<Graph>, Diagnostics) {
    let mut session = Session::new(loader);
    let graph = session.read(source, None);
    let diagnostics: Diagnostics = session.into_diagnostics().into_iter().collect();
    (graph.filter(|_| !diagnostics.has_errors()), diagnostics)
}

/// A loader for where files are out of reach: each is refused.
pub fn no_files(path: &str) -> Result<String, String> {
    Err(format!("files are out of reach here; put the graph of `{path}` under `graphs`"))
}
