//! What a handler is told and can say: the [`Context`].

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use coxswain_shared::checkpoint::Values;
use coxswain_shared::graph::{Graph, Node, NodeKind};
use coxswain_shared::id::{AttemptNumber, Fence, NodeName, RunId, TaskId, TaskKey, ThreadId};
use coxswain_shared::limits::Limit;
use coxswain_shared::outcome::FailureKind;
use coxswain_shared::sandbox::Evaluations;
use coxswain_shared::spend::Spend;
use coxswain_shared::stop::EndReason;
use coxswain_shared::store::{Lease, Store};
use coxswain_shared::time::Timestamp;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use super::NodeError;
use crate::attempt::{Meter, Switch};
use crate::events::{Buffer, check_kind};
use crate::metrics::Metrics;
use crate::retries::Retries;

/// Hooks that one attempt may register.
const HOOKS_MAX: usize = 64;
/// Bytes of a partial output; a larger one is left out.
pub(crate) const PARTIAL_BYTES_MAX: usize = 256 * 1024;

/// A cleanup hook, made into a future when it is its turn.
pub(crate) type Hook = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// What an attempt works on: the lease, the graph, and its node.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) task: TaskKey,
    pub(crate) lease: Lease,
    pub(crate) graph: Arc<Graph>,
    /// When the try's time is up.
    pub(crate) deadline: Instant,
    /// The same, by the store's clock.
    pub(crate) deadline_at: Timestamp,
    /// The limit that is hit then.
    pub(crate) deadline_limit: Limit,
}

impl Assignment {
    /// The node. The attempt was refused before this was made if the graph has none of the name.
    pub(crate) fn node(&self) -> &Node {
        self.graph.nodes.get(&self.task.task.node).expect("an assignment is made for a node of its graph")
    }
}

/// What a handler is told and can say. Cheap to clone; all clones are the same attempt.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    assignment: Assignment,
    switch: Switch,
    events: Arc<Buffer>,
    evaluations: Evaluations,
    progressed: Mutex<Instant>,
    partial: Mutex<Option<Value>>,
    come: Mutex<Option<String>>,
    hooks: Mutex<Vec<Hook>>,
    doubt: Mutex<Option<String>>,
    meter: Meter,
    retries: Mutex<Option<Arc<Retries>>>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let assignment = &self.0.assignment;
        f.debug_struct("Context")
            .field("run", &assignment.task.run.id)
            .field("task", &assignment.task.task)
            .field("fence", &assignment.lease.fence)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds a part of a context")
}

impl Context {
    pub(crate) fn new(
        assignment: Assignment,
        switch: Switch,
        meter: Meter,
        events: Arc<Buffer>,
        evaluations: Evaluations,
    ) -> Self {
        Self(Arc::new(Inner {
            assignment,
            switch,
            events,
            evaluations,
            progressed: Mutex::new(Instant::now()),
            partial: Mutex::default(),
            come: Mutex::default(),
            hooks: Mutex::default(),
            doubt: Mutex::default(),
            meter,
            retries: Mutex::default(),
        }))
    }

    /// Who evaluates its node's expressions and checks its schemas.
    pub(crate) fn evaluations(&self) -> &Evaluations {
        &self.0.evaluations
    }

    /// The run.
    pub fn run(&self) -> &RunId {
        &self.0.assignment.task.run.id
    }

    /// The run's thread.
    pub fn thread(&self) -> &ThreadId {
        &self.0.assignment.lease.thread
    }

    /// The task.
    pub fn task(&self) -> &TaskId {
        &self.0.assignment.task.task
    }

    /// The node's name.
    pub fn node(&self) -> &NodeName {
        &self.0.assignment.task.task.node
    }

    /// The node's definition.
    pub fn definition(&self) -> &Node {
        self.0.assignment.node()
    }

    /// Which try this is, from 1, as the retry policy counts.
    pub fn attempt(&self) -> AttemptNumber {
        self.0.assignment.lease.attempt
    }

