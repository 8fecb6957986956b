//! Parts of outputs in GridFS, as maggma's `GridFSStore` writes them: one file per blob, whose content is the JSON of
//! the whole blob, with `metadata = {job_uuid, job_index, blob_uuid}`.
//!
//! The `_id` of a file follows from its content: an upload that was killed left chunks that the next one of the same
//! content uses again. The document in `.files` comes after its chunks, and older files of the same blob go only when
//! the new one is there; of several the newest holds.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use ::mongodb::bson::oid::ObjectId;
use ::mongodb::bson::spec::BinarySubtype;
use ::mongodb::bson::{Binary, Bson, DateTime, Document, doc};
use async_trait::async_trait;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use super::LONG;
use super::access::{Command, Fault, durable, number};
use super::finish::MOST_UUIDS;
use super::place::{Clients, Place};
use super::settings::Location;
use crate::jobflow::json::{self, OddNumbers};
use crate::model::ids::JobKey;
use crate::store::{BlobDocument, Blobs, StoreError};

/// The chunk size of the GridFS specification, and pymongo's.
const CHUNK_BYTES: usize = 255 * 1024;

/// Content that is in memory and sent together.
const WAVE_BYTES: usize = 8 << 20;

/// The largest content that is read: beyond it, something else than a part of an output is meant.
const CONTENT_LIMIT_BYTES: u64 = 2 << 30;

/// How often a blob that is replaced while it is read is read again.
const READ_TRIES: u32 = 5;

/// Whether contents are compressed (zlib) when they are written. Reading takes both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Zlib,
}

/// An additional store in GridFS. Clones share the connections.
#[derive(Clone)]
pub struct GridFsBlobs {
    /// Its collection is the prefix of `.files` and `.chunks`.
    place: Place,
    packing: Packing,
    indexed: Arc<OnceCell<()>>,
}

impl GridFsBlobs {
    /// Returns the additional store in the two collections `<prefix>.files` and `<prefix>.chunks`. Nothing is sent yet.
    pub async fn open(
        clients: &mut Clients,
        location: &Location,
        prefix: &str,
        packing: Packing,
    ) -> Result<Self, StoreError> {
        let place = Place::open(clients, location, prefix.to_owned()).await?;
        Ok(Self { place, packing, indexed: Arc::default() })
    }

    async fn index(&self) -> Result<(), StoreError> {
        let make = async || {
            self.place
                .call("make indexes", LONG, |place| async move {
                    let chunks = ("files_id_1_n_1", doc! { "files_id": 1, "n": 1 });
                    place.unique_index(&format!("{}.chunks", place.collection), chunks).await;
                    let files = [
                        ("filename_1_uploadDate_1", doc! { "filename": 1, "uploadDate": 1 }),
                        ("metadata.blob_uuid_1", doc! { "metadata.blob_uuid": 1 }),
                        ("jobferry_job", doc! { "metadata.job_uuid": 1, "metadata.job_index": 1 }),
                    ];
                    place.index(&format!("{}.files", place.collection), &files).await;
                    Ok(())
                })
                .await
        };
        self.indexed.get_or_try_init(make).await.copied()
    }
}

#[async_trait]
impl Blobs for GridFsBlobs {
    async fn put_blobs(&self, blobs: &[BlobDocument]) -> Result<(), StoreError> {
        self.index().await?;
        let (blobs, packing) = (blobs.to_vec(), self.packing);
        self.place
            .call("store parts of outputs", LONG, |place| async move { put(&place, &blobs, packing).await })
            .await
    }

    async fn get_blobs(&self, uuids: &[String]) -> Result<HashMap<String, Bson>, StoreError> {
        let uuids = uuids.to_vec();
        self.place.call("read parts of outputs", LONG, |place| async move { get(&place, &uuids).await }).await
    }

    async fn remove_blobs(&self, jobs: &[JobKey]) -> Result<(), StoreError> {
        let jobs = jobs.to_vec();
        self.place
            .call("remove parts of outputs", LONG, |place| async move { remove(&place, &jobs).await })
            .await
    }
}

/// A file to be written.
struct NewFile {
    id: ObjectId,
    blob_uuid: String,
    metadata: Document,
    content: Vec<u8>,
}

impl NewFile {
    fn of(blob: &BlobDocument, packing: Packing) -> Result<Self, Fault> {
        let mut document = blob.document.clone();
        document.remove("_id");
        let text = json::to_text(&document, OddNumbers::Python);
        let mut metadata = doc! {
            "job_uuid": &blob.job.uuid, "job_index": blob.job.index, "blob_uuid": &blob.blob_uuid,
        };
        let content = match packing {
            Packing::Plain => text.into_bytes(),
            Packing::Zlib => {
                metadata.insert("compression", "zlib");
                pack(text.as_bytes()).map_err(|error| Fault::Strange(error.to_string()))?
            }
        };
        Ok(Self { id: id_of(&content), blob_uuid: blob.blob_uuid.clone(), metadata, content })
    }

