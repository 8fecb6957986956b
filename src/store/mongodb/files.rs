//! Contents of files, in GridFS form (bucket `jobferry_files`), so that any GridFS tool can read them.
//!
//! The name of a file is its SHA-256, and so is its `_id`: chunks are written in place of equal chunks, any number of
//! times, and the document in `.files` comes last. A killed upload leaves chunks that nobody looks at and that the next
//! upload of the same content uses again; the driver's own bucket would refuse it, as its chunks are there already.

use std::path::Path;

use ::mongodb::bson::spec::BinarySubtype;
use ::mongodb::bson::{Binary, Document, doc};
use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use super::super::{FileSource, NewFile, StoreError};
use super::Server;
use super::access::{Access, Command, Fault, only};

pub(super) const FILES: &str = "jobferry_files.files";
pub(super) const CHUNKS: &str = "jobferry_files.chunks";

/// The chunk size of the GridFS specification.
const CHUNK_BYTES: usize = 255 * 1024;

/// Chunks that are held in memory and sent together: 4 MB.
const CHUNKS_AT_ONCE: usize = 16;

/// Stores each file that is not there yet.
pub(super) async fn put(server: &Server, files: Vec<NewFile>) -> Result<(), Fault> {
    let names: Vec<&str> = files.iter().map(|file| file.sha256.as_str()).collect();
    let filter = doc! { "_id": { "$in": names } };
    let there = Access::plain(server).find(FILES, filter, doc! { "_id": 1 }).await?;
    let is_there =
        |file: &NewFile| there.iter().any(|there| there.get_str("_id").is_ok_and(|id| id == file.sha256));
    for file in files.iter().filter(|file| !is_there(file)) {
        match &file.source {
            FileSource::Bytes(bytes) => put_bytes(server, &file.sha256, bytes).await?,
            FileSource::Path(path) => put_path(server, &file.sha256, path).await?,
        }
    }
    Ok(())
}

async fn put_bytes(server: &Server, sha256: &str, bytes: &[u8]) -> Result<(), Fault> {
    if hexadecimal(&Sha256::digest(bytes)) != sha256 {
        return Err(wrong_content(Path::new("(bytes in memory)"), sha256).into());
    }
    let upload = upload(server, sha256, bytes);
    let (length, _) = upload.await.map_err(|fault| fault.at(Path::new("(bytes in memory)")))?;
    make_visible(server, sha256, length).await
}

/// Reads the file twice: chunks may take the place of stored ones only when the content is the one that was named.
async fn put_path(server: &Server, sha256: &str, path: &Path) -> Result<(), Fault> {
    let at = |source| Fault::Store(StoreError::File { path: path.to_owned(), source });
    let mut first = tokio::fs::File::open(path).await.map_err(at)?;
    if hash(&mut first).await.map_err(at)? != sha256 {
        return Err(wrong_content(path, sha256).into());
    }
    let second = tokio::fs::File::open(path).await.map_err(at)?;
    let (length, sent) = upload(server, sha256, second).await.map_err(|fault| fault.at(path))?;
    if sent != sha256 {
        return Err(wrong_content(path, sha256).into());
    }
    make_visible(server, sha256, length).await
}

fn wrong_content(path: &Path, sha256: &str) -> StoreError {
    let text = format!("its content has not the SHA-256 {sha256}");
    StoreError::File {
        path: path.to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, text),
    }
}

async fn hash(source: &mut (impl AsyncRead + Unpin)) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    loop {
        let chunk = read_chunk(source).await?;
        if chunk.is_empty() {
            return Ok(hexadecimal(&hash.finalize()));
        }
        hash.update(&chunk);
    }
}

/// Returns the next bytes, a whole chunk unless the source ends.
async fn read_chunk(source: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    let limit = u64::try_from(CHUNK_BYTES).unwrap_or(u64::MAX);
    source.take(limit).read_to_end(&mut chunk).await?;
    Ok(chunk)
}