    /// The lease's number: it grows with every attempt of a run. Hand it to what you write to, and let that refuse lower ones.
    pub fn fence(&self) -> Fence {
        self.0.assignment.lease.fence
    }

    /// When this try's time is up: the earliest of its own, its task's and its run's.
    pub fn deadline(&self) -> Instant {
        self.0.assignment.deadline
    }

    /// What is left until the deadline; zero when it has passed.
    pub fn remaining(&self) -> Duration {
        self.deadline().saturating_duration_since(Instant::now())
    }

    /// How long cleaning up may take once the attempt is to end.
    pub fn grace(&self) -> Duration {
        let own = self.0.assignment.lease.task.grace;
        self.0.switch.notice().map_or(own, |notice| notice.grace(own))
    }

    /// Waits until there is a reason to end, and gives it. Cancel safe.
    pub fn stopped(&self) -> impl Future<Output = EndReason> + Send + 'static {
        let switch = self.0.switch.clone();
        async move { switch.given().await.reason }
    }

    /// The reason to end, if there is one.
    pub fn stop_reason(&self) -> Option<EndReason> {
        self.0.switch.notice().map(|notice| notice.reason)
    }

    /// Reports progress: an event of the kind `progress`, and a sign of life for `idle_timeout`. Never waits.
    pub fn progress(&self, value: impl Serialize) {
        self.sign_of_life();
        self.emit("progress", value);
    }

    /// Reports an event of a kind of your own. Never waits; when too many wait to be stored the oldest are dropped and counted.
    /// One whose kind is empty, longer than 128 bytes or has control characters is refused: it is logged, and dropped.
    pub fn emit(&self, kind: &str, value: impl Serialize) {
        if let Err(why) = check_kind(kind) {
            tracing::warn!(node.name = %self.node(), kind, "an event was dropped: its {why}");
            return;
        }
        match serde_json::to_value(value) {
            Ok(value) => self.0.events.push(kind, value),
            Err(error) => tracing::warn!(node.name = %self.node(), %error, "an event cannot be written as JSON"),
        }
    }

    /// A key that is the same for every attempt at this task: `run:step:node:item`.
    pub fn idempotency_key(&self) -> String {
        format!("{}:{}", self.run(), self.task())
    }

    /// Registers a hook that runs if the attempt does not succeed: after a stop, a timeout, a failure, a panic, or a
    /// lost lease ([`Context::stop_reason`] tells which). Hooks run one after another, the last one first, after the
    /// work was dropped, for at most the grace; an order by force leaves them none. None runs if the work is stuck.
    pub fn on_cleanup<F>(&self, hook: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut hooks = lock(&self.0.hooks);
        if hooks.len() < HOOKS_MAX {
            hooks.push(Box::new(move || Box::pin(hook())));
        } else {
            tracing::warn!(node.name = %self.node(), "more than {HOOKS_MAX} cleanup hooks: this one will not run");
        }
    }

    /// Says what the attempt has spent at those who are paid by use, beside what it said before. It counts against the
    /// budgets of its run and of those above, also if the attempt fails, is stopped, or is lost with its worker after the
    /// next heartbeat.
    pub fn spend(&self, spend: Spend) {
        self.0.meter.add(spend);
    }

    /// What the attempt has spent.
    pub(crate) fn spent(&self) -> Spend {
        self.0.meter.read()
    }

    /// Keeps what was made so far: the partial output, should the run be stopped. Each call replaces the one before.
    pub fn partial(&self, value: impl Serialize) {
        let kept = match serde_json::to_value(value) {
            Ok(value) if super::json_size(&value) <= PARTIAL_BYTES_MAX => value,
            Ok(_) => {
                tracing::warn!(node.name = %self.node(), "a partial output over {PARTIAL_BYTES_MAX} bytes is not kept");
                return;
            }
            Err(error) => {
                tracing::warn!(node.name = %self.node(), %error, "a partial output cannot be written as JSON");
                return;
            }
        };
        *lock(&self.0.partial) = Some(kept);
    }

    /// What the graph tells the handler beside its input: the node's `with`; null where there is none.
    pub fn with(&self) -> &Value {
        match &self.definition().kind {
            NodeKind::Rust(node) => &node.with,
            _ => &Value::Null,
        }
    }

    /// The node's `with`, read into a type.
    pub fn with_as<T: DeserializeOwned>(&self) -> Result<T, NodeError> {
        T::deserialize(self.with()).map_err(|error| {
            NodeError::refused(FailureKind::BadInput, format!("the node's `with` cannot be read: {error}"))
        })
    }

    /// The item of a fan-out.
    pub fn item(&self) -> Option<&Value> {
        self.0.assignment.lease.task.item.as_ref()
    }

    /// The place of the item in its list; 0 without a fan-out.
    pub fn index(&self) -> u32 {
        self.task().item
    }

    /// The channels that the node reads.
    pub fn state(&self) -> &Values {
        &self.0.assignment.lease.values
    }

    /// What a handler's input is read from: the item of a fan-out, else the state as an object.
    pub(crate) fn input(&self) -> Value {
        self.item().cloned().unwrap_or_else(|| {
            let channels = self.state().iter();
            Value::Object(channels.map(|(name, value)| (name.as_str().to_owned(), value.clone())).collect())
        })
    }

    pub(crate) fn assignment(&self) -> &Assignment {
        &self.0.assignment
    }

    pub(crate) fn switch(&self) -> &Switch {
        &self.0.switch
    }

    /// Writes the events that wait, for a bounded time.
    pub(crate) async fn flush_events(&self, store: &dyn Store, metrics: &Metrics) {
        self.0.events.flush(store, metrics).await;
    }

    /// Notes a sign of life, without an event.
    pub(crate) fn sign_of_life(&self) {
        *lock(&self.0.progressed) = Instant::now();
    }

    /// When there last was a sign of life.
    pub(crate) fn last_sign(&self) -> Instant {
        *lock(&self.0.progressed)
    }

    /// Notes that something of the attempt may run on, which its proof must say.
    pub(crate) fn runs_on(&self) {
        self.doubt("what the attempt has started was not seen to end".to_owned());
    }

    /// Notes why nobody can be sure that nothing runs on, which the attempt's proof must say. The first reason stays.
    pub(crate) fn doubt(&self, why: String) {
        lock(&self.0.doubt).get_or_insert(why);
    }

    /// Why something of this attempt, or of an earlier one, may run on; none if nothing does.
    pub(crate) fn why_in_doubt(&self) -> Option<String> {
        lock(&self.0.doubt).clone()
    }

    /// Another try has to be paid for here. The first one called says so.
    pub(crate) fn limit_retries(&self, retries: &Arc<Retries>) {
        lock(&self.0.retries).get_or_insert_with(|| Arc::clone(retries));
    }

    /// Where another try has to be paid for.
    pub(crate) fn retries(&self) -> Option<Arc<Retries>> {
        lock(&self.0.retries).clone()
    }

    /// Waits until work that asked for grace has had it; a lost lease gives none. Cancel safe.
    pub(crate) async fn work_grace_over(&self) {
        let switch = self.switch();
        let since = switch.given().await.since;
        tokio::select! {
            () = switch.grace_over(since, self.0.assignment.lease.task.grace) => {}
            () = switch.lease_lost() => {}
        }
    }

    /// Notes how far the attempt had come, in words: told if a limit of the attempt ends it. Each call replaces the one before.
    pub(crate) fn has_come(&self, so_far: String) {
        *lock(&self.0.come) = Some(so_far);
    }

    pub(crate) fn take_come(&self) -> Option<String> {
        lock(&self.0.come).take()
    }

    pub(crate) fn take_partial(&self) -> Option<Value> {
        lock(&self.0.partial).take()
    }

    /// The hooks, in the order in which they are to run.
    pub(crate) fn take_hooks(&self) -> Vec<Hook> {
        let mut hooks = std::mem::take(&mut *lock(&self.0.hooks));
        hooks.reverse();
        hooks
    }
}
