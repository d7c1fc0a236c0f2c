//! A fleet of one that does nothing by itself: the test plans, claims and settles.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::checkpoint::Values;
use crate::control::{self, Submission, Submitted, graph_of};
use crate::graph::Graph;
use crate::id::{ChannelName, Fence, Nonce, Partition, RunId, RunKey, TaskId, TaskKey, WorkerId};
use crate::outcome::Outcome;
use crate::plan::{Base, PlanInput, plan};
use crate::spend::Spend;
use crate::stop::{Cause, NewOrder};
use crate::store::sqlite::{SqliteConfig, SqliteStore};
use crate::store::{Advance, Advanced, Claim, Claimed, Ready, Run, Settle, Settled, Start, Store, Verdict};
use crate::task::Task;

/// The fleet.
pub(super) struct Fleet {
    pub(super) store: Arc<dyn Store>,
}

/// A graph from JSON.
pub(super) fn graph(definition: Value) -> Graph {
    serde_json::from_value(definition).unwrap()
}

/// Goes round: `work` writes `done` and is due again until `limit`.
pub(super) fn looping() -> Graph {
    graph(json!({
        "name": "looping",
        "state": {"count": {"reducer": "add"}, "limit": {"default": 3}, "log": {"reducer": "append"}},
        "nodes": {"work": {"kind": "rust", "handler": "work"}},
        "edges": [
            {"from": [], "to": {"node": "work"}},
            {"from": ["work"], "to": {"node": "work"}, "when": {"if": "count < limit"}},
            {"from": ["work"], "to": "end", "when": "otherwise"},
        ],
    }))
}

/// Asks two humans side by side; `legal` has a channel for its answer, `tone` has none.
pub(super) fn review() -> Graph {
    graph(json!({
        "name": "review",
        "state": {"legal": {}, "tone": {}, "notes": {}},
        "nodes": {
            "legal": {"kind": "interrupt", "into": "legal"},
            "tone": {"kind": "interrupt"},
        },
        "edges": [
            {"from": [], "to": {"node": "legal"}},
            {"from": [], "to": {"node": "tone"}},
            {"from": ["legal", "tone"], "to": "end"},
        ],
    }))
}

/// Asks a human for each of three items.
pub(super) fn survey() -> Graph {
    graph(json!({
        "name": "survey",
        "state": {"items": {"default": ["a", "b", "c"]}, "ans": {"reducer": "append"}},
        "nodes": {"ask": {"kind": "interrupt", "show": "item", "into": "ans"}},
        "edges": [{"from": [], "to": {"node": "ask"}, "for_each": "items"}, {"from": ["ask"], "to": "end"}],
    }))
}

/// Asks one human.
pub(super) fn approval() -> Graph {
    graph(json!({
        "name": "approval",
        "state": {"verdict": {}},
        "nodes": {"approve": {"kind": "interrupt", "into": "verdict"}},
        "edges": [{"from": [], "to": {"node": "approve"}}, {"from": ["approve"], "to": "end"}],
    }))
}

pub(super) fn id(text: &str) -> RunId {
    RunId::new(text).unwrap()
}

pub(super) fn values(pairs: Value) -> Values {
    serde_json::from_value(pairs).unwrap()
}

pub(super) fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

pub(super) fn order() -> NewOrder {
    NewOrder { cause: Cause::Cancelled, reason: None, actor: "ann@host".into(), grace: None, force: false }
}

impl Fleet {
    pub(super) fn new() -> Self {
        Self { store: Arc::new(SqliteStore::open(SqliteConfig::memory()).unwrap()) }
    }

    pub(super) async fn submit(&self, graph: Graph, run: &str) -> Submitted {
        let submission = Submission { id: Some(id(run)), ..Submission::new(graph, "ann@host") };
        control::submit(self.store.as_ref(), submission).await.unwrap()
    }

    pub(super) async fn run(&self, run: &str) -> Run {
        control::find(self.store.as_ref(), &id(run)).await.unwrap()
    }

