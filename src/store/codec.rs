//! Job and flow documents as jobflow-remote 1.0 stores them, to and from the records of [`crate::model`].
//!
//! Field order, BSON types and nulls are those of its `JobDoc` and `FlowDoc` (`jobs/data.py`), so that both sides can
//! read and write one database. What JobFerry adds is one sub-document, `jobferry`, the last top-level field. Fields
//! that neither side knows are ignored on reading. This is the one place where TERMINATED becomes `RUN_FINISHED`.

pub mod process_id;
mod read;

use bson::{Array, Bson, Document, doc};

use crate::model::Timestamp;
use crate::model::ids::JobKey;
use crate::model::job::{
    Ferry, FlowId, FlowRecord, HistoryEntry, JobRecord, Lock, NewFlow, NewJob, Outcome, Remote,
};
use crate::model::state::{Event, Illegal, State, next};

use super::{Change, Move, StoreError};

pub use read::{read_flow, read_job, read_outcome};

/// Name of the sub-document that holds what JobFerry keeps beyond the Python side's fields.
pub const FERRY: &str = "jobferry";

/// A field of a document that is not of the form it should have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the field `{field}` {problem}")]
pub struct Malformed {
    /// Dotted path, for example `remote.process_id`.
    pub field: String,
    pub problem: String,
}

impl Malformed {
    /// Returns the store's error for the document `what` in the store `place`.
    pub fn in_document(self, place: &str, what: impl Into<String>) -> StoreError {
        StoreError::Unreadable { place: place.to_owned(), what: what.into(), why: self.to_string() }
    }
}

/// Returns the document of a job, without `_id`.
pub fn job_document(job: &JobRecord) -> Document {
    let (lock_id, lock_time) = lock_fields(job.lock.as_ref());
    doc! {
        "uuid": &job.key.uuid,
        "index": job.key.index,
        "db_id": &job.db_id,
        "worker": &job.worker,
        "state": job.state.stored_name(),
        "remote": remote_document(&job.remote),
        "parents": strings(&job.parents),
        "previous_state": job.previous_state.map(State::stored_name),
        "error": job.error.as_deref(),
        "lock_id": lock_id,
        "lock_time": lock_time,
        "run_dir": job.run_dir.as_deref(),
        "start_time": job.start_time,
        "end_time": job.end_time,
        "created_on": job.created_on,
        "updated_on": job.updated_on,
        "priority": job.priority,
        "exec_config": job.exec_config.clone().unwrap_or(Bson::Null),
        "resources": job.resources.clone(),
        "stored_data": job.stored_data.clone(),
        "job": job.job.clone(),
        FERRY: ferry_document(&job.ferry),
    }
}

/// Returns the document of a job that is inserted at `at` under the short id `db_id`, without `_id`.
pub fn new_job_document(job: &NewJob, db_id: &str, at: Timestamp) -> Document {
    job_document(&JobRecord {
        key: job.key.clone(),
        db_id: db_id.to_owned(),
        worker: job.worker.clone(),
        state: job.first_state(),
        remote: Remote::default(),
        parents: job.parents.clone(),
        previous_state: None,
        error: None,
        lock: None,
        run_dir: None,
        start_time: None,
        end_time: None,
        created_on: at,
        updated_on: at,
        priority: job.priority,
        exec_config: job.exec_config.clone(),
        resources: job.resources.clone(),
        stored_data: None,
        job: job.job.clone(),
        ferry: Ferry::default(),
    })
}

/// Returns the document of a flow, without `_id`.
pub fn flow_document(flow: &FlowRecord) -> Document {
    let (lock_id, lock_time) = lock_fields(flow.lock.as_ref());
    doc! {
        "uuid": &flow.uuid,
        "jobs": strings(&flow.jobs),
        "state": flow.state.name(),
        "name": &flow.name,
        "lock_id": lock_id,
        "lock_time": lock_time,
        "created_on": flow.created_on,
        "updated_on": flow.updated_on,
        "metadata": flow.metadata.clone(),
        "parents": flow.parents.clone(),
        "ids": flow.ids.iter().map(flow_id).collect::<Array>(),
        "jobstore": flow.jobstore.as_deref(),
    }
}

