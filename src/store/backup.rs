//! Backups in files that jobflow-remote and MongoDB's own tools read: BSON documents one after another, one file for each
//! collection, `<database>/jobs.bson` and so on, or `.bson.gz`. Its `jf backup create --python` writes the same.
//!
//! The files hold the queue: jobs, flows, batches and the counter of short ids. Outputs and staged files are not in them.

use std::fs::{DirBuilder, File};
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use bson::{Document, RawDocumentBuf};
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use tempfile::NamedTempFile;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::StoreError;
use super::admin::{Admin, Counts, Inventory, Part, Received};

/// Documents under way between the store and the files: enough that neither waits for the other for long, and
/// seldom more than some megabytes.
const UNDER_WAY: usize = 64;

/// The largest document that MongoDB stores, and the 16 KiB more that it allows itself.
const DOCUMENT_LIMIT: usize = (16 << 20) + (16 << 10);

/// The smallest document: its length, no field, its end.
const DOCUMENT_LEAST: usize = 5;

/// Whether the files of a backup are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
}

impl Compression {
    fn ending(self) -> &'static str {
        match self {
            Self::None => "bson",
            Self::Gzip => "bson.gz",
        }
    }
}

/// Why a backup was not made or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is a backup in {0} already")]
    Exists(PathBuf),
    #[error("there is no backup in {directory}: it has no file {name}.bson or {name}.bson.gz")]
    Missing { directory: PathBuf, name: &'static str },
    #[error("there are several files of one collection in {directory}: {files}")]
    Ambiguous { directory: PathBuf, files: String },
    #[error("{path} is not a whole backup file: {why}")]
    Damaged { path: PathBuf, why: String },
    #[error("the store is not empty: {0}")]
    NotEmpty(String),
    #[error("the file {path} cannot be read or written")]
    File { path: PathBuf, source: io::Error },
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Where its files are.
    pub folder: PathBuf,
    pub counts: Counts,
}

/// Writes a backup of the store into `<directory>/<database>`, for this account only, and returns what is in it.
///
/// Refuses where one is already. On failure no file is left that looks like one; a folder may be.
pub async fn create(
    admin: &dyn Admin,
    directory: &Path,
    compression: Compression,
) -> Result<Made, BackupError> {
    let folder = directory.join(admin.database());
    prepare(&folder)?;
    let (to, from) = channel(UNDER_WAY);
    let writing = {
        let folder = folder.clone();
        tokio::task::spawn_blocking(move || write_all(&folder, compression, from))
    };
    let dumped = admin.dump(to).await;
    // A full disk here shows itself to the store as a receiver that went away: this error is the true one.
    let written = joined(writing.await)??;
    dumped?;
    let counts = written.counts;
    written.keep(&folder, compression)?;
    Ok(Made { folder, counts })
}

fn prepare(folder: &Path) -> Result<(), BackupError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|source| at(folder, source))?;
    for part in Part::ALL {
        if !files_of(folder, part)?.is_empty() {
            return Err(BackupError::Exists(folder.to_owned()));
        }
    }
    Ok(())
}

/// Four files that are whole but have not their names yet.
struct Written {
    files: Vec<(Part, NamedTempFile)>,
    counts: Counts,
}

impl Written {
    fn keep(self, folder: &Path, compression: Compression) -> Result<(), BackupError> {
        for (part, file) in self.files {
            let path = folder.join(format!("{}.{}", part.name(), compression.ending()));
            file.persist_noclobber(&path).map_err(|error| at(&path, error.error))?;
        }
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| at(folder, source))
    }
}

fn write_all(
    folder: &Path,
    compression: Compression,
    mut from: Receiver<(Part, RawDocumentBuf)>,
) -> Result<Written, BackupError> {
    let failed = |source| at(folder, source);
    let mut writers = Vec::new();
    for part in Part::ALL {
        writers.push((part, Writer::new(folder, compression).map_err(failed)?));
    }
    let mut counts = Counts::default();
    while let Some((part, document)) = from.blocking_recv() {
        counts.add(part, 1);
        for (_, writer) in writers.iter_mut().filter(|(of, _)| *of == part) {
            writer.write(document.as_bytes()).map_err(failed)?;
        }
    }
    let mut files = Vec::new();
    for (part, writer) in writers {
        files.push((part, writer.finish().map_err(failed)?));
    }
    Ok(Written { files, counts })
}

/// A file being written, which goes away with this value. Others cannot read it.
enum Writer {
    Plain(BufWriter<NamedTempFile>),
    Gzip(GzEncoder<BufWriter<NamedTempFile>>),
}

