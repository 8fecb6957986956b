//! What the files of an ended attempt say: its output, or why there is none.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bson::{Bson, Document, doc};

use super::python_verdict;
use super::results::PythonFiles;
use crate::jobflow::command::{self, Digest, ResultFiles, Retries};
use crate::model::Timestamp;
use crate::model::job::{Growth, JobRecord, Outcome};
use crate::store::{BlobDocument, Change, OutputDocument};
use crate::transport::{Answer, Fetched};
use crate::worker::end_marker::{End, read_end, read_start};
use crate::worker::layout;

/// How much of a failed job's standard error is kept with its document.
const STDERR_TAIL_BYTES: usize = 4096;

/// How much of `queue.out` and `queue.err` of a failed job is kept with its document (as jobflow-remote 1.0 does).
const QUEUE_LOG_CHARACTERS: usize = 3000;

/// The largest output document: MongoDB takes 16 MiB, and both stores keep to it.
pub(super) const OUTPUT_LIMIT_BYTES: usize = 16 * 1024 * 1024 - 16 * 1024;

/// What an ended attempt came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    Completed {
        output: OutputDocument,
        /// Files to be kept whole: SHA-256 and path on this machine.
        kept: Vec<(String, PathBuf)>,
        times: Times,
        outcome: Outcome,
        response: Box<Responded>,
    },
    Failed {
        /// In a few words.
        why: String,
        /// All that the job said about it.
        error: String,
        times: Times,
        outcome: Outcome,
        retries: Retries,
        logs: Logs,
    },
}

impl Verdict {
    /// Makes it the failure of a job that ended well but whose results cannot be stored.
    pub fn fail(&mut self, why: &str) {
        if let Self::Completed { times, outcome, .. } = self {
            *self = Self::Failed {
                why: why.to_owned(),
                error: why.to_owned(),
                times: *times,
                outcome: outcome.clone(),
                retries: Retries::default(),
                logs: Logs::default(),
            };
        }
    }
}

/// What a job says besides its output: Python jobs alone do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Responded {
    pub growth: Growth,
    pub stored_data: Option<Document>,
    /// Parts of the output, with the names of their additional stores.
    pub blobs: Vec<(String, BlobDocument)>,
}

/// When the attempt ran, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    pub started: Option<Timestamp>,
    pub ended: Option<Timestamp>,
}

impl Times {
    /// Returns the changes that record them.
    pub fn changes(self) -> Vec<Change> {
        vec![Change::StartTime(self.started), Change::EndTime(self.ended)]
    }
}

/// The beginnings of the scheduler-level logs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Logs {
    pub out: Option<String>,
    pub err: Option<String>,
}

/// The fetched files of one job, by path.
pub(super) struct Files<'a> {
    copies: &'a Path,
    by_path: HashMap<&'a str, &'a Fetched>,
}

/// What was read of an ended attempt: into memory, and copied to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub read: Answer,
    pub kept: Answer,
}

/// Returns what the reading says about the job, whose files to be kept were copied into `copies`; `python` names the
/// result files of one that is a Python function.
pub fn judge(copies: &Path, job: &JobRecord, python: Option<&PythonFiles>, reading: &Reading) -> Verdict {
    let fetched = |answer: &'_ Answer| match answer {
        Answer::Fetched(fetched) => fetched.clone(),
        _ => Vec::new(),
    };
    let fetched = [fetched(&reading.read), fetched(&reading.kept)].concat();
    let files = Files::new(copies, &fetched);
    let end = files.content(layout::END).map(|bytes| read_end(bytes, &job.token()));
    if let Some(python) = python {
        return python_verdict::judge(&files, job, python, end.and_then(Result::ok).as_ref());
    }
    match end {
        Some(Ok(end)) if end.exit_code == 0 => completed(&files, job, &end),
        Some(Ok(end)) => failed(&files, job, Some(&end), &exit_text(&end)),
        Some(Err(error)) => failed(&files, job, None, &format!("its end marker cannot be used: {error}")),
        None => failed(&files, job, None, &killed_text(&files, job)),
    }
}

pub(super) fn exit_text(end: &End) -> String {
    match end.signal {
        Some(signal) => format!("ended by signal {signal} (exit code {})", end.exit_code),
        None => format!("ended with exit code {}", end.exit_code),
    }
}

/// Tells "never started" from "died".
pub(super) fn killed_text(files: &Files<'_>, job: &JobRecord) -> String {
    let said = job.ferry.outcome.as_ref().and_then(|outcome| outcome.scheduler_state.as_deref());
    let said = said.map(|word| format!(" (the scheduler says {word})")).unwrap_or_default();
    match files.content(layout::START).map(|bytes| read_start(bytes, &job.token())) {
        Some(Ok(start)) => format!(
            "it started on {} and never ended: it was killed with all its processes, or its machine failed{said}",
            start.host
        ),
        _ => format!("it left the queue without ever starting{said}"),
    }
}

