//! From a batch of operations to one script and the data it reads, without any input or output but for the sizes of
//! files of this machine.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::archive;
use crate::model::quote::quote;
use crate::transport::{
    Answer, Command, Content, Fetch, KILL_GRACE, Occupied, Operation, OperationError, Part, Put,
    STDERR_LIMIT_BYTES, STDOUT_LIMIT_BYTES, paths,
};

/// How much longer than the command itself the programs that collect its output may live.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is sent to a lane for one batch.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) script: String,
    /// In the order in which the script reads them.
    pub(super) data: Vec<Data>,
    /// The answers known without asking: of operations that are refused here.
    pub(super) answers: Vec<Option<Answer>>,
    /// What each operation is, for reading its answer.
    pub(super) operations: Vec<Operation>,
    /// The files of all fetches; their numbers in the script are indexes into this.
    pub(super) files: Vec<WantedFile>,
}

/// A file of a fetch: which operation, and which file of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WantedFile {
    pub(super) operation: usize,
    pub(super) file: usize,
    /// Under which path it arrives in the archive.
    pub(super) path: String,
}

/// A piece of what the script reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Data {
    Bytes(Vec<u8>),
    /// A file of this machine, filled up to a block of the archive. `slot` is where its hash goes when it is sent.
    File {
        from: PathBuf,
        size_bytes: u64,
        operation: usize,
        slot: usize,
    },
    /// The hashes of all files of an archive, one line each: the hash, a blank, the number of the operation.
    Sums {
        hashes: Vec<Hash>,
        size_bytes: u64,
    },
}

/// A hash that is known, or that will be in a slot when the file was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Known { sha256: String, operation: usize },
    Later { slot: usize, operation: usize },
}

/// Builds requests for a lane whose scratch directory is known.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    scratch: &'a str,
    request: Request,
    slots: usize,
}

/// Kinds of operations that go together: a row of the same kind costs the host few processes, whatever its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Put,
    Fetch,
    Tree,
    Single,
}

impl Kind {
    fn of(operation: &Operation) -> Self {
        match operation {
            Operation::Put(_) => Self::Put,
            Operation::Fetch(_) => Self::Fetch,
            Operation::RemoveTree { .. } => Self::Tree,
            Operation::List { .. } | Operation::Remove { .. } | Operation::Run(_) => Self::Single,
        }
    }
}

/// Returns the request for a batch. `scratch` is the lane's directory on the host. Reads the sizes of files that are to be
/// sent, so it may block.
pub(super) fn build(batch: Vec<Operation>, scratch: &str) -> Request {
    let mut builder = Builder { scratch, request: Request::default(), slots: 0 };
    builder.request.answers =
        batch.iter().map(|operation| paths::check(operation).err().map(Answer::Failed)).collect();
    let mut row = Vec::new();
    let mut kind = Kind::Single;
    let mut claimed = Claims::default();
    for (index, operation) in batch.iter().enumerate() {
        if builder.request.answers.get(index).is_some_and(Option::is_some) {
            continue;
        }
        let next = Kind::of(operation);
        if next != kind || next == Kind::Single || !claimed.take(operation) {
            builder.flush(kind, &mut row);
            kind = next;
            claimed = Claims::default();
            claimed.take(operation);
        }
        row.push((index, operation));
    }
    builder.flush(kind, &mut row);
    builder.request.operations = batch;
    builder.request
}

/// The paths that a row touches: operations on the same ones happen one after the other, in rows of their own.
#[derive(Debug, Default)]
struct Claims<'a> {
    claimed: BTreeSet<&'a str>,
    above: BTreeSet<&'a str>,
    fetched: BTreeSet<String>,
}

impl<'a> Claims<'a> {
    /// Returns whether none of the operation's paths is claimed, is above or is below a claimed one; then claims them.
    fn take(&mut self, operation: &'a Operation) -> bool {
        let (first, second) = match operation {
            Operation::Put(Put { directory, occupied: Occupied::MoveAside { to, .. }, .. }) => {
                (directory, Some(to))
            }
            Operation::Put(Put { directory, .. }) | Operation::RemoveTree { directory, .. } => {
                (directory, None)
            }
            Operation::Fetch(fetch) => return self.take_files(fetch),
            Operation::List { .. } | Operation::Remove { .. } | Operation::Run(_) => return true,
        };
        let paths = || std::iter::once(first.as_str()).chain(second.map(String::as_str));
        let is_free = |path: &str| {
            !self.claimed.contains(path)
                && !self.above.contains(path)
                && !paths::ancestors(path).any(|above| self.claimed.contains(above))
        };
        if !paths().all(is_free) {
            return false;
        }
        for path in paths() {
            self.claimed.insert(path);
            self.above.extend(paths::ancestors(path));
        }
        true
    }

