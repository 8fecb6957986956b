//! A runner as a process: what a service manager, a terminal or `runner start` runs in the foreground.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use uuid::Uuid;

use super::act::Act;
use super::clock::SystemClock;
use super::connect::{self, ConnectError};
use super::daemon::{self, DaemonError, DaemonLock};
use super::lease::{Keeper, Standing};
use super::status;
use super::supervisor::{self, Ended, Until};
use crate::config::Project;
use crate::model::clock::Clock as _;
use crate::store::{Holder, StoreError, Stores};

/// Why a runner could not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
}

/// How often the status file is written and the service manager told that the runner lives.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Runs the project's runner in this process until it is told to stop (SIGTERM, SIGINT) or `until` ends it.
///
/// The store has to answer before this begins: its schema is brought up to date. From then on the runner outlives
/// every outage. One runner per project and machine; the lease decides among machines. On return the lease has been
/// given back and the status file removed.
pub async fn run(project: &Project, until: Until) -> Result<Ended, RunError> {
    let lock = daemon::lock(&project.daemon_dir)?;
    let stores = connect::open_stores(project).await?;
    let ran = stores.queue.migrate().await?;
    if !ran.is_empty() {
        tracing::info!("the schema of the store was brought up to date: {ran:?}");
    }
    let keeper = keeper(project, &lock);
    let act = act(project, stores, &keeper)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "runner of project {} begins", project.name);
    let (standing, seen) = watch::channel(Standing::Unknown);
    let stop = stop_on_signal()?;
    let ended = tokio::select! {
        ended = supervisor::run(&act, &keeper, until, &standing, stop) => ended,
        () = report(project.daemon_dir.clone(), &act, &keeper.owner, seen) => Ended::Stopped,
    };
    notify(&[NotifyState::Stopping]);
    if let Err(error) = status::remove(&project.daemon_dir) {
        tracing::debug!("the status file stays: {error}");
    }
    tracing::info!("runner of project {} ends: {ended:?}", project.name);
    Ok(ended)
}

/// Returns the shared part of a runner of this project, in this process.
pub fn act(project: &Project, stores: Stores, keeper: &Keeper) -> Result<Act, ConnectError> {
    let by = format!("runner@{}", keeper.holder.host);
    let random = StdRng::from_rng(&mut rand::rng());
    connect::make_directories(project)?;
    Ok(Act::new(connect::plan(project), stores, Arc::new(SystemClock), by, random))
}

/// Returns the keeper of this process's lease. Its owner is a name that no other process ever has.
pub fn keeper(project: &Project, lock: &DaemonLock) -> Keeper {
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    let holder = Holder {
        host,
        pid: std::process::id(),
        user: std::env::var("USER")
            .or_else(|_| std::env::var("LOGNAME"))
            .unwrap_or_else(|_| "unknown".to_owned()),
        project: project.name.clone(),
        daemon_dir: project.daemon_dir.display().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started: SystemClock.now(),
    };
    let predecessors = format!("{}/", lock.name);
    Keeper { owner: format!("{predecessors}{}", Uuid::new_v4()), holder, predecessors: Some(predecessors) }
}

/// Returns a watch that turns true with the first SIGTERM or SIGINT. A second one ends the process at once: every
/// step may be killed.
fn stop_on_signal() -> Result<watch::Receiver<bool>, RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    ignore_hangup()?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to stop: finishing the steps in hand");
        sender.send_replace(true);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("told again: ending at once");
        end_now();
    });
    Ok(receiver)
}

/// Lets the runner outlive the terminal it was started from; where it has one as its input, that is its user's word to
/// stop.
fn ignore_hangup() -> Result<(), RunError> {
    if std::io::stdin().is_terminal() {
        return Ok(());
    }
    let mut hangup = signal(SignalKind::hangup()).map_err(RunError::Signals)?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!("the terminal was closed; the runner goes on");
        }
    });
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the user's second order to stop must not wait for anything")]
fn end_now() -> ! {
    std::process::exit(130)
}

/// Writes the status file and tells the service manager that the runner lives, from the first answer of the store on.
async fn report(daemon_dir: PathBuf, act: &Act, owner: &str, mut standing: watch::Receiver<Standing>) {
    if standing.wait_for(|standing| *standing != Standing::Unknown).await.is_err() {
        return;
    }
    notify(&[NotifyState::Ready]);
    loop {
        if let Err(error) = status::write(&daemon_dir, &status::report(act, owner)) {
            tracing::debug!("the status file cannot be written: {error}");
        }
        notify(&[NotifyState::Watchdog]);
        tokio::time::sleep(REPORT_EVERY).await;
    }
}

/// Tells systemd, if it listens (`NOTIFY_SOCKET`, `sd_notify(3)`).
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("the service manager cannot be told: {error}");
    }
}
