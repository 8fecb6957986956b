//! What a Python job leaves for the stores of outputs (jobflow 0.4, `core/store.py`; jobflow-remote 1.0,
//! `remote/data.py`): its document in `remote_job_data.json`, and in `additional_store_<name>.json` the blobs, large
//! values that were taken out of the document.

use bson::{Bson, Document, doc};

use super::extended::with_types;
use super::json::{self, JsonError};
use super::reference::describe;
use crate::model::ids::JobKey;

/// How many values a file may hold: 40 MB of numbers with their full digits, at some 700 MB of memory.
const NODE_LIMIT: usize = 6_000_000;

/// A document of an additional store.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredBlob {
    pub blob_uuid: String,
    /// The job whose output it is part of.
    pub job: JobKey,
    /// The whole document.
    pub document: Document,
}

/// Why files of results cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredOutputError {
    #[error("it is no JSON: {0}")]
    Json(JsonError),
    #[error("it holds {0}, not a list of documents")]
    Form(String),
    #[error("it holds no output of the job {0}, which reported no error")]
    Missing(JobKey),
    #[error("it holds {count} outputs of the job {key}, and there should be one")]
    Several { key: JobKey, count: usize },
    #[error("the blob at place {0} has no usable blob_uuid, job_uuid or job_index")]
    Blob(usize),
}

/// Returns the job's document among those of `remote_job_data.json`; the runner may have put outputs of other jobs
/// there.
///
/// `db_id` is inserted into its metadata where they have none: only now, so that no job made by this one inherits it.
pub fn read_output(text: &[u8], key: &JobKey, db_id: &str) -> Result<Document, StoredOutputError> {
    let mut own: Vec<Document> = documents(text)?.filter_map(|value| owned(value, key)).collect();
    let count = own.len();
    let mut document = match own.pop() {
        Some(document) if count == 1 => document,
        Some(_) => return Err(StoredOutputError::Several { key: key.clone(), count }),
        None => return Err(StoredOutputError::Missing(key.clone())),
    };
    document.remove("_id");
    match document.get_mut("metadata") {
        Some(Bson::Document(metadata)) => {
            metadata.entry("db_id".to_owned()).or_insert(db_id.into());
        }
        _ => {
            document.insert("metadata", doc! { "db_id": db_id });
        }
    }
    Ok(document)
}

/// Returns the documents in the text of `additional_store_<name>.json`.
pub fn read_blobs(text: &[u8]) -> Result<Vec<StoredBlob>, StoredOutputError> {
    documents(text)?
        .enumerate()
        .map(|(place, value)| stored_blob(value).ok_or(StoredOutputError::Blob(place)))
        .collect()
}

fn documents(text: &[u8]) -> Result<impl Iterator<Item = Bson>, StoredOutputError> {
    match json::parse_within(text, NODE_LIMIT).map_err(StoredOutputError::Json)? {
        Bson::Array(documents) => Ok(documents.into_iter().map(with_types)),
        other => Err(StoredOutputError::Form(describe(&other))),
    }
}

fn owned(value: Bson, key: &JobKey) -> Option<Document> {
    let Bson::Document(document) = value else { return None };
    (key_of(&document, "uuid", "index")? == *key).then_some(document)
}

fn stored_blob(value: Bson) -> Option<StoredBlob> {
    let Bson::Document(mut document) = value else { return None };
    document.remove("_id");
    let blob_uuid = document.get_str("blob_uuid").ok()?.to_owned();
    Some(StoredBlob { blob_uuid, job: key_of(&document, "job_uuid", "job_index")?, document })
}

fn key_of(document: &Document, uuid: &str, index: &str) -> Option<JobKey> {
    Some(JobKey::new(document.get_str(uuid).ok()?, document.get_i32(index).ok()?))
}

#[cfg(test)]
mod tests;
