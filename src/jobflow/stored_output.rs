//! What a Python job leaves for the stores of outputs (jobflow 0.4, `core/store.py`; jobflow-remote 1.0,
//! `remote/data.py`): its document in `remote_job_data.json`, and in `additional_store_<name>.json` the blobs, large
//! values that were taken out of the document.

use std::ops::Range;

use bson::{Bson, Document, doc};

use super::json::{self, Builder, JsonError, Member, Scalar};
use super::reference::describe;
use crate::model::ids::JobKey;

/// How many values the file of outputs may hold: 40 MB of numbers with their full digits, at some 700 MB of memory.
const OUTPUT_NODE_LIMIT: usize = 6_000_000;

/// How many values the file of blobs may hold. What is in a blob is passed over and takes some 24 bytes a value.
const BLOB_NODE_LIMIT: usize = 50_000_000;

/// The document of a job for the store of outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredOutput {
    /// Has the job's short id as `metadata.db_id`.
    pub document: Document,
    /// The values that stand in additional stores, in the order of the document.
    pub blobs: Vec<BlobReference>,
}

/// What stands in a document in place of a value (`{"@class", "@module", "blob_uuid", "store"}`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobReference {
    pub blob_uuid: String,
    /// Name of the additional store.
    pub store: String,
}

/// A document of an additional store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobDocument {
    pub blob_uuid: String,
    /// The job whose output it is part of.
    pub job: JobKey,
    /// The whole document, as the worker wrote it.
    pub json: String,
}

/// Why files of results cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredOutputError {
    #[error("it is no JSON: {0}")]
    Json(JsonError),
    #[error("it holds {0}, not a list of documents")]
    Form(String),
    #[error(
        "it holds {count} documents of the job {key}; there has to be one (none: the job stored no output, \
         although it reported no error)"
    )]
    Count { key: JobKey, count: usize },
    #[error("the blob at place {0} has no usable blob_uuid, job_uuid or job_index")]
    Blob(usize),
}

impl StoredOutput {
    /// Returns the job's document among those of `remote_job_data.json`; the runner may have put outputs of other
    /// jobs there.
    ///
    /// `db_id` is inserted where the metadata have none: only now, so that no job made by this one inherits it.
    pub fn read(text: &[u8], key: &JobKey, db_id: &str) -> Result<Self, StoredOutputError> {
        let value = json::parse_within(text, OUTPUT_NODE_LIMIT).map_err(StoredOutputError::Json)?;
        let Bson::Array(documents) = value else { return Err(StoredOutputError::Form(describe(&value))) };
        let mut own: Vec<Document> = documents.into_iter().filter_map(|value| owned(value, key)).collect();
        let count = own.len();
        let Some(mut document) = own.pop().filter(|_| count == 1) else {
            return Err(StoredOutputError::Count { key: key.clone(), count });
        };
        document.remove("_id");
        match document.get_mut("metadata") {
            Some(Bson::Document(metadata)) => {
                drop(metadata.entry("db_id".to_owned()).or_insert(db_id.into()))
            }
            _ => drop(document.insert("metadata", bson::doc! { "db_id": db_id })),
        }
        let blobs = blob_references(&document);
        Ok(Self { document, blobs })
    }
}

fn owned(value: Bson, key: &JobKey) -> Option<Document> {
    let Bson::Document(document) = value else { return None };
    let same_index = match document.get("index") {
        Some(Bson::Int32(index)) => *index == key.index,
        Some(Bson::Int64(index)) => *index == i64::from(key.index),
        _ => false,
    };
    (same_index && document.get_str("uuid").is_ok_and(|uuid| uuid == key.uuid)).then_some(document)
}

/// Returns the references to blobs in a document, at any depth.
pub fn blob_references(document: &Document) -> Vec<BlobReference> {
    let mut found = Vec::new();
    // Without recursion: nothing bounds the depth of a document of a database.
    let mut open: Vec<&Bson> = inner(document);
    while let Some(value) = open.pop() {
        match value {
            Bson::Document(document) => match blob_reference(document) {
                Some(reference) => found.push(reference),
                None => open.extend(inner(document)),
            },
            Bson::Array(items) => open.extend(items.iter().rev()),
            _ => {}
        }
    }
    found
}

