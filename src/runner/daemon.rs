//! The runner as a process: one per project and machine, in the background or under a service manager.
//!
//! A daemon holds a lock on `runner.lock` in the daemon directory as long as it lives; the lock ends with the
//! process, however it dies, so nothing has to be cleaned up after a `kill -9`. Which machine acts for the project
//! is decided by the lease in the store, not here.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::status;

/// The lock's file name in the daemon directory; it holds the process id for people.
const LOCK_FILE: &str = "runner.lock";

/// Where a daemon in the background writes what it could not log.
const STARTUP_FILE: &str = "runner.startup";

/// How long a daemon has until it is healthy: migrations of a large database are the longest part.
pub const START_LIMIT: Duration = Duration::from_secs(60);

/// How often a start or a stop is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Why the daemon could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("a runner of this project is already running here (pid {pid})")]
    AlreadyRunning { pid: u32 },
    #[error("no runner of this project is running on this machine")]
    NotRunning,
    #[error("the daemon directory {directory} cannot be used")]
    Directory { directory: PathBuf, source: std::io::Error },
    #[error("the runner could not be started")]
    Spawn(#[source] std::io::Error),
    /// `exit_code` is the daemon's own; none when it was killed.
    #[error("the runner ended while it was starting:\n{said}")]
    Died { said: String, exit_code: Option<i32> },
    #[error("the runner (pid {pid}) is not healthy after {} s", limit.as_secs())]
    NotHealthy { pid: u32, limit: Duration },
    #[error("the runner (pid {pid}) is still running after {} s", limit.as_secs())]
    StillRunning { pid: u32, limit: Duration },
    #[error("the runner (pid {pid}) cannot be told to stop")]
    Signal { pid: u32, source: std::io::Error },
}

/// Where the name of the daemon directory is kept: a random one, made once. Every runner that ever held its lock has
/// a lease owner that begins with it.
const NAME_FILE: &str = "runner.id";

/// The right to be this machine's daemon of a project; ends when it is dropped.
#[derive(Debug)]
pub struct DaemonLock {
    _file: File,
    /// The name of the daemon directory, the same for every holder of the lock.
    pub name: String,
}

/// Takes the lock, or says which process has it. Makes the directory (0700) if there is none.
pub fn lock(daemon_dir: &Path) -> Result<DaemonLock, DaemonError> {
    let failed = |source| DaemonError::Directory { directory: daemon_dir.to_owned(), source };
    make_directory(daemon_dir).map_err(failed)?;
    let mut file = open_lock(daemon_dir).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(DaemonError::AlreadyRunning { pid: read_pid(&mut file) });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    let name = directory_name(daemon_dir).map_err(failed)?;
    Ok(DaemonLock { _file: file, name })
}

/// Returns the directory's name, making one where there is none. The caller holds the lock.
fn directory_name(daemon_dir: &Path) -> std::io::Result<String> {
    let path = daemon_dir.join(NAME_FILE);
    match std::fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let name = Uuid::new_v4().to_string();
    let mut file = tempfile::NamedTempFile::new_in(daemon_dir)?;
    writeln!(file, "{name}")?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(name)
}

/// Returns the process id of the daemon that runs on this machine, if one does.
pub fn running(daemon_dir: &Path) -> Option<u32> {
    let mut file = File::open(daemon_dir.join(LOCK_FILE)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(read_pid(&mut file)),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

fn open_lock(daemon_dir: &Path) -> std::io::Result<File> {
    let path = daemon_dir.join(LOCK_FILE);
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn read_pid(file: &mut File) -> u32 {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    read.ok().and_then(|_| text.trim().parse().ok()).unwrap_or_default()
}

fn make_directory(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Starts the daemon in the background and returns its process id once it is healthy: its store answers, its schema
/// is up to date, and it holds the lease or waits for it.
///
/// `arguments` are those of this program that run it in the foreground. On failure no daemon is left.
pub async fn start(daemon_dir: &Path, arguments: &[String], limit: Duration) -> Result<u32, DaemonError> {
    if let Some(pid) = running(daemon_dir) {
        return Err(DaemonError::AlreadyRunning { pid });
    }
    let failed = |source| DaemonError::Directory { directory: daemon_dir.to_owned(), source };
    make_directory(daemon_dir).map_err(failed)?;
    let startup = File::create(daemon_dir.join(STARTUP_FILE)).map_err(failed)?;
    let program = std::env::current_exe().map_err(DaemonError::Spawn)?;
    let mut command = Command::new(program);
    // A process group of its own: a Ctrl-C on the terminal is not for the daemon.
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(startup).process_group(0);
    let mut child = command.spawn().map_err(DaemonError::Spawn)?;
    wait_until_healthy(daemon_dir, &mut child, limit).await
}

async fn wait_until_healthy(
    daemon_dir: &Path,
    child: &mut Child,
    limit: Duration,
) -> Result<u32, DaemonError> {
    let pid = child.id();
    let started = Instant::now();
    while started.elapsed() < limit {
        if status::read(daemon_dir).is_some_and(|report| report.pid == pid) {
            return Ok(pid);
        }
        if let Ok(Some(_)) | Err(_) = child.try_wait() {
            let exit_code = child.wait().ok().and_then(|status| status.code());
            let said = std::fs::read_to_string(daemon_dir.join(STARTUP_FILE)).unwrap_or_default();
            return Err(DaemonError::Died { said: said.trim_end().to_owned(), exit_code });
        }
        sleep(LOOK_EVERY).await;
    }
    // It may be anywhere in its start; every step may be killed.
    child.kill().and_then(|()| child.wait()).map_err(|source| DaemonError::Signal { pid, source })?;
    Err(DaemonError::NotHealthy { pid, limit })
}

/// Tells the daemon of this machine to stop and returns its process id once it has ended.
///
/// It finishes the steps in hand first. When it is not done within `limit` it is left to finish.
pub async fn stop(daemon_dir: &Path, limit: Duration) -> Result<u32, DaemonError> {
    let pid = running(daemon_dir).ok_or(DaemonError::NotRunning)?;
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(DaemonError::NotRunning)?;
    kill_process(process, Signal::TERM).map_err(|error| DaemonError::Signal { pid, source: error.into() })?;
    let started = Instant::now();
    while started.elapsed() < limit {
        if running(daemon_dir) != Some(pid) {
            return Ok(pid);
        }
        sleep(LOOK_EVERY).await;
    }
    Err(DaemonError::StillRunning { pid, limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lock_per_directory_and_it_ends_with_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(running(directory.path()), None);
        let held = lock(directory.path()).unwrap();
        assert_eq!(running(directory.path()), Some(std::process::id()));
        assert!(matches!(lock(directory.path()), Err(DaemonError::AlreadyRunning { .. })));
        drop(held);
        assert_eq!(running(directory.path()), None);
        drop(lock(directory.path()).unwrap());
    }
}
