//! Parts of outputs in a bucket of an S3 server, as maggma's `S3Store` keeps them: one object per blob, named by its
//! `blob_uuid`, its content the blob in `MessagePack` (zlib when `compress`), and a document about each in an index.
//!
//! Reading asks the bucket alone: the metadata of an object say whether it is compressed. The index is for Python, and
//! for what belongs to which job. Objects come before their index documents, and go before them, so that what was
//! killed half-way is found again.

mod pack;
mod profile;

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bson::{Bson, Document, doc};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ClientOptions, ObjectStore as _, ObjectStoreExt as _, PutOptions, RetryConfig,
};
use sha1::{Digest as _, Sha1};

use super::{BlobDocument, BlobIndex, Blobs, StoreError};
use crate::model::ids::JobKey;
pub use profile::{ProfileError, profile};

/// Objects under way at a time.
const AT_ONCE: usize = 8;

/// How long one connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// For one object: a large one on a slow line takes minutes.
const REQUEST_LIMIT: Duration = Duration::from_secs(300);

/// A request that failed is tried again, for at most this long in all; then the step is, later.
const RETRIES: usize = 3;
const RETRY_LIMIT: Duration = Duration::from_secs(30);

/// The largest content that is unpacked: beyond it, something else than a part of an output is meant.
const CONTENT_LIMIT_BYTES: u64 = 2 << 30;

/// Where maggma looks when nothing names a region.
const DEFAULT_REGION: &str = "us-east-1";

/// Where the bucket is, and how it is used. Holds a secret: never shown.
#[derive(Clone)]
pub struct S3Settings {
    pub bucket: String,
    /// None is Amazon's own.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// None takes what the environment gives (`AWS_ACCESS_KEY_ID`, the role of the machine, …).
    pub keys: Option<S3Keys>,
    /// Comes before the names of objects, and ends in `/`; may be empty.
    pub folder: String,
    pub packing: Packing,
    pub certificates: Certificates,
}

/// Who asks.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Keys {
    pub id: String,
    pub secret: String,
    pub token: Option<String>,
}

/// Whether objects are compressed (zlib) when they are written. Reading takes both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Zlib,
}

/// Whether the certificate of the server is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificates {
    Checked,
    /// As `verify: false` of boto3 wants it.
    Ignored,
}

/// An additional store in a bucket.
#[derive(Clone)]
pub struct S3Blobs {
    bucket: Arc<AmazonS3>,
    index: Arc<dyn BlobIndex>,
    folder: String,
    packing: Packing,
    /// `s3://<bucket>` and the server.
    place: String,
}

impl S3Blobs {
    /// Returns the additional store in this bucket, with its index. Nothing is sent yet.
    pub fn open(settings: S3Settings, index: Arc<dyn BlobIndex>) -> Result<Self, StoreError> {
        let server = settings.endpoint.as_deref().map(|at| format!(" at {at}")).unwrap_or_default();
        let place = format!("s3://{}{server}", settings.bucket);
        let refused = |source: object_store::Error| StoreError::Refused {
            place: place.clone(),
            action: "be opened",
            source: Box::new(source),
        };
        // The HTTP client takes the provider of the process, and panics where there is none. That another part of the
        // program was first is fine.
        drop(rustls::crypto::ring::default_provider().install_default());
        let bucket = Arc::new(builder(&settings).build().map_err(refused)?);
        Ok(Self { bucket, index, folder: settings.folder, packing: settings.packing, place })
    }

    fn path(&self, uuid: &str) -> Path {
        Path::from(format!("{}{uuid}", self.folder))
    }

    /// Writes the object and returns its document for the index.
    async fn put_one(&self, blob: &BlobDocument) -> Result<BlobDocument, StoreError> {
        let mut content = pack::packed(&blob.document);
        let mut about = doc! {
            "blob_uuid": &blob.blob_uuid, "job_uuid": &blob.job.uuid, "job_index": blob.job.index,
        };
        if !self.folder.is_empty() {
            about.insert("sub_dir", &self.folder);
        }
        if self.packing == Packing::Zlib {
            about.insert("compression", "zlib");
            content = compressed(&content).map_err(|error| self.refused("store an object", error))?;
        }
        about.insert("s3-to-mongo-keys", key_names(&about));
        let options = PutOptions { attributes: attributes(&about), ..PutOptions::default() };
        let hash: String = Sha1::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        about.insert("obj_hash", hash);
        let path = self.path(&blob.blob_uuid);
        let put = self.bucket.put_opts(&path, content.into(), options);
        put.await.map_err(|error| self.failed("store an object", error))?;
        Ok(BlobDocument { document: about, ..blob.clone() })
    }

