//! The command line as a whole: the global flags, the list of commands, and the help that spans them.

use clap::{Args, Parser, Subcommand};

use crate::command::{
    audit, bench, cancel, completions, exit_codes, get, graph, history, list, policy, resume, run, state, submit, up,
    watch, workers,
};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failed;

const EXAMPLES: &str = "\
Examples:
  cox run loop.yaml --id loop-1             run a graph here and now, and watch it
  cox list --status running                 what is going on, and under which ids
  cox cancel loop-1 --reason 'wrong input'  stop a run, wherever it runs
  cox history loop-1                        what it did, step by step
  cox resume loop-1 --from 7                go on from step 7, as a new run

Without --store and COX_STORE everything is in .cox/cox.db of this folder. The exit codes: cox exit-codes";

/// The heading of the flags of every command.
const GLOBAL: &str = "Global options";

/// Runs agent graphs under control: submit, watch, stop, inspect and resume runs.
#[derive(Debug, Parser)]
#[command(name = "cox", version, after_help = EXAMPLES, max_term_width = 110, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Where runs are kept: `sqlite:PATH`, or `redis://HOST` for a fleet [default: sqlite:.cox/cox.db]
    #[arg(long, global = true, help_heading = GLOBAL, env = "COX_STORE", value_name = "URL", hide_env_values = true)]
    pub(crate) store: Option<String>,
    /// The queue of a fleet: `amqp://HOST`; only `up` needs it
    #[arg(long, global = true, help_heading = GLOBAL, env = "COX_BROKER", value_name = "URL", hide_env_values = true)]
    pub(crate) broker: Option<String>,
    /// Write JSON: one document, or one line for each thing that happens (run, watch)
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,
    /// Tell nothing but results and errors
    #[arg(long, short, global = true, help_heading = GLOBAL)]
    pub(crate) quiet: bool,
}

/// What there is to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Submit a run and watch it until its end
    Run(run::Args),
    /// Submit a run and print its id
    Submit(submit::Args),
    /// Show a run: where it stands, its tasks in flight, how it was stopped
    Get(get::Args),
    /// List runs, newest first
    List(list::Args),
    /// Watch a run until its end
    Watch(watch::Args),
    /// Stop runs: one, several, or all that match
    Cancel(cancel::Args),
    /// Answer an interrupted run, or go on from a checkpoint of one that has ended
    Resume(resume::Args),
    /// Show what a run did, checkpoint by checkpoint
    History(history::Args),
    /// Print the state of a run, as it is or after an earlier step
    State(state::Args),
    /// Show who stopped, resumed and changed what, and what came of it
    Audit(audit::Args),
    /// Limit what runs of a graph, a label or a thread may use in a window
    Policy(policy::Args),
    /// Check or draw a graph, or print the schema of its file
    Graph(graph::Args),
    /// Run a scheduler and a worker in this process until they are told to end
    Up(up::Args),
    /// Measure steps per second, the latency of a run, and the latency of a stop
    Bench(bench::Args),
    /// List the workers
    Workers(workers::Args),
    /// Print a script that completes words of this command in a shell
    Completions(completions::Args),
    /// Explain the exit codes
    ExitCodes(exit_codes::Args),
}

impl Command {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failed> {
        match self {
            Self::Run(args) => Box::pin(args.run(context)).await,
            Self::Submit(args) => args.run(context).await,
            Self::Get(args) => args.run(context).await,
            Self::List(args) => args.run(context).await,
            Self::Watch(args) => args.run(context).await,
            Self::Cancel(args) => Box::pin(args.run(context)).await,
            Self::Resume(args) => Box::pin(args.run(context)).await,
            Self::History(args) => args.run(context).await,
            Self::State(args) => args.run(context).await,
            Self::Audit(args) => args.run(context).await,
            Self::Policy(args) => args.run(context).await,
            Self::Graph(args) => args.run(context).await,
            Self::Up(args) => Box::pin(args.run(context)).await,
            Self::Bench(args) => Box::pin(args.run(context)).await,
            Self::Workers(args) => args.run(context).await,
            Self::Completions(args) => Ok(args.run(context)),
            Self::ExitCodes(args) => Ok(args.run(context)),
        }
    }
}

#[cfg(test)]
mod tests;