/// What stopped an upload.
enum UploadFault {
    Source(std::io::Error),
    Store(Fault),
}

impl UploadFault {
    fn at(self, path: &Path) -> Fault {
        match self {
            Self::Source(source) => StoreError::File { path: path.to_owned(), source }.into(),
            Self::Store(fault) => fault,
        }
    }
}

/// Writes the chunks and returns the length and the hash of what was written.
async fn upload(
    server: &Server,
    sha256: &str,
    mut source: impl AsyncRead + Unpin,
) -> Result<(u64, String), UploadFault> {
    let mut hash = Sha256::new();
    let (mut length, mut number) = (0_u64, 0_i32);
    loop {
        let mut statements = Vec::with_capacity(CHUNKS_AT_ONCE);
        while statements.len() < CHUNKS_AT_ONCE {
            let chunk = read_chunk(&mut source).await.map_err(UploadFault::Source)?;
            if chunk.is_empty() {
                break;
            }
            hash.update(&chunk);
            length = length.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            statements.push(chunk_statement(sha256, number, chunk));
            number = number.saturating_add(1);
        }
        if statements.is_empty() {
            return Ok((length, hexadecimal(&hash.finalize())));
        }
        let mut access = Access::plain(server);
        let reply = access.write(Command::Update, CHUNKS, &statements).await.map_err(UploadFault::Store)?;
        reply.all().map_err(UploadFault::Store)?;
    }
}

fn chunk_statement(sha256: &str, number: i32, bytes: Vec<u8>) -> Document {
    let data = Binary { subtype: BinarySubtype::Generic, bytes };
    doc! {
        "q": { "files_id": sha256, "n": number },
        "u": { "$set": { "data": data } },
        "upsert": true,
    }
}

async fn make_visible(server: &Server, sha256: &str, length: u64) -> Result<(), Fault> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let chunk_size = i32::try_from(CHUNK_BYTES).unwrap_or(i32::MAX);
    let file = doc! { "length": length, "chunkSize": chunk_size, "filename": sha256 };
    // The date is the server's: GridFS wants one, and no clock comes in here.
    let statement = doc! {
        "q": { "_id": sha256 },
        "u": { "$set": file, "$currentDate": { "uploadDate": true } },
        "upsert": true,
    };
    Access::plain(server).write(Command::Update, FILES, &[statement]).await?.all()?;
    Ok(())
}

/// Writes the content to `path` and checks it.
pub(super) async fn get(server: &Server, sha256: &str, path: &Path) -> Result<(), Fault> {
    let there = Access::plain(server).find(FILES, doc! { "_id": sha256 }, only(&["length"])).await?;
    if there.is_empty() {
        return Err(StoreError::NoSuchFile { sha256: sha256.to_owned() }.into());
    }
    let at = |source| Fault::Store(StoreError::File { path: path.to_owned(), source });
    let mut target = tokio::fs::File::create(path).await.map_err(at)?;
    let chunks = server.database.collection::<Document>(CHUNKS);
    let find = chunks.find(doc! { "files_id": sha256 }).sort(doc! { "n": 1 });
    let mut cursor = find.batch_size(u32::try_from(CHUNKS_AT_ONCE).unwrap_or(1)).await?;
    let mut hash = Sha256::new();
    while let Some(chunk) = cursor.try_next().await? {
        let bytes = chunk.get_binary_generic("data").map(Vec::as_slice).unwrap_or_default();
        hash.update(bytes);
        target.write_all(bytes).await.map_err(at)?;
    }
    target.flush().await.map_err(at)?;
    if hexadecimal(&hash.finalize()) == sha256 { Ok(()) } else { Err(damaged(server, sha256).into()) }
}

fn damaged(server: &Server, sha256: &str) -> StoreError {
    StoreError::Unreadable {
        place: server.place.clone(),
        what: format!("the file {sha256}"),
        why: "its content has another SHA-256".to_owned(),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
