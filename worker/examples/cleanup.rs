//! A handler that leaves nothing behind: what it holds elsewhere is let go by a cleanup hook, whatever ends it, and what
//! it has made so far is kept as partial output.
//!
//! `COX_STORE=redis://localhost COX_BROKER=amqp://localhost/%2f cargo run -p coxswain-worker --example cleanup`

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use coxswain_shared::backend::{Backend, BackendConfig};
use coxswain_shared::config::Source;
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::telemetry::{LogConfig, Metrics, start_logs};
use coxswain_worker::{Builder, Config, Context, Handler, NodeError, Worker};
use serde_json::{Value, json};

/// A machine elsewhere that is rented by name; it stands for anything that costs while it is held.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rentals(pub(crate) Arc<Mutex<BTreeSet<String>>>);

impl Rentals {
    /// Rents one. The same key rents it only once, so another attempt at the task takes up the one that is there.
    fn rent(&self, key: &str) {
        self.0.lock().expect("nothing panics while it holds the rentals").insert(key.to_owned());
    }

    /// Gives one back.
    fn give_back(&self, key: &str) {
        self.0.lock().expect("nothing panics while it holds the rentals").remove(key);
    }
}

/// Renders frames on a rented machine.
#[derive(Debug)]
struct Render {
    /// Where machines are rented.
    rentals: Rentals,
}

impl Handler for Render {
    type Input = Value;
    type Output = Value;

    async fn run(&self, ctx: Context, _input: Value) -> Result<Value, NodeError> {
        let key = ctx.idempotency_key();
        self.rentals.rent(&key);
        let (rentals, held) = (self.rentals.clone(), key.clone());
        // Registered before anything can fail. It runs after a stop, a timeout, an error or a panic, within the grace.
        ctx.on_cleanup(move || async move { rentals.give_back(&held) });

        let frames = 1_000;
        for frame in 1..=frames {
            tokio::time::sleep(Duration::from_millis(20)).await;
            ctx.progress(json!({"frame": frame, "of": frames}));
            ctx.partial(json!({"frames": frame}));
        }
        // It succeeded: no hook runs.
        self.rentals.give_back(&key);
        Ok(json!({"frames": frames}))
    }
}

/// Registers the handler.
pub(crate) fn handlers(builder: Builder, rentals: Rentals) -> Builder {
    builder.node("render", Render { rentals })
}

fn main() -> anyhow::Result<ExitCode> {
    if let Some(code) = coxswain_worker::begin() {
        return Ok(code);
    }
    work().map(|()| ExitCode::SUCCESS)
}

#[tokio::main]
async fn work() -> anyhow::Result<()> {
    let source = Source::from_process();
    start_logs(&LogConfig::read(&source)?);
    let (tasks, under) = (Tasks::new(), Tasks::new());
    tasks.listen_to_signals()?;
    let backend = Backend::connect(&BackendConfig::read(&source, "cleanup-worker")?, &under).await?;
    let broker = backend.broker.context("set COX_BROKER=amqp://…")?;
    let builder = handlers(Worker::builder(Config::read(&source)?), Rentals::default());
    builder.build(backend.store, broker, &Metrics::new())?.run(tasks).await?;
    Ok(())
}
