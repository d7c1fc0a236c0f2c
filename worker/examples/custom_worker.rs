//! A worker of your own, with two handlers. It runs `rust` nodes beside the stock kinds:
//!
//! ```yaml
//! name: digest
//! state: {text: {}, words: {}, digest: {}}
//! nodes:
//!   count: {kind: rust, handler: count_words}
//!   shorten: {kind: rust, handler: shorten, with: {words: 3}, into: digest}
//! edges: [[START, count], [count, shorten], [shorten, END]]
//! ```
//!
//! `COX_STORE=redis://localhost COX_BROKER=amqp://localhost/%2f cargo run -p coxswain-worker --example custom_worker`

use std::process::ExitCode;

use anyhow::Context as _;
use coxswain_shared::backend::{Backend, BackendConfig};
use coxswain_shared::config::Source;
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::telemetry::{LogConfig, Metrics, start_logs};
use coxswain_worker::{Builder, Config, Context, Handler, NodeError, Worker};
use serde::{Deserialize, Serialize};

/// The channels that the handlers read; others are ignored.
#[derive(Debug, Deserialize)]
struct Text {
    text: String,
}

/// What `count_words` writes: a channel a field.
#[derive(Debug, Serialize)]
struct Counted {
    words: usize,
}

/// A handler that has a life of its own, such as a pool of connections; here: a mark.
#[derive(Debug)]
struct Shorten {
    mark: &'static str,
}

/// What the graph tells the handler: the node's `with`.
#[derive(Debug, Deserialize)]
struct Settings {
    words: usize,
}

impl Handler for Shorten {
    type Input = Text;
    type Output = String;

    async fn run(&self, ctx: Context, input: Text) -> Result<String, NodeError> {
        let Settings { words } = ctx.with_as()?;
        let mut shortened = Vec::new();
        for word in input.text.split_whitespace().take(words) {
            ctx.progress(word);
            shortened.push(word);
            // Every await is a place where the work can be stopped.
            tokio::task::yield_now().await;
        }
        if shortened.is_empty() {
            return Err(NodeError::fatal("there is no word to keep"));
        }
        Ok(shortened.join(" ") + self.mark)
    }
}

/// Registers the handlers.
pub(crate) fn handlers(builder: Builder) -> Builder {
    builder
        .handler("count_words", |_ctx: Context, input: Text| async move {
            Ok::<_, NodeError>(Counted { words: input.text.split_whitespace().count() })
        })
        .node("shorten", Shorten { mark: " …" })
}

fn main() -> ExitCode {
    if let Some(code) = coxswain_worker::begin() {
        return code;
    }
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn work() -> anyhow::Result<()> {
    let source = Source::from_process();
    start_logs(&LogConfig::read(&source)?);
    // What the adapters need outlives the worker, so that it can still say how it ended.
    let (tasks, under) = (Tasks::new(), Tasks::new());
    tasks.listen_to_signals()?;
    let backend = Backend::connect(&BackendConfig::read(&source, "custom-worker")?, &under).await?;
    let broker = backend.broker.context("set COX_BROKER=amqp://…")?;
    let worker = handlers(Worker::builder(Config::read(&source)?)).build(backend.store, broker, &Metrics::new())?;
    worker.run(tasks).await?;
    Ok(())
}
