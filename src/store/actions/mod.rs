//! What users do to jobs and flows, and the processes that have to end because of it.
//!
//! The rules are those of jobflow-remote 1.0 (`jobs/jobcontroller.py`), written once, in [`rules`]: a back end loads a
//! [`rules::Scene`], asks for the [`rules::Plan`], and writes it. SQLite and MongoDB with transactions load and write
//! in one transaction. A standalone server has none: there the documents are locked the way the Python side locks
//! them (`lock_id`, `lock_time`), the plan is made again from what was locked, every write is a compare-and-set on our
//! lock, and the locks end by themselves ([`super::Queue::repair`]) should the program be killed.
//!
//! Better than jobflow-remote:
//!
//! - many jobs cost the round trips of one;
//! - the state of the flow is derived after every action, and children that may start do so (a job that is stopped
//!   lets those start that can do without it);
//! - the process of a job that is taken away from its runner is ended by the runner, surely: a [`Cancellation`] is
//!   stored before the move or with it, and kept until the process is known to be gone;
//! - a deleted job is as if it had never been in its flow: no child waits for it any more (jobflow-remote leaves its
//!   uuid in their `parents`, where every later look at the flow fails on it).

mod refusal;
pub mod rules;

use async_trait::async_trait;
use bson::{Bson, Document};

use super::StoreError;
use crate::model::Timestamp;
use crate::model::ids::{JobKey, Token};
use crate::model::state::State;

pub use refusal::Refusal;

/// What users do.
#[async_trait]
pub trait UserActions: Send + Sync {
    /// Does the action to each job, in order, and returns what became of each.
    ///
    /// Each job's part is done wholly or not at all; a refused job does not stop the others. With transactions, so
    /// many jobs as [`MOST_JOBS`] are done at once. Without, a kill leaves documents locked for some minutes and
    /// at the worst descendants WAITING whose ancestor was not run again; doing it again then ends it.
    async fn act(
        &self,
        jobs: &[JobKey],
        action: &Action,
        mandate: &Mandate,
    ) -> Result<Vec<Answer>, StoreError>;

    /// Deletes each flow with all its jobs and returns what became of each; the changed ones of an answer are the
    /// short ids of its jobs.
    async fn delete_flows(
        &self,
        flows: &[String],
        deletion: Deletion,
        mandate: &Mandate,
    ) -> Result<Vec<Answer>, StoreError>;

    /// Makes `store`, an optional jobstore of the project, the one for the outputs of the flow; none is the default.
    ///
    /// Only a READY flow takes it. Nothing is changed by the answer.
    async fn set_flow_store(
        &self,
        flow: &str,
        store: Option<&str>,
        mandate: &Mandate,
    ) -> Result<Answer, StoreError>;
}

/// Orders to end processes, kept until they are carried out.
#[async_trait]
pub trait Cancellations: Send + Sync {
    /// Returns all orders, the oldest first.
    async fn cancellations(&self) -> Result<Vec<Cancellation>, StoreError>;

    /// Stores the orders. One for a token that has one already changes nothing.
    async fn order_cancellations(&self, orders: &[Cancellation]) -> Result<(), StoreError>;

    /// Forgets the orders for these tokens; those that do not exist are no failure.
    async fn clear_cancellations(&self, tokens: &[Token]) -> Result<(), StoreError>;
}

/// Jobs whose documents are changed at once.
pub const MOST_JOBS: usize = 500;

/// What a user wants done to jobs.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Rerun(Rerun),
    /// The step that failed is tried again at once.
    Retry,
    Pause,
    Resume,
    Stop,
    /// Whatever the state is; for people who know what they do.
    SetState(State),
    Set(Box<Properties>),
    Delete(Deletion),
}

/// How a job is run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rerun {
    /// Any state but READY and WAITING will do, and all descendants, started or not, are run again as well.
    pub force: bool,
    /// The run directory of the last attempt is moved aside by the next one, not removed.
    pub keep_files: bool,
}

/// What goes with a deleted job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// Whether processes of the job are ended.
    pub processes: Processes,
    /// Whether the run directory goes once its process has ended. Where none may be left, it is the caller's to
    /// remove.
    pub remove_directory: bool,
}

/// What happens to the processes of deleted jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processes {
    End,
    LetRun,
}

/// What a job is run with; what is none stays as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Properties {
    pub worker: Option<String>,
    pub priority: Option<i32>,
    /// Name of an `exec_config` of the project, or one written out.
    pub exec_config: Option<Bson>,
    pub resources: Option<Document>,
    /// Whether documents are merged into what is there.
    pub merge: Merge,
}

/// What happens to the fields of a document that the new one does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Merge {
    #[default]
    Keep,
    Replace,
}

/// Who acts, when, and what about locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mandate {
    /// For histories: `user@host`.
    pub by: String,
    pub at: Timestamp,
    pub locks: Locks,
}

/// What happens when somebody else has locked a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locks {
    /// The action is refused.
    Honour,
    /// The lock is taken away. Right only if its owner is dead.
    Break,
}

/// What became of one job or flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Done; the short ids of all jobs that changed, the job itself first.
    Done {
        changed: Vec<String>,
    },
    Refused(Refusal),
}

impl Answer {
    /// Returns the refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Done { .. } => None,
            Self::Refused(refusal) => Some(refusal),
        }
    }
}

/// The order to end the process of an attempt whose job moved on without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancellation {
    pub token: Token,
    pub worker: String,
    /// The scheduler's id; none where it may have been submitted and the id was never recorded.
    pub process_id: Option<String>,
    pub run_dir: Option<String>,
    /// Whether the run directory is removed once the process is gone.
    pub remove_directory: bool,
    pub ordered_on: Timestamp,
    pub by: String,
}

/// Returns whether an order for an attempt holds, given the state and attempt of its document (none: it is deleted).
///
/// An order is stored before the move that makes it right; until then, and if that never comes, it means nothing.
pub fn is_due(order: &Cancellation, job: Option<(State, i32)>) -> bool {
    let Some((_, attempt)) = order.token.parts() else { return false };
    job.is_none_or(|(state, now)| now != attempt || !(state.is_active() || state == State::RemoteError))
}

#[cfg(test)]
mod tests;
