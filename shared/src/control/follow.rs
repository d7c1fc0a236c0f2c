//! Follows a run until its end, whichever process works on it: looks at the store again and again, at once when it
//! pushes something, seldom while nothing happens.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::Error;
use super::look::find;
use super::patience::patiently;
use crate::checkpoint::StoredCheckpoint;
use crate::id::{Fence, Revision, RunId, Step, TaskId};
use crate::outcome::FailureKind;
use crate::policing;
use crate::run::RunStatus;
use crate::stop::StopReport;
use crate::store::{Event, Run, Signal, SignalReceiver, Store, Trouble, tasks_where};
use crate::task::{Task, TaskState};

/// The shortest and longest pause between two looks: below what an eye can follow, above what would load a store.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));

/// How long a store may stay away before following it is given up.
pub const FOLLOW_PATIENCE: Duration = Duration::from_mins(1);

/// Checkpoints and events of one look; more of them come with the next.
const PAGE: usize = 200;

/// Tasks of one look. Those of a wider step are looked at in turn, so many at a time.
const TASKS: usize = 256;

/// What happened to a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "progress", rename_all = "snake_case")]
pub enum Progress {
    /// Its status is another one, or is seen for the first time.
    Status {
        /// The status.
        status: RunStatus,
        /// The step in flight.
        step: Step,
    },
    /// A step is complete. Tasks that were too quick to be seen are in its rows.
    Checkpoint(StoredCheckpoint),
    /// A task of the step in flight has changed.
    Task {
        /// What became of it.
        change: TaskChange,
        /// The task.
        task: Box<Task>,
    },
    /// A node reported something.
    Event(Event),
    /// It was ordered to stop, or the carrying out of the order has got further. The order comes first, as it was given.
    Stop(StopReport),
    /// A policy has no room for it: it goes on once there is.
    HeldUp {
        /// Which one, and when there is room.
        why: String,
    },
    /// The store does not answer; it is asked again.
    Unavailable {
        /// What it said.
        why: String,
        /// What can be done about it.
        remedy: String,
    },
    /// It has ended. Nothing follows.
    Ended(Box<Run>),
}

/// What became of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskChange {
    /// It is under way.
    Started,
    /// Its try failed, and another one follows.
    Retrying,
    /// It was put off: what it needs is not to be had now. That was no try, and it comes back.
    PutOff,
    /// Its workers have handed it back again and again: it comes back after a pause.
    HandedBack,
    /// It waits for a human.
    Asking,
    /// It has its outcome.
    Settled,
}

/// Follows one run.
#[derive(Debug)]
pub struct Follow {
    store: Arc<dyn Store>,
    run: RunId,
    signals: Option<SignalReceiver>,
    seen: Seen,
    told: VecDeque<Progress>,
    pause: Duration,
    look_from: Instant,
    look_by: Instant,
    away_since: Option<Instant>,
}

/// What was told already.
#[derive(Debug, Default)]
struct Seen {
    status: Option<RunStatus>,
    revision: Option<Revision>,
    next_checkpoint: Step,
    tasks: BTreeMap<TaskId, (TaskState, Fence)>,
    /// Where the tasks of the next look begin, in this step.
    tasks_from: (Step, usize),
    last_event: u64,
    /// Events of earlier steps are passed over.
    events_from: Step,
    stop: Option<StopReport>,
    is_held_up: bool,
    has_ended: bool,
}

/// One look at a run.
#[derive(Debug)]
struct Look {
    run: Run,
    checkpoints: Vec<StoredCheckpoint>,
    tasks: Vec<Task>,
    events: Vec<Event>,
    held_up: Option<String>,
}

impl Follow {
    /// Follows a run from its beginning.
    pub fn new(store: Arc<dyn Store>, run: RunId) -> Self {
        let signals = Some(store.signals());
        let seen = Seen::default();
        let (pause, now) = (PAUSES.0, Instant::now());
        let told = VecDeque::new();
        Self { store, run, signals, seen, told, pause, look_from: now, look_by: now, away_since: None }
    }

