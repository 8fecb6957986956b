//! What a command ends with: an exit code from one table, and an error that says what to type next.
//!
//! The `From` conversions below are the only place where an error of a library room meets a sentence for the user.

use std::error::Error;
use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use owo_colors::OwoColorize as _;

use super::output::visible::visible;
use crate::config::{ConfigError, UnknownName};
use crate::runner::connect::ConnectError;
use crate::store::StoreError;
use crate::transport::TransportError;

/// How a command ended. The numbers are a promise to scripts; `jf --help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All that was asked for is done.
    Success,
    /// The command could not do what was asked.
    Failed,
    /// The command line is wrong; nothing was done.
    Usage,
    /// `--wait`: a job did not complete.
    Incomplete,
    /// A check found something wrong.
    CheckFailed,
    /// The store, or a host, does not answer.
    Unreachable,
    /// A project file or a flow file is wrong or missing; nothing was done.
    Input,
    /// `--wait`: ended by Ctrl-C; the jobs go on.
    Interrupted,
}

impl Exit {
    /// Every way to end, in the order of the numbers.
    pub const ALL: [Self; 8] = [
        Self::Success,
        Self::Failed,
        Self::Usage,
        Self::Incomplete,
        Self::CheckFailed,
        Self::Unreachable,
        Self::Input,
        Self::Interrupted,
    ];

    /// Returns the process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Incomplete => 3,
            Self::CheckFailed => 4,
            Self::Unreachable => 5,
            Self::Input => 6,
            // 128 + SIGINT, as shells have it.
            Self::Interrupted => 130,
        }
    }

    /// Returns what the code means, for `jf --help`.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Success => "done",
            Self::Failed => "could not be done: nothing found, refused, failed",
            Self::Usage => "wrong command line",
            Self::Incomplete => "--wait: a job did not complete",
            Self::CheckFailed => "a check found something wrong",
            Self::Unreachable => "the store or a host does not answer",
            Self::Input => "a project file or flow file is wrong or missing",
            Self::Interrupted => "--wait: ended by Ctrl-C; the jobs go on",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command failed, for the user: what, why, and what to type next.
#[derive(Debug)]
pub struct CliError {
    pub exit: Exit,
    source: Box<dyn Error + Send + Sync>,
    hints: Vec<String>,
}

impl CliError {
    /// Returns an error that ends with `exit` and says what `source` and its causes say.
    pub fn new(exit: Exit, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit, source: source.into(), hints: Vec::new() }
    }

    /// Returns an error with the exit code 1.
    pub fn failed(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Exit::Failed, source)
    }

    /// Returns an error about the command line.
    pub fn usage(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Exit::Usage, source)
    }

    /// Returns an error about a project file or a flow file.
    pub fn input(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Exit::Input, source)
    }

    /// Returns the error with one more line of advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Returns the error with this advice in place of all other.
    #[must_use]
    pub fn only_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints = vec![hint.into()];
        self
    }

    /// Returns whether the reader of our output went away (`jf … | head`), which is no failure.
    pub(super) fn is_broken_pipe(&self) -> bool {
        self.source
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// Returns the lines for the terminal: `error:`, one `caused by:` per source, one `hint:` per piece of advice.
    ///
    /// A cause that only repeats the line before it is left out. Nothing in them can command the terminal.
    pub(super) fn lines(&self) -> Vec<(Heading, String)> {
        let mut lines = vec![(Heading::Error, visible(&self.source.to_string()))];
        let mut cause = self.source.source();
        while let Some(error) = cause {
            let text = visible(&error.to_string());
            if !lines.iter().any(|(_, said)| said.ends_with(&text)) {
                lines.push((Heading::Cause, text));
            }
            cause = error.source();
        }
        lines.extend(self.hints.iter().map(|hint| (Heading::Hint, visible(hint))));
        lines
    }

    /// Returns the error with its causes in one text, and the first piece of advice.
    pub(super) fn story(&self) -> (String, Option<String>) {
        let said = self.lines().into_iter().filter(|(heading, _)| *heading != Heading::Hint);
        let texts: Vec<String> = said.map(|(_, line)| line).collect();
        (texts.join(": "), self.hints.first().cloned())
    }

    /// Prints the error on stderr; with [`Trace::Full`] also its inner form, for a report to the makers.
    pub(super) fn print(&self, colours: bool, trace: Trace) {
        let mut text = String::new();
        for (heading, line) in self.lines() {
            // Later lines of one message stand below its first, so that the headings can be found.
            let line = line.replace('\n', "\n    ");
            text.push_str(&heading.painted(colours));
            text.extend([" ", &line, "\n"]);
        }
        if trace == Trace::Full {
            text.extend([format!("{:#?}", self.source).as_str(), "\n"]);
        }
        // A closed stderr leaves nobody to tell.
        drop(std::io::stderr().write_all(text.as_bytes()));
    }
}

