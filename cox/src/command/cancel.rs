//! `cox cancel`: orders runs to stop, straight at the store.

use std::time::Duration;

use coxswain_shared::control::cancel::{self, CONCURRENCY, Orders, Progress, Summary};
use coxswain_shared::control::scope::{self, Halted};
use coxswain_shared::control::{self, find};
use coxswain_shared::duration;
use coxswain_shared::id::{NodeName, RunId};
use coxswain_shared::stop::{Cause, NewOrder, StopReport};
use coxswain_shared::store::{Run, RunFilter, StopAnswer, StopTasks, Store};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use super::list::{self, Filter};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failed;
use crate::measure::brief;
use crate::trouble::Troubles;
use crate::view::closing;

/// Up to so many runs, each is told by itself; beyond it only their number is.
const TOLD_MAX: usize = 20;

const EXAMPLES: &str = "\
Examples:
  cox cancel nightly-7 --reason 'wrong input'
  cox cancel nightly-7 --wait     return when it has stopped, and say whether that is confirmed
  cox cancel nightly-7 --force     without time to clean up; may follow a graceful order
  cox cancel nightly-7 --node fetch --item 3,8 --skip     these items alone; the run goes on without them
  cox cancel --graph digest --older-than 1h --dry-run
  cox cancel --label team=search --status queued
  cox cancel --all --wait=2m --reason incident-42

The order is written straight to the store: it works with every scheduler down and every worker busy. An \
order for a run that does not exist yet is kept for a day, and stops it when it is made.

Conditions mean runs in flight, unless --status says otherwise. Child runs stop with the run above them.";

/// Stop runs: one, several, or all that match
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The runs
    #[arg(value_name = "RUN", conflicts_with_all = ["status", "thread", "graph", "label", "older_than", "all"])]
    runs: Vec<RunId>,
    #[command(flatten)]
    only: Only,
    #[command(flatten)]
    filter: Filter,
    /// All runs in flight
    #[arg(long, conflicts_with_all = ["status", "thread", "graph", "label", "older_than"])]
    all: bool,
    /// Why, for the report and the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Who orders it (`user@host` where absent)
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// How long cleaning up may take, up to 5m [default: each node's own]
    #[arg(long, value_name = "TIME", value_parser = duration::parse, conflicts_with = "force")]
    grace: Option<Duration>,
    /// Without time to clean up; may follow a graceful order
    #[arg(long)]
    force: bool,
    /// Wait until they have stopped, at most so long [default without a time: 60s]
    #[arg(long, value_name = "TIME", value_parser = duration::parse, num_args = 0..=1, require_equals = true, default_missing_value = "60s")]
    wait: Option<Duration>,
    /// Show which runs are meant, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Which tasks of a run are meant, if not the whole of it.
#[derive(Debug, clap::Args)]
struct Only {
    /// Only tasks of this node, in the step that one run is at; the rest of the run goes on
    #[arg(long, value_name = "NODE", requires = "runs", conflicts_with = "dry_run")]
    node: Option<NodeName>,
    /// Only these items of the node's fan-out, by number from 0; several with commas
    #[arg(long, value_name = "N", value_delimiter = ',', requires = "node")]
    item: Vec<u32>,
    /// The run goes on as if these tasks had written nothing [default: they count as failed, and the node's `on_failure` holds]
    #[arg(long, requires = "node")]
    skip: bool,
}

/// What a single run answered.
#[derive(Debug, Serialize)]
struct Told {
    run: RunId,
    answer: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed: Option<bool>,
    #[serde(skip)]
    text: String,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failed> {
        if self.runs.is_empty() && self.filter.is_empty() && !self.all {
            return Err(control::Error::NoFilter.into());
        }
        if let Some(node) = self.only.node.clone() {
            return self.tasks(context, node).await;
        }
        let store = context.store().await?;
        let orders = Orders {
            order: NewOrder {
                cause: Cause::Cancelled,
                reason: self.reason,
                actor: Context::actor(self.actor),
                grace: self.grace,
                force: self.force,
            },
            concurrency: CONCURRENCY,
            wait: self.wait,
        };
        let meant = if self.runs.is_empty() {
            Meant::Matching(self.filter.resolve(store.as_ref()).await?)
        } else {
            Meant::Named(self.runs)
        };
        if self.dry_run {
            return dry_run(context, store.as_ref(), meant).await;
        }
        let _troubles = orders.wait.map(|_| Troubles::watch(&context.output, &store));
        let (told, summary) = order(context, store.as_ref(), meant, &orders).await?;
        show(context, &told, &summary);
        let is_late = orders.wait.is_some() && summary.stopping > 0;
        Ok(if is_late { Exit::StillStopping } else { Exit::Ok })
    }
}

impl Args {
    /// Stops tasks of one run.
    async fn tasks(self, context: &Context, node: NodeName) -> Result<Exit, Failed> {
        let [run] = <[RunId; 1]>::try_from(self.runs).map_err(|_| control::Error::OneRun)?;
        let order = NewOrder {
            cause: Cause::Cancelled,
            reason: self.reason,
            actor: Context::actor(self.actor),
            grace: self.grace,
            force: self.force,
        };
        let stop = StopTasks { run, node, items: self.only.item, skip: self.only.skip, order };
        let store = context.store().await?;
        let _troubles = self.wait.map(|_| Troubles::watch(&context.output, &store));
        let halted = scope::tasks(store.as_ref(), &stop, self.wait).await?;
        let document = serde_json::json!({"run": stop.run, "node": stop.node, "tasks": halted});
        context.output.result(&document, || tell_tasks(&stop, &halted));
        Ok(if self.wait.is_some() && halted.is_open() { Exit::StillStopping } else { Exit::Ok })
    }
}

