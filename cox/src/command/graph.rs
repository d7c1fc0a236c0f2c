//! `cox graph`: checks a definition, draws it, or tells editors what can be in one.

use clap::Subcommand;
use coxswain_shared::graph::{canonical, reference, render};
use serde_json::json;

use crate::context::Context;
use crate::definition;
use crate::exit::Exit;
use crate::failure::Failed;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  cox graph check graphs/*.yaml
  cox graph show digest.yaml
  cox graph show digest.yaml --mermaid >> README.md
  cox graph schema > graph.schema.json";

/// Check or draw a graph, or print the schema of its file
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

/// What to do with it.
#[derive(Debug, Subcommand)]
enum What {
    /// Say everything that is wrong with graph files
    Check(Check),
    /// Draw a graph
    Show(Show),
    /// Print the JSON Schema of graph files, by which editors complete them
    Schema,
}

#[derive(Debug, clap::Args)]
struct Check {
    /// The graphs: YAML or JSON files, or - for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The graph: a YAML or JSON file, or - for standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// Draw it as a Mermaid flowchart
    #[arg(long)]
    mermaid: bool,
}

impl Args {
    #[expect(clippy::unused_async, reason = "every command is called in the same way")]
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failed> {
        match self.what {
            What::Check(check) => check.run(context),
            What::Show(show) => show.run(context),
            What::Schema => {
                context.output.document(&reference::schema());
                Ok(Exit::Ok)
            }
        }
    }
}

impl Check {
    fn run(&self, context: &Context) -> Result<Exit, Failed> {
        let mut documents = Vec::new();
        let mut texts = Vec::new();
        let mut are_good = true;
        for file in &self.files {
            let (graph, diagnostics) = definition::check(file)?;
            are_good &= graph.is_some();
            let hash = graph.as_ref().map(canonical::hash);
            texts.push(match &graph {
                Some(graph) if diagnostics.is_empty() => format!("{file}: `{}` is good", graph.name),
                Some(graph) => format!("{diagnostics}\n{file}: `{}` can be run", graph.name),
                None => diagnostics.to_string(),
            });
            documents.push(json!({"file": file, "ok": graph.is_some(), "hash": hash, "diagnostics": diagnostics}));
        }
        context.output.result(&documents, || texts.join("\n"));
        Ok(if are_good { Exit::Ok } else { Exit::Usage })
    }
}

impl Show {
    fn run(&self, context: &Context) -> Result<Exit, Failed> {
        let graph = definition::load(&self.file, &context.output)?;
        let drawing = if self.mermaid { render::mermaid(&graph) } else { render::text(&graph, output::width()) };
        context.output.result(&graph, || drawing.trim_end().to_owned());
        Ok(Exit::Ok)
    }
}
