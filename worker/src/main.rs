//! The stock worker: runs the built-in node kinds until it is told to stop.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use coxswain_shared::backend::{Backend, BackendConfig};
use coxswain_shared::config::{EXIT_USAGE, Mistakes, Source, Variable, check_unknown, list};
use coxswain_shared::crashpoint;
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::telemetry::{HttpConfig, LogConfig, Metrics, serve, start_logs};
use coxswain_worker::{Config, EXIT_STUCK, Ended, Worker};

/// Runs the tasks of graphs. Any number of workers may run at once; each takes as many tasks as it has slots.
///
/// The first SIGTERM drains it: it takes nothing new, finishes what it can within the grace, and hands back the rest.
/// The second ends it at once. Settings come from the file that `COX_CONFIG` names, then the environment, then these
/// flags. `--settings` lists all.
#[derive(Debug, Parser)]
#[command(name = "cox-worker", version)]
struct Flags {
    /// Where runs are kept, such as `redis://localhost:6379`
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Where tasks are queued, such as `amqp://guest:guest@localhost:5672/%2f`
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// Attempts that it runs at once
    #[arg(long, value_name = "NUMBER")]
    slots: Option<u16>,
    /// Where /metrics, /healthz and /readyz are served
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// Lists every setting with its default and meaning
    #[arg(long)]
    settings: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Flags::parse()).await {
        Ok(Ended::Stuck) => ExitCode::from(EXIT_STUCK),
        Ok(Ended::Drained | Ended::BrokerClosed) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            let is_usage = error.downcast_ref::<Mistakes>().is_some();
            ExitCode::from(if is_usage { EXIT_USAGE } else { 1 })
        }
    }
}

async fn run(flags: Flags) -> anyhow::Result<Ended> {
    let variables: Vec<Variable> = [
        &BackendConfig::variables()[..],
        &LogConfig::VARIABLES,
        &HttpConfig::VARIABLES,
        &Config::VARIABLES,
        &crashpoint::VARIABLES,
    ]
    .concat();
    if flags.settings {
        list(&variables, &mut std::io::stdout())?;
        return Ok(Ended::Drained);
    }
    let source = Source::from_process()?
        .with("COX_STORE", flags.store)
        .with("COX_BROKER", flags.broker)
        .with("COX_SLOTS", flags.slots.map(|slots| slots.to_string()))
        .with("COX_HTTP", flags.http.map(|address| address.to_string()));
    start_logs(&LogConfig::read(&source)?);
    check_unknown(&source, &variables)?;
    crashpoint::arm(&source)?;
    let (config, http) = (Config::read(&source)?, HttpConfig::read(&source)?);

    let (tasks, under, metrics) = (Tasks::new(), Tasks::new(), Metrics::new());
    tasks.listen_to_signals()?;
    let backend = Backend::connect(&BackendConfig::read(&source, "cox-worker")?, &under).await?;
    let broker =
        backend.broker.clone().context("a worker of its own needs COX_BROKER=amqp://…; `cox up` runs without")?;
    let probe = backend.probe(&under);
    let worker = Worker::builder(config).build(Arc::clone(&backend.store), broker, &metrics)?;
    let address = serve(http.address, metrics, worker.health().with("store", probe), &under).await?;
    tracing::info!(%address, worker.id = %worker.id(), version = env!("CARGO_PKG_VERSION"), "the worker runs");
    let ended = worker.run(tasks).await?;
    tracing::info!(?ended, "the worker has ended");
    under.abort();
    under.join(Duration::from_secs(1)).await;
    Ok(ended)
}
