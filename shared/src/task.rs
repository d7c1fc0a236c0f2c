//! A task's life in the store: its [`TaskState`] and the events that move it.
//!
//! | from | admitted | child made | due | claimed | retried | handed back | lease expired | stop ordered | settled |
//! |---|---|---|---|---|---|---|---|---|---|
//! | pending | queued | child | – | – | – | – | – | – | settled |
//! | queued | – | – | queued | leased | – | – | – | – | settled |
//! | delayed | – | – | queued | – | – | – | – | – | settled |
//! | waiting | – | – | settled | – | – | – | – | – | settled |
//! | human | – | – | – | – | – | – | – | – | settled |
//! | child | – | – | – | – | – | – | – | – | settled |
//! | leased | – | – | – | leased | delayed | queued | queued | stopping | settled |
//! | stopping | – | – | – | – | – | – | – | – | settled |
//! | settled | – | – | – | – | – | – | – | – | – |
//!
//! `due` is its time on the agenda: a queued task is sent (again), a delayed one is queued, a waiting one is done.
//! `claimed` on a leased task is a takeover of a silent lease. `settled` on a task without a lease is the store's own
//! doing: a queue timeout, a human's answer, a child's end, a stop order. A lease that expires once too often settles as crashed.
//! `stop ordered` is an order to this task alone; a task without a lease is settled by it at once. An order to the whole
//! run leaves the states of its tasks as they are. A task that is handed back again and again is delayed, as if `retried`.
//! `every_pair_follows_the_table` walks all of it.

use std::fmt::Display;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::duration;
use crate::id::{AttemptNumber, ChannelName, Fence, NodeName, PoolName, TaskId, WorkerId};
use crate::limits::{HANDED_BACK_AT_ONCE, HANDED_BACK_PAUSE, HANDED_BACK_PAUSE_MAX, UNCOUNTED_CRASHES_MAX};
use crate::outcome::{Failure, Outcome};
use crate::priority::{Lane, Priority};
use crate::stop::StopProof;
use crate::submission::NewRun;
use crate::time::Timestamp;

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Waits for its turn: its fan-out runs only so many items at a time.
    Pending,
    /// May be claimed; a message about it is on its way, or on the queue.
    Queued,
    /// Waits for its next try.
    Delayed,
    /// Waits for its time: a `wait` node. It holds no worker.
    Waiting,
    /// Waits for a human: an `interrupt` node.
    Human,
    /// Waits for a child run: a `graph` node.
    Child,
    /// A worker has it.
    Leased,
    /// A worker has it, and was ordered to stop it.
    Stopping,
    /// It has its outcome.
    Settled,
}

/// What happens to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskEvent {
    /// It is its turn.
    Admitted,
    /// It is its turn, and the child run that stands for it was made.
    ChildMade,
    /// Its time on the agenda has come.
    Due,
    /// A worker claimed it.
    Claimed,
    /// The try failed, or was put off; another one follows later.
    Retried,
    /// Its worker gave it back untried.
    HandedBack,
    /// Its worker fell silent.
    LeaseExpired,
    /// It was ordered to stop, and is a worker's.
    StopOrdered,
    /// It was given its outcome.
    Settled,
}

/// An event that the state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a task that is {from:?} cannot take the event {event:?}")]
pub struct IllegalTransition {
    /// The state the task had.
    pub from: TaskState,
    /// What was to happen.
    pub event: TaskEvent,
}

impl TaskState {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Queued,
        Self::Delayed,
        Self::Waiting,
        Self::Human,
        Self::Child,
        Self::Leased,
        Self::Stopping,
        Self::Settled,
    ];

    /// The state after an event.
    pub fn next(self, event: TaskEvent) -> Result<Self, IllegalTransition> {
        match (self, event) {
            (Self::Pending, TaskEvent::Admitted)
            | (Self::Queued | Self::Delayed, TaskEvent::Due)
            | (Self::Leased, TaskEvent::HandedBack | TaskEvent::LeaseExpired) => Ok(Self::Queued),
            (Self::Pending, TaskEvent::ChildMade) => Ok(Self::Child),
            (Self::Queued | Self::Leased, TaskEvent::Claimed) => Ok(Self::Leased),
            (Self::Leased, TaskEvent::Retried) => Ok(Self::Delayed),
            (Self::Leased, TaskEvent::StopOrdered) => Ok(Self::Stopping),
            (Self::Waiting, TaskEvent::Due) => Ok(Self::Settled),
            (from, TaskEvent::Settled) if from != Self::Settled => Ok(Self::Settled),
            (from, event) => Err(IllegalTransition { from, event }),
        }
    }

    /// Whether a worker has a lease of it.
    pub const fn has_lease(self) -> bool {
        matches!(self, Self::Leased | Self::Stopping)
    }

    /// The state's name in files and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Queued => "queued",
            Self::Delayed => "delayed",
            Self::Waiting => "waiting",
            Self::Human => "human",
            Self::Child => "child",
            Self::Leased => "leased",
            Self::Stopping => "stopping",
            Self::Settled => "settled",
        }
    }

    /// The state of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// How a new task gets done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "dispatch", rename_all = "snake_case")]
