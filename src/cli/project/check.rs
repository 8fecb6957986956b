//! `jf project check`: tries each hop from here to a running job, and says per hop what is wrong and what to do.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Block, Cell, Table, Tone, View};
use crate::cli::session::{OpenProject, Session};
use crate::config::{JobStoreConfig, MongoServer, Project, StoreConfig};
use crate::model::ids::JobKey;
use crate::model::quote::quote;
use crate::runner::connect;
use crate::runner::plan::{HostPlan, Worker};
use crate::scheduler::Printed;
use crate::store::{Blobs, JobStore, StoreError};
use crate::transport::{Answer, Command, CommandAnswer, Operation, TransportError};

#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArgs {
    /// Check only this worker
    #[arg(short, long, value_name = "WORKER")]
    worker: Option<String>,
    /// Check only the store of outputs
    #[arg(long, visible_alias = "js", conflicts_with = "worker")]
    jobstore: bool,
    /// Check only the store of jobs
    #[arg(short, long, conflicts_with = "worker")]
    queue: bool,
}

/// How long each question to a host may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What the script that tries a work directory ends with when a step of it fails.
const CANNOT_MAKE: i32 = 91;
const CANNOT_WRITE: i32 = 92;

pub(super) async fn run(args: CheckArgs, session: &Session) -> Result<Exit, CliError> {
    let project = session.project()?;
    let mut report = Report::of(project.name.clone());
    report.good("project file", &project.file.display().to_string(), "valid");
    match session.open_project(project.clone()).await {
        Ok(opened) if args.worker.is_none() => check_stores(&args, &opened, &mut report).await,
        Ok(_) => {}
        Err(error) => report.hops.push(Hop::of_error("store", &place(&project.queue.store), &error)),
    }
    if !args.jobstore && !args.queue {
        check_workers(&args, &project, &mut report).await?;
    }
    session.show(&report)?;
    Ok(if report.is_good() { Exit::Success } else { Exit::CheckFailed })
}

async fn check_stores(args: &CheckArgs, opened: &OpenProject, report: &mut Report) {
    if !args.jobstore {
        match opened.queue().ping().await {
            Ok(()) => report.good("store of jobs", &place(&opened.project.queue.store), "answers"),
            Err(error) => report.hops.push(Hop::of_error("store of jobs", "", &error.into())),
        }
    }
    if !args.queue {
        check_job_store("", &opened.project.jobstore, &opened.stores.job_store, report).await;
        for (name, config) in &opened.project.optional_jobstores {
            if let Some(store) = opened.stores.optional.get(name) {
                check_job_store(&format!(" of {name}"), config, store, report).await;
            }
        }
    }
}

/// A name that no job and no part of an output has: the answer counts, not what is in it.
const NOBODY: &str = "jf-project-check";

/// Tries the outputs and each additional store; `whose` says which job store it is.
async fn check_job_store(whose: &str, config: &JobStoreConfig, store: &JobStore, report: &mut Report) {
    let at = place(&config.docs_store);
    let answer = store.outputs.newest_outputs(&[NOBODY.into()]).await.map(drop);
    report.hops.push(Hop::of_answer(&format!("store of outputs{whose}"), &at, answer));
    for (name, config) in &config.additional_stores {
        let (what, at) = (format!("additional store {name}{whose}"), place(config));
        match store.additional.get(name) {
            Some(blobs) => report.hops.push(Hop::of_answer(&what, &at, try_blobs(blobs.as_ref()).await)),
            None => report.hops.push(Hop::bad(
                &what,
                &at,
                "cannot be opened by this program",
                "use SqliteStore, MongoStore, GridFSStore, S3Store or JSONStore for parts of outputs",
            )),
        }
    }
}

/// Asks for a part that is not there, and removes none: an index, and the right to write, are tried with it.
async fn try_blobs(blobs: &dyn Blobs) -> Result<(), StoreError> {
    blobs.get_blobs(&[NOBODY.into()]).await?;
    blobs.remove_blobs(&[JobKey::new(NOBODY, 1)]).await
}

