//! The surveyor: looks up the figures that are not this scheduler's own, but the store's and the broker's.
//!
//! It is apart from the reaper, so that a broker that does not answer holds up no sweep.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coxswain_shared::broker::Broker;
use coxswain_shared::id::PoolName;
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::priority::{Lane, Priority};
use coxswain_shared::store::{Error, Standing, Store};
use tokio::time::Instant;

use crate::metrics::SchedulerMetrics;
use crate::overload::{Overseer, Waiting};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);
/// Pools whose backlog is looked at; further ones are passed over.
const POOLS_MAX: usize = 100;
/// How often it looks whether somebody has made a queue that this scheduler did not send to: RabbitMQ logs each such look.
const ABSENT_EVERY: Duration = Duration::from_secs(10);

/// The lanes of the pools that this scheduler has sent tasks to, or seen tasks of, since it started: also those lanes to
/// which only others send. Clones are the same set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lanes(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    pools: BTreeSet<PoolName>,
    /// Lanes that had no queue, and when that was seen.
    absent: BTreeMap<Lane, Instant>,
}

impl Lanes {
    /// Adds lanes.
    pub(crate) fn note<'l>(&self, lanes: impl Iterator<Item = &'l Lane>) {
        let mut known = self.lock();
        for lane in lanes {
            known.absent.remove(lane);
            if known.pools.len() < POOLS_MAX && !known.pools.contains(&lane.pool) {
                known.pools.insert(lane.pool.clone());
            }
        }
    }

    /// Those that are to be looked at now.
    fn to_look_at(&self) -> Vec<Lane> {
        let known = self.lock();
        let lanes = known.pools.iter().flat_map(|pool| Priority::ALL.map(|priority| Lane::new(pool.clone(), priority)));
        lanes.filter(|lane| known.absent.get(lane).is_none_or(|seen| seen.elapsed() >= ABSENT_EVERY)).collect()
    }

    /// The pools.
    fn pools(&self) -> BTreeSet<PoolName> {
        self.lock().pools.clone()
    }

    /// Notes that a lane has no queue.
    fn is_absent(&self, lane: &Lane) {
        self.lock().absent.insert(lane.clone(), Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The surveyor of one scheduler.
#[derive(Debug)]
pub(crate) struct Surveyor {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) lanes: Lanes,
    pub(crate) overseer: Overseer,
    pub(crate) metrics: SchedulerMetrics,
}

impl Surveyor {
    /// Looks until the tasks drain.
    pub(crate) async fn run(mut self, tasks: Tasks) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = tasks.draining() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = tasks.draining() => return,
                () = self.look() => {}
            }
        }
    }

    async fn look(&mut self) {
        self.metrics.hindered(self.broker.complaint().map(|complaint| complaint.hindrance));
        match self.store.ends().await {
            Ok(ends) => self.metrics.ends(&ends),
            Err(error) => {
                self.metrics.store_failed();
                tracing::debug!(%error, "how many runs have ended is not known now");
            }
        }
        self.look_at_workers().await;
        let mut waiting = Waiting::new();
        for lane in self.lanes.to_look_at() {
            match self.broker.backlog(&lane).await {
                Ok(messages) => {
                    if messages.is_none() {
                        self.lanes.is_absent(&lane);
                    }
                    let messages = messages.unwrap_or(0);
                    self.metrics.backlog(&lane, messages);
                    waiting.entry(lane.pool).or_default().insert(lane.priority, messages);
                }
                Err(error) => {
                    tracing::debug!(%error, %lane, "no backlog is known now");
                    // An old figure would pass for a new one.
                    return self.metrics.backlogs_unknown();
                }
            }
        }
        self.overseer.look(waiting).await;
    }
}

impl Surveyor {
    /// How many workers take tasks of each pool: none of a pool that is sent to is what nobody would see.
    async fn look_at_workers(&self) {
        let seen = async { Ok::<_, Error>((self.store.workers().await?, self.store.now().await?)) };
        let (workers, now) = match seen.await {
            Ok(seen) => seen,
            Err(error) => {
                tracing::debug!(%error, "which pools are served is not known now");
                return self.metrics.workers_unknown();
            }
        };
        let mut pools: BTreeMap<PoolName, i64> = self.lanes.pools().into_iter().map(|pool| (pool, 0)).collect();
        let taking = workers.iter().filter(|worker| worker.standing(now) == Standing::TakingWork);
        for pool in taking.flat_map(|worker| &worker.pools) {
            if pools.len() < POOLS_MAX || pools.contains_key(pool) {
                *pools.entry(pool.clone()).or_default() += 1;
            }
        }
        self.metrics.workers(&pools);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_pools_are_known_and_no_more() {
        let lanes = Lanes::default();
        let names: Vec<Lane> = (0..=POOLS_MAX).map(|n| format!("low:p{n}").parse().unwrap()).collect();
        for _ in 0..2 {
            lanes.note(names.iter());
        }
        assert_eq!(lanes.to_look_at().len(), POOLS_MAX * Priority::ALL.len());
    }

    #[tokio::test(start_paused = true)]
    async fn the_lanes_that_others_send_to_are_looked_at_too_and_seldom_while_they_have_no_queue() {
        let lanes = Lanes::default();
        let [high, normal, low] = ["high:a", "normal:a", "low:a"].map(|lane| lane.parse::<Lane>().unwrap());
        lanes.note([&low].into_iter());
        assert_eq!(lanes.to_look_at(), [high.clone(), normal.clone(), low.clone()]);
        lanes.is_absent(&high);
        lanes.is_absent(&normal);
        assert!(!lanes.to_look_at().contains(&high) && lanes.to_look_at().contains(&low));
        lanes.note([&normal].into_iter());
        assert_eq!(lanes.to_look_at(), [normal.clone(), low.clone()], "it has been sent to");
        tokio::time::advance(ABSENT_EVERY).await;
        assert_eq!(lanes.to_look_at(), [high, normal, low]);
    }
}