pub enum Dispatch {
    /// By a worker of a pool.
    Queue {
        /// Which pool.
        pool: PoolName,
        /// Its run's priority.
        #[serde(default, skip_serializing_if = "Priority::is_normal")]
        priority: Priority,
    },
    /// By a worker of a pool, once it is its turn in its group.
    Pending {
        /// Which pool.
        pool: PoolName,
        /// Its run's priority.
        #[serde(default, skip_serializing_if = "Priority::is_normal")]
        priority: Priority,
    },
    /// By the passing of time.
    Wait {
        /// How long, from the moment the task is made.
        #[serde(with = "duration")]
        length: Duration,
    },
    /// By a human's answer.
    Human {
        /// What the human is shown.
        payload: Value,
    },
    /// By a child run, made in the same script.
    Child {
        /// The child.
        run: Box<NewRun>,
    },
    /// By a child run, made once it is its turn in its group.
    PendingChild {
        /// The child.
        run: Box<NewRun>,
    },
    /// It is done already: its outcome was carried over from the run that this one resumes.
    Settled {
        /// That outcome.
        outcome: Outcome,
    },
}

impl Dispatch {
    /// The lane that it waits in, if a worker does it.
    pub fn lane(&self) -> Option<Lane> {
        match self {
            Self::Queue { pool, priority } | Self::Pending { pool, priority } => {
                Some(Lane::new(pool.clone(), *priority))
            }
            Self::Wait { .. }
            | Self::Human { .. }
            | Self::Child { .. }
            | Self::PendingChild { .. }
            | Self::Settled { .. } => None,
        }
    }

    /// The child run that stands for the task, now or once it is its turn.
    pub fn child(&self) -> Option<&NewRun> {
        match self {
            Self::Child { run } | Self::PendingChild { run } => Some(run),
            Self::Queue { .. }
            | Self::Pending { .. }
            | Self::Wait { .. }
            | Self::Human { .. }
            | Self::Settled { .. } => None,
        }
    }

    /// Whether it waits for its turn.
    pub const fn is_pending(&self) -> bool {
        matches!(self, Self::Pending { .. } | Self::PendingChild { .. })
    }
}

/// A task to be made by `advance`. The store reads the fields it needs; a worker is handed the whole of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewTask {
    /// Which task.
    pub id: TaskId,
    /// How it gets done.
    #[serde(flatten)]
    pub dispatch: Dispatch,
    /// The task's time, queueing and retries included.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// How long it may wait for a worker, each time that it is queued.
    #[serde(with = "duration")]
    pub queue_timeout: Duration,
    /// The time of one try.
    #[serde(with = "duration")]
    pub attempt_timeout: Duration,
    /// How long cleaning up may take after a stop.
    #[serde(with = "duration")]
    pub grace: Duration,
    /// How many of its attempts may crash before it ends as crashed.
    pub max_crashes: u32,
    /// Whether its bad outcome fails the run, so that its siblings are stopped at once.
    pub fails_run: bool,
    /// The item of a fan-out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Value>,
    /// The channels it is handed: all of them where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<Vec<ChannelName>>,
    /// The group that it belongs to: a place in its step's list of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
}

/// Items of a node that are dealt with together: those of one fan-out. One that settles lets the next pending one have
/// its turn, so that no more are under way than at the start; and enough successes, or too many failures, stop the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The node.
    pub node: NodeName,
    /// Its first item.
    pub first: u32,
    /// How many items it has, at least 1.
    pub count: u32,
    /// After so many successes, at least 1, the others are stopped as not needed any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub need: Option<u32>,
    /// After more failures than this the others are stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_fail: Option<u32>,
}

/// A task as the store shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Which task.
    pub id: TaskId,
    /// Where it stands.
    pub state: TaskState,
    /// Tries so far that count against the retry policy.
    pub attempts: u32,
    /// Attempts that crashed while they ran alone: those that count against `max_crashes`.
    pub crashes: u32,
    /// Attempts that crashed beside others or before they began, or whose worker turned out to live.
    #[serde(default, skip_serializing_if = "is_none")]
    pub crashes_uncounted: u32,
    /// The number of the last lease; 0 if it was never claimed.
    pub fence: Fence,
    /// Who has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
    /// When it was first claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<Timestamp>,
    /// Its outcome, once settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// What a human is shown, for one that waits for a human.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// Why its last try failed, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    /// The testimony of how it was stopped, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<StopProof>,
    /// How often it was handed back in a row, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handed_back: Option<HandedBack>,
}

