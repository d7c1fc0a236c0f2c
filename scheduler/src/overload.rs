//! The overseer: holds the pools to their bounds, and sheds runs where an overload lasts. Without bounds it does nothing.
//!
//! Each pool is judged by one scheduler at a time: the one whose judgement the store keeps. The others look on, and go on from it when
//! that one is silent. What is judged, and how much is too much, is decided by `shared::load`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coxswain_shared::id::{Nonce, PoolName};
use coxswain_shared::limits::PAGE_MAX;
use coxswain_shared::load::{Bounds, Overload, PoolLoad, Seen, queue_age};
use coxswain_shared::priority::Priority;
use coxswain_shared::run::RunStatus;
use coxswain_shared::stop::{Cause, NewOrder};
use coxswain_shared::store::{Error, Run, RunFilter, Shed, Store, tasks_where};
use coxswain_shared::task::{Task, TaskState};
use coxswain_shared::time::Clock;

use crate::config::SchedulerConfig;
use crate::graphs::Graphs;
use crate::metrics::SchedulerMetrics;

/// How long a judgement holds: a few looks, so that one that fails changes nothing.
const HOLDS: Duration = Duration::from_secs(10);
/// Runs that are shed at one look, and so in a second.
const SHED_MAX: usize = 100;
/// Pages of runs of one priority that one look reads to find them.
const PAGES_MAX: usize = 5;

/// Messages that wait, by pool and priority.
pub(crate) type Waiting = BTreeMap<PoolName, BTreeMap<Priority, u64>>;

/// The overseer of one scheduler.
#[derive(Debug)]
pub(crate) struct Overseer {
    bounds: Bounds,
    shed_after: Option<Duration>,
    store: Arc<dyn Store>,
    graphs: Arc<Graphs>,
    metrics: SchedulerMetrics,
    /// Who it is, in judgements and orders.
    name: String,
    ages: BTreeMap<PoolName, Duration>,
    /// The judgements that hold, its own and others'.
    judged: BTreeMap<PoolName, PoolLoad>,
    looked: Instant,
}

impl Overseer {
    pub(crate) fn new(
        config: &SchedulerConfig,
        store: Arc<dyn Store>,
        graphs: Arc<Graphs>,
        metrics: SchedulerMetrics,
    ) -> Self {
        Self {
            bounds: config.overload,
            shed_after: config.shed_after,
            store,
            graphs,
            metrics,
            name: format!("scheduler {}", Nonce::fresh()),
            ages: BTreeMap::new(),
            judged: BTreeMap::new(),
            looked: Instant::now(),
        }
    }

    /// Judges all pools by what waits.
    pub(crate) async fn look(&mut self, waiting: Waiting) {
        if self.bounds == Bounds::default() {
            return;
        }
        if let Err(error) = self.judge_all(waiting).await {
            self.metrics.store_failed();
            self.metrics.judgements_unknown();
            tracing::debug!(%error, "the load of the pools is not known now");
        }
    }

    async fn judge_all(&mut self, waiting: Waiting) -> Result<(), Error> {
        let longest = self.longest_waits().await?;
        let elapsed = std::mem::replace(&mut self.looked, Instant::now()).elapsed();
        for (pool, waiting) in waiting {
            let before = self.ages.get(&pool).copied().unwrap_or_default();
            let count = waiting.values().sum();
            let age = queue_age(before, longest.get(&pool).copied(), count, elapsed);
            self.ages.insert(pool.clone(), age);
            self.judge(pool, Seen { waiting, age }).await?;
        }
        Ok(())
    }

    /// How long the tasks had waited that workers took of late, by pool.
    async fn longest_waits(&self) -> Result<BTreeMap<PoolName, Duration>, Error> {
        let mut longest = BTreeMap::<PoolName, Duration>::new();
        for waited in self.store.workers().await?.into_iter().flat_map(|worker| worker.waited) {
            let known = longest.entry(waited.pool).or_default();
            *known = waited.longest.max(*known);
        }
        Ok(longest)
    }

    async fn judge(&mut self, pool: PoolName, seen: Seen) -> Result<(), Error> {
        let unknown = || PoolLoad::unknown(pool.clone(), self.name.clone());
        let before = self.judged.get(&pool).cloned().unwrap_or_else(unknown);
        let own = before.next(&self.name, &seen, &self.bounds, Clock::system().now());
        let mut load = self.store.report_load(&own, HOLDS).await?;
        self.metrics.judged(&load, seen.age);
        if load.by == self.name {
            tell(&before, &load);
            if self.is_to_shed(&load) {
                // What was shed is kept also where the rest of it failed, or its messages would be counted as tasks.
                let shed = self.shed(&mut load, &seen).await;
                load = self.store.report_load(&load, HOLDS).await?;
                self.judged.insert(pool.clone(), load.clone());
                shed?;
            }
        }
        self.judged.insert(pool, load);
        Ok(())
    }

