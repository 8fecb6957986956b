//! What is SQLite's own: plans, errors, the file. The promises of the traits are in `tests/suite/store_contract`.

mod file;
pub(super) mod plans;
mod speed;

use std::path::Path;
use std::sync::Arc;

use bson::doc;

use crate::model::Timestamp;
use crate::model::clock::Clock;
use crate::model::ids::JobKey;
use crate::model::job::{NewFlow, NewJob};
use crate::store::Queue as _;

use super::{Dispatch, SqliteSettings, SqliteStore};

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        at(0)
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_760_000_000_000 + seconds * 1000)
}

fn settings(path: &Path, dispatch: Dispatch) -> SqliteSettings {
    SqliteSettings { path: path.to_owned(), id_prefix: String::new(), dispatch, clock: Arc::new(Fixed) }
}

fn open(path: &Path, dispatch: Dispatch) -> SqliteStore {
    SqliteStore::open(settings(path, dispatch)).unwrap()
}

async fn in_memory() -> SqliteStore {
    let store = open(Path::new(":memory:"), Dispatch::Inline);
    assert_eq!(store.migrate().await.unwrap(), [1, 2, 3, 4]);
    store
}

fn job(flow: &str, number: usize, parents: &[String]) -> NewJob {
    let uuid = format!("{flow}-{number}");
    NewJob {
        key: JobKey::new(uuid.clone(), 1),
        worker: "w".into(),
        priority: 0,
        parents: parents.to_vec(),
        exec_config: None,
        resources: Some(doc! {"ntasks": 1}),
        job: doc! {
            "@module": "jobflow.core.job", "@class": "Job", "function": {"@callable": "dict"},
            "function_args": [], "function_kwargs": {"command": ["true"], "text": "x".repeat(600)},
            "uuid": uuid, "index": 1, "name": format!("job {number}"), "hosts": [flow],
            "metadata": {"n": i32::try_from(number).unwrap()}, "config": {"on_missing_references": "error"},
        },
    }
}

fn flow(uuid: &str, jobs: Vec<NewJob>) -> NewFlow {
    let (name, metadata) = (format!("flow {uuid}"), doc! {"kind": "test"});
    NewFlow { uuid: uuid.into(), name, metadata, jobstore: None, jobs, created_on: at(0) }
}
