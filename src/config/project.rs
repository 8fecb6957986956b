//! A project as it was read: plain values, every default filled in, nothing opened or connected.
//!
//! The keys are those of jobflow-remote 1.0 (`config/base.py`), plus the optional `jobferry` sections, which are ours.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;

use super::raw::RawSettings;
use super::store::{JobStoreConfig, QueueConfig};
use super::worker::Worker;
use crate::flowfile::fault::hint_for;

/// One project: where its jobs are kept, and the workers that can run them.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    pub name: String,
    /// The project file.
    pub file: PathBuf,
    pub base_dir: PathBuf,
    /// Files on their way from workers to the store.
    pub tmp_dir: PathBuf,
    pub log_dir: PathBuf,
    /// Pid file and socket of the daemon.
    pub daemon_dir: PathBuf,
    pub log_level: LogLevel,
    pub runner: RunnerOptions,
    /// In the order of the file: the first one takes the jobs that name no worker.
    pub workers: IndexMap<String, Worker>,
    pub exec_config: IndexMap<String, ExecutionConfig>,
    pub queue: QueueConfig,
    pub jobstore: JobStoreConfig,
    /// How jobflow-remote's worker side writes its results (`{store, zip}`); nothing means its default.
    pub remote_jobstore: Option<RawSettings>,
    /// Output stores that a flow can ask for by name.
    pub optional_jobstores: IndexMap<String, JobStoreConfig>,
    pub metadata: Option<RawSettings>,
    pub jobferry: ProjectAdditions,
}

impl Project {
    /// Returns the worker that takes the jobs that name none: the first one of the file.
    pub fn default_worker(&self) -> Option<(&str, &Worker)> {
        self.workers.first().map(|(name, worker)| (name.as_str(), worker))
    }

    /// Returns the worker of that name.
    pub fn worker(&self, name: &str) -> Option<&Worker> {
        self.workers.get(name)
    }

    /// Returns the worker that a user named, or what may have been meant.
    pub fn chosen_worker(&self, name: &str) -> Result<&Worker, UnknownName> {
        self.workers.get(name).ok_or_else(|| UnknownName::new("worker", name, self.workers.keys(), self))
    }

    /// Returns the entry of `exec_config` of that name.
    pub fn execution_config(&self, name: &str) -> Result<&ExecutionConfig, UnknownName> {
        let names = self.exec_config.keys();
        self.exec_config.get(name).ok_or_else(|| UnknownName::new("exec_config", name, names, self))
    }

    /// Returns the output store of that name.
    pub fn optional_jobstore(&self, name: &str) -> Result<&JobStoreConfig, UnknownName> {
        let names = self.optional_jobstores.keys();
        self.optional_jobstores
            .get(name)
            .ok_or_else(|| UnknownName::new("optional job store", name, names, self))
    }
}

/// A name that a job or an option gives and the project does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the project `{project}` has no {what} `{name}`")]
pub struct UnknownName {
    what: &'static str,
    name: String,
    project: String,
    /// What may have been meant.
    pub hint: Option<String>,
}

impl UnknownName {
    fn new<'known>(
        what: &'static str,
        name: &str,
        known: impl Iterator<Item = &'known String>,
        project: &Project,
    ) -> Self {
        let known: Vec<&str> = known.map(String::as_str).collect();
        let hint = hint_for(name, &known).or_else(|| Some(format!("add it to {}", project.file.display())));
        Self { what, name: name.to_owned(), project: project.name.clone(), hint }
    }
}

/// How much the log of the runner tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

impl LogLevel {
    /// Every level with the word for it, from the quietest to the most talkative.
    pub const ALL: [(&'static str, Self); 4] =
        [("error", Self::Error), ("warn", Self::Warn), ("info", Self::Info), ("debug", Self::Debug)];

    /// Returns the word used in project files, which `tracing` understands too.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The `runner` section. Delays are upper bounds of latency, never minimum waits.
#[derive(Debug, Clone, PartialEq)]
pub struct RunnerOptions {
    pub delay_checkout: Duration,
    /// Between two questions to the schedulers.
    pub delay_check_run_status: Duration,
    pub delay_advance_status: Duration,
    /// Between two recounts of the jobs on workers with `max_jobs`.
    pub delay_refresh_limited: Duration,
    pub delay_update_batch: Duration,
    /// Between two signs of life in the `running_runner` document of MongoDB.
    pub delay_ping_db: Duration,
    /// Read, not used: our locks end by themselves.
    pub lock_timeout: Option<Duration>,
    /// Whether files fetched from a worker are removed once they are in the store.
    pub delete_tmp_folder: bool,
    /// How often a step of one job is tried before the job becomes `REMOTE_ERROR`.
    pub max_step_attempts: u32,
    /// The wait after the first, second, … failed try; the last one repeats. Never empty.
    pub delta_retry: Vec<Duration>,
}

/// One entry of `exec_config`: what is loaded, set and run around a job's command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecutionConfig {
    /// Environment modules, loaded in this order.
    pub modules: Vec<String>,
    /// Environment variables, in the order of the file.
    pub export: IndexMap<String, String>,
    pub pre_run: Option<String>,
    pub post_run: Option<String>,
}

/// The `jobferry` section of a project: what jobflow-remote has no key for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectAdditions {
    /// How long a runner that gives no sign of life keeps the project for itself.
    pub lease: Duration,
    /// Rotated log files that are kept.
    pub log_files: u32,
}
