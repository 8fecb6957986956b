//! The schema: the migrations in `migrations/sqlite`, and the version a file is at.

use rusqlite::{Connection, TransactionBehavior};

use super::connection;
use super::failure::Failure;

/// One step of the schema, run once in its own transaction.
struct Migration {
    version: u32,
    sql: &'static str,
}

const MIGRATIONS: [Migration; 4] = [
    Migration { version: 1, sql: include_str!("../../../migrations/sqlite/0001_queue.sql") },
    Migration { version: 2, sql: include_str!("../../../migrations/sqlite/0002_outputs_and_files.sql") },
    Migration { version: 3, sql: include_str!("../../../migrations/sqlite/0003_deletion.sql") },
    Migration { version: 4, sql: include_str!("../../../migrations/sqlite/0004_blobs.sql") },
];

/// The version this program writes: that of the last migration.
pub(super) const KNOWN: u32 = MIGRATIONS.len() as u32;

/// `JFRY`, set by the first migration.
const APPLICATION_ID: u32 = 0x4A46_5259;

/// Runs the migrations that are missing and returns their versions.
///
/// Each is durable when the next begins; on failure the file is at the version of the last that succeeded.
pub(super) fn migrate(connection: &mut Connection) -> Result<Vec<u32>, Failure> {
    if version(connection)? == KNOWN {
        return Ok(Vec::new());
    }
    refuse_foreign(connection)?;
    connection::write_ahead(connection)?;
    let mut ran = Vec::new();
    for migration in &MIGRATIONS {
        if run(connection, migration)? {
            ran.push(migration.version);
        }
    }
    Ok(ran)
}

/// Runs the migration unless the file has it; the version is read under the write lock.
fn run(connection: &mut Connection, migration: &Migration) -> Result<bool, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    if found >= migration.version {
        return Ok(false);
    }
    transaction.execute_batch(migration.sql)?;
    transaction.pragma_update(None, "user_version", migration.version)?;
    transaction.commit()?;
    Ok(true)
}

/// Refuses a file of a newer program, and one that is not ours.
fn refuse_foreign(connection: &Connection) -> Result<(), Failure> {
    let application: u32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let found = version(connection)?;
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION_ID && (found > 0 || tables > 0) {
        let why = "it is a database of another program; name another file in the project".to_owned();
        return Err(Failure::Unreadable { what: "the database".to_owned(), why });
    }
    if found > KNOWN {
        return Err(Failure::NewerSchema { found });
    }
    Ok(())
}

fn version(connection: &Connection) -> Result<u32, Failure> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}