/// Returns the document of a flow to be inserted in state READY, without `_id`.
///
/// `db_ids` are the short ids of `flow.jobs`, in their order.
pub fn new_flow_document(flow: &NewFlow, db_ids: &[String]) -> Document {
    flow_document(&FlowRecord {
        uuid: flow.uuid.clone(),
        jobs: unique_uuids(&flow.jobs),
        state: crate::model::flow::FlowState::Ready,
        name: flow.name.clone(),
        lock: None,
        created_on: flow.created_on,
        updated_on: flow.created_on,
        metadata: flow.metadata.clone(),
        parents: parents_document(&flow.jobs),
        ids: flow_ids(flow, db_ids),
        jobstore: flow.jobstore.clone(),
    })
}

/// Returns the short id and key of each job of the flow, given their short ids in the order of `flow.jobs`.
pub fn flow_ids(flow: &NewFlow, db_ids: &[String]) -> Vec<FlowId> {
    let pairs = flow.jobs.iter().zip(db_ids);
    pairs.map(|(job, db_id)| FlowId { db_id: db_id.clone(), key: job.key.clone() }).collect()
}

fn unique_uuids(jobs: &[NewJob]) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    jobs.iter().map(|job| job.key.uuid.clone()).filter(|uuid| seen.insert(uuid.clone())).collect()
}

fn parents_document(jobs: &[NewJob]) -> Document {
    let mut parents = Document::new();
    for job in jobs {
        let indexes = parents.entry(job.key.uuid.clone()).or_insert_with(|| Document::new().into());
        if let Bson::Document(indexes) = indexes {
            indexes.insert(job.key.index.to_string(), strings(&job.parents));
        }
    }
    parents
}

fn flow_id(id: &FlowId) -> Bson {
    Bson::Array(vec![id.db_id.as_str().into(), id.key.uuid.as_str().into(), id.key.index.into()])
}

fn lock_fields(lock: Option<&Lock>) -> (Option<&str>, Option<Timestamp>) {
    (lock.map(|lock| lock.id.as_str()), lock.and_then(|lock| lock.time))
}

fn strings(texts: &[String]) -> Array {
    texts.iter().map(|text| Bson::String(text.clone())).collect()
}

fn remote_document(remote: &Remote) -> Document {
    doc! {
        "step_attempts": remote.step_attempts,
        "queue_state": remote.queue_state.as_deref(),
        "process_id": remote.process_id.as_deref(),
        "retry_time_limit": remote.retry_time_limit,
        "error": remote.error.as_deref(),
        "prerun_cleanup": remote.prerun_cleanup,
        "queue_out": remote.queue_out.as_deref(),
        "queue_err": remote.queue_err.as_deref(),
    }
}

fn ferry_document(ferry: &Ferry) -> Document {
    doc! {
        "attempt": ferry.attempt,
        "outcome": ferry.outcome.as_ref().map(outcome_document),
        "retries_used": ferry.retries_used,
        "settling": ferry.settling,
        "history": ferry.history.iter().map(|entry| Bson::Document(history_document(entry))).collect::<Array>(),
    }
}

fn outcome_document(outcome: &Outcome) -> Document {
    doc! {
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "host": outcome.host.as_deref(),
        "scheduler_state": outcome.scheduler_state.as_deref(),
        "stderr_tail": outcome.stderr_tail.as_deref(),
    }
}

/// Returns one entry of `jobferry.history`.
pub fn history_document(entry: &HistoryEntry) -> Document {
    doc! {
        "at": entry.at,
        "from": entry.from.stored_name(),
        "to": entry.to.stored_name(),
        "attempt": entry.attempt,
        "reason": entry.reason.as_deref(),
        "by": &entry.by,
    }
}

/// What a [`Move`] writes, once the state machine has allowed it.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The state after the move; the expected one where the move has no event.
    pub to: State,
    /// Dotted path and new value of each field: the changes, the state, the attempt, `updated_on`.
    pub set: Document,
    /// What is appended to `jobferry.history`; none where the move has no event.
    pub entry: Option<HistoryEntry>,
}

