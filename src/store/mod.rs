//! Where jobs, flows, outputs and files are kept: traits that speak in jobs and flows, never in filters.
//!
//! | trait | keeps |
//! |---|---|
//! | [`Queue`] | job and flow documents, the lease of the acting runner |
//! | [`Outputs`] | the output document of each executed job (jobflow's `JobStore`) |
//! | [`Blobs`] | large parts of outputs (jobflow's additional stores) |
//! | [`Files`] | contents of staged and kept files, by their SHA-256 |
//! | [`actions::UserActions`] | nothing of its own: what users do to jobs and flows |
//! | [`actions::Cancellations`] | orders to end processes |
//!
//! Back ends: [`sqlite`] (one file, the default) and [`mongodb`] (the documents of jobflow-remote 1.0). Both give the
//! same promises, written at each method and held by one contract suite (`tests/suite/store_contract.rs`). Blobs have
//! more of them ([`s3`], [`json_file`], GridFS in [`mongodb`]) and a suite of their own (`tests/suite/blobs_contract.rs`).
//!
//! Every method takes many. Every stored move is a compare-and-set on the expected state, the expected attempt and a
//! free lock, and appends to the job's history in the same write. "Somebody was first" is [`Applied::Lost`], not an
//! error. After an `Err` nothing is known about the write: every caller must be able to repeat it.

pub mod actions;
pub mod admin;
pub mod backup;
pub mod blobs;
pub mod codec;
pub mod json_file;
pub mod mongodb;
pub mod s3;
pub mod sqlite;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bson::{Bson, Document};

use crate::model::Timestamp;
use crate::model::ids::JobKey;
use crate::model::job::{FlowId, FlowRecord, Growth, JobRecord, NewFlow, Outcome};
use crate::model::query::{Detail, FlowFilter, JobFilter, Page};
use crate::model::state::{Event, State};

/// Jobs, flows and the lease.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Brings the schema up to this program's version, under a lock, and returns the versions it ran.
    ///
    /// Running it again does nothing. A newer schema is refused with [`StoreError::NewerSchema`] and nothing is
    /// written.
    async fn migrate(&self) -> Result<Vec<u32>, StoreError>;

    /// Returns when the store answers; a store that does not is an error within the connection's time limit.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Inserts the flow and its jobs and returns their new short ids, in the order of `flow.jobs`.
    ///
    /// All or nothing where the store has transactions. Without them the jobs come before the flow can be seen
    /// complete, and [`Queue::repair`] removes what a killed insert left. A uuid that is already there is
    /// [`StoreError::Duplicate`].
    async fn insert_flow(&self, flow: &NewFlow) -> Result<Vec<FlowId>, StoreError>;

    /// Checks out READY jobs (highest priority first, then oldest) and returns how many.
    ///
    /// Each claimed job is CHECKED_OUT, its attempt is one larger, its history has the move; its flow is RUNNING if
    /// it was READY. Jobs that are locked, or not due yet, are left alone.
    async fn claim(&self, claim: &Claim) -> Result<u32, StoreError>;

    /// Returns jobs that a step may take in hand: in the states and workers asked for, unlocked, due; highest
    /// priority first, then oldest.
    async fn work(&self, work: &Work) -> Result<Vec<JobRecord>, StoreError>;

    /// Makes the moves that can be made and returns what became of each, in their order.
    ///
    /// [`Applied::Done`]: the move is stored durably. [`Applied::Lost`]: the job is not in the expected state and
    /// attempt, or somebody holds its lock; nothing was written for it.
    async fn apply(&self, moves: &[Move]) -> Result<Vec<Applied>, StoreError>;

    /// Like [`Queue::apply`] for moves that end a job (COMPLETED, FAILED), together with all that follows: the flow
    /// grows by the new jobs of the response, children whose parents are all done become READY, the flows' states are
    /// derived again.
    ///
    /// One transaction where the store has them. Without them the move sets `settling`, and [`Queue::repair`]
    /// does the rest after a kill. Doing it twice gives the same documents as once. A job whose flow somebody has
    /// locked is [`Applied::Lost`] when its flow would grow: it can be finished once the flow is free.
    async fn finish(&self, endings: &[Ending]) -> Result<Vec<Applied>, StoreError>;

    /// Finishes what a killed process left half-done and returns how many jobs and flows it mended.
    ///
    /// Jobs left `settling`, children whose parents are done but that still wait, flows whose state disagrees with
    /// their jobs, jobs of an insert that never finished. Cost: the unfinished flows, not all.
    async fn repair(&self, at: Timestamp) -> Result<u64, StoreError>;

    /// Returns how many jobs each worker has in each of these states. Cost: the jobs that are counted.
    async fn load(&self, states: &[State]) -> Result<Load, StoreError>;

    /// Returns the jobs that pass the filter, in the order of the page.
    async fn jobs(
        &self,
        filter: &JobFilter,
        page: &Page,
        detail: Detail,
    ) -> Result<Vec<JobRecord>, StoreError>;

    /// Returns how many jobs pass the filter.
    async fn count_jobs(&self, filter: &JobFilter) -> Result<u64, StoreError>;

    /// Returns how many jobs there are in each state; states without jobs are left out.
    async fn count_jobs_by_state(&self, filter: &JobFilter) -> Result<BTreeMap<State, u64>, StoreError>;

    /// Returns the flows that pass the filter, in the order of the page.
    async fn flows(&self, filter: &FlowFilter, page: &Page) -> Result<Vec<FlowRecord>, StoreError>;

    /// Returns how many flows pass the filter.
    async fn count_flows(&self, filter: &FlowFilter) -> Result<u64, StoreError>;

    /// Takes or renews the lease of the acting runner.
    ///
    /// Exactly one owner holds it at any time by the store's clock. A claim by the owner that has it renews it; a
    /// claim by another succeeds only when it has run out or was released.
    async fn take_lease(&self, claim: &LeaseClaim) -> Result<LeaseAnswer, StoreError>;

    /// Ends the lease if `owner` holds it; otherwise does nothing.
    async fn release_lease(&self, owner: &str) -> Result<(), StoreError>;

    /// Returns the lease, whether or not it has run out; none when it was released or never taken.
    async fn lease(&self) -> Result<Option<Lease>, StoreError>;
}

