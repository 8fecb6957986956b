//! Jobs, outputs and parts of outputs in every combination of SQLite and MongoDB, as a project file asks for them.

use std::path::Path;

use bson::{Document, bson, doc};
use jobferry::config::{Environment, Input, Project, read};
use jobferry::flowfile::source::Format;
use jobferry::model::ids::JobKey;
use jobferry::runner::connect::open_stores;
use jobferry::store::{BlobDocument, JobStore, OutputDocument, Stores};

use crate::store_contract::{Dropped, Scratch};

fn project(folder: &Path, text: &str) -> Project {
    let environment = Environment::of_process();
    let file = folder.join("p.yaml");
    let input = Input {
        file: &file,
        text,
        format: Format::Yaml,
        projects_folder: folder,
        environment: &environment,
        overrides: &[],
    };
    read::read(&input).unwrap_or_else(|faults| panic!("{faults:?}")).project
}

async fn open(folder: &Path, text: &str) -> Stores {
    let stores = open_stores(&project(folder, text)).await.unwrap();
    stores.queue.migrate().await.unwrap();
    stores
}

async fn use_job_store(store: &JobStore, uuid: &str) {
    let key = JobKey::new(uuid, 1);
    let output =
        OutputDocument { key: key.clone(), document: doc! {"uuid": uuid, "index": 1, "output": uuid} };
    store.outputs.put_outputs(std::slice::from_ref(&output)).await.unwrap();
    assert_eq!(store.outputs.output(&key).await.unwrap(), Some(output));
    for (name, blobs) in &store.additional {
        let document = doc! {"blob_uuid": uuid, "data": [1, name], "job_uuid": uuid, "job_index": 1};
        blobs
            .put_blobs(&[BlobDocument { blob_uuid: uuid.into(), job: key.clone(), document }])
            .await
            .unwrap();
        assert_eq!(blobs.get_blobs(&[uuid.to_owned()]).await.unwrap()[uuid], bson!([1, name]));
    }
}

#[tokio::test]
async fn jobs_here_and_outputs_there() {
    let Some(scratch) = Scratch::new("jobs_here_and_outputs_there", "JF_TEST_MONGODB_URI") else { return };
    let _dropped = Dropped(scratch.clone());
    let folder = tempfile::tempdir().unwrap();
    let mongo = |kind: &str, collection: &str| {
        format!(
            "{{type: {kind}, uri: '{}', database: {}, collection_name: {collection}}}",
            scratch.uri, scratch.name
        )
    };
    let sqlite = |file: &str| format!("{{type: SqliteStore, path: {}}}", folder.path().join(file).display());
    let queues = [sqlite("jobs.db"), mongo("MongoStore", "jobs")];
    let outputs = [sqlite("jobs.db"), sqlite("elsewhere.db"), mongo("MongoStore", "docs")];
    for (row, queue) in queues.iter().enumerate() {
        for (column, outputs) in outputs.iter().enumerate() {
            let text = format!(
                "name: p\nqueue: {{store: {queue}}}\njobstore:\n  docs_store: {outputs}\n  additional_stores:\n    here: {}\n    \
                 there: {}\n    gfs: {}\noptional_jobstores:\n  other:\n    docs_store: {}\n    additional_stores: {{here: {}}}\n",
                sqlite("parts.db"),
                mongo("MongoStore", "parts"),
                mongo("GridFSStore", "gfs"),
                mongo("MongoStore", "docs_other"),
                sqlite("jobs.db"),
            );
            let stores = open(folder.path(), &text).await;
            let names: Vec<&str> = stores.job_store.additional.keys().map(String::as_str).collect();
            assert_eq!(names, ["gfs", "here", "there"]);
            use_job_store(&stores.job_store, &format!("{row}{column}")).await;
            use_job_store(stores.job_store_of(Some("other")).unwrap(), &format!("other{row}{column}")).await;
            assert!(stores.job_store_of(Some("unknown")).is_none());
        }
    }
    let database = scratch.raw().await;
    for collection in ["docs", "docs_other"] {
        let indexes = database.collection::<Document>(collection).list_index_names().await.unwrap();
        assert!(indexes.contains(&"uuid_1_index_-1".to_owned()), "{collection}: {indexes:?}");
    }
    let parts = database.collection::<Document>("parts").list_index_names().await.unwrap();
    assert!(parts.contains(&"blob_uuid_1".to_owned()), "{parts:?}");
    let files = database.collection::<Document>("gfs.files").list_index_names().await.unwrap();
    assert!(files.contains(&"metadata.blob_uuid_1".to_owned()), "{files:?}");
}