    /// The same, without what happened up to now.
    #[must_use]
    pub const fn from_step(mut self, step: Step) -> Self {
        self.seen.next_checkpoint = step;
        self.seen.events_from = step;
        self
    }

    /// Whether something that was seen already is still to be told.
    pub fn has_more(&self) -> bool {
        !self.told.is_empty()
    }

    /// What happened next; nothing after the end. Cancel safe; but a look that is dropped is made anew, so keep the future.
    pub async fn next(&mut self) -> Result<Option<Progress>, Error> {
        loop {
            if let Some(progress) = self.told.pop_front() {
                return Ok(Some(progress));
            }
            if self.seen.has_ended {
                return Ok(None);
            }
            self.wait().await;
            match look(self.store.as_ref(), &self.run, &self.seen).await {
                Ok(look) => self.tell(look),
                Err(Error::Store(error)) if error.is_retryable() && self.is_patient() => {
                    self.pause_for(PAUSES.1);
                    if self.away_since.is_none() {
                        self.away_since = Some(Instant::now());
                        let Trouble { why, remedy } = Trouble::of(&error);
                        self.told.push_back(Progress::Unavailable { why, remedy });
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn is_patient(&self) -> bool {
        self.away_since.is_none_or(|since| since.elapsed() < FOLLOW_PATIENCE)
    }

    fn tell(&mut self, look: Look) {
        self.away_since = None;
        self.told.extend(self.seen.observe(look));
        let is_quiet = self.told.is_empty();
        self.pause_for(if is_quiet { (self.pause * 3 / 2).min(PAUSES.1) } else { PAUSES.0 });
    }

    /// Looks again after a pause; at the shortest pause's end, if the store pushes something about this run by then.
    fn pause_for(&mut self, pause: Duration) {
        let now = Instant::now();
        self.pause = pause;
        self.look_from = now + PAUSES.0;
        self.look_by = now + pause;
    }

    /// Waits until it is time to look. Dropped and called again it goes on waiting, not anew.
    async fn wait(&mut self) {
        tokio::time::sleep_until(self.look_from).await;
        let Some(signals) = &mut self.signals else { return tokio::time::sleep_until(self.look_by).await };
        let pushed = async {
            loop {
                match signals.recv().await {
                    Ok(Signal::Stop { run, .. }) if run != self.run => {}
                    // A partition has many runs; whether it is this one the look says.
                    Ok(
                        Signal::Stop { .. }
                        | Signal::StopTasks { .. }
                        | Signal::Ready(_)
                        | Signal::Due(_)
                        | Signal::Lost,
                    )
                    | Err(RecvError::Lagged(_)) => {
                        return true;
                    }
                    Err(RecvError::Closed) => return false,
                }
            }
        };
        if tokio::time::timeout_at(self.look_by, pushed).await == Ok(false) {
            self.signals = None;
        } else {
            // What was pushed is heard: should the look be dropped, it is made at once the next time.
            self.look_by = self.look_from;
        }
    }
}

/// Reads what may have changed. The run comes first: once it has ended, what is read after it is complete.
async fn look(store: &dyn Store, run: &RunId, seen: &Seen) -> Result<Look, Error> {
    let run = find(store, run).await?;
    let key = &run.key;
    let has_moved = seen.revision != Some(run.revision);
    let checkpoints = if has_moved {
        patiently(async || store.checkpoints(key, seen.next_checkpoint, PAGE).await).await?
    } else {
        Vec::new()
    };
    let from = if seen.tasks_from.0 == run.step { seen.tasks_from.1 } else { 0 };
    let tasks = if run.status.is_final() {
        patiently(async || tasks_where(store, key, run.step, |_| true).await).await?
    } else {
        patiently(async || store.tasks(key, run.step, from, TASKS).await).await?
    };
    let events = patiently(async || store.events(key, seen.last_event, PAGE).await).await?;
    // A run that has just moved is on its way.
    let halt = if has_moved { None } else { patiently(async || policing::held_up(store, &run).await).await? };
    let held_up = halt.map(|halt| halt.reached.to_string());
    Ok(Look { run, checkpoints, tasks, events, held_up })
}

impl Seen {
    /// What is new in a look.
    fn observe(&mut self, look: Look) -> Vec<Progress> {
        let Look { run, checkpoints, tasks, events, held_up } = look;
        let is_whole = checkpoints.len() < PAGE && events.len() < PAGE;
        let mut news = Vec::new();
        if self.status != Some(run.status) && !run.status.is_final() {
            news.push(Progress::Status { status: run.status, step: run.step });
        }
        self.status = Some(run.status);
        self.revision = if checkpoints.len() < PAGE { Some(run.revision) } else { None };
        for stored in checkpoints {
            self.next_checkpoint = stored.checkpoint.step.next();
            news.push(Progress::Checkpoint(stored));
        }
        if let Some(report) = run.stop.as_ref().filter(|_| self.stop.is_none()) {
            let as_ordered = as_ordered(report);
            self.stop = Some(as_ordered.clone());
            news.push(Progress::Stop(as_ordered));
        }
        let (step, from) = self.tasks_from;
        let seen = if step == run.step { from + tasks.len() } else { tasks.len() };
        self.tasks_from = (run.step, if tasks.len() == TASKS { seen } else { 0 });
        news.extend(self.observe_tasks(run.step, tasks));
        for event in events {
            self.last_event = event.seq;
            if event.event.task.step >= self.events_from {
                news.push(Progress::Event(event));
            }
        }
        // When there is room changes from look to look; that there is none is told once.
        let was_held_up = std::mem::replace(&mut self.is_held_up, held_up.is_some());
        news.extend(held_up.filter(|_| !was_held_up).map(|why| Progress::HeldUp { why }));
        if let Some(report) = run.stop.as_ref().filter(|report| self.stop.as_ref() != Some(report)) {
            self.stop = Some(report.clone());
            news.push(Progress::Stop(report.clone()));
        }
        if run.status.is_final() && is_whole {
            self.has_ended = true;
            news.push(Progress::Ended(Box::new(run)));
        }
        news
    }

    /// A completed step's tasks are told by its checkpoint.
    fn observe_tasks(&mut self, step: Step, tasks: Vec<Task>) -> Vec<Progress> {
        self.tasks.retain(|task, _| task.step == step);
        let mut news = Vec::new();
        for task in tasks.into_iter().filter(|task| task.id.step >= self.next_checkpoint) {
            // That one is to stop is told by its end.
            let state = if task.state == TaskState::Stopping { TaskState::Leased } else { task.state };
            let now = (state, task.fence);
            let before = self.tasks.insert(task.id.clone(), now);
            if before == Some(now) {
                continue;
            }
            if let Some(change) = change(&task) {
                news.push(Progress::Task { change, task: Box::new(task) });
            }
        }
        news
    }
}

/// A report as it was when the order was given.
fn as_ordered(report: &StopReport) -> StopReport {
    StopReport { forced_at: None, released: 0, unconfirmed: 0, closed_at: None, ..report.clone() }
}

fn change(task: &Task) -> Option<TaskChange> {
    let was_put_off = || task.last_failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::PutOff);
    match task.state {
        TaskState::Pending | TaskState::Queued => None,
        TaskState::Delayed if task.handed_back.is_some() => Some(TaskChange::HandedBack),
        TaskState::Delayed if was_put_off() => Some(TaskChange::PutOff),
        TaskState::Delayed => Some(TaskChange::Retrying),
        TaskState::Human => Some(TaskChange::Asking),
        TaskState::Waiting | TaskState::Child | TaskState::Leased | TaskState::Stopping => Some(TaskChange::Started),
        TaskState::Settled => Some(TaskChange::Settled),
    }
}
