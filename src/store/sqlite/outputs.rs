//! Output documents.

use std::collections::HashMap;

use async_trait::async_trait;
use rusqlite::{Connection, params};

use crate::model::ids::JobKey;
use crate::store::{OutputDocument, Outputs, StoreError};

use super::SqliteStore;
use super::connection::prepared;
use super::failure::Failure;
use super::rows::{self, Columns};

#[async_trait]
impl Outputs for SqliteStore {
    async fn put_outputs(&self, outputs: &[OutputDocument]) -> Result<(), StoreError> {
        let encoded: Result<Vec<_>, Failure> =
            outputs.iter().map(|output| Ok((output.key.clone(), rows::encode(&output.document)?))).collect();
        self.write("store outputs", move |connection| put(connection, &encoded?)).await
    }

    async fn newest_outputs(&self, uuids: &[String]) -> Result<HashMap<String, OutputDocument>, StoreError> {
        let uuids = uuids.to_vec();
        self.read("read outputs", move |connection| newest(connection, &uuids)).await
    }

    async fn output(&self, key: &JobKey) -> Result<Option<OutputDocument>, StoreError> {
        let key = key.clone();
        self.read("read an output", move |connection| one(connection, &key)).await
    }

    async fn remove_outputs(&self, keys: &[JobKey]) -> Result<(), StoreError> {
        let keys = keys.to_vec();
        self.write("remove outputs", move |connection| remove(connection, &keys)).await
    }
}

fn remove(connection: &Connection, keys: &[JobKey]) -> Result<(), Failure> {
    let mut statement = prepared(connection, "DELETE FROM outputs WHERE uuid = ?1 AND idx = ?2")?;
    for key in keys {
        statement.execute(params![key.uuid, key.index])?;
    }
    Ok(())
}

fn put(connection: &Connection, outputs: &[(JobKey, Vec<u8>)]) -> Result<(), Failure> {
    let mut statement = prepared(
        connection,
        "INSERT INTO outputs (uuid, idx, document) VALUES (?1, ?2, ?3)
         ON CONFLICT (uuid, idx) DO UPDATE SET document = excluded.document",
    )?;
    for (key, document) in outputs {
        statement.execute(params![key.uuid, key.index, document])?;
    }
    Ok(())
}

fn newest(connection: &Connection, uuids: &[String]) -> Result<HashMap<String, OutputDocument>, Failure> {
    const NEWEST: &str = "SELECT uuid, idx, document FROM outputs WHERE uuid = ?1 ORDER BY idx DESC LIMIT 1";
    let mut found = HashMap::new();
    for uuid in uuids {
        if let Some(output) = query(connection, NEWEST, [uuid])? {
            found.insert(uuid.clone(), output);
        }
    }
    Ok(found)
}

fn one(connection: &Connection, key: &JobKey) -> Result<Option<OutputDocument>, Failure> {
    const ONE: &str = "SELECT uuid, idx, document FROM outputs WHERE uuid = ?1 AND idx = ?2";
    query(connection, ONE, params![key.uuid, key.index])
}

fn query(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> Result<Option<OutputDocument>, Failure> {
    let mut statement = prepared(connection, sql)?;
    let mut rows = statement.query(values)?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut columns = Columns::of(row);
    let key = JobKey { uuid: columns.take()?, index: columns.take()? };
    Ok(Some(OutputDocument { key, document: columns.document()? }))
}
