//! `jf submit`: a flow file, a flow that Python serialized, or one command becomes jobs in the store.

mod command;
mod jobflow;
mod preview;
mod source;
pub(super) mod wait;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tokio::signal::unix::Signal;
use uuid::Uuid;

use super::error::{CliError, Exit};
use super::job::{list::JobTable, record};
use super::output::{Block, View};
use super::session::{Now, OpenProject, Session};
use super::time::Zone;
use crate::config::Project;
use crate::flowfile::source::Format;
use crate::flowfile::{self, Defaults};
use crate::model::job::{FlowId, JobRecord, NewFlow};
use crate::model::query::{Detail, JobFilter, Order, Page, SortKey};
use crate::store::NewFile;

/// Submit a flow file, or one command
///
/// A flow file describes jobs, what they need and how they depend on each other; `jf submit --format-help` explains
/// it. One command needs no file: `jf submit --cpus 4 -- relax in.xyz`. A Flow or Job of jobflow, or a list of them, is
/// submitted as `json.dumps(flow, cls=MontyEncoder)` wrote it.
#[derive(Debug, Args)]
#[command(
    override_usage = "jf submit [OPTIONS] <FLOW_FILE>\n       jf submit [OPTIONS] -- <PROGRAM> [ARG]..."
)]
pub(in crate::cli) struct SubmitArgs {
    /// The flow: a .yaml, .json or .toml file, ours or jobflow's, or - for stdin
    #[arg(
        value_name = "FLOW_FILE",
        required_unless_present_any = ["program", "schema", "format_help"],
        conflicts_with = "program"
    )]
    file: Option<PathBuf>,
    /// Run the jobs that name no worker on this one; without it on the project's first
    #[arg(short, long, alias = "wk")]
    worker: Option<String>,
    #[command(flatten)]
    command: command::CommandOptions,
    #[command(flatten)]
    jobflow: jobflow::JobflowOptions,
    /// The program and its arguments, run as they are, through no shell
    #[arg(last = true, value_name = "PROGRAM")]
    program: Vec<String>,
    /// Read the flow as this, whatever its file is called; without a file's name as JSON or YAML
    #[arg(long, value_name = "FORMAT", requires = "file")]
    format: Option<FormatName>,
    /// Show the jobs, their dependencies and scripts, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Follow the jobs to their end; exit code 3 if one does not complete
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// Print the JSON Schema of flow files
    #[arg(long, conflicts_with_all = ["file", "program", "format_help"])]
    schema: bool,
    /// Explain the format of flow files
    #[arg(long, conflicts_with_all = ["file", "program"])]
    format_help: bool,
}

/// A format of flow files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatName {
    Yaml,
    Json,
    Toml,
}

impl FormatName {
    fn format(self) -> Format {
        match self {
            Self::Yaml => Format::Yaml,
            Self::Json => Format::Json,
            Self::Toml => Format::Toml,
        }
    }
}

pub(super) async fn run(args: SubmitArgs, session: &Session) -> Result<Exit, CliError> {
    if args.schema {
        session.show(&Document(format!("{:#}", flowfile::schema()), flowfile::schema()))?;
        return Ok(Exit::Success);
    }
    if args.format_help {
        session.show(&Document(flowfile::FORMAT_HELP.to_owned(), json!(flowfile::FORMAT_HELP)))?;
        return Ok(Exit::Success);
    }
    let project = session.project()?;
    let (flow, files) = compile(&args, &project, session)?;
    if args.dry_run {
        session.show(&preview::Preview::of(flow, &project)?)?;
        return Ok(Exit::Success);
    }
    let opened = session.open_project(project).await?;
    let interrupts = if args.wait { Some(wait::interrupts()?) } else { None };
    // Files first: a job must never be seen before what it needs. A kill in between leaves files that nobody names.
    opened.stores.files.put_files(&files).await?;
    let ids = opened.queue().insert_flow(&flow).await?;
    match interrupts {
        Some(mut interrupts) => follow(&flow, &ids, &opened, session, &mut interrupts).await,
        None => tell(&flow, &ids, session),
    }
}

/// Returns what `jf submit FILE` would insert into the project's stores.
pub(super) fn compile_file(
    file: &Path,
    project: &Project,
    session: &Session,
) -> Result<(NewFlow, Vec<NewFile>), CliError> {
    match source::read(file, None)? {
        source::FlowText::FlowFile(source) => compile_source(&source, None, project, session),
        source::FlowText::Serialized(_) => {
            Err(CliError::input(format!("{} is no flow file", file.display())))
        }
    }
}

/// Returns the flow with the names it uses checked against the project, and the files to be stored with it.
fn compile(
    args: &SubmitArgs,
    project: &Project,
    session: &Session,
) -> Result<(NewFlow, Vec<NewFile>), CliError> {
    let source = match &args.file {
        Some(file) => match source::read(file, args.format.map(FormatName::format))? {
            source::FlowText::FlowFile(source) => {
                args.command.refuse_with_file()?;
                source
            }
            source::FlowText::Serialized(serialized) => {
                args.command.refuse_with_jobflow()?;
                let given = jobflow::Given {
                    worker: args.worker.clone(),
                    priority: args.command.priority(),
                    resources: args.command.resources().map(|resources| resources.to_document()),
                };
                let flow = args.jobflow.compile(serialized, given, project, session)?;
                return Ok((flow, Vec::new()));
            }
        },
        None => args.command.source(&args.program)?,
    };
    args.jobflow.refuse_otherwise()?;
    compile_source(&source, args.worker.clone(), project, session)
}

