//! `jf job`: what became of single jobs.

mod delete;
mod files;
pub(super) mod files_delete;
mod info;
pub(super) mod list;
mod output;
mod pause;
mod place;
mod queue_out;
pub(super) mod record;
mod rerun;
mod resume;
mod retry;
mod set;
mod set_state;
mod stop;

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
    /// List, copy and delete the files of a job
    #[command(subcommand)]
    Files(files::FilesCommand),
    /// Run jobs again that failed, or that run: they are READY again, and what comes after them waits
    Rerun(rerun::RerunArgs),
    /// Try the step again that failed, at once
    Retry(retry::RetryArgs),
    /// Hold READY and WAITING jobs back
    Pause(pause::PauseArgs),
    /// Let PAUSED and stopped jobs go on
    #[command(alias = "play")]
    Resume(resume::ResumeArgs),
    /// Stop jobs that are READY or on their way, and end their processes
    Stop(stop::StopArgs),
    /// Delete single jobs; their flow goes on as if they had never been in it
    Delete(delete::DeleteArgs),
    /// Give jobs another state, whatever the one they are in
    SetState(set_state::SetStateArgs),
    /// Change what jobs are run with
    #[command(subcommand)]
    Set(set::SetCommand),
}

impl JobCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Exit, CliError> {
        match self {
            Self::List(args) => list::run(args, session).await,
            Self::Info(args) => info::run(args, session).await,
            Self::Output(args) => output::run(args, session).await,
            Self::QueueOut(args) => queue_out::run(args, session).await,
            Self::Files(command) => command.run(session).await,
            Self::Rerun(args) => rerun::run(args, session).await,
            Self::Retry(args) => retry::run(args, session).await,
            Self::Pause(args) => pause::run(args, session).await,
            Self::Resume(args) => resume::run(args, session).await,
            Self::Stop(args) => stop::run(args, session).await,
            Self::Delete(args) => delete::run(args, session).await,
            Self::SetState(args) => set_state::run(args, session).await,
            Self::Set(command) => command.run(session).await,
        }
    }
}
