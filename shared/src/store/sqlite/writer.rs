//! The thread that writes: takes calls from a bounded queue, commits them in groups, and looks around for what other
//! processes have written. It ends when the last handle is gone.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::engine::{Engine, Job};
use super::fault::Result;
use super::tx::Tx;
use crate::store::Error;

/// How often it looks at what other processes have written: a stop order of theirs is seen within 250 ms.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Hands calls to the thread.
#[derive(Debug)]
pub(super) struct Writer {
    queue: SyncSender<Queued>,
    /// As many permits as the queue has places, so that handing over never blocks.
    places: Arc<Semaphore>,
    place: String,
}

struct Queued {
    job: Box<dyn Job>,
    place: OwnedSemaphorePermit,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(engine: Engine, queue_max: usize, batch_max: usize) -> std::result::Result<Self, Error> {
        let place = engine.place.clone();
        let (queue, calls) = sync_channel(queue_max.max(1));
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || write_until_done(engine, &calls, batch_max.max(1)))
            .map_err(|error| Error::Unavailable { place: place.clone(), why: Box::new(error) })?;
        Ok(Self { queue, places: Arc::new(Semaphore::new(queue_max.max(1))), place })
    }

    /// Has a call done, and waits until it is on the disk. The wait ends by itself: the thread answers each call, at the latest
    /// when another process has kept it from writing for the whole busy timeout. No timer is needed, so paused time stays paused.
    pub(super) async fn call<T, F>(&self, work: F) -> std::result::Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        let gone = || Error::Unavailable { place: self.place.clone(), why: "its writer has ended".into() };
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| gone())?;
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Call { work: Some(work), done: None, reply });
        self.queue.try_send(Queued { job, place }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

struct Call<T, F> {
    work: Option<F>,
    done: Option<T>,
    reply: oneshot::Sender<std::result::Result<T, Error>>,
}

impl<T, F> Job for Call<T, F>
where
    T: Send,
    F: FnOnce(&mut Tx<'_>) -> Result<T> + Send,
{
    fn work(&mut self, tx: &mut Tx<'_>) -> Result<()> {
        if let Some(work) = self.work.take() {
            self.done = Some(work(tx)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, failed: Option<Error>) {
        let answer = match (failed, self.done) {
            (Some(error), _) => Err(error),
            (None, Some(done)) => Ok(done),
            (None, None) => return,
        };
        // A caller that has gone away wants no answer.
        let _ = self.reply.send(answer);
    }
}

fn write_until_done(mut engine: Engine, calls: &Receiver<Queued>, batch_max: usize) {
    engine.look_around();
    let mut looked = Instant::now();
    loop {
        let first = match calls.recv_timeout(LOOK_EVERY.saturating_sub(looked.elapsed())) {
            Ok(first) => Some(first),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if let Some(first) = first {
            let mut places = Vec::new();
            let mut jobs = Vec::new();
            for Queued { job, place } in std::iter::once(first).chain(calls.try_iter()).take(batch_max) {
                jobs.push(job);
                places.push(place);
            }
            engine.batch(jobs);
        }
        if looked.elapsed() >= LOOK_EVERY {
            engine.look_around();
            looked = Instant::now();
        }
    }
}