impl Writer {
    fn new(folder: &Path, compression: Compression) -> io::Result<Self> {
        let file = BufWriter::new(NamedTempFile::new_in(folder)?);
        Ok(match compression {
            Compression::None => Self::Plain(file),
            Compression::Gzip => Self::Gzip(GzEncoder::new(file, flate2::Compression::default())),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.write_all(bytes),
            Self::Gzip(file) => file.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<NamedTempFile> {
        let file = match self {
            Self::Plain(file) => file,
            Self::Gzip(file) => file.finish()?,
        };
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        Ok(file)
    }
}

/// A backup that was found, and read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The file of each part, in the order of [`Part::ALL`]; old backups have none of batches.
    files: Vec<(Part, PathBuf)>,
    pub folder: PathBuf,
    pub counts: Counts,
}

/// Returns the backup in `directory`, or in its only folder, after every document of it was read.
pub async fn find(directory: &Path) -> Result<Found, BackupError> {
    let directory = directory.to_owned();
    joined(tokio::task::spawn_blocking(move || find_now(&directory)).await)?
}

fn find_now(directory: &Path) -> Result<Found, BackupError> {
    let folder = folder_of(directory)?;
    let mut files = Vec::new();
    for part in Part::ALL {
        let mut paths = files_of(&folder, part)?;
        match (paths.pop(), part) {
            (Some(path), _) if paths.is_empty() => files.push((part, path)),
            (Some(path), _) => {
                let names = paths.iter().chain([&path]).filter_map(|path| path.file_name()?.to_str());
                let files = names.collect::<Vec<_>>().join(", ");
                return Err(BackupError::Ambiguous { directory: folder, files });
            }
            (None, Part::Batches) => {}
            (None, _) => return Err(BackupError::Missing { directory: folder, name: part.name() }),
        }
    }
    let counts = check(&files)?;
    Ok(Found { files, folder, counts })
}

/// Returns the directory itself where it has a backup, else its only folder that has one.
fn folder_of(directory: &Path) -> Result<PathBuf, BackupError> {
    if !files_of(directory, Part::Jobs)?.is_empty() {
        return Ok(directory.to_owned());
    }
    let mut folders = Vec::new();
    for entry in directory.read_dir().map_err(|source| at(directory, source))? {
        let path = entry.map_err(|source| at(directory, source))?.path();
        if path.is_dir() && !files_of(&path, Part::Jobs)?.is_empty() {
            folders.push(path);
        }
    }
    match (folders.pop(), folders.is_empty()) {
        (Some(only), true) => Ok(only),
        _ => Err(BackupError::Missing { directory: directory.to_owned(), name: Part::Jobs.name() }),
    }
}

/// Returns the files of the part in the folder; a folder that is not there has none.
fn files_of(folder: &Path, part: Part) -> Result<Vec<PathBuf>, BackupError> {
    let names =
        [Compression::None, Compression::Gzip].map(|form| format!("{}.{}", part.name(), form.ending()));
    let mut found = Vec::new();
    for name in names {
        let path = folder.join(name);
        if path.try_exists().map_err(|source| at(&path, source))? {
            found.push(path);
        }
    }
    Ok(found)
}

/// Reads every document and returns how many there are; the counter of short ids has to be among them.
fn check(files: &[(Part, PathBuf)]) -> Result<Counts, BackupError> {
    let mut counts = Counts::default();
    let mut has_counter = false;
    for (part, path) in files {
        let damaged = |why: String| BackupError::Damaged { path: path.clone(), why };
        for document in Documents::open(path)? {
            let document = Document::try_from(document?).map_err(|error| damaged(error.to_string()))?;
            if matches!(part, Part::Jobs | Part::Flows) && document.get_str("uuid").is_err() {
                return Err(damaged("a document has no uuid".to_owned()));
            }
            has_counter = has_counter || (*part == Part::Auxiliary && document.contains_key("next_id"));
            counts.add(*part, 1);
        }
    }
    match files.iter().find(|(part, _)| *part == Part::Auxiliary) {
        Some((_, path)) if !has_counter => {
            let why = "it has no document with the field next_id".to_owned();
            Err(BackupError::Damaged { path: path.clone(), why })
        }
        _ => Ok(counts),
    }
}

/// Stores the backup, which has to come from [`find`], in the store and returns how much of it the store has taken.
///
/// Refuses a store that has jobs, flows or batches, or that has given out short ids. For failures see
/// [`Admin::restore`].
pub async fn restore(admin: &dyn Admin, backup: &Found) -> Result<Counts, BackupError> {
    refuse_unless_empty(&admin.inventory().await?)?;
    let (to, from) = channel(UNDER_WAY);
    let files = backup.files.clone();
    let reading = tokio::task::spawn_blocking(move || send_all(&files, &to));
    let restored = admin.restore(from).await;
    joined(reading.await)?;
    Ok(restored?)
}

fn refuse_unless_empty(there: &Inventory) -> Result<(), BackupError> {
    let parts = [("jobs", there.jobs), ("flows", there.flows), ("batches", there.batches)];
    let found: Vec<String> =
        parts.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{n} {name}")).collect();
    if !found.is_empty() {
        return Err(BackupError::NotEmpty(found.join(", ")));
    }
    if there.next_number != 1 {
        let last = there.next_number.saturating_sub(1);
        return Err(BackupError::NotEmpty(format!("it has given out short ids up to {last}")));
    }
    Ok(())
}

/// Sends every document; where one cannot be read, that as the last.
fn send_all(files: &[(Part, PathBuf)], to: &Sender<Received>) {
    for (part, path) in files {
        let documents = match Documents::open(path) {
            Ok(documents) => documents,
            Err(error) => return drop(to.blocking_send(Err(error.into_store_error()))),
        };
        for document in documents {
            let is_last = document.is_err();
            let sent = document.map(|document| (*part, document)).map_err(BackupError::into_store_error);
            // A store that has failed listens no more; its own error is told.
            if to.blocking_send(sent).is_err() || is_last {
                return;
            }
        }
    }
}

impl BackupError {
    /// Returns the error as it goes through a store.
    fn into_store_error(self) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::File { path, source } => StoreError::File { path, source },
            Self::Damaged { path, why } => {
                StoreError::File { path, source: io::Error::new(io::ErrorKind::InvalidData, why) }
            }
            other => StoreError::File { path: PathBuf::new(), source: io::Error::other(other.to_string()) },
        }
    }
}

