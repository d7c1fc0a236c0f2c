//! `cox history`: shows each checkpoint of a run with its step, what ran, what it wrote and who is next.

use std::collections::BTreeSet;

use coxswain_shared::checkpoint::{Due, Ran, Source, StoredCheckpoint};
use coxswain_shared::control;
use coxswain_shared::id::{NodeName, RunId, Step};
use coxswain_shared::store::Run;
use coxswain_shared::time::in_text;
use serde_json::json;

use crate::attach::fan_outs_of;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failed;
use crate::measure::{brief, cut};
use crate::output::{draw, table};
use crate::view::{names, place, tries};

const EXAMPLES: &str = "\
Examples:
  cox history nightly-7
  cox history nightly-7 --from 40 --limit 20
  cox history nightly-7 --json | jq '.checkpoints[].ran[] | select(.outcome == \"failed\")'

The values that a step wrote: cox state RUN --step STEP";

/// Show what a run did, checkpoint by checkpoint
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The run
    #[arg(value_name = "RUN")]
    run: RunId,
    /// Begin at this step
    #[arg(long, value_name = "STEP", default_value_t = 0)]
    from: u64,
    /// How many checkpoints, from 1 to 100000
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failed> {
        let store = context.store().await?;
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let (run, checkpoints) = control::history(store.as_ref(), &self.run, Step::new(self.from), limit).await?;
        let fan_outs = fan_outs_of(store.as_ref(), &self.run).await;
        let document = in_text(|| json!({"run": run, "checkpoints": checkpoints}));
        context.output.result(&document, || text(&run, &checkpoints, &fan_outs));
        if checkpoints.len() >= limit {
            let next = checkpoints.last().map_or(self.from, |last| last.checkpoint.step.next().get());
            context.output.note(format!("there may be more: --from {next}"));
        }
        Ok(Exit::Ok)
    }
}

fn text(run: &Run, checkpoints: &[StoredCheckpoint], fan_outs: &BTreeSet<NodeName>) -> String {
    let mut table = table(&["step", "after", "ran", "outcome", "tries", "took", "wrote", "next"]);
    for stored in checkpoints {
        let checkpoint = &stored.checkpoint;
        let mut what = checkpoint.ran.iter().map(|ran| row(ran, fan_outs)).collect::<Vec<_>>();
        if what.is_empty() {
            what.push([source(&checkpoint.source), String::new(), String::new(), String::new(), written(stored)]);
        }
        for (index, [ran, outcome, tried, took, wrote]) in what.into_iter().enumerate() {
            let is_first = index == 0;
            let once = |text: String| if is_first { text } else { String::new() };
            let step = once(checkpoint.step.to_string());
            let after = once(brief(stored.at.since(run.created_at)));
            table.add_row([step, after, ran, outcome, tried, took, wrote, once(next(&checkpoint.next))]);
        }
    }
    draw(&table)
}

fn row(ran: &Ran, fan_outs: &BTreeSet<NodeName>) -> [String; 5] {
    let failure = ran.failure.as_ref().map(|failure| format!(": {}", cut(&failure.message, 60))).unwrap_or_default();
    let handled = ran.handled.as_ref().map(|handled| format!(" ({handled})")).unwrap_or_default();
    [
        place(&ran.task, fan_outs),
        format!("{}{failure}{handled}", ran.outcome.name()),
        tries(ran.attempts, (ran.crashes, ran.crashes_uncounted)),
        ran.took().map(brief).unwrap_or_default(),
        names(&ran.wrote),
    ]
}

fn source(source: &Source) -> String {
    match source {
        Source::Input => "(input)".to_owned(),
        Source::Resumed { run, step } => format!("(from step {step} of {run})"),
        Source::Step => "(nothing)".to_owned(),
    }
}

/// The channels that have their value from this checkpoint.
fn written(stored: &StoredCheckpoint) -> String {
    let checkpoint = &stored.checkpoint;
    let channels = checkpoint.versions.iter().filter(|(_, version)| **version == checkpoint.step);
    names(&channels.map(|(channel, _)| channel).collect::<Vec<_>>())
}

fn next(due: &[Due]) -> String {
    if due.is_empty() {
        return "END".to_owned();
    }
    let each =
        due.iter().map(|due| if due.for_each.is_empty() { due.node.to_string() } else { format!("{}[]", due.node) });
    each.collect::<Vec<_>>().join(", ")
}
