//! `cox state`: prints the values of a run's channels.

use coxswain_shared::checkpoint::Values;
use coxswain_shared::control::{self, SoFar, StateAt};
use coxswain_shared::id::{RunId, Step};

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failed;

const EXAMPLES: &str = "\
Examples:
  cox state nightly-7
  cox state nightly-7 --step 3 | jq .draft
  cox state nightly-7 --so-far               of a run that was stopped in the middle of a step
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
    /// With what the tasks of the step that is not complete have written so far
    #[arg(long, conflicts_with = "step")]
    so_far: bool,
}

impl Args {
    fn shown(&self, state: &StateAt) -> Values {
        let mut values = state.values.clone();
        if let Some(so_far) = state.so_far.as_ref().filter(|_| self.so_far) {
            values.extend(so_far.values.clone());
        }
        values
    }

    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failed> {
        let store = context.store().await?;
        let state = control::state(store.as_ref(), &self.run, self.step.map(Step::new)).await?;
        if context.output.is_json() {
            context.output.document(&state);
        } else {
            context.output.document(&self.shown(&state));
            if let Some(so_far) = state.so_far.filter(|_| !self.so_far) {
                let SoFar { step, succeeded, tasks, .. } = so_far;
                context.output.note(format!(
                    "step {step} is not complete, but {succeeded} of its {tasks} tasks have succeeded: --so-far shows the state with what they wrote"
                ));
            }
        }
        Ok(Exit::Ok)
    }
}
