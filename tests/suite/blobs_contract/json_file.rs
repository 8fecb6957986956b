//! Additional stores in JSON files.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use jobferry::store::Blobs;
use jobferry::store::json_file::JsonFileBlobs;

use super::{Bench, Limits, Outside, contract};

contract!(file, crate::blobs_contract::json_file::file);

async fn file() -> Option<Bench> {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("deep");
    Some(Bench {
        blobs: Arc::new(JsonFileBlobs::new(folder.join("data.json"))),
        outside: Box::new(Folder(folder)),
        limits: Limits { loses_odd_numbers: true, ..Limits::default() },
        kept: Box::new(directory),
    })
}

struct Folder(PathBuf);

#[async_trait]
impl Outside for Folder {
    async fn again(&self) -> Arc<dyn Blobs> {
        Arc::new(JsonFileBlobs::new(self.0.join("data.json")))
    }

    async fn neighbour(&self) -> Arc<dyn Blobs> {
        Arc::new(JsonFileBlobs::new(self.0.join("gfs.json")))
    }
}

#[tokio::test]
async fn a_broken_file_is_told_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data.json");
    for text in ["[{\"blob_uuid\": \"a\", ", "[1]", "no JSON"] {
        std::fs::write(&path, text).unwrap();
        let blobs = JsonFileBlobs::new(&path);
        let error = blobs.put_blobs(&[super::cases::blob("a", "j", 1, 1)]).await.unwrap_err();
        assert!(!error.is_passing(), "{error}");
        blobs.get_blobs(&["a".into()]).await.unwrap_err();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}
