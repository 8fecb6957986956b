//! What can go wrong below the store's methods, before it is known which method and which file it was.

use rusqlite::ErrorCode;

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
    pub(super) fn unreadable(what: impl Into<String>, why: &dyn std::fmt::Display) -> Self {
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
    match error.sqlite_error_code() {
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
