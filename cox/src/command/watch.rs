//! `cox watch`: stays with a run that somebody else submitted.

use coxswain_shared::control::{self, last_checkpoint};
use coxswain_shared::id::{RunId, Step};

use crate::attach::{Attached, Interrupts, OnInterrupt, attach, conclude};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failed;

const EXAMPLES: &str = "\
Examples:
  cox watch nightly-7
  cox watch nightly-7 --new --json

Ctrl-C leaves; the run goes on. The final state goes to standard output; the exit code says how the run ended.";

/// Watch a run until its end
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The run
    #[arg(value_name = "RUN")]
    run: RunId,
    /// Leave out the steps that are complete already
    #[arg(long)]
    new: bool,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failed> {
        let store = context.store().await?;
        let run = control::find(store.as_ref(), &self.run).await?;
        let from = match last_checkpoint(store.as_ref(), &run).await? {
            Some(last) if self.new => last.checkpoint.step.next(),
            Some(_) | None => Step::new(0),
        };
        let leaves = (OnInterrupt::Leave, Interrupts::listen()?);
        context.output.note(format!("run {} of {}", self.run, run.graph));
        match attach(context, &store, &self.run, from, leaves).await? {
            Attached::Ended(run) => conclude(context, store.as_ref(), &run, None).await,
            Attached::Left => Ok(Exit::Left),
        }
    }
}
