//! Secrets, and the places they come from. No way of printing one shows it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Serialize, Serializer};
use tokio::io::AsyncReadExt as _;

use super::environment::Environment;

/// How long a `password_command` may take: a password manager that asks its user for a touch or a PIN needs some
/// seconds; a daemon that waits longer looks dead.
pub const SECRET_COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// How much of a secret file or of a command's output is read. Keys and tokens are far smaller; a wrong path
/// (a log, a device) must not fill the memory.
const SECRET_LIMIT_BYTES: u64 = 64 * 1024;

/// What stands in for a secret wherever it would be shown.
pub const REDACTED: &str = "********";

/// A secret text. `Debug`, `Display` and `Serialize` give [`REDACTED`]; only [`Secret::reveal`] gives the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Returns `text` as a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text itself, to be given to the one who asks for it and to nobody else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

/// Where a secret comes from. It is read when it is needed, not when the project is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// Written in the project file, or given by an override.
    Literal(Secret),
    /// An environment variable (`password_env`).
    Variable(String),
    /// The first line of a file (`password_file`).
    File(PathBuf),
    /// The first line that a command prints (`password_command`: program and arguments, no shell).
    Command(Vec<String>),
}

impl SecretSource {
    /// Returns the secret, within [`SECRET_COMMAND_LIMIT`].
    ///
    /// The error names the place and what to do; it never holds what was read.
    pub async fn read(&self, environment: &Environment) -> Result<Secret, SecretError> {
        self.read_within(environment, SECRET_COMMAND_LIMIT).await
    }

    async fn read_within(&self, environment: &Environment, limit: Duration) -> Result<Secret, SecretError> {
        match self {
            Self::Literal(secret) => Ok(secret.clone()),
            Self::Variable(name) => environment
                .variable(name)
                .filter(|text| !text.is_empty())
                .map(Secret::new)
                .ok_or_else(|| SecretError::Variable { name: name.clone() }),
            Self::File(path) => read_file(path),
            Self::Command(argv) => run(argv, environment, limit).await,
        }
    }
}

/// Why a secret could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("the environment variable {name} is not set; set it for the shell and for the runner's service")]
    Variable { name: String },
    #[error("cannot read the secret file {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("the secret file {} can be read by others; type: chmod 600 {}", path.display(), path.display())]
    Exposed { path: PathBuf },
    #[error("{place} gave no secret: the first line is empty")]
    Empty { place: String },
    #[error(
        "{place} gave more than {SECRET_LIMIT_BYTES} bytes, or bytes that are no text: that is no secret"
    )]
    NoText { place: String },
    #[error("cannot start the secret command `{program}`; check its path in the project file")]
    Start { program: String, source: std::io::Error },
    #[error("the secret command `{program}` ended with {status}; run it by hand to see what it says")]
    Failed { program: String, status: String },
    #[error("the secret command `{program}` did not end within {} s and was killed; run it by hand", limit.as_secs_f32())]
    TimedOut { program: String, limit: Duration },
}

fn read_file(path: &Path) -> Result<Secret, SecretError> {
    use std::io::Read as _;
    let failed = |source| SecretError::File { path: path.to_owned(), source };
    let mut file = std::fs::File::open(path).map_err(failed)?;
    if super::permissions::others_can_read(&file.metadata().map_err(failed)?) {
        return Err(SecretError::Exposed { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    (&mut file).take(SECRET_LIMIT_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    first_line(bytes, || format!("the secret file {}", path.display()))
}

async fn run(argv: &[String], environment: &Environment, limit: Duration) -> Result<Secret, SecretError> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(SecretError::Empty { place: "an empty secret command".to_owned() });
    };
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment.variables())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // What it says may hold the secret, so it goes nowhere.
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| SecretError::Start { program: program.clone(), source })?;
    let answer = async {
        let mut bytes = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(SECRET_LIMIT_BYTES + 1).read_to_end(&mut bytes).await?;
        }
        child.wait().await.map(|status| (status, bytes))
    };
    let ended = tokio::time::timeout(limit, answer).await;
    let (status, bytes) = ended
        .map_err(|_| SecretError::TimedOut { program: program.clone(), limit })?
        .map_err(|source| SecretError::Start { program: program.clone(), source })?;
    if !status.success() {
        return Err(SecretError::Failed { program: program.clone(), status: status.to_string() });
    }
    first_line(bytes, || format!("the secret command `{program}`"))
}

fn first_line(bytes: Vec<u8>, place: impl Fn() -> String) -> Result<Secret, SecretError> {
    if bytes.len() as u64 > SECRET_LIMIT_BYTES {
        return Err(SecretError::NoText { place: place() });
    }
    let text = String::from_utf8(bytes).map_err(|_| SecretError::NoText { place: place() })?;
    match text.lines().next() {
        None | Some("") => Err(SecretError::Empty { place: place() }),
        Some(line) => Ok(Secret::new(line)),
    }
}

#[cfg(test)]
mod tests;
