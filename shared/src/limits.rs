//! Every limit there is: times (each with a name, a default and a ceiling) and sizes.
//!
//! | limit | of | default | ceiling |
//! |---|---|---|---|
//! | `run_timeout` | the whole run, from its start | 1 h | 30 d |
//! | `timeout` | a task, queueing and retries included | 10 min | 7 d |
//! | `queue_timeout` | waiting for a worker | the task's | 7 d |
//! | `attempt_timeout` | one try | 2 min | 1 d |
//! | `connect_timeout` | connecting to a remote | 5 s | 5 min |
//! | `first_byte_timeout` | waiting for the first byte or token | 30 s | 1 h |
//! | `idle_timeout` | silence between tokens or signs of progress | 30 s | 1 h |
//! | `grace` | cleaning up after a stop | 5 s | 5 min |

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// A time limit by its name: the word in the file, in the failure and in the metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The whole run, from its start.
    RunTimeout,
    /// A task, queueing and retries included.
    Timeout,
    /// Waiting for a worker.
    QueueTimeout,
    /// One try.
    AttemptTimeout,
    /// Connecting to a remote.
    ConnectTimeout,
    /// Waiting for the first byte or token.
    FirstByteTimeout,
    /// Silence between tokens or signs of progress.
    IdleTimeout,
    /// Cleaning up after a stop.
    Grace,
}

impl Limit {
    /// All limits, in the order of the table above.
    pub const ALL: [Self; 8] = [
        Self::RunTimeout,
        Self::Timeout,
        Self::QueueTimeout,
        Self::AttemptTimeout,
        Self::ConnectTimeout,
        Self::FirstByteTimeout,
        Self::IdleTimeout,
        Self::Grace,
    ];

