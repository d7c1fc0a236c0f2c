//! Shows what happens to a run: lines that stay, and on a terminal a last line that is drawn anew; or JSON lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use coxswain_shared::checkpoint::{Ran, Source, StoredCheckpoint};
use coxswain_shared::control::{Progress, TaskChange};
use coxswain_shared::id::{ChannelName, NodeName, Step, TaskId};
use coxswain_shared::outcome::{Failure, Outcome, OutcomeKind};
use coxswain_shared::run::RunStatus;
use coxswain_shared::stop::{StopProof, StopReport};
use coxswain_shared::store::{Event, Run};
use coxswain_shared::task::Task;
use coxswain_shared::time::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use crate::measure::{between, brief, cut};
use crate::output::{self, Output};
use crate::stream::{Said, Streams, piece};

/// The longest value of an event or a question on a line.
const VALUE_WIDTH: usize = 160;

/// The questions that a line names.
const QUESTIONS_SHOWN_MAX: usize = 8;

const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// Shows one run.
#[derive(Debug)]
pub(crate) struct View<'a> {
    output: &'a Output,
    /// Tasks under way, with when they were first seen to be.
    open: BTreeMap<TaskId, Instant>,
    told: BTreeSet<TaskId>,
    status: Option<RunStatus>,
    ordered_at: Option<Timestamp>,
    report: Option<StopReport>,
    step: Step,
    frame: usize,
    /// The nodes that are fanned out.
    fan_outs: BTreeSet<NodeName>,
    /// What items have said in pieces, until a line of it is whole.
    streams: Streams,
}

impl<'a> View<'a> {
    /// A view that has seen nothing.
    pub(crate) fn new(output: &'a Output, fan_outs: BTreeSet<NodeName>) -> Self {
        Self {
            output,
            open: BTreeMap::new(),
            told: BTreeSet::new(),
            status: None,
            ordered_at: None,
            report: None,
            step: Step::new(0),
            frame: 0,
            fan_outs,
            streams: Streams::default(),
        }
    }

    /// Shows what has happened.
    pub(crate) fn show(&mut self, progress: &Progress) {
        if self.output.is_json() {
            return self.output.json_line(progress);
        }
        match progress {
            Progress::Status { status, step } => {
                self.status = Some(*status);
                self.step = *step;
            }
            Progress::Checkpoint(stored) => self.show_checkpoint(stored),
            Progress::Task { change, task } => self.show_task(*change, task),
            Progress::Event(event) => self.show_event(event),
            Progress::Stop(report) => self.show_stop(report),
            Progress::HeldUp { why } => self.output.note(format!("{}: {why}", self.output.paint_err.odd("held up"))),
            // What is wrong with the store is told by the one who watches it, with the remedy.
            Progress::Unavailable { .. } => {}
            Progress::Ended(run) => self.show_end(run),
        }
    }

