use bson::bson;
use proptest::prelude::*;

use super::*;

const OUTPUT: &[u8] = include_bytes!("../../../tests/fixtures/jobflow/blobs.data.json");
const BLOBS: &[u8] = include_bytes!("../../../tests/fixtures/jobflow/blobs.gfs.json");

fn key() -> JobKey {
    JobKey::new("f694a69f-9371-4a11-8cc8-ccd64bf2fca9", 1)
}

#[test]
fn the_jobs_own_document_gets_its_short_id() {
    let read = StoredOutput::read(OUTPUT, &key(), "19").unwrap();
    assert_eq!(read.document.get("metadata"), Some(&bson!({"db_id": "19"})));
    assert_eq!(read.document.get_document("output").unwrap().get_i32("small").ok(), Some(5));
    let stores: Vec<&str> = read.blobs.iter().map(|blob| blob.store.as_str()).collect();
    assert_eq!(stores, ["gfs", "gfs", "gfs"]);
    assert_eq!(read.blobs[0].blob_uuid, "3d50a906-6533-48fa-b574-8edecba0e766");
}

#[test]
fn documents_of_other_jobs_are_left_out() {
    let text = br#"[{"uuid": "p", "index": 1, "output": 1}, {"uuid": "a", "index": 1, "output": 2},
        {"_id": {"$oid": "x"}, "uuid": "a", "index": 2, "output": [Infinity], "metadata": {"db_id": "old", "k": 1}}]"#;
    let read = StoredOutput::read(text, &JobKey::new("a", 2), "5").unwrap();
    let expected =
        doc! {"uuid": "a", "index": 2, "output": [f64::INFINITY], "metadata": {"db_id": "old", "k": 1}};
    assert_eq!(read, StoredOutput { document: expected, blobs: Vec::new() });
}

#[test]
fn exactly_one_document_is_the_jobs() {
    let of =
        |text: &str| StoredOutput::read(text.as_bytes(), &JobKey::new("a", 1), "5").unwrap_err().to_string();
    let twice = r#"[{"uuid": "a", "index": 1}, {"uuid": "a", "index": 1}]"#;
    insta::assert_snapshot!([of("[]"), of(twice), of("{}"), of("[{]")].join("\n"), @"");
}

#[test]
fn blobs_keep_their_text() {
    let blobs = BlobDocument::read_all(BLOBS).unwrap();
    assert_eq!(blobs.len(), 3);
    assert!(blobs.iter().all(|blob| blob.job == key()));
    assert_eq!(blobs[2].blob_uuid, "ebd23a08-9a86-47cf-becf-8b2e379d842a");
    assert_eq!(
        blobs[2].json,
        r#"{"@class":"","@module":"","blob_uuid":"ebd23a08-9a86-47cf-becf-8b2e379d842a","data":"hello","job_uuid":"f694a69f-9371-4a11-8cc8-ccd64bf2fca9","job_index":1}"#
    );
    assert_eq!(blobs[2].to_document().unwrap().get_str("data").ok(), Some("hello"));
    assert_eq!(BlobDocument::read_all(b" [ ] "), Ok(Vec::new()));
    let odd = br#"[{"blob_uuid": "b", "job_uuid": "j", "job_index": 1, "data": [[{"blob_uuid": "no"}], [], [NaN]]}]"#;
    assert_eq!(BlobDocument::read_all(odd).unwrap()[0].blob_uuid, "b");
}

#[test]
fn what_is_no_list_of_blobs_is_refused() {
    let of = |text: &str| BlobDocument::read_all(text.as_bytes()).unwrap_err().to_string();
    insta::assert_snapshot!([of("{}"), of("[1]"), of(r#"[{"blob_uuid": "b"}]"#), of("[{}")].join("\n"), @"");
}

proptest! {
    #[test]
    fn blobs_of_any_content_are_found(numbers in prop::collection::vec(any::<f64>(), 0..20), text in any::<String>()) {
        let blob = |uuid: &str| serde_json::json!({"blob_uuid": uuid, "job_uuid": "j", "job_index": 3,
            "data": [numbers.clone(), {text.clone(): text.clone(), "blob_uuid": 7}, [{}]]});
        let written = serde_json::to_string_pretty(&[blob("a"), blob("b")]).unwrap();
        let read = BlobDocument::read_all(written.as_bytes()).unwrap();
        prop_assert_eq!(read.len(), 2);
        for (found, uuid) in read.iter().zip(["a", "b"]) {
            prop_assert_eq!(&found.blob_uuid, uuid);
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&found.json).unwrap(), blob(uuid));
        }
    }
}
