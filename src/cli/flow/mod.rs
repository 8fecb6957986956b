//! `jf flow`: what became of whole flows.

mod clean;
mod delete;
mod graph;
mod info;
mod list;
pub(super) mod record;
mod resume;
mod set;
mod which;

use clap::Subcommand;

use super::error::{CliError, Exit};
use super::session::Session;

#[derive(Debug, Subcommand)]
pub(super) enum FlowCommand {
    /// List flows, the last updated first
    List(list::ListArgs),
    /// Show one flow and its jobs
    Info(info::InfoArgs),
    /// Draw the jobs of a flow
    Graph(graph::GraphArgs),
    /// Let the stopped and PAUSED jobs of a flow go on
    Resume(resume::ResumeArgs),
    /// Delete whole flows with all their jobs
    Delete(delete::DeleteArgs),
    /// Delete the files of ended jobs
    Clean(clean::CleanArgs),
    /// Change a flow
    #[command(subcommand)]
    Set(set::SetCommand),
}

impl FlowCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Exit, CliError> {
        match self {
            Self::List(args) => list::run(args, session).await,
            Self::Info(args) => info::run(args, session).await,
            Self::Graph(args) => graph::run(args, session).await,
            Self::Resume(args) => resume::run(args, session).await,
            Self::Delete(args) => delete::run(args, session).await,
            Self::Clean(args) => clean::run(args, session).await,
            Self::Set(command) => command.run(session).await,
        }
    }
}
