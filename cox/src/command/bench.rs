//! `cox bench`: measures steps per second, the latency of a run, and the latency of a stop, on the backend that is set.
//!
//! It prints what it measured, and judges nothing. What the figures mean, and the targets, are in `docs/performance.md`.

mod board;
mod broker;
mod bulk;
mod fleet;
mod loops;
mod raw;
mod report;
mod scratch;
mod spread;
mod stops;
mod store;

use std::time::Duration;

use clap::ValueEnum;
use coxswain_shared::duration;
use tokio::signal::unix::{SignalKind, signal};

use self::fleet::Fleet;
use self::report::{Raw, Report};
use self::scratch::Scratch;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failed;
use crate::settings::Works;

const EXAMPLES: &str = "\
Examples:
  cox bench                    all of it, on a store in a temporary file
  cox bench steps --runs 500 --steps 100
  cox bench stop --samples 1000 --json
  cox bench bulk --queued 100000 --slots 1000
  cox --store redis://redis --broker amqp://rabbit bench     on a fleet's servers, with tasks in a queue of its own

A scheduler and a worker run in this process. What it makes is stopped in the end, also after Ctrl-C; on Redis it \
expires after a minute, and the empty queues of the pools `bench` and `bench_raw` stay in the broker. Not for servers that others need: \
it takes all that it gets. COX_WORK_THREADS and the other settings of the scheduler and the worker hold.";

/// How long ended runs of the bench are kept, unless the settings say otherwise.
const RETENTION: &str = "1m";
/// The most messages that the broker is measured with.
const RAW_MESSAGES_MAX: u32 = 100_000;
/// The longest that a bench may be allowed to take.
const WITHIN_MAX: Duration = Duration::from_hours(1);

/// Measure steps per second, the latency of a run, and the latency of a stop
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What to measure: steps, latency, stop, bulk (stopping many runs), broker (what RabbitMQ carries by itself), or all but bulk
    #[arg(value_enum, default_value = "all", hide_possible_values = true)]
    what: What,
    /// Loop runs that are in flight at once, for `steps`: 1 to 10000
    #[arg(long, value_name = "N", default_value = "200", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: u32,
    /// Steps of each of them: 1 to 10000
    #[arg(long, value_name = "M", default_value = "100", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    steps: u32,
    /// Runs and stops to be timed one at a time, for `latency` and `stop`: 1 to 10000
    #[arg(long, value_name = "K", default_value = "300", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    samples: u32,
    /// Runs that wait on the queue while they are stopped, for `bulk`, beside one in each slot: 1 to 1000000
    #[arg(long, value_name = "Q", default_value = "10000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    queued: u32,
    /// Attempts that the worker runs at once: 1 to 1000
    #[arg(long, value_name = "S", default_value = "64", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    slots: u16,
    /// The longest that it may take, up to 1h
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration::parse)]
    within: Duration,
}

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Steps,
    Latency,
    Stop,
    Bulk,
    Broker,
    All,
}

/// How measuring came to its end.
enum Event {
    Measured(Result<(), Failed>),
    Interrupted,
    TooLong,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failed> {
        if self.within > WITHIN_MAX {
            return Err(Failed::usage("--within: more than an hour", "measure less at a time"));
        }
        context.start_logs(Works::Here, "error")?;
        let deaf = |error| Failed::bare(Exit::Internal, format!("signals cannot be received: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(deaf)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(deaf)?;
        // Goes last: the store's file is in it.
        let scratch = Scratch::make()?;
        let defaults = [("COX_STORE", scratch.store()), ("COX_RETENTION", RETENTION.to_owned())];
        let source = defaults.into_iter().fold(context.source.clone(), |source, (name, value)| {
            let absent = source.get(name).is_none();
            source.with(name, absent.then_some(value))
        });
        let (fleet, mut working) = Fleet::start(&source, self.slots).await?;
        let mut report = Report::new(fleet.place().to_owned(), fleet.queue().to_owned(), self.slots);
        let event = tokio::select! {
            measured = self.measure(context, &fleet, &mut report) => Event::Measured(measured),
            failed = working.ended() => Event::Measured(Err(failed)),
            _ = interrupt.recv() => Event::Interrupted,
            _ = terminate.recv() => Event::Interrupted,
            () = tokio::time::sleep(self.within) => Event::TooLong,
        };
        context.output.note("ending: what is left is stopped");
        let is_clean = fleet.finish().await;
        if !is_clean {
            context.output.note("not all runs of the bench have stopped in time; they are under a stop order");
        }
        conclude(context, event, &report, self.within)
    }

    async fn measure(&self, context: &Context, fleet: &Fleet, report: &mut Report) -> Result<(), Failed> {
        context.output.note(format!("measuring on {}, {} slots", fleet.place(), self.slots));
        loops::warm_up(fleet).await?;
        if matches!(self.what, What::Broker | What::All) {
            report.broker = self.raw(fleet).await?;
        }
        if matches!(self.what, What::Latency | What::All) {
            report.latency = Some(loops::latency(fleet, self.samples).await?);
        }
        if matches!(self.what, What::Stop | What::All) {
            report.stop_idle = Some(stops::idle(fleet, self.samples).await?);
        }
        if matches!(self.what, What::Steps | What::All) {
            report.steps = Some(loops::steps(fleet, self.runs, self.steps).await?);
        }
        if matches!(self.what, What::Stop | What::All) {
            report.stop_loaded = Some(stops::loaded(fleet, self.samples, self.slots).await?);
        }
        if matches!(self.what, What::Bulk) {
            report.bulk = Some(bulk::stop(fleet, self.queued, self.slots).await?);
        }
        Ok(())
    }
}

impl Args {
    /// The messages of `steps`, without the steps.
    async fn raw(&self, fleet: &Fleet) -> Result<Option<Raw>, Failed> {
        match fleet.remote_broker() {
            Some(broker) => {
                let messages = self.runs.saturating_mul(self.steps).min(RAW_MESSAGES_MAX);
                raw::measure(broker, messages, self.slots).await.map(Some)
            }
            None if matches!(self.what, What::Broker) => Err(Failed::usage(
                "there is no broker to measure: tasks are queued in the process",
                "name one: --store redis://HOST --broker amqp://HOST",
            )),
            None => Ok(None),
        }
    }
}

/// Shows what was measured until then, however it ended.
fn conclude(context: &Context, event: Event, report: &Report, within: Duration) -> Result<Exit, Failed> {
    if !report.is_empty() {
        context.output.result(report, || report.text());
    }
    match event {
        Event::Measured(measured) => measured.map(|()| Exit::Ok),
        Event::Interrupted => Ok(Exit::RunCancelled),
        Event::TooLong => Err(Failed {
            remedy: Some("measure less (--runs, --steps, --samples), or allow more time".to_owned()),
            ..Failed::bare(Exit::RunTimedOut, format!("it took longer than --within {}", duration::show(within)))
        }),
    }
}

#[cfg(test)]
mod tests;
