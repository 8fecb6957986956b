//! What an administrator does to the file.

use async_trait::async_trait;
use bson::{Document, RawDocumentBuf, doc};
use rusqlite::{Connection, params};
use tokio::sync::mpsc::{Receiver, Sender};

use crate::model::query::{Detail, FlowFilter, JobFilter, Locked, Order, Page, SortKey};
use crate::store::admin::{
    Admin, Counts, IndexMade, Inventory, NewIndex, Part, Received, RunnerLock, Scope, Upgrade,
};
use crate::store::{StoreError, codec};

use super::connection::prepared;
use super::failure::Failure;
use super::{SqliteStore, restore, rows, select};

/// Tables that a reset leaves alone: the counter is set back, and orders to end processes outlive their jobs.
const KEPT_TABLES: [&str; 2] = ["counters", "cancellations"];

/// Tables that a reset leaves alone unless outputs go too.
const OUTPUT_TABLES: [&str; 2] = ["outputs", "blobs"];

const EVERYTHING: Page = Page { sort: SortKey::CreatedOn, order: Order::Ascending, limit: None, skip: 0 };

#[async_trait]
impl Admin for SqliteStore {
    fn database(&self) -> &str {
        self.shared.settings.path.file_stem().and_then(|name| name.to_str()).unwrap_or("jobferry")
    }

    async fn inventory(&self) -> Result<Inventory, StoreError> {
        self.read("count its rows", inventory).await
    }

    async fn reset(&self, scope: Scope) -> Result<(), StoreError> {
        self.write("be reset", move |connection| reset(connection, scope)).await
    }

    async fn unlock_jobs(&self, filter: &JobFilter) -> Result<u64, StoreError> {
        let filter = JobFilter { locked: Some(Locked::Held), ..filter.clone() };
        self.write("unlock jobs", move |connection| {
            let numbers = select::of_jobs(&filter).ids(connection, &EVERYTHING)?;
            let sql =
                "UPDATE jobs SET lock_id = NULL, lock_time = NULL WHERE number = ?1 AND lock_id IS NOT NULL";
            unlock(connection, sql, &numbers)
        })
        .await
    }

    async fn unlock_flows(&self, filter: &FlowFilter) -> Result<u64, StoreError> {
        let filter = FlowFilter { locked: Some(Locked::Held), ..filter.clone() };
        self.write("unlock flows", move |connection| {
            let ids = select::of_flows(&filter).ids(connection, &EVERYTHING)?;
            let sql =
                "UPDATE flows SET lock_id = NULL, lock_time = NULL WHERE id = ?1 AND lock_id IS NOT NULL";
            unlock(connection, sql, &ids)
        })
        .await
    }

    /// There is only the lease, which ends by itself.
    async fn unlock_runner(&self) -> Result<RunnerLock, StoreError> {
        Ok(RunnerLock::NotLocked)
    }

    async fn rebuild_indexes(&self) -> Result<(), StoreError> {
        self.write("rebuild indexes", |connection| Ok(connection.execute_batch("REINDEX")?)).await
    }

    async fn create_index(&self, _index: &NewIndex) -> Result<IndexMade, StoreError> {
        Ok(IndexMade::Fixed)
    }

    /// No older program has ever written here.
    async fn plan_upgrade(&self) -> Result<Upgrade, StoreError> {
        Ok(Upgrade::default())
    }

    async fn upgrade(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn dump(&self, to: Sender<(Part, RawDocumentBuf)>) -> Result<(), StoreError> {
        self.read("be copied", move |connection| dump(connection, &to)).await
    }

    async fn restore(&self, from: Receiver<Received>) -> Result<Counts, StoreError> {
        self.write("take a backup", move |connection| restore::restore(connection, from)).await
    }
}

fn inventory(connection: &Connection) -> Result<Inventory, Failure> {
    Ok(Inventory {
        jobs: count(connection, "SELECT count(*) FROM jobs")?,
        flows: count(connection, "SELECT count(*) FROM flows")?,
        batches: 0,
        files: count(connection, "SELECT count(*) FROM files WHERE sha256 IS NOT NULL")?,
        outputs: count(connection, "SELECT count(*) FROM outputs")?,
        next_number: next_number(connection)?,
    })
}

fn count(connection: &Connection, sql: &str) -> Result<u64, Failure> {
    Ok(connection.query_row(sql, [], |row| rows::count(row, 0))?)
}

fn next_number(connection: &Connection) -> Result<i64, Failure> {
    Ok(connection.query_row("SELECT next FROM counters WHERE name = 'job'", [], |row| row.get(0))?)
}

/// Empties the tables, the youngest first: a row of an older one is looked for in the younger ones that point to it.
fn reset(connection: &Connection, scope: Scope) -> Result<(), Failure> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
                ORDER BY rowid DESC";
    let mut statement = connection.prepare(sql)?;
    let tables: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for table in tables {
        let name = table.as_str();
        let is_kept = KEPT_TABLES.contains(&name) || (scope == Scope::Queue && OUTPUT_TABLES.contains(&name));
        if !is_kept {
            // Names of our own schema, which need no quotes.
            connection.execute(&format!("DELETE FROM {name}"), [])?;
        }
    }
    connection.execute("UPDATE counters SET next = 1", [])?;
    Ok(())
}

fn unlock(connection: &Connection, sql: &str, ids: &[i64]) -> Result<u64, Failure> {
    let mut unlocked = 0_u64;
    for id in ids {
        let rows = prepared(connection, sql)?.execute(params![id])?;
        unlocked = unlocked.saturating_add(u64::try_from(rows).unwrap_or_default());
    }
    Ok(unlocked)
}

/// Sends what `jf backup create` of the Python side would send of the same jobs in MongoDB.
fn dump(connection: &Connection, to: &Sender<(Part, RawDocumentBuf)>) -> Result<(), Failure> {
    for id in numbers(connection, "SELECT id FROM flows ORDER BY id")? {
        for flow in rows::flows(connection, &[id])? {
            send(to, Part::Flows, &codec::flow_document(&flow))?;
        }
    }
    for number in numbers(connection, "SELECT number FROM jobs ORDER BY number")? {
        for job in rows::jobs(connection, &[number], Detail::Full)? {
            send(to, Part::Jobs, &codec::job_document(&job))?;
        }
    }
    let next = next_number(connection)?;
    let next = i32::try_from(next).map_or(bson::Bson::Int64(next), bson::Bson::Int32);
    for document in [
        doc! {"next_id": next},
        doc! {"running_runner": null},
        doc! {"runner_pings": []},
        doc! {"jobflow_remote_version": "1.0.1", "jobflow_version": "0.4.0", "full_environment": {}},
    ] {
        send(to, Part::Auxiliary, &document)?;
    }
    Ok(())
}

fn numbers(connection: &Connection, sql: &str) -> Result<Vec<i64>, Failure> {
    let mut statement = connection.prepare(sql)?;
    let numbers = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(numbers)
}

fn send(to: &Sender<(Part, RawDocumentBuf)>, part: Part, document: &Document) -> Result<(), Failure> {
    let unreadable = |error: &dyn std::fmt::Display| Failure::unreadable("a document to be copied", error);
    let raw = RawDocumentBuf::from_bytes(rows::encode(document)?).map_err(|error| unreadable(&error))?;
    to.blocking_send((part, raw)).map_err(|_| unreadable(&"nobody takes the documents any more"))
}
