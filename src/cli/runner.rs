//! `jf runner …`, and `runner …`: start, stop, run and look at the daemon.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::error::{CliError, Exit};
use super::job::record;
use super::output::json::time;
use super::output::{Block, Cell, Table, Tone, View};
use super::session::Session;
use crate::config::Project;
use crate::model::query::JobFilter;
use crate::model::state::State;
use crate::runner::daemon::{self, DaemonError};
use crate::runner::logging::{self, Stderr};
use crate::runner::process::{self, RunError};
use crate::runner::status::{self, Report};
use crate::runner::supervisor::{Ended, Until};
use crate::store::{Lease, Standing};

#[derive(Debug, Subcommand)]
pub(super) enum RunnerCommand {
    /// Start the daemon in the background; returns when it is up and healthy
    Start(Start),
    /// Tell the daemon of this machine to stop; returns when it has ended
    #[command(visible_alias = "shutdown")]
    Stop(Stop),
    /// Show which runner acts for the project, its hosts' health and the jobs per state
    #[command(visible_alias = "info")]
    Status,
    /// Run in this terminal, until Ctrl-C or until nothing is left to do
    Run(Run),
}

#[derive(Debug, Args)]
pub(super) struct Start {
    /// Stay in the foreground, for service managers (systemd: Type=notify)
    #[arg(long)]
    foreground: bool,
    /// How much the log tells: error, warn, info, debug
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Stop {
    /// Give up waiting after this long; the daemon still stops when its steps in hand are done
    #[arg(short, long, value_name = "SECONDS", default_value_t = 120)]
    max_wait: u64,
    /// Wait for the end (always done; accepted for scripts written for jobflow-remote)
    #[arg(short, long, hide = true)]
    wait: bool,
}

#[derive(Debug, Args)]
pub(super) struct Run {
    /// End when no job can go on by itself
    #[arg(long)]
    until_idle: bool,
    /// With --until-idle: end after this long in any case, with exit code 3
    #[arg(long, value_name = "SECONDS", requires = "until_idle")]
    max_seconds: Option<u64>,
    /// How much the log tells: error, warn, info, debug
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

impl RunnerCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Exit, CliError> {
        let project = session.project()?;
        match self {
            Self::Start(start) if start.foreground => foreground(&project, start.log, Until::Stopped).await,
            Self::Start(start) => start_daemon(session, &project, start).await,
            Self::Stop(stop) => stop_daemon(session, &project, &stop).await,
            Self::Status => show_status(session, &project).await,
            Self::Run(run) => {
                let limit = run.max_seconds.map(Duration::from_secs);
                let until = if run.until_idle { Until::Idle { limit } } else { Until::Stopped };
                foreground(&project, run.log, until).await
            }
        }
    }
}

async fn foreground(project: &Project, level: Option<String>, until: Until) -> Result<Exit, CliError> {
    let level = level.unwrap_or_else(|| project.log_level.as_str().to_owned());
    crate::runner::connect::make_private(&project.log_dir)?;
    logging::start(&project.log_dir, &level, project.jobferry.log_files, Stderr::Log)
        .map_err(CliError::failed)?;
    match process::run(project, until).await? {
        Ended::Stopped | Ended::Idle => Ok(Exit::Success),
        Ended::OutOfTime => Ok(Exit::Incomplete),
    }
}

async fn start_daemon(session: &Session, project: &Project, start: Start) -> Result<Exit, CliError> {
    let mut arguments: Vec<String> =
        ["--project", &project.name, "runner", "start", "--foreground"].map(str::to_owned).to_vec();
    if std::env::current_exe().is_ok_and(|program| program.file_name().is_some_and(|name| name == "runner")) {
        arguments.retain(|argument| argument != "runner");
    }
    arguments.extend(start.log.into_iter().flat_map(|level| ["--log".to_owned(), level]));
    let pid = daemon::start(&project.daemon_dir, &arguments, daemon::START_LIMIT).await?;
    session.remark(&format!(
        "The runner of project {} is up (pid {pid}); its log is in {}",
        project.name,
        project.log_dir.display()
    ))?;
    Ok(Exit::Success)
}

async fn stop_daemon(session: &Session, project: &Project, stop: &Stop) -> Result<Exit, CliError> {
    let pid = daemon::stop(&project.daemon_dir, Duration::from_secs(stop.max_wait)).await?;
    session.remark(&format!("The runner of project {} has stopped (pid {pid})", project.name))?;
    Ok(Exit::Success)
}

async fn show_status(session: &Session, project: &Project) -> Result<Exit, CliError> {
    let stores = session.open().await?.stores;
    let lease = stores.queue.lease().await?;
    let counts = stores.queue.count_jobs_by_state(&JobFilter::default()).await?;
    let pid = daemon::running(&project.daemon_dir);
    let report = status::read(&project.daemon_dir).filter(|report| pid == Some(report.pid));
    let jobs = counts.into_iter().collect();
    let view =
        StatusView { project: project.name.clone(), pid, lease, report, jobs, zone: session.zone.clone() };
    session.show(&view)?;
    Ok(Exit::Success)
}

/// What `runner status` shows.
struct StatusView {
    project: String,
    /// The daemon of this machine.
    pid: Option<u32>,
    lease: Option<Lease>,
    /// What the daemon of this machine says about itself.
    report: Option<Report>,
    jobs: Vec<(State, u64)>,
    zone: super::time::Zone,
}

impl StatusView {
    fn acting(&self) -> Option<&Lease> {
        self.lease.as_ref().filter(|lease| lease.standing == Standing::Holds)
    }
}

impl View for StatusView {
    fn json(&self) -> Value {
        let lease = self.acting().map(|lease| {
            json!({
                "owner": lease.owner,
                "host": lease.holder.host,
                "pid": lease.holder.pid,
                "user": lease.holder.user,
                "version": lease.holder.version,
                "since": time(lease.holder.started),
                "renewed": time(lease.renewed),
                "expires": time(lease.expires),
            })
        });
        let jobs: serde_json::Map<String, Value> =
            self.jobs.iter().map(|(state, count)| (state.name().to_owned(), json!(count))).collect();
        json!({
            "project": self.project,
            "version": env!("CARGO_PKG_VERSION"),
            "running": self.acting().is_some(),
            "daemon_pid": self.pid,
            "lease": lease,
            "jobs": jobs,
            "hosts": self.report.as_ref().map(|report| &report.hosts),
        })
    }

