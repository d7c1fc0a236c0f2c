//! The warm processes of a worker: those that are idle, how many there may be, and when they are ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use coxswain_shared::expr::Scope;
use coxswain_shared::graph::ExecNode;
use coxswain_shared::lifecycle::Tasks;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::process::{END_GRACE, Process};
use crate::handler::{Context, NodeError};
use crate::kind::exec::command::{Setting, Start, own_variables};
use crate::metrics::Metrics;

/// Beyond the end of its processes: time to see them gone when the pool is closed.
const CLOSING: Duration = Duration::from_millis(500);

/// What processes are started with, beside what their nodes say.
#[derive(Debug)]
pub(in crate::kind::exec) struct Starter {
    pub(in crate::kind::exec) setting: Arc<Setting>,
    pub(in crate::kind::exec) metrics: Metrics,
}

/// How many processes there may be, and for how long.
#[derive(Debug, Clone, Copy)]
pub(in crate::kind::exec) struct Limits {
    /// Processes, busy and idle ones together: as many as the worker has slots.
    pub(in crate::kind::exec) processes: u16,
    /// How long a process may take until it is ready.
    pub(in crate::kind::exec) start: Duration,
    /// How long a process without a task is kept.
    pub(in crate::kind::exec) idle: Duration,
}

/// What processes must have in common to serve the same tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    command: Vec<String>,
    env: BTreeMap<String, String>,
    pub(super) cwd: Option<String>,
}

impl Key {
    /// The program's name, for messages.
    pub(super) fn program(&self) -> &str {
        self.command.first().map_or("", String::as_str)
    }
}

/// A worker's warm processes.
#[derive(Debug)]
pub(in crate::kind::exec) struct Pool {
    starter: Starter,
    limits: Limits,
    /// A permit for each process that may still be started.
    room: Arc<Semaphore>,
    state: Mutex<State>,
    tasks: Tasks,
}

#[derive(Debug, Default)]
struct State {
    /// Those without a task; the longest idle first.
    idle: Vec<Idle>,
    /// Whether the keeper runs.
    is_kept: bool,
    /// Whether nothing is kept any more.
    is_closed: bool,
}

#[derive(Debug)]
struct Idle {
    process: Process,
    since: Instant,
}

impl Pool {
    pub(in crate::kind::exec) fn new(starter: Starter, limits: Limits) -> Self {
        let room = Arc::new(Semaphore::new(usize::from(limits.processes)));
        Self { starter, limits, room, state: Mutex::default(), tasks: Tasks::new() }
    }

    /// A process for an attempt: an idle one, or a new one. Waits only as long as there is no reason to end the attempt.
    pub(super) async fn take(&self, node: &ExecNode, ctx: &Context) -> Result<Process, NodeError> {
        let env = own_variables(node, &Scope::empty(ctx.evaluations()))?;
        let key = Key { command: node.command.clone(), env, cwd: node.cwd.clone() };
        let mut process = match self.reuse(&key) {
            Some(process) => process,
            None => self.start(node, key, ctx).await?,
        };
        process.lend(ctx);
        Ok(process)
    }

    /// Takes back a process whose task has ended well.
    pub(super) fn give_back(self: &Arc<Self>, mut process: Process) {
        process.rest();
        let mut state = self.state();
        if state.is_closed {
            drop(state);
            return self.end(process);
        }
        state.idle.push(Idle { process, since: Instant::now() });
        if !std::mem::replace(&mut state.is_kept, true) {
            drop(self.tasks.spawn(keep(Arc::downgrade(self))));
        }
    }

    /// Ends all processes that have no task, and waits for a moment until none is left.
    pub(in crate::kind::exec) async fn close(&self) {
        let idle = {
            let mut state = self.state();
            state.is_closed = true;
            std::mem::take(&mut state.idle)
        };
        for Idle { process, .. } in idle {
            self.end(process);
        }
        let all = self.room.acquire_many(u32::from(self.limits.processes));
        if tokio::time::timeout(END_GRACE + CLOSING, all).await.is_err() {
            tracing::warn!("warm processes were left behind: they are killed");
        }
    }

    async fn start(&self, node: &ExecNode, key: Key, ctx: &Context) -> Result<Process, NodeError> {
        let Starter { setting, metrics } = &self.starter;
        let mut environment: BTreeMap<_, _> = setting.passed_on.iter().cloned().collect();
        environment.extend(key.env.clone());
        let start = Start::new(node, environment, setting)?;
        let room = tokio::select! {
            biased;
            _ = ctx.stopped() => return Err(NodeError::Stopped),
            room = self.room() => room,
        };
        Process::start((start, key), room, (ctx, metrics), self.limits.start).await
    }

    /// The idle process that was used last, so that the surplus grows old and is ended.
    fn reuse(&self, key: &Key) -> Option<Process> {
        loop {
            let mut process = {
                let mut state = self.state();
                let at = state.idle.iter().rposition(|idle| idle.process.key == *key)?;
                state.idle.remove(at).process
            };
            let Some(why) = process.unfit() else { return Some(process) };
            tracing::warn!(
                program = process.key.program(),
                why,
                "a warm process is replaced: it had no task, and did not wait for one"
            );
            self.end(process);
        }
    }

    /// Room for one more process; an idle one that nobody asked for makes it.
    async fn room(&self) -> OwnedSemaphorePermit {
        if let Ok(room) = Arc::clone(&self.room).try_acquire_owned() {
            return room;
        }
        let oldest = {
            let mut state = self.state();
            (!state.idle.is_empty()).then(|| state.idle.remove(0).process)
        };
        // Every other process works for an attempt that has a slot, as this one has, or ends: there will be room.
        if let Some(process) = oldest {
            self.end(process);
        }
        Arc::clone(&self.room).acquire_owned().await.expect("the room for processes is never closed")
    }

    fn end(&self, process: Process) {
        drop(self.tasks.spawn(process.end()));
    }

    /// Ends those that were idle for too long. Gives when to look again, if there is anything to look after.
    fn end_old(&self) -> Option<Instant> {
        let now = Instant::now();
        let (old, next) = {
            let mut state = self.state();
            let young = state.idle.partition_point(|idle| idle.since + self.limits.idle <= now);
            let old: Vec<_> = state.idle.drain(..young).collect();
            let next = state.idle.first().map(|idle| idle.since + self.limits.idle);
            state.is_kept = next.is_some();
            (old, next)
        };
        for Idle { process, .. } in old {
            self.end(process);
        }
        next
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the idle processes")
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

/// Ends idle processes in time, for as long as there are any.
async fn keep(pool: Weak<Pool>) {
    while let Some(next) = pool.upgrade().and_then(|pool| pool.end_old()) {
        tokio::time::sleep_until(next).await;
    }
}