fn completed(files: &Files<'_>, job: &JobRecord, end: &End) -> Verdict {
    let extracted = match command::extract(&job.job, files) {
        Ok(extracted) => extracted,
        Err(error) => return failed(files, job, Some(end), &error.to_string()),
    };
    let document = output_document(job, extracted, end);
    let size_bytes = bson::serialize_to_vec(&document).map_or(usize::MAX, |bytes| bytes.len());
    if size_bytes > OUTPUT_LIMIT_BYTES {
        let why = format!(
            "its outputs have {size_bytes} bytes together, more than the {OUTPUT_LIMIT_BYTES} that a document may \
             have: declare large results as `file:` outputs, which have no limit"
        );
        return failed(files, job, Some(end), &why);
    }
    let kept = command::kept_files(&job.job)
        .into_iter()
        .filter_map(|path| files.digest(&path).map(|digest| (digest.sha256, files.copies.join(&path))))
        .collect();
    let output = OutputDocument { key: job.key.clone(), document };
    let (times, outcome) = (times(end), outcome(files, job, Some(end)));
    Verdict::Completed { output, kept, times, outcome, response: Box::default() }
}

/// Returns the document of jobflow's `JobStoreDocument` (jobflow 0.4, `core/schemas.py`).
fn output_document(job: &JobRecord, output: Document, end: &End) -> Document {
    let mut metadata = job.job.get_document("metadata").cloned().unwrap_or_default();
    metadata.insert("db_id", &job.db_id);
    let hosts: Vec<&str> = job.hosts().collect();
    let completed_at = end.ended.and_then(|at| at.try_to_rfc3339_string().ok());
    // jobflow writes a time without zone.
    let completed_at = completed_at.map(|text| text.trim_end_matches('Z').to_owned());
    doc! {
        "uuid": &job.key.uuid,
        "index": job.key.index,
        "output": output,
        "completed_at": completed_at,
        "metadata": metadata,
        "hosts": hosts,
        "name": job.name(),
        "@module": "jobflow.core.schemas",
        "@class": "JobStoreDocument",
        "@version": Bson::Null,
    }
}

pub(super) fn failed(files: &Files<'_>, job: &JobRecord, end: Option<&End>, why: &str) -> Verdict {
    Verdict::Failed {
        why: why.to_owned(),
        error: why.to_owned(),
        times: end.map(times).unwrap_or_default(),
        outcome: outcome(files, job, end),
        retries: command::retries(&job.job),
        logs: Logs { out: files.beginning(layout::QUEUE_OUT), err: files.beginning(layout::QUEUE_ERR) },
    }
}

pub(super) fn times(end: &End) -> Times {
    Times { started: end.started, ended: end.ended }
}

pub(super) fn outcome(files: &Files<'_>, job: &JobRecord, end: Option<&End>) -> Outcome {
    let scheduler_state = job.ferry.outcome.as_ref().and_then(|outcome| outcome.scheduler_state.clone());
    let start = files.content(layout::START).and_then(|bytes| read_start(bytes, &job.token()).ok());
    Outcome {
        exit_code: end.map(|end| end.exit_code),
        signal: end.and_then(|end| end.signal),
        host: end.map(|end| end.host.clone()).or_else(|| start.map(|start| start.host)),
        scheduler_state,
        stderr_tail: files.stderr_tail(),
    }
}

impl<'a> Files<'a> {
    fn new(copies: &'a Path, fetched: &'a [Fetched]) -> Self {
        let path = |file: &'a Fetched| match file {
            Fetched::File { path, .. } | Fetched::Missing { path } | Fetched::TooLarge { path, .. } => {
                path.as_str()
            }
        };
        Self { copies, by_path: fetched.iter().map(|file| (path(file), file)).collect() }
    }

    pub(super) fn content(&self, path: &str) -> Option<&'a [u8]> {
        match self.by_path.get(path)? {
            Fetched::File { content, .. } => Some(content),
            Fetched::Missing { .. } | Fetched::TooLarge { .. } => None,
        }
    }

    /// Returns the size of a file that was too large to be fetched.
    pub(super) fn too_large(&self, path: &str) -> Option<u64> {
        match self.by_path.get(path)? {
            Fetched::TooLarge { size_bytes, .. } => Some(*size_bytes),
            Fetched::File { .. } | Fetched::Missing { .. } => None,
        }
    }

    fn text(&self, path: &str) -> Option<String> {
        let text = String::from_utf8_lossy(self.content(path)?).into_owned();
        (!text.trim().is_empty()).then_some(text)
    }

    fn beginning(&self, path: &str) -> Option<String> {
        let text = self.text(path)?;
        let kept: String = text.chars().take(QUEUE_LOG_CHARACTERS).collect();
        let cut = if kept.len() < text.len() {
            " ...\nThe content was cut. Check the content of the actual file"
        } else {
            ""
        };
        Some(kept + cut)
    }

    /// Returns the end of what the command, or else the script around it, wrote to its standard error.
    fn stderr_tail(&self) -> Option<String> {
        let text = self.text(layout::STDERR).or_else(|| self.text(layout::QUEUE_ERR))?;
        let mut from = text.len().saturating_sub(STDERR_TAIL_BYTES);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        text.get(from..).map(str::to_owned)
    }

    fn digest(&self, path: &str) -> Option<Digest> {
        match self.by_path.get(path)? {
            Fetched::File { sha256, size_bytes, .. } => {
                Some(Digest { sha256: sha256.clone(), size_bytes: *size_bytes })
            }
            Fetched::Missing { .. } | Fetched::TooLarge { .. } => None,
        }
    }
}

impl ResultFiles for Files<'_> {
    fn content(&self, path: &str) -> Option<&[u8]> {
        Files::content(self, path)
    }

    fn digest(&self, path: &str) -> Option<Digest> {
        Files::digest(self, path)
    }
}
