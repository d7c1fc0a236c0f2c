//! What a run is made from: its graph, thread, input, and what it does to the run in flight on its thread.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checkpoint::Values;
use crate::duration;
use crate::id::{GraphHash, GraphName, NodeName, RunId, Step, TaskId, ThreadId};
use crate::priority::Priority;
use crate::spend::Budget;

/// What a new run does to the one in flight on its thread. The names are LangGraph's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// It is refused.
    Reject,
    /// It waits for its turn.
    #[default]
    Enqueue,
    /// The one in flight is stopped (cause `superseded`) and its state kept; then the new one starts.
    Interrupt,
    /// The one in flight is stopped, and its state taken back; then the new one starts.
    Rollback,
}

impl OnConflict {
    /// The strategy's name in files and flags.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Enqueue => "enqueue",
            Self::Interrupt => "interrupt",
            Self::Rollback => "rollback",
        }
    }
}

/// Where a run's state begins.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "start", rename_all = "snake_case")]
pub enum Start {
    /// At START, over the state that its thread has by then.
    #[default]
    Fresh,
    /// At another run's checkpoint: with its state, and what was due next there.
    From {
        /// That run; of the same thread.
        run: RunId,
        /// That checkpoint.
        step: Step,
        /// Values set by hand before it goes on: each replaces its channel's.
        #[serde(default, skip_serializing_if = "Values::is_empty")]
        update: Values,
    },
}

/// The task of a parent run that a child run stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The parent.
    pub run: RunId,
    /// Its task.
    pub task: TaskId,
    /// How deep the child is nested, from 1.
    pub depth: u32,
}

/// What of a run only the planner and people read; the store keeps it whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// The input: values written to channels at the start.
    #[serde(default)]
    pub input: Values,
    /// Where the state begins.
    #[serde(flatten)]
    pub start: Start,
    /// Pause before these nodes run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interrupt_before: Vec<NodeName>,
    /// Pause after these nodes have run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interrupt_after: Vec<NodeName>,
    /// What the submitter sticks on it, to find it by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Who submitted it.
    #[serde(default)]
    pub actor: String,
    /// Why, of a run that goes on where another has ended; for the audit trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Overrides the graph's `max_steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u64>,
    /// What it may spend at models, its child runs included.
    #[serde(default, skip_serializing_if = "Budget::is_unlimited")]
    pub budget: Budget,
    /// How urgent it is, and with it every task and child run of it.
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
}

/// A run to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewRun {
    /// Its id; making it again with the same id changes nothing.
    pub id: RunId,
    /// Its thread; a run on its own has its id as thread.
    pub thread: ThreadId,
    /// Its graph's name.
    pub graph: GraphName,
    /// Its graph's exact version; stored before with `put_graph`.
    pub graph_hash: GraphHash,
    /// What it does to a run in flight on its thread.
    pub on_conflict: OnConflict,
    /// How long it may take from its start.
    #[serde(with = "duration")]
    pub run_timeout: Duration,
    /// The parent's task, for a child run. A child is made by `advance` alone, and is on no thread's queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// The rest.
    pub spec: RunSpec,
}
