//! `jf flow`: what became of whole flows.

mod info;
mod list;
pub(super) mod record;

use clap::Subcommand;

use super::error::{CliError, Exit};
use super::session::Session;

#[derive(Debug, Subcommand)]
pub(super) enum FlowCommand {
    /// List flows, the last updated first
    List(list::ListArgs),
    /// Show one flow and its jobs
    Info(info::InfoArgs),
}

impl FlowCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Exit, CliError> {
        match self {
            Self::List(args) => list::run(args, session).await,
            Self::Info(args) => info::run(args, session).await,
        }
    }
}
