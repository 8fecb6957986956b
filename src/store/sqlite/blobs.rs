//! Parts of outputs, in a table of the project's file.

use std::collections::HashMap;

use async_trait::async_trait;
use bson::{Bson, Document};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::model::ids::JobKey;
use crate::store::{BlobDocument, BlobIndex, Blobs, StoreError};

use super::SqliteStore;
use super::connection::prepared;
use super::failure::Failure;
use super::rows;

/// The largest value that SQLite takes unless it was built otherwise (`SQLITE_MAX_LENGTH`).
const BLOB_LIMIT_BYTES: usize = 1_000_000_000;

/// One additional store in a SQLite file; several, of different names, can share it.
#[derive(Clone)]
pub struct SqliteBlobs {
    file: SqliteStore,
    name: String,
}

impl SqliteBlobs {
    /// Returns the additional store `name` in the file, which has to be migrated.
    pub fn new(file: SqliteStore, name: impl Into<String>) -> Self {
        Self { file, name: name.into() }
    }
}

#[async_trait]
impl Blobs for SqliteBlobs {
    async fn put_blobs(&self, blobs: &[BlobDocument]) -> Result<(), StoreError> {
        let rows: Vec<Row> = blobs.iter().map(Row::of).collect::<Result<_, StoreError>>()?;
        let name = self.name.clone();
        self.file.write("store parts of outputs", move |connection| put(connection, &name, &rows)).await
    }

    async fn get_blobs(&self, uuids: &[String]) -> Result<HashMap<String, Bson>, StoreError> {
        let (name, uuids) = (self.name.clone(), uuids.to_vec());
        self.file.read("read parts of outputs", move |connection| get(connection, &name, &uuids)).await
    }

    async fn remove_blobs(&self, jobs: &[JobKey]) -> Result<(), StoreError> {
        let (name, jobs) = (self.name.clone(), jobs.to_vec());
        self.file.write("remove parts of outputs", move |connection| remove(connection, &name, &jobs)).await
    }
}

struct Row {
    blob_uuid: String,
    job: JobKey,
    document: Vec<u8>,
}

impl Row {
    fn of(blob: &BlobDocument) -> Result<Self, StoreError> {
        let document = blob.document.to_vec().map_err(|error| StoreError::Unreadable {
            place: "the output".to_owned(),
            what: format!("the part {}", blob.blob_uuid),
            why: error.to_string(),
        })?;
        if document.len() > BLOB_LIMIT_BYTES {
            return Err(StoreError::TooLarge {
                what: blob.blob_uuid.clone(),
                size_bytes: document.len() as u64,
                limit_bytes: BLOB_LIMIT_BYTES as u64,
            });
        }
        Ok(Self { blob_uuid: blob.blob_uuid.clone(), job: blob.job.clone(), document })
    }
}

fn put(connection: &Connection, store: &str, blobs: &[Row]) -> Result<(), Failure> {
    let mut statement = prepared(
        connection,
        "INSERT INTO blobs (store, blob_uuid, job_uuid, job_index, document) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (store, blob_uuid) DO UPDATE SET
             job_uuid = excluded.job_uuid, job_index = excluded.job_index, document = excluded.document",
    )?;
    for blob in blobs {
        statement.execute(params![store, blob.blob_uuid, blob.job.uuid, blob.job.index, blob.document])?;
    }
    Ok(())
}

fn get(connection: &Connection, store: &str, uuids: &[String]) -> Result<HashMap<String, Bson>, Failure> {
    let mut statement =
        prepared(connection, "SELECT document FROM blobs WHERE store = ?1 AND blob_uuid = ?2")?;
    let mut found = HashMap::new();
    for uuid in uuids {
        let document: Option<Vec<u8>> =
            statement.query_row(params![store, uuid], |row| row.get(0)).optional()?;
        if let Some(document) = document {
            let mut document: Document = rows::decode(&document)?;
            found.insert(uuid.clone(), document.remove("data").unwrap_or(Bson::Null));
        }
    }
    Ok(found)
}

fn remove(connection: &Connection, store: &str, jobs: &[JobKey]) -> Result<(), Failure> {
    let mut statement =
        prepared(connection, "DELETE FROM blobs WHERE store = ?1 AND job_uuid = ?2 AND job_index = ?3")?;
    for job in jobs {
        statement.execute(params![store, job.uuid, job.index])?;
    }
    Ok(())
}

#[async_trait]
impl BlobIndex for SqliteBlobs {
    async fn uuids_of(&self, jobs: &[JobKey]) -> Result<Vec<String>, StoreError> {
        let (name, jobs) = (self.name.clone(), jobs.to_vec());
        self.file.read("list parts of outputs", move |connection| uuids_of(connection, &name, &jobs)).await
    }
}

fn uuids_of(connection: &Connection, store: &str, jobs: &[JobKey]) -> Result<Vec<String>, Failure> {
    let mut statement = prepared(
        connection,
        "SELECT blob_uuid FROM blobs WHERE store = ?1 AND job_uuid = ?2 AND job_index = ?3",
    )?;
    let mut found = Vec::new();
    for job in jobs {
        let rows = statement.query_map(params![store, job.uuid, job.index], |row| row.get(0))?;
        for uuid in rows {
            found.push(uuid?);
        }
    }
    Ok(found)
}
