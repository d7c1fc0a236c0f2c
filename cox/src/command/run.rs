//! `cox run`: submits a run and stays with it. On a store in a file it works on the run itself.

use std::collections::BTreeSet;

use coxswain_shared::backend::Backend;
use coxswain_shared::control;
use coxswain_shared::graph::canonical::pools;
use coxswain_shared::id::{ChannelName, PoolName, RunId, Step};
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::store::Store;
use coxswain_shared::telemetry::Metrics;

use super::submit::{self, NewRun};
use crate::attach::{Attached, Interrupts, OnInterrupt, attach, conclude};
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
  cox run hello.yaml --output greeting     print that channel alone
  cox --store redis://redis:6379 run digest.yaml     on a fleet

On a store in a file, a scheduler and a worker run in this process until the run has ended, and work on \
whatever else is due in that store too. On Redis the fleet does the work.

Ctrl-C asks the run to stop and shows how it does, once more forces it, a third time leaves it. SIGTERM is \
the same.

The final state, or the value of --output, goes to standard output, everything else to standard error. The exit code says how the run \
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
    /// Print only the final value of this channel: a text as it is, anything else as JSON
    #[arg(long, value_name = "CHANNEL", conflicts_with = "detach")]
    output: Option<ChannelName>,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failed> {
        let submission = self.run.read(context)?;
        if let Some(channel) = &self.output {
            control::check_channel(&submission.graph, channel)?;
        }
        if self.detach {
            let store = context.store().await?;
            return submit::submit(context, store.as_ref(), submission).await.map(|_| Exit::Ok);
        }
        let graph = submission.graph.name.clone();
        let pools = pools(&submission.graph);
        work_and_watch(context, self.output.as_ref(), async |store| {
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
    output: Option<&ChannelName>,
    make: impl AsyncFnOnce(&dyn Store) -> Result<(RunId, BTreeSet<PoolName>), Failed>,
) -> Result<Exit, Failed> {
    context.start_logs(Works::Embedded, "error")?;
    let backend = context.backend_to_watch().await?;
    let (id, pools) = make(backend.store.as_ref()).await?;
    // Before anything more is said: who reads that the run is there may stop it by a signal.
    let interrupts = Interrupts::listen()?;
    if !backend.is_embedded {
        idle::note(context, backend.store.as_ref(), &pools).await?;
        return watch(context, &backend, &id, (output, interrupts)).await;
    }
    let purpose = Purpose { pools, ends_at_once: true };
    let mut embedded = Embedded::start(&context.source, &backend, &Metrics::new(), Tasks::new(), purpose)?;
    let watched = tokio::select! {
        watched = watch(context, &backend, &id, (output, interrupts)) => watched,
        Err(failed) = embedded.ended() => Err(failed),
    };
    match &watched {
        Err(failed) if failed.exit == Exit::Unavailable => embedded.abandon().await,
        Ok(_) | Err(_) => embedded.finish().await,
    }
    watched
}

async fn watch(
    context: &Context,
    backend: &Backend,
    run: &RunId,
    (output, interrupts): (Option<&ChannelName>, Interrupts),
) -> Result<Exit, Failed> {
    match attach(context, &backend.store, run, Step::new(0), (OnInterrupt::StopTheRun, interrupts)).await? {
        Attached::Ended(run) => conclude(context, backend.store.as_ref(), &run, output).await,
        Attached::Left => Ok(Exit::Left),
    }
}
