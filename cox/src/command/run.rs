//! `cox run`: submits a run and stays with it. On a store in a file it works on the run itself.

use std::collections::BTreeSet;

use coxswain_shared::backend::Backend;
use coxswain_shared::control;
use coxswain_shared::graph::canonical::pools;
use coxswain_shared::id::{PoolName, RunId, Step};
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::store::Store;
use coxswain_shared::telemetry::Metrics;

use super::submit::{self, NewRun};
use crate::attach::{Attached, OnInterrupt, attach, conclude};
use crate::context::Context;
use crate::embedded::{Embedded, Purpose};
use crate::exit::Exit;
use crate::failure::Failed;
use crate::idle;
use crate::settings::Works;

const EXAMPLES: &str = "\
Examples:
  cox run hello.yaml --input name=Ann
  cox run hello.yaml --input '{\"name\": \"Ann\", \"times\": 3}' --json
  cox run chat.yaml --thread ann --input question='What is a coxswain?'
  cox run review.yaml --interrupt-before publish
  cox --store redis://redis:6379 run digest.yaml     on a fleet

On a store in a file, a scheduler and a worker run in this process until the run has ended, and work on \
whatever else is due in that store too. On Redis the fleet does the work.

Ctrl-C asks the run to stop and shows how it does, once more forces it, a third time leaves it. SIGTERM is \
the same.

The final state goes to standard output, everything else to standard error. The exit code says how the run \
ended: cox exit-codes";

/// Submit a run and watch it until its end
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    run: NewRun,
    /// Do not wait: submit it, print its id, and leave the work to others
    #[arg(long, short)]
    detach: bool,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failed> {
        let submission = self.run.read(context)?;
        if self.detach {
            let store = context.store().await?;
            return submit::submit(context, store.as_ref(), submission).await.map(|_| Exit::Ok);
        }
        let graph = submission.graph.name.clone();
        let pools = pools(&submission.graph);
        work_and_watch(context, async |store| {
            let submitted = control::submit(store, submission).await?;
            context.output.note(format!("run {} of {graph}", submitted.key.id));
            submit::tell(context, &submitted);
            Ok((submitted.key.id, pools))
        })
        .await
    }
}

/// Has a run made or go on, and stays with it; `make` also says which pools it needs. Where the store is a file, this process does
/// the work too.
pub(crate) async fn work_and_watch(
    context: &Context,
    make: impl AsyncFnOnce(&dyn Store) -> Result<(RunId, BTreeSet<PoolName>), Failed>,
) -> Result<Exit, Failed> {
    context.start_logs(Works::Embedded, "error")?;
    let backend = context.backend_to_watch().await?;
    let (id, pools) = make(backend.store.as_ref()).await?;
    if !backend.is_embedded {
        idle::note(context, backend.store.as_ref(), &pools).await?;
        return watch(context, &backend, &id).await;
    }
    let purpose = Purpose { pools, ends_at_once: true };
    let mut embedded = Embedded::start(&context.source, &backend, &Metrics::new(), Tasks::new(), purpose)?;
    let watched = tokio::select! {
        watched = watch(context, &backend, &id) => watched,
        Err(failed) = embedded.ended() => Err(failed),
    };
    embedded.finish().await;
    watched
}

async fn watch(context: &Context, backend: &Backend, run: &RunId) -> Result<Exit, Failed> {
    match attach(context, &backend.store, run, Step::new(0), OnInterrupt::StopTheRun).await? {
        Attached::Ended(run) => conclude(context, backend.store.as_ref(), &run).await,
        Attached::Left => Ok(Exit::Left),
    }
}
