//! The Redis store does as the embedded one does: random walks over both, with one clock, and every answer compared.
//!
//! What may differ: cursors, and what is forgotten when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use coxswain_shared::id::{
    ChannelName, Fence, Nonce, Partition, Revision, RunId, RunKey, Step, TaskKey, ThreadId, WorkerId,
};
use coxswain_shared::outcome::Outcome;
use coxswain_shared::plan::Then;
use coxswain_shared::run::RunStatus;
use coxswain_shared::spend::Spend;
use coxswain_shared::stop::{Cause, NewOrder, StopProof};
use coxswain_shared::store::sqlite::{SqliteConfig, SqliteStore};
use coxswain_shared::store::{
    Advance, Claim, Claimed, NewEvent, OnConflict, Parent, Release, Renewal, Resume, Run, RunFilter, Settle, Start,
    Store, SweepLimits,
};
use coxswain_shared::task::{Dispatch, NewTask};
use coxswain_shared::time::{Clock, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use crate::ops::{Op, end, new_run, op, seconds, verdict};
use crate::rig::{checkpoint, queued, run_id, store_at, values};

const PARTITIONS: u16 = 2;

/// Both stores, and what the walk has learned.
struct Walk {
    embedded: SqliteStore,
    redis: coxswain_shared::store::redis::RedisStore,
    clock: Clock,
    runs: BTreeMap<RunId, RunKey>,
    tasks: Vec<TaskKey>,
    leases: Vec<(TaskKey, Fence, Nonce)>,
    last_advance: Option<Advance>,
    nonces: u32,
}

/// Sends the same call to both and compares the answers.
macro_rules! both {
    ($walk:expr, $op:expr, $store:ident => $call:expr) => {{
        let $store: &dyn Store = &$walk.embedded;
        let expected = $call.await.unwrap();
        let $store: &dyn Store = &$walk.redis;
        let found = $call.await.unwrap();
        assert!(like(&found) == like(&expected), "{:?}: {}", $op, differing(&like(&found), &like(&expected)));
        expected
    }};
}

/// The lines in which two answers differ.
fn differing(redis: &str, embedded: &str) -> String {
    let pairs = redis
        .lines()
        .map(Some)
        .chain(std::iter::repeat(None))
        .zip(embedded.lines().map(Some).chain(std::iter::repeat(None)));
    let pairs = pairs.take_while(|(a, b)| a.is_some() || b.is_some()).filter(|(a, b)| a != b).take(12);
    let lines: Vec<_> = pairs
        .map(|(a, b)| format!("  redis {} | embedded {}", a.unwrap_or("-").trim(), b.unwrap_or("-").trim()))
        .collect();
    lines.join("\n")
}

/// An answer as text, without whether a sweep has more to do: what it forgets counts too, and is forgotten by
/// different clocks.
fn like<T: std::fmt::Debug>(answer: &T) -> String {
    let text = format!("{answer:#?}");
    text.lines().filter(|line| !line.trim_start().starts_with("more: ")).collect::<Vec<_>>().join("\n")
}

impl Walk {
    async fn new() -> Self {
        let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
        let config = SqliteConfig { clock: clock.clone(), partitions: PARTITIONS, ..SqliteConfig::memory() };
        Self {
            embedded: SqliteStore::open(config).unwrap(),
            redis: store_at(&clock).await,
            clock,
            runs: BTreeMap::new(),
            tasks: Vec::new(),
            leases: Vec::new(),
            last_advance: None,
            nonces: 0,
        }
    }

    fn nonce(&mut self) -> Nonce {
        self.nonces += 1;
        Nonce::new(format!("n{}", self.nonces)).unwrap()
    }

    /// A run by its number: those that are made first, then children.
    fn run(&self, number: u8) -> RunKey {
        let count = self.runs.len().max(1);
        let known = self.runs.values().nth(usize::from(number) % count).cloned();
        known.unwrap_or_else(|| RunKey { partition: Partition::new(0), id: run_id("none") })
    }

    async fn step(&mut self, op: &Op) {
        match op {
            Op::Create { run, thread, strategy, from, timeout } => {
                let strategies = [OnConflict::Reject, OnConflict::Enqueue, OnConflict::Interrupt, OnConflict::Rollback];
                let mut new = new_run(*run, *thread, *timeout);
                new.on_conflict = strategies[usize::from(*strategy)];
                if let Some(from) = from {
                    let run = self.run(*from).id;
                    new.spec.start = Start::From { run, step: Step::new(0), update: values(&[]) };
                }
                both!(self, op, store => store.create_run(new.clone()));
                let id = new.id;
                if let Some(key) = both!(self, op, store => store.locate(&id)) {
                    self.runs.insert(id, key);
                }
            }
            Op::Stop { run, cause, is_forced, grace } => {
                let id = if *run < 8 { run_id(&format!("r{run}")) } else { self.run(*run).id };
                let order = NewOrder {
                    cause: Cause::ALL[usize::from(*cause) % Cause::ALL.len()],
                    reason: (*run % 2 == 0).then(|| "because".into()),
                    actor: "ann".into(),
                    grace: grace.map(seconds),
                    force: *is_forced,
                };
                both!(self, op, store => store.stop(&id, order.clone()));
            }
            Op::Take { partition, limit } => {
                let partition = Partition::new(u16::from(*partition));
                both!(self, op, store => store.take_ready(partition, usize::from(*limit), Duration::from_secs(5)));
            }
            Op::Step { .. } | Op::Pause { .. } | Op::End { .. } | Op::Repeat => self.advance(op).await,
            Op::Claim { .. } | Op::Settle { .. } | Op::Release { .. } | Op::Renew { .. } => self.work(op).await,
            Op::MarkSent { tasks, after } => {
                let count = self.tasks.len().max(1);
                let tasks: Vec<_> =
                    tasks.iter().filter_map(|task| self.tasks.get(usize::from(*task) % count).cloned()).collect();
                both!(self, op, store => store.mark_sent(&tasks, seconds(*after)));
            }
            Op::Sweep { partition, tasks, runs, ahead } => {
                let limits = SweepLimits {
                    // All: which come first where many have one time differs between the stores.
                    tasks: 200 + usize::from(*tasks),
                    runs: usize::from(*runs) + 1,
                    resend_after: Duration::from_secs(3),
                    ahead: if *ahead { Duration::from_secs(2) } else { Duration::ZERO },
                };
                let partition = Partition::new(u16::from(*partition));
                both!(self, op, store => async {
                    let mut swept = store.sweep(partition, limits).await?;
                    swept.send.sort_by(|a, b| a.task.cmp(&b.task));
                    Ok::<_, coxswain_shared::store::Error>(swept)
                });
            }
            Op::Resume { run, answers } => self.resume(op, *run, *answers).await,
            Op::Emit { run, count } => {
                let event =
                    NewEvent { task: "1:a:0".parse().unwrap(), kind: "progress".into(), value: json!({"n": 1}) };
                let events = vec![event; usize::from(*count)];
                let run = self.run(*run);
                both!(self, op, store => store.emit(&run, events.clone()));
            }
            Op::Pass { time } => self.clock.advance(seconds(*time)),
        }
    }

    async fn advance(&mut self, op: &Op) {
        if let Op::Repeat = op {
            if let Some(advance) = self.last_advance.clone() {
                both!(self, op, store => store.advance(advance.clone()));
            }
            return;
        }
        let (Op::Step { run, has_checkpoint, .. }
        | Op::Pause { run, has_checkpoint }
        | Op::End { run, has_checkpoint, .. }) = op
        else {
            return;
        };
        let key = self.run(*run);
        let run = self.embedded.run(&key.id).await.unwrap();
        let (revision, at) = run.as_ref().map_or((0, 0), |run| (run.revision.get(), run.step.get()));
        let channels = values(&[("a", json!(revision)), ("b", json!("text"))]);
        let then = match op {
            Op::Step { tasks, .. } => {
                let step = at + 1;
                Then::Step { step: Step::new(step), tasks: self.new_tasks(&key, step, tasks), groups: Vec::new() }
            }
            // With a checkpoint, the step in flight is finished: the pause is before the next.
            Op::Pause { .. } => {
                Then::Pause { step: Step::new(at + u64::from(*has_checkpoint || revision.is_multiple_of(2))) }
            }
            Op::End { how, .. } => end(*how),
            _ => return,
        };
        // A checkpoint's step is that of the step in flight, and no two have the same.
        let known = self.embedded.checkpoints(&key, Step::new(at), 1).await.unwrap();
        let is_new = known.is_empty() && (at > 0 || revision == 0);
        let checkpoint = (*has_checkpoint && is_new).then(|| checkpoint(at, &channels));
        let is_stale = matches!(op, Op::Step { is_stale: true, .. });
        let advance = Advance {
            run: key.clone(),
            expected: Revision::new(revision + u64::from(is_stale)),
            nonce: self.nonce(),
            changed: if checkpoint.is_some() { channels } else { values(&[]) },
            checkpoint,
            then,
        };
        both!(self, op, store => store.advance(advance.clone()));
        if let Then::Step { tasks, .. } = &advance.then {
            self.learn(&key, tasks).await;
        }
        self.last_advance = Some(advance);
    }

    fn new_tasks(&self, key: &RunKey, step: u64, choices: &[(u8, u8)]) -> Vec<NewTask> {
        let mut tasks = Vec::new();
        for (place, (kind, timing)) in choices.iter().enumerate() {
            let mut task = queued(&format!("{step}:{}:{place}", ["a", "b", "c-d"][place % 3]));
            task.timeout =
                [Duration::from_mins(5), Duration::from_secs(20), Duration::from_secs(3)][usize::from(*timing) % 3];
            task.queue_timeout = [Duration::from_mins(5), Duration::from_secs(5)][usize::from(*timing) / 2];
            task.max_crashes = u32::from(*timing) + 1;
            task.fails_run = timing % 2 == 0;
            task.reads = (*timing == 1).then(|| vec![ChannelName::new("a").unwrap()]);
            task.dispatch = match kind {
                0 | 1 => task.dispatch,
                2 => Dispatch::Wait { length: seconds(*timing) },
                3 => Dispatch::Human { payload: json!({"ask": place}) },
                4 => {
                    let mut child = new_run(0, 0, *timing);
                    child.id = run_id(&format!("c-{}-{step}-{place}", key.id));
                    child.thread = ThreadId::new(child.id.as_str()).unwrap();
                    if let Some(taken) = self.runs.keys().next().filter(|_| *timing == 3) {
                        child.id = taken.clone();
                    }
                    child.parent = Some(Parent { run: key.id.clone(), task: task.id.clone(), depth: 1 });
                    Dispatch::Child { run: Box::new(child) }
                }
                _ => Dispatch::Settled { outcome: Outcome::wrote(values(&[("a", json!(9))])) },
            };
            tasks.push(task);
        }
        tasks
    }

    async fn learn(&mut self, key: &RunKey, tasks: &[NewTask]) {
        for task in tasks {
            self.tasks.insert(0, TaskKey { run: key.clone(), task: task.id.clone() });
            let Dispatch::Child { run } = &task.dispatch else { continue };
            if let Some(child) = self.embedded.locate(&run.id).await.unwrap() {
                self.runs.insert(run.id.clone(), child);
            }
        }
        self.tasks.truncate(16);
    }

    async fn work(&mut self, op: &Op) {
        self.forget_past_steps().await;
        let lease = |walk: &Self, number: u8| walk.leases.get(usize::from(number) % walk.leases.len().max(1)).cloned();
        match op {
            Op::Claim { task, takeover, is_repeat, alone } => {
                let Some(task) = self.tasks.get(usize::from(*task) % self.tasks.len().max(1)).cloned() else { return };
                let held = self.leases.iter().find(|(held, _, _)| *held == task).map(|(_, _, nonce)| nonce.clone());
                let nonce = match held.filter(|_| *is_repeat) {
                    Some(nonce) => nonce,
                    None => self.nonce(),
                };
                let claim = Claim {
                    task: task.clone(),
                    worker: WorkerId::new("w1").unwrap(),
                    nonce: nonce.clone(),
                    ttl: Duration::from_secs(10),
                    takeover_after: takeover.map(seconds),
                    alone: *alone,
                };
                if let Claimed::Leased(lease) = both!(self, op, store => store.claim(claim.clone())) {
                    self.leases.insert(0, (task, lease.fence, nonce));
                    self.leases.truncate(8);
                }
            }
            Op::Settle { lease: number, how } => {
                let Some((task, fence, _)) = lease(self, *number) else { return };
                let settle = Settle { task, fence, verdict: verdict(*how), spent: Spend::default() };
                both!(self, op, store => store.settle(settle.clone()));
            }
            Op::Release { lease: number, how } => {
                let Some((task, fence, _)) = lease(self, *number) else { return };
                let release = if *how == 0 {
                    Release::HandedBack(Spend::default())
                } else {
                    let partial = (*how == 2).then(|| json!("half"));
                    Release::Stopped(StopProof { confirmed: *how != 1, partial, ..StopProof::default() })
                };
                both!(self, op, store => store.release(&task, fence, release.clone()));
            }
            Op::Renew { leases } => {
                let renewals: Vec<_> = leases
                    .iter()
                    .filter_map(|number| lease(self, *number))
                    .map(|(task, fence, _)| Renewal {
                        task,
                        fence,
                        ttl: Duration::from_secs(10),
                        spent: Spend::default(),
                    })
                    .collect();
                both!(self, op, store => store.renew(&renewals));
            }
            _ => {}
        }
    }

    /// Tasks of past steps are kept for a minute, which the one store counts by its clock and the other by its server's.
    async fn forget_past_steps(&mut self) {
        let mut steps = BTreeMap::new();
        let mut forgotten = BTreeSet::new();
        for (id, key) in &self.runs {
            let step = self.embedded.run(id).await.unwrap().map(|run| run.step);
            if let Some(step) = step
                && self.may_have_forgotten(key, step).await
            {
                forgotten.insert(id.clone());
            }
            steps.insert(id.clone(), step);
        }
        let is_in_flight = |task: &TaskKey| steps.get(&task.run.id).is_some_and(|step| *step == Some(task.task.step));
        // A run that has ended stays at its last step, and an ended step is forgotten like a past one.
        let is_forgotten = |task: &TaskKey| forgotten.contains(&task.run.id);
        self.leases.retain(|(task, _, _)| is_in_flight(task) && !is_forgotten(task));
        self.tasks.retain(|task| !(is_in_flight(task) && is_forgotten(task)));
    }

    async fn resume(&mut self, op: &Op, run: u8, answers: u8) {
        let key = self.run(run);
        let run = self.embedded.run(&key.id).await.unwrap();
        let step = run.map_or(Step::new(0), |run| run.step);
        let tasks = self.embedded.tasks(&key, step, 0, 100).await.unwrap();
        let human = tasks.iter().filter(|task| task.payload.is_some() || answers == 3);
        let answers = human
            .take(if answers == 0 { 0 } else { 9 })
            .map(|task| (task.id.clone(), Outcome::wrote(values(&[("a", json!("answer"))]))))
            .collect();
        let nonce = if self.nonces.is_multiple_of(3) { Nonce::new("same").unwrap() } else { self.nonce() };
        let resume = Resume { run: key, nonce, answers, actor: "ann".into(), reason: None };
        both!(self, op, store => store.resume(resume.clone()));
    }

    /// Whether a step is complete and one of the stores has forgotten its tasks, a minute later: see `forget_past_steps`.
    async fn may_have_forgotten(&self, key: &RunKey, step: Step) -> bool {
        let is_complete = !self.embedded.checkpoints(key, step, 1).await.unwrap().is_empty();
        let embedded = self.embedded.tasks(key, step, 0, 100).await.unwrap();
        let redis = self.redis.tasks(key, step, 0, 100).await.unwrap();
        is_complete && (embedded.is_empty() || redis.is_empty())
    }

    /// All that can be read, compared.
    async fn compare(&self, op: &Op) {
        for key in self.runs.values() {
            let run: Option<Run> = both!(self, op, store => store.run(&key.id));
            let Some(run) = run else { continue };
            if !self.may_have_forgotten(key, run.step).await {
                both!(self, op, store => store.tasks(key, run.step, 0, 100));
            }
            both!(self, op, store => store.thread(&run.thread));
        }
    }

    async fn compare_history(&self) {
        let op = "the end";
        for key in self.runs.values() {
            both!(self, op, store => store.checkpoints(key, Step::new(0), 100));
            both!(self, op, store => store.values(key, Step::new(0)));
            both!(self, op, store => store.events(key, 0, 100));
            both!(self, op, store => async { store.audit(Some(&key.id), None, 100).await.map(|page| page.rows) });
        }
        for status in RunStatus::ALL {
            let filter = RunFilter { status: vec![status], ..RunFilter::default() };
            both!(self, op, store => async { store.runs(&filter, None, 100).await.map(|page| page.rows) });
        }
        let all = RunFilter::default();
        both!(self, op, store => async { store.runs(&all, None, 3).await.map(|page| page.rows) });
    }
}

#[test]
fn random_walks_read_the_same_on_both_stores() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut runner =
        TestRunner::new(Config { cases: 64, max_shrink_iters: 400, failure_persistence: None, ..Config::default() });
    let walks = prop::collection::vec(op(), 1..80);
    let result = runner.run(&walks, |ops| {
        runtime.block_on(async {
            let mut walk = Walk::new().await;
            for op in &ops {
                walk.step(op).await;
                walk.compare(op).await;
            }
            walk.compare_history().await;
        });
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
