//! Operations on files, by system calls.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest as _, Sha256};

use crate::transport::failure::{is_missing, kind_of_error};
use crate::transport::landing::Landing;
use crate::transport::{
    Answer, Content, Destination, Fetch, FetchFile, Fetched, Occupied, Operation, OperationError,
    OperationErrorKind, Part, Put, PutFile, paths,
};

/// How much of a file is held at once.
const CHUNK_BYTES: usize = 256 * 1024;

type Done = Result<(), OperationError>;

/// Performs one operation on files. `abandoned` ends long copies.
pub(super) fn perform(operation: &Operation, abandoned: &AtomicBool) -> Result<Answer, OperationError> {
    paths::check(operation)?;
    match operation {
        Operation::Put(wanted) => put(wanted, abandoned).map(|()| Answer::Done),
        Operation::Fetch(wanted) => fetch(wanted, abandoned).map(Answer::Fetched),
        Operation::List { directory } => list(Path::new(directory)).map(Answer::Names),
        Operation::Remove { files } => remove(files).map(|()| Answer::Done),
        Operation::RemoveTree { directory, marker } => remove_tree(directory, marker).map(|()| Answer::Done),
        Operation::Run(_) => Err(OperationError::refused("a script is no operation on files")),
    }
}

fn put(put: &Put, abandoned: &AtomicBool) -> Done {
    let staging = PathBuf::from(paths::staging(&put.directory));
    clear(&staging)?;
    make_directories(&staging)?;
    let written = fill(&staging, &put.files, abandoned)
        .and_then(|()| vacate(&put.directory, &put.occupied))
        .and_then(|()| rename(&staging, Path::new(&put.directory)));
    if written.is_err() {
        // The first error is the one to tell; what is left is replaced by the next attempt.
        let _left = fs::remove_dir_all(&staging);
    }
    written?;
    clear(Path::new(&paths::trash(&put.directory)))
}

fn fill(staging: &Path, files: &[PutFile], abandoned: &AtomicBool) -> Done {
    let mut made = None;
    for file in files {
        let path = staging.join(&file.path);
        let parent = path.parent().unwrap_or(staging);
        if parent != staging && made.as_deref() != Some(parent) {
            make_directories(parent)?;
            made = Some(parent.to_owned());
        }
        write_file(&path, file, abandoned)?;
    }
    Ok(())
}

fn write_file(path: &Path, file: &PutFile, abandoned: &AtomicBool) -> Done {
    let failed = |error: &io::Error| OperationError::of("write", path, error);
    let mode = file.mode & 0o777;
    let mut target =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(|e| failed(&e))?;
    match &file.content {
        Content::Bytes(bytes) => target.write_all(bytes).map_err(|error| failed(&error))?,
        Content::Path(from) => {
            let unreadable =
                |error: io::Error| OperationError::refused(OperationError::of("read", from, &error).message);
            let mut source = File::open(from).map_err(unreadable)?;
            copy(&mut source, abandoned, unreadable, |chunk| {
                target.write_all(chunk).map_err(|e| failed(&e))
            })?;
        }
    }
    // The mode of open(2) is cut by the umask.
    target.set_permissions(fs::Permissions::from_mode(mode)).map_err(|error| failed(&error))
}

/// Hands all of `source` to `take`, in pieces.
fn copy(
    source: &mut impl Read,
    abandoned: &AtomicBool,
    unreadable: impl Fn(io::Error) -> OperationError,
    mut take: impl FnMut(&[u8]) -> Done,
) -> Done {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(error)),
        };
        if abandoned.load(Ordering::Relaxed) {
            return Err(OperationError::refused("the time for this batch was over"));
        }
        take(buffer.get(..count).unwrap_or_default())?;
    }
}

/// Makes way for a directory, as [`Occupied`] says.
fn vacate(directory: &str, occupied: &Occupied) -> Done {
    let path = Path::new(directory);
    let marker = match occupied {
        Occupied::MoveAside { if_exists, to, .. } if exists(&path.join(if_exists))? => {
            discard(to)?;
            return rename(path, Path::new(to));
        }
        Occupied::MoveAside { marker, .. } | Occupied::Replace { marker } => marker,
    };
    let Some(metadata) = look(path)? else { return Ok(()) };
    if metadata.is_dir() && exists(&path.join(marker))? {
        return discard(directory);
    }
    match fs::remove_dir(path) {
        Ok(()) => Ok(()),
        Err(error) if is_missing(&error) && metadata.is_dir() => Ok(()),
        Err(error) if kind_of_error(&error) == OperationErrorKind::Storage => {
            Err(OperationError::of("replace", path, &error))
        }
        Err(_) => Err(OperationError::unmarked(directory, marker)),
    }
}

fn remove_tree(directory: &str, marker: &str) -> Done {
    let path = Path::new(directory);
    match look(path)? {
        None => clear(Path::new(&paths::trash(directory))),
        Some(metadata) if metadata.is_dir() && exists(&path.join(marker))? => {
            discard(directory)?;
            clear(Path::new(&paths::trash(directory)))
        }
        Some(_) => Err(OperationError::unmarked(directory, marker)),
    }
}

