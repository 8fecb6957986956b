//! How files and commands reach a worker's host: many per round trip, each with a limit.
//!
//! A caller hands over a batch of [`Operation`]s; a transport performs them in order, in one round trip (one remote
//! command over SSH, whatever the number of operations), and answers each. A round trip that fails as a whole is a
//! [`TransportError`]: then nothing is known about any of its operations, and every caller must be able to repeat
//! them. Back ends: [`local`] and [`ssh`].

mod failure;
mod landing;
pub mod local;
mod paths;
pub mod ssh;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

/// A way to one host.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Performs the operations in their order and returns one answer for each.
    ///
    /// An operation that fails does not stop those after it. On `Err` any number of them may have been performed,
    /// the last one in part. `limit` bounds the whole round trip; what is still running on the host when it is over
    /// is killed, as far as the host can be reached.
    async fn perform(&self, batch: Vec<Operation>, limit: Duration) -> Result<Vec<Answer>, TransportError>;

    /// Ends the connection. The next [`Transport::perform`] opens a new one.
    async fn close(&self);

    /// Returns how many round trips were made so far.
    fn round_trips(&self) -> u64;

    /// Returns the host as people know it, for messages.
    fn host(&self) -> &str;
}

/// One thing to do on the host. Paths are absolute on the host.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    Put(Put),
    Fetch(Fetch),
    /// Names in a directory, without order; a directory that does not exist has none.
    List {
        directory: String,
    },
    /// Removes files; those that do not exist are no failure.
    Remove {
        files: Vec<String>,
    },
    /// Removes a directory and all below it, if it contains `marker`; one that does not exist is no failure.
    RemoveTree {
        directory: String,
        marker: String,
    },
    Run(Command),
}

/// A directory to be made whole: after success it holds exactly these files, before it nothing of them is seen.
///
/// The files are written below a temporary name beside `directory` (`.jobferry-put-` and 16 digits of the SHA-256 of its
/// name), their SHA-256 compared on the host (not on this
/// machine, where nothing lies between), then renamed. Missing parents are made. Directories get mode 0700. After a
/// failure or a kill at any point the same put can be made again: it replaces what the first has left.
#[derive(Debug, Clone, PartialEq)]
pub struct Put {
    pub directory: String,
    pub files: Vec<PutFile>,
    pub occupied: Occupied,
}

/// A file of a [`Put`]. Its path is relative, stays below the directory, and may name sub-directories.
#[derive(Debug, Clone, PartialEq)]
pub struct PutFile {
    pub path: String,
    pub content: Content,
    pub mode: u32,
}

/// Where the content of a file comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    Bytes(Vec<u8>),
    /// A file on this machine.
    Path(PathBuf),
}

/// What happens to a directory that is already there.
#[derive(Debug, Clone, PartialEq)]
pub enum Occupied {
    /// It is removed, if it contains `marker` or nothing; else the put fails.
    Replace { marker: String },
    /// Where the file `if_exists` is in it, it is renamed to `to` (absolute, beside it; removed first if it exists);
    /// else like [`Occupied::Replace`].
    MoveAside { if_exists: String, to: String, marker: String },
}

/// Files to be brought here, each compared by size and SHA-256 with what the host says.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetch {
    pub directory: String,
    pub files: Vec<FetchFile>,
    pub into: Destination,
}

/// A file of a [`Fetch`]: a path below the directory. Symbolic links that lead out of the directory, and things that
/// are no regular files, count as missing.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchFile {
    pub path: String,
    /// A larger file is not transferred but answered with [`Fetched::TooLarge`].
    pub limit_bytes: u64,
    pub part: Part,
}

/// How much of a file is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Whole,
    /// At most this many bytes of the end; never too large.
    Tail(u64),
}

/// Where fetched files go.
#[derive(Debug, Clone, PartialEq)]
pub enum Destination {
    Memory,
    /// Below this directory of this machine, under their relative paths, each replaced by rename.
    Folder(PathBuf),
}

/// A POSIX shell script (`sh`) run on the host with `input` as its standard input, in the home directory.
///
/// It ends when its shell has ended and no process holds its standard output or error any more: what it leaves in the
/// background must let go of both.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    pub script: String,
    pub input: Vec<u8>,
    /// When this is over its process group gets SIGTERM, and after [`KILL_GRACE`] SIGKILL.
    pub limit: Duration,
}

/// What one operation came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// [`Operation::Put`], [`Operation::Remove`] or [`Operation::RemoveTree`] is done.
    Done,
    Names(Vec<String>),
    Fetched(Vec<Fetched>),
    Ran(CommandAnswer),
    /// The host refused this operation alone.
    Failed(OperationError),
}

/// What became of one file of a [`Fetch`].
#[derive(Debug, Clone, PartialEq)]
pub enum Fetched {
    /// `content` is empty when it went into a folder.
    File {
        path: String,
        /// Of what was brought: for [`Part::Tail`] of that part.
        size_bytes: u64,
        sha256: String,
        content: Vec<u8>,
    },
    Missing {
        path: String,
    },
    TooLarge {
        path: String,
        size_bytes: u64,
    },
}

/// How a script ended, and what it printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandAnswer {
    /// 128 + n after signal n; [`TIMED_OUT`] when its limit was over.
    pub exit_code: i32,
    pub stdout: Vec<u8>,
    /// At most [`STDERR_LIMIT_BYTES`], the end of it.
    pub stderr: String,
}

/// Exit code of a command that was killed because its limit was over (as `timeout` of coreutils has it).
pub const TIMED_OUT: i32 = 124;

/// How much a command may print: more is a failure of the operation.
pub const STDOUT_LIMIT_BYTES: usize = 256 * 1024 * 1024;

/// How long a command whose limit is over has between SIGTERM and SIGKILL.
pub const KILL_GRACE: Duration = Duration::from_secs(2);

/// How much of a command's standard error is kept: enough for a scheduler's longest refusal, small enough for a log.
pub const STDERR_LIMIT_BYTES: usize = 64 * 1024;

/// Why the host refused one operation, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OperationError {
    pub kind: OperationErrorKind,
    pub message: String,
}

/// What a caller may do about an [`OperationError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationErrorKind {
    /// No space, no quota, a read-only or missing file system: the host's trouble, not the job's.
    Storage,
    /// No right to write or read there.
    Permission,
    /// What arrived is not what was sent; to be repeated.
    Corrupted,
    /// A path outside its root, an unmarked directory, a file of this machine that cannot be read.
    Refused,
    Other,
}

/// Why a round trip failed as a whole. Always the host's or the network's trouble, never a job's.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection could be opened. `hint` is what the user can do, where that is known.
    #[error("cannot connect to {host}: {message}")]
    Connect { host: String, message: String, hint: Option<String> },
    /// The connection broke; what was under way may or may not have happened.
    #[error("the connection to {host} was lost: {message}")]
    Lost { host: String, message: String },
    #[error("{host} did not answer within {} s", limit.as_secs_f32())]
    TimedOut { host: String, limit: Duration },
    /// The answer was cut or is not of the form agreed on.
    #[error("the answer of {host} cannot be read: {message}")]
    Garbled { host: String, message: String },
}