    /// Returns the data of the blob, or nothing where there is no such object.
    async fn get_one(&self, uuid: &str) -> Result<Option<Bson>, StoreError> {
        let action = "read an object";
        let found = match self.bucket.get(&self.path(uuid)).await {
            Ok(found) => found,
            Err(error) if is_no_such_object(&error) => return Ok(None),
            Err(error) => return Err(self.failed(action, error)),
        };
        let packing = found.attributes.get(&Attribute::Metadata("compression".into()));
        let packed = packing.is_some_and(|value| value.as_ref() == "zlib");
        let content = found.bytes().await.map_err(|error| self.failed(action, error))?;
        let unreadable = |why: String| StoreError::Unreadable {
            place: self.place.clone(),
            what: format!("the part {uuid} of an output"),
            why,
        };
        let mut unpacked = Vec::new();
        let content: &[u8] = if packed {
            let mut limited = ZlibDecoder::new(&content[..]).take(CONTENT_LIMIT_BYTES);
            limited.read_to_end(&mut unpacked).map_err(|error| unreadable(error.to_string()))?;
            &unpacked
        } else {
            &content
        };
        let mut document = pack::unpacked(content).map_err(unreadable)?;
        Ok(Some(document.remove("data").unwrap_or(Bson::Null)))
    }

    async fn remove_one(&self, uuid: &str) -> Result<(), StoreError> {
        match self.bucket.delete(&self.path(uuid)).await {
            Ok(()) => Ok(()),
            Err(error) if is_no_such_object(&error) => Ok(()),
            Err(error) => Err(self.failed("remove an object", error)),
        }
    }

    fn refused(
        &self,
        action: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> StoreError {
        StoreError::Refused { place: self.place.clone(), action, source: Box::new(source) }
    }

    fn failed(&self, action: &'static str, error: object_store::Error) -> StoreError {
        match error {
            object_store::Error::Generic { .. } | object_store::Error::JoinError { .. } => {
                StoreError::Unreachable { place: self.place.clone(), source: Box::new(error) }
            }
            other => self.refused(action, other),
        }
    }
}

fn builder(settings: &S3Settings) -> AmazonS3Builder {
    let region = settings.region.as_deref();
    let options = ClientOptions::new()
        .with_connect_timeout(CONNECT_LIMIT)
        .with_timeout(REQUEST_LIMIT)
        .with_allow_invalid_certificates(settings.certificates == Certificates::Ignored);
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_LIMIT, ..RetryConfig::default() };
    let mut builder = match &settings.keys {
        Some(keys) => {
            let builder = AmazonS3Builder::new()
                .with_region(region.unwrap_or(DEFAULT_REGION))
                .with_access_key_id(&keys.id)
                .with_secret_access_key(&keys.secret);
            match &keys.token {
                Some(token) => builder.with_token(token),
                None => builder,
            }
        }
        None => match region {
            Some(region) => AmazonS3Builder::from_env().with_region(region),
            None => AmazonS3Builder::from_env(),
        },
    };
    builder = builder.with_client_options(options).with_retry(retry).with_bucket_name(&settings.bucket);
    match &settings.endpoint {
        // Only an endpoint that says so itself is spoken to without encryption.
        Some(endpoint) => builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint),
        None => builder,
    }
}

/// Returns whether the object is not there; that the bucket is not there is another matter.
fn is_no_such_object(error: &object_store::Error) -> bool {
    match error {
        object_store::Error::NotFound { source, .. } => !source.to_string().contains("NoSuchBucket"),
        _ => false,
    }
}

fn compressed(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Returns the name of a field in an object's metadata: some servers drop names with underscores.
fn metadata_name(field: &str) -> String {
    field.replace('_', "-").to_lowercase()
}

/// Returns which name each field has in the metadata, as the JSON that maggma puts beside them.
fn key_names(about: &Document) -> String {
    let names = about.keys().map(|field| (field.clone(), Bson::from(metadata_name(field))));
    let itself = [("s3-to-mongo-keys".to_owned(), Bson::from("s3-to-mongo-keys"))];
    let names: Document = names.chain(itself).collect();
    crate::jobflow::json::to_text(&names, crate::jobflow::json::OddNumbers::Python)
}

fn attributes(about: &Document) -> Attributes {
    let text = |value: &Bson| match value {
        Bson::String(text) => text.clone(),
        other => other.to_string(),
    };
    about
        .iter()
        .map(|(field, value)| (Attribute::Metadata(metadata_name(field).into()), text(value)))
        .collect()
}

#[async_trait]
impl Blobs for S3Blobs {
    async fn put_blobs(&self, blobs: &[BlobDocument]) -> Result<(), StoreError> {
        if blobs.is_empty() {
            return Ok(());
        }
        let puts = futures::stream::iter(blobs.to_vec()).map(|blob| async move { self.put_one(&blob).await });
        let about: Vec<BlobDocument> = puts.buffered(AT_ONCE).try_collect().await?;
        self.index.put_blobs(&about).await
    }

    async fn get_blobs(&self, uuids: &[String]) -> Result<HashMap<String, Bson>, StoreError> {
        let gets = futures::stream::iter(uuids.to_vec()).map(|uuid| async move {
            let data = self.get_one(&uuid).await?;
            Ok::<_, StoreError>(data.map(|data| (uuid, data)))
        });
        let found: Vec<Option<(String, Bson)>> = gets.buffered(AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn remove_blobs(&self, jobs: &[JobKey]) -> Result<(), StoreError> {
        let uuids = self.index.uuids_of(jobs).await?;
        let removals = futures::stream::iter(uuids).map(|uuid| async move { self.remove_one(&uuid).await });
        removals.buffered(AT_ONCE).try_collect::<Vec<()>>().await?;
        self.index.remove_blobs(jobs).await
    }
}
