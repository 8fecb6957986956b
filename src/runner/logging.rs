//! Where the runner's log goes: a file that is rotated every day, and standard error (which systemd keeps).
//!
//! A line can be read alone; what it is about is in fields as well: `job`, `flow`, `host`, `worker`, `attempt`.
//! Never logged: contents of jobs and results, environment values, connection strings.

use std::io::IsTerminal as _;
use std::path::Path;

use tracing_appender::rolling::{InitError, RollingFileAppender, Rotation};
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer as _, fmt};

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("no log file can be made in {directory}")]
    File { directory: String, source: InitError },
    #[error("`{level}` is no log level: use error, warn, info or debug")]
    Level { level: String, source: ParseError },
    #[error("the log is already set up")]
    Twice(#[source] TryInitError),
}

/// Whether standard error gets the log as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stderr {
    Log,
    Silent,
}

/// Sends everything from `level` up to `<directory>/runner.<date>.log`, of which the newest `keep` are kept.
///
/// The environment variable `JOBFERRY_LOG` overrides `level`, in the syntax of `tracing`'s `EnvFilter`. On success
/// every line is written before the call that logged it returns, so that a killed process loses none.
pub fn start(directory: &Path, level: &str, keep: u32, stderr: Stderr) -> Result<(), LogError> {
    let failed = |source| LogError::File { directory: directory.display().to_string(), source };
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    let builder = RollingFileAppender::builder().rotation(Rotation::DAILY).filename_prefix("runner");
    let file = builder.filename_suffix("log").max_log_files(keep).build(directory).map_err(failed)?;
    let to_file = fmt::layer().with_ansi(false).with_target(false).with_writer(std::sync::Mutex::new(file));
    let ansi = std::io::stderr().is_terminal();
    let to_stderr = (stderr == Stderr::Log)
        .then(|| fmt::layer().with_ansi(ansi).with_target(false).with_writer(std::io::stderr));
    let level = std::env::var("JOBFERRY_LOG").unwrap_or_else(|_| format!("warn,jobferry={level}"));
    let filter = EnvFilter::try_new(&level).map_err(|source| LogError::Level { level, source })?;
    let layers = to_file.and_then(to_stderr).with_filter(filter);
    tracing_subscriber::registry().with(layers).try_init().map_err(LogError::Twice)
}
