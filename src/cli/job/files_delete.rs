//! `jf job files delete`

use clap::Args;
use serde_json::{Value, json};

use crate::cli::act;
use crate::cli::directories;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Block, View};
use crate::cli::select::{self, JobArg};
use crate::cli::session::Session;
use crate::model::query::Detail;

#[derive(Debug, Args)]
pub(in crate::cli) struct FilesDeleteArgs {
    /// Short id (DB id), uuid, or the beginning of a uuid
    id: String,
    /// Index of the job; without it the highest one
    #[arg(short, long)]
    index: Option<i32>,
    /// Delete the files of a job in any state; the runner must not be running
    #[arg(long, alias = "as")]
    all_states: bool,
    /// Do not ask whether a runner is running
    #[arg(short, long)]
    force: bool,
    /// Only show which directory would be deleted
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: FilesDeleteArgs, session: &Session) -> Result<Exit, CliError> {
    let project = session.open().await?;
    let arg = JobArg { id: args.id, index: args.index };
    let job = select::job(project.queue(), &arg, Detail::Summary).await?;
    let Some(directory) = job.run_dir.clone() else {
        session.remark("The remote folder has not been created yet")?;
        return Ok(Exit::Success);
    };
    if !args.all_states && !directories::CLEANABLE.contains(&job.state) {
        let text = format!(
            "Job is in state {}. To delete such a Job run the command with the --all-states option",
            job.state
        );
        return Err(CliError::failed(text));
    }
    if args.all_states && !args.force {
        refuse_running(&project).await?;
    }
    if args.dry_run {
        session.show(&Folder { directory, is_deleted: false })?;
        return Ok(Exit::Success);
    }
    let removed = directories::remove(&project, &[&job]).await;
    if let Some((_, directory, why)) = removed.kept.first() {
        return Err(CliError::failed(format!("The files were not deleted in folder: {directory}: {why}")));
    }
    session.show(&Folder { directory, is_deleted: true })?;
    Ok(Exit::Success)
}

/// Refuses while a runner acts for the project.
pub(in crate::cli) async fn refuse_running(
    project: &crate::cli::session::OpenProject,
) -> Result<(), CliError> {
    if act::runner_acts(project).await? {
        let text = "The daemon should not be running while performing this operation";
        return Err(CliError::failed(text).hint("`jf runner stop` stops it; `--force` goes on all the same"));
    }
    Ok(())
}

struct Folder {
    directory: String,
    is_deleted: bool,
}

impl View for Folder {
    fn json(&self) -> Value {
        json!({"directory": self.directory, "deleted": self.is_deleted})
    }

    fn blocks(&self) -> Vec<Block> {
        let text = if self.is_deleted { "Folder deleted" } else { "This operation would delete the folder" };
        vec![Block::Text(format!("{text} {}", self.directory))]
    }
}
