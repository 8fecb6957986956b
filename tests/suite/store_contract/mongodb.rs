//! MongoDB, standalone and as a replica set, each case in a database of its own.

mod crowd;
mod cuts;
mod kills;
mod locks;
mod plans;

use std::any::Any;

use async_trait::async_trait;
use bson::{Bson, Document, doc};
use jobferry::model::ids::JobKey;
use jobferry::store::Stores;
use jobferry::store::mongodb::{Address, Collections, Location, MongoSettings, MongoStore};
use mongodb::{Client, Database};

use super::{Bench, Outside, contract};

contract!(standalone, crate::store_contract::mongodb::standalone);
contract!(replica_set, crate::store_contract::mongodb::replica_set);

async fn standalone() -> Option<Bench> {
    bench("JF_TEST_MONGODB_URI").await
}

async fn replica_set() -> Option<Bench> {
    bench("JF_TEST_MONGODB_REPLICA_SET_URI").await
}

async fn bench(variable: &str) -> Option<Bench> {
    let scratch = Scratch::new("store_contract::mongodb", variable)?;
    let stores = scratch.open().await.into_stores();
    stores.queue.migrate().await.unwrap();
    let outside = Neighbour { scratch: scratch.clone() };
    let kept: Box<dyn Any + Send + Sync> = Box::new(Dropped(scratch));
    Some(Bench { stores, outside: Some(Box::new(outside)), kept })
}

/// A database of a name that nobody else has.
#[derive(Clone)]
pub(crate) struct Scratch {
    pub(crate) uri: String,
    pub(crate) name: String,
}

impl Scratch {
    pub(crate) fn new(test: &str, variable: &str) -> Option<Self> {
        let uri = crate::services::address(test, variable)?;
        Some(Self { uri, name: format!("jf_test_{}", uuid::Uuid::new_v4().simple()) })
    }

    pub(super) async fn open(&self) -> MongoStore {
        let address = Address::Uri(self.uri.clone());
        let location = Location { address, database: Some(self.name.clone()) };
        let settings = MongoSettings {
            queue: location.clone(),
            collections: Collections::default(),
            outputs: location,
            outputs_collection: "outputs".into(),
            id_prefix: "pp-".into(),
        };
        MongoStore::open(settings).await.unwrap()
    }

    /// Returns the database as other programs see it.
    pub(crate) async fn raw(&self) -> Database {
        Client::with_uri_str(&self.uri).await.unwrap().database(&self.name)
    }
}

/// Drops the database at the end of the test, whichever way it ends.
pub(crate) struct Dropped(pub(crate) Scratch);

impl Drop for Dropped {
    fn drop(&mut self) {
        let scratch = self.0.clone();
        // The test's own runtime cannot be waited for here.
        let drop_it = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { scratch.raw().await.drop().await.unwrap() });
        };
        std::thread::spawn(drop_it).join().unwrap();
    }
}

struct Neighbour {
    scratch: Scratch,
}

#[async_trait]
impl Outside for Neighbour {
    async fn second(&self) -> Stores {
        self.scratch.open().await.into_stores()
    }

    async fn hold(&self, key: &JobKey, holder: Option<&str>) {
        let jobs = self.scratch.raw().await.collection::<Document>("jobs");
        let time = holder.map_or(Bson::Null, |_| bson::DateTime::now().into());
        let set = doc! { "$set": { "lock_id": holder, "lock_time": time } };
        let done = jobs.update_one(doc! { "uuid": &key.uuid, "index": key.index }, set).await.unwrap();
        assert_eq!(done.matched_count, 1);
    }

    async fn set_schema_version(&self, version: u32) {
        let auxiliary = self.scratch.raw().await.collection::<Document>("jf_auxiliary");
        let set = doc! { "$set": { "jobferry_schema.version": version } };
        let done = auxiliary.update_one(doc! { "_id": "jobferry_schema" }, set).await.unwrap();
        assert_eq!(done.matched_count, 1);
    }
}