    /// The archive names files by their path: the same file twice needs two archives.
    fn take_files(&mut self, fetch: &Fetch) -> bool {
        let paths = || fetch.files.iter().map(|file| format!("{}/{}", fetch.directory, file.path));
        if paths().any(|path| self.fetched.contains(&path)) {
            return false;
        }
        self.fetched.extend(paths());
        true
    }
}

impl Builder<'_> {
    fn line(&mut self, words: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(self.request.script, "{words}");
    }

    fn flush(&mut self, kind: Kind, row: &mut Vec<(usize, &Operation)>) {
        let row = std::mem::take(row);
        if row.is_empty() {
            return;
        }
        match kind {
            Kind::Put => self.puts(&row),
            Kind::Fetch => self.fetches(&row),
            Kind::Tree => self.trees(&row),
            Kind::Single => row.iter().for_each(|(index, operation)| self.single(*index, operation)),
        }
    }

    fn single(&mut self, index: usize, operation: &Operation) {
        match operation {
            Operation::List { directory } => self.line(format_args!("list {index} {}", quote(directory))),
            Operation::Remove { files } => {
                self.line(format_args!("remove_begin"));
                for file in files {
                    self.line(format_args!("file {}", quote(file)));
                }
                self.line(format_args!("remove_end {index}"));
            }
            Operation::Run(command) => self.run(index, command),
            Operation::Put(_) | Operation::Fetch(_) | Operation::RemoveTree { .. } => {}
        }
    }

    fn run(&mut self, index: usize, command: &Command) {
        let seconds = command.limit.as_secs_f64().max(0.001);
        let patience = (command.limit + KILL_GRACE + PATIENCE).as_secs_f64();
        let (grace, input_bytes) = (KILL_GRACE.as_secs(), command.input.len());
        let script = quote(&command.script);
        self.line(format_args!(
            "run {index} {seconds:.3} {grace} {patience:.3} {STDOUT_LIMIT_BYTES} {STDERR_LIMIT_BYTES} {input_bytes} {script}"
        ));
        if input_bytes > 0 {
            self.request.data.push(Data::Bytes(command.input.clone()));
        }
    }

    fn trees(&mut self, row: &[(usize, &Operation)]) {
        self.line(format_args!("trees_begin"));
        let mut ends = String::new();
        for (index, operation) in row {
            let Operation::RemoveTree { directory, marker } = operation else { continue };
            let trash = quote(&paths::trash(directory));
            self.line(format_args!("tree {index} {} {trash} {}", quote(directory), quote(marker)));
            // Writing to a String cannot fail.
            let _infallible = writeln!(ends, "gone {index} {trash}");
        }
        self.line(format_args!("sweep\n{ends}"));
    }

    fn fetches(&mut self, row: &[(usize, &Operation)]) {
        self.line(format_args!("fetch_begin"));
        for (operation, fetch) in row {
            let Operation::Fetch(fetch) = fetch else { continue };
            self.line(format_args!("from {}", quote(&fetch.directory)));
            for (file, wanted) in fetch.files.iter().enumerate() {
                let number = self.request.files.len();
                let path = match wanted.part {
                    Part::Whole => {
                        let limit = i64::try_from(wanted.limit_bytes).unwrap_or(i64::MAX);
                        self.line(format_args!("whole {number} {} {limit}", quote(&wanted.path)));
                        format!("{}/{}", fetch.directory, wanted.path)
                    }
                    Part::Tail(most) => {
                        let most = i64::try_from(most).unwrap_or(i64::MAX);
                        self.line(format_args!("part {number} {} {most}", quote(&wanted.path)));
                        format!("{}/part.{number}", self.scratch)
                    }
                };
                self.request.files.push(WantedFile { operation: *operation, file, path });
            }
        }
        self.line(format_args!("fetch_end"));
    }

    fn puts(&mut self, row: &[(usize, &Operation)]) {
        let mut archive = Archive::default();
        let mut commits = String::new();
        self.line(format_args!("put_begin"));
        for (index, operation) in row {
            let Operation::Put(put) = operation else { continue };
            let staging = paths::staging(&put.directory);
            let sizes = match sizes(put) {
                Ok(sizes) => sizes,
                Err(refused) => {
                    if let Some(answer) = self.request.answers.get_mut(*index) {
                        *answer = Some(Answer::Failed(refused));
                    }
                    continue;
                }
            };
            self.line(format_args!("stage {index} {}", quote(&staging)));
            for (file, size_bytes) in put.files.iter().zip(sizes) {
                let path = format!("{staging}/{}", file.path);
                archive.push(*index, &path, file.mode, &file.content, size_bytes, &mut self.slots);
            }
            // Writing to a String cannot fail.
            let _infallible = writeln!(commits, "commit {index} {}", commit_words(put, &staging));
        }
        let (data, size_bytes, files) = archive.finish(self.scratch);
        self.request.data.extend(data);
        self.line(format_args!("unpack {size_bytes} {files}\n{commits}sweep"));
    }
}