fn inner(document: &Document) -> Vec<&Bson> {
    let mut values: Vec<&Bson> = document.values().collect();
    values.reverse();
    values
}

fn blob_reference(document: &Document) -> Option<BlobReference> {
    let text = |key| document.get_str(key).ok().map(str::to_owned);
    Some(BlobReference { blob_uuid: text("blob_uuid")?, store: text("store")? })
}

impl BlobDocument {
    /// Returns the documents in the text of `additional_store_<name>.json`.
    pub fn read_all(text: &[u8]) -> Result<Vec<Self>, StoredOutputError> {
        let outline =
            json::read_within(text, &mut Outliner, BLOB_NODE_LIMIT).map_err(StoredOutputError::Json)?;
        let Outline::List(documents) = outline else {
            return Err(StoredOutputError::Form("something else".to_owned()));
        };
        let blob = |(place, outline): (usize, Outline)| {
            Self::of_outline(outline, text).ok_or(StoredOutputError::Blob(place))
        };
        documents.into_iter().enumerate().map(blob).collect()
    }

    fn of_outline(outline: Outline, text: &[u8]) -> Option<Self> {
        let Outline::Map(map) = outline else { return None };
        let OutlineMap { blob_uuid, job_uuid, job_index, range } = *map;
        let json = String::from_utf8(text.get(range)?.to_vec()).ok()?;
        Some(Self { blob_uuid: blob_uuid?, job: JobKey::new(job_uuid?, job_index?), json })
    }

    /// Returns the document as it is stored in MongoDB.
    pub fn to_document(&self) -> Result<Document, StoredOutputError> {
        match json::parse_within(self.json.as_bytes(), OUTPUT_NODE_LIMIT) {
            Ok(Bson::Document(document)) => Ok(document),
            Ok(other) => Err(StoredOutputError::Form(describe(&other))),
            Err(error) => Err(StoredOutputError::Json(error)),
        }
    }
}

/// What is kept of a value on the way to the documents: no more than their keys.
enum Outline {
    Other,
    Integer(i32),
    Text(Box<str>),
    /// Of maps alone.
    List(Vec<Self>),
    Map(Box<OutlineMap>),
}

struct OutlineMap {
    blob_uuid: Option<String>,
    job_uuid: Option<String>,
    job_index: Option<i32>,
    range: Range<usize>,
}

struct Outliner;

impl Builder for Outliner {
    type Value = Outline;

    fn scalar(&mut self, scalar: Scalar, _: Range<usize>) -> Outline {
        match scalar {
            Scalar::Integer(number) => i32::try_from(number).map_or(Outline::Other, Outline::Integer),
            Scalar::Text(text) => Outline::Text(text.into()),
            Scalar::Null | Scalar::Boolean(_) | Scalar::Number(_) => Outline::Other,
        }
    }

    fn array(&mut self, items: Vec<Outline>, _: Range<usize>) -> Outline {
        // Only the outermost list is wanted. What stands in a blob is dropped with the map around it.
        if items.iter().all(|item| matches!(item, Outline::Map(_))) {
            Outline::List(items)
        } else {
            Outline::Other
        }
    }

    fn object(&mut self, members: Vec<Member<Outline>>, range: Range<usize>) -> Outline {
        let mut map = OutlineMap { blob_uuid: None, job_uuid: None, job_index: None, range };
        for (key, _, value) in members {
            match (key.as_str(), value) {
                ("blob_uuid", Outline::Text(text)) => map.blob_uuid = Some(text.into()),
                ("job_uuid", Outline::Text(text)) => map.job_uuid = Some(text.into()),
                ("job_index", Outline::Integer(index)) => map.job_index = Some(index),
                _ => {}
            }
        }
        Outline::Map(Box::new(map))
    }
}

#[cfg(test)]
mod tests;
