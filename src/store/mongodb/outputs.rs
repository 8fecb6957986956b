//! Output documents: one collection, keyed by uuid and index.

use std::collections::HashMap;
use std::sync::Arc;

use ::mongodb::bson::{Document, doc};
use async_trait::async_trait;
use futures::TryStreamExt as _;
use tokio::sync::OnceCell;

use super::super::{OutputDocument, Outputs, StoreError};
use super::access::{Command, Fault};
use super::finish::MOST_UUIDS;
use super::moves::key_of;
use super::place::{Clients, Place};
use super::settings::Location;
use super::{LONG, MongoStore};
use crate::model::ids::JobKey;

/// Outputs in a MongoDB collection, wherever the jobs are.
#[derive(Clone)]
pub struct MongoOutputs {
    place: Place,
    indexed: Arc<OnceCell<()>>,
}

impl MongoOutputs {
    /// Returns the outputs in this collection. Nothing is sent yet.
    pub async fn open(
        clients: &mut Clients,
        location: &Location,
        collection: &str,
    ) -> Result<Self, StoreError> {
        let place = Place::open(clients, location, collection.to_owned()).await?;
        Ok(Self { place, indexed: Arc::default() })
    }

    /// Makes the index that the migrations of a queue make for its own outputs.
    async fn index(&self) -> Result<(), StoreError> {
        let make = async || {
            let index = ("uuid_1_index_-1", doc! { "uuid": 1, "index": -1 });
            self.place
                .call("make indexes", LONG, |place| async move {
                    place.index(&place.collection, &[index]).await;
                    Ok(())
                })
                .await
        };
        self.indexed.get_or_try_init(make).await.copied()
    }
}

#[async_trait]
impl Outputs for MongoOutputs {
    async fn put_outputs(&self, outputs: &[OutputDocument]) -> Result<(), StoreError> {
        self.index().await?;
        self.place.put_outputs(outputs).await
    }

    async fn newest_outputs(&self, uuids: &[String]) -> Result<HashMap<String, OutputDocument>, StoreError> {
        self.place.newest_outputs(uuids).await
    }

    async fn output(&self, key: &JobKey) -> Result<Option<OutputDocument>, StoreError> {
        self.place.output(key).await
    }

    async fn remove_outputs(&self, keys: &[JobKey]) -> Result<(), StoreError> {
        self.place.remove_outputs(keys).await
    }
}

/// The outputs of a queue, whose migrations make their index.
#[async_trait]
impl Outputs for MongoStore {
    async fn put_outputs(&self, outputs: &[OutputDocument]) -> Result<(), StoreError> {
        self.server.outputs.put_outputs(outputs).await
    }

    async fn newest_outputs(&self, uuids: &[String]) -> Result<HashMap<String, OutputDocument>, StoreError> {
        self.server.outputs.newest_outputs(uuids).await
    }

    async fn output(&self, key: &JobKey) -> Result<Option<OutputDocument>, StoreError> {
        self.server.outputs.output(key).await
    }

    async fn remove_outputs(&self, keys: &[JobKey]) -> Result<(), StoreError> {
        self.server.outputs.remove_outputs(keys).await
    }
}

#[async_trait]
impl Outputs for Place {
    async fn put_outputs(&self, outputs: &[OutputDocument]) -> Result<(), StoreError> {
        let outputs = outputs.to_vec();
        self.call("store outputs", LONG, |place| async move { put(&place, outputs).await }).await
    }

    async fn newest_outputs(&self, uuids: &[String]) -> Result<HashMap<String, OutputDocument>, StoreError> {
        let uuids = uuids.to_vec();
        self.call("read outputs", LONG, |place| async move { newest(&place, &uuids).await }).await
    }

    async fn output(&self, key: &JobKey) -> Result<Option<OutputDocument>, StoreError> {
        let key = key.clone();
        self.call("read outputs", LONG, |place| async move { one(&place, &key).await }).await
    }

    async fn remove_outputs(&self, keys: &[JobKey]) -> Result<(), StoreError> {
        let keys = keys.to_vec();
        self.call("remove outputs", LONG, |place| async move { remove(&place, &keys).await }).await
    }
}

/// Puts each document in place of the one with the same uuid and index.
async fn put(place: &Place, outputs: Vec<OutputDocument>) -> Result<(), Fault> {
    let statements: Vec<Document> = outputs.into_iter().map(replacement).collect();
    place.write(Command::Update, &statements).await?.all()?;
    Ok(())
}

fn replacement(output: OutputDocument) -> Document {
    let key = doc! { "uuid": output.key.uuid, "index": output.key.index };
    let mut document = output.document;
    document.remove("_id");
    doc! { "q": key, "u": document, "upsert": true }
}

/// Returns, for each uuid that has any, the document with the largest index.
async fn newest(place: &Place, uuids: &[String]) -> Result<HashMap<String, OutputDocument>, Fault> {
    let mut newest = HashMap::new();
    for some in uuids.chunks(MOST_UUIDS) {
        let stages = [
            doc! { "$match": { "uuid": { "$in": some } } },
            doc! { "$sort": { "uuid": 1, "index": -1 } },
            doc! { "$group": { "_id": "$uuid", "newest": { "$first": "$$ROOT" } } },
            doc! { "$replaceRoot": { "newRoot": "$newest" } },
        ];
        let found: Vec<Document> = place.collection().aggregate(stages).await?.try_collect().await?;
        for document in found {
            let output = read(place, document)?;
            newest.insert(output.key.uuid.clone(), output);
        }
    }
    Ok(newest)
}

/// Returns the document of exactly this job.
async fn one(place: &Place, key: &JobKey) -> Result<Option<OutputDocument>, Fault> {
    let found = place.collection().find_one(doc! { "uuid": &key.uuid, "index": key.index }).await?;
    found.map(|document| read(place, document)).transpose()
}

/// Removes the documents of exactly these jobs.
async fn remove(place: &Place, keys: &[JobKey]) -> Result<(), Fault> {
    let of_job = |key: &JobKey| doc! { "q": { "uuid": &key.uuid, "index": key.index }, "limit": 0 };
    let statements: Vec<Document> = keys.iter().map(of_job).collect();
    place.write(Command::Delete, &statements).await?.all()?;
    Ok(())
}

fn read(place: &Place, mut document: Document) -> Result<OutputDocument, Fault> {
    document.remove("_id");
    let key = key_of(&document).map_err(|_| StoreError::Unreadable {
        place: place.name.clone(),
        what: "an output document".to_owned(),
        why: "it has no uuid or no index".to_owned(),
    })?;
    Ok(OutputDocument { key, document })
}
