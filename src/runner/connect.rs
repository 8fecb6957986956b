//! From a project file to stores, hosts and workers that can be used. Nothing is connected before its first use.

mod stores;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::plan::{Downloads, HostPlan, Options, Place, Plan, Worker};
use crate::config::{self, Connection, ExecutionConfig, Gateway, Project, SecretError, WorkerKind};
use crate::scheduler;
use crate::store::StoreError;
use crate::store::s3::ProfileError;
use crate::transport::Transport;
use crate::transport::local::LocalTransport;
use crate::transport::ssh::{Shell, SshSettings, SshTransport};
use crate::worker::remote_store::RemoteStore;
use crate::worker::script::Setup;

pub use stores::{open_admin, open_stores};

/// Why a project cannot be used, although its file is well formed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error("worker {worker}: {why}")]
    Worker { worker: String, why: String },
    #[error("the {part} names a store of type {kind}, which JobFerry cannot open")]
    StoreKind { part: &'static str, kind: String },
    #[error("the directory {directory} cannot be made")]
    Directory { directory: String, source: std::io::Error },
}

/// Returns what a runner of this project acts on.
///
/// Nothing is connected or written. Workers with the same connection share one host. A worker that
/// this version cannot use is left out and logged: its jobs stay READY, the others go on.
pub fn plan(project: &Project) -> Plan {
    let here: Arc<dyn Transport> = Arc::new(LocalTransport::new());
    let mut hosts: Vec<(Option<Connection>, HostPlan)> = Vec::new();
    for (name, settings) in &project.workers {
        if let Err(error) = add_worker(&mut hosts, name, settings, &here) {
            tracing::warn!(worker = name, "its jobs are left alone: {error}");
        }
    }
    let exec_configs: BTreeMap<String, Setup> =
        project.exec_config.iter().map(|(name, config)| (name.clone(), exec_config(config))).collect();
    let hosts = hosts.into_iter().map(|(_, host)| host).collect();
    let remote_store = remote_store(project);
    Plan { project: project.name.clone(), hosts, exec_configs, remote_store, here, options: options(project) }
}

/// Makes the directories for files under way (0700).
pub fn make_directories(project: &Project) -> Result<(), ConnectError> {
    ["files", "download", "keep"]
        .iter()
        .try_for_each(|directory| make_private(&project.tmp_dir.join(directory)))
}

/// Returns why this program cannot use a worker of the project, if so; nothing is connected.
pub fn check_worker(name: &str, settings: &config::Worker) -> Result<(), ConnectError> {
    let here: Arc<dyn Transport> = Arc::new(LocalTransport::new());
    add_worker(&mut Vec::new(), name, settings, &here)
}

fn add_worker(
    hosts: &mut Vec<(Option<Connection>, HostPlan)>,
    name: &str,
    settings: &config::Worker,
    here: &Arc<dyn Transport>,
) -> Result<(), ConnectError> {
    let worker = worker(name, settings)?;
    let connection = settings.connection().cloned();
    if let Some((_, host)) = hosts.iter_mut().find(|(known, _)| *known == connection) {
        host.workers.push(worker);
        return Ok(());
    }
    let (transport, place) = transport(name, settings, here)?;
    hosts.push((connection, HostPlan { transport, place, workers: vec![worker] }));
    Ok(())
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
        WorkerKind::Remote(connection) => {
            let settings = ssh_settings(connection).map_err(|why| no_worker(name, &why))?;
            Ok((Arc::new(SshTransport::new(settings)), Place::Away))
        }
        WorkerKind::SeparatedTransfer { .. } => Err(no_worker(
            name,
            "workers with a separate host for transfers are not supported by this version",
        )),
    }
}

/// Returns how OpenSSH is asked; what the project file leaves open is left to the user's own configuration.
fn ssh_settings(connection: &Connection) -> Result<SshSettings, String> {
    if connection.password.is_some() || connection.passphrase.is_some() {
        return Err(
            "passwords and passphrases cannot be given to OpenSSH: put the key into your ssh-agent, or open \
                    the connection by hand with a ControlMaster"
                .to_owned(),
        );
    }
    let mut settings = SshSettings::new(connection.host.clone());
    settings.user = connection.user.clone();
    settings.port = connection.port;
    settings.key_files = connection.key_filename.clone();
    settings.config_file = connection.ssh_config_file.clone();
    if let Some(limit) = connection.connect_timeout {
        settings.connect_timeout = limit;
    }
    if let Some(every) = connection.keepalive {
        settings.keepalive = every;
    }
    if connection.forward_agent {
        settings.options.push(("ForwardAgent".to_owned(), "yes".to_owned()));
    }
    settings.shell = match (&connection.shell_cmd, connection.login_shell) {
        (Some(program), true) => Shell::Login { program: program.clone() },
        _ => Shell::Plain,
    };
    match &connection.gateway {
        None => {}
        Some(Gateway::Name(name)) if name.contains(' ') => {
            settings.options.push(("ProxyCommand".to_owned(), name.clone()));
        }
        Some(gateway) => settings.jump_hosts = jump_hosts(gateway),
    }
    Ok(settings)
}

/// Returns the hosts on the way, the first nearest to here.
fn jump_hosts(gateway: &Gateway) -> Vec<String> {
    match gateway {
        Gateway::Name(name) => vec![name.clone()],
        Gateway::Connection(connection) => {
            let before = connection.gateway.as_ref().map(jump_hosts).unwrap_or_default();
            let user = connection.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
            let port = connection.port.map(|port| format!(":{port}")).unwrap_or_default();
            [before, vec![format!("{user}{}{port}", connection.host)]].concat()
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
        export: settings.jobferry.environment.clone().into_iter().collect(),
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
        poll_floor: settings.jobferry.poll_floor,
        keep_attempts: settings.jobferry.keep_attempts,
        download_delay: settings.delay_download,
    })
}

/// The reader of project files has refused what cannot be used.
fn remote_store(project: &Project) -> RemoteStore {
    let Some(settings) = &project.remote_jobstore else { return RemoteStore::default() };
    RemoteStore::from_document(settings.as_document()).unwrap_or_else(|error| {
        tracing::warn!("the remote_jobstore of the project is not used: {error}");
        RemoteStore::default()
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
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|source| ConnectError::Directory { directory: directory.display().to_string(), source })
}