fn tell_tasks(stop: &StopTasks, halted: &Halted) -> String {
    let open = (halted.stopping + halted.already).saturating_sub(halted.stopped);
    let counts = [
        (halted.settled, "stopped before a worker had them"),
        (halted.stopped, "stopped at work"),
        (halted.confirmed, "of these confirmed"),
        (open, "stopping"),
    ];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let counts = counts.collect::<Vec<_>>().join(", ");
    format!("{}  tasks of {}: {counts} in {}", stop.run, stop.node, brief(halted.took))
}

/// Which runs are meant.
enum Meant {
    Named(Vec<RunId>),
    Matching(RunFilter),
}

async fn order(
    context: &Context,
    store: &dyn Store,
    meant: Meant,
    orders: &Orders,
) -> Result<(Vec<Told>, Summary), Failed> {
    let mut told = Vec::new();
    let on_progress = |progress: Progress<'_>, summary: &Summary| {
        note(&mut told, &progress);
        if summary.asked.is_multiple_of(100) || summary.stopped.is_multiple_of(100) {
            context.output.live(&format!(
                "{} asked, {} stopped, {}",
                summary.asked,
                summary.stopped,
                brief(summary.took)
            ));
        }
    };
    let summary = match meant {
        Meant::Named(runs) => cancel::many(store, stream::iter(runs.into_iter().map(Ok)), orders, on_progress).await,
        Meant::Matching(filter) => {
            let runs = cancel::select(store, filter).map_ok(|run| run.key.id);
            cancel::many(store, runs, orders, on_progress).await
        }
    };
    context.output.live("");
    Ok((told, summary?))
}

/// Keeps what is told of single runs.
fn note(told: &mut Vec<Told>, progress: &Progress<'_>) {
    match progress {
        Progress::Asked(run, answer) if told.len() <= TOLD_MAX => told.push(tell(run, answer)),
        Progress::Asked(..) => {}
        Progress::Stopped(run, report) => {
            if let Some(one) = told.iter_mut().find(|one| one.run == **run) {
                one.confirmed = Some(report.is_confirmed());
                one.text = closing(report).unwrap_or_default();
            }
        }
    }
}

fn tell(run: &RunId, answer: &StopAnswer) -> Told {
    let stopping = "is stopping".to_owned();
    let (word, text) = match answer {
        StopAnswer::Accepted(report) => ("accepted", closing(report).unwrap_or(stopping)),
        StopAnswer::Already { report, forced } => {
            let by = &report.order.order.actor;
            let force = if *forced { "; now by force" } else { "" };
            let state = closing(report).unwrap_or(stopping);
            ("already", format!("was ordered to stop by {by} before; {state}{force}"))
        }
        StopAnswer::Finished(status) => ("finished", format!("had ended already: {status}")),
        StopAnswer::Early => ("early", "does not exist yet; the order waits for it, for a day".to_owned()),
    };
    let closed = cancel::report_of(answer).filter(|report| report.closed_at.is_some());
    Told { run: run.clone(), answer: word, confirmed: closed.map(StopReport::is_confirmed), text }
}

fn show(context: &Context, told: &[Told], summary: &Summary) {
    let single = if told.len() <= TOLD_MAX { told } else { &[] };
    let document = serde_json::json!({"runs": single, "summary": summary});
    context.output.result(&document, || {
        let mut lines: Vec<_> = single.iter().map(|one| format!("{}  {}", one.run, one.text)).collect();
        if lines.len() != 1 {
            lines.push(sum(summary));
        }
        lines.join("\n")
    });
}

fn sum(summary: &Summary) -> String {
    let counts = [
        (summary.stopped, "stopped"),
        (summary.confirmed, "confirmed"),
        (summary.unconfirmed, "unconfirmed"),
        (summary.stopping, "still stopping"),
        (summary.already, "under an order before"),
        (summary.forced, "now by force"),
        (summary.finished, "had ended already"),
        (summary.early, "not there yet"),
    ];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let all = std::iter::once(format!("{} asked", summary.asked)).chain(counts);
    format!("{} in {}", all.collect::<Vec<_>>().join(", "), brief(summary.took))
}

async fn dry_run(context: &Context, store: &dyn Store, meant: Meant) -> Result<Exit, Failed> {
    let runs: Vec<Run> = match meant {
        Meant::Named(ids) => {
            let runs = stream::iter(ids).map(async |id| find(store, &id).await);
            runs.buffered(CONCURRENCY).try_collect().await?
        }
        Meant::Matching(filter) => cancel::select(store, filter).try_collect().await?,
    };
    let now = store.now().await?;
    context.output.result(&runs, || list::text(&runs, now));
    context.output.note(format!("{} would be asked to stop; nothing was done", runs.len()));
    Ok(Exit::Ok)
}
