//! `cox up`: a scheduler and a worker in this process, until they are told to end.

use std::net::SocketAddr;

use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::telemetry::{Metrics, serve};

use crate::context::Context;
use crate::embedded::{Embedded, Purpose};
use crate::exit::Exit;
use crate::failure::Failed;
use crate::settings::Works;
use crate::trouble::Troubles;

const EXAMPLES: &str = "\
Examples:
  cox up     work on what others submit to .cox/cox.db
  cox up --http 127.0.0.1:9464     with /metrics, /healthz and /readyz
  cox --store sqlite:/var/lib/cox.db up
  cox --store redis://redis --broker amqp://rabbit up     a fleet of one

SIGTERM or Ctrl-C lets it finish or hand back what it has in hand; once more ends it at once. Its settings \
are those of the scheduler and the worker: COX_SLOTS and so on.";

/// Run a scheduler and a worker in this process until they are told to end
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Serve metrics, health and readiness here
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failed> {
        context.start_logs(Works::Here, "info")?;
        let backend = context.backend().await?;
        let (tasks, pages) = (Tasks::new(), Tasks::new());
        let deaf = |error| Failed::bare(Exit::Internal, format!("signals cannot be received: {error}"));
        tasks.listen_to_signals().map_err(deaf)?;
        let metrics = Metrics::new();
        let purpose = Purpose::default();
        let mut embedded = Embedded::start(&context.source, &backend, &metrics, tasks.clone(), purpose)?;
        if let Some(address) = self.http {
            let health = embedded.health.clone();
            let bound = serve(address, metrics, health, &pages).await.map_err(|error| {
                Failed::usage(format!("--http {address}: {error}"), "name an address of this machine that is free")
            })?;
            context.output.note(format!("metrics at http://{bound}/metrics"));
        }
        context.output.note(format!("working on {}; SIGTERM or Ctrl-C ends it", backend.place));
        let troubles = Troubles::watch(&context.output, &backend.store);
        let ended = embedded.ended().await;
        context.output.note("ending: what is in hand is finished or handed back");
        embedded.finish().await;
        pages.abort();
        ended?;
        troubles.failed().map_or(Ok(Exit::Ok), Err)
    }
}
