//! One job as the commands show it: its tone, its JSON.

use bson::Bson;
use serde_json::{Value, json};

use crate::cli::output::json::{document, optional_time, plain, time};
use crate::cli::output::{Cell, Tone};
use crate::cli::time::{hours_minutes, seconds_between};
use crate::model::Timestamp;
use crate::model::job::{HistoryEntry, JobRecord};
use crate::model::state::State;

/// Returns the state's name as it stands out: errors red, a step that will be tried again yellow.
pub(in crate::cli) fn state_cell(job: &JobRecord) -> Cell {
    let waits_for_retry = job.remote.retry_time_limit.is_some() && job.state.is_active();
    let tone = if waits_for_retry { Tone::Warning } else { tone(job.state) };
    Cell::new(job.state.name(), tone)
}

/// Returns how a state stands out.
pub(in crate::cli) fn tone(state: State) -> Tone {
    match state {
        State::Completed => Tone::Good,
        State::Failed | State::RemoteError => Tone::Bad,
        State::Paused | State::Stopped | State::UserStopped => Tone::Warning,
        State::Waiting => Tone::Faint,
        State::Ready => Tone::Plain,
        State::CheckedOut
        | State::Uploaded
        | State::Submitted
        | State::Running
        | State::Terminated
        | State::Downloaded
        | State::BatchSubmitted
        | State::BatchRunning => Tone::Busy,
    }
}

/// Returns whether something went wrong in this state.
pub(in crate::cli) fn is_error(state: State) -> bool {
    matches!(state, State::Failed | State::RemoteError)
}

/// Returns start and end of the run, the end being `now` while it runs; none before the start.
fn run_span(job: &JobRecord, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let runs = matches!(job.state, State::Running | State::BatchRunning);
    Some((job.start_time?, job.end_time.or_else(|| runs.then_some(now))?))
}

/// Returns the run time as `h:mm`, or nothing.
pub(super) fn run_time(job: &JobRecord, now: Timestamp) -> String {
    run_span(job, now).map(|(start, end)| hours_minutes(start, end)).unwrap_or_default()
}

/// Returns the fields that listings give of a job.
pub(in crate::cli) fn summary(job: &JobRecord, now: Timestamp) -> Value {
    json!({
        "db_id": job.db_id,
        "uuid": job.key.uuid,
        "index": job.key.index,
        "name": job.name(),
        "state": job.state.name(),
        "worker": job.worker,
        "flow_id": job.flow_uuid(),
        "created_on": time(job.created_on),
        "updated_on": time(job.updated_on),
        "start_time": optional_time(job.start_time),
        "end_time": optional_time(job.end_time),
        "run_time_seconds": run_span(job, now).map(|(start, end)| seconds_between(start, end)),
        "queue_id": job.remote.process_id,
        "retry_time": optional_time(job.remote.retry_time_limit),
        "previous_state": job.previous_state.map(State::name),
        "lock_id": job.lock.as_ref().map(|lock| &lock.id),
        "lock_time": job.lock.as_ref().map_or(Value::Null, |lock| optional_time(lock.time)),
        "priority": job.priority,
        "attempt": job.ferry.attempt,
        "run_dir": job.run_dir,
        "metadata": job.job.get("metadata").map_or(Value::Null, plain),
        "parents": job.parents,
    })
}

/// Returns all fields of a job but its function and arguments.
pub(super) fn full(job: &JobRecord, now: Timestamp) -> Value {
    let mut value = summary(job, now);
    let outcome = job.ferry.outcome.clone().unwrap_or_default();
    let more = json!({
        "error": job.error,
        "remote": {
            "step_attempts": job.remote.step_attempts,
            "queue_state": job.remote.queue_state,
            "process_id": job.remote.process_id,
            "retry_time_limit": optional_time(job.remote.retry_time_limit),
            "error": job.remote.error,
            "queue_out": job.remote.queue_out,
            "queue_err": job.remote.queue_err,
        },
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "host": outcome.host,
        "scheduler_state": outcome.scheduler_state,
        "stderr_tail": outcome.stderr_tail,
        "retries_used": job.ferry.retries_used,
        "hosts": job.hosts().collect::<Vec<_>>(),
        "resources": job.resources.as_ref().map_or(Value::Null, document),
        "exec_config": job.exec_config.as_ref().map_or(Value::Null, plain),
        "stored_data": job.stored_data.as_ref().map_or(Value::Null, document),
        "history": job.ferry.history.iter().map(history_entry).collect::<Vec<_>>(),
    });
    if let (Value::Object(fields), Value::Object(more)) = (&mut value, more) {
        fields.extend(more);
    }
    value
}

fn history_entry(entry: &HistoryEntry) -> Value {
    json!({
        "at": time(entry.at),
        "from": entry.from.name(),
        "to": entry.to.name(),
        "attempt": entry.attempt,
        "reason": entry.reason,
        "by": entry.by,
    })
}

/// Returns a stored value in one line, texts without quotes.
pub(super) fn one_line(value: &Bson) -> String {
    match value {
        Bson::String(text) => text.clone(),
        Bson::Null => String::new(),
        other => plain(other).to_string(),
    }
}
