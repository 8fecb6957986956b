//! `jf job files`

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{files_delete, place};
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Block, View};
use crate::cli::select::JobArg;
use crate::cli::session::Session;
use crate::transport::{Answer, Destination, Fetch, FetchFile, Fetched, Operation, Part};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum FilesCommand {
    /// List the files in a job's run directory
    Ls(LsArgs),
    /// Copy files from a job's run directory
    Get(GetArgs),
    /// Delete a job's run directory
    Delete(files_delete::FilesDeleteArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LsArgs {
    #[command(flatten)]
    job: JobArg,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct GetArgs {
    /// Short id (DB id), uuid, or the beginning of a uuid
    id: String,
    /// Files, by their path in the run directory
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Index of the job; without it the highest one
    #[arg(short, long)]
    index: Option<i32>,
    /// Copy to this directory
    #[arg(short = 'p', long, value_name = "DIR", default_value = ".")]
    path: PathBuf,
    /// Act on this project
    // Without the short form: here `-p` is the directory, as in jobflow-remote.
    #[arg(id = "project", long = "project", value_name = "NAME")]
    _project: Option<String>,
}

/// How long a listing may take.
const LIST_LIMIT: Duration = Duration::from_secs(60);

/// How long a copy may take: hours of a slow line, not for ever.
const COPY_LIMIT: Duration = Duration::from_secs(6 * 3600);

impl FilesCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Exit, CliError> {
        match self {
            Self::Ls(args) => list(args, session).await,
            Self::Get(args) => get(args, session).await,
            Self::Delete(args) => files_delete::run(args, session).await,
        }
    }
}

async fn list(args: LsArgs, session: &Session) -> Result<Exit, CliError> {
    let directory = place::need(session, &args.job).await?;
    let question = Operation::List { directory: directory.path.clone() };
    let Answer::Names(mut names) = directory.perform(question, LIST_LIMIT).await? else {
        return Err(CliError::failed("the worker's answer is not a list of names"));
    };
    names.sort_unstable();
    session.show(&Listing { directory: directory.path, names })?;
    Ok(Exit::Success)
}

struct Listing {
    directory: String,
    names: Vec<String>,
}

impl View for Listing {
    fn json(&self) -> Value {
        json!({"directory": self.directory, "files": self.names})
    }

    fn blocks(&self) -> Vec<Block> {
        let empty = || Block::Text(format!("{} is empty, or not there.", self.directory));
        if self.names.is_empty() {
            vec![empty()]
        } else {
            self.names.iter().cloned().map(Block::Text).collect()
        }
    }
}

async fn get(args: GetArgs, session: &Session) -> Result<Exit, CliError> {
    let directory = place::need(session, &JobArg { id: args.id, index: args.index }).await?;
    std::fs::create_dir_all(&args.path)
        .map_err(|error| CliError::failed(format!("cannot make {}: {error}", args.path.display())))?;
    let whole = |path: String| FetchFile { path, limit_bytes: u64::MAX, part: Part::Whole };
    let fetch = Fetch {
        directory: directory.path.clone(),
        files: args.files.into_iter().map(whole).collect(),
        into: Destination::Folder(args.path.clone()),
    };
    let Answer::Fetched(files) = directory.perform(Operation::Fetch(fetch), COPY_LIMIT).await? else {
        return Err(CliError::failed("the worker's answer is not a list of files"));
    };
    let copied = Copied { into: args.path, files };
    session.show(&copied)?;
    copied.missing(&directory.path)
}

struct Copied {
    into: PathBuf,
    files: Vec<Fetched>,
}

impl Copied {
    /// Returns an error that names the files that were not there.
    fn missing(&self, directory: &str) -> Result<Exit, CliError> {
        let missing = self.files.iter().filter_map(|file| match file {
            Fetched::Missing { path } | Fetched::TooLarge { path, .. } => Some(path.as_str()),
            Fetched::File { .. } => None,
        });
        let missing: Vec<&str> = missing.collect();
        if missing.is_empty() {
            return Ok(Exit::Success);
        }
        Err(CliError::failed(format!("not in {directory}, or no regular files: {}", missing.join(", ")))
            .hint("`jf job files ls ID` lists what is there"))
    }
}

impl View for Copied {
    fn json(&self) -> Value {
        let files = self.files.iter().filter_map(|file| match file {
            Fetched::File { path, size_bytes, sha256, .. } => {
                let local = self.into.join(path);
                Some(json!({"file": path, "path": local, "size_bytes": size_bytes, "sha256": sha256}))
            }
            Fetched::Missing { .. } | Fetched::TooLarge { .. } => None,
        });
        files.collect()
    }

    fn blocks(&self) -> Vec<Block> {
        let line = |file: &Fetched| match file {
            Fetched::File { path, size_bytes, .. } => {
                Some(Block::Text(format!("{}  {size_bytes} bytes", self.into.join(path).display())))
            }
            Fetched::Missing { .. } | Fetched::TooLarge { .. } => None,
        };
        self.files.iter().filter_map(line).collect()
    }
}
