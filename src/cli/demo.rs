//! `jf demo`: a project in a fresh folder, the bundled flow run to its end, and what to look at next.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::error::{CliError, Exit};
use super::job::{list::JobTable, record};
use super::output::json::plain;
use super::output::{Block, Cell, View};
use super::session::{Now, OpenProject, Session};
use super::submit::{compile_file, wait};
use super::time::Zone;
use crate::config::{self, InitAnswers, NewPlace, NewStore, NewWorker, Project, Scheduler};
use crate::model::job::JobRecord;
use crate::model::query::{Detail, JobFilter, Order, Page, SortKey};
use crate::runner::connect;
use crate::runner::logging::{self, Stderr};
use crate::runner::process;
use crate::runner::supervisor::Until;

/// The flow of the demo, the first of the examples.
const FLOW: &str = include_str!("../../config/examples/flows/diamond.yaml");

/// The folder, unless another is named.
const FOLDER: &str = "jobferry-demo";

/// The demo takes a second or two; a machine on which it is not done by then has something wrong.
const LIMIT: Duration = Duration::from_secs(120);

/// Run a small workflow in a fresh folder and show what came of it
///
/// It makes a project with the embedded store and one worker on this machine, submits the bundled flow, runs it to
/// its end, and says where everything lies. Nothing outside the folder is touched.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// The folder to make [default: jobferry-demo, or the first free jobferry-demo-N]
    folder: Option<PathBuf>,
}

pub(super) async fn run(args: DemoArgs, session: &Session) -> Result<Exit, CliError> {
    let folder = fresh_folder(args.folder)?;
    let project = make_project(&folder, session)?;
    let file = folder.join("diamond.yaml");
    std::fs::write(&file, FLOW)?;
    connect::make_private(&project.log_dir)?;
    logging::start(&project.log_dir, "info", project.jobferry.log_files, Stderr::Silent)
        .map_err(CliError::failed)?;
    let (flow, files) = compile_file(&file, &project, session)?;
    let opened = session.open_project(project).await?;
    opened.stores.files.put_files(&files).await?;
    opened.queue().insert_flow(&flow).await?;
    session.remark(&format!("Submitted flow {} with {} jobs", flow.name, flow.jobs.len()))?;
    let mut interrupts = wait::interrupts()?;
    let until = Until::Idle { limit: Some(LIMIT) };
    let (ran, counts) = tokio::join!(
        process::run(&opened.project, until),
        wait::follow(session, opened.queue(), &flow.uuid, &mut interrupts)
    );
    ran?;
    let exit = counts?.as_ref().map_or(Exit::Interrupted, wait::exit);
    let jobs = jobs_of(&opened, &flow.uuid).await?;
    let outputs = outputs_of(&opened, &jobs).await?;
    let (now, zone) = (session.now(), session.zone.clone());
    session.show(&Report { folder, file, project: &opened.project, jobs, outputs, now, zone })?;
    Ok(exit)
}

/// Makes the folder, which must not be there yet, and returns its absolute path.
fn fresh_folder(wanted: Option<PathBuf>) -> Result<PathBuf, CliError> {
    let numbered = (2..).map(|number| PathBuf::from(format!("{FOLDER}-{number}")));
    let mut candidates = std::iter::once(PathBuf::from(FOLDER)).chain(numbered);
    let folder = wanted.or_else(|| candidates.find(|folder| !folder.exists())).unwrap_or_default();
    std::fs::create_dir(&folder).map_err(|source| {
        let error = CliError::failed(format!("the folder {} cannot be made: {source}", folder.display()));
        error.hint("name one that does not exist yet: `jf demo FOLDER`")
    })?;
    Ok(folder.canonicalize()?)
}

fn make_project(folder: &Path, session: &Session) -> Result<Project, CliError> {
    let projects = folder.join("projects");
    connect::make_private(&projects)?;
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let worker = NewWorker {
        name: "local".to_owned(),
        place: NewPlace::Local,
        scheduler: Scheduler::Shell,
        work_dir: folder.join("work").display().to_string(),
        resources: Vec::new(),
        pre_run: None,
        max_jobs: Some(u32::try_from(cores).unwrap_or(u32::MAX)),
    };
    let answers = InitAnswers {
        name: "demo".to_owned(),
        base_dir: Some(folder.join("state")),
        workers: vec![worker],
        store: NewStore::Sqlite,
    };
    let file = projects.join("demo.yaml");
    config::save_new(&file, &config::project_file(&answers))?;
    Ok(config::load(&file, &projects, &session.environment, &[])?.project)
}

