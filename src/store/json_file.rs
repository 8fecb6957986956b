//! Parts of outputs in one JSON file, as maggma's `JSONStore` keeps them: an array of documents, written anew at each
//! change.
//!
//! For small projects without a server whose outputs Python has to read. Programs of ours take turns by a lock on
//! `<file>.lock`; maggma knows no lock, so that Python should only read while a runner works. As in maggma, NaN and
//! infinities become null: orjson, with which it reads the file, takes a file that has them for broken.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bson::{Bson, Document};
use tempfile::NamedTempFile;

use super::{BlobDocument, Blobs, StoreError};
use crate::jobflow::json::{self, OddNumbers};
use crate::model::ids::JobKey;

/// How long a call waits for its turn; a turn takes as long as the file takes to be written.
const TURN_LIMIT: Duration = Duration::from_secs(60);

/// Between two looks whether the others are done.
const TURN_PAUSE: Duration = Duration::from_millis(20);

/// An additional store in one JSON file.
#[derive(Debug, Clone)]
pub struct JsonFileBlobs {
    path: PathBuf,
}

impl JsonFileBlobs {
    /// Returns the additional store in this file, which is made at the first write, with its directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Changes the documents and writes them, alone among our programs; nothing is written where nothing changed.
    async fn change<F>(&self, action: &'static str, change: F) -> Result<(), StoreError>
    where
        F: FnOnce(&mut Vec<Document>) -> Changed + Send + 'static,
    {
        let turn = self.turn().await?;
        let path = self.path.clone();
        let work = move || {
            let _turn = turn;
            let mut documents = read(&path)?;
            match change(&mut documents) {
                Changed::No => Ok(()),
                Changed::Yes => write(&path, &documents).map_err(|source| at(&path, source)),
            }
        };
        blocking(&self.path, action, work).await
    }

    /// Returns the lock, which ends when it is dropped, or with the process.
    async fn turn(&self) -> Result<File, StoreError> {
        let failed = |source| at(&self.path, source);
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        let mut name = self.path.clone().into_os_string();
        name.push(".lock");
        let lock = File::options().create(true).truncate(false).write(true).open(name).map_err(failed)?;
        let wait = async {
            loop {
                match lock.try_lock() {
                    Ok(()) => return Ok(()),
                    Err(std::fs::TryLockError::WouldBlock) => tokio::time::sleep(TURN_PAUSE).await,
                    Err(std::fs::TryLockError::Error(error)) => return Err(failed(error)),
                }
            }
        };
        match tokio::time::timeout(TURN_LIMIT, wait).await {
            Ok(answer) => answer.map(|()| lock),
            Err(elapsed) => Err(StoreError::Unreachable {
                place: self.path.display().to_string(),
                source: Box::new(elapsed),
            }),
        }
    }
}

enum Changed {
    Yes,
    No,
}

#[async_trait]
impl Blobs for JsonFileBlobs {
    async fn put_blobs(&self, blobs: &[BlobDocument]) -> Result<(), StoreError> {
        let new: Vec<Document> = blobs.iter().map(|blob| blob.document.clone()).collect();
        self.change("store parts of outputs", move |documents| {
            let is_nothing = new.is_empty();
            let uuids: HashSet<&str> = new.iter().filter_map(uuid_of).collect();
            documents.retain(|document| uuid_of(document).is_none_or(|uuid| !uuids.contains(uuid)));
            documents.extend(new);
            if is_nothing { Changed::No } else { Changed::Yes }
        })
        .await
    }

    async fn get_blobs(&self, uuids: &[String]) -> Result<HashMap<String, Bson>, StoreError> {
        if uuids.is_empty() {
            return Ok(HashMap::new());
        }
        let wanted: HashSet<String> = uuids.iter().cloned().collect();
        let path = self.path.clone();
        blocking(&self.path, "read parts of outputs", move || {
            let mut found = HashMap::new();
            for mut document in read(&path)? {
                let uuid = uuid_of(&document).filter(|uuid| wanted.contains(*uuid)).map(str::to_owned);
                if let Some(uuid) = uuid {
                    found.insert(uuid, document.remove("data").unwrap_or(Bson::Null));
                }
            }
            Ok(found)
        })
        .await
    }

    async fn remove_blobs(&self, jobs: &[JobKey]) -> Result<(), StoreError> {
        let jobs: HashSet<JobKey> = jobs.iter().cloned().collect();
        self.change("remove parts of outputs", move |documents| {
            let before = documents.len();
            documents.retain(|document| job_of(document).is_none_or(|job| !jobs.contains(&job)));
            if documents.len() == before { Changed::No } else { Changed::Yes }
        })
        .await
    }
}

fn uuid_of(document: &Document) -> Option<&str> {
    document.get_str("blob_uuid").ok()
}

fn job_of(document: &Document) -> Option<JobKey> {
    Some(JobKey::new(document.get_str("job_uuid").ok()?, document.get_i32("job_index").ok()?))
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    action: &'static str,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let broken =
        |error| StoreError::Refused { place: path.display().to_string(), action, source: Box::new(error) };
    tokio::task::spawn_blocking(work).await.map_err(broken)?
}

/// A full disk or a missing right passes, and is no fault of the job whose part it is.
fn at(path: &Path, source: io::Error) -> StoreError {
    StoreError::Refused {
        place: path.display().to_string(),
        action: "read or write the file",
        source: Box::new(source),
    }
}

/// Returns the documents of the file; a file that is not there has none.
fn read(path: &Path) -> Result<Vec<Document>, StoreError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at(path, error)),
    };
    let unreadable = |why: String| StoreError::Unreadable {
        place: path.display().to_string(),
        what: "the list of parts of outputs".to_owned(),
        why,
    };
    let parsed = json::parse_within(&text, super::BLOB_NODE_LIMIT);
    // A file with one document instead of a list is taken by maggma, too.
    let items = match parsed.map_err(|error| unreadable(error.to_string()))? {
        Bson::Array(items) => items,
        other => vec![other],
    };
    let document = |item| match item {
        Bson::Document(document) => Ok(document),
        _ => Err(unreadable("one of them is no document".to_owned())),
    };
    items.into_iter().map(document).collect()
}

/// Writes the file beside itself and puts it in its place, so that it is whole at any moment.
fn write(path: &Path, documents: &[Document]) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    let mut file = NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
    {
        let mut out = io::BufWriter::new(&mut file);
        out.write_all(b"[")?;
        for (place, document) in documents.iter().enumerate() {
            out.write_all(if place > 0 { b",\n" } else { b"\n" })?;
            out.write_all(json::to_text(document, OddNumbers::Null).as_bytes())?;
        }
        out.write_all(b"\n]\n")?;
        out.flush()?;
    }
    file.as_file().sync_all()?;
    if let Ok(before) = std::fs::metadata(path) {
        file.as_file().set_permissions(before.permissions())?;
    }
    file.persist(path).map(drop).map_err(|error| error.error)
}
