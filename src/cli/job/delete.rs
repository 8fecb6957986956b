//! `jf job delete`

use clap::Args;
use serde_json::{Value, json};

use super::record;
use crate::cli::act::{self, AtMost, BreakOption, Conduct, ErrorOption, Targets, WaitOption};
use crate::cli::error::{CliError, Exit};
use crate::cli::left_behind;
use crate::cli::output::{Block, View};
use crate::cli::session::Session;
use crate::model::job::JobRecord;
use crate::model::query::Detail;
use crate::store::actions::{Action, Deletion, Processes};

#[derive(Debug, Args)]
pub(in crate::cli) struct DeleteArgs {
    #[command(flatten)]
    targets: Targets,
    /// Delete at most so many jobs, or none of them; 0 is no limit
    #[arg(short, long, value_name = "N", default_value_t = 10)]
    max: usize,
    /// Delete the outputs of the jobs too
    #[arg(short, long)]
    output: bool,
    /// Delete the files of the jobs too
    #[arg(long, alias = "fi")]
    files: bool,
    /// Delete outputs and files too
    #[arg(short, long)]
    all: bool,
    /// Only show which jobs would be deleted
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: WaitOption,
    #[command(flatten)]
    errors: ErrorOption,
}

pub(super) async fn run(args: DeleteArgs, session: &Session) -> Result<Exit, CliError> {
    let project = session.open().await?;
    let Some(chosen) = args.targets.choose(session, &project, Detail::Summary).await? else {
        return Ok(Exit::Success);
    };
    let most = if args.max == 0 { AtMost::Any } else { AtMost::Jobs(args.max) };
    chosen.check_limit(most, "deleting")?;
    if args.dry_run {
        let jobs = chosen.jobs.iter().map(|job| record::summary(job, session.now().at)).collect();
        let names = chosen.jobs.iter().map(|job| format!("{}  {}  {}", job.db_id, job.state, job.name()));
        session.show(&WouldDelete { jobs, lines: names.collect() })?;
        return Ok(Exit::Success);
    }
    let files = args.files || args.all;
    let deletion = Deletion { processes: Processes::End, remove_directory: files };
    let conduct = Conduct::of(&args.wait, &BreakOption::default(), &args.errors);
    let flows = left_behind::flows_of(&project, &chosen.jobs).await?;
    let report = act::carry_out(session, &project, &chosen, &Action::Delete(deletion), &conduct).await?;
    let gone: Vec<&JobRecord> = chosen.jobs.iter().filter(|job| report.is_done(&job.db_id)).collect();
    let mut exit = Exit::Success;
    if args.output || args.all {
        left_behind::remove_outputs(session, &project, &flows, &gone).await?;
    }
    if files {
        exit = left_behind::remove_files(session, &project, &gone).await?;
    }
    act::tell_processes(session, &project).await?;
    let told = report.tell(session)?;
    Ok(if told == Exit::Success { exit } else { told })
}

struct WouldDelete {
    jobs: Vec<Value>,
    lines: Vec<String>,
}

impl View for WouldDelete {
    fn json(&self) -> Value {
        json!({"would_delete": self.jobs})
    }

    fn blocks(&self) -> Vec<Block> {
        let head = Block::Text(format!("This operation would delete {} Job(s):", self.lines.len()));
        [head].into_iter().chain(self.lines.iter().cloned().map(Block::Text)).collect()
    }
}