/// How often a task was handed back in a row: since it was last tried or put off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedBack {
    /// How often.
    pub times: u32,
    /// Whether its worker has ended it the last time by a stop order that the store does not have.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_order: bool,
}

impl HandedBack {
    /// One time more than `before`.
    pub fn after(before: Option<Self>, without_order: bool) -> Self {
        Self { times: before.map_or(0, |before| before.times).saturating_add(1), without_order }
    }

    /// How long the task waits until it is queued again: nothing at first, then ever longer.
    pub fn pause(self) -> Duration {
        let Some(doublings) = self.times.checked_sub(HANDED_BACK_AT_ONCE + 1) else { return Duration::ZERO };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX).max(1);
        HANDED_BACK_PAUSE.saturating_mul(factor).min(HANDED_BACK_PAUSE_MAX)
    }

    /// Whether somebody should know: it was handed back more often than workers that are replaced do.
    pub const fn is_remarkable(self) -> bool {
        self.without_order || self.times > HANDED_BACK_AT_ONCE
    }
}

impl std::fmt::Display for HandedBack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let times = if self.times == 1 { "once".to_owned() } else { format!("{} times in a row", self.times) };
        write!(f, "handed back {times}")?;
        f.write_str(if self.without_order {
            ", the last time after a stop order that the store does not have"
        } else {
            ""
        })
    }
}

/// Whether a lease is one of an attempt that runs alone on its worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Solitude {
    /// Others may run beside it.
    #[default]
    Shared,
    /// It was claimed to run alone; whether the worker has heard of the lease is unknown.
    Granted,
    /// Its worker has renewed it since: it has the lease, and runs the attempt alone.
    Begun,
}

impl Solitude {
    /// That of a lease that has just been given.
    pub const fn claimed(alone: bool) -> Self {
        if alone { Self::Granted } else { Self::Shared }
    }

    /// That of a lease that has just been renewed.
    #[must_use]
    pub const fn renewed(self) -> Self {
        match self {
            Self::Granted | Self::Begun => Self::Begun,
            Self::Shared => Self::Shared,
        }
    }
}

/// Whether a task has crashed as often as is allowed.
pub const fn has_crashed_out(crashes: u32, uncounted: u32, max_crashes: u32) -> bool {
    crashes >= max_crashes || uncounted >= UNCOUNTED_CRASHES_MAX
}

/// What the failure of such a task says.
pub fn crashed_message(crashes: impl Display, uncounted: impl Display) -> String {
    format!(
        "{crashes} attempts crashed while they ran alone on their worker, and {uncounted} beside others or before they began: \
         the workers died, or fell silent for too long"
    )
}

/// Whether a count need not be written.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
pub(crate) const fn is_none(count: &u32) -> bool {
    *count == 0
}

impl Task {
    /// The number of the last try, from 1; 0 if there was none.
    pub const fn last_attempt(&self) -> AttemptNumber {
        AttemptNumber::new(self.attempts + self.crashes + self.crashes_uncounted)
    }
}

impl Group {
    /// Why its other tasks are stopped once enough have succeeded.
    pub const ENOUGH: &str = "it has the successes that it needs";
    /// Why they are once more have failed than may.
    pub const TOO_MANY_FAILED: &str = "too many of its items failed";
    /// What comes before such a reason, in the outcome of a task that was stopped for it.
    pub const BY: &str = "by its fan-out: ";
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [TaskEvent; 9] = [
        TaskEvent::Admitted,
        TaskEvent::ChildMade,
        TaskEvent::Due,
        TaskEvent::Claimed,
        TaskEvent::Retried,
        TaskEvent::HandedBack,
        TaskEvent::LeaseExpired,
        TaskEvent::StopOrdered,
        TaskEvent::Settled,
    ];

    #[test]
    fn a_task_that_is_handed_back_again_and_again_waits_ever_longer_and_never_too_long() {
        let mut last = None;
        let pauses: Vec<_> = (0..9)
            .map(|_| {
                let next = HandedBack::after(last, false);
                last = Some(next);
                next.pause().as_secs()
            })
            .collect();
        assert_eq!(pauses, [0, 0, 1, 2, 4, 8, 16, 32, 60]);
        for times in [40, u32::MAX] {
            assert_eq!(HandedBack { times, without_order: false }.pause(), HANDED_BACK_PAUSE_MAX);
        }
    }

    #[test]
    fn every_pair_follows_the_table() {
        let doc = include_str!("task.rs");
        for state in TaskState::ALL {
            let cells = EVENTS.map(|event| state.next(event).map_or("–", TaskState::name));
            let row = format!("//! | {} | {} |", state.name(), cells.join(" | "));
            assert!(doc.contains(&row), "the module's table lacks the row: {row}");
        }
    }
}
