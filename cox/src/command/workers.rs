//! `cox workers`: lists the workers that were seen within the last minute.

use coxswain_shared::store::WorkerRecord;
use coxswain_shared::time::Timestamp;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failed;
use crate::measure::brief;
use crate::output::{draw, table};
use crate::view::names;

const EXAMPLES: &str = "\
Examples:
  cox workers
  cox workers --json | jq 'map(.slots - .busy) | add'";

/// List the workers
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failed> {
        let store = context.store().await?;
        let (workers, now) = (store.workers().await?, store.now().await?);
        context.output.result(&workers, || text(&workers, now));
        if workers.is_empty() {
            context.output.note("no worker was seen within the last minute");
        }
        Ok(Exit::Ok)
    }
}

fn text(workers: &[WorkerRecord], now: Timestamp) -> String {
    let mut table = table(&["worker", "pools", "busy", "stuck", "state", "up", "seen", "version"]);
    for worker in workers {
        table.add_row([
            worker.id.to_string(),
            names(&worker.pools),
            format!("{}/{}", worker.busy, worker.slots),
            worker.stuck.to_string(),
            if worker.draining { "draining" } else { "taking work" }.to_owned(),
            brief(now.since(worker.started_at)),
            format!("{} ago", brief(now.since(worker.seen_at))),
            worker.version.clone(),
        ]);
    }
    draw(&table)
}
