use bson::{Bson, doc};
use proptest::prelude::*;

use super::*;

fn write(folder: &Path, name: &str, documents: &[Document]) {
    let bytes: Vec<u8> = documents.iter().flat_map(|document| document.to_vec().unwrap()).collect();
    std::fs::write(folder.join(name), bytes).unwrap();
}

/// Returns a folder with a small whole backup, without batches as before 1.0.
fn whole() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "flows.bson", &[doc! {"uuid": "f"}]);
    write(folder.path(), "jobs.bson", &[doc! {"uuid": "a"}, doc! {"uuid": "b"}]);
    write(folder.path(), "jf_auxiliary.bson", &[doc! {"next_id": 3}, doc! {"runner_pings": []}]);
    folder
}

fn refusal(folder: &Path) -> String {
    find_now(folder).unwrap_err().to_string().replace(folder.to_str().unwrap(), "[FOLDER]")
}

#[test]
fn a_backup_is_found_in_the_folder_or_below() {
    let folder = whole();
    let found = find_now(folder.path()).unwrap();
    assert_eq!(found.counts, Counts { flows: 1, jobs: 2, batches: 0, auxiliary: 2 });
    let above = tempfile::tempdir().unwrap();
    std::fs::create_dir(above.path().join("other")).unwrap();
    std::fs::rename(folder.path(), above.path().join("db")).unwrap();
    assert_eq!(find_now(above.path()).unwrap().folder, above.path().join("db"));
}

#[test]
fn what_is_no_whole_backup_is_refused_before_anything_is_stored() {
    type Spoil = fn(&Path);
    let cases: [(&str, Spoil); 7] = [
        ("there is no backup in [FOLDER]: it has no file jobs.bson or jobs.bson.gz", |folder| {
            std::fs::remove_file(folder.join("jobs.bson")).unwrap();
        }),
        ("there are several files of one collection in [FOLDER]: jobs.bson, jobs.bson.gz", |folder| {
            std::fs::write(folder.join("jobs.bson.gz"), "").unwrap();
        }),
        ("[FOLDER]/jobs.bson is not a whole backup file: it ends within a document", |folder| {
            let bytes = std::fs::read(folder.join("jobs.bson")).unwrap();
            std::fs::write(folder.join("jobs.bson"), &bytes[..bytes.len() - 1]).unwrap();
        }),
        ("[FOLDER]/jobs.bson is not a whole backup file: a document of 1819043176 bytes", |folder| {
            std::fs::write(folder.join("jobs.bson"), "hello world").unwrap();
        }),
        ("[FOLDER]/flows.bson is not a whole backup file: a document has no uuid", |folder| {
            write(folder, "flows.bson", &[doc! {"name": "f"}]);
        }),
        (
            "[FOLDER]/jf_auxiliary.bson is not a whole backup file: it has no document with the field next_id",
            |folder| {
                write(folder, "jf_auxiliary.bson", &[doc! {"runner_pings": []}]);
            },
        ),
        ("[FOLDER]/batches.bson.gz is not a whole backup file: invalid gzip header", |folder| {
            std::fs::write(folder.join("batches.bson.gz"), "not compressed at all").unwrap();
        }),
    ];
    for (expected, spoil) in cases {
        let folder = whole();
        spoil(folder.path());
        assert_eq!(refusal(folder.path()), expected);
    }
}

#[test]
fn a_compressed_file_that_was_cut_is_refused() {
    let folder = whole();
    let mut writer = Writer::new(folder.path(), Compression::Gzip).unwrap();
    writer.write(&doc! {"batch_uid": "x".repeat(1000)}.to_vec().unwrap()).unwrap();
    let bytes = std::fs::read(writer.finish().unwrap().path()).unwrap();
    for length in 1..bytes.len() {
        std::fs::write(folder.path().join("batches.bson.gz"), &bytes[..length]).unwrap();
        assert!(
            refusal(folder.path()).contains("not a whole backup file"),
            "{length} of {} bytes",
            bytes.len()
        );
    }
    std::fs::write(folder.path().join("batches.bson.gz"), &bytes).unwrap();
    assert_eq!(find_now(folder.path()).unwrap().counts.batches, 1);
}

#[test]
fn a_store_in_use_is_refused() {
    let said = |inventory: Inventory| refuse_unless_empty(&inventory).unwrap_err().to_string();
    let empty = Inventory { next_number: 1, outputs: 5, files: 2, ..Inventory::default() };
    assert!(refuse_unless_empty(&empty).is_ok());
    assert_eq!(said(Inventory { jobs: 2, flows: 1, ..empty }), "the store is not empty: 2 jobs, 1 flows");
    let used = Inventory { next_number: 8, ..empty };
    assert_eq!(said(used), "the store is not empty: it has given out short ids up to 7");
}

proptest! {
    #[test]
    fn documents_come_back_as_they_were(texts in proptest::collection::vec(".{0,200}", 0..20), gzip: bool) {
        let folder = tempfile::tempdir().unwrap();
        let compression = if gzip { Compression::Gzip } else { Compression::None };
        let documents: Vec<Document> = (0..).zip(&texts).map(|(i, text)| doc! {"i": i, "text": text, "none": Bson::Null}).collect();
        let mut writer = Writer::new(folder.path(), compression).unwrap();
        for document in &documents {
            writer.write(&document.to_vec().unwrap()).unwrap();
        }
        let path = folder.path().join(format!("x.{}", compression.ending()));
        writer.finish().unwrap().persist(&path).unwrap();
        let read: Vec<Document> = Documents::open(&path).unwrap().map(|raw| Document::try_from(raw.unwrap()).unwrap()).collect();
        prop_assert_eq!(read, documents);
    }
}
