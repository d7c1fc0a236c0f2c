//! The stock scheduler: reads its settings, connects, and runs until it is told to stop.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use coxswain_scheduler::{Scheduler, SchedulerConfig};
use coxswain_shared::backend::{Backend, BackendConfig};
use coxswain_shared::config::{EXIT_USAGE, Mistakes, Source, Variable, check_unknown};
use coxswain_shared::crashpoint;
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::telemetry::{Health, HttpConfig, LogConfig, Metrics, serve, start_logs};

/// Plans runs and enqueues their tasks. Any number of schedulers may run at once; none is the leader.
///
/// Settings come from the file that `COX_CONFIG` names, then the environment, then these flags. `--settings` lists all.
#[derive(Debug, Parser)]
#[command(name = "cox-scheduler", version)]
struct Flags {
    /// Where runs are kept, such as `redis://localhost:6379`
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Where tasks are queued, such as `amqp://guest:guest@localhost:5672/%2f`
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// Where /metrics, /healthz and /readyz are served
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// Lists every setting with its default and meaning
    #[arg(long)]
    settings: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    match run(flags).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            let usage = error.downcast_ref::<Mistakes>().is_some();
            ExitCode::from(if usage { EXIT_USAGE } else { 1 })
        }
    }
}

async fn run(flags: Flags) -> anyhow::Result<()> {
    let variables: Vec<Variable> = [
        &BackendConfig::variables()[..],
        &LogConfig::VARIABLES,
        &HttpConfig::VARIABLES,
        &SchedulerConfig::VARIABLES,
        &crashpoint::VARIABLES,
    ]
    .concat();
    if flags.settings {
        coxswain_shared::config::list(&variables, &mut std::io::stdout())?;
        return Ok(());
    }
    let source = Source::from_process()?
        .with("COX_STORE", flags.store)
        .with("COX_BROKER", flags.broker)
        .with("COX_HTTP", flags.http.map(|address| address.to_string()));
    start_logs(&LogConfig::read(&source)?);
    check_unknown(&source, &variables)?;
    crashpoint::arm(&source)?;
    let (config, http) = (SchedulerConfig::read(&source)?, HttpConfig::read(&source)?);
    let (tasks, under, metrics) = (Tasks::new(), Tasks::new(), Metrics::new());
    tasks.listen_to_signals()?;
    let backend = Backend::connect(&BackendConfig::read(&source, "cox-scheduler")?, &under).await?;
    let broker =
        backend.broker.clone().context("a scheduler of its own needs COX_BROKER=amqp://…; `cox up` runs without")?;

    let probed = Arc::clone(&broker);
    let ready = move || if probed.is_ready() { Ok(()) } else { Err("not connected, or blocked".to_owned()) };
    let health = Health::default().with("broker", Arc::new(ready)).with("store", backend.probe(&under));
    let address = serve(http.address, metrics.clone(), health, &under).await?;
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "the scheduler runs");
    Scheduler::new(config, backend.store, broker, &metrics).run(tasks).await;
    under.abort();
    under.join(Duration::from_secs(1)).await;
    tracing::info!("the scheduler has drained");
    Ok(())
}
