//! `jf job rerun`

use clap::Args;

use crate::cli::act::{self, BreakOption, Conduct, ErrorOption, Targets, WaitOption};
use crate::cli::error::{CliError, Exit};
use crate::cli::session::Session;
use crate::model::query::Detail;
use crate::store::actions::{Action, Rerun};

#[derive(Debug, Args)]
pub(in crate::cli) struct RerunArgs {
    #[command(flatten)]
    targets: Targets,
    /// Run again whatever the state, with all jobs that come after it
    #[arg(short, long)]
    force: bool,
    /// Keep the files of the last attempt beside those of the next one
    #[arg(long, alias = "nd")]
    no_delete: bool,
    #[command(flatten)]
    wait: WaitOption,
    #[command(flatten)]
    locks: BreakOption,
    #[command(flatten)]
    errors: ErrorOption,
}

pub(super) async fn run(args: RerunArgs, session: &Session) -> Result<Exit, CliError> {
    let project = session.open().await?;
    let Some(chosen) = args.targets.choose(session, &project, Detail::Summary).await? else {
        return Ok(Exit::Success);
    };
    let conduct = Conduct::of(&args.wait, &args.locks, &args.errors);
    if !conduct.confirm(&project, chosen.yes).await? {
        return Ok(Exit::Success);
    }
    let action = Action::Rerun(Rerun { force: args.force, keep_files: args.no_delete });
    act::perform(session, &project, &chosen, &action, &conduct).await
}