    fn is_to_shed(&self, load: &PoolLoad) -> bool {
        let lasted = load.overload.as_ref().map(|overload| Clock::system().now().since(overload.since));
        self.shed_after.zip(lasted).is_some_and(|(after, lasted)| lasted >= after)
    }

    /// Stops runs that no worker has begun, as many as there are too many tasks: low ones, then normal ones, the newest first,
    /// since those that have waited longest are nearest to their turn.
    async fn shed(&self, load: &mut PoolLoad, seen: &Seen) -> Result<(), Error> {
        let Some(overload) = load.overload.clone() else { return Ok(()) };
        let (mut excess, mut runs) = (load.excess(seen), 0);
        for priority in [Priority::Low, Priority::Normal] {
            let filter =
                RunFilter { status: vec![RunStatus::Running], priority: Some(priority), ..RunFilter::default() };
            let mut cursor = None;
            for _ in 0..PAGES_MAX {
                let page = self.store.runs(&filter, cursor.as_deref(), PAGE_MAX).await?;
                for run in page.rows {
                    if excess == 0 || runs == SHED_MAX {
                        return Ok(());
                    }
                    let tasks = self.shed_one(&run, &load.pool, &overload).await?;
                    if tasks > 0 {
                        runs += 1;
                        excess = excess.saturating_sub(tasks);
                        *load.shed.entry(priority).or_default() += tasks;
                    }
                }
                let Some(next) = page.next else { break };
                cursor = Some(next);
            }
        }
        Ok(())
    }

    /// Sheds a run if it has tasks that wait for this pool, and nothing of it was ever a worker's; returns how many those
    /// were.
    async fn shed_one(&self, run: &Run, pool: &PoolName, overload: &Overload) -> Result<u64, Error> {
        let tasks = self.waiting_for(run, pool).await?;
        if tasks == 0 {
            return Ok(0);
        }
        let order = NewOrder {
            cause: Cause::Overload,
            reason: Some(format!("pool {pool} is overloaded since {}: {}", overload.since, overload.over)),
            actor: self.name.clone(),
            grace: None,
            force: false,
        };
        // Whether it is begun is asked in the same step in which it is stopped.
        match self.store.shed(&run.key, order).await? {
            Shed::Stopped => {
                let priority = run.spec.priority;
                self.metrics.shed(priority);
                tracing::info!(run.id = %run.key.id, %pool, %priority, tasks, "a run was shed");
                Ok(tasks)
            }
            Shed::Begun | Shed::Frozen => Ok(0),
        }
    }

    /// The queued tasks of a run in its first step that wait for a pool. In later steps something was a worker's, as a rule.
    async fn waiting_for(&self, run: &Run, pool: &PoolName) -> Result<u64, Error> {
        if run.step.get() != 1 || run.open_leases > 0 || run.parent.is_some() {
            return Ok(0);
        }
        let Ok(graph) = self.graphs.get(self.store.as_ref(), &run.graph_hash).await else { return Ok(0) };
        let tells = |task: &Task| task.fence.get() > 0 || task.state == TaskState::Queued;
        let tasks = tasks_where(self.store.as_ref(), &run.key, run.step, tells).await?;
        if tasks.iter().any(|task| task.fence.get() > 0) {
            return Ok(0);
        }
        let queued = tasks.iter().filter(|task| task.state == TaskState::Queued);
        let of_pool = queued.filter(|task| graph.nodes.get(&task.id.node).is_some_and(|node| node.pool == *pool));
        Ok(of_pool.count() as u64)
    }
}

/// Tells what is new in a judgement.
fn tell(before: &PoolLoad, now: &PoolLoad) {
    match (&before.overload, &now.overload) {
        (None, Some(overload)) => {
            tracing::warn!(pool = %now.pool, why = %overload.over, "a pool is overloaded: runs of low priority that need it are refused");
        }
        (Some(_), None) => tracing::info!(pool = %now.pool, "a pool is overloaded no more"),
        (Some(_), Some(_)) | (None, None) => {}
    }
}
