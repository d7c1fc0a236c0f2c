//! A user's future on the *work* runtime, that can be dropped from outside at any await.
//!
//! ```text
//! control runtime                     work runtime
//! Job::ended ◄──── oneshot ────────── drive: polls the future, unless it is to be dropped
//! Job::drop_now ── token, or takes the future out of its cell while nobody polls it
//! ```
//!
//! Dropping does not wait for a free thread of the work runtime: handlers that block all of them cannot delay the stop
//! of a handler that awaits. The one thing that cannot be dropped is a future that is being polled right now.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, TryLockError};
use std::task::{Context as TaskContext, Poll};

use coxswain_shared::lifecycle::Tasks;
use futures_util::future::{BoxFuture, poll_fn};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// How a job ended.
#[derive(Debug)]
pub(crate) enum JobEnd<T> {
    /// It came to its own end.
    Returned(T),
    /// It panicked, with this message.
    Panicked(String),
    /// It was dropped.
    Dropped,
}

/// Where users' futures run: the work runtime, and who owns them there.
#[derive(Debug, Clone)]
pub(crate) struct WorkPlace {
    pub(crate) runtime: Handle,
    pub(crate) tasks: Tasks,
}

impl WorkPlace {
    pub(crate) fn new(runtime: Handle) -> Self {
        Self { tasks: Tasks::new().on(runtime.clone()), runtime }
    }
}

/// A future under way.
#[derive(Debug)]
pub(crate) struct Job<T> {
    cell: Arc<Cell<T>>,
    end: oneshot::Receiver<JobEnd<T>>,
    place: WorkPlace,
}

struct Cell<T> {
    work: Mutex<Option<BoxFuture<'static, T>>>,
    end: Mutex<Option<oneshot::Sender<JobEnd<T>>>>,
    drop: CancellationToken,
}

impl<T> std::fmt::Debug for Cell<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cell").field("drop", &self.drop.is_cancelled()).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Job<T> {
    /// Starts a future on the work runtime.
    pub(crate) fn start(place: &WorkPlace, work: BoxFuture<'static, T>) -> Self {
        let (told, end) = oneshot::channel();
        let cell = Arc::new(Cell {
            work: Mutex::new(Some(work)),
            end: Mutex::new(Some(told)),
            drop: CancellationToken::new(),
        });
        drop(place.tasks.spawn(drive(Arc::clone(&cell))));
        Self { cell, end, place: place.clone() }
    }

    /// Waits for its end. Cancel safe; to be called until it has answered once.
    pub(crate) async fn ended(&mut self) -> JobEnd<T> {
        (&mut self.end).await.unwrap_or(JobEnd::Dropped)
    }

    /// Drops the future: now if nobody polls it, else at its next await. [`Job::ended`] tells when it is gone.
    pub(crate) fn drop_now(&self) {
        self.cell.drop.cancel();
        let taken = match self.cell.work.try_lock() {
            Ok(mut work) => work.take(),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(_)) => unreachable!("panics of the work are caught while it is locked"),
        };
        if let Some(work) = taken {
            let cell = Arc::clone(&self.cell);
            // A destructor is the user's code too: it may block, or panic.
            drop(self.place.runtime.spawn_blocking(move || {
                discard(Some(work));
                cell.tell(JobEnd::Dropped);
            }));
        }
    }
}

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        self.cell.drop.cancel();
    }
}

impl<T> Cell<T> {
    fn poll(&self, context: &mut TaskContext<'_>) -> Poll<Option<JobEnd<T>>> {
        let mut slot = self.work.lock().expect("panics of the work are caught while it is locked");
        let Some(work) = slot.as_mut() else { return Poll::Ready(None) };
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => {
                discard(slot.take());
                Poll::Ready(Some(JobEnd::Returned(value)))
            }
            Err(panic) => {
                discard(slot.take());
                Poll::Ready(Some(JobEnd::Panicked(message_of(panic.as_ref()))))
            }
        }
    }

    fn tell(&self, end: JobEnd<T>) {
        let told = self.end.lock().expect("nothing panics while it is locked").take();
        if let Some(told) = told {
            // Nobody may be waiting any more: the attempt was fenced.
            let _ = told.send(end);
        }
    }
}

async fn drive<T>(cell: Arc<Cell<T>>) {
    let end = tokio::select! {
        biased;
        () = cell.drop.cancelled() => {
            let work = cell.work.lock().expect("panics of the work are caught while it is locked").take();
            work.map(|work| {discard(Some(work)); JobEnd::Dropped})
        }
        end = poll_fn(|context| cell.poll(context)) => end,
    };
    // None: somebody else took the future, and tells when it is gone.
    if let Some(end) = end {
        cell.tell(end);
    }
}

fn discard<T>(work: Option<BoxFuture<'static, T>>) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(work))) {
        tracing::error!(message = %message_of(panic.as_ref()), "a handler panicked while it was dropped");
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn place() -> WorkPlace {
        WorkPlace::new(Handle::current())
    }

    struct Flag(Arc<std::sync::atomic::AtomicBool>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn a_job_that_ends_by_itself_gives_its_value() {
        let mut job = Job::start(&place(), Box::pin(async { 7 }));
        assert!(matches!(job.ended().await, JobEnd::Returned(7)));
    }

    #[tokio::test]
    async fn a_panic_is_an_end_with_its_message() {
        let mut job = Job::<()>::start(&place(), Box::pin(async { panic!("broken {}", 1) }));
        let JobEnd::Panicked(message) = job.ended().await else { panic!("it did not panic") };
        assert_eq!(message, "broken 1");
    }

    #[tokio::test]
    async fn a_job_that_awaits_is_gone_before_its_end_is_told() {
        let gone = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let flag = Flag(Arc::clone(&gone));
        let mut job = Job::<()>::start(
            &place(),
            Box::pin(async move {
                let _flag = flag;
                std::future::pending::<()>().await;
            }),
        );
        job.drop_now();
        assert!(matches!(job.ended().await, JobEnd::Dropped));
        assert!(gone.load(std::sync::atomic::Ordering::SeqCst));
    }

    #[tokio::test]
    async fn a_job_is_dropped_even_if_every_thread_of_the_work_runtime_blocks() {
        let work = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let place = WorkPlace::new(work.handle().clone());
        let mut awaiting = Job::<()>::start(&place, Box::pin(std::future::pending()));
        let (blocks, blocked) = oneshot::channel();
        let (free, freed) = std::sync::mpsc::channel::<()>();
        let mut blocking = Job::start(
            &place,
            Box::pin(async move {
                blocks.send(()).unwrap();
                freed.recv().unwrap();
            }),
        );
        blocked.await.unwrap();
        awaiting.drop_now();
        assert!(matches!(awaiting.ended().await, JobEnd::Dropped));

        blocking.drop_now();
        let waited = tokio::time::timeout(Duration::from_millis(20), blocking.ended()).await;
        assert!(waited.is_err(), "what is being polled cannot be dropped");
        free.send(()).unwrap();
        assert!(matches!(blocking.ended().await, JobEnd::Returned(())));
        work.shutdown_background();
    }

    #[tokio::test]
    async fn a_panic_while_dropping_is_contained() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("boom");
            }
        }
        let mut job = Job::<()>::start(
            &place(),
            Box::pin(async move {
                let _bomb = Bomb;
                std::future::pending::<()>().await;
            }),
        );
        tokio::task::yield_now().await;
        job.drop_now();
        assert!(matches!(job.ended().await, JobEnd::Dropped));
    }
}
