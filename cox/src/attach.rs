//! Stays with a run until its end: shows what happens, and turns Ctrl-C into a stop order, then force, then leaving.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use coxswain_shared::control::{self, Follow, Progress, cancel};
use coxswain_shared::id::{ChannelName, NodeName, RunId, Step};
use coxswain_shared::plan::waiting_joins;
use coxswain_shared::run::RunStatus;
use coxswain_shared::stop::{Cause, NewOrder, StopReport};
use coxswain_shared::store::{Run, Store};
use coxswain_shared::time::in_text;
use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Interval;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failed;
use crate::trouble::Troubles;
use crate::view::{View, still_open};

/// How often the live line is drawn.
const TICK: Duration = Duration::from_millis(100);

/// What Ctrl-C (and SIGTERM) means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnInterrupt {
    /// Stop the run; again: by force; again: leave.
    StopTheRun,
    /// Leave; the run goes on.
    Leave,
}

/// How staying with a run ended.
#[derive(Debug)]
pub(crate) enum Attached {
    /// The run has ended, or waits for a human.
    Ended(Box<Run>),
    /// The user left.
    Left,
}

/// The signals that a user or a supervisor sends.
#[derive(Debug)]
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    heard: u32,
}

impl Interrupts {
    /// Takes them from now on: without this they end the process.
    pub(crate) fn listen() -> Result<Self, Failed> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failed::bare(Exit::Internal, format!("signals cannot be received: {error}")))
        };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())?, heard: 0 })
    }

    /// The next one. Cancel safe.
    async fn next(&mut self) -> u32 {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        self.heard += 1;
        self.heard
    }
}

/// Stays with a run until it has ended or waits for a human, or the user leaves.
pub(crate) async fn attach(
    context: &Context,
    store: &Arc<dyn Store>,
    run: &RunId,
    from: Step,
    (on_interrupt, interrupts): (OnInterrupt, Interrupts),
) -> Result<Attached, Failed> {
    let fan_outs = fan_outs_of(store.as_ref(), run).await;
    let mut session = Session {
        context,
        store,
        run,
        on_interrupt,
        interrupts,
        ticks: tokio::time::interval(TICK),
        view: View::new(&context.output, fan_outs),
        troubles: Troubles::watch(&context.output, store),
        ordering: None,
        refused: None,
    };
    let mut follow = Follow::new(Arc::clone(store), run.clone()).from_step(from);
    let attached = session.stay(&mut follow).await;
    session.view.close();
    attached
}

/// The nodes of the run that are fanned out; none where the graph cannot be read now, since it is only for what is shown.
pub(crate) async fn fan_outs_of(store: &dyn Store, run: &RunId) -> BTreeSet<NodeName> {
    let found = async {
        let run = control::find(store, run).await?;
        control::graph_of(store, &run.graph_hash).await
    };
    found.await.map(|graph| control::fan_outs(&graph)).unwrap_or_default()
}

/// A user who stays with a run.
struct Session<'a> {
    context: &'a Context,
    store: &'a Arc<dyn Store>,
    run: &'a RunId,
    on_interrupt: OnInterrupt,
    interrupts: Interrupts,
    ticks: Interval,
    view: View<'a>,
    troubles: Troubles,
    /// A stop order on its way. A signal that comes meanwhile is heeded all the same.
    ordering: Option<LocalBoxFuture<'static, Result<(), Failed>>>,
    /// Why the last stop order did not get through.
    refused: Option<Failed>,
}

/// What a session wakes up for, beside what it waits for.
enum Event {
    Tick,
    Heard(u32),
    Ordered(Result<(), Failed>),
}