    /// Draws the live line anew.
    pub(crate) fn tick(&mut self) {
        if !self.output.is_live() {
            return;
        }
        self.frame = (self.frame + 1) % FRAMES.len();
        let work =
            self.open.iter().map(|(task, since)| format!("{} {}", place(task, &self.fan_outs), brief(since.elapsed())));
        let work: Vec<_> = work.take(4).collect();
        let more = self.open.len().saturating_sub(work.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let status = self.status.map_or("looking", RunStatus::name);
        let what = format!("{} {status}  step {}  {}{more}", FRAMES[self.frame], self.step, work.join(" · "));
        self.output.live(&cut(&what, output::live_width()));
    }

    /// Takes the live line away.
    pub(crate) fn close(&mut self) {
        for task in self.streams.open() {
            self.show_rest(&task);
        }
        self.output.live("");
    }

    fn show_checkpoint(&mut self, stored: &StoredCheckpoint) {
        let checkpoint = &stored.checkpoint;
        self.step = self.step.max(checkpoint.step);
        if let Source::Resumed { run, step } = &checkpoint.source {
            self.output.note(format!("  goes on from step {step} of run {run}"));
        }
        for ran in &checkpoint.ran {
            self.show_rest(&ran.task);
            self.open.remove(&ran.task);
            if !self.told.remove(&ran.task) {
                self.output.note(self.row(ran));
            }
        }
    }

    fn show_task(&mut self, change: TaskChange, task: &Task) {
        self.step = task.id.step;
        self.show_rest(&task.id);
        match change {
            TaskChange::Started => {
                self.open.entry(task.id.clone()).or_insert_with(Instant::now);
                if !self.output.is_live() {
                    self.line(&task.id, &self.output.paint_err.faint(&started(task)));
                }
            }
            TaskChange::Retrying => {
                self.open.remove(&task.id);
                let why = task.last_failure.as_ref().map(ToString::to_string).unwrap_or_default();
                let word = self.output.paint_err.odd("retrying");
                self.line(&task.id, &format!("{word}  try {} failed: {}", task.attempts, cut(&why, VALUE_WIDTH)));
            }
            TaskChange::PutOff => {
                self.open.remove(&task.id);
                let why = task.last_failure.as_ref().map(|failure| failure.message.as_str()).unwrap_or_default();
                let word = self.output.paint_err.odd("put off");
                self.line(&task.id, &format!("{word}   {}", cut(why, VALUE_WIDTH)));
            }
            TaskChange::HandedBack => {
                self.open.remove(&task.id);
                let back = task.handed_back.map(|back| back.to_string()).unwrap_or_default();
                self.line(&task.id, &self.output.paint_err.odd(&back));
            }
            TaskChange::Asking => {
                let shown = task.payload.as_ref().map(shorten).unwrap_or_default();
                self.line(&task.id, &format!("{}  {shown}", self.output.paint_err.odd("asks")));
            }
            TaskChange::Settled => self.show_settled(task),
        }
    }

    fn show_settled(&mut self, task: &Task) {
        self.open.remove(&task.id);
        let Some(outcome) = &task.outcome else { return };
        self.told.insert(task.id.clone());
        if let Some(proof) = &task.proof {
            return self.line(&task.id, &self.stages(proof));
        }
        let ran = Ran {
            task: task.id.clone(),
            outcome: outcome.kind(),
            attempts: task.attempts,
            crashes: task.crashes,
            crashes_uncounted: task.crashes_uncounted,
            started_at: task.started_at,
            settled_at: task.settled_at,
            wrote: wrote(outcome),
            failure: outcome.failure().cloned(),
            handled: None,
        };
        self.output.note(self.row(&ran));
    }

    /// How one attempt was stopped, by its worker's testimony.
    fn stages(&self, proof: &StopProof) -> String {
        let after = |at: Option<Timestamp>| between(self.ordered_at, at);
        let named = [("observed", proof.observed_at), ("gone", proof.stopped_at), ("cleaned up", proof.cleaned_at)];
        let stages = named.into_iter().filter_map(|(name, at)| Some(format!("{name} +{}", after(at)?)));
        let mut text: Vec<_> = stages.collect();
        text.push(if proof.confirmed { "confirmed" } else { "unconfirmed" }.to_owned());
        text.extend(proof.doubt.clone());
        if proof.refused_result {
            text.push("its result came too late and was refused".to_owned());
        }
        format!("{}  {}", self.output.paint_err.outcome(OutcomeKind::Stopped), text.join(", "))
    }

    fn show_event(&mut self, event: &Event) {
        let (task, kind) = (&event.event.task, &event.event.kind);
        for said in self.streams.take(event) {
            self.said(task, &said);
        }
        if piece(&event.event).is_none() {
            self.line(task, &self.output.paint_err.faint(&format!("{kind}  {}", shorten(&event.event.value))));
        }
    }

    /// Shows what a task has said in pieces and not shown yet, since it says nothing more.
    fn show_rest(&mut self, task: &TaskId) {
        for said in self.streams.end(task) {
            self.said(task, &said);
        }
    }

    fn said(&self, task: &TaskId, said: &Said) {
        self.line(task, &self.output.paint_err.faint(&format!("{}  {}", said.kind, said.text)));
    }

    fn show_stop(&mut self, report: &StopReport) {
        let before = self.report.replace(report.clone());
        self.ordered_at = Some(report.order.at);
        self.status = Some(RunStatus::Stopping);
        let order = &report.order.order;
        if before.is_none() {
            let why = order.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let word = self.output.paint_err.odd("stop ordered");
            self.output.note(format!("{word} by {} ({}){why}; {}", order.actor, order.cause, leases(report.leases)));
        }
        let was_forced = before.as_ref().is_some_and(|before| before.forced_at.is_some());
        if report.forced_at.is_some() && !was_forced {
            let after = between(self.ordered_at, report.forced_at).unwrap_or_default();
            self.output.note(format!("force ordered after {after}"));
        }
        let closed = |report: &StopReport| report.released + report.unconfirmed;
        if report.closed_at.is_none() && closed(report) > before.as_ref().map_or(0, closed) {
            self.output.note(format!("{} of {} stopped", closed(report), leases(report.leases)));
        }
        if let Some(text) = closing(report) {
            self.output.note(text);
        }
    }

    fn show_end(&mut self, run: &Run) {
        self.close();
        let took = between(run.started_at.or(Some(run.created_at)), run.ended_at).unwrap_or_default();
        let status = self.output.paint_err.status(run.status);
        self.output.note(format!("run {} {status} in {took}, step {}", run.key.id, run.step));
        if !run.spent.is_nothing() {
            self.output.note(format!("  spent {}", run.spent));
        }
        if let Some(failure) = &run.failure {
            self.output.note(format!("  {failure}"));
        }
    }

    fn row(&self, ran: &Ran) -> String {
        let mut parts = vec![self.output.paint_err.outcome(ran.outcome)];
        parts.extend(ran.took().map(brief));
        if ran.attempts > 1 || ran.crashes + ran.crashes_uncounted > 0 {
            parts.push(tries(ran.attempts, (ran.crashes, ran.crashes_uncounted)));
        }
        if !ran.wrote.is_empty() {
            parts.push(format!("wrote {}", names(&ran.wrote)));
        }
        let why = |failure: &Failure| cut(&Failure { node: None, ..failure.clone() }.to_string(), VALUE_WIDTH);
        parts.extend(ran.failure.as_ref().map(why));
        parts.extend(ran.handled.as_ref().map(|handled| format!("({handled})")));
        line(&ran.task, &self.fan_outs, &parts.join("  "))
    }

    fn line(&self, task: &TaskId, text: &str) {
        self.output.note(line(task, &self.fan_outs, text));
    }
}

/// The channels that an outcome writes.
fn wrote(outcome: &Outcome) -> Vec<ChannelName> {
    match outcome {
        Outcome::Succeeded { writes, .. } => writes.keys().cloned().collect(),
        Outcome::Failed { .. }
        | Outcome::TimedOut { .. }
        | Outcome::Crashed { .. }
        | Outcome::Stopped { .. }
        | Outcome::ChildEnded { .. } => Vec::new(),
    }
}

fn started(task: &Task) -> String {
    match &task.worker {
        Some(worker) => format!("started  on {worker}, try {}", task.last_attempt()),
        None => "started".to_owned(),
    }
}

fn line(task: &TaskId, fan_outs: &BTreeSet<NodeName>, text: &str) -> String {
    format!("  {:>4}  {:<16}  {text}", task.step, place(task, fan_outs))
}

/// The node, with the item where it is one of those that are fanned out.
pub(crate) fn place(task: &TaskId, fan_outs: &BTreeSet<NodeName>) -> String {
    let is_item = task.item > 0 || fan_outs.contains(&task.node);
    if is_item { format!("{}[{}]", task.node, task.item) } else { task.node.to_string() }
}

/// Names in a list.
pub(crate) fn names<N: ToString>(names: &[N]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The questions that are open still.
pub(crate) fn still_open(open: &[String]) -> String {
    let more = open.len().saturating_sub(QUESTIONS_SHOWN_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let are = if open.len() == 1 { "is" } else { "are" };
    format!("{}{more} {are} open", names(&open[..open.len().min(QUESTIONS_SHOWN_MAX)]))
}

/// How many tries, and how many attempts crashed: while they ran alone, and beside others or before they began.
pub(crate) fn tries(attempts: u32, (alone, beside): (u32, u32)) -> String {
    let mut tries = if attempts == 1 { "1 try".to_owned() } else { format!("{attempts} tries") };
    if alone > 0 {
        let _ = write!(tries, ", {alone} crashed");
    }
    if beside > 0 {
        let _ = write!(tries, ", {beside} crashed beside others");
    }
    tries
}

/// A report's last word; none while the run is stopping.
pub(crate) fn closing(report: &StopReport) -> Option<String> {
    let took = between(Some(report.order.at), report.closed_at)?;
    let word = match (report.unconfirmed, report.leases) {
        (0, 0) => "nothing was under way".to_owned(),
        (0, _) => "confirmed".to_owned(),
        (unconfirmed, leases) => format!("unconfirmed for {unconfirmed} of {leases}"),
    };
    Some(format!("stopped after {took}, {word}"))
}

fn leases(leases: u32) -> String {
    match leases {
        0 => "nothing under way".to_owned(),
        1 => "1 task under way".to_owned(),
        leases => format!("{leases} tasks under way"),
    }
}

fn shorten(value: &Value) -> String {
    cut(&value.to_string(), VALUE_WIDTH)
}