async fn jobs_of(opened: &OpenProject, flow: &str) -> Result<Vec<JobRecord>, CliError> {
    let filter = JobFilter { flows: vec![flow.to_owned()], ..JobFilter::default() };
    let page = Page { sort: SortKey::DbId, order: Order::Ascending, limit: None, skip: 0 };
    Ok(opened.queue().jobs(&filter, &page, Detail::Summary).await?)
}

/// Returns the outputs of the jobs that have some, by the jobs' names.
async fn outputs_of(opened: &OpenProject, jobs: &[JobRecord]) -> Result<Vec<(String, Value)>, CliError> {
    let uuids: Vec<String> = jobs.iter().map(|job| job.key.uuid.clone()).collect();
    let found = opened.stores.job_store.outputs.newest_outputs(&uuids).await?;
    let output = |job: &JobRecord| Some((job.name().to_owned(), plain(found.get(&job.key.uuid)?.output())));
    Ok(jobs.iter().filter_map(output).collect())
}

/// What came of it.
struct Report<'a> {
    folder: PathBuf,
    file: PathBuf,
    project: &'a Project,
    jobs: Vec<JobRecord>,
    outputs: Vec<(String, Value)>,
    now: Now,
    zone: Zone,
}

impl Report<'_> {
    /// Where everything lies: what, and the path.
    fn places(&self) -> Vec<(&'static str, String)> {
        let run_dirs = self.project.default_worker().map(|(_, worker)| worker.work_dir.clone());
        vec![
            ("flow file", self.file.display().to_string()),
            ("project file", self.project.file.display().to_string()),
            ("run directories", run_dirs.unwrap_or_default()),
            ("store, state", self.project.base_dir.display().to_string()),
            ("log", self.project.log_dir.display().to_string()),
        ]
    }

    fn next_commands(&self) -> String {
        let program =
            std::env::current_exe().map_or_else(|_| "jf".to_owned(), |path| path.display().to_string());
        let projects = self.folder.join("projects");
        let last = self.jobs.last().map(|job| job.db_id.as_str()).unwrap_or_default();
        let quote = crate::model::quote::quote;
        format!(
            "What to type next:\n  export JFREMOTE_PROJECTS_FOLDER={projects}\n  alias jf={program}\n  \
             jf job info {last}        one job: its moves, times, places\n  \
             jf job output {last}      its output alone\n  \
             jf submit {file}\n  jf runner run --until-idle\n  jf submit --format-help   how to write flows",
            projects = quote(&projects.display().to_string()),
            program = quote(&program),
            file = quote(&self.file.display().to_string()),
        )
    }
}

impl View for Report<'_> {
    fn json(&self) -> Value {
        let places: Map<String, Value> = self
            .places()
            .into_iter()
            .map(|(what, path)| (what.replace([' ', ','], "_"), json!(path)))
            .collect();
        json!({
            "jobs": self.jobs.iter().map(|job| record::summary(job, self.now.at)).collect::<Vec<_>>(),
            "outputs": self.outputs.iter().cloned().collect::<Map<_, _>>(),
            "places": places,
        })
    }

    fn blocks(&self) -> Vec<Block> {
        let table = JobTable::of_detail(0, &self.zone, &self.now)
            .draw(Some("Jobs of the demo".to_owned()), &self.jobs);
        let outputs = self.outputs.iter().map(|(name, value)| (name.clone(), Cell::from(value.to_string())));
        let places = self.places().into_iter().map(|(what, path)| (what.to_owned(), Cell::from(path)));
        vec![
            Block::Table(table),
            Block::Fields { title: "Outputs".to_owned(), fields: outputs.collect() },
            Block::Fields { title: "Where everything lies".to_owned(), fields: places.collect() },
            Block::Text(self.next_commands()),
        ]
    }
}
