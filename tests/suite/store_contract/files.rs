//! `Files`.

use std::path::PathBuf;

use jobferry::store::{FileSource, NewFile, StoreError};
use sha2::{Digest as _, Sha256};

use super::Bench;

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn of_bytes(bytes: &[u8]) -> NewFile {
    NewFile { sha256: sha256(bytes), source: FileSource::Bytes(bytes.to_vec()) }
}

/// Returns the stored content, written over an older and longer file.
async fn fetched(bench: &Bench, sha256: &str) -> Result<Vec<u8>, StoreError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, [7; 100]).unwrap();
    bench.stores.files.get_file(sha256, &path).await?;
    Ok(std::fs::read(path).unwrap())
}

/// Bytes that repeat at no small distance.
fn noise(length: u32) -> Vec<u8> {
    (0..length).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

pub(super) async fn bytes_and_paths(bench: &Bench) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("source");
    std::fs::write(&path, b"from a path").unwrap();
    let of_path = NewFile { sha256: sha256(b"from a path"), source: FileSource::Path(path) };
    bench.stores.files.put_files(&[of_bytes(b"bytes"), of_path, of_bytes(b"")]).await.unwrap();
    for content in [b"bytes".as_slice(), b"from a path", b""] {
        assert_eq!(fetched(bench, &sha256(content)).await.unwrap(), content);
    }
    bench.stores.files.put_files(&[]).await.unwrap();
}

pub(super) async fn large(bench: &Bench) {
    let large = noise(5 << 20);
    let odd = noise((20 << 20) + 17);
    bench.stores.files.put_files(&[of_bytes(&large), of_bytes(b"small"), of_bytes(&odd)]).await.unwrap();
    assert!(fetched(bench, &sha256(&large)).await.unwrap() == large);
    assert!(fetched(bench, &sha256(&odd)).await.unwrap() == odd);
    assert_eq!(fetched(bench, &sha256(b"small")).await.unwrap(), b"small");
}

pub(super) async fn missing(bench: &Bench) {
    let absent = sha256(b"never stored");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, b"old").unwrap();
    let error = bench.stores.files.get_file(&absent, &path).await.unwrap_err();
    assert!(matches!(&error, StoreError::NoSuchFile { sha256 } if *sha256 == absent), "{error:?}");
    assert_eq!(std::fs::read(&path).unwrap(), b"old", "nothing is touched");
    let nowhere = directory.path().join("no/such/directory/file");
    bench.stores.files.put_files(&[of_bytes(b"x")]).await.unwrap();
    let error = bench.stores.files.get_file(&sha256(b"x"), &nowhere).await.unwrap_err();
    assert!(matches!(&error, StoreError::File { path, .. } if *path == nowhere), "{error:?}");
}

pub(super) async fn wrong_hash_is_refused(bench: &Bench) {
    let wrong = NewFile { sha256: sha256(b"promised"), source: FileSource::Bytes(b"delivered".to_vec()) };
    let files = &bench.stores.files;
    assert!(files.put_files(&[wrong]).await.is_err());
    for content in [b"promised".as_slice(), b"delivered"] {
        let error = fetched(bench, &sha256(content)).await.unwrap_err();
        assert!(matches!(error, StoreError::NoSuchFile { .. }), "{error:?}");
    }
    files.put_files(&[of_bytes(b"promised")]).await.unwrap();
    assert_eq!(fetched(bench, &sha256(b"promised")).await.unwrap(), b"promised");
}

pub(super) async fn unreadable_source(bench: &Bench) {
    let path = PathBuf::from("/no/such/source");
    let absent = NewFile { sha256: sha256(b"?"), source: FileSource::Path(path.clone()) };
    let error = bench.stores.files.put_files(&[absent]).await.unwrap_err();
    assert!(matches!(&error, StoreError::File { path: told, .. } if *told == path), "{error:?}");
    assert!(fetched(bench, &sha256(b"?")).await.is_err());
}

pub(super) async fn put_twice(bench: &Bench) {
    let files = &bench.stores.files;
    files.put_files(&[of_bytes(b"same"), of_bytes(b"same")]).await.unwrap();
    // What is there is not read again, so a source that is gone does not matter.
    let gone = NewFile { sha256: sha256(b"same"), source: FileSource::Path("/no/such/source".into()) };
    files.put_files(&[gone]).await.unwrap();
    assert_eq!(fetched(bench, &sha256(b"same")).await.unwrap(), b"same");
    let both: Vec<_> = (0..4)
        .map(|_| {
            let files = std::sync::Arc::clone(files);
            tokio::spawn(async move { files.put_files(&[of_bytes(&noise(3 << 20))]).await.unwrap() })
        })
        .collect();
    for upload in both {
        upload.await.unwrap();
    }
    assert!(fetched(bench, &sha256(&noise(3 << 20))).await.unwrap() == noise(3 << 20));
}
