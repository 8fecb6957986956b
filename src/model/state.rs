//! The states of a job and the only judge of its moves.
//!
//! No code sets a state: it sends an [`Event`] to [`next`] and stores what comes back.
//!
//! ```text
//! WAITING ──Release──► READY ──CheckOut──► CHECKED_OUT ──Stage──► UPLOADED ──Submit──► SUBMITTED ──Start──► RUNNING
//!                                                                                          │                  │
//!      COMPLETED ◄──Complete── DOWNLOADED ◄──Collect── TERMINATED ◄───────────────End──────┴──────────────────┘
//!         FAILED ◄──Fail─────────┘    └──TryAgain──► READY   (EndHere skips TERMINATED: no download on a local worker)
//! ```
//!
//! | from | event | to |
//! |---|---|---|
//! | any of the running states | `StepFailed` | REMOTE_ERROR |
//! | REMOTE_ERROR | `Retry(previous)` | the state it failed in |
//! | READY, WAITING | `Pause` | PAUSED |
//! | READY, WAITING | `StopByJob` | STOPPED |
//! | READY and the running states | `StopByUser` | USER_STOPPED |
//! | PAUSED, STOPPED, USER_STOPPED | `ResumeReady`, `ResumeWaiting` | READY, WAITING |
//! | all but READY and WAITING | `Rerun` | READY |
//! | all | `RerunAncestor` | WAITING |
//! | all | `Force(state)` | that state, by an explicit order of the user |
//!
//! The names and moves are those of jobflow-remote 1.0 (`jobs/state.py`); what it stores as `RUN_FINISHED` is shown
//! as `TERMINATED` everywhere a person sees it. That mapping lives in the stores' codec.

use std::fmt;
use std::str::FromStr;

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Some parent has not finished.
    Waiting,
    /// Can be checked out.
    Ready,
    /// Reserved by a runner; next step: upload.
    CheckedOut,
    /// The run directory is on the worker; next step: submit.
    Uploaded,
    /// In the scheduler's queue.
    Submitted,
    /// The scheduler runs it.
    Running,
    /// No longer in the queue, for any reason; next step: download.
    Terminated,
    /// The result files are on the runner's machine; next step: complete.
    Downloaded,
    /// A runner's step failed for good; `previous_state` says where.
    RemoteError,
    /// Outputs are stored.
    Completed,
    /// The job itself failed.
    Failed,
    /// Held back by the user.
    Paused,
    /// Stopped by another job of its flow.
    Stopped,
    /// Stopped by the user.
    UserStopped,
    /// Waits in the pool of a batch worker.
    BatchSubmitted,
    /// Taken by a batch process.
    BatchRunning,
}

/// What happened to a job, as far as its state is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// All parents are done.
    Release,
    CheckOut,
    /// The run directory is complete on the worker.
    Stage,
    /// The scheduler took it.
    Submit,
    /// A batch worker's pool took it.
    SubmitToBatch,
    /// The scheduler or a batch process started it.
    Start,
    /// It left the queue; its results are on another machine.
    End,
    /// It left the queue; its results are on this machine.
    EndHere,
    /// The results were fetched.
    Collect,
    /// The outputs are stored.
    Complete,
    /// The job ended badly, or its results cannot be used.
    Fail,
    /// The job ended badly and has tries left.
    TryAgain,
    /// A runner's step failed for good.
    StepFailed,
    /// Back to the state in which the step failed.
    Retry(State),
    Pause,
    StopByJob,
    StopByUser,
    /// Resumed with all parents done.
    ResumeReady,
    /// Resumed with a parent still to come.
    ResumeWaiting,
    Rerun,
    /// An ancestor is run again, so this waits for it again.
    RerunAncestor,
    /// The user's explicit order, whatever the state.
    Force(State),
}

/// A move that the state machine refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a job in state {from} cannot take the event {event:?}")]
pub struct Illegal {
    pub from: State,
    pub event: Event,
}

