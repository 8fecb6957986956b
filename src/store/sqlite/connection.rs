//! Opening the file, and preparing statements on it.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{CachedStatement, Connection, OpenFlags};
use tempfile::{NamedTempFile, PersistError};

use super::failure::Failure;
use crate::store::StoreError;

/// How long a statement waits for another process's write to end. Writes take milliseconds; a minute of a held lock
/// would be a stopped process, so ten seconds tell the two apart.
const BUSY_LIMIT: Duration = Duration::from_secs(10);

/// More than there are different statements, so that each is compiled once per connection.
const STATEMENT_CACHE: usize = 128;

/// The path that means: in memory, for as long as the store lives.
pub(super) const MEMORY: &str = ":memory:";

/// Creates the file (mode 0600) and its directory (mode 0700) where they are missing.
///
/// An existing directory or file keeps its mode. SQLite gives its own files beside it the mode of the database. The
/// file appears under its name with the write-ahead log switched on: two programs that switch it on at the same time
/// would refuse each other at once, without the wait that all other locks have.
pub(super) fn create_file(path: &Path) -> Result<(), Failure> {
    let failed = |source| StoreError::File { path: path.to_owned(), source };
    if path.exists() {
        return Ok(());
    }
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let file = NamedTempFile::new_in(directory).map_err(failed)?;
    write_ahead(&open(file.path())?)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(PersistError { error, .. }) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(PersistError { error, .. }) => Err(failed(error).into()),
    }
}

/// Lets readers go on during a write. Kept in the file, so said once in its life.
pub(super) fn write_ahead(connection: &Connection) -> Result<(), Failure> {
    Ok(connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?)
}

/// Returns a connection with its settings made.
pub(super) fn open(path: &Path) -> Result<Connection, Failure> {
    let connection = if path == Path::new(MEMORY) {
        Connection::open_in_memory()?
    } else {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(path, flags)?
    };
    connection.busy_timeout(BUSY_LIMIT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    // Else SQLite compiles a cached statement again whenever another value is bound to it, which takes longer than
    // most of ours run. No plan here depends on a bound value.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // FULL: a committed move survives a power cut. NORMAL would lose the last commits then (not on a killed process).
    // The log is cut back to 16 MiB after a large write; 8 MiB of page cache hold the indexes of 100 000 jobs.
    connection.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;
         PRAGMA journal_size_limit = 16777216; PRAGMA cache_size = -8192;",
    )?;
    Ok(connection)
}

/// Returns the compiled statement, from the connection's cache where it is there.
pub(super) fn prepared<'c>(connection: &'c Connection, sql: &str) -> rusqlite::Result<CachedStatement<'c>> {
    #[cfg(test)]
    super::tests::plans::record(sql);
    connection.prepare_cached(sql)
}
