//! From a project file to stores, hosts and workers that can be used. Nothing is connected before its first use.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::clock::SystemClock;
use super::plan::{Downloads, HostPlan, Options, Place, Plan, Worker};
use crate::config::{self, ExecutionConfig, Project, QueueConfig, StoreConfig, WorkerKind};
use crate::scheduler;
use crate::store::sqlite::{Dispatch, SqliteSettings, SqliteStore};
use crate::store::{StoreError, Stores};
use crate::transport::Transport;
use crate::transport::local::LocalTransport;
use crate::worker::script::Setup;

/// Why a project cannot be used, although its file is well formed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("worker {worker}: {why}")]
    Worker { worker: String, why: String },
    #[error("the {part} names a store of type {kind}, which JobFerry cannot open")]
    StoreKind { part: &'static str, kind: String },
    #[error("the directory {directory} cannot be made")]
    Directory { directory: String, source: std::io::Error },
}

/// Opens the stores of the project; nothing is written but, for SQLite, an empty file where there was none.
pub async fn open_stores(project: &Project) -> Result<Stores, ConnectError> {
    match &project.queue.store {
        StoreConfig::Sqlite { path } => Ok(sqlite(project, path)?),
        other => Err(unusable("queue", other)),
    }
}

fn sqlite(project: &Project, path: &Path) -> Result<Stores, StoreError> {
    let settings = SqliteSettings {
        path: path.to_owned(),
        id_prefix: id_prefix(&project.queue),
        dispatch: Dispatch::Blocking,
        clock: Arc::new(SystemClock),
    };
    let store = Arc::new(SqliteStore::open(settings)?);
    Ok(Stores { queue: store.clone(), outputs: store.clone(), files: store })
}

fn id_prefix(queue: &QueueConfig) -> String {
    queue.db_id_prefix.clone().unwrap_or_default()
}

fn unusable(part: &'static str, store: &StoreConfig) -> ConnectError {
    ConnectError::StoreKind { part, kind: store.type_name().to_owned() }
}

/// Returns what a runner of this project acts on.
///
/// Makes the directories for files under way (0700). Workers with the same connection share one host.
pub fn plan(project: &Project) -> Result<Plan, ConnectError> {
    for directory in ["files", "download", "keep"] {
        make_private(&project.tmp_dir.join(directory))?;
    }
    let here: Arc<dyn Transport> = Arc::new(LocalTransport::new());
    let mut hosts: Vec<(Option<config::Connection>, HostPlan)> = Vec::new();
    for (name, settings) in &project.workers {
        let worker = worker(name, settings)?;
        let connection = settings.connection().cloned();
        match hosts.iter_mut().find(|(known, _)| *known == connection) {
            Some((_, host)) => host.workers.push(worker),
            None => {
                let (transport, place) = transport(name, settings, &here)?;
                hosts.push((connection, HostPlan { transport, place, workers: vec![worker] }));
            }
        }
    }
    let exec_configs: BTreeMap<String, Setup> =
        project.exec_config.iter().map(|(name, config)| (name.clone(), exec_config(config))).collect();
    let hosts = hosts.into_iter().map(|(_, host)| host).collect();
    Ok(Plan { project: project.name.clone(), hosts, exec_configs, here, options: options(project) })
}

/// Returns the way to the host of a worker, for commands that act on its files.
pub fn transport_of(project: &Project, name: &str) -> Result<Arc<dyn Transport>, ConnectError> {
    let settings = project.worker(name).ok_or_else(|| no_worker(name, "it is not in the project file"))?;
    let here: Arc<dyn Transport> = Arc::new(LocalTransport::new());
    transport(name, settings, &here).map(|(transport, _)| transport)
}

fn no_worker(name: &str, why: &str) -> ConnectError {
    ConnectError::Worker { worker: name.to_owned(), why: why.to_owned() }
}

fn transport(
    name: &str,
    settings: &config::Worker,
    here: &Arc<dyn Transport>,
) -> Result<(Arc<dyn Transport>, Place), ConnectError> {
    match &settings.kind {
        WorkerKind::Local => Ok((Arc::clone(here), Place::Here)),
        WorkerKind::Remote(_) | WorkerKind::SeparatedTransfer { .. } => {
            Err(no_worker(name, "workers of this type cannot be used yet"))
        }
    }
}

fn worker(name: &str, settings: &config::Worker) -> Result<Worker, ConnectError> {
    let kind = settings.scheduler.as_str();
    let scheduler = scheduler::by_name(kind)
        .ok_or_else(|| no_worker(name, &format!("the scheduler {kind} is not supported by this version")))?;
    if settings.batch.is_some() {
        return Err(no_worker(name, "batch workers are not supported by this version"));
    }
    let setup = Setup {
        pre_run: settings.pre_run.clone().unwrap_or_default(),
        post_run: settings.post_run.clone().unwrap_or_default(),
        execution_command: settings.execution_cmd.clone(),
        ..Setup::default()
    };
    Ok(Worker {
        name: name.to_owned(),
        scheduler,
        work_dir: settings.work_dir.clone(),
        resources: settings.resources.clone(),
        setup,
        max_jobs: settings.max_jobs,
        command_limit: settings.timeout_execute,
    })
}

fn exec_config(config: &ExecutionConfig) -> Setup {
    Setup {
        pre_run: config.pre_run.clone().unwrap_or_default(),
        post_run: config.post_run.clone().unwrap_or_default(),
        modules: config.modules.clone(),
        export: config.export.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        ..Setup::default()
    }
}

fn options(project: &Project) -> Options {
    let runner = &project.runner;
    Options {
        checkout_every: runner.delay_checkout.min(LONGEST_CHECKOUT),
        poll_every: runner.delay_check_run_status,
        advance_every: runner.delay_advance_status.min(LONGEST_ADVANCE),
        max_step_attempts: i32::try_from(runner.max_step_attempts).unwrap_or(i32::MAX),
        retry_pauses: runner.delta_retry.clone(),
        lease: project.jobferry.lease,
        tmp_dir: project.tmp_dir.clone(),
        downloads: if runner.delete_tmp_folder { Downloads::Remove } else { Downloads::Keep },
    }
}

/// New jobs are seen at least this soon, whatever the project file allows: looking costs one indexed count.
const LONGEST_CHECKOUT: Duration = Duration::from_secs(1);

/// A job whose wake-up was lost, or that somebody else moved, goes on at least this soon.
const LONGEST_ADVANCE: Duration = Duration::from_secs(5);

/// Makes the directory and its parents, for this account only.
pub fn make_private(directory: &Path) -> Result<(), ConnectError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|source| ConnectError::Directory { directory: directory.display().to_string(), source })
}
