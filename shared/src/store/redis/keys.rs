//! The names of the keys. `{…}` is the hash tag: keys that share it share a slot of a cluster.
//!
//! | key | holds |
//! |---|---|
//! | `P:{p}:` | a partition: never a key itself, but the prefix of all its keys, and what routes a script |
//! | `P:{p}:run:RUN` | a run's record, a hash |
//! | `P:{p}:step:RUN:N` | the tasks of a step, a hash (see `lua/base.lua`) |
//! | `P:{p}:ckpt:RUN`, `val:RUN`, `ev:RUN`, `kids:RUN` | checkpoints and events by number, values by `channel@version`, open children |
//! | `P:{p}:thread:T`, `queue:T`, `of:T` | a thread, the runs that wait on it, all its runs |
//! | `P:{p}:agenda`, `ready`, `deadlines`, `forget` | what is due when |
//! | `P:{p}:idx`, `live`, `end:STATUS`, `audit`, `early:RUN` | listings, the audit trail, orders for runs to come |
//! | `P:{p}:ends` | how many runs have ended, by `STATUS|CAUSE`, and tasks by `task|CAUSE`, a hash |
//! | `P:loc:{RUN}` | where a run is: its locator |
//! | `P:up:{HOST:PORT}:rate`, `P:up:{HOST:PORT}:breaker` | when an upstream may be called, and whether |
//! | `P:{p}:policies`, `P:meter:{POLICY:SUBJECT}:PART` | the operators' policies (`p`: of the thread `policies`), and what they count |
//! | `P:load:{POOL}` | how a pool is judged, a hash |
//! | `P:graph:{HASH}`, `P:{workers}:…`, `P:{store}:meta` | graphs, workers, what the database was made with |
//!
//! The channels `P:DATABASE:stop` and `P:DATABASE:ready` are no keys.

use std::fmt;

use crate::id::{GraphHash, Partition, PolicyName, PoolName, RunId, RunKey, Step, ThreadId};
use crate::upstream::UpstreamName;

/// Makes the names under one prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
    database: i64,
}

impl Keys {
    pub(super) fn new(prefix: &str, database: i64) -> Self {
        Self { prefix: prefix.to_owned(), database }
    }

    pub(super) fn partition(&self, partition: Partition) -> String {
        format!("{}:{{{partition}}}:", self.prefix)
    }

    /// A key of a partition, by what comes after its prefix.
    pub(super) fn of(&self, partition: Partition, rest: impl fmt::Display) -> String {
        format!("{}:{{{partition}}}:{rest}", self.prefix)
    }

    pub(super) fn run(&self, run: &RunKey) -> String {
        self.of(run.partition, format_args!("run:{}", run.id))
    }

    pub(super) fn step(&self, run: &RunKey, step: Step) -> String {
        self.of(run.partition, format_args!("step:{}:{step}", run.id))
    }

    pub(super) fn checkpoints(&self, run: &RunKey) -> String {
        self.of(run.partition, format_args!("ckpt:{}", run.id))
    }

    pub(super) fn values(&self, run: &RunKey) -> String {
        self.of(run.partition, format_args!("val:{}", run.id))
    }

    pub(super) fn events(&self, run: &RunKey) -> String {
        self.of(run.partition, format_args!("ev:{}", run.id))
    }

    pub(super) fn thread(&self, partition: Partition, thread: &ThreadId) -> String {
        self.of(partition, format_args!("thread:{thread}"))
    }

    pub(super) fn queue(&self, partition: Partition, thread: &ThreadId) -> String {
        self.of(partition, format_args!("queue:{thread}"))
    }

    pub(super) fn locator(&self, run: &RunId) -> String {
        format!("{}:loc:{{{run}}}", self.prefix)
    }

    pub(super) fn graph(&self, hash: &GraphHash) -> String {
        format!("{}:graph:{{{hash}}}", self.prefix)
    }

    pub(super) fn workers_seen(&self) -> String {
        format!("{}:{{workers}}:seen", self.prefix)
    }

    pub(super) fn worker_records(&self) -> String {
        format!("{}:{{workers}}:records", self.prefix)
    }

    /// What is kept of an upstream.
    pub(super) fn upstream(&self, upstream: &UpstreamName, what: &str) -> String {
        format!("{}:up:{{{upstream}}}:{what}", self.prefix)
    }

    /// What a policy counts of a subject, in parts of so many milliseconds.
    pub(super) fn meter(&self, policy: &PolicyName, subject: &str, part: i64) -> String {
        format!("{}:meter:{{{policy}:{subject}}}:{part}", self.prefix)
    }

    /// How a pool is judged.
    pub(super) fn load(&self, pool: &PoolName) -> String {
        format!("{}:load:{{{pool}}}", self.prefix)
    }

    pub(super) fn meta(&self) -> String {
        format!("{}:{{store}}:meta", self.prefix)
    }

    /// What a probe writes.
    pub(super) fn probe(&self) -> String {
        format!("{}:{{store}}:probe", self.prefix)
    }

    /// The pub/sub channel of stop orders: `RUN MADE-AT REPORT`.
    pub(super) fn stop_channel(&self) -> String {
        self.channel("stop")
    }

    /// The pub/sub channel of runs that became ready: `PARTITION`.
    pub(super) fn ready_channel(&self) -> String {
        self.channel("ready")
    }

    /// Channels are shared by all databases of a server, unlike keys: so the database is part of the name.
    fn channel(&self, what: &str) -> String {
        format!("{}:{}:{what}", self.prefix, self.database)
    }
}