/// Output documents of executed jobs.
#[async_trait]
pub trait Outputs: Send + Sync {
    /// Writes each document in place of the one with the same uuid and index. Doing it twice is doing it once.
    async fn put_outputs(&self, outputs: &[OutputDocument]) -> Result<(), StoreError>;

    /// Returns, for each uuid that has any, the document with the largest index.
    async fn newest_outputs(&self, uuids: &[String]) -> Result<HashMap<String, OutputDocument>, StoreError>;

    /// Returns the document of exactly this job.
    async fn output(&self, key: &JobKey) -> Result<Option<OutputDocument>, StoreError>;

    /// Removes the documents of exactly these jobs; those that do not exist are no failure.
    async fn remove_outputs(&self, keys: &[JobKey]) -> Result<(), StoreError>;
}

/// One document of the JobStore: `uuid`, `index`, `output`, `completed_at`, `metadata`, `hosts`, `name` and the
/// `@module`, `@class`, `@version` of jobflow's `JobStoreDocument`.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputDocument {
    pub key: JobKey,
    /// Without `_id`.
    pub document: Document,
}

impl OutputDocument {
    /// Returns the job's output; null where the document has none.
    pub fn output(&self) -> &Bson {
        self.document.get("output").unwrap_or(&Bson::Null)
    }
}

/// Contents of files, named by their SHA-256 in lower-case hexadecimal.
#[async_trait]
pub trait Files: Send + Sync {
    /// Stores each file that is not there yet. On success all are there, durably; a killed call leaves no file that
    /// can be read in part.
    async fn put_files(&self, files: &[NewFile]) -> Result<(), StoreError>;

    /// Writes the content to `path`, replacing it; checked against `sha256` before this returns.
    ///
    /// A file that was never stored is [`StoreError::NoSuchFile`]. On failure `path` may hold a part.
    async fn get_file(&self, sha256: &str, path: &Path) -> Result<(), StoreError>;
}

/// A file to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    pub sha256: String,
    pub source: FileSource,
}

/// Where the content of a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    Bytes(Vec<u8>),
    Path(PathBuf),
}

