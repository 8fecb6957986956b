//! What is done to a whole store by the person who looks after it: resets, stale locks, indexes, upgrades, copies.
//!
//! None of it is part of a runner's work, and no runner may act on the store meanwhile: whoever calls these looks at
//! the lease first. The files of a backup are made and read by [`super::backup`].

use async_trait::async_trait;
use bson::RawDocumentBuf;
use tokio::sync::mpsc::{Receiver, Sender};

use super::StoreError;
use crate::model::query::{FlowFilter, JobFilter};

/// A store as its administrator sees it.
#[async_trait]
pub trait Admin: Send + Sync {
    /// Returns the name of the database, after which the folder of a backup is called.
    fn database(&self) -> &str;

    /// Returns how much of each thing there is.
    async fn inventory(&self) -> Result<Inventory, StoreError>;

    /// Deletes all jobs, flows, batches and staged files, with [`Scope::Outputs`] also all outputs; the next short id
    /// is 1, nobody has the lease, and all indexes are there.
    ///
    /// A call that failed half-way has deleted a part: repeating it does the rest.
    async fn reset(&self, scope: Scope) -> Result<(), StoreError>;

    /// Takes the locks from the locked jobs that pass the filter and returns how many there were.
    async fn unlock_jobs(&self, filter: &JobFilter) -> Result<u64, StoreError>;

    /// Takes the locks from the locked flows that pass the filter and returns how many there were.
    async fn unlock_flows(&self, filter: &FlowFilter) -> Result<u64, StoreError>;

    /// Takes the lock from the document of the running runner, which a Python daemon holds while it starts.
    async fn unlock_runner(&self) -> Result<RunnerLock, StoreError>;

    /// Drops all indexes, those that somebody added as well, and makes the standard ones anew.
    async fn rebuild_indexes(&self) -> Result<(), StoreError>;

    /// Makes one more index; where it is there already nothing happens.
    async fn create_index(&self, index: &NewIndex) -> Result<IndexMade, StoreError>;

    /// Returns what [`Admin::upgrade`] would do, and what stands in its way. Writes nothing.
    async fn plan_upgrade(&self) -> Result<Upgrade, StoreError>;

    /// Brings documents of older releases of jobflow-remote to the form of 1.0, whatever stands in the way.
    ///
    /// The version is written last: a call that failed half-way can be repeated.
    async fn upgrade(&self) -> Result<(), StoreError>;

    /// Sends every document of a backup, flows before their jobs, and returns when the last is sent.
    ///
    /// A receiver that goes away is an error. SQLite sends one state of the data; MongoDB each collection as it is
    /// when its turn comes, so that nothing should be submitted meanwhile.
    async fn dump(&self, to: Sender<(Part, RawDocumentBuf)>) -> Result<(), StoreError>;

    /// Stores every document received, which have to come in the order of [`Part::ALL`], and returns how many of each
    /// part it has taken. The store has to be empty.
    ///
    /// A received error ends it. On failure SQLite is as it was; MongoDB may hold a part, which [`Admin::reset`]
    /// removes.
    async fn restore(&self, from: Receiver<Received>) -> Result<Counts, StoreError>;
}

/// A document of a backup on its way into a store, or why there are no more.
pub type Received = Result<(Part, RawDocumentBuf), StoreError>;

/// How much there is in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inventory {
    pub jobs: u64,
    pub flows: u64,
    pub batches: u64,
    /// Contents of staged files.
    pub files: u64,
    pub outputs: u64,
    /// The number in the next short id.
    pub next_number: i64,
}

/// What a reset deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Jobs, flows, batches and staged files.
    Queue,
    /// Also all outputs, those of other programs in the same place included.
    Outputs,
}

/// What was found of the lock on the document of the running runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunnerLock {
    NoDocument,
    NotLocked,
    Unlocked,
}

/// An index to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIndex {
    pub part: Part,
    /// Dotted path of the field.
    pub key: String,
    pub direction: Direction,
    /// Refuses a second document of the same value.
    pub unique: bool,
}

/// Which way an index is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Ascending,
    Descending,
}

/// What became of a wish for an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexMade {
    Created,
    /// The store has all its indexes from the beginning and takes no others.
    Fixed,
}

/// A collection of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Flows,
    Jobs,
    Batches,
    Auxiliary,
}

impl Part {
    /// The parts in the order in which they are copied: the counter of short ids last.
    pub const ALL: [Self; 4] = [Self::Flows, Self::Jobs, Self::Batches, Self::Auxiliary];

    /// Returns the name that the part has in files, whatever the collection is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Jobs => "jobs",
            Self::Batches => "batches",
            Self::Auxiliary => "jf_auxiliary",
        }
    }
}

/// Documents of each part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub flows: u64,
    pub jobs: u64,
    pub batches: u64,
    pub auxiliary: u64,
}

impl Counts {
    /// Returns the number of documents of the part.
    pub fn of(self, part: Part) -> u64 {
        match part {
            Part::Flows => self.flows,
            Part::Jobs => self.jobs,
            Part::Batches => self.batches,
            Part::Auxiliary => self.auxiliary,
        }
    }

    /// Counts more documents of the part.
    pub fn add(&mut self, part: Part, documents: u64) {
        let count = match part {
            Part::Flows => &mut self.flows,
            Part::Jobs => &mut self.jobs,
            Part::Batches => &mut self.batches,
            Part::Auxiliary => &mut self.auxiliary,
        };
        *count = count.saturating_add(documents);
    }
}

/// The way from an older release of jobflow-remote to 1.0 (its `jobs/upgrade.py`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Upgrade {
    /// The version that the database says of itself; none says 0.1.0.
    pub from: Option<String>,
    /// What is left to do, in order; empty where all is as it should be.
    pub steps: Vec<UpgradeStep>,
    pub obstacles: Vec<Obstacle>,
}

/// One change of an upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpgradeStep {
    /// The document of the running runner is missing (before 0.1.5).
    RunnerDocument,
    /// Jobs in the state TERMINATED, which is called `RUN_FINISHED` from 1.0 on.
    States(u64),
    /// The same for jobs that failed for good in that state.
    PreviousStates(u64),
    /// Documents of the batch processes of before 1.0, which are deleted.
    BatchProcesses(u64),
    /// The version that the database will say of itself.
    Version(String),
}

/// Why an upgrade should wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// Batch processes that an older release started: it would have to bring them to their end.
    OldBatchProcesses(u64),
    /// Batches that are submitted or running.
    RunningBatches(u64),
}

impl Obstacle {
    /// Returns whether the upgrade may go on in spite of it if the user says so.
    pub fn can_be_forced(self) -> bool {
        matches!(self, Self::OldBatchProcesses(_))
    }
}