/// The documents of one file.
struct Documents {
    path: PathBuf,
    source: Box<dyn Read + Send>,
}

impl Documents {
    fn open(path: &Path) -> Result<Self, BackupError> {
        let file = BufReader::new(File::open(path).map_err(|source| at(path, source))?);
        let is_compressed = path.extension().is_some_and(|ending| ending == "gz");
        let source: Box<dyn Read + Send> =
            if is_compressed { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(file) };
        Ok(Self { path: path.to_owned(), source })
    }

    /// Returns the next document, or nothing where the file ends.
    fn read(&mut self) -> Result<Option<RawDocumentBuf>, BackupError> {
        let mut length = [0; 4];
        if !fill(&mut self.source, &mut length).map_err(|error| self.failed(error))? {
            return Ok(None);
        }
        let size = usize::try_from(i32::from_le_bytes(length)).unwrap_or_default();
        if !(DOCUMENT_LEAST..=DOCUMENT_LIMIT).contains(&size) {
            return Err(self.damaged(format!("a document of {size} bytes")));
        }
        let mut bytes = length.to_vec();
        bytes.resize(size, 0);
        let rest = bytes.get_mut(length.len()..).unwrap_or_default();
        self.source.read_exact(rest).map_err(|error| self.failed(error))?;
        RawDocumentBuf::from_bytes(bytes).map(Some).map_err(|error| self.damaged(error.to_string()))
    }

    fn damaged(&self, why: String) -> BackupError {
        BackupError::Damaged { path: self.path.clone(), why }
    }

    fn failed(&self, error: io::Error) -> BackupError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("it ends within a document".to_owned()),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => self.damaged(error.to_string()),
            _ => at(&self.path, error),
        }
    }
}

impl Iterator for Documents {
    type Item = Result<RawDocumentBuf, BackupError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// Fills the buffer; false where the source ended before its first byte.
fn fill(source: &mut dyn Read, buffer: &mut [u8]) -> io::Result<bool> {
    let Some((first, rest)) = buffer.split_first_mut() else { return Ok(true) };
    loop {
        match source.read(std::slice::from_mut(first)) {
            Ok(0) => return Ok(false),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    source.read_exact(rest)?;
    Ok(true)
}

fn at(path: &Path, source: io::Error) -> BackupError {
    BackupError::File { path: path.to_owned(), source }
}

/// Returns the answer of a thread; one that broke is an error like any other.
fn joined<T>(answer: Result<T, tokio::task::JoinError>) -> Result<T, BackupError> {
    answer.map_err(|error| at(Path::new("(a thread)"), io::Error::other(error)))
}

#[cfg(test)]
#[path = "backup/tests.rs"]
mod tests;