/// Returns what the move writes, or the refusal of the state machine.
///
/// A check-out counts one attempt more.
pub fn written(step: &Move) -> Result<Written, Illegal> {
    let mut set = changes_to_set(&step.changes);
    set.insert("updated_on", step.at);
    let Some(event) = step.event else { return Ok(Written { to: step.expected, set, entry: None }) };
    let to = next(step.expected, event)?;
    let attempt = if event == Event::CheckOut { step.attempt.saturating_add(1) } else { step.attempt };
    if attempt != step.attempt {
        set.insert("jobferry.attempt", attempt);
    }
    set.insert("state", to.stored_name());
    let (reason, by) = (step.reason.clone(), step.by.clone());
    let entry = HistoryEntry { at: step.at, from: step.expected, to, attempt, reason, by };
    Ok(Written { to, set, entry: Some(entry) })
}

/// Returns the dotted path and new value of each changed field; of two changes of one field the later one holds.
pub fn changes_to_set(changes: &[Change]) -> Document {
    changes.iter().map(path_and_value).map(|(path, value)| (path.to_owned(), value)).collect()
}

fn path_and_value(change: &Change) -> (&'static str, Bson) {
    match change {
        Change::RunDir(path) => ("run_dir", path.as_str().into()),
        Change::ProcessId(id) => ("remote.process_id", id.as_deref().into()),
        Change::QueueState(state) => ("remote.queue_state", state.as_deref().into()),
        Change::StepAttempts(count) => ("remote.step_attempts", (*count).into()),
        Change::RetryTimeLimit(limit) => ("remote.retry_time_limit", (*limit).into()),
        Change::RemoteError(error) => ("remote.error", error.as_deref().into()),
        Change::PrerunCleanup(wanted) => ("remote.prerun_cleanup", (*wanted).into()),
        Change::QueueOut(text) => ("remote.queue_out", text.as_deref().into()),
        Change::QueueErr(text) => ("remote.queue_err", text.as_deref().into()),
        Change::PreviousState(state) => ("previous_state", state.map(State::stored_name).into()),
        Change::Error(error) => ("error", error.as_deref().into()),
        Change::StartTime(time) => ("start_time", (*time).into()),
        Change::EndTime(time) => ("end_time", (*time).into()),
        Change::StoredData(data) => ("stored_data", data.clone().into()),
        Change::Outcome(outcome) => ("jobferry.outcome", outcome.as_ref().map(outcome_document).into()),
        Change::RetriesUsed(count) => ("jobferry.retries_used", (*count).into()),
        Change::Worker(name) => ("worker", name.as_str().into()),
        Change::Priority(priority) => ("priority", (*priority).into()),
        Change::ExecConfig(config) => ("exec_config", config.clone().unwrap_or(Bson::Null)),
        Change::Resources(resources) => ("resources", resources.clone().into()),
    }
}

/// Writes each value of `set` at its dotted path, as MongoDB's `$set` does: what is missing on the way is made.
pub fn write_paths(document: &mut Document, set: &Document) {
    for (path, value) in set {
        write_path(document, path, value.clone());
    }
}

fn write_path(document: &mut Document, path: &str, value: Bson) {
    let Some((head, rest)) = path.split_once('.') else {
        document.insert(path, value);
        return;
    };
    if !matches!(document.get(head), Some(Bson::Document(_))) {
        document.insert(head, Document::new());
    }
    if let Some(Bson::Document(inner)) = document.get_mut(head) {
        write_path(inner, rest, value);
    }
}

/// Returns the record cut down to [`crate::model::query::Detail::Summary`].
pub fn summary(mut job: JobRecord) -> JobRecord {
    job.stored_data = None;
    job.ferry.history.clear();
    job.job = summary_of_job(&job.job);
    job
}

/// Returns what a summary keeps of the serialized Job.
pub fn summary_of_job(job: &Document) -> Document {
    let kept = job.iter().filter_map(|(field, value)| match (field.as_str(), value) {
        ("name" | "hosts" | "metadata", value) => Some((field.clone(), value.clone())),
        ("config", Bson::Document(config)) => {
            let rule = config.iter().filter(|(field, _)| field.as_str() == "on_missing_references");
            let rule: Document = rule.map(|(field, value)| (field.clone(), value.clone())).collect();
            Some((field.clone(), rule.into()))
        }
        _ => None,
    });
    kept.collect()
}

/// Returns which job a document is about, for error texts: its uuid and index as far as they can be read.
pub fn describe_job(document: &Document) -> String {
    let uuid = document.get_str("uuid").unwrap_or("without a uuid");
    format!("the job {}", JobKey::new(uuid, document.get_i32("index").unwrap_or_default()))
}

#[cfg(test)]
mod tests;
