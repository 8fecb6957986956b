//! `jf job pause`

use clap::Args;

use crate::cli::act::{self, BreakOption, Conduct, ErrorOption, Targets, WaitOption};
use crate::cli::error::{CliError, Exit};
use crate::cli::session::Session;
use crate::model::query::Detail;
use crate::store::actions::Action;

#[derive(Debug, Args)]
pub(in crate::cli) struct PauseArgs {
    #[command(flatten)]
    targets: Targets,
    #[command(flatten)]
    wait: WaitOption,
    #[command(flatten)]
    errors: ErrorOption,
}

pub(super) async fn run(args: PauseArgs, session: &Session) -> Result<Exit, CliError> {
    let project = session.open().await?;
    let Some(chosen) = args.targets.choose(session, &project, Detail::Summary).await? else {
        return Ok(Exit::Success);
    };
    let conduct = Conduct::of(&args.wait, &BreakOption::default(), &args.errors);
    if !conduct.confirm(&project, chosen.yes).await? {
        return Ok(Exit::Success);
    }
    act::perform(session, &project, &chosen, &Action::Pause, &conduct).await
}
