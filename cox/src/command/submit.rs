//! `cox submit`: makes a run, and prints its id. Also holds the flags that describe a run, which `run` shares.

use std::time::Duration;

use coxswain_shared::control::{self, Submission, Submitted};
use coxswain_shared::duration;
use coxswain_shared::graph::canonical::pools;
use coxswain_shared::id::{NodeName, RunId, ThreadId};
use coxswain_shared::priority::Priority;
use coxswain_shared::store::{OnConflict, Store};

use super::list::priority;
use crate::budget::BudgetFlags;
use crate::context::Context;
use crate::definition;
use crate::exit::Exit;
use crate::failure::Failed;
use crate::idle;
use crate::input;

const EXAMPLES: &str = "\
Examples:
  cox submit digest.yaml --input topic=rust
  cox submit digest.yaml --input @input.json --label team=search --run-timeout 5m
  cox submit nightly.yaml --priority low     lets whatever else there is go first
  cox submit chat.yaml --thread ann --on-conflict interrupt --input question='And now?'
  cox submit digest.yaml --id nightly-7     again with the same id changes nothing

Somebody has to work on it: a fleet, or `cox up` on the same store.";

/// Submit a run and print its id
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) run: NewRun,
}

/// What describes a run.
#[derive(Debug, clap::Args)]
pub(crate) struct NewRun {
    /// The graph: a YAML or JSON file, or - for standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// The input: name=value, a JSON object, or @file; may be given several times
    #[arg(long, short, value_name = "INPUT")]
    input: Vec<String>,
    /// Its id; submitting again with the same id changes nothing [default: a fresh one]
    #[arg(long, value_name = "ID")]
    id: Option<RunId>,
    /// The thread that it goes on with [default: one of its own]
    #[arg(long, value_name = "ID")]
    thread: Option<ThreadId>,
    /// What happens to the run in flight on the thread
    #[arg(long, value_name = "STRATEGY", default_value = "enqueue")]
    on_conflict: Strategy,
    /// A label to find it by: name=value; may be given several times, up to 32
    #[arg(long, value_name = "LABEL")]
    label: Vec<String>,
    /// How urgent it is: high, normal or low. What is more urgent goes first, and low goes on all the same
    #[arg(long, value_name = "PRIORITY", value_parser = priority, default_value = "normal")]
    priority: Priority,
    /// The time of the whole run, such as 90s or 2h, up to 30d [default: the graph's]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    run_timeout: Option<Duration>,
    /// The steps that it may take, from 1 to 1000000 [default: the graph's]
    #[arg(long, value_name = "STEPS")]
    max_steps: Option<u64>,
    #[command(flatten)]
    budget: BudgetFlags,
    /// Pause before a node runs; may be given several times
    #[arg(long, value_name = "NODE")]
    interrupt_before: Vec<NodeName>,
    /// Pause after a node has run; may be given several times
    #[arg(long, value_name = "NODE")]
    interrupt_after: Vec<NodeName>,
    /// Who submits it (`user@host` where absent)
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
}

/// What a new run does to the one in flight on its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Strategy {
    /// The new run is refused
    Reject,
    /// The new run waits for its turn
    Enqueue,
    /// The one in flight is stopped and its state kept
    Interrupt,
    /// The one in flight is stopped and its state taken back
    Rollback,
}

impl From<Strategy> for OnConflict {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::Reject => Self::Reject,
            Strategy::Enqueue => Self::Enqueue,
            Strategy::Interrupt => Self::Interrupt,
            Strategy::Rollback => Self::Rollback,
        }
    }
}

impl NewRun {
    /// Reads the files that the flags name.
    pub(crate) fn read(self, context: &Context) -> Result<Submission, Failed> {
        let graph = definition::load(&self.file, &context.output)?;
        idle::refuse_unknown(context, &pools(&graph))?;
        Ok(Submission {
            input: input::values("--input", &self.input)?,
            id: self.id,
            thread: self.thread,
            on_conflict: self.on_conflict.into(),
            labels: input::labels(&self.label)?,
            run_timeout: self.run_timeout,
            max_steps: self.max_steps,
            budget: self.budget.budget(),
            priority: self.priority,
            interrupt_before: self.interrupt_before,
            interrupt_after: self.interrupt_after,
            ..Submission::new(graph, Context::actor(self.actor))
        })
    }
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failed> {
        let submission = self.run.read(context)?;
        let store = context.store().await?;
        submit(context, store.as_ref(), submission).await.map(|_| Exit::Ok)
    }
}

/// Submits, and prints the id as the result.
pub(crate) async fn submit(context: &Context, store: &dyn Store, submission: Submission) -> Result<Submitted, Failed> {
    let needed = pools(&submission.graph);
    let submitted = control::submit(store, submission).await?;
    tell(context, &submitted);
    if !submitted.status.is_final() {
        idle::note(context, store, &needed).await?;
    }
    context.output.result(&submitted, || submitted.key.id.to_string());
    Ok(submitted)
}

/// Tells what is worth knowing of a run that was just submitted.
pub(crate) fn tell(context: &Context, submitted: &Submitted) {
    let Submitted { key, status, existed, .. } = submitted;
    if *existed {
        context.output.note(format!("run {} was there already, and is {status}; nothing was changed", key.id));
    } else if status.is_final() {
        context.output.note(format!("run {} is {status}: a stop order had come before it", key.id));
    }
}