fn compile_source(
    source: &source::Source,
    worker: Option<String>,
    project: &Project,
    session: &Session,
) -> Result<(NewFlow, Vec<NewFile>), CliError> {
    let local = source.local_content()?;
    let first = project.default_worker().map(|(name, _)| name.to_owned());
    let defaults = Defaults { worker: worker.or(first), ..Defaults::default() };
    let mut ids = || Uuid::new_v4().to_string();
    let compiled = source.plan.compile(&mut ids, &local.content, &defaults, session.clock.now());
    let flow = compiled.map_err(|faults| source.faulty(&faults))?;
    for job in &flow.jobs {
        project.chosen_worker(&job.worker)?;
        if let Some(bson::Bson::String(name)) = &job.exec_config {
            project.execution_config(name)?;
        }
    }
    Ok((flow, local.files))
}

fn tell(flow: &NewFlow, ids: &[FlowId], session: &Session) -> Result<Exit, CliError> {
    session.show(&Submitted { flow, ids })?;
    Ok(Exit::Success)
}

async fn follow(
    flow: &NewFlow,
    ids: &[FlowId],
    opened: &OpenProject,
    session: &Session,
    interrupts: &mut Signal,
) -> Result<Exit, CliError> {
    session.remark(&submitted(flow, ids))?;
    wait::warn_without_runner(session, opened.queue()).await?;
    let Some(counts) = wait::follow(session, opened.queue(), &flow.uuid, interrupts).await? else {
        session.remark(&format!("the jobs go on; `jf flow info {}` shows them", flow.uuid))?;
        return Ok(Exit::Interrupted);
    };
    let filter = JobFilter { flows: vec![flow.uuid.clone()], ..JobFilter::default() };
    let page = Page { sort: SortKey::DbId, order: Order::Ascending, limit: None, skip: 0 };
    let jobs = opened.queue().jobs(&filter, &page, Detail::Summary).await?;
    let (now, zone) = (session.now(), session.zone.clone());
    session.show(&Ended { flow, jobs, counts: &counts, now, zone })?;
    Ok(wait::exit(&counts))
}

/// A text for people that scripts get as a value.
struct Document(String, Value);

impl View for Document {
    fn json(&self) -> Value {
        self.1.clone()
    }

    fn blocks(&self) -> Vec<Block> {
        vec![Block::Text(self.0.trim_end().to_owned())]
    }
}

fn submitted(flow: &NewFlow, ids: &[FlowId]) -> String {
    let short: Vec<&str> = ids.iter().map(|id| id.db_id.as_str()).collect();
    let which = match short.as_slice() {
        [one] => format!("job {one}"),
        [first, .., last] => format!("{} jobs, {first} to {last}", short.len()),
        [] => "no jobs".to_owned(),
    };
    format!("Submitted flow {} ({}): {which}", flow.name, flow.uuid)
}

struct Submitted<'a> {
    flow: &'a NewFlow,
    ids: &'a [FlowId],
}

impl View for Submitted<'_> {
    fn json(&self) -> Value {
        let job = |(job, id): (&crate::model::job::NewJob, &FlowId)| {
            json!({
                "db_id": id.db_id,
                "uuid": job.key.uuid,
                "index": job.key.index,
                "name": job.job.get_str("name").unwrap_or_default(),
                "worker": job.worker,
                "state": job.first_state().name(),
            })
        };
        json!({
            "flow_id": self.flow.uuid,
            "name": self.flow.name,
            "jobs": self.flow.jobs.iter().zip(self.ids).map(job).collect::<Vec<_>>(),
        })
    }

    fn blocks(&self) -> Vec<Block> {
        let id = self.ids.first().map(|id| id.db_id.as_str()).unwrap_or_default();
        vec![
            Block::Text(submitted(self.flow, self.ids)),
            Block::Hint(format!("`jf flow info {id}` follows it; a runner (`runner start`) runs it.")),
        ]
    }
}

/// A flow in which nothing moves any more.
struct Ended<'a> {
    flow: &'a NewFlow,
    jobs: Vec<JobRecord>,
    counts: &'a wait::Counts,
    now: Now,
    zone: Zone,
}

impl View for Ended<'_> {
    fn json(&self) -> Value {
        let states: serde_json::Map<_, _> =
            self.counts.iter().map(|(state, count)| (state.name().to_owned(), json!(count))).collect();
        json!({
            "flow_id": self.flow.uuid,
            "name": self.flow.name,
            "completed": wait::exit(self.counts) == Exit::Success,
            "states": states,
            "jobs": self.jobs.iter().map(|job| record::summary(job, self.now.at)).collect::<Vec<_>>(),
        })
    }

    fn blocks(&self) -> Vec<Block> {
        let table = JobTable::of_detail(0, &self.zone, &self.now).draw(Some(self.title()), &self.jobs);
        let failed = self.jobs.iter().find(|job| record::is_error(job.state));
        let hint = match (failed, self.jobs.first()) {
            (Some(job), _) => format!("`jf job info {}` tells more about the error.", job.db_id),
            (None, Some(job)) => format!("`jf job output {}` prints the output of the first job.", job.db_id),
            (None, None) => return vec![Block::Table(table)],
        };
        vec![Block::Table(table), Block::Hint(hint)]
    }
}

impl Ended<'_> {
    fn title(&self) -> String {
        format!("Flow {}: {}", self.flow.name, wait::describe(self.counts))
    }
}