/// Parts of outputs that are kept apart from them (jobflow's additional stores).
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Writes each blob in place of the one with the same `blob_uuid`. Doing it twice is doing it once.
    async fn put_blobs(&self, blobs: &[BlobDocument]) -> Result<(), StoreError>;

    /// Returns the `data` of each of these blobs, by `blob_uuid`; those that are not there are left out.
    async fn get_blobs(&self, uuids: &[String]) -> Result<HashMap<String, Bson>, StoreError>;

    /// Removes all blobs of these jobs; that there are none is no error.
    async fn remove_blobs(&self, jobs: &[JobKey]) -> Result<(), StoreError>;
}

/// An additional store that can say which blobs a job has.
#[async_trait]
pub trait BlobIndex: Blobs {
    /// Returns the `blob_uuid` of each blob of these jobs.
    async fn uuids_of(&self, jobs: &[JobKey]) -> Result<Vec<String>, StoreError>;
}

/// How many values a blob may have that is kept as JSON: 40 MB of short numbers, at some 2 GB of memory.
const BLOB_NODE_LIMIT: usize = 20_000_000;

/// One part of an output: `@class`, `@module`, `blob_uuid`, `data`, `job_uuid`, `job_index` (jobflow 0.4,
/// `core/store.py`).
#[derive(Debug, Clone, PartialEq)]
pub struct BlobDocument {
    pub blob_uuid: String,
    pub job: JobKey,
    /// The whole document, without `_id`.
    pub document: Document,
}

/// Where the outputs of a flow go: one `jobstore` section of the project.
#[derive(Clone)]
pub struct JobStore {
    pub outputs: Arc<dyn Outputs>,
    /// By the names that jobs use.
    pub additional: BTreeMap<String, Arc<dyn Blobs>>,
}

/// The stores of one project.
#[derive(Clone)]
pub struct Stores {
    pub queue: Arc<dyn Queue>,
    pub files: Arc<dyn Files>,
    /// Of flows that name none.
    pub job_store: JobStore,
    /// Those that a flow may name (`optional_jobstores`).
    pub optional: BTreeMap<String, JobStore>,
    pub actions: Arc<dyn actions::UserActions>,
    pub cancellations: Arc<dyn actions::Cancellations>,
}

impl Stores {
    /// Returns the stores of a project that are all in one place, without additional and optional ones.
    pub fn of<S>(store: Arc<S>) -> Self
    where
        S: Queue + Outputs + Files + actions::UserActions + actions::Cancellations + 'static,
    {
        let outputs: Arc<dyn Outputs> = Arc::<S>::clone(&store);
        Self {
            queue: Arc::<S>::clone(&store),
            files: Arc::<S>::clone(&store),
            job_store: JobStore { outputs, additional: BTreeMap::new() },
            optional: BTreeMap::new(),
            actions: Arc::<S>::clone(&store),
            cancellations: store,
        }
    }

    /// Returns the job store of a flow; none when the project has none of this name.
    pub fn job_store_of(&self, flow: Option<&str>) -> Option<&JobStore> {
        flow.map_or(Some(&self.job_store), |name| self.optional.get(name))
    }
}

/// Which READY jobs a runner wants.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// For each worker that may take jobs, how many at the most.
    pub room: BTreeMap<String, u32>,
    pub at: Timestamp,
    /// Who claims, for the history: `runner@host`.
    pub by: String,
}

/// Which jobs a step wants to take in hand.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    pub states: Vec<State>,
    pub workers: Vec<String>,
    /// Jobs whose `retry_time_limit` is later than this are not due.
    pub due: Timestamp,
    pub limit: u32,
    pub detail: Detail,
}

/// One move of one job: an event, and what is written with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Move {
    pub key: JobKey,
    /// The state and attempt the job must be in.
    pub expected: State,
    pub attempt: i32,
    /// None leaves the state and the history as they are and only writes `changes`.
    pub event: Option<Event>,
    pub changes: Vec<Change>,
    /// For the history: why, and who.
    pub reason: Option<String>,
    pub by: String,
    /// Becomes `updated_on` and the history's time.
    pub at: Timestamp,
}

impl Move {
    /// Returns the move that ends a step well: `event`, with the step's failure counters reset.
    pub fn step(job: &JobRecord, event: Event, at: Timestamp, by: &str) -> Self {
        let resets = [Change::StepAttempts(0), Change::RetryTimeLimit(None), Change::RemoteError(None)];
        Self::of(job, Some(event), at, by).with(resets)
    }