impl Session<'_> {
    async fn stay(&mut self, follow: &mut Follow) -> Result<Attached, Failed> {
        let mut is_waiting = false;
        loop {
            if is_waiting && !follow.has_more() {
                return Ok(Attached::Ended(Box::new(control::find(self.store.as_ref(), self.run).await?)));
            }
            let Some(progress) = self.unless_left(follow.next()).await? else { return Ok(Attached::Left) };
            let Some(progress) = progress? else { return Ok(Attached::Left) };
            self.view.show(&progress);
            match progress {
                Progress::Ended(run) => return Ok(Attached::Ended(run)),
                Progress::Status { status, .. } => is_waiting = status == RunStatus::Interrupted,
                Progress::Checkpoint(_)
                | Progress::Task { .. }
                | Progress::Event(_)
                | Progress::Stop(_)
                | Progress::HeldUp { .. }
                | Progress::Unavailable { .. } => {}
            }
        }
    }

    /// Waits for something while it keeps the view alive and heeds Ctrl-C; nothing if the user leaves. With a store that does
    /// not do its work, the second signal leaves: a stop order would not get through.
    async fn unless_left<T>(&mut self, awaited: impl Future<Output = T>) -> Result<Option<T>, Failed> {
        let mut awaited = std::pin::pin!(awaited);
        loop {
            let event = tokio::select! {
                result = &mut awaited => return Ok(Some(result)),
                _ = self.ticks.tick() => Event::Tick,
                heard = self.interrupts.next() => Event::Heard(heard),
                ordered = answer_of(&mut self.ordering) => Event::Ordered(ordered),
            };
            match event {
                Event::Tick => {
                    self.view.tick();
                    if let Some(failed) = self.troubles.outlasted() {
                        return Err(self.left_as_it_is(failed));
                    }
                }
                Event::Heard(heard) if self.on_interrupt == OnInterrupt::Leave || heard > 1 => {
                    let refused = self.troubles.failed().or_else(|| self.refused.take());
                    if let Some(failed) = refused.filter(|_| self.on_interrupt == OnInterrupt::StopTheRun) {
                        return Err(self.left_as_it_is(failed));
                    }
                    if self.on_interrupt == OnInterrupt::Leave || heard > 2 {
                        self.context.output.note(format!("left; run {} goes on", self.run));
                        return Ok(None);
                    }
                    self.order(true);
                }
                Event::Heard(_) => self.order(false),
                Event::Ordered(Ok(())) => (self.ordering, self.refused) = (None, None),
                Event::Ordered(Err(failed)) => {
                    self.ordering = None;
                    let message =
                        format!("the stop order did not get through: {}; Ctrl-C leaves the run", failed.message);
                    self.context.output.failure(&Failed { message, exit: failed.exit, remedy: failed.remedy.clone() });
                    self.refused = Some(failed);
                }
            }
        }
    }

    /// Orders the run to stop.
    fn order(&mut self, force: bool) {
        let is_troubled = self.troubles.failed().is_some();
        let hint = match (force, is_troubled) {
            (true, _) | (false, true) => "once more leaves it",
            (false, false) => "once more forces it, a third time leaves it",
        };
        let run = self.run;
        let how = if force { " by force" } else { "" };
        self.context.output.note(format!("stopping run {run}{how}; Ctrl-C {hint}"));
        let order = NewOrder {
            cause: Cause::Cancelled,
            reason: Some("Ctrl-C".to_owned()),
            actor: Context::actor(None),
            grace: None,
            force,
        };
        let (store, run) = (Arc::clone(self.store), run.clone());
        self.ordering =
            Some(Box::pin(
                async move { cancel::one(store.as_ref(), &run, &order).await.map(drop).map_err(Failed::from) },
            ));
    }

    fn left_as_it_is(&self, failed: Failed) -> Failed {
        Failed { message: format!("run {} is left as it is: {}", self.run, failed.message), ..failed }
    }
}

async fn answer_of(ordering: &mut Option<LocalBoxFuture<'static, Result<(), Failed>>>) -> Result<(), Failed> {
    match ordering {
        Some(ordering) => ordering.await,
        None => std::future::pending().await,
    }
}

/// How a run that waits for a human is let go on.
async fn hint(store: &dyn Store, run: &Run) -> Result<String, Failed> {
    let graph = control::graph_of(store, &run.graph_hash).await?;
    let questions = control::questions(store, run, &graph).await?;
    let id = &run.key.id;
    Ok(match questions.as_slice() {
        [] => format!("it pauses between two steps: cox resume {id}"),
        [_] => format!("it waits for a human: cox resume {id} --answer …"),
        [first, ..] => {
            let open = still_open(&questions.iter().map(|question| question.name.clone()).collect::<Vec<_>>());
            format!("it waits for a human ({open}): cox resume {id} --answer-to '{}=…'", first.name)
        }
    })
}

/// Tells how a run ended: its state as the result, and the exit code.
/// Of an `output`, only that channel's value: a text as it is.
pub(crate) async fn conclude(
    context: &Context,
    store: &dyn Store,
    run: &Run,
    output: Option<&ChannelName>,
) -> Result<Exit, Failed> {
    let last = control::last_checkpoint(store, run).await?;
    let warnings = match &last {
        Some(last) if run.status == RunStatus::Succeeded && !last.checkpoint.joins.is_empty() => {
            waiting_joins(&control::graph_of(store, &run.graph_hash).await?, &last.checkpoint)
        }
        Some(_) | None => Vec::new(),
    };
    let values = match last {
        Some(last) => store.values(&run.key, last.checkpoint.step).await?.unwrap_or_default(),
        None => coxswain_shared::checkpoint::Values::new(),
    };
    if context.output.is_json() {
        let told = |report: &StopReport| json!({"report": report, "confirmed": report.is_confirmed()});
        let stop = in_text(|| run.stop.as_ref().map(told));
        let values = match output {
            Some(channel) => values.into_iter().filter(|(name, _)| name == channel).collect(),
            None => values,
        };
        context.output.json_line(&json!({
            "progress": "result",
            "run": run.key.id,
            "status": run.status,
            "step": run.step,
            "state": values,
            "failure": run.failure,
            "stop": stop,
            "warnings": warnings,
        }));
    } else if let Some(channel) = output {
        match values.get(channel) {
            Some(Value::String(text)) => context.output.text(text),
            Some(value) => context.output.document(value),
            None => context.output.note(format!("the run has no value of `{channel}`")),
        }
    } else {
        context.output.document(&values);
    }
    for warning in warnings.iter().filter(|_| !context.output.is_json()) {
        context.output.note(format!("{}: {warning}", context.output.paint_err.odd("warning")));
    }
    if run.status == RunStatus::Interrupted {
        context.output.note(hint(store, run).await?);
    }
    Ok(Exit::of(run.status))
}
