//! How long tasks had waited for a worker when this one took them: the longest of each pool, between two reports.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use coxswain_shared::id::PoolName;
use coxswain_shared::store::{Lease, Waited};

/// The waits since the last report. As many as the worker has pools.
#[derive(Debug, Default)]
pub(crate) struct Waits(Mutex<BTreeMap<PoolName, Duration>>);

impl Waits {
    /// Notes how long a task had waited.
    pub(crate) fn note(&self, lease: &Lease) {
        let Some(lane) = lease.task.dispatch.lane() else { return };
        let waited = lease.now.since(lease.queued_at);
        let mut longest = self.lock();
        let longest = longest.entry(lane.pool).or_default();
        *longest = waited.max(*longest);
    }

    /// What was noted, which is forgotten with it.
    pub(crate) fn take(&self) -> Vec<Waited> {
        std::mem::take(&mut *self.lock()).into_iter().map(|(pool, longest)| Waited { pool, longest }).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PoolName, Duration>> {
        self.0.lock().expect("nothing panics while it holds the waits")
    }
}
