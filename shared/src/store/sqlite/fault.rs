//! What goes wrong inside a transaction, and how it is told to the caller.

use rusqlite::ErrorCode;

use crate::exhaustion::Resource;
use crate::store::{Advised, Error};

/// A failure of the library, or one that is the store's own word already.
#[derive(Debug)]
pub(super) enum Fault {
    Sql(rusqlite::Error),
    Store(Error),
}

pub(super) type Result<T> = std::result::Result<T, Fault>;

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl Fault {
    /// A record whose content is not what it must be.
    pub(super) fn corrupt(key: impl Into<String>, why: &impl ToString) -> Self {
        Self::Store(Error::Corrupt { key: key.into(), why: why.to_string() })
    }

    /// Whether a single record is to blame, so that others can still be read.
    pub(super) const fn is_of_one_record(&self) -> bool {
        matches!(self, Self::Store(Error::Corrupt { .. } | Error::Format { .. }))
    }

    /// The error as the port has it.
    pub(super) fn into_error(self, place: &str) -> Error {
        match self {
            Self::Store(error) => error,
            Self::Sql(error) => from_sql(&error, place),
        }
    }
}

/// Names the record that could not be read.
pub(super) trait Naming<T> {
    fn naming(self, key: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Naming<T> for rusqlite::Result<T> {
    fn naming(self, key: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| if is_of_content(&error) { Fault::corrupt(key(), &error) } else { Fault::Sql(error) })
    }
}

const fn is_of_content(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as Sql;
    matches!(
        error,
        Sql::FromSqlConversionFailure(..)
            | Sql::IntegralValueOutOfRange(..)
            | Sql::InvalidColumnType(..)
            | Sql::Utf8Error(..)
    )
}

/// What an error of a file in use means. All but damage is passing: an operator can mend it, and the same call succeeds then.
pub(super) fn from_sql(error: &rusqlite::Error, place: &str) -> Error {
    let place = place.to_owned();
    if is_of_content(error) {
        return Error::Corrupt { key: place, why: error.to_string() };
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => Error::Unsuitable {
            place,
            why: "it is no SQLite database: name another file, or remove this one".to_owned(),
        },
        Some(ErrorCode::DatabaseCorrupt) => Error::Corrupt { key: place, why: error.to_string() },
        _ => Error::Unavailable { place, why: Box::new(advised(error)) },
    }
}

/// The same for a file that is opened: one that cannot be written is a mistake in the settings then.
pub(super) fn from_sql_at_the_start(error: &rusqlite::Error, place: &str) -> Error {
    match error.sqlite_error_code() {
        // Not for want of rights, but of files: it may be opened later.
        Some(ErrorCode::CannotOpen) if Resource::is_out_of_files() => from_sql(error, place),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            Error::Unsuitable { place: place.to_owned(), why: advised(error).to_string() }
        }
        _ => from_sql(error, place),
    }
}

/// What SQLite says of the file, with what can be done about it.
pub(super) fn advised(error: &rusqlite::Error) -> Advised {
    let remedy = match error.sqlite_error_code() {
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "check that its folder exists and that both can be written"
        }
        Some(ErrorCode::DiskFull) => "make room on its disk, or raise the quota: the work goes on by itself then",
        Some(ErrorCode::SystemIoFailure) => "its disk fails, or the file is gone: look at the system's log",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => LOCKED,
        Some(ErrorCode::OutOfMemory) => "give the process more memory, then ask again: repeating is safe",
        _ => "see that the file and its folder can be read and written, then ask again: repeating is safe",
    };
    Advised { said: error.to_string(), remedy }
}

/// What helps where another program keeps the file.
pub(super) const LOCKED: &str = "another process keeps it locked, such as a backup or an open `sqlite3`: end it or wait for it, the work goes on by itself";

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn what_befalls_a_file_in_use_is_passing_and_told_with_its_remedy() {
        let cases = [
            (ffi::SQLITE_FULL, "make room"),
            (ffi::SQLITE_IOERR, "its disk fails"),
            (ffi::SQLITE_BUSY, "another process"),
            (ffi::SQLITE_LOCKED, "another process"),
            (ffi::SQLITE_READONLY, "can be written"),
            (ffi::SQLITE_CANTOPEN, "can be written"),
        ];
        for (code, remedy) in cases {
            let failed = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let (in_use, at_the_start) = (from_sql(&failed, "here"), from_sql_at_the_start(&failed, "here"));
            assert!(in_use.is_retryable() && in_use.to_string().contains(remedy), "{in_use}");
            let is_of_the_settings = matches!(code, ffi::SQLITE_READONLY | ffi::SQLITE_CANTOPEN);
            assert_eq!(at_the_start.is_retryable(), !is_of_the_settings, "{at_the_start}");
            assert!(at_the_start.to_string().contains(remedy), "{at_the_start}");
        }
    }
}
