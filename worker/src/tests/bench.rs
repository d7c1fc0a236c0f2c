//! The bench: an embedded store that can fail, an embedded broker, runs of one node each, and a worker under test.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use coxswain_shared::broker::{Broker, LocalBroker};
use coxswain_shared::checkpoint::{CHECKPOINT_FORMAT, Checkpoint, Source, Values};
use coxswain_shared::fault::Faults;
use coxswain_shared::graph::Graph;
use coxswain_shared::graph::canonical::{Canonical, canonical};
use coxswain_shared::id::{NodeName, Nonce, PoolName, RunId, RunKey, Step, TaskId, TaskKey};
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::plan::Then;
use coxswain_shared::priority::Lane;
use coxswain_shared::spend::Budget;
use coxswain_shared::stop::{Cause, NewOrder};
use coxswain_shared::store::conformance::make;
use coxswain_shared::store::fault::FaultyStore;
use coxswain_shared::store::sqlite::{SqliteConfig, SqliteStore};
use coxswain_shared::store::{
    Advance, Advanced, Created, NewRun, Run, RunSpec, StopTasks, Store, StoredGraph, TaskTally, TasksStopped,
};
use coxswain_shared::task::{NewTask, Task, TaskState};
use coxswain_shared::telemetry;
use serde_json::{Value, json};

use crate::{Builder, Config, Ended, Error, Worker};

/// The longest that anything here may take; generous, since the machine is shared.
const PATIENCE: Duration = Duration::from_secs(20);

/// The bench.
pub(super) struct Bench {
    pub(super) store: Arc<dyn Store>,
    pub(super) broker: LocalBroker,
    pub(super) faults: Faults,
    pub(super) metrics: telemetry::Metrics,
}

/// A worker under test.
pub(super) struct Running {
    pub(super) tasks: Tasks,
    worker: tokio::task::JoinHandle<Option<Result<Ended, Error>>>,
}

impl Running {
    /// Waits for its end.
    pub(super) async fn ended(self) -> Ended {
        let ended = tokio::time::timeout(PATIENCE, self.worker).await.expect("the worker ends in time");
        ended.unwrap().expect("it is not aborted").unwrap()
    }

    /// Drains it, and waits for its end.
    pub(super) async fn drain(self) -> Ended {
        self.tasks.start_drain();
        self.ended().await
    }
}

impl Bench {
    pub(super) fn new() -> Self {
        let faults = Faults::seeded(1);
        let inner = Arc::new(SqliteStore::open(SqliteConfig::memory()).unwrap());
        let store: Arc<dyn Store> = Arc::new(FaultyStore::new(inner, faults.clone()));
        Self { store, broker: LocalBroker::new(), faults, metrics: telemetry::Metrics::new() }
    }

    /// Another bench over the same store and broker.
    pub(super) fn sharing(&self) -> Self {
        let (store, broker) = (Arc::clone(&self.store), self.broker.clone());
        Self { store, broker, faults: self.faults.clone(), metrics: telemetry::Metrics::new() }
    }

    /// Settings that make a test quick: a heartbeat of 100 ms, two slots. A lease lives long, so that a machine that stops
    /// for seconds loses none; a test that waits for that takes [`Self::brief`] ones.
    pub(super) fn config() -> Config {
        Config {
            slots: 2,
            heartbeat: Duration::from_millis(100),
            lease_ttl: PATIENCE,
            drain_grace: Duration::ZERO,
            ..Config::default()
        }
    }

    /// The same, with leases that are soon lost when they are not renewed.
    pub(super) fn brief() -> Config {
        Config { lease_ttl: Duration::from_secs(2), ..Self::config() }
    }

    /// Starts a worker.
    pub(super) fn start(&self, builder: Builder) -> Running {
        let worker = builder.build(Arc::clone(&self.store), Arc::new(self.broker.clone()), &self.metrics).unwrap();
        let tasks = Tasks::new();
        let run = worker.run(tasks.clone());
        Running { tasks, worker: Tasks::new().spawn(run) }
    }

    /// Starts a worker with this builder over the quick settings.
    pub(super) fn start_with(&self, configure: impl FnOnce(Builder) -> Builder) -> Running {
        self.start(configure(Worker::builder(Self::config())))
    }

