//! `jf admin unlock`, `unlock-flow` and `unlock-runner`

use clap::Args;
use serde_json::json;

use super::Told;
use crate::cli::confirm::{self, Answer};
use crate::cli::error::{CliError, Exit};
use crate::cli::query::{FlowQuery, JobQuery};
use crate::cli::session::Session;
use crate::model::query::{FlowFilter, JobFilter, Locked};
use crate::store::admin::RunnerLock;

/// Take the locks from jobs; without a filter from all
///
/// A lock says that a program has the job in hand. Take it only when that program is gone for good.
#[derive(Debug, Args)]
pub(in crate::cli) struct UnlockArgs {
    #[command(flatten)]
    query: JobQuery,
    #[command(flatten)]
    asking: Asking,
}

/// Take the locks from flows; without a filter from all
///
/// A lock says that a program has the flow in hand. Take it only when that program is gone for good.
#[derive(Debug, Args)]
pub(in crate::cli) struct UnlockFlowArgs {
    #[command(flatten)]
    query: FlowQuery,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Args)]
struct Asking {
    /// Say how many would be unlocked, and unlock none
    #[arg(long)]
    dry_run: bool,
    /// Ask nothing
    #[arg(short, long)]
    yes: bool,
}

/// What to do after the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Unlock,
    Leave,
}

pub(super) async fn run(args: UnlockArgs, session: &Session) -> Result<Exit, CliError> {
    let opened = session.open().await?;
    let filter = args.query.filter(opened.queue(), &session.now()).await?;
    let filter = JobFilter { locked: Some(Locked::Held), ..filter };
    let locked = opened.queue().count_jobs(&filter).await?;
    if ask(&args.asking, locked, "jobs", session)? == Next::Leave {
        return Ok(Exit::Success);
    }
    let unlocked = opened.admin().await?.unlock_jobs(&filter).await?;
    session.show(&Told::new(format!("{unlocked} jobs were unlocked"), json!({ "unlocked": unlocked })))?;
    Ok(Exit::Success)
}

pub(super) async fn run_flow(args: UnlockFlowArgs, session: &Session) -> Result<Exit, CliError> {
    let opened = session.open().await?;
    let filter = FlowFilter { locked: Some(Locked::Held), ..args.query.filter(&session.now())? };
    let locked = opened.queue().count_flows(&filter).await?;
    if ask(&args.asking, locked, "flows", session)? == Next::Leave {
        return Ok(Exit::Success);
    }
    let unlocked = opened.admin().await?.unlock_flows(&filter).await?;
    session.show(&Told::new(format!("{unlocked} flows were unlocked"), json!({ "unlocked": unlocked })))?;
    Ok(Exit::Success)
}

fn ask(asking: &Asking, locked: u64, what: &str, session: &Session) -> Result<Next, CliError> {
    if asking.dry_run {
        let text = format!("{locked} {what} would be unlocked");
        session.show(&Told::new(text, json!({ "unlocked": 0, "locked": locked })))?;
        return Ok(Next::Leave);
    }
    if asking.yes {
        return Ok(Next::Unlock);
    }
    if locked == 0 {
        return Err(CliError::failed(format!("No data matching the request: no such {what} are locked")));
    }
    let question =
        format!("This operation will remove the lock for (roughly) {locked} {what}. Proceed anyway?");
    match confirm::ask(&question)? {
        Answer::Yes => Ok(Next::Unlock),
        Answer::No => {
            session.remark("Nothing was unlocked.")?;
            Ok(Next::Leave)
        }
    }
}

pub(super) async fn run_runner(session: &Session) -> Result<Exit, CliError> {
    let (text, unlocked) = match session.open().await?.admin().await?.unlock_runner().await? {
        RunnerLock::Unlocked => ("The runner document has been unlocked.", true),
        RunnerLock::NotLocked => ("The runner document was not locked. Nothing changed.", false),
        RunnerLock::NoDocument => {
            let error = CliError::failed("No runner document... the database is older than 0.1.5");
            return Err(error.hint("`jf admin upgrade` makes it"));
        }
    };
    session.show(&Told::new(text, json!({ "unlocked": unlocked })))?;
    Ok(Exit::Success)
}
