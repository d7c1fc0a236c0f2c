//! `cox state`: prints the values of a run's channels.

use coxswain_shared::control;
use coxswain_shared::id::{RunId, Step};

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failed;

const EXAMPLES: &str = "\
Examples:
  cox state nightly-7
  cox state nightly-7 --step 3 | jq .draft
  diff <(cox state X --step 3) <(cox state X --step 4)

It prints the values as a JSON object; with --json, also of which step they are and who is next.";

/// Print the state of a run, as it is or after an earlier step
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The run
    #[arg(value_name = "RUN")]
    run: RunId,
    /// After this step [default: the last one that is complete]
    #[arg(long, value_name = "STEP")]
    step: Option<u64>,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failed> {
        let store = context.store().await?;
        let state = control::state(store.as_ref(), &self.run, self.step.map(Step::new)).await?;
        if context.output.is_json() {
            context.output.document(&state);
        } else {
            context.output.document(&state.values);
        }
        Ok(Exit::Ok)
    }
}
