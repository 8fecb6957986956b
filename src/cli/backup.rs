//! `jf backup`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::admin::refuse_running;
use super::error::{CliError, Exit};
use super::output::{Block, View};
use super::session::Session;
use crate::store::admin::{Counts, Part};
use crate::store::backup::{self, BackupError, Compression};

#[derive(Debug, Subcommand)]
pub(super) enum BackupCommand {
    Create(CreateArgs),
    Restore(RestoreArgs),
}

impl BackupCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Exit, CliError> {
        match self {
            Self::Create(args) => create(args, session).await,
            Self::Restore(args) => restore(args, session).await,
        }
    }
}

/// Write the jobs and flows of the store into files
///
/// One folder with a file of BSON documents for each collection, as jobflow-remote and mongodump write them: either
/// program restores what the other has saved, and jobs can move from SQLite to MongoDB and back. Outputs of jobs and
/// staged files are not in a backup.
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Where the folder is made, which is called like the database
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Compress the files (gzip)
    #[arg(short, long)]
    compress: bool,
    #[command(flatten)]
    tools: Tools,
}

/// Read the jobs and flows of a backup into an empty store
///
/// Every file is read to its end before anything is written. A store that was used is refused: `jf admin reset`
/// empties it.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// Where the files are, or the folder with the files
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Say what is in the backup, and write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    tools: Tools,
}

/// Options about MongoDB's own tools, which this program does without.
#[derive(Debug, Args)]
struct Tools {
    /// Accepted for scripts
    #[arg(short, long, hide = true)]
    mongo_path: Option<PathBuf>,
    /// Accepted for scripts
    #[arg(long, hide = true)]
    python: bool,
}

async fn create(args: CreateArgs, session: &Session) -> Result<Exit, CliError> {
    let opened = session.open().await?;
    refuse_running(&opened).await?;
    let admin = opened.admin().await?;
    let compression = if args.compress { Compression::Gzip } else { Compression::None };
    let made = backup::create(&*admin, &args.directory, compression).await?;
    let title = format!("Backup created in {} for", made.folder.display());
    session.show(&BackupView { title, folder: made.folder, counts: made.counts, left_out: 0 })?;
    Ok(Exit::Success)
}

async fn restore(args: RestoreArgs, session: &Session) -> Result<Exit, CliError> {
    let opened = session.open().await?;
    let found = backup::find(&args.directory).await?;
    let mut view = BackupView {
        title: format!("Backup in {} of", found.folder.display()),
        folder: found.folder.clone(),
        counts: found.counts,
        left_out: 0,
    };
    if !args.dry_run {
        refuse_running(&opened).await?;
        let taken = backup::restore(&*opened.admin().await?, &found).await?;
        view.title = format!("Backup restored from {}:", found.folder.display());
        view.left_out = found.counts.batches.saturating_sub(taken.batches);
        view.counts = taken;
    }
    session.show(&view)?;
    Ok(Exit::Success)
}

/// What is in a backup.
struct BackupView {
    title: String,
    folder: PathBuf,
    counts: Counts,
    /// Batches that the store has no place for.
    left_out: u64,
}

impl View for BackupView {
    fn json(&self) -> Value {
        let counts: serde_json::Map<String, Value> =
            Part::ALL.iter().map(|part| (part.name().to_owned(), self.counts.of(*part).into())).collect();
        json!({ "folder": self.folder, "documents": counts, "batches_left_out": self.left_out })
    }

    fn blocks(&self) -> Vec<Block> {
        let mut names = Part::ALL.map(|part| (part.name(), self.counts.of(part)));
        names.sort_unstable();
        let mut text = self.title.clone();
        text.extend(names.map(|(name, count)| format!("\n    {name} collection: {count} documents")));
        if self.left_out > 0 {
            let line = format!("\n{} batches were left out: this store keeps none.", self.left_out);
            text.push_str(&line);
        }
        vec![Block::Text(text)]
    }
}

impl From<BackupError> for CliError {
    fn from(error: BackupError) -> Self {
        let hint = match &error {
            BackupError::Store(_) => None,
            BackupError::Exists(_) => Some("name another directory"),
            BackupError::Missing { .. } => Some("name the folder with the files of the backup"),
            BackupError::Ambiguous { .. } => Some("leave one file of each collection there"),
            BackupError::Damaged { .. } => Some("take another copy of the backup; nothing was written"),
            BackupError::NotEmpty(_) => Some(
                "restore into an empty store: `jf admin reset` deletes what is there, or name another in the project file",
            ),
            BackupError::File { .. } => Some("check its rights, and the room on the disk (`df -h`)"),
        };
        match error {
            BackupError::Store(error) => error.into(),
            error => hint.into_iter().fold(Self::failed(error), Self::hint),
        }
    }
}
