//! Parts of outputs in a collection of their own (maggma's `MongoStore` with the key `blob_uuid`).

use std::collections::HashMap;
use std::sync::Arc;

use ::mongodb::bson::{Bson, Document, doc};
use async_trait::async_trait;
use futures::TryStreamExt as _;
use tokio::sync::OnceCell;

use super::LONG;
use super::access::{Command, Fault};
use super::finish::MOST_UUIDS;
use super::place::{Clients, Place};
use super::settings::Location;
use crate::model::ids::JobKey;
use crate::store::{BlobDocument, BlobIndex, Blobs, StoreError};

/// An additional store that is a collection. Clones share the connections.
#[derive(Clone)]
pub struct MongoBlobs {
    place: Place,
    indexed: Arc<OnceCell<()>>,
}

impl MongoBlobs {
    /// Returns the additional store in this collection. Nothing is sent yet.
    pub async fn open(
        clients: &mut Clients,
        location: &Location,
        collection: &str,
    ) -> Result<Self, StoreError> {
        let place = Place::open(clients, location, collection.to_owned()).await?;
        Ok(Self { place, indexed: Arc::default() })
    }

    async fn index(&self) -> Result<(), StoreError> {
        let make = async || {
            let indexes = [
                ("blob_uuid_1", doc! { "blob_uuid": 1 }),
                ("jobferry_job", doc! { "job_uuid": 1, "job_index": 1 }),
            ];
            self.place
                .call("make indexes", LONG, |place| async move {
                    place.index(&place.collection, &indexes).await;
                    Ok(())
                })
                .await
        };
        self.indexed.get_or_try_init(make).await.copied()
    }
}

#[async_trait]
impl Blobs for MongoBlobs {
    async fn put_blobs(&self, blobs: &[BlobDocument]) -> Result<(), StoreError> {
        self.index().await?;
        let statements: Vec<Document> = blobs.iter().map(replacement).collect();
        self.place
            .call("store parts of outputs", LONG, |place| async move {
                place.write(Command::Update, &statements).await?.all()?;
                Ok(())
            })
            .await
    }

    async fn get_blobs(&self, uuids: &[String]) -> Result<HashMap<String, Bson>, StoreError> {
        let uuids = uuids.to_vec();
        self.place.call("read parts of outputs", LONG, |place| async move { get(&place, &uuids).await }).await
    }

    async fn remove_blobs(&self, jobs: &[JobKey]) -> Result<(), StoreError> {
        let statements: Vec<Document> =
            jobs.iter().map(|job| doc! { "q": of_job(job), "limit": 0 }).collect();
        self.place
            .call("remove parts of outputs", LONG, |place| async move {
                place.write(Command::Delete, &statements).await?.all()?;
                Ok(())
            })
            .await
    }
}

#[async_trait]
impl BlobIndex for MongoBlobs {
    async fn uuids_of(&self, jobs: &[JobKey]) -> Result<Vec<String>, StoreError> {
        let jobs = jobs.to_vec();
        self.place
            .call("list parts of outputs", LONG, |place| async move { uuids_of(&place, &jobs).await })
            .await
    }
}

fn replacement(blob: &BlobDocument) -> Document {
    let mut document = blob.document.clone();
    document.remove("_id");
    doc! { "q": { "blob_uuid": &blob.blob_uuid }, "u": document, "upsert": true }
}

fn of_job(job: &JobKey) -> Document {
    doc! { "job_uuid": &job.uuid, "job_index": job.index }
}

async fn get(place: &Place, uuids: &[String]) -> Result<HashMap<String, Bson>, Fault> {
    let mut found = HashMap::new();
    for some in uuids.chunks(MOST_UUIDS) {
        let collection = place.collection();
        let find = collection.find(doc! { "blob_uuid": { "$in": some } });
        let mut cursor = find.projection(doc! { "_id": 0, "blob_uuid": 1, "data": 1 }).await?;
        while let Some(mut blob) = cursor.try_next().await? {
            if let Some(Bson::String(uuid)) = blob.remove("blob_uuid") {
                found.insert(uuid, blob.remove("data").unwrap_or(Bson::Null));
            }
        }
    }
    Ok(found)
}

async fn uuids_of(place: &Place, jobs: &[JobKey]) -> Result<Vec<String>, Fault> {
    let mut found = Vec::new();
    for some in jobs.chunks(MOST_UUIDS) {
        let any: Vec<Document> = some.iter().map(of_job).collect();
        let collection = place.collection();
        let find = collection.find(doc! { "$or": any });
        let mut cursor = find.projection(doc! { "_id": 0, "blob_uuid": 1 }).await?;
        while let Some(blob) = cursor.try_next().await? {
            found.extend(blob.get_str("blob_uuid").map(str::to_owned));
        }
    }
    Ok(found)
}