/// Returns where a store is, without anything secret.
fn place(store: &StoreConfig) -> String {
    match store {
        StoreConfig::Sqlite { path } | StoreConfig::JsonFile { path } => path.display().to_string(),
        StoreConfig::S3(s3) => {
            let server = s3.endpoint_url.as_deref().map(|url| format!(" at {url}")).unwrap_or_default();
            format!("s3://{}/{}{server}", s3.bucket, s3.sub_dir)
        }
        StoreConfig::Mongo(mongo) | StoreConfig::GridFs { mongo, .. } => {
            let server = match &mongo.server {
                MongoServer::Host { host, port } => format!("{host}:{port}"),
                MongoServer::Uri(_) => "by its connection string".to_owned(),
            };
            format!("{server} {}.{}", mongo.database, mongo.collection)
        }
        StoreConfig::Other { type_name, .. } => type_name.clone(),
    }
}

async fn check_workers(args: &CheckArgs, project: &Project, report: &mut Report) -> Result<(), CliError> {
    if let Some(name) = &args.worker {
        project.chosen_worker(name)?;
    }
    for (name, settings) in &project.workers {
        let chosen = args.worker.as_ref().is_none_or(|wanted| wanted == name);
        if let (true, Err(error)) = (chosen, connect::check_worker(name, settings)) {
            report.hops.push(Hop::of_error("worker", name, &error.into()));
        }
    }
    let plan = connect::plan(project);
    for host in &plan.hosts {
        let wanted = |worker: &&Worker| args.worker.as_ref().is_none_or(|name| worker.name == *name);
        let workers: Vec<&Worker> = host.workers.iter().filter(wanted).collect();
        if !workers.is_empty() {
            check_host(host, &workers, report).await;
            host.transport.close().await;
        }
    }
    Ok(())
}

/// Tries a host: all questions of all its workers in one round trip.
async fn check_host(host: &HostPlan, workers: &[&Worker], report: &mut Report) {
    let questions = workers.iter().flat_map(|worker| {
        let scheduler = worker.scheduler.check();
        [try_directory(&worker.work_dir), command(scheduler.script, scheduler.input)]
    });
    let name = host.transport.host();
    let answers = match host.transport.perform(questions.collect(), LIMIT * 2).await {
        Ok(answers) => answers,
        Err(error) => return report.hops.push(Hop::of_transport(name, &error)),
    };
    report.good("host", name, "answers");
    for (worker, pair) in workers.iter().zip(answers.chunks(2)) {
        if let [directory, scheduler] = pair {
            report.hops.push(judge_directory(worker, directory));
            report.hops.push(judge_scheduler(worker, scheduler));
        }
    }
}

fn command(script: String, input: String) -> Operation {
    Operation::Run(Command { script, input: input.into_bytes(), limit: LIMIT })
}

fn try_directory(path: &str) -> Operation {
    let path = quote(path);
    let script = format!(
        "mkdir -p {path} || exit {CANNOT_MAKE}\n\
         canary={path}/.jobferry-check.$$\n\
         {{ echo ok > \"$canary\" && test \"$(cat \"$canary\")\" = ok && rm -f \"$canary\"; }} || exit {CANNOT_WRITE}\n"
    );
    command(script, String::new())
}

fn judge_directory(worker: &Worker, answer: &Answer) -> Hop {
    let what = format!("work directory of {}", worker.name);
    match answer {
        Answer::Ran(CommandAnswer { exit_code: 0, .. }) => {
            Hop::good(&what, &worker.work_dir, "can be written")
        }
        Answer::Ran(ran) => {
            let (why, advice) = match ran.exit_code {
                CANNOT_MAKE => {
                    ("cannot be made", "make it by hand, or set another work_dir in the project file")
                }
                CANNOT_WRITE => {
                    ("cannot be written", "check its owner, its rights and the free space (df, quota)")
                }
                _ => ("could not be tried", "log in to the host and look at the directory"),
            };
            Hop::bad(&what, &worker.work_dir, &format!("{why}: {}", ran.stderr.trim()), advice)
        }
        other => Hop::bad(
            &what,
            &worker.work_dir,
            &describe(other),
            "log in to the host and look at the directory",
        ),
    }
}

