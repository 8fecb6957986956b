//! `jf flow delete`

use std::time::Duration;

use clap::{ArgAction, Args};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::which;
use crate::cli::act::{self, BreakOption, Conduct, ErrorOption, WaitOption};
use crate::cli::confirm;
use crate::cli::error::{CliError, Exit};
use crate::cli::left_behind;
use crate::cli::output::{Block, View};
use crate::cli::query::FlowQuery;
use crate::cli::session::{OpenProject, Session};
use crate::model::job::{FlowRecord, JobRecord};
use crate::store::actions::{Answer, Deletion, Processes, Refusal};

#[derive(Debug, Args)]
pub(in crate::cli) struct DeleteArgs {
    #[command(flatten)]
    query: FlowQuery,
    /// Answer yes to questions beforehand
    #[arg(short, long)]
    yes: bool,
    /// Delete at most so many flows, or none of them; 0 is no limit
    #[arg(short, long, value_name = "N", default_value_t = 10)]
    max: usize,
    /// Show the flows before asking
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// Delete the outputs of the jobs too
    #[arg(short, long)]
    output: bool,
    /// Delete the files of the jobs too
    #[arg(long, alias = "fi")]
    files: bool,
    /// Delete outputs and files too
    #[arg(short, long)]
    all: bool,
    /// Let the processes of SUBMITTED and RUNNING jobs run on
    #[arg(long, alias = "kp")]
    keep_processes: bool,
    /// Only show which flows would be deleted
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: WaitOption,
    #[command(flatten)]
    locks: BreakOption,
}

/// How often a locked flow is tried again while `--wait` lasts.
const TRY_AGAIN: Duration = Duration::from_millis(500);

pub(super) async fn run(args: DeleteArgs, session: &Session) -> Result<Exit, CliError> {
    let project = session.open().await?;
    let flows = which::flows(session, &project, &args.query).await?;
    if flows.is_empty() {
        session.remark("No flows matching criteria")?;
        session.show(&Deleted::default())?;
        return Ok(Exit::Success);
    }
    if args.dry_run {
        session.show(&WouldDelete { flows })?;
        return Ok(Exit::Success);
    }
    let conduct = Conduct::of(&args.wait, &args.locks, &ErrorOption::default());
    if !confirmed(&args, session, &flows)? || !conduct.confirm(&project, args.yes).await? {
        return Ok(Exit::Success);
    }
    check_limit(&args, flows.len())?;
    let jobs = which::jobs(&project, &flows).await?;
    let deleted = delete(&args, session, &project, &flows, &conduct).await?;
    let gone = |job: &&JobRecord| job.flow_uuid().is_some_and(|uuid| deleted.flows.iter().any(|f| f == uuid));
    let gone: Vec<&JobRecord> = jobs.iter().filter(gone).collect();
    if args.output || args.all {
        left_behind::remove_outputs(session, &project, &flows, &gone).await?;
    }
    let files = if args.files || args.all {
        left_behind::remove_files(session, &project, &gone).await?
    } else {
        Exit::Success
    };
    act::tell_processes(session, &project).await?;
    deleted.tell(session)?;
    Ok(if deleted.refused.is_empty() { files } else { Exit::Failed })
}

fn confirmed(args: &DeleteArgs, session: &Session, flows: &[FlowRecord]) -> Result<bool, CliError> {
    if args.yes {
        return Ok(true);
    }
    let question = if args.verbose > 0 {
        session.remark(&format!("This operation will delete the following {} Flow(s)", flows.len()))?;
        for flow in flows {
            session.remark(&line(flow))?;
        }
        "Proceed anyway?".to_owned()
    } else {
        format!("This operation will delete {} Flow(s). Proceed anyway?", flows.len())
    };
    Ok(confirm::ask(&question)? == confirm::Answer::Yes)
}

fn line(flow: &FlowRecord) -> String {
    format!("{}  {}  {}  {} jobs", flow.uuid, flow.state, flow.name, flow.ids.len())
}

fn check_limit(args: &DeleteArgs, count: usize) -> Result<(), CliError> {
    if args.max > 0 && count > args.max {
        let text = format!(
            "Cannot delete {count} Flows as they exceed the specified maximum limit ({}). Increase the limit to delete \
             the Flows.",
            args.max
        );
        return Err(CliError::failed(text).hint(format!("type `-m {count}` to delete all of them")));
    }
    Ok(())
}

async fn delete(
    args: &DeleteArgs,
    session: &Session,
    project: &OpenProject,
    flows: &[FlowRecord],
    conduct: &Conduct,
) -> Result<Deleted, CliError> {
    let processes = if args.keep_processes { Processes::LetRun } else { Processes::End };
    let deletion = Deletion { processes, remove_directory: args.files || args.all };
    let end = Instant::now() + conduct.wait();
    let mut open: Vec<String> = flows.iter().map(|flow| flow.uuid.clone()).collect();
    let mut deleted = Deleted::default();
    loop {
        let mandate = conduct.mandate(session);
        let answers = project.stores.actions.delete_flows(&open, deletion, &mandate).await?;
        deleted.refused.clear();
        let mut locked = Vec::new();
        for (uuid, answer) in open.iter().zip(answers) {
            match answer {
                Answer::Done { .. } => deleted.flows.push(uuid.clone()),
                // Somebody else has deleted it meanwhile.
                Answer::Refused(Refusal::NoSuchFlow(_)) => {}
                Answer::Refused(refusal) => {
                    if refusal.is_passing() {
                        locked.push(uuid.clone());
                    }
                    deleted.refused.push((uuid.clone(), refusal.to_string()));
                }
            }
        }
        if locked.is_empty() || Instant::now() >= end {
            return Ok(deleted);
        }
        open = locked;
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

#[derive(Default)]
struct Deleted {
    flows: Vec<String>,
    refused: Vec<(String, String)>,
}

impl Deleted {
    fn tell(&self, session: &Session) -> Result<(), CliError> {
        for (uuid, why) in &self.refused {
            session.remark(&format!("Error while deleting Flow with id {uuid}: {why}"))?;
        }
        if !self.refused.is_empty() {
            let left: Vec<&str> = self.refused.iter().map(|(uuid, _)| uuid.as_str()).collect();
            session.remark(&format!("Some of the selected Flows were not deleted: {}", left.join(", ")))?;
        }
        session.show(self)
    }
}

impl View for Deleted {
    fn json(&self) -> Value {
        let refused: Vec<Value> =
            self.refused.iter().map(|(uuid, why)| json!({"flow": uuid, "error": why})).collect();
        json!({"deleted": self.flows, "refused": refused})
    }

    fn blocks(&self) -> Vec<Block> {
        let text = format!("Deleted Flow(s) with id: {}", self.flows.join(", "));
        (!self.flows.is_empty()).then_some(Block::Text(text)).into_iter().collect()
    }
}

struct WouldDelete {
    flows: Vec<FlowRecord>,
}

impl View for WouldDelete {
    fn json(&self) -> Value {
        let flows: Vec<&str> = self.flows.iter().map(|flow| flow.uuid.as_str()).collect();
        json!({"would_delete": flows})
    }

    fn blocks(&self) -> Vec<Block> {
        let head = Block::Text(format!("This operation would delete {} Flow(s):", self.flows.len()));
        [head].into_iter().chain(self.flows.iter().map(line).map(Block::Text)).collect()
    }
}
