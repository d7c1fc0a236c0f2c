//! Checkpoints: the state of a run after a step; immutable, each with a parent.
//!
//! A checkpoint names the *version* of each channel: the step that wrote it. Values are stored once per version, so a
//! channel that did not change costs a few bytes and no copy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{ChannelName, NodeName, RunId, Step, TaskId};
use crate::outcome::{Failure, OutcomeKind};
use crate::rounds::Rounds;
use crate::task::is_none;
use crate::time::Timestamp;

/// The version of the format that is written. A checkpoint of a later one is refused, never guessed at.
pub const CHECKPOINT_FORMAT: u32 = 1;

/// The values of a run's channels.
pub type Values = BTreeMap<ChannelName, Value>;

/// Where a checkpoint comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum Source {
    /// The input of a run on a fresh or continued thread.
    Input,
    /// Another run's checkpoint, from which this run goes on.
    Resumed {
        /// That run.
        #[serde(rename = "origin")]
        run: RunId,
        /// That checkpoint. Its name in JSON differs from that of the checkpoint's own step, which stands beside it.
        #[serde(rename = "origin_step")]
        step: Step,
    },
    /// A step that was completed.
    Step,
}

/// One node that is due next, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// The node.
    pub node: NodeName,
    /// The `for_each` edges (their places in the graph's list) that fan it out; none for a plain visit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub for_each: Vec<usize>,
}

/// What one task of a step did, for history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ran {
    /// The task.
    pub task: TaskId,
    /// How it ended.
    pub outcome: OutcomeKind,
    /// Tries it took.
    pub attempts: u32,
    /// Attempts that crashed while they ran alone.
    #[serde(default)]
    pub crashes: u32,
    /// Attempts that crashed beside others, or before they began.
    #[serde(default, skip_serializing_if = "is_none")]
    pub crashes_uncounted: u32,
    /// When it was first claimed; absent for one that no worker ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<Timestamp>,
    /// The channels it wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wrote: Vec<ChannelName>,
    /// Why it ended badly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What became of the failure: `fallback`, or `goto NODE`; absent if it failed the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled: Option<String>,
}

impl Ran {
    /// How long it took from its first claim until it settled.
    pub fn took(&self) -> Option<Duration> {
        Some(self.settled_at?.since(self.started_at?))
    }
}

/// The state of a run after a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The format, [`CHECKPOINT_FORMAT`] when written by this version.
    pub format: u32,
    /// The step it follows; 0 is the input's.
    pub step: Step,
    /// Where it comes from.
    #[serde(flatten)]
    pub source: Source,
    /// The version of each channel that has a value: the step that wrote it.
    pub versions: BTreeMap<ChannelName, Step>,
    /// What ran in the step, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ran: Vec<Ran>,
    /// What is due next; empty at the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<Due>,
    /// For each waiting join (its place in the graph's list of edges), the nodes that have arrived.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub joins: BTreeMap<usize, BTreeSet<NodeName>>,
    /// Node runs so far, this step's included.
    pub node_runs: u64,
    /// What the run has met before, once it has taken more steps than its graph has nodes.
    #[serde(default, skip_serializing_if = "Rounds::is_empty")]
    pub rounds: Rounds,
}

/// A checkpoint with when it was stored, as history shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredCheckpoint {
    /// The checkpoint.
    #[serde(flatten)]
    pub checkpoint: Checkpoint,
    /// When it was stored, by the store's clock.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_reads_back_from_json_whatever_its_source() {
        let resumed = Source::Resumed { run: RunId::new("r1").unwrap(), step: Step::new(7) };
        for source in [Source::Input, resumed, Source::Step] {
            let checkpoint = Checkpoint {
                format: CHECKPOINT_FORMAT,
                step: Step::new(3),
                source,
                versions: BTreeMap::new(),
                ran: Vec::new(),
                next: Vec::new(),
                joins: BTreeMap::new(),
                node_runs: 1,
                rounds: Rounds::default(),
            };
            let stored = StoredCheckpoint { checkpoint, at: Timestamp::from_millis(1) };
            let json = serde_json::to_string(&stored).unwrap();
            assert_eq!(serde_json::from_str::<StoredCheckpoint>(&json).unwrap(), stored, "{json}");
        }
    }
}
