//! `cox graph`: checks a definition, draws it, or tells editors what can be in one.

use std::collections::BTreeSet;

use clap::Subcommand;
use coxswain_shared::graph::{canonical, reference, render};
use coxswain_shared::id::PoolName;
use serde_json::json;

use crate::context::Context;
use crate::definition;
use crate::exit::Exit;
use crate::failure::Failed;
use crate::idle;
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
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failed> {
        match self.what {
            What::Check(check) => check.run(context).await,
            What::Show(show) => show.run(context),
            What::Schema => {
                context.output.document(&reference::schema());
                Ok(Exit::Ok)
            }
        }
    }
}

impl Check {
    async fn run(&self, context: &Context) -> Result<Exit, Failed> {
        let mut needed = BTreeSet::new();
        let mut documents = Vec::new();
        let mut texts = Vec::new();
        let mut are_good = true;
        for file in &self.files {
            let (graph, diagnostics) = definition::check(file)?;
            let pools = graph.as_ref().map(canonical::pools).unwrap_or_default();
            let unknown = idle::unknown(context, &pools)?;
            let is_good = graph.is_some() && unknown.is_none();
            are_good &= is_good;
            needed.extend(pools);
            let hash = graph.as_ref().map(canonical::hash);
            let verdict = match (&graph, &unknown) {
                (None, _) => None,
                (Some(_), Some(why)) => Some(format!("{file}: {why}")),
                (Some(graph), None) if diagnostics.is_empty() => Some(format!("{file}: `{}` is good", graph.name)),
                (Some(graph), None) => Some(format!("{file}: `{}` can be run", graph.name)),
            };
            let found = Some(diagnostics.to_string()).filter(|_| !diagnostics.is_empty());
            texts.push(found.into_iter().chain(verdict).collect::<Vec<_>>().join("\n"));
            documents.push(
                json!({"file": file, "ok": is_good, "hash": hash, "diagnostics": diagnostics, "unknown_pool": unknown}),
            );
        }
        warn_of_unserved(context, &needed).await;
        context.output.result(&documents, || texts.join("\n"));
        Ok(if are_good { Exit::Ok } else { Exit::Usage })
    }
}

/// Warns of pools that no worker serves, where a store is named that could know.
async fn warn_of_unserved(context: &Context, needed: &BTreeSet<PoolName>) {
    if context.source.get("COX_STORE").is_none() {
        return;
    }
    let asked = async { idle::unserved(context.store().await?.as_ref(), needed).await };
    match asked.await {
        Ok(None) => {}
        Ok(Some(pools)) => context.output.note(format!(
            "warning: no worker of the pool {} was seen within the last minute: runs would wait for one",
            pools.join(", ")
        )),
        Err(failed) => {
            context.output.note(format!("the store was not asked for its workers' pools: {}", failed.message));
        }
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
