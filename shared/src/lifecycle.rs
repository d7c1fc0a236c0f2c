//! Tasks with an owner: the one place that spawns, so that every task is awaited and none outlives its component.
//!
//! Two signals run through a process. *drain*: take no new work, finish or hand back what is in hand. *abort*: stop at
//! once. The first SIGTERM or SIGINT drains, the second aborts ([`Tasks::listen_to_signals`]).

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of one component. Cheap to clone; all clones are the same set.
#[derive(Debug, Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    drain: CancellationToken,
    abort: CancellationToken,
    runtime: Option<Handle>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    /// An empty set; its tasks run on the runtime that `spawn` is called from.
    pub fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            drain: CancellationToken::new(),
            abort: CancellationToken::new(),
            runtime: None,
        }
    }

    /// The same set, with its tasks on another runtime.
    #[must_use]
    pub fn on(&self, runtime: Handle) -> Self {
        Self { runtime: Some(runtime), ..self.clone() }
    }

    /// A set of its own that ends with this one, and may end earlier.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            tracker: TaskTracker::new(),
            drain: self.drain.child_token(),
            abort: self.abort.child_token(),
            runtime: self.runtime.clone(),
        }
    }

    /// Spawns a task. It is dropped at its next await when the set aborts.
    pub fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let abort = self.abort.clone();
        let guarded = async move { abort.run_until_cancelled_owned(future).await };
        match &self.runtime {
            Some(runtime) => self.tracker.spawn_on(guarded, runtime),
            None => self.tracker.spawn(guarded),
        }
    }

    /// Asks all to finish: no new work from now on.
    pub fn start_drain(&self) {
        self.drain.cancel();
    }

    /// Drops all at their next await.
    pub fn abort(&self) {
        self.drain.cancel();
        self.abort.cancel();
    }

    /// Whether the set drains.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Waits until the set drains. Cancel safe.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Waits until the set aborts. Cancel safe.
    pub async fn aborting(&self) {
        self.abort.cancelled().await;
    }

    /// Waits until all tasks have ended; after `patience` they are aborted and waited for. True if none had to be.
    pub async fn join(&self, patience: Duration) -> bool {
        self.tracker.close();
        let in_time = tokio::time::timeout(patience, self.tracker.wait()).await.is_ok();
        if !in_time {
            self.abort();
            self.tracker.wait().await;
        }
        in_time
    }

    /// Makes the first SIGTERM or SIGINT drain the set, and the second abort it.
    pub fn listen_to_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let tasks = self.clone();
        // Not tracked: it waits for signals as long as the process lives, and must not hold up `join`.
        #[expect(clippy::disallowed_methods, reason = "the listener must outlive the tasks it ends")]
        tokio::spawn(async move {
            for order in [Self::start_drain, Self::abort] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                order(&tasks);
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_in_time_is_not_aborted() {
        let tasks = Tasks::new();
        let draining = tasks.clone();
        let task = tasks.spawn(async move {
            draining.draining().await;
            7
        });
        tasks.start_drain();
        assert!(tasks.join(Duration::from_secs(5)).await);
        assert_eq!(task.await.unwrap(), Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_will_not_end_is_dropped_after_the_patience() {
        let tasks = Tasks::new();
        let task = tasks.spawn(std::future::pending::<()>());
        assert!(!tasks.join(Duration::from_secs(3)).await);
        assert_eq!(task.await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_child_set_ends_with_its_parent_and_not_the_other_way_round() {
        let parent = Tasks::new();
        let (first, second) = (parent.child(), parent.child());
        first.abort();
        assert!(!parent.is_draining() && !second.is_draining());
        parent.start_drain();
        assert!(second.is_draining());
    }
}
