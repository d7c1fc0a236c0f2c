//! What an attempt has spent so far: the handler counts it up, heartbeats and the attempt's end tell it.

use std::sync::{Arc, Mutex, MutexGuard};

use coxswain_shared::spend::Spend;

/// One attempt's meter. Clones are the same meter.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter(Arc<Mutex<Spend>>);

impl Meter {
    fn sum(&self) -> MutexGuard<'_, Spend> {
        self.0.lock().expect("nothing panics while it holds a meter")
    }

    /// Counts this beside what was counted before.
    pub(crate) fn add(&self, spend: Spend) {
        *self.sum() += spend;
    }

    /// All that was counted.
    pub(crate) fn read(&self) -> Spend {
        *self.sum()
    }
}
