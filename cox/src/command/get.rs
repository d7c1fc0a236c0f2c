//! `cox get`: shows one run.

use coxswain_shared::control::{self, Described};
use coxswain_shared::id::RunId;
use coxswain_shared::outcome::Outcome;
use coxswain_shared::plan::child_run_id;
use coxswain_shared::stop::StopReport;
use coxswain_shared::store::{Run, Start};
use coxswain_shared::task::{Task, TaskState};
use coxswain_shared::time::Timestamp;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failed;
use crate::measure::{between, cut, one_line};
use crate::output::{draw, line, table, width};
use crate::paint::Paint;
use crate::view::{closing, names, place, tries};

/// The longest note of a task on a terminal.
const NOTE_WIDTH: usize = 60;

const EXAMPLES: &str = "\
Examples:
  cox get nightly-7
  cox get nightly-7 --json | jq .run.stop

The exit code says whether there is such a run, not how it ended: for that, see `cox watch`.";

/// Show a run: where it stands, its tasks in flight, how it was stopped
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The run
    #[arg(value_name = "RUN")]
    run: RunId,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failed> {
        let store = context.store().await?;
        let described = control::describe(store.as_ref(), &self.run).await?;
        let now = store.now().await?;
        context.output.result(&described, || text(&described, now, context.output.paint));
        Ok(Exit::Ok)
    }
}

fn text(described: &Described, now: Timestamp, paint: Paint) -> String {
    let run = &described.run;
    let mut lines = vec![
        row("run", run.key.id.as_str()),
        row("graph", &format!("{} ({})", run.graph, cut(run.graph_hash.as_str(), 13))),
        row("status", &paint.status(run.status)),
    ];
    if let Some(why) = &described.held_up {
        lines.push(row("held up", why));
    }
    if !described.unserved.is_empty() {
        let pools = names(&described.unserved);
        lines.push(row("waits for", &format!("a worker of the pool {pools}: none takes tasks of it now")));
    }
    if let Some(failure) = &run.failure {
        lines.push(row("failure", &failure.to_string()));
    }
    lines.extend(described.warnings.iter().map(|warning| row("warning", warning)));
    if !run.spec.priority.is_normal() {
        lines.push(row("priority", run.spec.priority.name()));
    }
    lines.extend(times(run));
    if run.descendants > 0 {
        lines.push(row("child runs", &run.descendants.to_string()));
    }
    if !run.spent.is_nothing() {
        lines.push(row("spent", &run.spent.to_string()));
    }
    lines.extend(origin(run));
    if run.thread.as_str() != run.key.id.as_str() {
        let queued = described.thread.as_ref().map_or(0, |thread| thread.queue.len());
        let behind = if queued > 0 { format!(", {queued} waiting on it") } else { String::new() };
        lines.push(row("thread", &format!("{}{behind}", run.thread)));
    }
    if !run.spec.labels.is_empty() {
        lines.push(row("labels", &labels(run)));
    }
    lines.push(row("submitted by", &run.spec.actor));
    if let Some(report) = &run.stop {
        lines.extend(stop(report));
    }
    if !described.tasks.is_empty() {
        lines.push(String::new());
        lines.push(tasks(described, now));
    }
    lines.join("\n")
}

fn times(run: &Run) -> Vec<String> {
    let took = between(run.started_at, run.ended_at).map(|took| format!(", took {took}")).unwrap_or_default();
    let mut lines = vec![row("step", &run.step.to_string()), row("submitted", &run.created_at.to_string())];
    lines.extend(run.started_at.map(|at| row("started", &at.to_string())));
    lines.extend(run.ended_at.map(|at| row("ended", &format!("{at}{took}"))));
    if !run.status.is_final() {
        lines.extend(run.deadline_at.map(|at| row("deadline", &at.to_string())));
        lines.push(row("open", &format!("{}, {} with a worker", tasks_in_words(run.open_tasks), run.open_leases)));
    }
    lines
}

fn tasks_in_words(count: u32) -> String {
    if count == 1 { "1 task".to_owned() } else { format!("{count} tasks") }
}

fn origin(run: &Run) -> Vec<String> {
    let mut lines = Vec::new();
    match &run.spec.start {
        Start::From { run, step, .. } => lines.push(row("goes on from", &format!("step {step} of run {run}"))),
        Start::Fresh => {
            let base = run.base.as_ref().map(|(run, step)| format!("step {step} of run {run}"));
            lines.extend(base.map(|base| row("state from", &base)));
        }
    }
    let parent = run.parent.as_ref().map(|parent| format!("task {} of run {}", parent.task, parent.run));
    lines.extend(parent.map(|parent| row("child of", &parent)));
    lines
}

