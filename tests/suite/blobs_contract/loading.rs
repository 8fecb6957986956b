//! `load_blobs`: outputs made whole, over real additional stores.

use std::collections::BTreeMap;
use std::sync::Arc;

use bson::{Bson, Document, bson, doc};
use jobferry::model::ids::JobKey;
use jobferry::store::blobs::{BlobError, load_blobs, remove_outputs};
use jobferry::store::{Blobs, JobStore, OutputDocument};

use super::Bench;
use super::cases::blob;

fn reference(store: &str, uuid: &str) -> Bson {
    bson!({"@class": "", "@module": "", "blob_uuid": uuid, "store": store})
}

fn output(uuid: &str, output: impl Into<Bson>) -> OutputDocument {
    let document = doc! {"uuid": uuid, "index": 1, "output": output.into(), "metadata": {}};
    OutputDocument { key: JobKey::new(uuid, 1), document }
}

/// Returns a job store with `data` and `gfs`, one beside the other.
async fn job_store(bench: &Bench) -> JobStore {
    let (stores, _) = super::sqlite::memory().await;
    let additional: BTreeMap<String, Arc<dyn Blobs>> = BTreeMap::from([
        ("data".to_owned(), Arc::clone(&bench.blobs)),
        ("gfs".to_owned(), bench.outside.neighbour().await),
    ]);
    JobStore { outputs: stores.job_store.outputs, additional }
}

pub(super) async fn parts_come_into_their_place(bench: &Bench) {
    let store = job_store(bench).await;
    store.additional["data"]
        .put_blobs(&[blob("b1", "j", 1, bson!([1, 2])), blob("b2", "k", 1, "x")])
        .await
        .unwrap();
    store.additional["gfs"].put_blobs(&[blob("b3", "j", 1, bson!({"n": 1}))]).await.unwrap();
    let mut outputs = [
        output(
            "j",
            bson!({"a": reference("data", "b1"), "again": [reference("data", "b1")], "c": reference("gfs", "b3")}),
        ),
        output("k", reference("data", "b2")),
        output("l", 5),
        output("missing", bson!([reference("data", "b1"), reference("gfs", "nowhere")])),
        output("unknown", reference("other", "b1")),
    ];
    let before = outputs.clone();
    let incomplete = load_blobs(&store, &mut outputs).await.unwrap();
    assert_eq!(outputs[0].output(), &bson!({"a": [1, 2], "again": [[1, 2]], "c": {"n": 1}}));
    assert_eq!(outputs[1].output(), &bson!("x"));
    assert_eq!(outputs[2..], before[2..], "without parts, or incomplete: as it was");
    let jobs: Vec<&str> = incomplete.iter().map(|one| one.job.uuid.as_str()).collect();
    assert_eq!(jobs, ["missing", "unknown"]);
    assert_eq!(incomplete[0].why, BlobError::NoSuchBlob { store: "gfs".into(), uuid: "nowhere".into() });
    assert!(incomplete[1].why.to_string().contains("`other`"), "{}", incomplete[1].why);
}

/// jobflow 0.4.0 wraps a part again when the job uses a second store (seen in real documents).
pub(super) async fn wrapped_twice_comes_out_whole(bench: &Bench) {
    let store = job_store(bench).await;
    let inner = bson!({"keeps": reference("gfs", "inside")});
    store.additional["data"].put_blobs(&[blob("b1", "j", 1, inner.clone())]).await.unwrap();
    store.additional["gfs"].put_blobs(&[blob("b2", "j", 1, reference("data", "b1"))]).await.unwrap();
    store.additional["gfs"].put_blobs(&[blob("ring", "j", 1, reference("gfs", "ring"))]).await.unwrap();
    let mut outputs =
        [output("j", bson!({"x": reference("gfs", "b2")})), output("ring", reference("gfs", "ring"))];
    assert_eq!(load_blobs(&store, &mut outputs).await.unwrap(), []);
    let expected: Document = doc! {"x": inner};
    assert_eq!(outputs[0].output(), &Bson::from(expected), "and one level only");
    assert_eq!(outputs[1].output(), &reference("gfs", "ring"));
}

pub(super) async fn outputs_go_with_their_parts(bench: &Bench) {
    let store = job_store(bench).await;
    for job in ["j", "k"] {
        store.additional["data"].put_blobs(&[blob(&format!("{job}1"), job, 1, 1)]).await.unwrap();
        store.additional["gfs"].put_blobs(&[blob(&format!("{job}2"), job, 1, 2)]).await.unwrap();
        store.outputs.put_outputs(&[output(job, reference("data", "b1"))]).await.unwrap();
    }
    for _ in 0..2 {
        remove_outputs(&store, &[JobKey::new("j", 1)]).await.unwrap();
        assert_eq!(store.outputs.output(&JobKey::new("j", 1)).await.unwrap(), None);
        let uuids = ["j1", "j2", "k1", "k2"].map(str::to_owned);
        let left = store.additional["data"].get_blobs(&uuids).await.unwrap();
        assert_eq!(left.into_keys().collect::<Vec<_>>(), ["k1"]);
        let left = store.additional["gfs"].get_blobs(&uuids).await.unwrap();
        assert_eq!(left.into_keys().collect::<Vec<_>>(), ["k2"]);
    }
    assert!(store.outputs.output(&JobKey::new("k", 1)).await.unwrap().is_some());
}
