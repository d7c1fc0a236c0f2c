//! `cox list`: lists runs. Also holds the conditions that `list` and `cancel` share.

use std::collections::BTreeMap;
use std::time::Duration;

use coxswain_shared::control;
use coxswain_shared::duration;
use coxswain_shared::id::{GraphName, PoolName, RunId, ThreadId};
use coxswain_shared::limits::PAGE_MAX;
use coxswain_shared::priority::Priority;
use coxswain_shared::run::RunStatus;
use coxswain_shared::store::{Page, Run, RunFilter, Store};
use coxswain_shared::time::Timestamp;

use super::get::labels;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failed;
use crate::input;
use crate::measure::{between, brief, cut};
use crate::output::{draw, table};
use crate::view::names;

const EXAMPLES: &str = "\
Examples:
  cox list
  cox list --status running --status stopping
  cox list --graph digest --older-than 1h --label team=search
  cox list --priority high --status running
  cox list --limit 1000 --json | jq -r '.rows[].id'";

/// List runs, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// How many, from 1 to 1000
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Where to go on: what the page before said
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

/// Which runs.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Conditions")]
pub(crate) struct Filter {
    /// In this state: queued, running, interrupted, stopping, succeeded, failed, `timed_out` or cancelled; may be given several times
    #[arg(long, value_name = "STATUS", value_parser = status, value_delimiter = ',')]
    pub(crate) status: Vec<RunStatus>,
    /// On this thread
    #[arg(long, value_name = "ID")]
    pub(crate) thread: Option<ThreadId>,
    /// Of this graph
    #[arg(long, value_name = "NAME")]
    pub(crate) graph: Option<GraphName>,
    /// With this label: name=value; may be given several times
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Vec<String>,
    /// Submitted longer ago than this, such as 30m or 2d
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) older_than: Option<Duration>,
    /// Of this priority: high, normal or low
    #[arg(long, value_name = "PRIORITY", value_parser = priority)]
    pub(crate) priority: Option<Priority>,
}

/// A priority by its name.
pub(crate) fn priority(text: &str) -> Result<Priority, String> {
    Priority::from_name(text).ok_or_else(|| {
        let names: Vec<_> = Priority::ALL.map(Priority::name).into();
        format!("there is no such priority; there are {}", names.join(", "))
    })
}

fn status(text: &str) -> Result<RunStatus, String> {
    RunStatus::from_name(&text.replace('-', "_")).ok_or_else(|| {
        let names: Vec<_> = RunStatus::ALL.map(RunStatus::name).into();
        format!("there is no such state; there are {}", names.join(", "))
    })
}

impl Filter {
    /// Whether it holds for all runs.
    pub(crate) const fn is_empty(&self) -> bool {
        self.status.is_empty()
            && self.thread.is_none()
            && self.graph.is_none()
            && self.label.is_empty()
            && self.older_than.is_none()
            && self.priority.is_none()
    }

    /// The same in the store's words; ages are reckoned by the store's clock.
    pub(crate) async fn resolve(self, store: &dyn Store) -> Result<RunFilter, Failed> {
        let created_before = match self.older_than {
            Some(age) => Some(before(store.now().await?, age)),
            None => None,
        };
        let labels = input::labels(&self.label)?;
        let Self { status, thread, graph, priority, .. } = self;
        Ok(RunFilter { status, thread, graph, labels, created_before, priority })
    }
}

fn before(now: Timestamp, age: Duration) -> Timestamp {
    Timestamp::from_millis(now.as_millis().saturating_sub(coxswain_shared::time::millis(age)))
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failed> {
        let store = context.store().await?;
        let filter = self.filter.resolve(store.as_ref()).await?;
        let page = page(store.as_ref(), &filter, self.cursor, usize::from(self.limit)).await?;
        let now = store.now().await?;
        let unserved = control::unserved_of(store.as_ref(), &page.rows).await?;
        let listed = Listed { page: &page, unserved: &unserved };
        context.output.result(&listed, || with_pools(&page.rows, now, &unserved));
        if let Some(next) = &page.next {
            context.output.note(format!("there may be more: --cursor {next}"));
        }
        Ok(Exit::Ok)
    }
}

/// A full page if there is one: the store may answer with fewer rows than asked although there are more.
async fn page(
    store: &dyn Store,
    filter: &RunFilter,
    mut cursor: Option<String>,
    limit: usize,
) -> Result<Page<Run>, Failed> {
    let mut rows = Vec::new();
    loop {
        let wanted = (limit - rows.len()).min(PAGE_MAX);
        let page = store.runs(filter, cursor.as_deref(), wanted).await?;
        rows.extend(page.rows);
        cursor = page.next;
        if cursor.is_none() || rows.len() >= limit {
            return Ok(Page { rows, next: cursor });
        }
    }
}

/// A page of runs, with what holds some of them up.
#[derive(serde::Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    page: &'a Page<Run>,
    /// By run, the pools that its queued tasks wait for and that no worker serves.
    #[serde(skip_serializing_if = "Unserved::is_empty")]
    unserved: &'a Unserved,
}

type Unserved = BTreeMap<RunId, Vec<PoolName>>;

/// Runs as a table.
pub(crate) fn text(runs: &[Run], now: Timestamp) -> String {
    with_pools(runs, now, &Unserved::new())
}

fn with_pools(runs: &[Run], now: Timestamp, unserved: &Unserved) -> String {
    let status = |run: &Run| match unserved.get(&run.key.id) {
        Some(pools) => format!("{}, no worker for pool {}", run.status, names(pools)),
        None => run.status.to_string(),
    };
    let mut table = table(&["run", "graph", "status", "priority", "step", "age", "took", "thread", "labels"]);
    for run in runs {
        let is_own = run.thread.as_str() == run.key.id.as_str();
        table.add_row([
            run.key.id.to_string(),
            run.graph.to_string(),
            status(run),
            if run.spec.priority.is_normal() { String::new() } else { run.spec.priority.to_string() },
            run.step.to_string(),
            brief(now.since(run.created_at)),
            between(run.started_at, Some(run.ended_at.unwrap_or(now))).unwrap_or_default(),
            if is_own { String::new() } else { run.thread.to_string() },
            cut(&labels(run), 40),
        ]);
    }
    draw(&table)
}
