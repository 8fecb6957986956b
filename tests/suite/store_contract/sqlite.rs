//! SQLite in its modes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bson::DateTime;
use jobferry::model::Timestamp;
use jobferry::model::clock::Clock;
use jobferry::model::ids::JobKey;
use jobferry::store::Stores;
use jobferry::store::sqlite::{Dispatch, SqliteSettings, SqliteStore};

use super::{Bench, Outside, contract, contract_inside};

contract!(blocking, crate::store_contract::sqlite::blocking_file);
contract!(inline, crate::store_contract::sqlite::inline_file);
contract_inside!(memory, crate::store_contract::sqlite::memory);

struct Now;

impl Clock for Now {
    fn now(&self) -> Timestamp {
        DateTime::now()
    }
}

pub(super) fn open(path: &Path, dispatch: Dispatch) -> SqliteStore {
    let settings =
        SqliteSettings { path: path.to_owned(), id_prefix: "jf-".into(), dispatch, clock: Arc::new(Now) };
    SqliteStore::open(settings).unwrap()
}

async fn blocking_file() -> Option<Bench> {
    Some(in_file(Dispatch::Blocking).await)
}

async fn inline_file() -> Option<Bench> {
    Some(in_file(Dispatch::Inline).await)
}

pub(super) async fn memory() -> Option<Bench> {
    let stores = open(Path::new(":memory:"), Dispatch::Inline).stores();
    stores.queue.migrate().await.unwrap();
    Some(Bench { stores, outside: None, kept: Box::new(()) })
}

pub(super) async fn in_file(dispatch: Dispatch) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/store.sqlite");
    let stores = open(&path, dispatch).stores();
    stores.queue.migrate().await.unwrap();
    Bench { stores, outside: Some(Box::new(Neighbour { path, dispatch })), kept: Box::new(directory) }
}

struct Neighbour {
    path: PathBuf,
    dispatch: Dispatch,
}

#[async_trait]
impl Outside for Neighbour {
    async fn second(&self) -> Stores {
        open(&self.path, self.dispatch).stores()
    }

    async fn hold(&self, key: &JobKey, holder: Option<&str>) {
        let connection = rusqlite::Connection::open(&self.path).unwrap();
        let time = holder.map(|_| 1_700_000_000_000_i64);
        let values = rusqlite::params![holder, time, key.uuid, key.index];
        let sql = "UPDATE jobs SET lock_id = ?1, lock_time = ?2 WHERE uuid = ?3 AND idx = ?4";
        assert_eq!(connection.execute(sql, values).unwrap(), 1);
    }

    async fn set_schema_version(&self, version: u32) {
        let connection = rusqlite::Connection::open(&self.path).unwrap();
        connection.pragma_update(None, "user_version", version).unwrap();
    }
}
