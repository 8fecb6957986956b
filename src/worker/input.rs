//! `jfremote_in.json`: the job as its executor reads it (jobflow-remote 1.0, `remote/data.py`).
//!
//! Compact JSON `{"job":…,"store":…,"job_doc":…}`, byte for byte as orjson writes it for the Python side; dates become
//! ISO text without a zone. What orjson cannot write or would lose is written so that every decoder of monty reads it
//! back: NaN and infinities bare, as Python's `json` has them; bytes and `ObjectId`s as MongoDB's extended JSON.

use bson::{Bson, Document, doc};

use super::remote_store::RemoteStore;
use crate::model::Timestamp;
use crate::model::job::{JobRecord, Remote};

/// What a run directory's input is made from.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    /// The job before its checkout is stored; its `job` is not read.
    pub record: &'a JobRecord,
    /// The serialized `Job` with its references resolved.
    pub job: &'a Document,
    pub run_dir: &'a str,
    /// Names of the additional stores of the project's JobStore.
    pub additional_stores: &'a [String],
    /// What that JobStore is made of in the run directory.
    pub remote_store: &'a RemoteStore,
}

/// Returns the document as compact JSON.
pub fn encode(input: &Input<'_>) -> Vec<u8> {
    let mut json = Vec::with_capacity(4096);
    json.extend_from_slice(b"{\"job\":");
    push_document(&mut json, input.job);
    json.extend_from_slice(b",\"store\":");
    push_document(&mut json, &input.remote_store.job_store(input.run_dir, input.additional_stores));
    json.extend_from_slice(b",\"job_doc\":");
    push_document(&mut json, &job_doc(input.record));
    json.push(b'}');
    json
}

/// Returns the documents as a compact JSON array, written as the job is.
pub fn encode_array(documents: &[&Document]) -> Vec<u8> {
    let mut json = vec![b'['];
    for (place, document) in documents.iter().enumerate() {
        if place > 0 {
            json.push(b',');
        }
        push_document(&mut json, document);
    }
    json.push(b']');
    json
}

/// Returns jobflow-remote's `JobDoc` without `job` and the lock, which is never held where a job runs.
fn job_doc(record: &JobRecord) -> Document {
    doc! {
        "uuid": &record.key.uuid,
        "index": record.key.index,
        "db_id": &record.db_id,
        "worker": &record.worker,
        "state": record.state.name(),
        "remote": remote(&record.remote),
        "parents": &record.parents,
        "previous_state": record.previous_state.map(|state| state.name()),
        "error": &record.error,
        "lock_id": null,
        "lock_time": null,
        "run_dir": &record.run_dir,
        "start_time": record.start_time,
        "end_time": record.end_time,
        "created_on": record.created_on,
        "updated_on": record.updated_on,
        "priority": record.priority,
        "exec_config": &record.exec_config,
        "resources": &record.resources,
        "stored_data": &record.stored_data,
    }
}

fn remote(remote: &Remote) -> Document {
    doc! {
        "step_attempts": remote.step_attempts,
        "queue_state": &remote.queue_state,
        "process_id": &remote.process_id,
        "retry_time_limit": remote.retry_time_limit,
        "error": &remote.error,
        "prerun_cleanup": remote.prerun_cleanup,
        "queue_out": &remote.queue_out,
        "queue_err": &remote.queue_err,
    }
}

/// Returns a value in the same form.
pub fn json_of(value: &Bson) -> Vec<u8> {
    let mut json = Vec::new();
    push_value(&mut json, value);
    json
}

fn push_document(json: &mut Vec<u8>, document: &Document) {
    json.push(b'{');
    for (position, (key, value)) in document.iter().enumerate() {
        if position > 0 {
            json.push(b',');
        }
        push_text(json, key);
        json.push(b':');
        push_value(json, value);
    }
    json.push(b'}');
}

fn push_array(json: &mut Vec<u8>, values: &[Bson]) {
    json.push(b'[');
    for (position, value) in values.iter().enumerate() {
        if position > 0 {
            json.push(b',');
        }
        push_value(json, value);
    }
    json.push(b']');
}

fn push_value(json: &mut Vec<u8>, value: &Bson) {
    match value {
        Bson::Document(document) => push_document(json, document),
        Bson::Array(values) => push_array(json, values),
        Bson::String(text) | Bson::Symbol(text) => push_text(json, text),
        Bson::Boolean(yes) => json.extend_from_slice(if *yes { b"true" } else { b"false" }),
        Bson::Int32(number) => json.extend_from_slice(number.to_string().as_bytes()),
        Bson::Int64(number) => json.extend_from_slice(number.to_string().as_bytes()),
        Bson::Double(number) => push_double(json, *number),
        Bson::DateTime(time) => push_text(json, &naive_iso(*time)),
        Bson::Null | Bson::Undefined => json.extend_from_slice(b"null"),
        // Binary, ObjectIds, decimals, regular expressions.
        other => json.extend_from_slice(other.clone().into_relaxed_extjson().to_string().as_bytes()),
    }
}

fn push_double(json: &mut Vec<u8>, number: f64) {
    match serde_json::Number::from_f64(number) {
        Some(number) => json.extend_from_slice(number.to_string().as_bytes()),
        None if number.is_nan() => json.extend_from_slice(b"NaN"),
        None => json.extend_from_slice(if number > 0.0 { b"Infinity" } else { b"-Infinity" }),
    }
}

fn push_text(json: &mut Vec<u8>, text: &str) {
    json.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}

/// Returns the time as Python's `datetime.isoformat()` without a zone writes it; the fraction only where there is one.
fn naive_iso(time: Timestamp) -> String {
    let milliseconds = time.timestamp_millis();
    let moment = jiff::Timestamp::from_millisecond(milliseconds).unwrap_or_default();
    let format =
        if milliseconds.rem_euclid(1000) == 0 { "%Y-%m-%dT%H:%M:%S" } else { "%Y-%m-%dT%H:%M:%S.%6f" };
    moment.strftime(format).to_string()
}

#[cfg(test)]
#[path = "input/tests.rs"]
mod tests;