    /// Returns the move of `event` alone; without an event, a plain write.
    pub fn of(job: &JobRecord, event: Option<Event>, at: Timestamp, by: &str) -> Self {
        Self {
            key: job.key.clone(),
            expected: job.state,
            attempt: job.ferry.attempt,
            event,
            changes: Vec::new(),
            reason: None,
            by: by.to_owned(),
            at,
        }
    }

    /// Returns the move with more changes; of two changes of one field the later one holds.
    #[must_use]
    pub fn with(mut self, changes: impl IntoIterator<Item = Change>) -> Self {
        self.changes.extend(changes);
        self
    }

    /// Returns the move with a reason for the history.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }
}

/// A move that ends a job, and what the job's response does to its flow.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    pub step: Move,
    pub growth: Growth,
}

impl From<Move> for Ending {
    fn from(step: Move) -> Self {
        Self { step, growth: Growth::default() }
    }
}

/// One field of a job document to be written with a move.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    RunDir(String),
    ProcessId(Option<String>),
    QueueState(Option<String>),
    StepAttempts(i32),
    RetryTimeLimit(Option<Timestamp>),
    RemoteError(Option<String>),
    PrerunCleanup(bool),
    QueueOut(Option<String>),
    QueueErr(Option<String>),
    PreviousState(Option<State>),
    Error(Option<String>),
    StartTime(Option<Timestamp>),
    EndTime(Option<Timestamp>),
    StoredData(Option<Document>),
    Outcome(Option<Outcome>),
    RetriesUsed(i32),
    Worker(String),
    Priority(i32),
    ExecConfig(Option<Bson>),
    Resources(Option<Document>),
}

/// What became of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    Done,
    /// Somebody was first: drop or undo what was done for it.
    Lost,
}

/// Jobs per worker and state; what there is none of is left out.
pub type Load = BTreeMap<String, BTreeMap<State, u64>>;

/// A runner's wish to act for the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseClaim {
    /// Unique to the process: never used again by a later one.
    pub owner: String,
    pub holder: Holder,
    /// How long it holds without renewal.
    pub duration: Duration,
    /// The claimant's clock, for a store that has none of its own.
    pub at: Timestamp,
}

/// Who a runner is, for people and for the Python side's `running_runner` document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub host: String,
    pub pid: u32,
    pub user: String,
    pub project: String,
    pub daemon_dir: String,
    pub version: String,
    pub started: Timestamp,
}

/// The lease as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub owner: String,
    pub holder: Holder,
    pub renewed: Timestamp,
    pub expires: Timestamp,
    /// Whether it has run out, by the store's clock.
    pub standing: Standing,
}

/// Whether a lease still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Holds,
    RanOut,
}

/// The answer to a [`LeaseClaim`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// The claimant holds it for the claimed duration from when the claim was sent.
    Yours,
    /// Somebody else has it.
    Taken(Lease),
}

/// Why a store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The server, or the file, cannot be reached or did not answer in time.
    #[error("the store {place} does not answer")]
    Unreachable { place: String, source: Source },
    /// The store answered that it cannot: a full disk, a missing right, a failed authentication.
    #[error("the store {place} refused to {action}")]
    Refused { place: String, action: &'static str, source: Source },
    #[error("a flow or job with the uuid {uuid} is already in {place}")]
    Duplicate { place: String, uuid: String },
    /// A document is larger than the store takes.
    #[error("the document of {what} has {size_bytes} bytes, more than the {limit_bytes} the store takes")]
    TooLarge { what: String, size_bytes: u64, limit_bytes: u64 },
    #[error("{place} has schema version {found}, newer than the {known} this program knows")]
    NewerSchema { place: String, found: u32, known: u32 },
    /// A document is not of the form that it should have.
    #[error("{what} in {place} cannot be read: {why}")]
    Unreadable { place: String, what: String, why: String },
    #[error("no file with the SHA-256 {sha256} is stored")]
    NoSuchFile { sha256: String },
    #[error("the file {path} cannot be read or written")]
    File { path: PathBuf, source: std::io::Error },
    /// An event that the state machine refuses: a fault of this program.
    #[error(transparent)]
    Illegal(#[from] crate::model::state::Illegal),
}

/// The error of the driver below.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

impl StoreError {
    /// Returns whether the same call may succeed later without anybody doing anything to the data.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Refused { .. })
    }
}
