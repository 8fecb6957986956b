//! Why users are refused, in words.

use crate::model::flow::FlowState;
use crate::model::ids::JobKey;
use crate::model::job::Lock;
use crate::model::state::State;

/// Why an action was not done to a job or flow, in the words of jobflow-remote where it has the same case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("No Job document matching criteria {0}")]
    NoSuchJob(JobKey),
    #[error("No Flow document matching criteria {0}")]
    NoSuchFlow(String),
    #[error("Job with db_id {db_id} is locked with lock_id {} since {} UTC.{note}", lock.id, since(lock))]
    JobLocked { db_id: String, lock: Lock, note: String },
    #[error("Flow with uuid {uuid} is locked with lock_id {} since {} UTC.", lock.id, since(lock))]
    FlowLocked { uuid: String, lock: Lock },
    #[error("The Job is in the READY state. No need to rerun.")]
    AlreadyReady,
    #[error("The Job is in the WAITING state. Cannot be rerun.")]
    StillWaiting,
    #[error(
        "Rerunning a BATCH_SUBMITTED or BATCH_RUNNING can lead to multiple execution of the same job if the job has already \
         started. If this is not the case or the job is not running anymore, use the 'force' option to bypass the check."
    )]
    InBatch,
    #[error("Job in state {0} cannot be rerun. Use the 'force' option to override this check.")]
    NeedsForce(State),
    #[error(
        "Job {} is not the highest index ({}). Rerunning it will lead to inconsistencies and is not allowed.",
        .0.uuid, .0.index
    )]
    NotHighestIndex(JobKey),
    #[error(
        "Job {uuid} has a child job ({}) which is not the last index ({}). Rerunning the Job will lead to inconsistencies \
         and is not allowed.",
        child.uuid, child.index
    )]
    ChildWasReplaced { uuid: String, child: JobKey },
    #[error(
        "The child of Job {uuid} to rerun with uuid {} and index {} has state {state} which is not acceptable. Use the \
         'force' option to override this check.",
        child.uuid, child.index
    )]
    ChildStarted { uuid: String, child: JobKey, state: State },
    #[error("Job in state {0} cannot be retried.")]
    NotRetried(State),
    #[error("The registered previous state: {} is not a valid state", .0.map_or("None", State::name))]
    NoPreviousState(Option<State>),
    #[error("Job in state {0}. The action cannot be performed")]
    WrongState(State),
    #[error("It is not possible to delete the only Job of the Flow. Delete the entire Flow.")]
    OnlyJob,
    #[error("The JobStore can be set only for a READY Flow; it is {0}")]
    FlowNotReady(FlowState),
    #[error("Job {0} was changed by somebody else meanwhile. Try again.")]
    ChangedMeanwhile(String),
}

impl Refusal {
    /// Returns whether the same order may be taken once somebody lets go of a document.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::JobLocked { .. } | Self::FlowLocked { .. } | Self::ChangedMeanwhile(_))
    }
}

fn since(lock: &Lock) -> String {
    let text = lock.time.and_then(|time| time.try_to_rfc3339_string().ok());
    // As Python's `isoformat(timespec="seconds")` of a time without a zone.
    text.map_or_else(|| "None".to_owned(), |text| text.chars().take(19).collect())
}
