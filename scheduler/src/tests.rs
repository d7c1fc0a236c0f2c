//! The scheduler on the embedded adapters, with a worker that is a few lines of the test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coxswain_shared::broker::{Broker, LocalBroker};
use coxswain_shared::config::Source;
use coxswain_shared::control::{self, Submission};
use coxswain_shared::graph::canonical::{Canonical, canonical};
use coxswain_shared::graph::{Channel, Graph, Node};
use coxswain_shared::id::{GraphHash, PolicyName, PoolName, RunId};
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::outcome::Outcome;
use coxswain_shared::policy::Policy;
use coxswain_shared::priority::Lane;
use coxswain_shared::run::RunStatus;
use coxswain_shared::spend::Spend;
use coxswain_shared::stop::Cause;
use coxswain_shared::store::conformance::{Fixture, make};
use coxswain_shared::store::{
    Claimed, Created, NewRun, PolicyChange, Run, Settle, Store, StoredGraph, Verdict,
    sqlite::{SqliteConfig, SqliteStore},
};
use coxswain_shared::task::NewTask;
use coxswain_shared::telemetry::Metrics;
use serde_json::json;

use crate::{Scheduler, SchedulerConfig};

/// A fleet of one scheduler and one worker.
struct Fleet {
    store: Arc<dyn Store>,
    broker: LocalBroker,
    metrics: Metrics,
    tasks: Tasks,
}

impl Fleet {
    fn start(config: SchedulerConfig) -> Self {
        let store = SqliteStore::open(SqliteConfig::memory()).expect("a store in memory opens");
        Self::over(Arc::new(store), config)
    }

    /// One with an empty queue over a store that may have runs.
    fn over(store: Arc<dyn Store>, config: SchedulerConfig) -> Self {
        let fleet = Self::idle(store);
        let scheduler =
            Scheduler::new(config, Arc::clone(&fleet.store), Arc::new(fleet.broker.clone()), &fleet.metrics);
        fleet.tasks.spawn(scheduler.run(fleet.tasks.clone()));
        fleet
    }

    /// One in which nobody works.
    fn idle(store: Arc<dyn Store>) -> Self {
        Self { store, broker: LocalBroker::new(), metrics: Metrics::new(), tasks: Tasks::new() }
    }

    /// Starts a worker that adds one to `count` for every task it gets.
    async fn start_worker(&self) {
        let mut consumer =
            self.broker.consume(&Lane::normal(PoolName::standard()), 4).await.expect("the local broker is there");
        let store = Arc::clone(&self.store);
        self.tasks.spawn(async move {
            while let Some(delivery) = consumer.next().await {
                let task = delivery.task().expect("a well-formed message");
                if let Ok(Claimed::Leased(lease)) = store.claim(make::claim(&task)).await {
                    let writes = BTreeMap::from([("count".parse().expect("a name"), json!(1))]);
                    let verdict = Verdict::Done(Outcome::wrote(writes));
                    store
                        .settle(Settle { task, fence: lease.fence, verdict, spent: Spend::default() })
                        .await
                        .expect("the store is there");
                }
                delivery.ack().await;
            }
        });
    }

    async fn submit(&self, id: &str, graph: Graph) -> RunId {
        let Canonical { hash, name, json } = canonical(&graph);
        self.store.put_graph(&StoredGraph { hash: hash.clone(), name: name.clone(), json }).await.expect("kept");
        let run = NewRun { graph: name, graph_hash: hash, ..make::run(id) };
        let created = self.store.create_run(run.clone()).await.expect("the store is there");
        assert!(matches!(created, Created::Made { .. }), "{created:?}");
        run.id
    }

    /// Waits until this line is among the figures.
    async fn shows(&self, line: &str) {
        let shown = async {
            while !self.metrics.render().lines().any(|shown| shown == line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), shown).await;
        assert!(in_time.is_ok(), "{line} is missing in:\n{}", self.metrics.render());
    }

