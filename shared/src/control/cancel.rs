//! Orders runs to stop: one or very many, straight at the store. No scheduler or worker is asked; what they have to do
//! they learn from the store.

use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Error;
use super::patience::patiently;
use super::submit::check_text;
use crate::id::RunId;
use crate::limits::{Limit, PAGE_MAX};
use crate::run::RunStatus;
use crate::stop::{NewOrder, StopReport};
use crate::store::{Run, RunFilter, StopAnswer, Store};

/// Orders in flight at once. One writer takes a few hundred in one group; more would only wait.
pub const CONCURRENCY: usize = 256;

/// Runs that are listed before it is their turn: two pages.
const READ_AHEAD: usize = 2 * PAGE_MAX;

/// The shortest and longest pause between two looks at runs that are stopping.
const LOOKS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// How many runs are stopped, and how.
#[derive(Debug, Clone)]
pub struct Orders {
    /// What each run is told.
    pub order: NewOrder,
    /// How many orders are in flight at once; see [`CONCURRENCY`].
    pub concurrency: usize,
    /// How long to wait until the runs have stopped; absent: not at all.
    pub wait: Option<Duration>,
}

/// What came of many orders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Runs that were asked to stop.
    pub asked: u64,
    /// Runs that this order froze.
    pub accepted: u64,
    /// Runs that were under an order already.
    pub already: u64,
    /// Of those, runs to whose order this one added force.
    pub forced: u64,
    /// Runs that had ended by themselves.
    pub finished: u64,
    /// Runs that do not exist yet: the order waits for them for a day.
    pub early: u64,
    /// Runs that have stopped, of those that were frozen by this order or before.
    pub stopped: u64,
    /// Of those, runs of which every lease was released by its worker.
    pub confirmed: u64,
    /// Of those, runs with a lease that expired instead, or whose worker was not sure.
    pub unconfirmed: u64,
    /// Runs that had not stopped yet when this was written.
    pub stopping: u64,
    /// How long it took.
    #[serde(with = "crate::duration")]
    pub took: Duration,
}

/// What happens while many runs are stopped.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A run was asked, and this is the answer.
    Asked(&'a RunId, &'a StopAnswer),
    /// A run that was stopping has stopped.
    Stopped(&'a RunId, &'a StopReport),
}

/// Why not all were asked, and what was done until then.
#[derive(Debug, thiserror::Error)]
#[error("after {} runs were asked to stop, one could not be", .so_far.asked)]
pub struct Broken {
    /// What was done.
    pub so_far: Summary,
    /// Why it ended.
    #[source]
    pub source: Error,
}

/// The runs that a filter means, newest first. Without a status it means all that have not ended. Child runs are left out, since
/// the order for the run above reaches them; unless their graph is asked for by name.
pub fn select(store: &dyn Store, filter: RunFilter) -> impl Stream<Item = Result<Run, Error>> + '_ {
    let filter = in_flight_unless_said(filter);
    let with_children = filter.graph.is_some();
    let first = Some((None::<String>, filter));
    let pages = stream::try_unfold(first, move |at| async move {
        let Some((cursor, filter)) = at else { return Ok::<_, Error>(None) };
        let page = patiently(async || store.runs(&filter, cursor.as_deref(), PAGE_MAX).await).await?;
        let next = page.next.map(|cursor| (Some(cursor), filter));
        Ok(Some((page.rows, next)))
    });
    let runs = pages.map_ok(|rows| stream::iter(rows.into_iter().map(Ok))).try_flatten();
    runs.try_filter(move |run| std::future::ready(with_children || run.parent.is_none()))
}

fn in_flight_unless_said(mut filter: RunFilter) -> RunFilter {
    if filter.status.is_empty() {
        filter.status = RunStatus::ALL.into_iter().filter(|status| !status.is_final()).collect();
    }
    filter
}

/// Orders one run to stop.
pub async fn one(store: &dyn Store, run: &RunId, order: &NewOrder) -> Result<StopAnswer, Error> {
    check_order(order)?;
    ask(store, run, order).await
}