/// Returns the state after `event`, or the refused pair.
pub fn next(from: State, event: Event) -> Result<State, Illegal> {
    use Event as E;
    use State as S;
    let refused = Err(Illegal { from, event });
    match event {
        E::Release => only(from, &[S::Waiting], S::Ready, refused),
        E::CheckOut => only(from, &[S::Ready], S::CheckedOut, refused),
        E::Stage => only(from, &[S::CheckedOut], S::Uploaded, refused),
        E::Submit => only(from, &[S::Uploaded], S::Submitted, refused),
        E::SubmitToBatch => only(from, &[S::Uploaded], S::BatchSubmitted, refused),
        E::Start if from == S::BatchSubmitted => Ok(S::BatchRunning),
        E::Start => only(from, &[S::Submitted], S::Running, refused),
        E::End => only(from, State::IN_QUEUE, S::Terminated, refused),
        E::EndHere => only(from, State::IN_QUEUE, S::Downloaded, refused),
        E::Collect => only(from, &[S::Terminated], S::Downloaded, refused),
        E::Complete => only(from, &[S::Downloaded], S::Completed, refused),
        E::Fail => only(from, &[S::Downloaded], S::Failed, refused),
        E::TryAgain => only(from, &[S::Downloaded], S::Ready, refused),
        E::StepFailed => only(from, State::ACTIVE, S::RemoteError, refused),
        E::Retry(to) if State::ACTIVE.contains(&to) => only(from, &[S::RemoteError], to, refused),
        E::Retry(_) => refused,
        E::Pause => only(from, State::PAUSABLE, S::Paused, refused),
        E::StopByJob => only(from, State::PAUSABLE, S::Stopped, refused),
        E::StopByUser if from == S::Ready => Ok(S::UserStopped),
        E::StopByUser => only(from, State::ACTIVE, S::UserStopped, refused),
        E::ResumeReady => only(from, State::RESUMABLE, S::Ready, refused),
        E::ResumeWaiting => only(from, State::RESUMABLE, S::Waiting, refused),
        E::Rerun if !State::PAUSABLE.contains(&from) => Ok(S::Ready),
        E::Rerun => refused,
        E::RerunAncestor => Ok(S::Waiting),
        E::Force(to) => Ok(to),
    }
}

fn only(
    from: State,
    allowed: &[State],
    to: State,
    refused: Result<State, Illegal>,
) -> Result<State, Illegal> {
    if allowed.contains(&from) { Ok(to) } else { refused }
}

impl State {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 16] = [
        Self::Waiting,
        Self::Ready,
        Self::CheckedOut,
        Self::Uploaded,
        Self::Submitted,
        Self::Running,
        Self::Terminated,
        Self::Downloaded,
        Self::RemoteError,
        Self::Completed,
        Self::Failed,
        Self::Paused,
        Self::Stopped,
        Self::UserStopped,
        Self::BatchSubmitted,
        Self::BatchRunning,
    ];

    /// States in which a runner has work in hand (jobflow-remote's `RUNNING_STATES`).
    pub const ACTIVE: &'static [Self] = &[
        Self::CheckedOut,
        Self::Uploaded,
        Self::Submitted,
        Self::Running,
        Self::Terminated,
        Self::Downloaded,
        Self::BatchSubmitted,
        Self::BatchRunning,
    ];

    /// States in which the job occupies a place in a queue or a batch pool.
    pub const IN_QUEUE: &'static [Self] =
        &[Self::Submitted, Self::Running, Self::BatchSubmitted, Self::BatchRunning];

    /// States from which the user may pause.
    pub const PAUSABLE: &'static [Self] = &[Self::Ready, Self::Waiting];

    /// States from which the user may resume.
    pub const RESUMABLE: &'static [Self] = &[Self::Paused, Self::Stopped, Self::UserStopped];

    /// States that no runner leaves by itself.
    pub const FINAL: &'static [Self] =
        &[Self::RemoteError, Self::Completed, Self::Failed, Self::Paused, Self::Stopped, Self::UserStopped];

    /// Returns whether a runner has work in hand for the job.
    pub fn is_active(self) -> bool {
        Self::ACTIVE.contains(&self)
    }

    /// Returns whether nothing but a user moves the job on.
    pub fn is_final(self) -> bool {
        Self::FINAL.contains(&self)
    }

    /// Returns the name people see, for example `TERMINATED`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminated => "TERMINATED",
            other => other.stored_name(),
        }
    }

    /// Returns the string that jobflow-remote 1.0 stores, which differs from [`Self::name`] for `TERMINATED` only.
    pub fn stored_name(self) -> &'static str {
        match self {
            Self::Waiting => "WAITING",
            Self::Ready => "READY",
            Self::CheckedOut => "CHECKED_OUT",
            Self::Uploaded => "UPLOADED",
            Self::Submitted => "SUBMITTED",
            Self::Running => "RUNNING",
            Self::Terminated => "RUN_FINISHED",
            Self::Downloaded => "DOWNLOADED",
            Self::RemoteError => "REMOTE_ERROR",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Paused => "PAUSED",
            Self::Stopped => "STOPPED",
            Self::UserStopped => "USER_STOPPED",
            Self::BatchSubmitted => "BATCH_SUBMITTED",
            Self::BatchRunning => "BATCH_RUNNING",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a state of a job")]
pub struct UnknownState(pub String);

impl FromStr for State {
    type Err = UnknownState;

    /// Reads the shown and the stored name, in any case.
    fn from_str(text: &str) -> Result<Self, UnknownState> {
        let wanted = text.to_ascii_uppercase();
        Self::ALL
            .into_iter()
            .find(|state| state.name() == wanted || state.stored_name() == wanted)
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

#[cfg(test)]
mod tests;