    /// Makes a run whose one node `work` is due, and publishes its task.
    pub(super) async fn begin(&self, node: Value) -> RunKey {
        let key = self.prepare(node, Values::new(), None).await;
        self.publish(&key).await;
        key
    }

    /// Publishes the task of a run.
    pub(super) async fn publish(&self, run: &RunKey) {
        self.publish_in(&Lane::normal(PoolName::standard()), run).await;
    }

    /// Publishes the task of a run in a lane.
    pub(super) async fn publish_in(&self, lane: &Lane, run: &RunKey) {
        for answer in self.broker.publish_confirmed(&[(lane.clone(), task_of(run))]).await {
            answer.unwrap();
        }
    }

    /// Makes a run whose one node `work` is due, and whose time is soon up.
    pub(super) async fn prepare_limited(&self, node: Value, run_timeout: Duration) -> RunKey {
        self.prepare_as(node, (Values::new(), None), run_timeout, (&json!({}), RunSpec::default())).await
    }

    /// Makes a run whose one node `work` is due, over these values.
    pub(super) async fn prepare(&self, node: Value, values: Values, item: Option<Value>) -> RunKey {
        self.prepare_as(node, (values, item), Duration::from_hours(1), (&json!({}), RunSpec::default())).await
    }

    /// Makes a run whose one node `work` is due, of a graph with these limits.
    pub(super) async fn prepare_within(&self, node: Value, limits: &Value) -> RunKey {
        self.prepare_as(node, (Values::new(), None), Duration::from_hours(1), (limits, RunSpec::default())).await
    }

    /// Makes a run with this budget of its own, whose one node `work` is due.
    pub(super) async fn prepare_with_budget(&self, node: Value, budget: Budget) -> RunKey {
        let spec = RunSpec { budget, ..RunSpec::default() };
        self.prepare_as(node, (Values::new(), None), Duration::from_hours(1), (&json!({}), spec)).await
    }

    /// Makes a run with this label, whose one node `work` is due, and publishes its task.
    pub(super) async fn begin_labelled(&self, node: Value, name: &str, value: &str) -> RunKey {
        let labels = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let spec = RunSpec { labels, ..RunSpec::default() };
        let hour = Duration::from_hours(1);
        let key = self.prepare_as(node, (Values::new(), None), hour, (&json!({}), spec)).await;
        self.publish(&key).await;
        key
    }

    async fn prepare_as(
        &self,
        node: Value,
        (values, item): (Values, Option<Value>),
        run_timeout: Duration,
        (limits, spec): (&Value, RunSpec),
    ) -> RunKey {
        let graph = json!({
            "name": "bench", "edges": [],
            "state": {"text": {}, "count": {}, "other": {}, "words": {}, "talk": {"reducer": "messages"}},
            "nodes": {"work": node}, "limits": limits,
        });
        let parsed: Graph = serde_json::from_value(graph).unwrap();
        let Canonical { hash, name, json } = canonical(&parsed);
        let stored = StoredGraph { hash: hash.clone(), name: name.clone(), json };
        self.store.put_graph(&stored).await.unwrap();
        let run = NewRun {
            graph: name,
            graph_hash: hash,
            run_timeout,
            spec: RunSpec { actor: "ann".into(), budget: spec.budget.or(parsed.limits.budget), ..spec },
            ..make::run(RunId::fresh().as_str())
        };
        let Created::Made { key, .. } = self.store.create_run(run).await.unwrap() else { panic!("a fresh run") };
        let policy = &parsed.nodes["work"].policy;
        let task = NewTask {
            timeout: policy.timeout(),
            queue_timeout: policy.queue_timeout(),
            attempt_timeout: policy.attempt_timeout(),
            grace: policy.grace(),
            max_crashes: policy.max_crashes(),
            item,
            ..make::task("1:work:0")
        };
        let advance = Advance {
            run: key.clone(),
            expected: self.run(&key).await.revision,
            nonce: Nonce::fresh(),
            checkpoint: Some(first_checkpoint(&values)),
            changed: values,
            then: Then::Step { step: Step::new(1), tasks: vec![task], groups: Vec::new() },
        };
        assert_eq!(self.store.advance(advance).await.unwrap(), Advanced::Ok);
        key
    }