fn commit_words(put: &Put, staging: &str) -> String {
    let trash = paths::trash(&put.directory);
    let mut words = vec![quote(staging), quote(&put.directory), quote(&trash)];
    match &put.occupied {
        Occupied::Replace { marker } => words.push(quote(marker)),
        Occupied::MoveAside { if_exists, to, marker } => {
            words.extend([quote(marker), quote(if_exists), quote(to), quote(&paths::trash(to))]);
        }
    }
    words.join(" ")
}

/// Returns the sizes of all files of a put, or why one cannot be read.
fn sizes(put: &Put) -> Result<Vec<u64>, OperationError> {
    let size = |content: &Content| match content {
        Content::Bytes(bytes) => Ok(bytes.len() as u64),
        Content::Path(path) => {
            let metadata = std::fs::File::open(path).and_then(|file| file.metadata());
            let refused = |why: &dyn std::fmt::Display| {
                OperationError::refused(format!("cannot read {}: {why}", path.display()))
            };
            match metadata {
                Ok(metadata) if metadata.is_file() => Ok(metadata.len()),
                Ok(_) => Err(refused(&"it is no regular file")),
                Err(error) => Err(refused(&error)),
            }
        }
    };
    put.files.iter().map(|file| size(&file.content)).collect()
}

/// The archive of a row of puts while it is put together.
#[derive(Debug, Default)]
struct Archive {
    data: Vec<Data>,
    /// What stands between two files of this machine.
    bytes: Vec<u8>,
    size_bytes: u64,
    names: Vec<u8>,
    hashes: Vec<Hash>,
}

impl Archive {
    fn push(
        &mut self,
        operation: usize,
        path: &str,
        mode: u32,
        content: &Content,
        size_bytes: u64,
        slots: &mut usize,
    ) {
        self.bytes.extend(archive::header(path, size_bytes, mode));
        self.names.extend_from_slice(path.as_bytes());
        self.names.push(0);
        match content {
            Content::Bytes(bytes) => {
                self.content(bytes);
                let sha256 = paths::hex(Sha256::digest(bytes));
                self.hashes.push(Hash::Known { sha256, operation });
            }
            Content::Path(from) => {
                self.close_bytes();
                self.size_bytes += size_bytes + archive::padding(size_bytes) as u64;
                let slot = *slots;
                *slots += 1;
                self.data.push(Data::File { from: from.clone(), size_bytes, operation, slot });
                self.hashes.push(Hash::Later { slot, operation });
            }
        }
    }

    fn content(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(self.bytes.len() + archive::padding(bytes.len() as u64), 0);
    }

    fn close_bytes(&mut self) {
        if !self.bytes.is_empty() {
            self.size_bytes += self.bytes.len() as u64;
            self.data.push(Data::Bytes(std::mem::take(&mut self.bytes)));
        }
    }

    /// Returns the data, their length, and how many files are in them.
    fn finish(mut self, scratch: &str) -> (Vec<Data>, u64, usize) {
        let names = std::mem::take(&mut self.names);
        self.bytes.extend(archive::header(&format!("{scratch}/names"), names.len() as u64, 0o600));
        self.content(&names);
        let files = self.hashes.len();
        let size_bytes = self.hashes.iter().map(|hash| hash.line(&[]).len() as u64).sum();
        self.bytes.extend(archive::header(&format!("{scratch}/sums"), size_bytes, 0o600));
        self.close_bytes();
        self.data.push(Data::Sums { hashes: std::mem::take(&mut self.hashes), size_bytes });
        self.size_bytes += size_bytes + archive::padding(size_bytes) as u64;
        self.bytes.extend(archive::END);
        self.close_bytes();
        (self.data, self.size_bytes, files)
    }
}

