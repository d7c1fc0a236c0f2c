//! A warm process' standard error, task by task. It is read all the time, so that the process never blocks.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::sync::{Arc, Mutex, MutexGuard};

use coxswain_shared::lifecycle::Tasks;
use tokio::net::unix::pipe::Receiver;
use tokio::process::ChildStderr;

use crate::kind::exec::child::PIPES_AFTER_END;
use crate::kind::exec::tail::Tail;

/// What a pipe holds: what was in it at some moment is no more than this, however fast it is filled again.
const PIPE_BYTES: usize = 64 * 1024;

/// The end of what a process wrote for its task. Dropped, it is read no more.
#[derive(Debug)]
pub(super) struct Errors {
    pipe: Arc<Pipe>,
    reader: Tasks,
}

#[derive(Debug)]
struct Pipe {
    receiver: Receiver,
    /// The same pipe, to read what is in it now; the receiver only knows what it was told of. It never blocks either.
    file: File,
    tail: Mutex<Tail>,
}

impl Errors {
    pub(super) fn read(from: ChildStderr) -> io::Result<Self> {
        let end = from.into_owned_fd()?;
        let file = File::from(end.try_clone()?);
        let pipe = Arc::new(Pipe { receiver: Receiver::from_owned_fd(end)?, file, tail: Mutex::default() });
        let reader = Tasks::new();
        drop(reader.spawn(read(Arc::clone(&pipe))));
        Ok(Self { pipe, reader })
    }

    /// Forgets what was written so far: another task begins.
    pub(super) fn forget(&self) {
        // What is still in the pipe was written before, too.
        self.pipe.read();
        *self.pipe.tail() = Tail::default();
    }

    /// What was written so far, by a process that lives.
    pub(super) fn so_far(&self) -> Option<String> {
        self.pipe.read();
        self.pipe.tail().shown()
    }

    /// All that was written, by a process that has ended.
    pub(super) async fn whole(&self) -> Option<String> {
        self.reader.join(PIPES_AFTER_END).await;
        self.so_far()
    }
}

impl Drop for Errors {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Pipe {
    /// Reads what is there.
    fn read(&self) {
        let mut tail = self.tail();
        let mut chunk = [0; 8 * 1024];
        for _ in 0..PIPE_BYTES / chunk.len() {
            let Ok(length @ 1..) = (&self.file).read(&mut chunk) else { return };
            tail.push(&chunk[..length]);
        }
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().expect("nothing panics while it holds the end of a standard error")
    }
}

async fn read(pipe: Arc<Pipe>) {
    let mut chunk = [0; 8 * 1024];
    while pipe.receiver.readable().await.is_ok() {
        // Nothing that was read is out of sight: who asks now sees it.
        let mut tail = pipe.tail();
        match pipe.receiver.try_read(&mut chunk) {
            Ok(0) => return,
            Ok(length) => tail.push(&chunk[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
