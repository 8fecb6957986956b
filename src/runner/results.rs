//! Which files of a run directory are results, and where they lie on this machine.

use std::path::PathBuf;

use super::act::Act;
use super::job_stores::JobStores;
use super::plan::{HostPlan, Place};
use crate::jobflow::command::{self, ResultFile};
use crate::model::job::JobRecord;
use crate::transport::{FetchFile, Part};
use crate::worker::layout;

/// How much of a log is fetched: enough for people to see what went wrong; the whole stays on the worker.
pub const LOG_TAIL_BYTES: u64 = 64 * 1024;

/// The largest file of results of a Python job that is read: a document has at most 16 MiB, parts of an output in
/// additional stores may be larger.
const PYTHON_LIMIT_BYTES: u64 = 512 * 1024 * 1024;

/// The input document is fetched only as a mark; one that is larger stays on its host.
const INPUT_LIMIT_BYTES: u64 = 256 * 1024 * 1024;

/// Returns where the results of a job are read: its run directory on this machine, or what was fetched of it.
pub fn folder(act: &Act, host: &HostPlan, job: &JobRecord) -> PathBuf {
    match host.place {
        Place::Here => PathBuf::from(job.run_dir.clone().unwrap_or_default()),
        Place::Away => act.plan.options.tmp_dir.join("download").join(job.key.relative_directory()),
    }
}

/// Returns where copies of the files to be kept lie until they are stored.
pub fn copies(act: &Act, job: &JobRecord) -> PathBuf {
    act.plan.options.tmp_dir.join("keep").join(job.token().as_str())
}

/// What a Python job leaves besides its logs, by the names of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonFiles {
    /// Its output document.
    pub output: String,
    /// Names of additional stores, and the file of each.
    pub additional: Vec<(String, String)>,
    pub packing: Packing,
}

/// Whether the files of stores are packed with gzip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
}

impl PythonFiles {
    /// Returns the files of the job, or nothing when it is a command. A job without a usable job store has none of
    /// additional stores.
    pub fn of(act: &Act, job: &JobRecord, job_stores: &JobStores<'_>) -> Option<Self> {
        if command::is_command(&job.job) {
            return None;
        }
        let store = &act.plan.remote_store;
        let names = job_stores.store(job).map(|store| store.additional.keys().cloned().collect::<Vec<_>>());
        let additional = names.unwrap_or_default().into_iter();
        Some(Self {
            output: store.output_file(),
            additional: additional.map(|name| (name.clone(), store.additional_file(&name))).collect(),
            packing: if store.is_packed() { Packing::Gzip } else { Packing::Plain },
        })
    }

    fn files(&self) -> Vec<FetchFile> {
        let stores = std::iter::once(&self.output).chain(self.additional.iter().map(|(_, file)| file));
        let report = whole(layout::PYTHON_RESULT, PYTHON_LIMIT_BYTES);
        std::iter::once(report).chain(stores.map(|file| whole(file, PYTHON_LIMIT_BYTES))).collect()
    }
}

/// Returns everything that is fetched of a job from another machine: its input (by which the copy is known as ours),
/// its markers, the ends of its logs, its declared result files.
pub fn wanted(job: &JobRecord, python: Option<&PythonFiles>) -> Vec<FetchFile> {
    let mut files = vec![whole(layout::INPUT, INPUT_LIMIT_BYTES)];
    files.extend(to_read(job, python));
    let kept: Vec<FetchFile> =
        to_keep(job).into_iter().filter(|kept| files.iter().all(|f| f.path != kept.path)).collect();
    files.extend(kept);
    files
}

/// Returns what is read into memory when a job is completed.
pub fn to_read(job: &JobRecord, python: Option<&PythonFiles>) -> Vec<FetchFile> {
    let results = match python {
        Some(python) => python.files(),
        None => results_among(job, &command::searched_files(&job.job)),
    };
    // A log that is itself a result is wanted whole.
    let mut files = evidence();
    files.retain(|file| results.iter().all(|result| result.path != file.path));
    files.extend(results);
    files
}

/// Returns the files that are kept whole in the store.
pub fn to_keep(job: &JobRecord) -> Vec<FetchFile> {
    results_among(job, &command::kept_files(&job.job))
}

fn results_among(job: &JobRecord, paths: &[String]) -> Vec<FetchFile> {
    let results = command::result_files(&job.job);
    results.iter().filter(|result| paths.contains(&result.path)).map(result_file).collect()
}

/// Returns what is read of every job, whatever it is: the input, the markers, the ends of its logs.
fn evidence() -> Vec<FetchFile> {
    let marker = |path: &str| whole(path, layout::MARKER_LIMIT_BYTES);
    let log = |path: &str| FetchFile {
        path: path.to_owned(),
        limit_bytes: LOG_TAIL_BYTES,
        part: Part::Tail(LOG_TAIL_BYTES),
    };
    vec![
        marker(layout::START),
        marker(layout::END),
        log(layout::QUEUE_OUT),
        log(layout::QUEUE_ERR),
        log(layout::STDOUT),
        log(layout::STDERR),
    ]
}

/// Returns the fetch of a declared result.
fn result_file(result: &ResultFile) -> FetchFile {
    whole(&result.path, result.limit_bytes)
}

fn whole(path: &str, limit_bytes: u64) -> FetchFile {
    FetchFile { path: path.to_owned(), limit_bytes, part: Part::Whole }
}