    /// The limit's name in files, failures and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RunTimeout => "run_timeout",
            Self::Timeout => "timeout",
            Self::QueueTimeout => "queue_timeout",
            Self::AttemptTimeout => "attempt_timeout",
            Self::ConnectTimeout => "connect_timeout",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::Grace => "grace",
        }
    }

    /// What holds where a graph says nothing. `queue_timeout` follows the task's own `timeout`.
    pub const fn default(self) -> Duration {
        match self {
            Self::RunTimeout => HOUR,
            Self::Timeout | Self::QueueTimeout => Duration::from_mins(10),
            Self::AttemptTimeout => Duration::from_mins(2),
            Self::ConnectTimeout | Self::Grace => Duration::from_secs(5),
            Self::FirstByteTimeout | Self::IdleTimeout => Duration::from_secs(30),
        }
    }

    /// The largest value that a graph may ask for.
    pub const fn ceiling(self) -> Duration {
        match self {
            Self::RunTimeout => Duration::from_hours(30 * 24),
            Self::Timeout | Self::QueueTimeout => Duration::from_hours(7 * 24),
            Self::AttemptTimeout => DAY,
            Self::ConnectTimeout | Self::Grace => Duration::from_mins(5),
            Self::FirstByteTimeout | Self::IdleTimeout => HOUR,
        }
    }

    /// The smallest value that makes sense: a limit of zero would fail everything.
    pub const fn floor(self) -> Duration {
        match self {
            Self::Grace => Duration::ZERO,
            Self::RunTimeout
            | Self::Timeout
            | Self::QueueTimeout
            | Self::AttemptTimeout
            | Self::ConnectTimeout
            | Self::FirstByteTimeout
            | Self::IdleTimeout => Duration::from_millis(1),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often programs of the fleet report themselves: the store forgets those that it has not seen for a minute.
pub const REPORT_EVERY: Duration = Duration::from_secs(2);

/// How long a lease lives without a heartbeat.
pub const LEASE_TTL: Duration = Duration::from_secs(10);
/// How often a worker renews its leases.
pub const HEARTBEAT: Duration = SECOND;
/// How many plans of a run may be lost by schedulers that die over it, one after the other.
pub const LOST_PLANS_MAX: u32 = 3;
/// How many crashes of attempts that ran alone make a task a poison task.
pub const MAX_CRASHES: u32 = 3;
/// How many crashes that do not count against `max_crashes` a task may have: one beside others is the usual number, and
/// a task that kills its worker before it begins must end as well.
pub const UNCOUNTED_CRASHES_MAX: u32 = 10;
/// When a task that waits until its worker can run it alone is sent again, if its message is lost.
pub const SUSPECT_RESENT_AFTER: Duration = Duration::from_secs(30);
/// How often in a row a task that is handed back is queued again at once.
pub const HANDED_BACK_AT_ONCE: u32 = 2;
/// How long it waits the next time; that doubles.
pub const HANDED_BACK_PAUSE: Duration = SECOND;
/// The longest that it waits.
pub const HANDED_BACK_PAUSE_MAX: Duration = Duration::from_mins(1);
/// Steps of one run where the graph says nothing.
pub const MAX_STEPS: u64 = 1_000;
/// The most steps that a graph may ask for.
pub const MAX_STEPS_CEILING: u64 = 1_000_000;
/// Node runs of one run where the graph says nothing.
pub const NODE_RUNS: u64 = 100_000;
/// The most node runs that a graph may ask for.
pub const NODE_RUNS_CEILING: u64 = 100_000_000;
/// How often a node may run with the same input, or a run be in the same state, where the graph says nothing. A tenth of the
/// steps: an agent that goes round is stopped long before them, and one that asks again a few times is not.
pub const MAX_REPEATS: u64 = 100;
/// The most repeats that a graph may ask for: as many as there can be steps, so that it never comes to them.
pub const MAX_REPEATS_CEILING: u64 = MAX_STEPS_CEILING;
/// Groups of one step: fan-outs that are due at once and are dealt with as a whole.
pub const GROUPS_MAX: usize = 256;
/// Tasks of one step.
pub const FAN_OUT_MAX: usize = 10_000;
/// Tries at a task that a retry policy may ask for.
pub const RETRY_ATTEMPTS_MAX: u32 = 100;
/// Child runs that a run may have, at every depth together, where its graph says nothing.
pub const DESCENDANTS: u64 = 1_000;
/// The most child runs that a graph may ask for.
pub const DESCENDANTS_CEILING: u64 = 100_000;
/// How deep child runs may nest.
pub const CHILD_DEPTH_MAX: u32 = 8;

/// Bytes of a graph file.
pub const GRAPH_BYTES_MAX: usize = 1024 * 1024;
/// Nodes of a graph.
pub const GRAPH_NODES_MAX: usize = 1_000;
/// Edges of a graph.
pub const GRAPH_EDGES_MAX: usize = 10_000;
/// Bytes of a run's whole state as JSON.
pub const STATE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of what one task may write, as JSON.
pub const OUTCOME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of an answer from the outside, where a node says nothing.
pub const RESPONSE_BYTES: usize = 1024 * 1024;
/// The longest answer that a node may ask for: what it writes has to fit an outcome.
pub const RESPONSE_BYTES_MAX: usize = OUTCOME_BYTES_MAX;
/// Bytes of a model's answer as they are sent, where a node says nothing: each token comes in some hundred bytes.
pub const STREAM_BYTES: usize = 16 * 1024 * 1024;
/// The longest answer of a model that a node may ask for.
pub const STREAM_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Matches that a search among vectors may ask for.
pub const VECTOR_MATCHES_MAX: u64 = 1_000;
/// Items that one node may put into a collection of vectors.
pub const VECTOR_ITEMS_MAX: usize = 10_000;
/// Numbers of one vector.
pub const VECTOR_LENGTH_MAX: usize = 16_384;
/// Texts that one request may ask to be made into vectors.
pub const EMBED_BATCH_MAX: u64 = 2_048;
/// Models that a node may name to be asked in place of its own.
pub const LLM_FALLBACKS_MAX: usize = 8;
/// Bytes of a failure's message; longer ones are cut with a mark.
pub const FAILURE_BYTES_MAX: usize = 8 * 1024;
/// Bytes of one event's value.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;
/// Events that a run keeps; older ones go first.
pub const EVENTS_PER_RUN_MAX: usize = 1_000;
/// Labels of a run.
pub const LABELS_MAX: usize = 32;
/// Bytes of a label's value, a reason or an actor.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// Bytes of an operators' policy.
pub const POLICY_BYTES_MAX: usize = 128 * 1024;
/// Policies of the operators.
pub const POLICIES_MAX: usize = 100;
/// Bytes of a task message on the queue.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// Runs that wait for their turn on one thread.
pub const THREAD_QUEUE_MAX: usize = 1_000;
/// Entries of a partition's audit trail; older ones go first.
pub const AUDIT_PER_PARTITION_MAX: usize = 10_000;
/// Rows of one page of a listing.
pub const PAGE_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_lies_between_floor_and_ceiling() {
        for limit in Limit::ALL {
            assert!(limit.floor() <= limit.default() && limit.default() <= limit.ceiling(), "{limit}");
        }
    }

    #[test]
    fn a_limit_has_one_name_everywhere() {
        for limit in Limit::ALL {
            assert_eq!(serde_json::to_value(limit).unwrap(), limit.name());
        }
    }

    #[test]
    fn a_lease_outlives_three_missed_heartbeats() {
        assert!(LEASE_TTL >= HEARTBEAT * 3);
    }
}
