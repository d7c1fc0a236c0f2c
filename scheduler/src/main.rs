//! The stock scheduler: reads its settings, connects, and runs until it is told to stop.

mod settings;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use coxswain_scheduler::Scheduler;
use coxswain_shared::backend::{self, Backend};
use coxswain_shared::config::{EXIT_USAGE, Mistakes, Source, list, tell_unknown};
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::telemetry::{
    Health, LogConfig, Metrics, report_fatal, report_mistakes, report_usage, serve, start_logs,
};

use crate::settings::Settings;

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
    http: Option<String>,
    /// Lists every setting with its default and meaning
    #[arg(long)]
    settings: bool,
}

fn main() -> ExitCode {
    if let Some(served) = coxswain_shared::sandbox::serve_if_asked() {
        return served;
    }
    coxswain_shared::process::harden();
    schedule()
}

#[tokio::main]
async fn schedule() -> ExitCode {
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
        Ok(()) => ExitCode::SUCCESS,
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

async fn run(flags: Flags) -> anyhow::Result<()> {
    if flags.settings {
        list(&Settings::variables(), &mut std::io::stdout())?;
        return Ok(());
    }
    let source = Source::from_process()
        .with_flag("COX_STORE", flags.store)
        .with_flag("COX_BROKER", flags.broker)
        .with_flag("COX_HTTP", flags.http);
    start_logs(&LogConfig::read(&source).unwrap_or_default());
    let settings = Settings::read(&source)?;
    tell_unknown(&source, &[]);
    let (tasks, under, metrics) = (Tasks::new(), Tasks::new(), Metrics::new());
    tasks.listen_to_signals()?;
    let backend = Backend::connect(&settings.backend, &under).await?;
    let broker = backend.broker.clone().context("the settings were read with a broker")?;

    let probed = Arc::clone(&broker);
    let ready = move || probed.complaint().map_or(Ok(()), |complaint| Err(complaint.why));
    let health = Health::default().with("broker", Arc::new(ready)).with("store", backend.probe(&under));
    let address = serve(settings.http.address, metrics.clone(), health, &under).await?;
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "the scheduler runs");
    Scheduler::new(settings.scheduler, backend.store, broker, &metrics).run(tasks).await;
    under.abort();
    under.join(Duration::from_secs(1)).await;
    tracing::info!("the scheduler has drained");
    Ok(())
}
