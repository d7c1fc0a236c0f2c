//! Graph files: reads and checks one, and tells all that is wrong with it.

use coxswain_shared::graph::{self, Diagnostics, Graph, Source};

use crate::exit::Exit;
use crate::failure::Failed;
use crate::input;
use crate::output::Output;

/// Reads a graph from a file (`-`: standard input), and says everything that is wrong with it.
pub(crate) fn check(file: &str) -> Result<(Option<Graph>, Diagnostics), Failed> {
    let text = input::read_text(file).map_err(|why| {
        Failed::usage(
            format!("the graph file {file} cannot be read: {why}"),
            "name a YAML or JSON file, or - for standard input",
        )
    })?;
    let loader = |path: &str| input::read_text(path).map_err(|why| why.to_string());
    Ok(graph::check(&Source::new(file, &text), &loader))
}

/// A graph that can be run; its warnings are told.
pub(crate) fn load(file: &str, output: &Output) -> Result<Graph, Failed> {
    let (graph, diagnostics) = check(file)?;
    let Some(graph) = graph else {
        return Err(Failed::bare(Exit::Usage, format!("{file} is no graph that can be run\n{diagnostics}")));
    };
    for warning in &diagnostics {
        output.notes(warning);
    }
    Ok(graph)
}