/// Orders runs to stop, many at once, and waits for them if asked to.
///
/// It ends early with what was done so far if the store stays away.
pub async fn many(
    store: &dyn Store,
    runs: impl Stream<Item = Result<RunId, Error>>,
    orders: &Orders,
    mut on_progress: impl FnMut(Progress<'_>, &Summary),
) -> Result<Summary, Broken> {
    let start = Instant::now();
    let mut summary = Summary::default();
    if let Err(source) = check_order(&orders.order) {
        return Err(Broken { so_far: summary, source });
    }
    let mut open = Vec::new();
    let mut on_answer = |run: RunId, answer: &StopAnswer| {
        summary.took = start.elapsed();
        summary.count(answer);
        on_progress(Progress::Asked(&run, answer), &summary);
        if is_open(answer) {
            open.push(run);
        }
    };
    if let Err(source) = ask_all(store, runs, orders, &mut on_answer).await {
        return Err(Broken { so_far: summary, source });
    }
    if let Some(wait) = orders.wait {
        let mut on_stopped = |run: &RunId, report: &StopReport| {
            summary.close(report);
            summary.took = start.elapsed();
            on_progress(Progress::Stopped(run, report), &summary);
        };
        let waited = wait_for(store, open, orders.concurrency, start + wait, &mut on_stopped).await;
        if let Err(source) = waited {
            return Err(Broken { so_far: summary, source });
        }
    }
    summary.took = start.elapsed();
    Ok(summary)
}

/// Asks runs to stop while further ones are listed: a page takes as long as many orders.
async fn ask_all(
    store: &dyn Store,
    runs: impl Stream<Item = Result<RunId, Error>>,
    orders: &Orders,
    on_answer: &mut impl FnMut(RunId, &StopAnswer),
) -> Result<(), Error> {
    let (ahead, mut listed) = mpsc::channel(READ_AHEAD);
    let listing = async move {
        let mut runs = std::pin::pin!(runs);
        while let Some(run) = runs.next().await {
            if ahead.send(run).await.is_err() {
                break;
            }
        }
    };
    let asking = async move {
        let listed = stream::poll_fn(move |context| listed.poll_recv(context));
        let asked = listed.map_ok(async |run: RunId| {
            let answer = ask(store, &run, &orders.order).await?;
            Ok::<_, Error>((run, answer))
        });
        let mut answers = std::pin::pin!(asked.try_buffer_unordered(orders.concurrency.max(1)));
        while let Some((run, answer)) = answers.try_next().await? {
            on_answer(run, &answer);
        }
        Ok(())
    };
    let ((), asked) = tokio::join!(listing, asking);
    asked
}

pub(super) fn check_order(order: &NewOrder) -> Result<(), Error> {
    let limit = Limit::Grace;
    if let Some(given) = order.grace.filter(|grace| *grace > limit.ceiling()) {
        return Err(Error::BadLimit { limit, given });
    }
    check_text(|| "the actor".to_owned(), &order.actor)?;
    check_text(|| "the reason".to_owned(), order.reason.as_deref().unwrap_or_default())
}

async fn ask(store: &dyn Store, run: &RunId, order: &NewOrder) -> Result<StopAnswer, Error> {
    let mut repeated = false;
    let answer = patiently(async || {
        let answer = store.stop(run, order.clone()).await;
        repeated |= answer.is_err();
        answer
    });
    Ok(match answer.await? {
        // The order that the store has already is this one: the reply to the call before was lost.
        StopAnswer::Already { report, forced: false } if repeated && report.order.order == *order => {
            StopAnswer::Accepted(report)
        }
        answer => answer,
    })
}

/// Looks at the runs until all have stopped, or the time is up.
async fn wait_for(
    store: &dyn Store,
    mut open: Vec<RunId>,
    concurrency: usize,
    until: Instant,
    on_stopped: &mut impl FnMut(&RunId, &StopReport),
) -> Result<(), Error> {
    let mut pause = LOOKS.0;
    while !open.is_empty() && Instant::now() < until {
        tokio::time::sleep_until(until.min(Instant::now() + pause)).await;
        let looks = stream::iter(open).map(async |run| {
            let report = patiently(async || store.run(&run).await).await?.and_then(|run| run.stop);
            Ok::<_, Error>((run, report))
        });
        let looked: Vec<_> = looks.buffer_unordered(concurrency.max(1)).try_collect().await?;
        let before = looked.len();
        open = Vec::new();
        for (run, report) in looked {
            match report.filter(|report| report.closed_at.is_some()) {
                Some(report) => on_stopped(&run, &report),
                None => open.push(run),
            }
        }
        pause = if open.len() < before { LOOKS.0 } else { (pause * 2).min(LOOKS.1) };
    }
    Ok(())
}

fn is_open(answer: &StopAnswer) -> bool {
    report_of(answer).is_some_and(|report| report.closed_at.is_none())
}

/// The report that an answer carries.
pub const fn report_of(answer: &StopAnswer) -> Option<&StopReport> {
    match answer {
        StopAnswer::Accepted(report) | StopAnswer::Already { report, .. } => Some(report),
        StopAnswer::Finished(_) | StopAnswer::Early => None,
    }
}

impl Summary {
    fn count(&mut self, answer: &StopAnswer) {
        self.asked += 1;
        match answer {
            StopAnswer::Accepted(_) => self.accepted += 1,
            StopAnswer::Already { forced, .. } => {
                self.already += 1;
                self.forced += u64::from(*forced);
            }
            StopAnswer::Finished(_) => self.finished += 1,
            StopAnswer::Early => self.early += 1,
        }
        if let Some(report) = report_of(answer) {
            self.stopping += 1;
            if report.closed_at.is_some() {
                self.close(report);
            }
        }
    }

    fn close(&mut self, report: &StopReport) {
        self.stopping -= 1;
        self.stopped += 1;
        if report.is_confirmed() {
            self.confirmed += 1;
        } else {
            self.unconfirmed += 1;
        }
    }
}