/// How much of an error is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trace {
    /// The messages and the hints.
    Messages,
    /// Also the inner form (`--full-exc`).
    Full,
}

/// What a line of an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heading {
    Error,
    Cause,
    Hint,
}

impl Heading {
    fn painted(self, colours: bool) -> String {
        let word = match self {
            Self::Error => "error:",
            Self::Cause => "caused by:",
            Self::Hint => "hint:",
        };
        match self {
            _ if !colours => word.to_owned(),
            Self::Error => word.red().bold().to_string(),
            Self::Cause => word.red().to_string(),
            Self::Hint => word.yellow().to_string(),
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error)
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let exit = match &error {
            StoreError::Unreachable { .. } => Exit::Unreachable,
            _ => Exit::Failed,
        };
        let hints = store_hint(&error).map(str::to_owned).into_iter().collect();
        Self { hints, ..Self::new(exit, error) }
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        let hints = error.hint().into_iter().collect();
        Self { hints, ..Self::input(error) }
    }
}

impl From<UnknownName> for CliError {
    fn from(error: UnknownName) -> Self {
        let hints = error.hint.clone().into_iter().collect();
        Self { hints, ..Self::input(error) }
    }
}

impl From<ConnectError> for CliError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Store(error) => error.into(),
            ConnectError::Secret(_) => {
                Self::input(error).hint("`jf project show --source` shows where the secret is looked for")
            }
            ConnectError::Profile(_) => Self::input(error)
                .hint("`aws configure --profile NAME` writes it; or give the keys in the project file"),
            ConnectError::Worker { .. } => Self::input(error)
                .hint("change the worker in the project file; `jf project show --source` shows it"),
            ConnectError::StoreKind { .. } => {
                Self::input(error).hint("use SqliteStore, MongoStore or MongoURIStore in the project file")
            }
            ConnectError::Directory { .. } => {
                Self::failed(error).hint("check its owner and rights, or set tmp_dir in the project file")
            }
        }
    }
}

impl From<TransportError> for CliError {
    fn from(error: TransportError) -> Self {
        let hint = match &error {
            TransportError::Connect { hint: Some(hint), .. } => hint.clone(),
            TransportError::Connect { host, .. } | TransportError::Lost { host, .. } => {
                format!("try `ssh {host} true` by hand until it works without a question")
            }
            TransportError::TimedOut { .. } | TransportError::Garbled { .. } => {
                "`jf project check` tries each step of the way".into()
            }
        };
        Self::new(Exit::Unreachable, error).hint(hint)
    }
}

/// Returns what a user can do about an error of the store.
fn store_hint(error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::Unreachable { .. } => Some(
            "check the address in the project file and that the server runs, then type `jf project check`",
        ),
        StoreError::Refused { source, .. } if is_full(&source.to_string()) => {
            Some("make room on the disk of the store (`df -h` shows it), then type the same again")
        }
        StoreError::Refused { .. } => Some("`jf project check` says which right or space is missing"),
        StoreError::Duplicate { .. } => Some("`jf flow list` shows what is already there"),
        StoreError::TooLarge { .. } => Some("put large values into files and pass those on instead"),
        StoreError::NewerSchema { .. } => Some("update this program to the version that wrote the store"),
        StoreError::Unreadable { .. } => Some(
            "another program may have written it: restore a backup, or name another store in the project file",
        ),
        StoreError::NoSuchFile { .. } | StoreError::File { .. } | StoreError::Illegal(_) => None,
    }
}

/// Returns whether these are the words of SQLite, or of the system that MongoDB runs on, for a full disk.
fn is_full(said: &str) -> bool {
    ["disk is full", "No space left on device", "quota exceeded"].iter().any(|words| said.contains(words))
}

#[cfg(test)]
mod tests;
