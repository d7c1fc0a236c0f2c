//! The stock worker: runs the built-in node kinds until it is told to stop.

mod settings;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use coxswain_shared::backend::{self, Backend};
use coxswain_shared::config::{EXIT_USAGE, Mistakes, Source, list, tell_unknown};
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::telemetry::{LogConfig, Metrics, report_fatal, report_mistakes, report_usage, serve, start_logs};
use coxswain_worker::{EXIT_STUCK, Ended, Worker};

use crate::settings::Settings;

/// Runs the tasks of graphs: nodes of all built-in kinds, or of those that `COX_KINDS` names. Any number of workers may
/// run at once; each takes as many tasks as it has slots. `rust` nodes need a worker of your own, built with the SDK.
///
/// Settings come from the file that `COX_CONFIG` names, then the environment, then these flags. `--settings` lists all.
///
/// The first SIGTERM or SIGINT drains it: it takes nothing new, and what does not end within `COX_DRAIN_GRACE` is
/// handed back, and was no try. The second hands back at once.
///
/// Exit codes: 0 drained; 64 mistaken settings; 70 too many slots are stuck in handlers that block, so restart it; 1 else.
#[derive(Debug, Parser)]
#[command(name = "cox-worker", version)]
struct Flags {
    /// Where runs are kept, such as `redis://localhost:6379`
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Where tasks are queued, such as `amqp://guest:guest@localhost:5672/%2f`
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// The pools that it serves, separated by commas
    #[arg(long, value_name = "NAMES")]
    pools: Option<String>,
    /// Attempts that it runs at once
    #[arg(long, value_name = "NUMBER")]
    slots: Option<String>,
    /// Where /metrics, /healthz and /readyz are served
    #[arg(long, value_name = "ADDRESS")]
    http: Option<String>,
    /// Lists every setting with its default and meaning
    #[arg(long)]
    settings: bool,
}

fn main() -> ExitCode {
    coxswain_worker::begin().unwrap_or_else(work)
}

#[tokio::main]
async fn work() -> ExitCode {
    let flags = match Flags::try_parse() {
        Ok(flags) => flags,
        Err(error) => {
            if error.use_stderr() {
                report_usage(&error.render().to_string());
                return ExitCode::from(EXIT_USAGE);
            }
            // Help and version are no errors. There is nobody to tell if the output is gone.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
    };
    match run(flags).await {
        Ok(Ended::Drained) => ExitCode::SUCCESS,
        Ok(Ended::Stuck) => ExitCode::from(EXIT_STUCK),
        Ok(Ended::BrokerClosed) => ExitCode::FAILURE,
        Err(error) => {
            if error.downcast_ref::<backend::Error>().is_some_and(backend::Error::is_mistake) {
                report_fatal(&format!("{error:#}"));
                return ExitCode::from(EXIT_USAGE);
            }
            let Some(mistakes) = error.downcast_ref::<Mistakes>() else {
                report_fatal(&format!("{error:#}"));
                return ExitCode::FAILURE;
            };
            report_mistakes(mistakes);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

async fn run(flags: Flags) -> anyhow::Result<Ended> {
    if flags.settings {
        list(&Settings::variables(), &mut std::io::stdout())?;
        return Ok(Ended::Drained);
    }
    let source = Source::from_process()
        .with_flag("COX_STORE", flags.store)
        .with_flag("COX_BROKER", flags.broker)
        .with_flag("COX_POOLS", flags.pools)
        .with_flag("COX_SLOTS", flags.slots)
        .with_flag("COX_HTTP", flags.http);
    start_logs(&LogConfig::read(&source).unwrap_or_default());
    let settings = Settings::read(&source)?;
    tell_unknown(&source, &[]);

    let (tasks, under, metrics) = (Tasks::new(), Tasks::new(), Metrics::new());
    tasks.listen_to_signals()?;
    let backend = Backend::connect(&settings.backend, &under).await?;
    let broker = backend.broker.context("the settings were read with a broker")?;
    let worker = Worker::builder(settings.worker).build(backend.store, broker, &metrics)?;
    let address = serve(settings.http.address, metrics, worker.health(), &under).await?;
    tracing::info!(%address, worker.id = %worker.id(), version = env!("CARGO_PKG_VERSION"), "the worker runs");
    let ended = worker.run(tasks).await?;
    tracing::info!(?ended, "the worker has ended");
    under.abort();
    under.join(Duration::from_secs(1)).await;
    Ok(ended)
}
