use bson::bson;

use super::*;

const OUTPUT: &[u8] = include_bytes!("../../../tests/fixtures/jobflow/blobs.data.json");
const BLOBS: &[u8] = include_bytes!("../../../tests/fixtures/jobflow/blobs.gfs.json");

fn key() -> JobKey {
    JobKey::new("f694a69f-9371-4a11-8cc8-ccd64bf2fca9", 1)
}

#[test]
fn the_jobs_own_document_gets_its_short_id() {
    let document = read_output(OUTPUT, &key(), "19").unwrap();
    assert_eq!(document.get("metadata"), Some(&bson!({"db_id": "19"})));
    assert_eq!(document.get_document("output").unwrap().get_i32("small").ok(), Some(5));
}

#[test]
fn documents_of_other_jobs_are_left_out() {
    let text = br#"[{"uuid": "p", "index": 1, "output": 1}, {"uuid": "a", "index": 1, "output": 2},
        {"_id": {"$oid": "x"}, "uuid": "a", "index": 2, "output": [Infinity], "metadata": {"db_id": "old", "k": 1}}]"#;
    let read = read_output(text, &JobKey::new("a", 2), "5").unwrap();
    let expected =
        doc! {"uuid": "a", "index": 2, "output": [f64::INFINITY], "metadata": {"db_id": "old", "k": 1}};
    assert_eq!(read, expected);
}

#[test]
fn bytes_and_ids_come_back() {
    let text = br#"[{"uuid": "a", "index": 1, "output": {"$binary": {"base64": "AP8=", "subType": "00"}}}]"#;
    let read = read_output(text, &JobKey::new("a", 1), "5").unwrap();
    assert_eq!(read.get_binary_generic("output").unwrap(), &vec![0, 255]);
}

#[test]
fn exactly_one_document_is_the_jobs() {
    let of = |text: &str| read_output(text.as_bytes(), &JobKey::new("a", 1), "5").unwrap_err().to_string();
    let twice = r#"[{"uuid": "a", "index": 1}, {"uuid": "a", "index": 1}]"#;
    insta::assert_snapshot!([of("[]"), of(twice), of("{}"), of("[{]")].join("\n"), @r"
    it holds no output of the job a:1, which reported no error
    it holds 2 outputs of the job a:1, and there should be one
    it holds a map with no keys, not a list of documents
    it is no JSON: a key in double quotes is missing at offset 2
    ");
}

#[test]
fn blobs_are_read_with_the_job_they_belong_to() {
    let blobs = read_blobs(BLOBS).unwrap();
    assert_eq!(blobs.len(), 3);
    assert!(blobs.iter().all(|blob| blob.job == key()));
    assert_eq!(blobs[2].blob_uuid, "ebd23a08-9a86-47cf-becf-8b2e379d842a");
    assert_eq!(blobs[2].document.get_str("data").ok(), Some("hello"));
    assert_eq!(blobs[2].document.len(), 6);
    assert_eq!(read_blobs(b" [ ] "), Ok(Vec::new()));
    let odd = br#"[{"blob_uuid": "b", "job_uuid": "j", "job_index": 1, "data": [[{"blob_uuid": "no"}], [], [NaN]]}]"#;
    assert_eq!(read_blobs(odd).unwrap()[0].blob_uuid, "b");
}

#[test]
fn what_is_no_list_of_blobs_is_refused() {
    let of = |text: &str| read_blobs(text.as_bytes()).unwrap_err().to_string();
    insta::assert_snapshot!([of("{}"), of("[1]"), of(r#"[{"blob_uuid": "b"}]"#), of("[{}")].join("\n"), @r"
    it holds a map with no keys, not a list of documents
    the blob at place 0 has no usable blob_uuid, job_uuid or job_index
    the blob at place 0 has no usable blob_uuid, job_uuid or job_index
    it is no JSON: `,` or `]` is missing at offset 3
    ");
}
