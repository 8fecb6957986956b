//! Where and how a job runs: what was given for all jobs, and what a job's `manager_config` says instead.
//!
//! The rules are those of jobflow-remote 1.0 (`jobs/data.py`, `get_initial_job_doc_dict` and the model `JobDoc`).

mod qresources;

use bson::{Bson, Document, doc};

pub use qresources::stored_resources;

use super::flow::FlowMember;
use super::reference::describe;
use crate::model::job::{JobRecord, NewJob};

/// What a job is given that says nothing itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunConfig {
    pub worker: String,
    pub priority: i32,
    /// A name of the project, or one written out.
    pub exec_config: Option<Bson>,
    pub resources: Option<Document>,
}

/// What is wrong with the settings of a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the job {job} cannot have the {key} of its manager_config: {why}")]
pub struct RunConfigError {
    /// Name and uuid.
    pub job: String,
    pub key: &'static str,
    pub why: String,
}

impl RunConfig {
    /// Returns what the new jobs of a job's response are given: what the job itself had.
    pub fn of_record(record: &JobRecord) -> Self {
        Self {
            worker: record.worker.clone(),
            priority: record.priority,
            exec_config: record.exec_config.clone(),
            resources: record.resources.clone(),
        }
    }

    /// Returns the job to be inserted: settings from its `manager_config` first (`resources` unless null; `worker`,
    /// `exec_config` and `priority` unless null, empty or 0), then these.
    pub fn new_job(&self, member: FlowMember, parents: Vec<String>) -> Result<NewJob, RunConfigError> {
        let config =
            member.job.get_document("config").and_then(|config| config.get_document("manager_config"));
        let own = config.cloned().unwrap_or_default();
        let error = |key, why| {
            let name = member.job.get_str("name").unwrap_or_default();
            RunConfigError { job: format!("{name} ({})", member.key.uuid), key, why }
        };
        let given = |key: &str| own.get(key).filter(|value| is_true(value));
        let worker = match given("worker") {
            None => self.worker.clone(),
            Some(Bson::String(worker)) => worker.clone(),
            Some(other) => return Err(error("worker", format!("it is {}, not a name", describe(other)))),
        };
        let priority = match given("priority") {
            None => self.priority,
            Some(value) => whole(value)
                .ok_or_else(|| error("priority", format!("it is {}, not a whole number", describe(value))))?,
        };
        let exec_config = given("exec_config").or(self.exec_config.as_ref()).map(stored_exec_config);
        let exec_config = exec_config.transpose().map_err(|why| error("exec_config", why))?;
        let resources = match own.get("resources") {
            None | Some(Bson::Null) => self.resources.as_ref(),
            Some(Bson::Document(resources)) => Some(resources),
            Some(other) => {
                return Err(error("resources", format!("it is {}, not a map", describe(other))));
            }
        };
        let resources = resources.map(stored_resources);
        Ok(NewJob { key: member.key, worker, priority, parents, exec_config, resources, job: member.job })
    }
}

/// Returns an `exec_config` as it is stored: a name as it is, settings with all four keys, or what is wrong with it.
pub fn stored_exec_config(value: &Bson) -> Result<Bson, String> {
    let document = match value {
        Bson::String(_) => return Ok(value.clone()),
        Bson::Document(document) => document,
        other => return Err(format!("it is {}, neither a name nor a map", describe(other))),
    };
    let keys = ["modules", "export", "pre_run", "post_run"];
    let of_python = |key: &String| key.starts_with('@') && document.contains_key("@class");
    if let Some(unknown) = document.keys().find(|key| !keys.contains(&key.as_str()) && !of_python(key)) {
        return Err(format!("`{unknown}` is not one of {}", keys.join(", ")));
    }
    let mut stored = doc! {};
    for key in keys {
        let value = document.get(key).unwrap_or(&Bson::Null);
        let fits = match (key, value) {
            (_, Bson::Null) => true,
            ("modules", Bson::Array(modules)) => modules.iter().all(|module| module.as_str().is_some()),
            ("export", Bson::Document(_)) | ("pre_run" | "post_run", Bson::String(_)) => true,
            _ => false,
        };
        if !fits {
            return Err(format!("its `{key}` is {}", describe(value)));
        }
        stored.insert(key, value);
    }
    Ok(stored.into())
}

/// Returns what Python's `bool(value)` does.
pub(super) fn is_true(value: &Bson) -> bool {
    match value {
        Bson::Null | Bson::Boolean(false) | Bson::Int32(0) | Bson::Int64(0) => false,
        Bson::Double(number) => *number != 0.0,
        Bson::String(text) => !text.is_empty(),
        Bson::Array(items) => !items.is_empty(),
        Bson::Document(document) => !document.is_empty(),
        _ => true,
    }
}

/// Returns the whole number that pydantic takes the value for.
fn whole(value: &Bson) -> Option<i32> {
    match value {
        Bson::Int32(number) => Some(*number),
        Bson::Int64(number) => i32::try_from(*number).ok(),
        Bson::Boolean(value) => Some(i32::from(*value)),
        Bson::Double(number) if number.fract() == 0.0 && number.abs() < f64::from(i32::MAX) => {
            Some(*number as i32)
        }
        Bson::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
