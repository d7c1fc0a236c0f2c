//! The surveyor: looks up the figures that are not this scheduler's own, but the store's and the broker's.
//!
//! It is apart from the reaper, so that a broker that does not answer holds up no sweep.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coxswain_shared::broker::Broker;
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::priority::Lane;
use coxswain_shared::store::Store;

use crate::metrics::SchedulerMetrics;
use crate::overload::{Overseer, Waiting};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);
/// Lanes whose backlog is looked at; further ones are passed over.
const LANES_MAX: usize = 256;

/// The lanes that this scheduler has sent tasks to, or seen tasks of, since it started. Clones are the same set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lanes(Arc<Mutex<BTreeSet<Lane>>>);

impl Lanes {
    /// Adds lanes.
    pub(crate) fn note<'l>(&self, lanes: impl Iterator<Item = &'l Lane>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for lane in lanes {
            if known.len() < LANES_MAX && !known.contains(lane) {
                known.insert(lane.clone());
            }
        }
    }

    fn all(&self) -> BTreeSet<Lane> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
        match self.store.ends().await {
            Ok(ends) => self.metrics.ends(&ends),
            Err(error) => {
                self.metrics.store_failed();
                tracing::debug!(%error, "how many runs have ended is not known now");
            }
        }
        let mut waiting = Waiting::new();
        for lane in self.lanes.all() {
            match self.broker.backlog(&lane).await {
                Ok(messages) => {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lanes_are_known_and_no_more() {
        let lanes = Lanes::default();
        let names: Vec<Lane> = (0..=LANES_MAX).map(|n| format!("low:p{n}").parse().unwrap()).collect();
        for _ in 0..2 {
            lanes.note(names.iter());
        }
        assert_eq!(lanes.all().len(), LANES_MAX);
    }
}
