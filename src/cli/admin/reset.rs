//! `jf admin reset`

use clap::Args;
use serde_json::json;

use super::{Told, refuse_running};
use crate::cli::confirm::{self, Answer};
use crate::cli::error::{CliError, Exit};
use crate::cli::session::Session;
use crate::config::{Project, StoreConfig};
use crate::store::admin::{Inventory, Scope};

/// From this many flows on a store is taken for one that somebody works with, and today's date has to be typed.
const FLOWS_WITHOUT_DATE: u64 = 25;

/// Delete all jobs and flows of the store
///
/// Nothing of them can be had back, unless there is a backup (`jf backup create`). Run directories of the jobs stay
/// where they are.
#[derive(Debug, Args)]
pub(in crate::cli) struct ResetArgs {
    /// Today's date, YYYY-MM-DD, which has to be given where there are 25 flows or more
    #[arg(value_name = "DATE")]
    date: Option<String>,
    /// Also delete all outputs of the jobstore, those of others in the same collection included
    #[arg(short, long)]
    output: bool,
    /// Show what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// Ask nothing
    #[arg(short, long)]
    yes: bool,
}

pub(super) async fn run(args: ResetArgs, session: &Session) -> Result<Exit, CliError> {
    let opened = session.open().await?;
    let admin = opened.admin().await?;
    let there = admin.inventory().await?;
    let scope = if args.output { Scope::Outputs } else { Scope::Queue };
    if args.output {
        refuse_outputs_elsewhere(&opened.project)?;
    }
    if args.dry_run {
        let text = format!("This would delete {}.", in_words(&there, scope));
        session.show(&Told::new(text, value(&there, scope, Done::Shown)))?;
        return Ok(Exit::Success);
    }
    refuse_running(&opened).await?;
    refuse_without_date(&args, &there, session)?;
    let question = format!(
        "This operation will delete all the Jobs data for project {}: {}. Proceed anyway?",
        opened.project.name,
        in_words(&there, scope)
    );
    if !args.yes && confirm::ask(&question)? == Answer::No {
        session.remark("Nothing was deleted.")?;
        return Ok(Exit::Success);
    }
    admin.reset(scope).await?;
    if args.output && has_more_outputs(&opened.project) {
        session.remark(
            "Outputs in optional jobstores and in additional stores of the project were left there.",
        )?;
    }
    session.show(&Told::new("The database was reset", value(&there, scope, Done::Deleted)))?;
    Ok(Exit::Success)
}

/// Refuses to delete outputs where they are not kept beside the jobs: the store of the jobs does not reach them.
fn refuse_outputs_elsewhere(project: &Project) -> Result<(), CliError> {
    let (queue, outputs) = (&project.queue.store, &project.jobstore.docs_store);
    let is_reached = match queue {
        StoreConfig::Mongo(_) => matches!(outputs, StoreConfig::Mongo(_)),
        _ => queue == outputs,
    };
    if is_reached {
        return Ok(());
    }
    let text = format!("the outputs are in another store, a {}; nothing was deleted", outputs.type_name());
    Err(CliError::failed(text).hint("reset without --output, and delete the outputs there by hand"))
}

fn has_more_outputs(project: &Project) -> bool {
    // An SQLite store keeps the parts of its outputs itself.
    let has_more = !project.jobstore.additional_stores.is_empty();
    !project.optional_jobstores.is_empty()
        || (has_more && matches!(project.queue.store, StoreConfig::Mongo(_)))
}

fn refuse_without_date(args: &ResetArgs, there: &Inventory, session: &Session) -> Result<(), CliError> {
    let today = session.now().zoned.strftime("%Y-%m-%d").to_string();
    if there.flows < FLOWS_WITHOUT_DATE || args.date.as_ref() == Some(&today) {
        return Ok(());
    }
    let text = format!("The database was NOT reset: it has {} flows", there.flows);
    let hint = format!("if this is the right project, type today's date too: `jf admin reset {today}`");
    Err(CliError::failed(text).hint(hint))
}

fn in_words(there: &Inventory, scope: Scope) -> String {
    let Inventory { jobs, flows, batches, files, outputs, .. } = there;
    let queue = format!("{jobs} jobs, {flows} flows, {batches} batches, {files} staged files");
    match scope {
        Scope::Queue => queue,
        Scope::Outputs => format!("{queue}, {outputs} outputs"),
    }
}

/// Whether anything happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Shown,
    Deleted,
}

fn value(there: &Inventory, scope: Scope, done: Done) -> serde_json::Value {
    json!({
        "reset": done == Done::Deleted,
        "jobs": there.jobs,
        "flows": there.flows,
        "batches": there.batches,
        "files": there.files,
        "outputs": if scope == Scope::Outputs { there.outputs } else { 0 },
    })
}
