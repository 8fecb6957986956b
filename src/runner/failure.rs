//! What becomes of a job whose step failed for reasons of the job itself (never for reasons of its host).

use super::act::Act;
use crate::model::job::JobRecord;
use crate::model::state::Event;
use crate::store::{Change, Move};

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It may go well next time; counts against `max_step_attempts`.
    Passing(String),
    /// It will never go well as things are.
    Lasting(String),
}

/// Returns the move that records the fault: the step is tried again after a pause, or the job is REMOTE_ERROR with
/// `previous_state`, from where `jf job retry` takes it up.
pub fn step_failed(act: &Act, job: &JobRecord, fault: Fault) -> Move {
    let attempts = job.remote.step_attempts;
    let (again, text) = match fault {
        Fault::Passing(text) => (attempts < act.plan.options.max_step_attempts, text),
        Fault::Lasting(text) => (false, text),
    };
    tracing::warn!(job = job.db_id, host_job = %job.key, state = %job.state, "a step of job {} failed: {text}", job.db_id);
    if !again {
        return Move::of(job, Some(Event::StepFailed), act.now(), &act.by)
            .because(text.clone())
            .with([Change::PreviousState(Some(job.state)), Change::RemoteError(Some(text))]);
    }
    let pauses = &act.plan.options.retry_pauses;
    let place = usize::try_from(attempts).unwrap_or(0).min(pauses.len().saturating_sub(1));
    let pause = pauses.get(place).copied().unwrap_or_default();
    Move::of(job, None, act.now(), &act.by).with([
        Change::StepAttempts(attempts.saturating_add(1)),
        Change::RetryTimeLimit(Some(act.later(pause))),
        Change::RemoteError(Some(text)),
    ])
}