fn stop(report: &StopReport) -> Vec<String> {
    let order = &report.order.order;
    let reason = order.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let forced = if order.force { ", by force" } else { "" };
    let mut lines =
        vec![row("stop", &format!("{} by {}{forced}, {}{reason}", order.cause, order.actor, report.order.at))];
    lines.extend(
        between(Some(report.order.at), report.forced_at).map(|after| row("", &format!("forced after {after}"))),
    );
    let counts =
        format!("{} under way, {} released, {} unconfirmed", report.leases, report.released, report.unconfirmed);
    lines.push(row("", &closing(report).map_or(counts.clone(), |closing| format!("{closing}; {counts}"))));
    lines
}

fn tasks(described: &Described, now: Timestamp) -> String {
    let run = &described.run.key.id;
    // Only a terminal is too narrow for a note.
    let width = if width() == usize::MAX { usize::MAX } else { NOTE_WIDTH };
    let under_way = |task: &Task| if task.state.has_lease() { Some(now) } else { None };
    let mut table = table(&["task", "state", "outcome", "tries", "took", "worker", "note"]);
    for task in &described.tasks {
        let outcome = task.outcome.as_ref().map_or("", |outcome| outcome.kind().name());
        table.add_row([
            place(&task.id, &described.fan_outs),
            task.state.name().to_owned(),
            outcome.to_owned(),
            tries(task.attempts, (task.crashes, task.crashes_uncounted)),
            between(task.started_at, task.settled_at.or_else(|| under_way(task))).unwrap_or_default(),
            task.worker.as_ref().map(ToString::to_string).unwrap_or_default(),
            one_line(&note(run, task), width),
        ]);
    }
    draw(&table)
}

/// How often it was handed back, what failed, what a human is asked, or which child run stands for the task.
fn note(run: &RunId, task: &Task) -> String {
    if let Some(back) = task.handed_back.filter(|back| back.is_remarkable() && task.outcome.is_none()) {
        return back.to_string();
    }
    let failure = task.outcome.as_ref().and_then(Outcome::failure).or(task.last_failure.as_ref());
    if let Some(failure) = failure {
        return failure.to_string();
    }
    if let Some(payload) = &task.payload {
        return format!("asks {payload}");
    }
    match &task.outcome {
        Some(Outcome::ChildEnded { run, .. }) => format!("child run {run}"),
        None if task.state == TaskState::Child => format!("child run {}", child_run_id(run, &task.id)),
        Some(_) | None => String::new(),
    }
}

/// Labels in a line.
pub(crate) fn labels(run: &Run) -> String {
    let pairs = run.spec.labels.iter().map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join(" ")
}

fn row(name: &str, value: &str) -> String {
    format!("{name:<14}{}", line(value))
}

#[cfg(test)]
mod tests {
    use coxswain_shared::id::Fence;
    use coxswain_shared::outcome::{Failure, FailureKind};
    use coxswain_shared::run::RunStatus;
    use coxswain_shared::task::HandedBack;

    use super::*;

    #[test]
    fn a_task_that_a_child_run_stands_for_names_it_or_says_why_it_failed() {
        let run = RunId::new("r1").unwrap();
        let open = Task {
            id: "2:ask:7".parse().unwrap(),
            state: TaskState::Child,
            attempts: 0,
            crashes: 0,
            crashes_uncounted: 0,
            fence: Fence::new(0),
            worker: None,
            started_at: None,
            settled_at: None,
            outcome: None,
            payload: None,
            last_failure: None,
            proof: None,
            handed_back: None,
        };
        assert_eq!(note(&run, &open), "child run r1.2.ask.7");
        let back =
            |times, without_order| Task { handed_back: Some(HandedBack { times, without_order }), ..open.clone() };
        assert_eq!(note(&run, &back(1, false)), "child run r1.2.ask.7", "a worker was replaced");
        assert_eq!(note(&run, &back(4, false)), "handed back 4 times in a row");
        assert!(note(&run, &back(1, true)).contains("a stop order that the store does not have"));
        let ended = |status, failure: Option<Failure>| {
            let outcome =
                Outcome::ChildEnded { run: child_run_id(&run, &open.id), status, failure: failure.map(Box::new) };
            note(&run, &Task { state: TaskState::Settled, outcome: Some(outcome), ..open.clone() })
        };
        assert_eq!(ended(RunStatus::Succeeded, None), "child run r1.2.ask.7");
        let why = Failure::new(FailureKind::Handler, "no luck");
        assert_eq!(ended(RunStatus::Failed, Some(why)), "no luck");
    }
}
