//! The partitions that may have runs to plan: a set that many mark and many take from.

use std::collections::BTreeSet;
use std::sync::Mutex;

use coxswain_shared::id::Partition;
use tokio::sync::Notify;

/// The set. A partition is in it at most once, so it is bounded by their number.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    marked: Mutex<BTreeSet<Partition>>,
    woken: Notify,
}

impl Dirty {
    /// Marks a partition.
    pub(crate) fn mark(&self, partition: Partition) {
        if self.lock().insert(partition) {
            self.woken.notify_one();
        }
    }

    /// Marks all partitions.
    pub(crate) fn mark_all(&self, count: u16) {
        (0..count).for_each(|index| self.mark(Partition::new(index)));
    }

    /// Takes a marked partition; waits while there is none. Cancel safe: one that was not returned stays marked.
    pub(crate) async fn take(&self) -> Partition {
        loop {
            let woken = self.woken.notified();
            let (taken, more) = {
                let mut marked = self.lock();
                let taken = marked.pop_first();
                (taken, !marked.is_empty())
            };
            if let Some(partition) = taken {
                if more {
                    self.woken.notify_one();
                }
                return partition;
            }
            woken.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<Partition>> {
        self.marked.lock().expect("nothing panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_marked_partition_is_taken_once() {
        let dirty = Dirty::default();
        dirty.mark_all(3);
        dirty.mark(Partition::new(1));
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.push(dirty.take().await.get());
        }
        assert_eq!(taken, [0, 1, 2]);
        let nothing = tokio::time::timeout(std::time::Duration::from_millis(20), dirty.take()).await;
        assert!(nothing.is_err(), "a partition was taken twice");
    }
}