    fn chunk_statements(&self) -> impl Iterator<Item = Document> {
        (0_i32..).zip(self.content.chunks(CHUNK_BYTES)).map(|(number, bytes)| {
            let data = Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() };
            doc! {
                "q": { "files_id": self.id, "n": number },
                "u": { "$set": { "data": data } },
                "upsert": true,
            }
        })
    }

    fn file_statement(&self) -> Document {
        let length = i64::try_from(self.content.len()).unwrap_or(i64::MAX);
        let chunk_size = i32::try_from(CHUNK_BYTES).unwrap_or(i32::MAX);
        let set = doc! { "metadata": &self.metadata, "chunkSize": chunk_size, "length": length };
        // The date is the server's: it decides which of two is newer, and no clock comes in here.
        doc! {
            "q": { "_id": self.id },
            "u": { "$set": set, "$currentDate": { "uploadDate": true } },
            "upsert": true,
        }
    }
}

fn pack(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Returns the id of the file with this content.
fn id_of(content: &[u8]) -> ObjectId {
    let mut bytes = [0; 12];
    bytes.iter_mut().zip(Sha256::digest(content)).for_each(|(byte, hashed)| *byte = hashed);
    ObjectId::from_bytes(bytes)
}

async fn put(place: &Place, blobs: &[BlobDocument], packing: Packing) -> Result<(), Fault> {
    let mut wave: Vec<NewFile> = Vec::new();
    let mut bytes = 0_usize;
    for blob in blobs {
        let file = NewFile::of(blob, packing)?;
        bytes = bytes.saturating_add(file.content.len());
        wave.push(file);
        if bytes > WAVE_BYTES {
            put_wave(place, &std::mem::take(&mut wave)).await?;
            bytes = 0;
        }
    }
    if wave.is_empty() { Ok(()) } else { put_wave(place, &wave).await }
}

async fn put_wave(place: &Place, files: &[NewFile]) -> Result<(), Fault> {
    let chunks = place.beside(".chunks");
    let mut statements = Vec::new();
    for statement in files.iter().flat_map(NewFile::chunk_statements) {
        statements.push(statement);
        if statements.len() >= WAVE_BYTES / CHUNK_BYTES {
            chunks.write(Command::Update, &std::mem::take(&mut statements)).await?.all()?;
        }
    }
    chunks.write(Command::Update, &statements).await?.all()?;
    let statements: Vec<Document> = files.iter().map(NewFile::file_statement).collect();
    place.beside(".files").write(Command::Update, &statements).await?.all()?;
    remove_older(place, files).await
}

/// Removes what other uploads left of the same blobs.
async fn remove_older(place: &Place, files: &[NewFile]) -> Result<(), Fault> {
    let mine: HashMap<&str, ObjectId> = files.iter().map(|file| (file.blob_uuid.as_str(), file.id)).collect();
    let uuids: Vec<String> = mine.keys().map(|uuid| (*uuid).to_owned()).collect();
    let stored = stored_files(place, &uuids).await?;
    let mut old = Vec::new();
    for (uuid, mut versions) in stored {
        let newest = versions.iter().map(|file| file.uploaded).max();
        // Two of the same millisecond: the one that was just written.
        let kept = versions
            .iter()
            .position(|file| Some(file.uploaded) == newest && mine.get(uuid.as_str()) == Some(&file.id))
            .or_else(|| versions.iter().position(|file| Some(file.uploaded) == newest));
        if let Some(kept) = kept {
            versions.swap_remove(kept);
        }
        old.extend(versions.into_iter().map(|file| file.id));
    }
    delete(place, old.into_iter().map(Bson::ObjectId).collect()).await
}

/// Files of any program: their ids need not be ours.
async fn delete(place: &Place, ids: Vec<Bson>) -> Result<(), Fault> {
    let (files, chunks) = (place.named(".files"), place.named(".chunks"));
    for some in ids.chunks(MOST_UUIDS) {
        files.delete_many(doc! { "_id": { "$in": some } }).write_concern(durable()).await?;
        chunks.delete_many(doc! { "files_id": { "$in": some } }).write_concern(durable()).await?;
    }
    Ok(())
}

/// A file as its document tells of it.
struct StoredFile {
    id: ObjectId,
    uploaded: DateTime,
    length: u64,
    packing: Packing,
}

impl StoredFile {
    fn read(document: &Document) -> Option<(String, Self)> {
        let metadata = document.get_document("metadata").ok()?;
        let packed = metadata.get_str("compression").is_ok_and(|name| name == "zlib");
        let file = Self {
            id: document.get_object_id("_id").ok()?,
            uploaded: *document.get_datetime("uploadDate").ok()?,
            length: u64::try_from(document.get("length").and_then(number)?).ok()?,
            packing: if packed { Packing::Zlib } else { Packing::Plain },
        };
        Some((metadata.get_str("blob_uuid").ok()?.to_owned(), file))
    }
}

/// Returns the files of each blob.
async fn stored_files(place: &Place, uuids: &[String]) -> Result<HashMap<String, Vec<StoredFile>>, Fault> {
    let mut found: HashMap<String, Vec<StoredFile>> = HashMap::new();
    for some in uuids.chunks(MOST_UUIDS) {
        let mut cursor = place.named(".files").find(doc! { "metadata.blob_uuid": { "$in": some } }).await?;
        while let Some(document) = cursor.try_next().await? {
            if let Some((uuid, file)) = StoredFile::read(&document) {
                found.entry(uuid).or_default().push(file);
            }
        }
    }
    Ok(found)
}

async fn get(place: &Place, uuids: &[String]) -> Result<HashMap<String, Bson>, Fault> {
    let mut data = HashMap::new();
    let mut left: Vec<String> = uuids.to_vec();
    for tries in 1..=READ_TRIES {
        let torn = get_once(place, &left, &mut data).await?;
        if torn.is_empty() {
            return Ok(data);
        }
        if tries == READ_TRIES {
            let what = torn.first().cloned().unwrap_or_default();
            return Err(unreadable(place, &what, "chunks of its file are missing"));
        }
        left = torn;
    }
    Ok(data)
}

/// Reads each blob that is there, and returns those whose file went away meanwhile, or is damaged.
async fn get_once(
    place: &Place,
    uuids: &[String],
    data: &mut HashMap<String, Bson>,
) -> Result<Vec<String>, Fault> {
    let newest = |versions: Vec<StoredFile>| versions.into_iter().max_by_key(|file| file.uploaded);
    let files: Vec<(String, StoredFile)> = stored_files(place, uuids)
        .await?
        .into_iter()
        .filter_map(|(uuid, versions)| Some((uuid, newest(versions)?)))
        .collect();
    let ids: Vec<ObjectId> = files.iter().map(|(_, file)| file.id).collect();
    let mut contents = contents_of(place, &ids).await?;
    let mut torn = Vec::new();
    for (uuid, file) in files {
        let content = contents.remove(&file.id).unwrap_or_default();
        if content.len() as u64 == file.length {
            data.insert(uuid.clone(), data_of(place, &uuid, content, file.packing)?);
        } else {
            torn.push(uuid);
        }
    }
    Ok(torn)
}

/// Returns the contents of the files, as far as their chunks follow one another.
async fn contents_of(place: &Place, ids: &[ObjectId]) -> Result<HashMap<ObjectId, Vec<u8>>, Fault> {
    let mut contents: HashMap<ObjectId, (i64, Vec<u8>)> = HashMap::new();
    for some in ids.chunks(MOST_UUIDS) {
        let chunks = place.named(".chunks");
        let find = chunks.find(doc! { "files_id": { "$in": some } });
        let mut cursor = find.sort(doc! { "files_id": 1, "n": 1 }).await?;
        while let Some(chunk) = cursor.try_next().await? {
            let (Ok(id), Some(n)) = (chunk.get_object_id("files_id"), chunk.get("n").and_then(number)) else {
                continue;
            };
            let (next, content) = contents.entry(id).or_default();
            if *next == n {
                content.extend(chunk.get_binary_generic("data").map(Vec::as_slice).unwrap_or_default());
                *next = next.saturating_add(1);
            }
        }
    }
    Ok(contents.into_iter().map(|(id, (_, content))| (id, content)).collect())
}

fn data_of(place: &Place, uuid: &str, content: Vec<u8>, packing: Packing) -> Result<Bson, Fault> {
    let damaged = |why: String| unreadable(place, uuid, &why);
    let text = match packing {
        Packing::Plain => content,
        Packing::Zlib => {
            let mut text = Vec::new();
            let mut limited = ZlibDecoder::new(content.as_slice()).take(CONTENT_LIMIT_BYTES);
            limited.read_to_end(&mut text).map_err(|error| damaged(error.to_string()))?;
            text
        }
    };
    match json::parse_within(&text, super::super::BLOB_NODE_LIMIT) {
        Ok(Bson::Document(mut document)) => Ok(document.remove("data").unwrap_or(Bson::Null)),
        Ok(_) => Err(damaged("its file does not hold a document".to_owned())),
        Err(error) => Err(damaged(error.to_string())),
    }
}

fn unreadable(place: &Place, uuid: &str, why: &str) -> Fault {
    StoreError::Unreadable {
        place: format!("{}.{}", place.name, place.collection),
        what: format!("the part {uuid} of an output"),
        why: why.to_owned(),
    }
    .into()
}

async fn remove(place: &Place, jobs: &[JobKey]) -> Result<(), Fault> {
    let mut by_uuid: BTreeMap<i32, Vec<&str>> = BTreeMap::new();
    for job in jobs {
        by_uuid.entry(job.index).or_default().push(&job.uuid);
    }
    for (index, uuids) in by_uuid {
        for some in uuids.chunks(MOST_UUIDS) {
            let filter = doc! { "metadata.job_uuid": { "$in": some }, "metadata.job_index": index };
            let files = place.named(".files");
            let ids: Vec<Document> =
                files.find(filter).projection(doc! { "_id": 1 }).await?.try_collect().await?;
            delete(place, ids.into_iter().filter_map(|mut file| file.remove("_id")).collect()).await?;
        }
    }
    Ok(())
}
