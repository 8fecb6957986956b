//! `jf flow clean`

use clap::{ArgAction, Args};
use serde_json::{Value, json};

use super::which;
use crate::cli::confirm;
use crate::cli::directories::{self, Removed};
use crate::cli::error::{CliError, Exit};
use crate::cli::job::files_delete::refuse_running;
use crate::cli::output::{Block, View};
use crate::cli::query::FlowQuery;
use crate::cli::session::Session;
use crate::model::job::JobRecord;

#[derive(Debug, Args)]
pub(in crate::cli) struct CleanArgs {
    #[command(flatten)]
    query: FlowQuery,
    /// Answer yes to questions beforehand
    #[arg(short, long)]
    yes: bool,
    /// Name the flows before asking, and the folders that were skipped
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// Delete the files of jobs in any state; the runner must not be running
    #[arg(long, alias = "as")]
    all_states: bool,
    /// Do not ask whether a runner is running
    #[arg(short, long)]
    force: bool,
    /// Only show which folders would be deleted
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: CleanArgs, session: &Session) -> Result<Exit, CliError> {
    let project = session.open().await?;
    if args.all_states && !args.force {
        refuse_running(&project).await?;
    }
    let flows = which::flows(session, &project, &args.query).await?;
    if flows.is_empty() {
        session.remark("No flows matching criteria")?;
        session.show(&Cleaned::default())?;
        return Ok(Exit::Success);
    }
    let jobs = which::jobs(&project, &flows).await?;
    let with_folder = jobs.iter().filter(|job| job.run_dir.is_some());
    let (ours, skipped): (Vec<&JobRecord>, Vec<&JobRecord>) =
        with_folder.partition(|job| args.all_states || directories::CLEANABLE.contains(&job.state));
    let mut cleaned =
        Cleaned { skipped: skipped.iter().map(|job| job.db_id.clone()).collect(), ..Cleaned::default() };
    if args.dry_run {
        let folder = |job: &&JobRecord| Some((job.db_id.clone(), job.run_dir.clone()?));
        cleaned.would = Some(ours.iter().filter_map(folder).collect());
        session.show(&cleaned)?;
        return Ok(Exit::Success);
    }
    if args.verbose > 0 {
        let names = flows.iter().map(|flow| format!("{}  {}", flow.uuid, flow.name));
        names.map(|line| session.remark(&line)).try_for_each(|remarked| remarked)?;
    }
    let question =
        format!("This operation will delete the files of {} Flow(s). Proceed anyway?", flows.len());
    if !args.yes && confirm::ask(&question)? == confirm::Answer::No {
        return Ok(Exit::Success);
    }
    cleaned.removed = directories::remove(&project, &ours).await;
    for (id, directory, why) in &cleaned.removed.kept {
        session.remark(&format!("The files of job {id} were not deleted in {directory}: {why}"))?;
    }
    if !cleaned.skipped.is_empty() {
        session.remark(&format!(
            "{} Jobs were skipped: their state is none of COMPLETED, FAILED, REMOTE_ERROR (see --all-states)",
            cleaned.skipped.len()
        ))?;
    }
    session.show(&cleaned)?;
    Ok(if cleaned.removed.kept.is_empty() { Exit::Success } else { Exit::Failed })
}

#[derive(Default)]
struct Cleaned {
    removed: Removed,
    skipped: Vec<String>,
    would: Option<Vec<(String, String)>>,
}

impl View for Cleaned {
    fn json(&self) -> Value {
        let pair = |(id, directory): &(String, String)| json!({"db_id": id, "directory": directory});
        let kept = self.removed.kept.iter();
        let kept: Vec<Value> = kept
            .map(|(id, directory, why)| json!({"db_id": id, "directory": directory, "error": why}))
            .collect();
        let mut value = json!({
            "deleted": self.removed.done.iter().map(pair).collect::<Vec<_>>(),
            "kept": kept,
            "skipped": self.skipped,
        });
        if let (Some(would), Value::Object(fields)) = (&self.would, &mut value) {
            fields.insert("would_delete".into(), would.iter().map(pair).collect());
        }
        value
    }

    fn blocks(&self) -> Vec<Block> {
        let Some(would) = &self.would else {
            return vec![Block::Text(format!(
                "Deleted execution folders of {} Jobs",
                self.removed.done.len()
            ))];
        };
        let head = Block::Text(format!(
            "This operation would delete the execution folders of {} Jobs:",
            would.len()
        ));
        let lines = would.iter().map(|(id, directory)| Block::Text(format!("{id}  {directory}")));
        [head].into_iter().chain(lines).collect()
    }
}
