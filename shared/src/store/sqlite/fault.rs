//! What goes wrong inside a transaction, and how it is told to the caller.

use rusqlite::ErrorCode;

use crate::store::Error;

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
            Self::Sql(error) => from_sql(error, place),
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

pub(super) fn from_sql(error: rusqlite::Error, place: &str) -> Error {
    let place = place.to_owned();
    if is_of_content(&error) {
        return Error::Corrupt { key: place, why: error.to_string() };
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => Error::Unsuitable {
            place,
            why: "it is no SQLite database: name another file, or remove this one".to_owned(),
        },
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Error::Unsuitable {
            place,
            why: format!("{error}: check that its folder exists and that both can be written"),
        },
        Some(ErrorCode::DatabaseCorrupt) => Error::Corrupt { key: place, why: error.to_string() },
        _ => Error::Unavailable { place, source: Box::new(error) },
    }
}
