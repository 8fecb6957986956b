//! `jf admin upgrade`

use clap::Args;
use serde_json::{Value, json};

use super::{Told, refuse_running};
use crate::cli::confirm::{self, Answer};
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Block, View};
use crate::cli::session::Session;
use crate::store::admin::{Obstacle, Upgrade, UpgradeStep};

/// Bring a database of an older jobflow-remote to the form of 1.0
///
/// Shows what will be changed, and changes it when the name of the project has been typed. Older releases cannot use
/// the database after that: make a backup before (`jf backup create`).
#[derive(Debug, Args)]
pub(in crate::cli) struct UpgradeArgs {
    /// Show what would be changed, and end there
    #[arg(long, conflicts_with_all = ["no_dry_run", "yes"])]
    dry_run: bool,
    /// Do not show what will be changed
    #[arg(long, alias = "ndr")]
    no_dry_run: bool,
    /// Upgrade although batch processes of the older release are in the database; they are forgotten
    #[arg(short, long)]
    force: bool,
    /// Ask nothing
    #[arg(short, long)]
    yes: bool,
}

pub(super) async fn run(args: UpgradeArgs, session: &Session) -> Result<Exit, CliError> {
    let opened = session.open().await?;
    let admin = opened.admin().await?;
    let plan = admin.plan_upgrade().await?;
    if plan.steps.is_empty() {
        let text = format!("No upgrade required{}", said(plan.from.as_deref()));
        session.show(&Told::new(text, value(&plan, false)))?;
        return Ok(Exit::Success);
    }
    if args.dry_run {
        session.show(&Plan(plan))?;
        return Ok(Exit::Success);
    }
    refuse_running(&opened).await?;
    if !args.no_dry_run {
        session.remark(&in_words(&plan))?;
    }
    refuse_obstacles(&plan, args.force)?;
    let name = &opened.project.name;
    let question = format!(
        "The upgrade changes the data of project {name} for good. Make a backup first. To go on, type the project's name"
    );
    if !args.yes && confirm::ask_for_name(&question, name)? == Answer::No {
        return Err(CliError::failed("The database has NOT been upgraded: that was not the project's name"));
    }
    admin.upgrade().await?;
    session.show(&Told::new("The database has been upgraded", value(&plan, true)))?;
    Ok(Exit::Success)
}

fn said(version: Option<&str>) -> String {
    version.map(|version| format!(": the database is at version {version}")).unwrap_or_default()
}

fn refuse_obstacles(plan: &Upgrade, force: bool) -> Result<(), CliError> {
    let standing: Vec<Obstacle> =
        plan.obstacles.iter().copied().filter(|obstacle| !(force && obstacle.can_be_forced())).collect();
    if standing.is_empty() {
        return Ok(());
    }
    let why: Vec<String> = standing.iter().map(|obstacle| obstacle_in_words(*obstacle)).collect();
    let error = CliError::failed(format!("The database has NOT been upgraded: {}", why.join("; ")));
    Err(if standing.iter().all(|obstacle| obstacle.can_be_forced()) {
        error.hint("let the older release bring them to their end; `--force` forgets them")
    } else {
        error.hint("let them end first")
    })
}

/// What `--dry-run` shows.
struct Plan(Upgrade);

impl View for Plan {
    fn json(&self) -> Value {
        value(&self.0, false)
    }

    fn blocks(&self) -> Vec<Block> {
        vec![Block::Text(in_words(&self.0))]
    }
}

fn value(plan: &Upgrade, upgraded: bool) -> Value {
    json!({
        "upgraded": upgraded,
        "from": plan.from,
        "steps": plan.steps.iter().map(step_in_words).collect::<Vec<_>>(),
        "obstacles": plan.obstacles.iter().map(|obstacle| obstacle_in_words(*obstacle)).collect::<Vec<_>>(),
    })
}

fn in_words(plan: &Upgrade) -> String {
    let from = plan.from.as_deref().unwrap_or("0.1.0 or older");
    let mut text = format!("The database is at version {from}. The following actions will be performed:");
    text.extend(plan.steps.iter().map(|step| format!("\n - {}", step_in_words(step))));
    if !plan.obstacles.is_empty() {
        text.push_str("\nIn the way:");
        text.extend(plan.obstacles.iter().map(|obstacle| format!("\n - {}", obstacle_in_words(*obstacle))));
    }
    text
}

fn step_in_words(step: &UpgradeStep) -> String {
    match step {
        UpgradeStep::RunnerDocument => "make the document of the running runner".to_owned(),
        UpgradeStep::States(jobs) => {
            format!("change the state of {jobs} jobs from TERMINATED to RUN_FINISHED")
        }
        UpgradeStep::PreviousStates(jobs) => {
            format!("change the previous state of {jobs} jobs from TERMINATED to RUN_FINISHED")
        }
        UpgradeStep::BatchProcesses(documents) => {
            format!("delete {documents} document of the batch processes of older releases")
        }
        UpgradeStep::Version(version) => format!("set the version of the database to {version}"),
    }
}

fn obstacle_in_words(obstacle: Obstacle) -> String {
    match obstacle {
        Obstacle::OldBatchProcesses(count) => {
            format!("{count} batch processes of an older release are not over")
        }
        Obstacle::RunningBatches(count) => format!("{count} batches are submitted or running"),
    }
}
