//! The threads that read a file: each has a connection of its own, beside the one that writes. They end with the last handle.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::config::SqliteConfig;
use super::fault::Result;
use super::schema;
use super::standing::Standing;
use crate::store::Error;

/// How many reads run side by side.
const READERS: usize = 2;

type Read = Box<dyn FnOnce(&mut Connection) + Send>;

/// Hands reads to the threads.
#[derive(Debug)]
pub(super) struct Readers {
    queue: SyncSender<(Read, OwnedSemaphorePermit)>,
    places: Arc<Semaphore>,
    place: String,
    standing: Arc<Standing>,
}

impl Readers {
    /// Starts the threads.
    pub(super) fn start(
        config: &SqliteConfig,
        path: &Path,
        standing: Arc<Standing>,
    ) -> std::result::Result<Self, Error> {
        let place = config.place();
        let queue_max = config.queue_max.max(1);
        let (queue, reads) = sync_channel(queue_max);
        let reads = Arc::new(Mutex::new(reads));
        for number in 0..READERS {
            let conn = schema::open_reader(config, path)?;
            let reads = Arc::clone(&reads);
            std::thread::Builder::new()
                .name(format!("store-reader-{number}"))
                .spawn(move || read_until_done(conn, &reads))
                .map_err(|error| Error::Unavailable { place: place.clone(), why: Box::new(error) })?;
        }
        Ok(Self { queue, places: Arc::new(Semaphore::new(queue_max)), place, standing })
    }

    /// Has something read: all of it as it was at one moment.
    pub(super) async fn read<T, F>(&self, work: F) -> std::result::Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let gone = || Error::Unavailable { place: self.place.clone(), why: "its readers have ended".into() };
        let permit = Arc::clone(&self.places).acquire_owned().await.map_err(|_| gone())?;
        let (reply, answer) = oneshot::channel();
        let (place, standing) = (self.place.clone(), Arc::clone(&self.standing));
        let read: Read = Box::new(move |conn| {
            let done = in_one_moment(conn, work).map_err(|fault| fault.into_error(&place));
            standing.has_read(&done);
            let _ = reply.send(done);
        });
        self.queue.try_send((read, permit)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn in_one_moment<T>(conn: &mut Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Deferred)?;
    work(&tx)
}

fn read_until_done(mut conn: Connection, reads: &Mutex<Receiver<(Read, OwnedSemaphorePermit)>>) {
    loop {
        // The lock is held while waiting, and let go before reading.
        let next = reads.lock().map(|reads| reads.recv());
        let Ok(Ok((read, _permit))) = next else { return };
        read(&mut conn);
    }
}