    /// Waits until the run has ended.
    async fn end(&self, id: &RunId) -> Run {
        let ended = async {
            loop {
                let run = self.store.run(id).await.expect("the store is there").expect("the run is there");
                if run.status.is_final() {
                    return run;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), ended).await;
        let now = self.store.run(id).await;
        assert!(in_time.is_ok(), "the run has not ended: {now:?}");
        in_time.expect("checked above")
    }
}

/// The defaults, with a queue that begins empty.
fn embedded() -> SchedulerConfig {
    let defaults = SchedulerConfig::read(&Source::default()).expect("the defaults have no mistakes");
    SchedulerConfig { broker_starts_empty: true, ..defaults }
}

fn counting_to(bound: u64) -> Graph {
    Graph::builder("loop")
        .channel("count", Channel::add(0))
        .node("work", Node::rust("count"))
        .edge("START", "work")
        .edge_if("work", "work", format!("count < {bound}"))
        .otherwise("work", "END")
        .build()
        .expect("the graph is valid")
}

#[tokio::test]
async fn a_loop_runs_until_its_condition_ends_it() {
    let fleet = Fleet::start(embedded());
    fleet.start_worker().await;
    let id = fleet.submit("r1", counting_to(5)).await;
    let run = fleet.end(&id).await;
    assert_eq!(run.status, RunStatus::Succeeded, "{run:?}");
    let values = fleet.store.values(&run.key, run.step).await.unwrap().unwrap();
    assert_eq!(values.get("count"), Some(&json!(5)));
}

#[tokio::test]
async fn what_was_queued_before_a_restart_of_the_embedded_queue_is_sent_again() {
    let fleet = Fleet::start(embedded());
    let id = fleet.submit("r1", counting_to(3)).await;
    // The first scheduler sends the first task to its queue, which then is lost with it.
    let lane = Lane::normal(PoolName::standard());
    while fleet.broker.backlog(&lane).await.unwrap().unwrap_or(0) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    fleet.tasks.start_drain();
    fleet.tasks.join(Duration::from_secs(10)).await;
    let again = Fleet::over(Arc::clone(&fleet.store), embedded());
    again.start_worker().await;
    assert_eq!(again.end(&id).await.status, RunStatus::Succeeded);
}

#[tokio::test]
async fn all_that_was_queued_before_a_restart_is_sent_at_once_however_much_it_is() {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(SqliteConfig::memory()).expect("a store in memory opens"));
    let fixture = Fixture::real(Arc::clone(&store), ());
    let config = SchedulerConfig { sweep_batch: 100, resend_after: Duration::from_mins(10), ..embedded() };
    let tasks = (0..450).map(|item| make::task(&format!("1:work:{item}"))).collect();
    let (_, tasks) = fixture.dispatched("r1", tasks).await;
    // A minute ago.
    store.mark_sent(&tasks, config.resend_after.saturating_sub(Duration::from_mins(1))).await.unwrap();

    // What is planned while it looks is not taken for lost as well.
    let idle = Fleet::idle(store);
    for n in 0..50 {
        idle.submit(&format!("new-{n}"), counting_to(1)).await;
    }