    fn blocks(&self) -> Vec<Block> {
        let mut blocks = vec![Block::Fields {
            title: format!("Runner of project {}", self.project),
            fields: self.fields(),
        }];
        if let Some(report) = &self.report {
            blocks.push(Block::Table(hosts(report, &self.zone)));
        }
        let rows = self.jobs.iter().map(|(state, count)| {
            vec![Cell::new(state.name(), record::tone(*state)), Cell::from(count.to_string())]
        });
        blocks.push(Block::Table(Table {
            title: Some("Jobs".to_owned()),
            columns: ["State", "Number"].map(str::to_owned).to_vec(),
            rows: rows.collect(),
        }));
        if self.acting().is_none() {
            blocks.push(Block::Hint("start one with `runner start`".to_owned()));
        }
        blocks
    }
}

impl StatusView {
    fn fields(&self) -> Vec<(String, Cell)> {
        let Some(lease) = self.acting() else {
            return vec![("state".to_owned(), Cell::new("no runner acts for this project", Tone::Warning))];
        };
        let holder = &lease.holder;
        let local = |at| Cell::from(self.zone.second(at));
        vec![
            ("state".to_owned(), Cell::new("running", Tone::Good)),
            ("runner".to_owned(), format!("{}@{} (pid {})", holder.user, holder.host, holder.pid).into()),
            ("version".to_owned(), holder.version.clone().into()),
            ("since".to_owned(), local(holder.started)),
            ("last sign of life".to_owned(), local(lease.renewed)),
        ]
    }
}

fn hosts(report: &Report, zone: &super::time::Zone) -> Table {
    let local =
        |ms: Option<i64>| ms.map_or_else(String::new, |ms| zone.second(bson::DateTime::from_millis(ms)));
    let rows = report.hosts.iter().map(|host| {
        let health = match &host.trouble {
            None => Cell::new("ok", Tone::Good),
            Some(trouble) => {
                let hint = trouble.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
                let since = local(Some(trouble.since_ms));
                Cell::new(format!("paused since {since}: {}{hint}", trouble.why), Tone::Bad)
            }
        };
        vec![
            Cell::from(host.host.as_str()),
            Cell::from(host.workers.join(", ")),
            health,
            Cell::from(local(host.last_answer_ms)),
            Cell::from(host.round_trips.to_string()),
        ]
    });
    Table {
        title: Some("Hosts".to_owned()),
        columns: ["Host", "Workers", "Health", "Last answer", "Round trips"].map(str::to_owned).to_vec(),
        rows: rows.collect(),
    }
}

impl From<DaemonError> for CliError {
    fn from(error: DaemonError) -> Self {
        // What the daemon said has its own hints, and its exit code says what kind of trouble it is.
        if let DaemonError::Died { said, exit_code: Some(code) } = &error
            && said.contains("hint: ")
        {
            let exit = Exit::ALL.into_iter().find(|exit| i32::from(exit.code()) == *code);
            return Self::new(exit.unwrap_or(Exit::Failed), error);
        }
        let hint = match &error {
            DaemonError::AlreadyRunning { .. } => {
                "look at it with `runner status`, stop it with `runner stop`"
            }
            DaemonError::NotRunning => "`runner status` shows whether one runs on another machine",
            DaemonError::Directory { .. } => {
                "give your account write access to it, or set `daemon_dir` in the project file"
            }
            DaemonError::StillRunning { .. } => {
                "it ends when its steps in hand are done; `kill -9` is safe, too"
            }
            DaemonError::Spawn(_) | DaemonError::Signal { .. } => {
                "check the rights of your account on this machine"
            }
            DaemonError::Died { .. } | DaemonError::NotHealthy { .. } => {
                "try `runner run` to see it in this terminal"
            }
        };
        Self::failed(error).hint(hint)
    }
}

impl From<RunError> for CliError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Connect(error) => error.into(),
            RunError::Daemon(error) => error.into(),
            RunError::Store(error) => error.into(),
            RunError::Signals(_) => Self::failed(error),
        }
    }
}
