//! Additional stores in the bucket of a real S3 server.

use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use jobferry::store::s3::{Certificates, Packing, S3Blobs, S3Keys, S3Settings};
use jobferry::store::sqlite::SqliteBlobs;
use jobferry::store::{BlobIndex, Blobs};

use super::{Bench, Limits, Outside, contract};
use crate::services::address;

contract!(plain, crate::blobs_contract::s3::plain);
contract!(packed, crate::blobs_contract::s3::packed);

async fn plain() -> Option<Bench> {
    bench(Packing::Plain, "").await
}

async fn packed() -> Option<Bench> {
    bench(Packing::Zlib, "a/folder/").await
}

/// Makes a bucket: with curl, because buckets are their owner's business and not ours.
pub(crate) fn new_bucket(endpoint: &str) -> String {
    let bucket = format!("jf-{}", uuid::Uuid::new_v4().simple());
    let made = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--max-time", "20", "-X", "PUT"])
        .args(["--user", "test:test", "--aws-sigv4", "aws:amz:us-east-1:s3", &format!("{endpoint}/{bucket}")])
        .output()
        .expect("curl can be started");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    bucket
}

pub(super) fn settings(endpoint: &str, bucket: &str, packing: Packing, folder: &str) -> S3Settings {
    S3Settings {
        bucket: bucket.to_owned(),
        endpoint: Some(endpoint.to_owned()),
        region: None,
        keys: Some(S3Keys { id: "test".into(), secret: "test".into(), token: None }),
        folder: folder.to_owned(),
        packing,
        certificates: Certificates::Checked,
    }
}

async fn bench(packing: Packing, folder: &str) -> Option<Bench> {
    let endpoint = address("blobs_contract::s3", "JF_TEST_S3_ENDPOINT")?;
    let settings = settings(&endpoint, &new_bucket(&endpoint), packing, folder);
    let (_, file) = super::sqlite::memory().await;
    let index: Arc<dyn BlobIndex> = Arc::new(SqliteBlobs::new(file.clone(), "data"));
    let second: Arc<dyn BlobIndex> = Arc::new(SqliteBlobs::new(file, "gfs"));
    Some(Bench {
        blobs: Arc::new(S3Blobs::open(settings.clone(), Arc::clone(&index)).unwrap()),
        outside: Box::new(Others { endpoint, settings, index, second }),
        limits: Limits::default(),
        kept: Box::new(()),
    })
}

struct Others {
    endpoint: String,
    settings: S3Settings,
    index: Arc<dyn BlobIndex>,
    second: Arc<dyn BlobIndex>,
}

#[async_trait]
impl Outside for Others {
    async fn again(&self) -> Arc<dyn Blobs> {
        Arc::new(S3Blobs::open(self.settings.clone(), Arc::clone(&self.index)).unwrap())
    }

    async fn neighbour(&self) -> Arc<dyn Blobs> {
        let settings = S3Settings { bucket: new_bucket(&self.endpoint), ..self.settings.clone() };
        Arc::new(S3Blobs::open(settings, Arc::clone(&self.second)).unwrap())
    }
}

#[tokio::test]
async fn a_server_that_is_away_and_a_bucket_that_is_not_there_are_told_without_the_secret() {
    let test = "blobs_contract::s3::a_server_that_is_away_and_a_bucket_that_is_not_there";
    let Some(endpoint) = address(test, "JF_TEST_S3_ENDPOINT") else { return };
    let (_, file) = super::sqlite::memory().await;
    for (endpoint, bucket, expected) in [
        (endpoint.as_str(), "jf-nobody-made-it", "refused to"),
        ("http://127.0.0.1:1", "b", "does not answer"),
    ] {
        let mut settings = settings(endpoint, bucket, Packing::Plain, "");
        settings.keys = Some(S3Keys { id: "me".into(), secret: "hunter2".into(), token: None });
        let blobs = S3Blobs::open(settings, Arc::new(SqliteBlobs::new(file.clone(), "x"))).unwrap();
        for error in [
            blobs.get_blobs(&["a".into()]).await.unwrap_err(),
            blobs.put_blobs(&[super::cases::blob("a", "j", 1, 1)]).await.unwrap_err(),
        ] {
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
