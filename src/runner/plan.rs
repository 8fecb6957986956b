//! What a runner acts on: hosts, workers and options, made from a project file or by a simulation.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bson::Document;

use crate::scheduler::Scheduler;
use crate::transport::Transport;
use crate::worker::remote_store::RemoteStore;
use crate::worker::script::Setup;

/// Everything a runner needs to know from outside, besides its stores.
#[derive(Clone)]
pub struct Plan {
    pub project: String,
    pub hosts: Vec<HostPlan>,
    /// Set-ups by name that a job may ask for, on top of its worker's.
    pub exec_configs: BTreeMap<String, Setup>,
    /// What Python jobs write their outputs into, on their workers.
    pub remote_store: RemoteStore,
    /// The way to this machine's own files, where fetched results lie.
    pub here: Arc<dyn Transport>,
    pub options: Options,
}

/// One host and the workers on it. They share one connection, one breaker and one question per tick.
#[derive(Clone)]
pub struct HostPlan {
    pub transport: Arc<dyn Transport>,
    pub place: Place,
    pub workers: Vec<Worker>,
}

/// Whether a host's files are this machine's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Results are read where they are: there is no download.
    Here,
    Away,
}

/// One worker of a project file, ready to be used.
#[derive(Clone)]
pub struct Worker {
    pub name: String,
    pub scheduler: Arc<dyn Scheduler>,
    /// Absolute path on the host.
    pub work_dir: String,
    /// Resources of jobs that name none.
    pub resources: Document,
    pub setup: Setup,
    /// How many of its jobs may be in the queue at once; none is unlimited.
    pub max_jobs: Option<u32>,
    /// Limit of one command on the host.
    pub command_limit: Duration,
    /// The least pause between two questions to its scheduler.
    pub poll_floor: Duration,
    /// Earlier attempts at a job whose directories stay; none keeps all.
    pub keep_attempts: Option<u32>,
    /// Pause between the end of a job and the fetching of its files.
    pub download_delay: Option<Duration>,
}

/// The runner's times and limits. Defaults are in `config/default.yaml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The longest that new READY jobs wait to be seen.
    pub checkout_every: Duration,
    /// The longest pause between two questions to a scheduler while jobs are in its queue.
    pub poll_every: Duration,
    /// The longest that a job waits for its next step, should a wake-up be lost.
    pub advance_every: Duration,
    /// How often a step that failed for reasons of the job is tried again.
    pub max_step_attempts: i32,
    /// Pauses between these tries; the last one repeats.
    pub retry_pauses: Vec<Duration>,
    /// How long the lease holds without renewal.
    pub lease: Duration,
    /// Where fetched results and cached files lie.
    pub tmp_dir: PathBuf,
    pub downloads: Downloads,
}

/// What becomes of fetched results once a job is completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Downloads {
    Remove,
    Keep,
}

impl Plan {
    /// Returns the names of all workers.
    pub fn worker_names(&self) -> Vec<String> {
        self.hosts.iter().flat_map(HostPlan::worker_names).collect()
    }

    /// Returns the worker of this name and its host.
    pub fn worker(&self, name: &str) -> Option<(&HostPlan, &Worker)> {
        self.hosts.iter().find_map(|host| host.worker(name).map(|worker| (host, worker)))
    }
}

impl HostPlan {
    /// Returns the names of the workers on the host.
    pub fn worker_names(&self) -> Vec<String> {
        self.workers.iter().map(|worker| worker.name.clone()).collect()
    }

    /// Returns the worker of this name, if it is on the host.
    pub fn worker(&self, name: &str) -> Option<&Worker> {
        self.workers.iter().find(|worker| worker.name == name)
    }
}