    /// The run.
    pub(super) async fn run(&self, key: &RunKey) -> Run {
        self.store.run(&key.id).await.unwrap().expect("the run is there")
    }

    /// Its one task.
    pub(super) async fn task(&self, key: &RunKey) -> Task {
        self.store.tasks(key, Step::new(1), 0, 1).await.unwrap().remove(0)
    }

    /// Waits until the task is settled.
    pub(super) async fn settled(&self, key: &RunKey) -> Task {
        self.task_when(key, |task| task.state == TaskState::Settled).await
    }

    /// Waits until the task is as wanted.
    pub(super) async fn task_when(&self, key: &RunKey, wanted: impl Fn(&Task) -> bool) -> Task {
        wait_for(|| async {
            let task = self.task(key).await;
            if wanted(&task) { Ok(task) } else { Err(format!("{task:?}")) }
        })
        .await
    }

    /// Waits until the run has ended.
    pub(super) async fn run_ended(&self, key: &RunKey) -> Run {
        wait_for(|| async {
            let run = self.run(key).await;
            if run.status.is_final() { Ok(run) } else { Err(format!("{:?}", run.status)) }
        })
        .await
    }

    /// Orders the run to stop.
    pub(super) async fn stop(&self, key: &RunKey, grace: Option<Duration>, force: bool) {
        let order = NewOrder { cause: Cause::Cancelled, reason: None, actor: "ann".into(), grace, force };
        self.store.stop(&key.id, order).await.unwrap();
    }

    /// Orders the run's task to stop, and nothing else of it.
    pub(super) async fn stop_tasks(&self, key: &RunKey, skip: bool) -> TaskTally {
        let reason = Some("not needed".to_owned());
        let order = NewOrder { cause: Cause::Cancelled, reason, actor: "ann".into(), grace: None, force: false };
        let node = task_of(key).task.node;
        let stop = StopTasks { run: key.id.clone(), node, items: Vec::new(), skip, order };
        let TasksStopped::Done(tally) = self.store.stop_tasks(stop).await.unwrap() else { panic!("the run is frozen") };
        tally
    }

    /// The value of a metric's line; 0 if it is not there.
    pub(super) fn metric(&self, line: &str) -> u64 {
        let text = self.metrics.render();
        let found = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' ').map(ToOwned::to_owned));
        found.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until a metric has reached a value.
    pub(super) async fn metric_reaches(&self, line: &str, least: u64) {
        wait_for(|| async {
            let value = self.metric(line);
            if value >= least { Ok(()) } else { Err(format!("{line} is {value}, not {least}")) }
        })
        .await;
    }
}

fn first_checkpoint(values: &Values) -> Checkpoint {
    Checkpoint {
        format: CHECKPOINT_FORMAT,
        step: Step::new(0),
        source: Source::Input,
        versions: values.keys().map(|name| (name.clone(), Step::new(0))).collect(),
        ran: Vec::new(),
        next: Vec::new(),
        joins: BTreeMap::new(),
        node_runs: 0,
        rounds: coxswain_shared::rounds::Rounds::default(),
    }
}

/// The one task of a run.
pub(super) fn task_of(run: &RunKey) -> TaskKey {
    let id = TaskId { step: Step::new(1), node: NodeName::new("work").unwrap(), item: 0 };
    TaskKey { run: run.clone(), task: id }
}

/// A `rust` node, with these fields beside the handler `work`.
pub(super) fn rust(fields: Value) -> Value {
    let mut node = json!({"kind": "rust", "handler": "work"});
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    node.as_object_mut().unwrap().extend(fields);
    node
}

/// Values by channel.
pub(super) fn values(value: Value) -> Values {
    serde_json::from_value::<BTreeMap<_, _>>(value).unwrap()
}

/// Waits for a condition, and shows what it last saw if it never comes.
pub(super) async fn wait_for<T, F: Future<Output = Result<T, String>>>(condition: impl Fn() -> F) -> T {
    let mut last = String::new();
    let waiting = async {
        loop {
            match condition().await {
                Ok(value) => return value,
                Err(seen) => last = seen,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.unwrap_or_else(|_| panic!("waited in vain; last seen: {last}"))
}
