//! A job as the store keeps it, and a flow as it is submitted.
//!
//! The fields are those of jobflow-remote 1.0 (`JobDoc`, `FlowDoc`); what JobFerry adds is in [`Ferry`], one extra
//! sub-document that the Python side ignores.

use bson::{Bson, Document};

use super::Timestamp;
use super::flow::{FlowState, OnMissing};
use super::ids::{JobKey, Token};
use super::state::State;

/// One job document.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecord {
    pub key: JobKey,
    /// Short id for people, `<prefix><number>`, unique in the database.
    pub db_id: String,
    /// Name of the worker in the project file.
    pub worker: String,
    pub state: State,
    pub remote: Remote,
    /// Uuids of the jobs that have to be done first.
    pub parents: Vec<String>,
    /// The state in which a runner's step failed for good; set with REMOTE_ERROR only.
    pub previous_state: Option<State>,
    /// What the job itself said when it FAILED.
    pub error: Option<String>,
    pub lock: Option<Lock>,
    /// Absolute path on the worker, once uploaded.
    pub run_dir: Option<String>,
    pub start_time: Option<Timestamp>,
    pub end_time: Option<Timestamp>,
    pub created_on: Timestamp,
    pub updated_on: Timestamp,
    /// Higher first.
    pub priority: i32,
    /// Name of an `exec_config` of the project (a string), or one written out (a document).
    pub exec_config: Option<Bson>,
    pub resources: Option<Document>,
    pub stored_data: Option<Document>,
    /// The serialized jobflow `Job`. In a summary it holds only `name`, `hosts`, `metadata` and
    /// `config.on_missing_references`.
    pub job: Document,
    pub ferry: Ferry,
}

impl JobRecord {
    /// Returns the job's name, or an empty text where the document has none.
    pub fn name(&self) -> &str {
        self.job.get_str("name").unwrap_or_default()
    }

    /// Returns the uuids of the flows around the job, innermost first.
    pub fn hosts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.job.get_array("hosts").ok().into_iter().flatten().filter_map(Bson::as_str)
    }

    /// Returns the uuid of the top-level flow, the one that has a document.
    pub fn flow_uuid(&self) -> Option<&str> {
        self.hosts().next_back()
    }

    /// Returns what the job does when a parent did not complete.
    pub fn on_missing(&self) -> OnMissing {
        self.job
            .get_document("config")
            .and_then(|config| config.get_str("on_missing_references"))
            .map_or(OnMissing::Error, OnMissing::from_config)
    }

    /// Returns the name of the attempt in hand.
    pub fn token(&self) -> Token {
        Token::new(&self.key, self.ferry.attempt)
    }
}

/// What a runner knows of the job on its worker (jobflow-remote's `RemoteInfo`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remote {
    /// Failures of the current step.
    pub step_attempts: i32,
    /// One of jobflow-remote's `QState` names.
    pub queue_state: Option<String>,
    /// The scheduler's id.
    pub process_id: Option<String>,
    /// The step is not tried before this.
    pub retry_time_limit: Option<Timestamp>,
    pub error: Option<String>,
    /// The run directory is deleted before the next upload.
    pub prerun_cleanup: bool,
    pub queue_out: Option<String>,
    pub queue_err: Option<String>,
}

/// Who holds a job or flow document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    pub id: String,
    pub time: Option<Timestamp>,
}

/// What JobFerry keeps about a job, beyond the Python side's fields: sub-document `jobferry`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ferry {
    /// Counts checkouts; 0 before the first. Grows by one at each and never goes back.
    pub attempt: i32,
    /// How the last attempt ended, once known.
    pub outcome: Option<Outcome>,
    /// Attempts that ended badly and were tried again, which count against the job's `retries`.
    pub retries_used: i32,
    /// True between the write that completes or fails the job and the end of what follows from it (children
    /// released, flow state derived). Whoever finds it set does the rest again.
    pub settling: bool,
    /// Moves of the job, oldest first; empty in a summary.
    pub history: Vec<HistoryEntry>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    pub exit_code: Option<i32>,
    /// Number of the signal that ended it.
    pub signal: Option<i32>,
    /// The host it ran on.
    pub host: Option<String>,
    /// What the scheduler said, in its own word.
    pub scheduler_state: Option<String>,
    /// The end of its standard error, at most 4 kB.
    pub stderr_tail: Option<String>,
}

/// One move of a job, kept with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    pub at: Timestamp,
    pub from: State,
    pub to: State,
    pub attempt: i32,
    /// Why, in a few words for people; empty where the move says it all.
    pub reason: Option<String>,
    /// Who moved it: `runner@host` or `user@host`.
    pub by: String,
}

/// The oldest entries of a history are dropped beyond this many, so that a job that is retried for ever cannot grow
/// its document without limit. 200 entries hold some 25 whole lives.
pub const HISTORY_LIMIT: usize = 200;

/// A flow document.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowRecord {
    pub uuid: String,
    /// Uuids of its jobs, in the order of submission.
    pub jobs: Vec<String>,
    pub state: FlowState,
    pub name: String,
    pub lock: Option<Lock>,
    pub created_on: Timestamp,
    pub updated_on: Timestamp,
    pub metadata: Document,
    /// `{job uuid: {index as text: [uuids of parents]}}`.
    pub parents: Document,
    /// One entry per job document.
    pub ids: Vec<FlowId>,
    /// Name of an optional jobstore of the project; none is the default one.
    pub jobstore: Option<String>,
}

/// A member of a flow: its short id and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowId {
    pub db_id: String,
    pub key: JobKey,
}

/// A flow to be inserted. Jobs are in topological order: parents before children.
#[derive(Debug, Clone, PartialEq)]
pub struct NewFlow {
    pub uuid: String,
    pub name: String,
    pub metadata: Document,
    pub jobstore: Option<String>,
    pub jobs: Vec<NewJob>,
    pub created_on: Timestamp,
}

/// A job to be inserted: READY without parents, else WAITING.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    pub key: JobKey,
    pub worker: String,
    pub priority: i32,
    pub parents: Vec<String>,
    pub exec_config: Option<Bson>,
    pub resources: Option<Document>,
    /// The serialized jobflow `Job`, with `hosts` ending in the flow's uuid.
    pub job: Document,
}

/// What the response of a completed job does to its flow (jobflow's `Response`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Growth {
    /// New jobs of the flow, parents before children: those of a replacement, then additions, then a detour.
    pub jobs: Vec<NewJob>,
    /// Uuids of the detour's last jobs: whoever waits for the completed job waits for these as well.
    pub detour_leaves: Vec<String>,
    pub stop: Stop,
}

impl Growth {
    /// Returns the state in which one of the new jobs is inserted.
    pub fn first_state(&self, job: &NewJob) -> State {
        if self.stop == Stop::Nothing { job.first_state() } else { State::Stopped }
    }

    /// Returns whether the response changes nothing beyond the job itself.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Which jobs a completed job stops (jobflow's `stop_children` and `stop_jobflow`). New jobs of the same response
/// are inserted STOPPED with either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stop {
    #[default]
    Nothing,
    /// Its children that are WAITING or READY and not locked.
    Children,
    /// All jobs of its flow that are WAITING or READY and not locked.
    Flow,
}

impl NewJob {
    /// Returns the state in which the job is inserted.
    pub fn first_state(&self) -> State {
        if self.parents.is_empty() { State::Ready } else { State::Waiting }
    }
}
