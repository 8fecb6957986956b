//! `jf project`: which projects there are, what is in them, and whether they work.

mod check;
mod list;
mod show;

use clap::Subcommand;

use super::error::{CliError, Exit};
use super::session::Session;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ProjectCommand {
    /// List the projects of the projects folder
    List(list::ListArgs),
    /// Show every setting of a project
    Show(show::ShowArgs),
    /// Try each hop of a project: store, hosts, work directories, schedulers
    Check(check::CheckArgs),
}

impl ProjectCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Exit, CliError> {
        match self {
            Self::List(args) => list::run(&args, session),
            Self::Show(args) => show::run(&args, session),
            Self::Check(args) => check::run(args, session).await,
        }
    }
}