/// What stands for the hash of a file that could not be read to its end: no content has it, so the host refuses it.
const NO_HASH: &str = "----------------------------------------------------------------";

impl Hash {
    /// Returns the line for the host; its length does not depend on the slots.
    pub(super) fn line(&self, slots: &[Option<String>]) -> String {
        let (sha256, operation) = match self {
            Self::Known { sha256, operation } => (sha256.as_str(), operation),
            Self::Later { slot, operation } => {
                (slots.get(*slot).and_then(Option::as_deref).unwrap_or(NO_HASH), operation)
            }
        };
        format!("{sha256} {operation}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Destination, FetchFile, PutFile};

    fn put(directory: &str, name: &str, content: &[u8]) -> Operation {
        let files =
            vec![PutFile { path: name.into(), content: Content::Bytes(content.to_vec()), mode: 0o600 }];
        let occupied = Occupied::Replace { marker: "m".into() };
        Operation::Put(Put { directory: directory.into(), files, occupied })
    }

    fn tree(directory: &str) -> Operation {
        Operation::RemoveTree { directory: directory.into(), marker: "m".into() }
    }

    #[test]
    fn a_batch_becomes_one_script() {
        let fetch = Operation::Fetch(Fetch {
            directory: "/w/a".into(),
            files: vec![
                FetchFile { path: "it's".into(), limit_bytes: u64::MAX, part: Part::Whole },
                FetchFile { path: "out".into(), limit_bytes: 0, part: Part::Tail(9) },
            ],
            into: Destination::Memory,
        });
        let limit = Duration::from_millis(1500);
        let run = Operation::Run(Command { script: "echo 'x'\nexit 3".into(), input: b"in".to_vec(), limit });
        let remove = Operation::Remove { files: vec!["/w/x y".into()] };
        let batch = vec![put("/w/a", "f", b"1"), put("/w/../b", "f", b""), fetch, run, remove, tree("/w/a")];
        let request = build(batch, "/tmp/s");
        insta::assert_snapshot!(request.script, @r"
        put_begin
        stage 0 /w/.jobferry-put-ca978112ca1bbdca
        unpack 4096 1
        commit 0 /w/.jobferry-put-ca978112ca1bbdca /w/a /w/.jobferry-old-ca978112ca1bbdca m
        sweep
        fetch_begin
        from /w/a
        whole 0 'it'\''s' 9223372036854775807
        part 1 out 9
        fetch_end
        run 3 1.500 2 8.500 268435456 65536 2 'echo '\''x'\''
        exit 3'
        remove_begin
        file '/w/x y'
        remove_end 4
        trees_begin
        tree 5 /w/a /w/.jobferry-old-ca978112ca1bbdca m
        sweep
        gone 5 /w/.jobferry-old-ca978112ca1bbdca
        ");
        assert!(matches!(
            request.answers.as_slice(),
            [None, Some(Answer::Failed(_)), None, None, None, None]
        ));
        let sent: usize = request
            .data
            .iter()
            .map(|data| match data {
                Data::Bytes(bytes) => bytes.len(),
                Data::Sums { size_bytes, .. } => *size_bytes as usize + archive::padding(*size_bytes),
                Data::File { .. } => 0,
            })
            .sum();
        assert_eq!(sent, 4096 + 2, "the script says how much it reads");
    }

    fn rows(batch: Vec<Operation>) -> usize {
        let script = build(batch, "/tmp/s").script;
        script.matches("put_begin").count() + script.matches("trees_begin").count()
    }

    #[test]
    fn operations_on_the_same_paths_are_not_done_together() {
        assert_eq!(rows(vec![put("/w/a", "f", b""), put("/w/b", "f", b""), put("/w/c/a", "f", b"")]), 1);
        assert_eq!(rows(vec![put("/w/a", "f", b""), put("/w/a", "f", b"")]), 2);
        assert_eq!(rows(vec![put("/w/a", "f", b""), put("/w/a/b", "f", b"")]), 2);
        assert_eq!(rows(vec![put("/w/a/b", "f", b""), put("/w/a", "f", b"")]), 2);
        assert_eq!(rows(vec![tree("/w/a"), tree("/w/a/b")]), 2);
        assert_eq!(rows(vec![put("/w/a", "f", b""), tree("/w/b"), put("/w/c", "f", b"")]), 3);
    }
}
