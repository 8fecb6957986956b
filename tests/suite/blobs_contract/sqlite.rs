//! Additional stores in a SQLite file.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bson::DateTime;
use jobferry::model::Timestamp;
use jobferry::model::clock::Clock;
use jobferry::store::sqlite::{Dispatch, SqliteBlobs, SqliteSettings, SqliteStore};
use jobferry::store::{Blobs, Queue as _, Stores};

use super::{Bench, Limits, Outside, contract};

contract!(blocking, crate::blobs_contract::sqlite::blocking);
contract!(inline, crate::blobs_contract::sqlite::inline);

struct Now;

impl Clock for Now {
    fn now(&self) -> Timestamp {
        DateTime::now()
    }
}

async fn open(path: &Path, dispatch: Dispatch) -> SqliteStore {
    let settings =
        SqliteSettings { path: path.to_owned(), id_prefix: String::new(), dispatch, clock: Arc::new(Now) };
    let store = SqliteStore::open(settings).unwrap();
    store.migrate().await.unwrap();
    store
}

/// Returns stores that end with the test.
pub(super) async fn memory() -> (Stores, SqliteStore) {
    let store = open(Path::new(":memory:"), Dispatch::Inline).await;
    (store.stores(), store)
}

async fn blocking() -> Option<Bench> {
    Some(bench(Dispatch::Blocking).await)
}

async fn inline() -> Option<Bench> {
    Some(bench(Dispatch::Inline).await)
}

async fn bench(dispatch: Dispatch) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite");
    let store = open(&path, dispatch).await;
    Bench {
        blobs: Arc::new(SqliteBlobs::new(store, "data")),
        outside: Box::new(File(path, dispatch)),
        limits: Limits::default(),
        kept: Box::new(directory),
    }
}

struct File(std::path::PathBuf, Dispatch);

#[async_trait]
impl Outside for File {
    async fn again(&self) -> Arc<dyn Blobs> {
        Arc::new(SqliteBlobs::new(open(&self.0, self.1).await, "data"))
    }

    async fn neighbour(&self) -> Arc<dyn Blobs> {
        Arc::new(SqliteBlobs::new(open(&self.0, self.1).await, "gfs"))
    }
}
