//! Output documents: one collection, keyed by uuid and index.

use std::collections::HashMap;

use ::mongodb::bson::{Document, doc};
use futures::TryStreamExt as _;

use super::super::{OutputDocument, StoreError};
use super::Server;
use super::access::{Access, Command, Fault};
use super::finish::MOST_UUIDS;
use super::moves::key_of;
use crate::model::ids::JobKey;

/// Puts each document in place of the one with the same uuid and index.
pub(super) async fn put(server: &Server, outputs: Vec<OutputDocument>) -> Result<(), Fault> {
    let statements: Vec<Document> = outputs.into_iter().map(replacement).collect();
    let mut access = Access::plain(server);
    let database = server.outputs.clone();
    access.write_into(&database, Command::Update, &server.outputs_collection, &statements).await?.all()?;
    Ok(())
}

fn replacement(output: OutputDocument) -> Document {
    let key = doc! { "uuid": output.key.uuid, "index": output.key.index };
    let mut document = output.document;
    document.remove("_id");
    doc! { "q": key, "u": document, "upsert": true }
}

/// Returns, for each uuid that has any, the document with the largest index.
pub(super) async fn newest(
    server: &Server,
    uuids: &[String],
) -> Result<HashMap<String, OutputDocument>, Fault> {
    let mut newest = HashMap::new();
    for some in uuids.chunks(MOST_UUIDS) {
        let stages = [
            doc! { "$match": { "uuid": { "$in": some } } },
            doc! { "$sort": { "uuid": 1, "index": -1 } },
            doc! { "$group": { "_id": "$uuid", "newest": { "$first": "$$ROOT" } } },
            doc! { "$replaceRoot": { "newRoot": "$newest" } },
        ];
        let collection = server.outputs.collection::<Document>(&server.outputs_collection);
        let found: Vec<Document> = collection.aggregate(stages).await?.try_collect().await?;
        for document in found {
            let output = read(server, document)?;
            newest.insert(output.key.uuid.clone(), output);
        }
    }
    Ok(newest)
}

/// Returns the document of exactly this job.
pub(super) async fn one(server: &Server, key: &JobKey) -> Result<Option<OutputDocument>, Fault> {
    let collection = server.outputs.collection::<Document>(&server.outputs_collection);
    let found = collection.find_one(doc! { "uuid": &key.uuid, "index": key.index }).await?;
    found.map(|document| read(server, document)).transpose()
}

/// Removes the documents of exactly these jobs.
pub(super) async fn remove(server: &Server, keys: &[JobKey]) -> Result<(), Fault> {
    let of_job = |key: &JobKey| doc! { "q": { "uuid": &key.uuid, "index": key.index }, "limit": 0 };
    let statements: Vec<Document> = keys.iter().map(of_job).collect();
    let database = server.outputs.clone();
    let mut access = Access::plain(server);
    access.write_into(&database, Command::Delete, &server.outputs_collection, &statements).await?.all()?;
    Ok(())
}

fn read(server: &Server, mut document: Document) -> Result<OutputDocument, Fault> {
    document.remove("_id");
    let key = key_of(&document).map_err(|_| StoreError::Unreadable {
        place: server.outputs_place.clone(),
        what: "an output document".to_owned(),
        why: "it has no uuid or no index".to_owned(),
    })?;
    Ok(OutputDocument { key, document })
}
