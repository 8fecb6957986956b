//! `jf job`: what became of single jobs.

mod files;
mod info;
pub(super) mod list;
mod output;
mod place;
mod queue_out;
pub(super) mod record;

use clap::Subcommand;

use super::error::{CliError, Exit};
use super::session::Session;

#[derive(Debug, Subcommand)]
pub(super) enum JobCommand {
    /// List jobs, the last updated first
    List(list::ListArgs),
    /// Show everything about one job: states, times, errors, and what to type next
    Info(info::InfoArgs),
    /// Print the output of a job
    Output(output::OutputArgs),
    /// Print what a job and its submit script wrote
    QueueOut(queue_out::QueueOutArgs),
    /// List and copy the files of a job
    #[command(subcommand)]
    Files(files::FilesCommand),
}

impl JobCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Exit, CliError> {
        match self {
            Self::List(args) => list::run(args, session).await,
            Self::Info(args) => info::run(args, session).await,
            Self::Output(args) => output::run(args, session).await,
            Self::QueueOut(args) => queue_out::run(args, session).await,
            Self::Files(command) => command.run(session).await,
        }
    }
}
