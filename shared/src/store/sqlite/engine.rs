//! One connection and the transactions on it: single calls, and batches that are committed together.

use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::broadcast;

use super::fault::{Fault, Result, advised, from_sql};
use super::standing::Standing;
use super::tx::{Setting, Tx};
use super::watch::Watch;
use crate::store::{Advised, Error, Signal};
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
    pub(super) standing: Arc<Standing>,
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
        let begun = self.begin().map_err(|error| from_sql(&error, &self.place));
        begun.inspect_err(|error| self.standing.failed(error))?;
        let done = self.apart(work);
        let done = match done {
            Ok((answer, signals)) => self.commit().map(|()| (answer, signals)).map_err(Fault::Sql),
            Err(fault) => Err(fault),
        };
        match done {
            Ok((answer, signals)) => {
                self.standing.wrote();
                self.push(signals);
                Ok(answer)
            }
            Err(fault) => {
                self.roll_back();
                let error = fault.into_error(&self.place);
                self.standing.failed(&error);
                Err(error)
            }
        }
    }

    /// Runs calls in one transaction; one that fails is rolled back alone. All are answered once it is committed.
    pub(super) fn batch(&mut self, jobs: Vec<Box<dyn Job>>) {
        if let Err(error) = self.begin() {
            return self.refuse(jobs, &advised(&error));
        }
        // An error of the disk ends the whole transaction: what it said is what all of its calls are answered.
        let mut ended_by = None;
        let mut worked = Vec::with_capacity(jobs.len());
        let mut pushes = Vec::new();
        for mut job in jobs {
            match self.apart(|tx| job.work(tx)) {
                Ok(((), signals)) => {
                    pushes.extend(signals);
                    worked.push((job, None));
                }
                Err(fault) => {
                    if let Fault::Sql(error) = &fault
                        && ended_by.is_none()
                        && self.conn.is_autocommit()
                    {
                        ended_by = Some(advised(error));
                    }
                    worked.push((job, Some(fault.into_error(&self.place))));
                }
            }
        }
        if let Err(error) = self.commit() {
            self.roll_back();
            let why = ended_by.unwrap_or_else(|| advised(&error));
            return self.refuse(worked.into_iter().map(|(job, _)| job).collect(), &why);
        }
        // A call that failed alone may have met a full disk as well.
        match worked.iter().find_map(|(_, failed)| failed.as_ref().filter(|error| Standing::concerns(error))) {
            Some(error) => self.standing.failed(error),
            None => self.standing.wrote(),
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
            let why = "the transaction was rolled back by a call before";
            return Err(Fault::Store(Error::Unavailable { place: self.place.clone(), why: why.into() }));
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
        let _waiting = self.standing.waits_for_lock(&self.place);
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

    fn refuse(&self, jobs: Vec<Box<dyn Job>>, why: &Advised) {
        let error = || Error::Unavailable { place: self.place.clone(), why: Box::new(why.clone()) };
        self.standing.failed(&error());
        for job in jobs {
            job.answer(Some(error()));
        }
    }
}
