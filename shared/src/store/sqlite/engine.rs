//! One connection and the transactions on it: single calls, and batches that are committed together.

use rusqlite::Connection;
use tokio::sync::broadcast;

use super::fault::{Fault, Result, from_sql, told};
use super::tx::{Setting, Tx};
use super::watch::Watch;
use crate::store::{Error, Signal};
use crate::time::Clock;

/// Runs calls on the connection that writes.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) conn: Connection,
    pub(super) clock: Clock,
    pub(super) setting: Setting,
    pub(super) place: String,
    pub(super) signals: broadcast::Sender<Signal>,
    pub(super) watch: Watch,
}

/// A call that waits for its turn in a batch.
pub(super) trait Job: Send {
    /// Does the work; what it answers is kept until the batch is committed. Whether it is to be committed.
    fn work(&mut self, tx: &mut Tx<'_>) -> Result<()>;
    /// Answers the caller: with what the work gave, or with this error.
    fn answer(self: Box<Self>, failed: Option<Error>);
}

impl Engine {
    /// Runs one call in a transaction of its own.
    pub(super) fn one<T>(&mut self, work: impl FnOnce(&mut Tx<'_>) -> Result<T>) -> std::result::Result<T, Error> {
        self.begin().map_err(|error| from_sql(&error, &self.place))?;
        let done = self.apart(work);
        let done = match done {
            Ok((answer, signals)) => self.commit().map(|()| (answer, signals)).map_err(Fault::Sql),
            Err(fault) => Err(fault),
        };
        match done {
            Ok((answer, signals)) => {
                self.push(signals);
                Ok(answer)
            }
            Err(fault) => {
                self.roll_back();
                Err(fault.into_error(&self.place))
            }
        }
    }

    /// Runs calls in one transaction; one that fails is rolled back alone. All are answered once it is committed.
    pub(super) fn batch(&mut self, jobs: Vec<Box<dyn Job>>) {
        if let Err(error) = self.begin() {
            return self.refuse(jobs, &error);
        }
        let mut worked = Vec::with_capacity(jobs.len());
        let mut pushes = Vec::new();
        for mut job in jobs {
            match self.apart(|tx| job.work(tx)) {
                Ok(((), signals)) => {
                    pushes.extend(signals);
                    worked.push((job, None));
                }
                Err(fault) => worked.push((job, Some(fault.into_error(&self.place)))),
            }
        }
        if let Err(error) = self.commit() {
            self.roll_back();
            return self.refuse(worked.into_iter().map(|(job, _)| job).collect(), &error);
        }
        self.push(pushes);
        for (job, failed) in worked {
            job.answer(failed);
        }
    }

    /// Runs a call within the transaction; what it did is undone if it fails.
    fn apart<T>(&self, work: impl FnOnce(&mut Tx<'_>) -> Result<T>) -> Result<(T, Vec<Signal>)> {
        if self.conn.is_autocommit() {
            // An error of the disk may end the whole transaction; nothing may be written outside of one.
            return Err(Fault::Store(self.unavailable("the transaction was rolled back by a call before")));
        }
        self.conn.prepare_cached("SAVEPOINT call")?.execute([])?;
        let mut tx = Tx::new(&self.conn, self.clock.now(), &self.setting);
        let done = work(&mut tx).and_then(|answer| {
            tx.flush()?;
            Ok((answer, tx.into_signals()))
        });
        if done.is_err() && !self.conn.is_autocommit() {
            self.conn.prepare_cached("ROLLBACK TO call")?.execute([])?;
        }
        if !self.conn.is_autocommit() {
            self.conn.prepare_cached("RELEASE call")?.execute([])?;
        }
        done
    }

    /// Takes the lock for writing at once, so that nothing read here is changed by another process before the commit.
    fn begin(&self) -> rusqlite::Result<()> {
        // Left open by a call that panicked.
        self.roll_back();
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(|_| ())
    }

    fn commit(&self) -> rusqlite::Result<()> {
        self.conn.prepare_cached("COMMIT")?.execute([]).map(|_| ())
    }

    fn roll_back(&self) {
        if !self.conn.is_autocommit()
            && let Err(error) = self.conn.execute_batch("ROLLBACK")
        {
            tracing::error!(store.place = %self.place, %error, "a transaction could not be rolled back");
        }
    }

    fn push(&mut self, signals: Vec<Signal>) {
        for signal in signals {
            self.watch.note(&signal);
            // Without a subscriber there is nobody to hasten.
            let _ = self.signals.send(signal);
        }
    }

    /// Pushes what other processes have brought about since the last look.
    pub(super) fn look_around(&mut self) {
        match self.watch.look(&self.conn, self.clock.now()) {
            Ok(signals) => self.push(signals),
            Err(error) => {
                tracing::warn!(store.place = %self.place, %error, "other processes' changes could not be seen");
            }
        }
    }

    fn refuse(&self, jobs: Vec<Box<dyn Job>>, error: &rusqlite::Error) {
        for job in jobs {
            job.answer(Some(self.unavailable(&told(error))));
        }
    }

    fn unavailable(&self, why: &str) -> Error {
        Error::Unavailable { place: self.place.clone(), why: why.into() }
    }
}
