//! What is wrong with the file right now, for those who do not call it themselves: a call that failed last, or one that
//! waits for another program's lock.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::fault::LOCKED;
use crate::store::{Error, Trouble};

/// A call that waits for so long tells of it: groups of other processes take milliseconds.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// How a file stands. Shared by the threads that use it.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// What the last write and the last read failed with; absent where they did not.
    written: Mutex<Option<Trouble>>,
    read: Mutex<Option<Trouble>>,
    /// Since when a write waits for the lock, and of which file.
    waits: Mutex<Option<(Instant, String)>>,
}

/// A write that waits for the lock; dropped, it waits no longer.
#[derive(Debug)]
pub(super) struct Waits<'a>(&'a Standing);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        set(&self.0.waits, None);
    }
}

impl Standing {
    /// Whether an error is one of the file, and not of one record or one call.
    pub(super) const fn concerns(error: &Error) -> bool {
        match error {
            Error::Unavailable { .. } | Error::Unsuitable { .. } => true,
            Error::Corrupt { .. } | Error::Format { .. } | Error::TooLarge { .. } | Error::Cursor { .. } => false,
        }
    }

    /// A write has failed.
    pub(super) fn failed(&self, error: &Error) {
        if Self::concerns(error) {
            set(&self.written, Some(Trouble::of(error)));
        }
    }

    /// A write was committed.
    pub(super) fn wrote(&self) {
        set(&self.written, None);
    }

    /// A read has ended.
    pub(super) fn has_read<T>(&self, done: &Result<T, Error>) {
        match done {
            Ok(_) => set(&self.read, None),
            Err(error) if Self::concerns(error) => set(&self.read, Some(Trouble::of(error))),
            Err(_) => {}
        }
    }

    /// A write begins to wait for the lock of the file at `place`.
    pub(super) fn waits_for_lock(&self, place: &str) -> Waits<'_> {
        set(&self.waits, Some((Instant::now(), place.to_owned())));
        Waits(self)
    }

    /// What is wrong now.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let failed = get(&self.written).or_else(|| get(&self.read));
        failed.or_else(|| {
            let (_, place) = get(&self.waits).filter(|(since, _)| since.elapsed() >= LONG_WAIT)?;
            let why = format!("the store at {place} is locked");
            Some(Trouble { why, remedy: LOCKED.to_owned() })
        })
    }
}

fn set<T>(place: &Mutex<Option<T>>, value: Option<T>) {
    *place.lock().unwrap_or_else(PoisonError::into_inner) = value;
}

fn get<T: Clone>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
