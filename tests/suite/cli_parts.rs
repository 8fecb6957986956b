//! `jf job output --load` and `jf project check` with additional and optional stores, without any server.

use std::sync::Arc;

use bson::{Bson, bson, doc};
use insta::assert_snapshot;
use jobferry::model::Timestamp;
use jobferry::model::clock::Clock;
use jobferry::model::ids::JobKey;
use jobferry::model::job::{NewFlow, NewJob};
use jobferry::store::json_file::JsonFileBlobs;
use jobferry::store::sqlite::{Dispatch, SqliteBlobs, SqliteSettings, SqliteStore};
use jobferry::store::{BlobDocument, Blobs, OutputDocument, Outputs as _, Queue as _};

use crate::cli_environment::TestEnv;

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_773_140_400_000)
    }
}

async fn open(place: &TestEnv, file: &str) -> SqliteStore {
    let settings = SqliteSettings {
        path: place.path(file),
        id_prefix: String::new(),
        dispatch: Dispatch::Inline,
        clock: Arc::new(Fixed),
    };
    let store = SqliteStore::open(settings).unwrap();
    store.migrate().await.unwrap();
    store
}

fn job(uuid: &str, flow: &str) -> NewJob {
    NewJob {
        key: JobKey::new(uuid, 1),
        worker: "here".into(),
        priority: 0,
        parents: Vec::new(),
        exec_config: None,
        resources: None,
        job: doc! {"uuid": uuid, "index": 1, "name": uuid, "hosts": [flow], "metadata": {}, "config": {}},
    }
}

fn reference(store: &str, uuid: &str) -> Bson {
    bson!({"@class": "", "@module": "", "blob_uuid": uuid, "store": store})
}

async fn put_part(store: &dyn Blobs, uuid: &str, data: Bson) {
    let document =
        doc! {"@class": "", "@module": "", "blob_uuid": uuid, "data": data, "job_uuid": "a", "job_index": 1};
    let blob = BlobDocument { blob_uuid: uuid.into(), job: JobKey::new("a", 1), document };
    store.put_blobs(&[blob]).await.unwrap();
}

async fn put_output(store: &SqliteStore, uuid: &str, output: Bson) {
    let document = doc! {"uuid": uuid, "index": 1, "output": output};
    store.put_outputs(&[OutputDocument { key: JobKey::new(uuid, 1), document }]).await.unwrap();
}

/// Returns a place whose project keeps parts in its own file and in a JSON file, and has a second job store. Job 1 is of
/// the first, job 2 of the second, the output of job 3 refers to a store that is nowhere.
async fn place() -> TestEnv {
    let place = TestEnv::empty();
    let additional = format!(
        "jobstore:\n  additional_stores:\n    data: {{type: SqliteStore, path: {0}}}\n    json: {{type: JSONStore, paths: {1}, \
         read_only: false}}\noptional_jobstores:\n  other:\n    docs_store: {{type: SqliteStore, path: {2}}}\n    \
         additional_stores: {{data: {{type: SqliteStore, path: {2}}}}}\n",
        place.path("lab.sqlite").display(),
        place.path("parts.json").display(),
        place.path("other.sqlite").display(),
    );
    place.write("projects/lab.yaml", &(place.project("lab") + &additional));
    let (lab, other) = (open(&place, "lab.sqlite").await, open(&place, "other.sqlite").await);
    for (uuid, jobstore) in [("a", None), ("b", Some("other".to_owned())), ("c", None)] {
        let flow = format!("flow-{uuid}");
        let jobs = vec![job(uuid, &flow)];
        let (name, metadata, created_on) = (flow.clone(), doc! {}, Fixed.now());
        let flow = NewFlow { uuid: flow, name, metadata, jobstore, jobs, created_on };
        lab.insert_flow(&flow).await.unwrap();
    }
    put_part(&SqliteBlobs::new(lab.clone(), "data"), "p1", bson!([1, 2])).await;
    put_part(&JsonFileBlobs::new(place.path("parts.json")), "p2", bson!({"x": "y"})).await;
    put_part(&SqliteBlobs::new(other.clone(), "other/data"), "p1", bson!("of the other")).await;
    put_output(&lab, "a", bson!({"big": reference("data", "p1"), "also": [reference("json", "p2")], "n": 1}))
        .await;
    put_output(&other, "b", bson!({"big": reference("data", "p1")})).await;
    put_output(&lab, "c", bson!({"big": reference("elsewhere", "p1"), "n": 2})).await;
    place
}

