//! Contents of files, in chunks.
//!
//! A file gets a row without a hash first, then its chunks, a few per transaction so that other writers need not
//! wait for a large one; the hash is written into the row last, and only rows with a hash are ever read.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Cursor, Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};

use crate::model::Timestamp;
use crate::store::{FileSource, Files, NewFile, StoreError};

use super::SqliteStore;
use super::connection::prepared;
use super::failure::Failure;

/// Size of a chunk: what is in memory for each file that is read or written.
const CHUNK_BYTES: usize = 1 << 20;

/// Bytes written in one transaction, some tens of milliseconds of work.
const BATCH_BYTES: usize = 8 << 20;

/// An upload that began longer ago than this has nobody working on it any more.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

const STORE: &str = "store files";

#[async_trait]
impl Files for SqliteStore {
    async fn put_files(&self, files: &[NewFile]) -> Result<(), StoreError> {
        let wanted = files.to_vec();
        let now = self.shared.settings.clock.now();
        let uploads = self.write(STORE, move |connection| begin(connection, wanted, now)).await?;
        let ids: Vec<i64> = uploads.iter().map(|upload| upload.id).collect();
        let stored = self.upload(uploads).await;
        if stored.is_err() {
            // The first error is the one to tell; what stays is dropped by a later repair.
            drop(
                self.write(STORE, move |connection| ids.iter().try_for_each(|id| forget(connection, *id)))
                    .await,
            );
        }
        stored
    }

    async fn get_file(&self, sha256: &str, path: &Path) -> Result<(), StoreError> {
        let (sha256, path) = (sha256.to_owned(), path.to_owned());
        self.read("read a file", move |connection| get(connection, &sha256, &path)).await
    }
}

impl SqliteStore {
    /// Reads the contents batch by batch, and writes each batch in one transaction.
    async fn upload(&self, uploads: Vec<Upload>) -> Result<(), StoreError> {
        let mut reading = Reading::of(uploads);
        loop {
            let (rest, batch) = self.run(STORE, move || reading.next_batch()).await?;
            reading = rest;
            if batch.is_empty() {
                return Ok(());
            }
            self.write(STORE, move |connection| write_batch(connection, &batch)).await?;
        }
    }
}

/// A file that is on its way into the store.
struct Upload {
    id: i64,
    file: NewFile,
}

/// Makes a row for each file that is not stored yet.
fn begin(connection: &Connection, files: Vec<NewFile>, now: Timestamp) -> Result<Vec<Upload>, Failure> {
    let mut insert = prepared(connection, "INSERT INTO files (started_on) VALUES (?1)")?;
    let mut seen = HashSet::new();
    let mut uploads = Vec::new();
    for file in files {
        if seen.insert(file.sha256.clone()) && find(connection, &file.sha256)?.is_none() {
            uploads.push(Upload { id: insert.insert([now.timestamp_millis()])?, file });
        }
    }
    Ok(uploads)
}

/// Returns the row of a stored file.
fn find(connection: &Connection, sha256: &str) -> Result<Option<i64>, Failure> {
    let mut statement = prepared(connection, "SELECT id FROM files WHERE sha256 = ?1")?;
    Ok(statement.query_row([sha256], |row| row.get(0)).optional()?)
}

fn forget(connection: &Connection, id: i64) -> Result<(), Failure> {
    prepared(connection, "DELETE FROM files WHERE id = ?1 AND sha256 IS NULL")?.execute([id])?;
    Ok(())
}

/// Drops uploads that were killed.
pub(super) fn drop_abandoned(connection: &Connection, now: Timestamp) -> Result<(), Failure> {
    let limit = i64::try_from(ABANDONED_AFTER.as_millis()).unwrap_or(i64::MAX);
    let mut statement = prepared(connection, "DELETE FROM files WHERE sha256 IS NULL AND started_on < ?1")?;
    statement.execute([now.timestamp_millis().saturating_sub(limit)])?;
    Ok(())
}

/// One write of an upload.
enum Piece {
    Chunk { file: i64, position: i64, content: Vec<u8> },
    End { file: i64, sha256: String, size_bytes: i64 },
}

fn write_batch(connection: &Connection, batch: &[Piece]) -> Result<(), Failure> {
    for piece in batch {
        match piece {
            Piece::Chunk { file, position, content } => {
                let sql = "INSERT INTO file_chunks (file, position, content) VALUES (?1, ?2, ?3)";
                prepared(connection, sql)?.execute(params![file, position, content])?;
            }
            // Another process may have stored the same file in the meantime.
            Piece::End { file, sha256, .. } if find(connection, sha256)?.is_some() => {
                forget(connection, *file)?;
            }
            Piece::End { file, sha256, size_bytes } => {
                let sql = "UPDATE files SET sha256 = ?2, size_bytes = ?3 WHERE id = ?1";
                prepared(connection, sql)?.execute(params![file, sha256, size_bytes])?;
            }
        }
    }
    Ok(())
}

