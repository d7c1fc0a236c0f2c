//! The partitions that may have runs to plan: a set that many mark and many take from, each partition in its turn.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Mutex;

use coxswain_shared::id::Partition;
use tokio::sync::Notify;

/// The set. A partition is in it at most once, so it is bounded by their number.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    marked: Mutex<Marked>,
    woken: Notify,
}

#[derive(Debug, Default)]
struct Marked {
    partitions: BTreeSet<Partition>,
    /// The one that was taken last.
    last: Option<Partition>,
}

impl Marked {
    /// The next one after the one that was taken last, in a circle: partitions that are marked again and again do not
    /// hold up those behind them.
    fn take(&mut self) -> Option<Partition> {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.partitions.range((after, Bound::Unbounded)).next();
        let next = *behind.or_else(|| self.partitions.first())?;
        self.partitions.remove(&next);
        self.last = Some(next);
        Some(next)
    }
}

impl Dirty {
    /// Marks a partition.
    pub(crate) fn mark(&self, partition: Partition) {
        if self.lock().partitions.insert(partition) {
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
                let taken = marked.take();
                (taken, !marked.partitions.is_empty())
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

    fn lock(&self) -> std::sync::MutexGuard<'_, Marked> {
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

    #[tokio::test]
    async fn a_partition_that_is_marked_again_and_again_does_not_hold_up_the_others() {
        let dirty = Dirty::default();
        dirty.mark_all(3);
        let mut taken = Vec::new();
        for _ in 0..4 {
            let partition = dirty.take().await;
            dirty.mark(Partition::new(0));
            taken.push(partition.get());
        }
        assert_eq!(taken, [0, 1, 2, 0]);
    }
}
