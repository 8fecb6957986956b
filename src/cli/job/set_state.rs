//! `jf job set-state`

use clap::Args;

use crate::cli::act::{self, BreakOption, Conduct, ErrorOption, Targets, WaitOption};
use crate::cli::error::{CliError, Exit};
use crate::cli::session::Session;
use crate::model::query::Detail;
use crate::model::state::State;
use crate::store::actions::Action;

#[derive(Debug, Args)]
pub(in crate::cli) struct SetStateArgs {
    /// The new state
    #[arg(id = "new_state", value_name = "STATE")]
    state: State,
    #[command(flatten)]
    targets: Targets,
    #[command(flatten)]
    wait: WaitOption,
    #[command(flatten)]
    locks: BreakOption,
}

pub(super) async fn run(args: SetStateArgs, session: &Session) -> Result<Exit, CliError> {
    let project = session.open().await?;
    let Some(chosen) = args.targets.choose(session, &project, Detail::Summary).await? else {
        return Ok(Exit::Success);
    };
    let conduct = Conduct::of(&args.wait, &args.locks, &ErrorOption::default());
    if !conduct.confirm(&project, chosen.yes).await? {
        return Ok(Exit::Success);
    }
    act::perform(session, &project, &chosen, &Action::SetState(args.state), &conduct).await
}
