//! The connection of a host: a control master of OpenSSH, found or started.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use openssh::Session;
use rustix::fs::{FlockOperation, flock};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::settings::SshSettings;
use super::stderr::diagnose;
use crate::transport::TransportError;

/// How long a control master of this machine may take to answer: it only reads a socket.
const SOCKET_LIMIT: Duration = Duration::from_secs(5);

/// How often a lock held by another program is tried again.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// The longest path of a socket: 108 bytes with the NUL on Linux (unix(7)), of which OpenSSH takes 17 for a temporary name.
const SOCKET_PATH_LIMIT_BYTES: usize = 107 - 17;

/// How much of OpenSSH's complaints is read.
const STDERR_LIMIT_BYTES: u64 = 64 * 1024;

/// Returns a live connection: one that another program of this user has opened with the same settings, else a new one.
///
/// It stands for a minute after its last user is gone. On failure nothing is left running.
pub(super) async fn open(settings: &SshSettings, deadline: Instant) -> Result<Arc<Session>, TransportError> {
    let unusable = |error: io::Error| TransportError::Connect {
        host: settings.host.clone(),
        message: format!(
            "{} cannot be used for the connection: {error}",
            settings.control_directory.display()
        ),
        hint: Some("set a control directory that belongs to you alone and has a short path".to_owned()),
    };
    let socket = settings.socket();
    prepare(&settings.control_directory, &socket).map_err(unusable)?;
    if let Some(session) = find(&socket).await {
        return Ok(session);
    }
    let end = deadline.min(Instant::now() + settings.connect_timeout * 2);
    let _lock = lock(&socket.with_extension("lock"), end).await.map_err(unusable)?;
    if let Some(session) = find(&socket).await {
        return Ok(session);
    }
    launch(settings, &socket, end).await?;
    find(&socket).await.ok_or_else(|| TransportError::Connect {
        host: settings.host.clone(),
        message: "ssh went into the background without a control socket".to_owned(),
        hint: Some(format!(
            "look for ControlPath and ControlMaster in your configuration: `{}`",
            settings.by_hand()
        )),
    })
}

/// Makes the connection take no new users; it ends with its last lane.
pub(super) async fn retire(settings: &SshSettings) {
    let socket = settings.socket();
    let session = Session::resume_mux(socket.clone().into_boxed_path(), None);
    if !matches!(timeout(SOCKET_LIMIT, session.close()).await, Ok(Ok(()))) {
        // Nobody listens there: the next connection makes its own socket.
        let _absent = fs::remove_file(socket);
    }
}

fn prepare(directory: &Path, socket: &Path) -> io::Result<()> {
    if socket.as_os_str().len() > SOCKET_PATH_LIMIT_BYTES {
        return Err(io::Error::other("its path is too long for a socket"));
    }
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let metadata = fs::symlink_metadata(directory)?;
    let is_ours = metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw();
    if !is_ours || metadata.mode() & 0o022 != 0 {
        return Err(io::Error::other("others may write there"));
    }
    Ok(())
}

async fn find(socket: &Path) -> Option<Arc<Session>> {
    let session = Session::resume_mux(socket.to_owned().into_boxed_path(), None);
    match timeout(SOCKET_LIMIT, session.check()).await {
        Ok(Ok(())) => Some(Arc::new(session)),
        _ => None,
    }
}

/// Two programs that start a master at once would leave one of them running without a socket for ever.
async fn lock(path: &Path, end: Instant) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < end => sleep(LOCK_PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
}

async fn launch(settings: &SshSettings, socket: &Path, end: Instant) -> Result<(), TransportError> {
    let host = || settings.host.clone();
    let started = Instant::now();
    let no_ssh = |error: io::Error| TransportError::Connect {
        host: host(),
        message: format!("ssh cannot be started: {error}"),
        hint: Some("install OpenSSH's client".to_owned()),
    };
    let _stale = fs::remove_file(socket);
    // A file, not a pipe: proxies keep it open as long as the connection stands.
    let mut complaints = tempfile::tempfile().map_err(no_ssh)?;
    let mut process = Command::new("ssh")
        .args(settings.master_arguments(socket))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(complaints.try_clone().map_err(no_ssh)?)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(no_ssh)?;
    let status = match timeout_at(end, process.wait()).await {
        Ok(status) => status.map_err(no_ssh)?,
        Err(_) => {
            let seconds = started.elapsed().as_secs_f32();
            return Err(TransportError::Connect {
                host: host(),
                message: format!("there was no connection after {seconds:.0} s"),
                hint: Some(format!("see how long it takes by hand: `{}`", settings.by_hand())),
            });
        }
    };
    if status.success() {
        return Ok(());
    }
    let mut text = Vec::new();
    // An unreadable complaint is an empty one.
    let _unread =
        complaints.rewind().and_then(|()| complaints.take(STDERR_LIMIT_BYTES).read_to_end(&mut text));
    let diagnosis = diagnose(&String::from_utf8_lossy(&text), &settings.by_hand());
    Err(TransportError::Connect { host: host(), message: diagnosis.message, hint: diagnosis.hint })
}
