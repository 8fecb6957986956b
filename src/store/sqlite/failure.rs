//! What can go wrong below the store's methods, before it is known which method and which file it was.

use std::fmt;

use rusqlite::{ErrorCode, ffi};

use crate::model::state::Illegal;
use crate::store::StoreError;

use super::schema;

/// A failure inside one call.
#[derive(Debug)]
pub(super) enum Failure {
    Sql(rusqlite::Error),
    Unreadable { what: String, why: String },
    NewerSchema { found: u32 },
    Duplicate { uuid: String },
    Store(StoreError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Illegal> for Failure {
    fn from(illegal: Illegal) -> Self {
        Self::Store(illegal.into())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Failure {
    /// Returns the failure of a document or word that cannot be understood.
    pub(super) fn unreadable(what: impl Into<String>, why: &dyn fmt::Display) -> Self {
        Self::Unreadable { what: what.into(), why: why.to_string() }
    }

    /// Returns the error of the store at `place` that was to do `action`.
    pub(super) fn into_error(self, place: &str, action: &'static str) -> StoreError {
        let place = place.to_owned();
        match self {
            Self::Sql(error) => of_sqlite(error, place, action),
            Self::Unreadable { what, why } => StoreError::Unreadable { place, what, why },
            Self::NewerSchema { found } => StoreError::NewerSchema { place, found, known: schema::KNOWN },
            Self::Duplicate { uuid } => StoreError::Duplicate { place, uuid },
            Self::Store(error) => error,
        }
    }
}

/// Sorts SQLite's answers into: not reached in time, a damaged file, a refusal.
fn of_sqlite(error: rusqlite::Error, place: String, action: &'static str) -> StoreError {
    let error = InWords(error);
    match error.0.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::CannotOpen) => {
            StoreError::Unreachable { place, source: Box::new(error) }
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            let what = "the database".to_owned();
            StoreError::Unreadable { place, what, why: error.to_string() }
        }
        _ => StoreError::Refused { place, action, source: Box::new(error) },
    }
}

/// An error of the driver on one line.
#[derive(Debug)]
struct InWords(rusqlite::Error);

impl std::error::Error for InWords {}

impl fmt::Display for InWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        match self.0.sqlite_error().map(|error| error.extended_code) {
            // The file beside a database with a write-ahead log that all its users share could not grow.
            Some(code @ ffi::SQLITE_IOERR_SHMSIZE) => write!(f, " (code {code}: the disk is full)"),
            Some(code) if self.0.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) => {
                write!(f, " (code {code})")
            }
            _ => Ok(()),
        }
    }
}