#[tokio::test]
async fn output_is_put_together_on_request() {
    let place = place().await;
    let plain = place.jf("job output 1 --json").json();
    assert_eq!(plain["big"]["blob_uuid"], "p1");
    assert_eq!(
        place.jf("job output 1 --load --json").json(),
        serde_json::json!({"big": [1, 2], "also": [{"x": "y"}], "n": 1})
    );
    assert_eq!(place.jf("job output 2 -l --json").json(), serde_json::json!({"big": "of the other"}));
    assert_eq!(place.jf("job output 3 --json").json()["n"], 2);
    assert_snapshot!(place.jf("job output 3 -l"), @r"
    exit: 1
    ----- stdout
    ----- stderr
    error: the output of job 3 cannot be put together: a part of it is in the additional store `elsewhere`, which this job store does not have (it has `data`, `json`)
    hint: `jf project check` tells of the project's additional stores; without --load the rest of the output is shown
    ");
}

#[tokio::test]
async fn an_output_in_a_job_store_that_is_gone_is_told() {
    let place = place().await;
    let file = std::fs::read_to_string(place.path("projects/lab.yaml")).unwrap();
    place.write("projects/lab.yaml", &file.replace("  other:\n", "  renamed:\n"));
    assert_snapshot!(place.jf("job output 2"), @r"
    exit: 1
    ----- stdout
    ----- stderr
    error: the output is in the job store `other`, which the project does not have
    hint: add it to optional_jobstores in the project file
    ");
}

#[tokio::test]
async fn check_tries_each_store() {
    let place = place().await;
    assert_snapshot!(place.jf("project check --jobstore").without_chance(), @r"
    exit: 0
    ----- stdout
    Project lab
         What  Where  Result
     ok  project file  [ROOT]/projects/lab.yaml  valid
     ok  store of outputs  [ROOT]/lab.sqlite  answers
     ok  additional store data  [ROOT]/lab.sqlite  answers
     ok  additional store json  [ROOT]/parts.json  answers
     ok  store of outputs of other  [ROOT]/other.sqlite  answers
     ok  additional store data of other  [ROOT]/other.sqlite  answers
    ----- stderr
    ");
    let file = std::fs::read_to_string(place.path("projects/lab.yaml")).unwrap();
    let away = "{type: S3Store, bucket: b, endpoint_url: 'http://127.0.0.1:1', index: {type: SqliteStore}, \
                s3_profile: {aws_access_key_id: me, aws_secret_access_key: hunter2}}";
    let with = |stores: &str| file.replace("    json: ", &format!("    {stores}\n    json: "));
    place.write("projects/lab.yaml", &with(&format!("s3: {away}\n    blue: {{type: AzureBlobStore}}")));
    let chmod = std::process::Command::new("chmod").arg("600").arg(place.path("projects/lab.yaml")).status();
    assert!(chmod.unwrap().success());
    let report = place.jf("project check --jobstore --json");
    assert_eq!(report.code, Some(4), "{report}");
    let report: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
    let hops: Vec<(&str, bool)> = report["hops"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hop| (hop["what"].as_str().unwrap(), hop["ok"].as_bool().unwrap()))
        .collect();
    assert!(
        hops.contains(&("additional store s3", false)) && hops.contains(&("additional store blue", false)),
        "{hops:?}"
    );
    assert!(hops.contains(&("additional store json", true)), "{hops:?}");
    for line in ["project check", "project show", "project show --json", "-fe project check"] {
        let run = place.jf(line);
        assert!(!run.to_string().contains("hunter2"), "{line}: {run}");
    }
    assert!(place.jf("project show").stdout.contains("AzureBlobStore"));
}
