//! What a Python job reports when it has ended: `jfremote_out.json` (jobflow-remote 1.0, `jobs/run.py`), and what its
//! response does to the flow (`jobs/jobcontroller.py`, `checkin_job` and `_append_flow`).
//!
//! The file is Python's JSON: `NaN` and `Infinity` stay numbers, a `datetime` or an array of numpy stays the document
//! that monty made of it. jobflow-remote stores them as they are too, in new jobs and in `stored_data`.

use bson::{Bson, Document, doc};

use super::extended::with_types;
use super::flow::{FlowError, SerializedFlow};
use super::json::{self, JsonError};
use super::monty::moment;
use super::reference::describe;
use super::run_config::{RunConfig, RunConfigError, is_true};
use super::text::to_text;
use crate::model::Timestamp;
use crate::model::job::{Growth, JobRecord, NewJob, Stop};

/// What a job reported.
#[derive(Debug, Clone, PartialEq)]
pub struct JobReport {
    pub start_time: Option<Timestamp>,
    pub end_time: Option<Timestamp>,
    pub end: ReportedEnd,
}

/// How a job ended, as it reported itself.
#[derive(Debug, Clone, PartialEq)]
pub enum ReportedEnd {
    /// Its function ended well.
    Responded(Box<Response>),
    /// Its function raised this, or could not be found: the text of the error.
    Failed(String),
    /// It began and never said how it ended: it was most likely killed.
    Killed,
}

/// A jobflow `Response` without its output, which has a file of its own.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Response {
    replace: Option<Bson>,
    addition: Option<Bson>,
    detour: Option<Bson>,
    stored_data: Option<Document>,
    stop: Stop,
}

/// Why the report of a job cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    #[error("it is no JSON: {0}")]
    Json(JsonError),
    #[error("it holds {0}, not the report of a job")]
    Form(String),
    #[error("its response is {0}, not a serialized Response")]
    Response(String),
}

/// Why the response of a job cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrowthError {
    #[error("the {kind} of the job's response cannot be added: {why}")]
    Flow { kind: Kind, why: FlowError },
    #[error("the {kind} of the job's response cannot be added: {why}")]
    RunConfig { kind: Kind, why: RunConfigError },
}

/// What new jobs are to the job that made them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// They stand in its place.
    Replace,
    /// They come after it, and nobody waits for them.
    Addition,
    /// They come between it and those who wait for it.
    Detour,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Replace => "replacement",
            Self::Addition => "addition",
            Self::Detour => "detour",
        })
    }
}

impl JobReport {
    /// Returns the report in the text of `jfremote_out.json`.
    ///
    /// As jobflow-remote judges: an `error` wins over a response; without either the job was killed.
    pub fn read(text: &[u8]) -> Result<Self, ReportError> {
        let value = json::parse(text).map(with_types).map_err(ReportError::Json)?;
        let Bson::Document(mut report) = value else { return Err(ReportError::Form(describe(&value))) };
        let time = |key| report.get(key).and_then(moment);
        let (start_time, end_time) = (time("start_time"), time("end_time"));
        let mut take = |key| report.remove(key).filter(is_true);
        let end = match (take("error"), take("response")) {
            (Some(error), _) => ReportedEnd::Failed(to_text(&error)),
            (None, Some(response)) => ReportedEnd::Responded(Box::new(Response::read(response)?)),
            (None, None) => ReportedEnd::Killed,
        };
        Ok(Self { start_time, end_time, end })
    }
}

impl Response {
    fn read(value: Bson) -> Result<Self, ReportError> {
        let Bson::Document(mut response) = value else { return Err(ReportError::Response(describe(&value))) };
        let says = |key| response.get(key).is_some_and(is_true);
        let stop = match (says("stop_jobflow"), says("stop_children")) {
            (true, _) => Stop::Flow,
            (false, true) => Stop::Children,
            (false, false) => Stop::Nothing,
        };
        let mut take = |key| response.remove(key).filter(|value| *value != Bson::Null);
        let stored_data = take("stored_data").map(|data| match data {
            Bson::Document(data) => data,
            // The models of the Python side take nothing but a map here.
            other => doc! { "value": other },
        });
        Ok(Self {
            replace: take("replace"),
            addition: take("addition"),
            detour: take("detour"),
            stored_data,
            stop,
        })
    }

    /// Returns what the job wants kept beside its output.
    pub fn stored_data(&self) -> Option<&Document> {
        self.stored_data.as_ref()
    }

    /// Returns what the response of the job in `record` does to the job's flow.
    ///
    /// New jobs have the worker, priority, `exec_config` and resources of the job, unless they say otherwise. Those that
    /// need no other new job have the parents of the job when they replace it, else the job as their parent; additions
    /// wait for the detour of the same response as well.
    pub fn growth(&self, record: &JobRecord) -> Result<Growth, GrowthError> {
        let mut growth = Growth { stop: self.stop, ..Growth::default() };
        let kinds =
            [(Kind::Replace, &self.replace), (Kind::Addition, &self.addition), (Kind::Detour, &self.detour)];
        for (kind, value) in kinds {
            let Some(value) = value else { continue };
            let (jobs, leaves) = new_jobs(kind, value, record)?;
            if kind == Kind::Detour {
                // The additions of the same response are among those who wait for the job.
                let waits = |job: &&mut NewJob| job.parents.contains(&record.key.uuid);
                growth.jobs.iter_mut().filter(waits).for_each(|job| job.parents.extend_from_slice(&leaves));
                growth.detour_leaves = leaves;
            }
            growth.jobs.extend(jobs);
        }
        Ok(growth)
    }
}

/// Returns the new jobs, and the uuids of the last of them.
fn new_jobs(kind: Kind, value: &Bson, record: &JobRecord) -> Result<(Vec<NewJob>, Vec<String>), GrowthError> {
    let hosts: Vec<String> = record.hosts().map(str::to_owned).collect();
    let flow =
        SerializedFlow::of_response(value.clone(), &hosts).map_err(|why| GrowthError::Flow { kind, why })?;
    let inherited = match kind {
        Kind::Replace => record.parents.clone(),
        Kind::Addition | Kind::Detour => vec![record.key.uuid.clone()],
    };
    let defaults = RunConfig::of_record(record);
    let new_job = |mut member: super::flow::FlowMember| {
        let own = std::mem::take(&mut member.parents);
        let parents = if own.is_empty() { inherited.clone() } else { own };
        defaults.new_job(member, parents).map_err(|why| GrowthError::RunConfig { kind, why })
    };
    let jobs = flow.members.into_iter().map(new_job).collect::<Result<_, _>>()?;
    Ok((jobs, flow.leaves))
}

#[cfg(test)]
mod tests;