    let fleet = Fleet::over(Arc::clone(&idle.store), config);
    fleet.shows(r#"cox_backlog{pool="default",priority="normal"} 500"#).await;
    fleet.shows(r#"cox_tasks_sent_total{result="again"} 450"#).await;
    fleet.shows(r#"cox_tasks_sent_total{result="confirmed"} 500"#).await;
}

#[tokio::test]
async fn figures_that_are_not_the_schedulers_own_are_looked_up() {
    let fleet = Fleet::start(embedded());
    let id = fleet.submit("r1", counting_to(3)).await;
    fleet.shows(r#"cox_backlog{pool="default",priority="normal"} 1"#).await;
    fleet.store.stop(&id, make::order(Cause::Policy)).await.unwrap();
    fleet.shows(r#"cox_store_runs_ended_total{cause="policy",status="cancelled"} 1"#).await;
    fleet.start_worker().await;
    fleet.shows(r#"cox_backlog{pool="default",priority="normal"} 0"#).await;
}

#[tokio::test]
async fn a_run_for_which_a_policy_has_no_room_is_planned_once_there_is() {
    let fleet = Fleet::start(SchedulerConfig { hold: Duration::from_secs(1), ..embedded() });
    let name = PolicyName::new("calm").unwrap();
    let policy = serde_json::from_value(json!({"window": "1h", "limits": {"runs": 1}, "then": "pause"})).unwrap();
    let change = PolicyChange { name, policy: Some(policy), actor: "ann".to_owned(), reason: None };
    fleet.store.set_policy(change.clone()).await.unwrap();
    fleet.start_worker().await;
    let first = fleet.submit("r1", counting_to(2)).await;
    assert_eq!(fleet.end(&first).await.status, RunStatus::Succeeded, "a run that has started goes on");
    let second = fleet.submit("r2", counting_to(2)).await;
    fleet.shows(r#"cox_advances_total{answer="paused"} 2"#).await;
    assert_eq!(fleet.store.run(&second).await.unwrap().unwrap().status, RunStatus::Queued);
    fleet.store.set_policy(PolicyChange { policy: None, ..change }).await.unwrap();
    assert_eq!(fleet.end(&second).await.status, RunStatus::Succeeded);
}

#[tokio::test]
async fn a_task_whose_workers_die_is_a_failure_that_policies_count() {
    let fleet = Fleet::idle(Arc::new(SqliteStore::open(SqliteConfig::memory()).unwrap()));
    let name = PolicyName::new("calm").unwrap();
    let limits = json!({"window": "1h", "limits": {"failures": 1}, "then": "stop"});
    let policy: Policy = serde_json::from_value(limits).unwrap();
    let change = PolicyChange { name, policy: Some(policy), actor: "ann".to_owned(), reason: None };
    fleet.store.set_policy(change).await.unwrap();
    let fixture = Fixture::real(Arc::clone(&fleet.store), ());
    for id in ["r1", "r2"] {
        // The second task is open, so that the plan does not end the run before the policy does.
        let poison = NewTask { max_crashes: 1, fails_run: false, ..make::task("1:a:0") };
        let (_, tasks) = fixture.dispatched(id, vec![poison, make::human("1:b:0")]).await;
        fixture.lease_alone(&tasks[0], Duration::from_millis(1)).await;
    }
    let scheduler =
        Scheduler::new(embedded(), Arc::clone(&fleet.store), Arc::new(fleet.broker.clone()), &fleet.metrics);
    fleet.tasks.spawn(scheduler.run(fleet.tasks.clone()));
    fleet.shows(r#"cox_store_runs_ended_total{cause="policy",status="cancelled"} 1"#).await;
    let mut ended = Vec::new();
    for id in ["r1", "r2"] {
        ended.extend(fleet.store.run(&make::run_id(id)).await.unwrap().unwrap().stop);
    }
    let [report] = ended.as_slice() else { panic!("the first failure is allowed, the second is too much: {ended:?}") };
    assert_eq!((report.order.order.cause, report.order.order.actor.as_str()), (Cause::Policy, "policy calm"));
}

#[tokio::test]
async fn a_run_whose_graph_is_lost_fails_and_says_so() {
    let fleet = Fleet::start(embedded());
    let run = NewRun { graph_hash: GraphHash::new("unknown").unwrap(), ..make::run("r1") };
    fleet.store.create_run(run.clone()).await.unwrap();
    let ended = fleet.end(&run.id).await;
    assert_eq!(ended.status, RunStatus::Failed);
    let message = ended.failure.expect("a reason").to_string();
    assert!(message.contains("does not have the graph unknown"), "{message}");
}

#[tokio::test]
async fn a_run_that_needs_a_pool_which_the_fleet_does_not_have_fails_and_names_it() {
    let source = Source::from_pairs([("COX_KNOWN_POOLS".to_owned(), "web, default".to_owned())]);
    let config = SchedulerConfig { broker_starts_empty: true, ..SchedulerConfig::read(&source).unwrap() };
    let fleet = Fleet::start(config);
    fleet.start_worker().await;
    let graph = |pool: &str| {
        Graph::builder("g")
            .node("work", Node::rust("work").pool(pool))
            .edge("START", "work")
            .edge("work", "END")
            .channel("count", Channel::add(0))
            .build()
            .unwrap()
    };
    let known = fleet.submit("r1", graph("default")).await;
    let unknown = fleet.submit("r2", graph("gpu")).await;
    assert_eq!(fleet.end(&known).await.status, RunStatus::Succeeded);
    let ended = fleet.end(&unknown).await;
    assert_eq!(ended.status, RunStatus::Failed);
    let failure = ended.failure.unwrap();
    assert_eq!(failure.message, "the pool `gpu` is none of the pools of this fleet (COX_KNOWN_POOLS: default, web)");
    assert_eq!(failure.node.unwrap().as_str(), "work");
}

/// Three levels of forty items each: 65,640 child runs, if nothing stopped them.
#[tokio::test]
async fn a_small_graph_that_asks_for_many_child_runs_ends_at_its_limit_of_descendants() {
    let items: Vec<u32> = (0..40).collect();
    let level = |child: serde_json::Value| {
        json!({
            "nodes": {"each": {"kind": "graph", "graph": child}},
            "state": {"items": {"default": items}},
            "edges": [{"from": "START", "to": "each", "for_each": "items"}, "each -> END"],
        })
    };
    let leaf = json!({"nodes": {"wait": {"kind": "wait", "for": "1m"}}, "edges": ["START -> wait -> END"]});
    let mut graph = level(level(level(leaf)));
    graph["name"] = json!("bomb");
    let text = graph.to_string();
    let (graph, found) = coxswain_shared::graph::check(&coxswain_shared::graph::Source::new("bomb", &text), &|_| {
        Err("there are no files".to_owned())
    });
    let graph = graph.unwrap_or_else(|| panic!("{found}"));
    let fleet = Fleet::start(embedded());
    let submitted = control::submit(fleet.store.as_ref(), Submission::new(graph, "test")).await.expect("it is made");
    let ended = fleet.end(&submitted.key.id).await;
    assert_eq!(ended.status, RunStatus::Failed);
    let failure = ended.failure.unwrap();
    assert!(
        failure.message.contains("its limit of 1000 child runs at every depth (`limits.descendants`)"),
        "{failure}"
    );
    assert_eq!(failure.node.unwrap().as_str(), "each");
    assert!(ended.descendants <= 1_000, "{}", ended.descendants);
}

#[tokio::test]
async fn many_schedulers_advance_the_same_runs_and_none_twice() {
    let fleet = Fleet::start(embedded());
    for _ in 0..3 {
        let store = Arc::clone(&fleet.store);
        let scheduler = Scheduler::new(embedded(), store, Arc::new(fleet.broker.clone()), &Metrics::new());
        fleet.tasks.spawn(scheduler.run(fleet.tasks.clone()));
    }
    fleet.start_worker().await;
    let mut ids = Vec::new();
    for index in 0..20 {
        ids.push(fleet.submit(&format!("r{index}"), counting_to(7)).await);
    }
    for id in ids {
        let run = fleet.end(&id).await;
        assert_eq!((run.status, run.step.get()), (RunStatus::Succeeded, 7), "{run:?}");
        let values = fleet.store.values(&run.key, run.step).await.unwrap().unwrap();
        assert_eq!(values.get("count"), Some(&json!(7)), "a step was applied twice, or not at all");
    }
}