/// The contents that are still to be read.
struct Reading {
    waiting: std::vec::IntoIter<Upload>,
    open: Option<OpenFile>,
}

struct OpenFile {
    id: i64,
    sha256: String,
    /// The file's path, or which content it is, for errors.
    place: PathBuf,
    source: Box<dyn Read + Send>,
    hash: Sha256,
    position: i64,
    size_bytes: i64,
}

impl Reading {
    fn of(uploads: Vec<Upload>) -> Self {
        Self { waiting: uploads.into_iter(), open: None }
    }

    /// Returns the next pieces; none when all are read.
    fn next_batch(mut self) -> Result<(Self, Vec<Piece>), Failure> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES {
            let Some(piece) = self.next_piece()? else { break };
            if let Piece::Chunk { content, .. } = &piece {
                bytes += content.len();
            }
            batch.push(piece);
        }
        Ok((self, batch))
    }

    fn next_piece(&mut self) -> Result<Option<Piece>, Failure> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => match self.waiting.next() {
                Some(upload) => OpenFile::of(upload)?,
                None => return Ok(None),
            },
        };
        match open.next_chunk()? {
            Some(chunk) => {
                self.open = Some(open);
                Ok(Some(chunk))
            }
            None => open.end().map(Some),
        }
    }
}

impl OpenFile {
    fn of(upload: Upload) -> Result<Self, Failure> {
        let Upload { id, file: NewFile { sha256, source } } = upload;
        let (place, source): (PathBuf, Box<dyn Read + Send>) = match source {
            FileSource::Bytes(bytes) => (PathBuf::from(&sha256), Box::new(Cursor::new(bytes))),
            FileSource::Path(path) => {
                let file = File::open(&path).map_err(|source| at(&path, source))?;
                (path, Box::new(file))
            }
        };
        Ok(Self { id, sha256, place, source, hash: Sha256::new(), position: 0, size_bytes: 0 })
    }

    fn next_chunk(&mut self) -> Result<Option<Piece>, Failure> {
        let mut content = Vec::new();
        let limit = CHUNK_BYTES as u64;
        (&mut self.source).take(limit).read_to_end(&mut content).map_err(|source| at(&self.place, source))?;
        if content.is_empty() {
            return Ok(None);
        }
        self.hash.update(&content);
        self.size_bytes += content.len() as i64;
        let position = self.position;
        self.position += 1;
        Ok(Some(Piece::Chunk { file: self.id, position, content }))
    }

    /// Returns the piece that makes the file readable, or a failure when it is not what it is said to be.
    fn end(self) -> Result<Piece, Failure> {
        let found = hexadecimal(&self.hash.finalize());
        if found != self.sha256 {
            let why = format!("it has the SHA-256 {found}, not {} as announced", self.sha256);
            return Err(Failure::unreadable(format!("the file {}", self.place.display()), &why));
        }
        Ok(Piece::End { file: self.id, sha256: self.sha256, size_bytes: self.size_bytes })
    }
}

fn get(connection: &Connection, sha256: &str, path: &Path) -> Result<(), Failure> {
    let Some(id) = find(connection, sha256)? else {
        return Err(StoreError::NoSuchFile { sha256: sha256.to_owned() }.into());
    };
    let mut file = File::create(path).map_err(|source| at(path, source))?;
    let mut hash = Sha256::new();
    let mut statement =
        prepared(connection, "SELECT content FROM file_chunks WHERE file = ?1 ORDER BY position")?;
    let mut rows = statement.query([id])?;
    while let Some(row) = rows.next()? {
        let content = row.get_ref(0)?.as_blob().map_err(|error| Failure::unreadable("a chunk", &error))?;
        hash.update(content);
        file.write_all(content).map_err(|source| at(path, source))?;
    }
    let found = hexadecimal(&hash.finalize());
    if found != sha256 {
        let why = format!("its content has the SHA-256 {found}");
        return Err(Failure::unreadable(format!("the file {sha256}"), &why));
    }
    Ok(())
}

fn at(path: &Path, source: io::Error) -> Failure {
    StoreError::File { path: path.to_owned(), source }.into()
}

/// Returns the bytes as lower-case hexadecimal.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
