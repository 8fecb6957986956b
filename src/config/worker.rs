//! A worker: which machine, which scheduler, which directory, and what surrounds each job there.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::raw::RawSettings;
use super::secret::SecretSource;

/// One entry of `workers`. Paths are paths of the worker's own machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Worker {
    pub kind: WorkerKind,
    pub scheduler: Scheduler,
    /// Absolute; run directories lie below it.
    pub work_dir: String,
    /// Keys of the scheduler's header template (`ntasks`, `partition`, …) for jobs that ask for nothing else.
    pub resources: bson::Document,
    pub pre_run: Option<String>,
    pub post_run: Option<String>,
    /// The command that runs a Python job, `{}` standing for the run directory.
    pub execution_cmd: Option<String>,
    /// Time limit of one command on the worker.
    pub timeout_execute: Duration,
    /// Jobs that may be with the scheduler at once; nothing means unlimited (`0` in the file, or no key).
    pub max_jobs: Option<u32>,
    pub batch: Option<BatchConfig>,
    /// Ask the scheduler for this user's jobs instead of giving it their ids.
    pub scheduler_username: Option<String>,
    /// The login shell prints text of its own around each answer.
    pub sanitize_command: bool,
    /// Wait between the end of a job and the fetching of its files.
    pub delay_download: Option<Duration>,
    pub jobferry: WorkerAdditions,
}

impl Worker {
    /// Returns the connection that commands go through, or nothing for a local worker.
    pub fn connection(&self) -> Option<&Connection> {
        match &self.kind {
            WorkerKind::Local => None,
            WorkerKind::Remote(connection) => Some(connection),
            WorkerKind::SeparatedTransfer { commands, .. } => Some(commands),
        }
    }
}

/// How the worker is reached; the word of each is its `type` in the file.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkerKind {
    /// This machine (`local`).
    Local,
    /// One SSH host (`remote`).
    Remote(Box<Connection>),
    /// Commands on one SSH host, files over another (`separated_transfer`).
    SeparatedTransfer { commands: Box<Connection>, transfer: Box<Connection> },
}

impl WorkerKind {
    /// Returns the `type` of the file.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote(_) => "remote",
            Self::SeparatedTransfer { .. } => "separated_transfer",
        }
    }
}

/// How one SSH host is reached. What is not set is left to the user's own OpenSSH configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    /// A name of the SSH configuration, a DNS name or an address.
    pub host: String,
    pub user: Option<String>,
    pub port: Option<u16>,
    pub password: Option<SecretSource>,
    pub key_filename: Vec<PathBuf>,
    pub passphrase: Option<SecretSource>,
    pub gateway: Option<Gateway>,
    pub forward_agent: bool,
    pub connect_timeout: Option<Duration>,
    /// Options for paramiko: read, not used.
    pub connect_kwargs: Option<RawSettings>,
    /// Read, not used: we always set variables in the command itself.
    pub inline_ssh_env: Option<bool>,
    /// Between two signs of life on an idle connection; nothing means none are sent.
    pub keepalive: Option<Duration>,
    /// The shell each command is given to; nothing means the account's own.
    pub shell_cmd: Option<String>,
    /// The shell is a login shell, so that it reads the account's profile.
    pub login_shell: bool,
    /// The host asks the user something (one-time password): only a master connection opened by hand is used.
    pub interactive_login: bool,
    /// An `ssh_config` file in place of `~/.ssh/config`.
    pub ssh_config_file: Option<PathBuf>,
}

impl Connection {
    /// Returns a connection that sets nothing; its host is empty.
    pub(super) fn bare() -> Self {
        Self {
            host: String::new(),
            user: None,
            port: None,
            password: None,
            key_filename: Vec::new(),
            passphrase: None,
            gateway: None,
            forward_agent: false,
            connect_timeout: None,
            connect_kwargs: None,
            inline_ssh_env: None,
            keepalive: None,
            shell_cmd: None,
            login_shell: false,
            interactive_login: false,
            ssh_config_file: None,
        }
    }
}

/// The host a connection goes through (`ProxyJump`). Gateways nest.
#[derive(Debug, Clone, PartialEq)]
pub enum Gateway {
    /// As written in the file: a name of the SSH configuration, `user@host:port`, or a `ProxyCommand`.
    Name(String),
    Connection(Box<Connection>),
}

/// The scheduler of a worker; the word of each is its `scheduler_type` in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheduler {
    Shell,
    Slurm,
    Pbs,
    Sge,
    Lsf,
    Flux,
}

impl Scheduler {
    /// Every scheduler with its `scheduler_type`.
    pub const ALL: [(&'static str, Self); 6] = [
        ("shell", Self::Shell),
        ("slurm", Self::Slurm),
        ("pbs", Self::Pbs),
        ("sge", Self::Sge),
        ("lsf", Self::Lsf),
        ("flux", Self::Flux),
    ];

    /// Returns the `scheduler_type` of the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Slurm => "slurm",
            Self::Pbs => "pbs",
            Self::Sge => "sge",
            Self::Lsf => "lsf",
            Self::Flux => "flux",
        }
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The `batch` section: many jobs one after another inside one allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchConfig {
    pub jobs_handle_dir: String,
    pub work_dir: String,
    pub max_jobs_per_batch: Option<u32>,
    /// How long a batch process without work waits before it ends.
    pub max_wait: Option<Duration>,
    pub max_time: Option<Duration>,
    pub parallel_jobs: Option<u32>,
    pub sleep_time: Option<Duration>,
}

/// The `jobferry` section of a worker: what jobflow-remote has no key for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerAdditions {
    /// Shortest time between two questions to this scheduler, whatever wakes the runner.
    pub poll_floor: Duration,
    /// Earlier attempts at a job whose directories are kept; nothing means all.
    pub keep_attempts: Option<u32>,
    /// Environment variables of every job on this worker.
    pub environment: BTreeMap<String, String>,
}
