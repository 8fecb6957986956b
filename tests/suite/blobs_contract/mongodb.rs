//! Additional stores in MongoDB: a collection, and GridFS with and without compression.

use std::sync::Arc;

use async_trait::async_trait;
use bson::{Document, doc};
use jobferry::store::Blobs;
use jobferry::store::mongodb::{Address, Clients, GridFsBlobs, Location, MongoBlobs, Packing};

use super::{Bench, Limits, Outside, contract};
use crate::store_contract::{Dropped, Scratch};

contract!(standalone, crate::blobs_contract::mongodb::standalone);
contract!(replica_set, crate::blobs_contract::mongodb::replica_set);
contract!(grid_fs, crate::blobs_contract::mongodb::grid_fs);
contract!(grid_fs_packed, crate::blobs_contract::mongodb::grid_fs_packed);

async fn standalone() -> Option<Bench> {
    bench("JF_TEST_MONGODB_URI", Kind::Collection).await
}

async fn replica_set() -> Option<Bench> {
    bench("JF_TEST_MONGODB_REPLICA_SET_URI", Kind::Collection).await
}

async fn grid_fs() -> Option<Bench> {
    bench("JF_TEST_MONGODB_URI", Kind::GridFs(Packing::Plain)).await
}

async fn grid_fs_packed() -> Option<Bench> {
    bench("JF_TEST_MONGODB_REPLICA_SET_URI", Kind::GridFs(Packing::Zlib)).await
}

#[derive(Clone, Copy)]
enum Kind {
    Collection,
    GridFs(Packing),
}

pub(super) fn location(scratch: &Scratch) -> Location {
    Location { address: Address::Uri(scratch.uri.clone()), database: Some(scratch.name.clone()) }
}

async fn bench(variable: &str, kind: Kind) -> Option<Bench> {
    let scratch = Scratch::new("blobs_contract::mongodb", variable)?;
    Some(Bench {
        blobs: open(&scratch, kind, "blobs").await,
        outside: Box::new(Others { scratch: scratch.clone(), kind }),
        limits: Limits { refuses_large: matches!(kind, Kind::Collection), ..Limits::default() },
        kept: Box::new(Dropped(scratch)),
    })
}

async fn open(scratch: &Scratch, kind: Kind, name: &str) -> Arc<dyn Blobs> {
    let (mut clients, location) = (Clients::default(), location(scratch));
    match kind {
        Kind::Collection => Arc::new(MongoBlobs::open(&mut clients, &location, name).await.unwrap()),
        Kind::GridFs(packing) => {
            Arc::new(GridFsBlobs::open(&mut clients, &location, name, packing).await.unwrap())
        }
    }
}

struct Others {
    scratch: Scratch,
    kind: Kind,
}

#[async_trait]
impl Outside for Others {
    async fn again(&self) -> Arc<dyn Blobs> {
        open(&self.scratch, self.kind, "blobs").await
    }

    async fn neighbour(&self) -> Arc<dyn Blobs> {
        open(&self.scratch, self.kind, "others").await
    }
}

/// What was written, what a killed upload left, and what a replaced file leaves.
#[tokio::test]
async fn grid_fs_keeps_one_file_and_its_chunks() {
    let test = "blobs_contract::mongodb::grid_fs_keeps_one_file_and_its_chunks";
    let Some(scratch) = Scratch::new(test, "JF_TEST_MONGODB_URI") else { return };
    let _dropped = Dropped(scratch.clone());
    let blobs = open(&scratch, Kind::GridFs(Packing::Plain), "blobs").await;
    let database = scratch.raw().await;
    let chunks = database.collection::<Document>("blobs.chunks");
    let files = database.collection::<Document>("blobs.files");
    let large = super::cases::blob("a", "j", 1, "x".repeat(600_000));
    blobs.put_blobs(std::slice::from_ref(&large)).await.unwrap();
    let file = files.find_one(doc! {}).await.unwrap().unwrap();
    let metadata = doc! {"job_uuid": "j", "job_index": 1, "blob_uuid": "a"};
    assert_eq!(file.get_document("metadata").unwrap(), &metadata, "as maggma writes it");
    assert_eq!(file.get_i32("chunkSize").unwrap(), 261_120);
    assert_eq!(chunks.count_documents(doc! {}).await.unwrap(), 3);
    // Killed before its file was there: the next try uses its chunks again.
    files.delete_many(doc! {}).await.unwrap();
    blobs.put_blobs(std::slice::from_ref(&large)).await.unwrap();
    assert_eq!(chunks.count_documents(doc! {}).await.unwrap(), 3);
    blobs.put_blobs(&[super::cases::blob("a", "j", 1, "small")]).await.unwrap();
    assert_eq!(files.count_documents(doc! {}).await.unwrap(), 1);
    assert_eq!(chunks.count_documents(doc! {}).await.unwrap(), 1, "the older file went with its chunks");
    // Damaged: told, and not taken for a result.
    chunks.delete_many(doc! {}).await.unwrap();
    let error = blobs.get_blobs(&["a".into()]).await.unwrap_err();
    assert!(error.to_string().contains("chunks of its file are missing"), "{error}");
}