fn judge_scheduler(worker: &Worker, answer: &Answer) -> Hop {
    let what = format!("scheduler of {}", worker.name);
    let name = worker.scheduler.name();
    let Answer::Ran(ran) = answer else {
        return Hop::bad(&what, name, &describe(answer), "log in to the host and call the scheduler by hand");
    };
    let printed = Printed {
        exit_code: ran.exit_code,
        stdout: String::from_utf8_lossy(&ran.stdout).into_owned(),
        stderr: ran.stderr.clone(),
    };
    match worker.scheduler.read_check(&printed) {
        Ok(version) => Hop::good(&what, name, &version),
        Err(why) => {
            Hop::bad(&what, name, &why, "check scheduler_type in the project file and the host's PATH")
        }
    }
}

fn describe(answer: &Answer) -> String {
    match answer {
        Answer::Failed(error) => error.to_string(),
        other => format!("unexpected answer: {other:?}"),
    }
}

struct Report {
    project: String,
    hops: Vec<Hop>,
}

/// One thing that has to work.
struct Hop {
    what: String,
    place: String,
    verdict: Verdict,
    detail: String,
    advice: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Bad,
}

impl Report {
    fn of(project: String) -> Self {
        Self { project, hops: Vec::new() }
    }

    fn good(&mut self, what: &str, place: &str, detail: &str) {
        self.hops.push(Hop::good(what, place, detail));
    }

    fn is_good(&self) -> bool {
        self.hops.iter().all(|hop| hop.verdict == Verdict::Good)
    }
}

impl Hop {
    fn good(what: &str, place: &str, detail: &str) -> Self {
        let (verdict, advice) = (Verdict::Good, None);
        Self { what: what.into(), place: place.into(), verdict, detail: detail.into(), advice }
    }

    fn bad(what: &str, place: &str, detail: &str, advice: &str) -> Self {
        let (verdict, advice) = (Verdict::Bad, Some(advice.to_owned()));
        Self { what: what.into(), place: place.into(), verdict, detail: detail.into(), advice }
    }

    fn of_transport(host: &str, error: &TransportError) -> Self {
        let known = match error {
            TransportError::Connect { hint, .. } => hint.clone(),
            TransportError::Lost { .. }
            | TransportError::TimedOut { .. }
            | TransportError::Garbled { .. } => None,
        };
        let advice = known
            .unwrap_or_else(|| format!("try `ssh {host} true` by hand until it works without a question"));
        Self::bad("host", host, &error.to_string(), &advice)
    }

    fn of_answer(what: &str, place: &str, answer: Result<(), StoreError>) -> Self {
        match answer {
            Ok(()) => Self::good(what, place, "answers"),
            Err(error) => Self::of_error(what, place, &error.into()),
        }
    }

    fn of_error(what: &str, place: &str, error: &CliError) -> Self {
        let (detail, advice) = error.story();
        Self { what: what.into(), place: place.into(), verdict: Verdict::Bad, detail, advice }
    }

    fn json(&self) -> Value {
        json!({
            "what": self.what,
            "place": self.place,
            "ok": self.verdict == Verdict::Good,
            "detail": self.detail,
            "advice": self.advice,
        })
    }

    fn row(&self) -> Vec<Cell> {
        let mark = match self.verdict {
            Verdict::Good => Cell::new("ok", Tone::Good),
            Verdict::Bad => Cell::new("FAILED", Tone::Bad),
        };
        vec![mark, self.what.as_str().into(), self.place.as_str().into(), self.detail.as_str().into()]
    }
}

impl View for Report {
    fn json(&self) -> Value {
        json!({
            "project": self.project,
            "ok": self.is_good(),
            "hops": self.hops.iter().map(Hop::json).collect::<Vec<_>>(),
        })
    }

    fn blocks(&self) -> Vec<Block> {
        let columns = ["", "What", "Where", "Result"].map(str::to_owned).to_vec();
        let title = Some(format!("Project {}", self.project));
        let rows = self.hops.iter().map(Hop::row).collect();
        let advice = self.hops.iter().filter_map(|hop| {
            hop.advice.as_ref().map(|advice| Block::Hint(format!("{}: {advice}", hop.what)))
        });
        [Block::Table(Table { title, columns, rows })].into_iter().chain(advice).collect()
    }
}