    /// Plans until nothing is ready.
    pub(super) async fn plan(&self) {
        loop {
            let mut planned = 0;
            for partition in 0..self.store.partitions() {
                let hold = Duration::from_secs(5);
                for ready in self.store.take_ready(Partition::new(partition), 100, hold).await.unwrap() {
                    planned += 1;
                    self.advance(ready).await;
                }
            }
            if planned == 0 {
                return;
            }
        }
    }

    async fn advance(&self, ready: Ready) {
        let run = &ready.run;
        let graph = graph_of(self.store.as_ref(), &run.graph_hash).await.unwrap();
        let base = self.base(run).await;
        let input = PlanInput {
            graph: &graph,
            run: &run.key.id,
            depth: 0,
            spec: &run.spec,
            checkpoint: ready.checkpoint.as_ref(),
            values: &ready.values,
            tasks: &ready.tasks,
            resumed: ready.resumed,
            base: base.as_ref(),
            children: &BTreeMap::new(),
            now: self.store.now().await.unwrap(),
            run_deadline: run.deadline_at,
            evaluator: &crate::expr::Here,
        };
        let planned = plan(&input).unwrap();
        let advance = Advance {
            run: run.key.clone(),
            expected: run.revision,
            nonce: Nonce::fresh(),
            checkpoint: planned.checkpoint,
            changed: planned.changed,
            then: planned.then,
        };
        assert_eq!(self.store.advance(advance).await.unwrap(), Advanced::Ok);
    }

    async fn base(&self, run: &Run) -> Option<Base> {
        let Start::From { run: origin, step, .. } = &run.spec.start else { return None };
        let key = self.store.locate(origin).await.unwrap().unwrap();
        let stored = self.store.checkpoints(&key, *step, 1).await.unwrap().remove(0);
        let values = self.store.values(&key, *step).await.unwrap().unwrap();
        Some(Base { run: origin.clone(), checkpoint: stored.checkpoint, values, settled: Vec::new() })
    }

    pub(super) async fn tasks(&self, run: &Run) -> Vec<Task> {
        self.store.tasks(&run.key, run.step, 0, 100).await.unwrap()
    }

    /// Claims the only task of a run's step.
    pub(super) async fn claim(&self, run: &str) -> (TaskKey, Fence) {
        self.claim_item(run, 0).await
    }

    /// Claims an item of a run's step.
    pub(super) async fn claim_item(&self, run: &str, item: u32) -> (TaskKey, Fence) {
        let run = self.run(run).await;
        let first = self.tasks(&run).await[0].id.clone();
        let task = TaskKey { run: run.key.clone(), task: TaskId { item, ..first } };
        let claim = Claim {
            task: task.clone(),
            worker: WorkerId::new("w1").unwrap(),
            nonce: Nonce::fresh(),
            ttl: Duration::from_secs(10),
            takeover_after: None,
            alone: false,
        };
        let answer = self.store.claim(claim).await.unwrap();
        let Claimed::Leased(lease) = answer else { panic!("{task:?} is not free: {answer:?}, {run:?}") };
        (task, lease.fence)
    }

    /// Claims the only task of a run's step, and settles it with what it wrote.
    pub(super) async fn work(&self, run: &str, writes: Value) {
        let (task, fence) = self.claim(run).await;
        let verdict = Verdict::Done(Outcome::wrote(values(writes)));
        let settled = self.store.settle(Settle { task, fence, verdict, spent: Spend::default() }).await.unwrap();
        assert_eq!(settled, Settled::Accepted { step_complete: true });
    }

    /// A run of `looping` that has gone round three times and ended.
    pub(super) async fn finished(&self, run: &str) -> RunKey {
        let key = self.submit(looping(), run).await.key;
        for round in 1..=3 {
            self.plan().await;
            self.work(run, json!({"count": 1, "log": [round]})).await;
        }
        self.plan().await;
        key
    }
}