/// Takes a directory out of sight at once, so that a kill half-way leaves nothing half removed under its name.
fn discard(directory: &str) -> Done {
    let path = Path::new(directory);
    if look(path)?.is_none() {
        return Ok(());
    }
    let trash = paths::trash(directory);
    clear(Path::new(&trash))?;
    rename(path, Path::new(&trash))?;
    clear(Path::new(&trash))
}

fn clear(path: &Path) -> Done {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if is_missing(&error) => Ok(()),
        Err(error) => Err(OperationError::of("remove", path, &error)),
    }
}

fn rename(from: &Path, to: &Path) -> Done {
    fs::rename(from, to).map_err(|error| {
        let mut failure = OperationError::of("rename", from, &error);
        failure.message = format!("cannot rename {} to {}: {error}", from.display(), to.display());
        failure
    })
}

fn make_directories(path: &Path) -> Done {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| OperationError::of("make the directory", path, &error))
}

fn exists(path: &Path) -> Result<bool, OperationError> {
    look(path).map(|metadata| metadata.is_some())
}

/// Returns what is at a path, links not followed, and nothing only where there is nothing.
fn look(path: &Path) -> Result<Option<fs::Metadata>, OperationError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(OperationError::of("look at", path, &error)),
    }
}

fn list(directory: &Path) -> Result<Vec<String>, OperationError> {
    let failed = |error: io::Error| OperationError::of("list", directory, &error);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()).map_err(failed))
        .collect()
}

fn remove(files: &[String]) -> Done {
    let mut first = Ok(());
    for file in files {
        match fs::remove_file(file) {
            Err(error) if !is_missing(&error) && first.is_ok() => {
                first = Err(OperationError::of("remove", Path::new(file), &error));
            }
            _ => {}
        }
    }
    first
}

fn fetch(fetch: &Fetch, abandoned: &AtomicBool) -> Result<Vec<Fetched>, OperationError> {
    fetch.files.iter().map(|file| fetch_one(fetch, file, abandoned)).collect()
}

fn fetch_one(fetch: &Fetch, wanted: &FetchFile, abandoned: &AtomicBool) -> Result<Fetched, OperationError> {
    let path = Path::new(&fetch.directory).join(&wanted.path);
    let missing = || Fetched::Missing { path: wanted.path.clone() };
    let Some(path) = resolve(Path::new(&fetch.directory), &path)? else { return Ok(missing()) };
    let failed = |error: io::Error| OperationError::of("read", &path, &error);
    // Without O_NONBLOCK the open of a named pipe would wait for a writer.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut source = match OpenOptions::new().read(true).custom_flags(nonblocking).open(&path) {
        Ok(source) => source,
        Err(error) if is_missing(&error) => return Ok(missing()),
        Err(error) => return Err(failed(error)),
    };
    let metadata = source.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Ok(missing());
    }
    let mut size_bytes = metadata.len();
    match wanted.part {
        Part::Whole if size_bytes > wanted.limit_bytes => {
            return Ok(Fetched::TooLarge { path: wanted.path.clone(), size_bytes });
        }
        Part::Whole => {}
        Part::Tail(most) => {
            source.seek(SeekFrom::Start(size_bytes.saturating_sub(most))).map_err(failed)?;
            size_bytes = size_bytes.min(most);
        }
    }
    bring(&mut source.take(size_bytes), size_bytes, fetch, wanted, abandoned)
}

/// Follows links and returns where they end, if that is below the directory.
fn resolve(directory: &Path, path: &Path) -> Result<Option<PathBuf>, OperationError> {
    let real = |path: &Path| match path.canonicalize() {
        Ok(real) => Ok(Some(real)),
        Err(error) if is_missing(&error) => Ok(None),
        // A link to where nothing may be seen leads out.
        Err(_) if path.is_symlink() => Ok(None),
        Err(error) => Err(OperationError::of("look at", path, &error)),
    };
    let (Some(root), Some(path)) = (real(directory)?, real(path)?) else { return Ok(None) };
    Ok(path.starts_with(root).then_some(path))
}

fn bring(
    source: &mut impl Read,
    size_bytes: u64,
    fetch: &Fetch,
    wanted: &FetchFile,
    abandoned: &AtomicBool,
) -> Result<Fetched, OperationError> {
    let unreadable = |error: io::Error| {
        OperationError::of("read", &Path::new(&fetch.directory).join(&wanted.path), &error)
    };
    let mut digest = Sha256::new();
    let mut content = Vec::new();
    let mut seen_bytes = 0;
    let mut landing = match &fetch.into {
        Destination::Memory => None,
        Destination::Folder(folder) => Some(Landing::open(folder, &wanted.path)?),
    };
    copy(source, abandoned, unreadable, |chunk| {
        digest.update(chunk);
        seen_bytes += chunk.len() as u64;
        match &mut landing {
            Some(landing) => landing.write(chunk),
            None => {
                content.extend_from_slice(chunk);
                Ok(())
            }
        }
    })?;
    if seen_bytes != size_bytes {
        return Err(OperationError {
            kind: OperationErrorKind::Corrupted,
            message: format!("{} shrank while it was read", wanted.path),
        });
    }
    if let Some(landing) = landing {
        landing.finish()?;
    }
    let sha256 = paths::hex(digest.finalize());
    Ok(Fetched::File { path: wanted.path.clone(), size_bytes, sha256, content })
}
