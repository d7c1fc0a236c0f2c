//! Which tasks wait in the outbox, so that a sweep that hands them out meanwhile does not have them sent twice.
//!
//! Only what *waits* is known, and it is forgotten before it is published: of what is under way nobody can say whether
//! a worker has had it already, and it may be due again by right, as a retry. What waits is sent later than it was
//! handed out, so that the message that waits is as good as another one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use coxswain_shared::id::TaskKey;

use crate::outbox::Message;

/// Tasks that are remembered: some 20 MB. Those beyond may be sent twice, which is harmless.
const REMEMBERED_MAX: usize = 100_000;

/// The tasks that wait, and whether a sweep has handed them out meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<HashMap<TaskKey, bool>>);

impl Waiting {
    /// Remembers what is about to wait.
    pub(crate) fn add(&self, messages: &[Message]) {
        let mut tasks = self.lock();
        let room = REMEMBERED_MAX.saturating_sub(tasks.len());
        for (_, task) in messages.iter().take(room) {
            tasks.entry(task.clone()).or_default();
        }
    }

    /// Notes that these were handed out, and returns those that do not wait.
    pub(crate) fn missing(&self, messages: Vec<Message>) -> Vec<Message> {
        let mut tasks = self.lock();
        let mut waits = |task: &TaskKey| tasks.get_mut(task).map(|is_wanted| *is_wanted = true).is_some();
        messages.into_iter().filter(|(_, task)| !waits(task)).collect()
    }

    /// Forgets what waits no longer; returns of each whether it was handed out while it did.
    pub(crate) fn take(&self, messages: &[Message]) -> Vec<bool> {
        let mut tasks = self.lock();
        messages.iter().map(|(_, task)| tasks.remove(task).unwrap_or(false)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TaskKey, bool>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use coxswain_shared::broker::conformance::{lane, task};

    use super::*;

    fn messages(range: std::ops::Range<usize>) -> Vec<Message> {
        range.map(|n| (lane("a"), task(n))).collect()
    }

    #[test]
    fn only_what_waits_is_left_out_and_only_while_it_waits() {
        let waiting = Waiting::default();
        waiting.add(&messages(0..2));
        assert_eq!(waiting.missing(messages(1..3)), messages(2..3));
        assert_eq!(waiting.take(&messages(0..3)), [false, true, false]);
        assert_eq!(waiting.missing(messages(0..3)), messages(0..3));
    }

    #[test]
    fn no_more_is_remembered_than_the_limit() {
        let waiting = Waiting::default();
        waiting.add(&messages(0..REMEMBERED_MAX + 3));
        assert_eq!(waiting.missing(messages(0..REMEMBERED_MAX + 3)).len(), 3);
        waiting.take(&messages(0..1));
        waiting.add(&messages(REMEMBERED_MAX..REMEMBERED_MAX + 3));
        assert_eq!(waiting.lock().len(), REMEMBERED_MAX);
    }
}
