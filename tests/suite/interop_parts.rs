//! Parts of outputs in additional stores, written by us and read by jobflow-remote's own `get_jobstore()`, and the
//! other way round: one project file, every kind of store at once.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bson::{Bson, Document, bson, doc};
use jobferry::config::{Environment, Input, Project, read};
use jobferry::flowfile::source::Format;
use jobferry::jobflow::json;
use jobferry::model::ids::JobKey;
use jobferry::runner::connect::open_stores;
use jobferry::store::blobs::load_blobs;
use jobferry::store::{BlobDocument, JobStore, OutputDocument};
use serde_json::{Value, json};

use crate::blobs_contract::new_bucket;
use crate::services::address;
use crate::store_contract::{Dropped, Scratch};

const STORES: [&str; 5] = ["data", "gfs", "json", "packed", "s3"];

/// Returns a project file that both sides read: jobs, outputs and parts on real servers.
fn project_text(folder: &Path, scratch: &Scratch, endpoint: &str) -> String {
    let address = scratch.uri.trim_start_matches("mongodb://").trim_end_matches('/');
    let (host, port) = address.split_once(':').unwrap();
    let mongo = |kind: &str, collection: &str| {
        json!({"type": kind, "host": host, "port": port.parse::<u16>().unwrap(), "database": scratch.name,
               "collection_name": collection})
    };
    let with = |mut store: Value, key: &str, value: Value| {
        store[key] = value;
        store
    };
    let additional = json!({
        "data": mongo("MongoStore", "parts"),
        "gfs": mongo("GridFSStore", "gfs"),
        "packed": with(mongo("GridFSStore", "packed"), "compression", json!(true)),
        "json": {"type": "JSONStore", "paths": folder.join("parts.json"), "read_only": false},
        "s3": {
            "type": "S3Store", "bucket": new_bucket(endpoint), "endpoint_url": endpoint, "compress": true,
            "sub_dir": "in/here", "index": with(mongo("MongoStore", "s3_index"), "key", json!("blob_uuid")),
            "s3_profile": {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"},
        },
    });
    json!({
        "name": "parts", "base_dir": folder.join("base"), "workers": {},
        "queue": {"store": mongo("MongoStore", "jobs")},
        "jobstore": {"docs_store": mongo("MongoStore", "docs"), "additional_stores": additional},
    })
    .to_string()
}

fn project(folder: &Path, text: &str) -> Project {
    let environment = Environment::of_process();
    let file = folder.join("parts.json");
    let input = Input {
        file: &file,
        text,
        format: Format::Json,
        projects_folder: folder,
        environment: &environment,
        overrides: &[],
    };
    read::read(&input).unwrap_or_else(|faults| panic!("{faults:?}")).project
}

/// The Python side.
struct Peer {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    fn start(python: &str, projects: &Path) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/parts_of_outputs.py");
        let mut child = Command::new(python)
            .arg(script)
            .env("JFREMOTE_PROJECTS_FOLDER", projects)
            .env("HOME", projects)
            .env_remove("JFREMOTE_PROJECT")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("JF_TEST_PEER_PYTHON can be started");
        let (questions, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, questions, answers: BufReader::new(answers) }
    }

    fn ask(&mut self, question: &Document) -> Bson {
        writeln!(self.questions, "{}", json::to_text(question, json::OddNumbers::Python)).unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the Python side ended; what it said is above");
        json::parse(line.as_bytes()).unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It ends by itself at the end of its questions; after a failed test it may not.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn output(uuid: &str, output: impl Into<Bson>) -> OutputDocument {
    let document = doc! {
        "uuid": uuid, "index": 1, "output": output.into(), "completed_at": "2026-11-20T07:18:15.526116",
        "metadata": {}, "hosts": [], "name": "n", "@module": "jobflow.core.schemas", "@class": "JobStoreDocument",
        "@version": "0.4.0",
    };
    OutputDocument { key: JobKey::new(uuid, 1), document }
}

/// A value of some size, with what JSON knows only in Python's way where the store keeps that.
fn part(store: &str) -> Bson {
    let odd = if store == "json" { Bson::Null } else { Bson::Double(f64::INFINITY) };
    let numbers: Vec<Bson> = (0..50_000).map(|number| Bson::Double(f64::from(number) / 7.0)).collect();
    bson!({"store": store, "numbers": numbers, "odd": odd, "text": "é\n\"", "nested": {"a.b": [1, null, true]}})
}

async fn write_ours(store: &JobStore, uuid: &str) -> Bson {
    let (mut written, mut expected) = (doc! {}, doc! {});
    for name in STORES {
        let blob_uuid = format!("{uuid}-{name}");
        let document = doc! {
            "@class": "", "@module": "", "blob_uuid": &blob_uuid, "data": part(name), "job_uuid": uuid,
            "job_index": 1,
        };
        let blob = BlobDocument { blob_uuid: blob_uuid.clone(), job: JobKey::new(uuid, 1), document };
        store.additional[name].put_blobs(&[blob]).await.unwrap();
        written.insert(name, bson!({"@class": "", "@module": "", "blob_uuid": blob_uuid, "store": name}));
        expected.insert(name, part(name));
    }
    store.outputs.put_outputs(&[output(uuid, written)]).await.unwrap();
    Bson::Document(expected)
}

async fn load_ours(store: &JobStore, uuid: &str) -> Bson {
    let mut found = [store.outputs.output(&JobKey::new(uuid, 1)).await.unwrap().unwrap()];
    assert_eq!(load_blobs(store, &mut found).await.unwrap(), []);
    found[0].output().clone()
}

fn each(count: i32) -> Bson {
    Bson::Document(STORES.iter().map(|name| ((*name).to_owned(), Bson::Int32(count))).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_go_both_ways_between_us_and_jobflow() {
    let test = "parts_go_both_ways_between_us_and_jobflow";
    let Some(python) = address(test, "JF_TEST_PEER_PYTHON") else { return };
    let Some(endpoint) = address(test, "JF_TEST_S3_ENDPOINT") else { return };
    let Some(scratch) = Scratch::new(test, "JF_TEST_MONGODB_URI") else { return };
    let _dropped = Dropped(scratch.clone());
    let folder = tempfile::tempdir().unwrap();
    let text = project_text(folder.path(), &scratch, &endpoint);
    let projects = folder.path().join("projects");
    std::fs::create_dir(&projects).unwrap();
    std::fs::write(projects.join("parts.json"), &text).unwrap();
    let stores = open_stores(&project(&projects, &text)).await.unwrap();
    let store = &stores.job_store;
    let mut peer = Peer::start(&python, &projects);

    let expected = write_ours(store, "ours").await;
    assert!(peer.ask(&doc! {"get": "ours"}) == expected, "they read what we wrote");
    assert!(load_ours(store, "ours").await == expected, "and so do we");
    assert_eq!(peer.ask(&doc! {"parts": "ours"}), each(1));

    // Theirs: one document for each store, since jobflow 0.4.0 wraps parts twice where a document has several.
    for name in STORES {
        let theirs = output(&format!("theirs-{name}"), bson!({"big": part(name), "small": 1}));
        peer.ask(&doc! {"put": theirs.document, "save": {name: "big"}});
        let expected = bson!({"big": part(name), "small": 1});
        assert!(
            load_ours(store, &format!("theirs-{name}")).await == expected,
            "we read what they wrote: {name}"
        );
    }
    let twice = output("twice", bson!({"a": [1, 2], "b": {"x": 3}}));
    peer.ask(&doc! {"put": twice.document, "save": {"data": "a", "gfs": "b"}});
    assert_eq!(
        load_ours(store, "twice").await,
        bson!({"a": [1, 2], "b": {"x": 3}}),
        "also where they do not"
    );

    // The same blob again, as after a killed completion: one in each store, for both sides.
    let expected = write_ours(store, "ours").await;
    assert_eq!(peer.ask(&doc! {"parts": "ours"}), each(1));
    assert!(peer.ask(&doc! {"get": "ours"}) == expected);

    for name in STORES {
        store.additional[name].remove_blobs(&[JobKey::new("ours", 1)]).await.unwrap();
    }
    assert_eq!(peer.ask(&doc! {"parts": "ours"}), each(0), "what we removed is gone for them");
    let expected = write_ours(store, "again").await;
    peer.ask(&doc! {"remove": "again"});
    assert_eq!(peer.ask(&doc! {"parts": "again"}), each(0));
    drop(expected);
    let left = store.additional["gfs"].get_blobs(&["again-gfs".to_owned()]).await.unwrap();
    assert!(left.is_empty(), "what they removed is gone for us");
}
