//! Stays with a run until its end: shows what happens, and turns Ctrl-C into a stop order, then force, then leaving.

use std::sync::Arc;
use std::time::Duration;

use coxswain_shared::control::{self, Follow, Progress, cancel};
use coxswain_shared::id::{RunId, Step};
use coxswain_shared::run::RunStatus;
use coxswain_shared::stop::{Cause, NewOrder};
use coxswain_shared::store::{Run, Store};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Interval;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failed, whole};
use crate::view::View;

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
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    heard: u32,
}

impl Interrupts {
    fn listen() -> Result<Self, Failed> {
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
    on_interrupt: OnInterrupt,
) -> Result<Attached, Failed> {
    let mut session = Session {
        context,
        store,
        run,
        on_interrupt,
        interrupts: Interrupts::listen()?,
        ticks: tokio::time::interval(TICK),
        view: View::new(&context.output),
    };
    let mut follow = Follow::new(Arc::clone(store), run.clone()).from_step(from);
    let attached = session.stay(&mut follow).await;
    session.view.close();
    attached
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
}

impl Session<'_> {
    async fn stay(&mut self, follow: &mut Follow) -> Result<Attached, Failed> {
        let mut is_waiting = false;
        loop {
            if is_waiting && !follow.has_more() {
                return Ok(Attached::Ended(Box::new(control::find(self.store.as_ref(), self.run).await?)));
            }
            let Some(progress) = self.unless_left(follow.next()).await else { return Ok(Attached::Left) };
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

    /// Waits for something while it keeps the view alive and heeds Ctrl-C; nothing if the user leaves.
    async fn unless_left<T>(&mut self, awaited: impl Future<Output = T>) -> Option<T> {
        let mut awaited = std::pin::pin!(awaited);
        loop {
            let heard = tokio::select! {
                result = &mut awaited => return Some(result),
                _ = self.ticks.tick() => None,
                heard = self.interrupts.next() => Some(heard),
            };
            match heard {
                None => self.view.tick(),
                Some(heard) if self.on_interrupt == OnInterrupt::Leave || heard > 2 => {
                    self.context.output.note(format!("left; run {} goes on", self.run));
                    return None;
                }
                Some(heard) => order(self.context, self.store, self.run, heard == 2).await,
            }
        }
    }
}

/// Orders the run to stop. That it could not be asked is told, and the user may try again.
async fn order(context: &Context, store: &Arc<dyn Store>, run: &RunId, force: bool) {
    let hint = if force { "once more leaves it" } else { "once more forces it, a third time leaves it" };
    context.output.note(format!("stopping run {run}{}; Ctrl-C {hint}", if force { " by force" } else { "" }));
    let order = NewOrder {
        cause: Cause::Cancelled,
        reason: Some("Ctrl-C".to_owned()),
        actor: Context::actor(None),
        grace: None,
        force,
    };
    if let Err(error) = cancel::one(store.as_ref(), run, &order).await {
        context.output.note(format!("the stop order did not get through: {}", whole(&error)));
    }
}

/// Tells how a run ended: its state as the result, and the exit code.
pub(crate) async fn conclude(context: &Context, store: &dyn Store, run: &Run) -> Result<Exit, Failed> {
    let last = control::last_checkpoint(store, run).await?;
    let values = match last {
        Some(last) => store.values(&run.key, last.checkpoint.step).await?.unwrap_or_default(),
        None => coxswain_shared::checkpoint::Values::new(),
    };
    if context.output.is_json() {
        let stop = run.stop.as_ref().map(|report| json!({"report": report, "confirmed": report.is_confirmed()}));
        context.output.json_line(&json!({
            "progress": "result",
            "run": run.key.id,
            "status": run.status,
            "step": run.step,
            "state": values,
            "failure": run.failure,
            "stop": stop,
        }));
    } else {
        context.output.document(&values);
    }
    if run.status == RunStatus::Interrupted {
        let hint = format!("it waits for a human: cox resume {} --answer …", run.key.id);
        context.output.note(hint);
    }
    Ok(Exit::of(run.status))
}
