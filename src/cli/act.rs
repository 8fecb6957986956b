//! What all commands that act on jobs share: which jobs, locks, errors, and what is said in the end.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::{ArgAction, Args};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::confirm;
use super::error::{CliError, Exit};
use super::output::{Block, View};
use super::query::JobQuery;
use super::select::{self, JobArg};
use super::session::{OpenProject, Session};
use crate::model::ids::JobKey;
use crate::model::job::JobRecord;
use crate::model::query::{Detail, JobFilter, Order, Page, SortKey};
use crate::store::Standing;
use crate::store::actions::{Action, Answer, Locks, Mandate, Refusal};

/// How often a locked document is tried again while `--wait` lasts.
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// Locks of programs that are at work are let go of within this: nobody is refused because of them.
const LEAST_WAIT: Duration = Duration::from_secs(1);

/// Which jobs: one by its id, or those of a query.
#[derive(Debug, Clone, Args)]
pub(super) struct Targets {
    /// Short id (DB id), uuid, or the beginning of a uuid; instead of a query
    id: Option<String>,
    /// Index of the job; without it the highest one
    index: Option<i32>,
    #[command(flatten)]
    query: JobQuery,
    /// Answer yes to questions beforehand
    #[arg(short, long)]
    yes: bool,
    /// Name the jobs that were modified
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
}

/// What happens when somebody else has locked a job or flow.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Locks and errors")]
pub(super) struct WaitOption {
    /// Wait so long for a locked job or flow
    #[arg(short, long, value_name = "SECONDS")]
    wait: Option<u64>,
}

/// What happens to locks of others.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Locks and errors")]
pub(super) struct BreakOption {
    /// Take locks of others away; right only if their owner is dead
    #[arg(long, alias = "bl")]
    break_lock: bool,
}

/// What happens at the first job that is refused.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Locks and errors")]
pub(super) struct ErrorOption {
    /// Stop at the first job that is refused
    #[arg(long, alias = "re")]
    raise_on_error: bool,
}

/// How an action is carried out.
#[derive(Debug, Clone, Default)]
pub(super) struct Conduct {
    wait: Duration,
    locks: Option<Locks>,
    stops: bool,
}

impl Conduct {
    /// Returns what the options ask for.
    pub(super) fn of(wait: &WaitOption, locks: &BreakOption, errors: &ErrorOption) -> Self {
        Self {
            wait: Duration::from_secs(wait.wait.unwrap_or(0)),
            locks: locks.break_lock.then_some(Locks::Break),
            stops: errors.raise_on_error,
        }
    }

    /// Returns how long locked documents are waited for.
    pub(super) fn wait(&self) -> Duration {
        self.wait
    }

    /// Returns who acts, now.
    pub(super) fn mandate(&self, session: &Session) -> Mandate {
        Mandate { by: user_and_host(), at: session.clock.now(), locks: self.locks.unwrap_or(Locks::Honour) }
    }

    /// Asks before locks are broken while a runner, which takes them too, is at work. Returns whether to go on.
    pub(super) async fn confirm(&self, project: &OpenProject, yes: bool) -> Result<bool, CliError> {
        let acts = self.locks == Some(Locks::Break) && runner_acts(project).await?;
        let question =
            "The Runner is active. This operation may lead to inconsistencies in this case. Proceed anyway?";
        Ok(!acts || yes || confirm::ask(question)? == confirm::Answer::Yes)
    }
}

/// Returns whether some runner holds the lease.
pub(super) async fn runner_acts(project: &OpenProject) -> Result<bool, CliError> {
    Ok(project.queue().lease().await?.is_some_and(|lease| lease.standing == Standing::Holds))
}

fn user_and_host() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let host = gethostname::gethostname();
    format!("{}@{}", user.unwrap_or_else(|_| "user".to_owned()), host.to_string_lossy())
}

/// The jobs of a command line.
pub(super) struct Chosen {
    pub(super) jobs: Vec<JobRecord>,
    /// Whether they are one job, named by its id.
    pub(super) is_single: bool,
    pub(super) yes: bool,
    verbose: u8,
}

/// How many jobs a command takes without being asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtMost {
    Any,
    /// More are refused, all of them.
    Jobs(usize),
}

impl Targets {
    /// Returns the jobs, the youngest first: children before their parents, which come back to WAITING after them.
    ///
    /// None where the person said no to acting on all jobs there are.
    pub(super) async fn choose(
        &self,
        session: &Session,
        project: &OpenProject,
        detail: Detail,
    ) -> Result<Option<Chosen>, CliError> {
        let now = session.now();
        let filter = self.query.filter(project.queue(), &now).await?;
        let no_filter = filter == JobFilter::default();
        let (yes, verbose) = (self.yes, self.verbose);
        if let Some(id) = &self.id {
            if !no_filter {
                let text = "If job_db_id is defined all the other query options should be disabled";
                return Err(CliError::failed(text).hint("leave out the id, or all options that choose jobs"));
            }
            let arg = JobArg { id: id.clone(), index: self.index };
            let job = select::job(project.queue(), &arg, detail).await?;
            return Ok(Some(Chosen { jobs: vec![job], is_single: true, yes, verbose }));
        }
        let question =
            "No filter has been set. This will apply the change to all the jobs in the DB. Proceed anyway?";
        if no_filter && !yes && confirm::ask(question)? == confirm::Answer::No {
            return Ok(None);
        }
        let page = Page { sort: SortKey::DbId, order: Order::Descending, limit: None, skip: 0 };
        let jobs = project.queue().jobs(&filter, &page, detail).await?;
        Ok(Some(Chosen { jobs, is_single: false, yes, verbose }))
    }
}

impl Chosen {
    /// Returns the error of a command that takes no more than so many jobs.
    pub(super) fn check_limit(&self, most: AtMost, doing: &str) -> Result<(), CliError> {
        match most {
            AtMost::Jobs(most) if self.jobs.len() > most => Err(CliError::failed(format!(
                "Cannot perform {doing} on {} Jobs as they exceed the specified maximum limit ({most}).",
                self.jobs.len()
            ))
            .hint(format!("choose fewer jobs, or raise the limit with `-m {}`", self.jobs.len()))),
            _ => Ok(()),
        }
    }

    fn keys(&self) -> Vec<JobKey> {
        self.jobs.iter().map(|job| job.key.clone()).collect()
    }
}

/// Does the action to the chosen jobs, and tells what became of it.
pub(super) async fn perform(
    session: &Session,
    project: &OpenProject,
    chosen: &Chosen,
    action: &Action,
    conduct: &Conduct,
) -> Result<Exit, CliError> {
    let report = carry_out(session, project, chosen, action, conduct).await?;
    tell_processes(session, project).await?;
    report.tell(session)
}

/// Does the action to the chosen jobs and returns what became of each.
pub(super) async fn carry_out(
    session: &Session,
    project: &OpenProject,
    chosen: &Chosen,
    action: &Action,
    conduct: &Conduct,
) -> Result<Report, CliError> {
    let answers = try_all(session, project, &chosen.keys(), action, conduct).await?;
    Ok(Report::of(chosen, action, answers))
}

/// Does the action to all these jobs and returns what became of each.
pub(super) async fn act(
    session: &Session,
    project: &OpenProject,
    keys: &[JobKey],
    action: &Action,
    conduct: &Conduct,
) -> Result<Vec<Answer>, CliError> {
    let all = Conduct { stops: false, ..conduct.clone() };
    Ok(try_all(session, project, keys, action, &all).await?.into_iter().flatten().collect())
}

/// Returns what became of each; nothing of those that were not tried.
async fn try_all(
    session: &Session,
    project: &OpenProject,
    keys: &[JobKey],
    action: &Action,
    conduct: &Conduct,
) -> Result<Vec<Option<Answer>>, CliError> {
    let mut answers: Vec<Option<Answer>> = vec![None; keys.len()];
    let end = Instant::now() + conduct.wait.max(LEAST_WAIT);
    loop {
        let open: Vec<usize> = (0..keys.len()).filter(|place| is_open(answers.get(*place))).collect();
        let batches: Vec<&[usize]> = open.chunks(if conduct.stops { 1 } else { open.len().max(1) }).collect();
        for batch in batches {
            let some: Vec<JobKey> = batch.iter().filter_map(|place| keys.get(*place).cloned()).collect();
            let done = project.stores.actions.act(&some, action, &conduct.mandate(session)).await?;
            let refused = done.iter().any(|answer| answer.refusal().is_some_and(|r| !r.is_passing()));
            for (place, answer) in batch.iter().zip(done) {
                if let Some(slot) = answers.get_mut(*place) {
                    *slot = Some(answer);
                }
            }
            if refused && conduct.stops {
                return Ok(answers);
            }
        }
        let waits = answers.iter().any(|answer| is_open(Some(answer)));
        if !waits || Instant::now() >= end {
            return Ok(answers);
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

/// Returns whether there is no answer yet, or one that may be another later.
fn is_open(answer: Option<&Option<Answer>>) -> bool {
    answer.and_then(Option::as_ref).is_none_or(|answer| answer.refusal().is_some_and(Refusal::is_passing))
}

/// Says that processes are left, where no runner is there to end them.
pub(super) async fn tell_processes(session: &Session, project: &OpenProject) -> Result<(), CliError> {
    let left = project.stores.cancellations.cancellations().await?.len();
    if left > 0 && !runner_acts(project).await? {
        session.remark(&format!(
            "{left} processes are still to be ended; the runner does that: start it with `jf runner start`."
        ))?;
    }
    Ok(())
}

/// What became of the chosen jobs.
pub(super) struct Report {
    doing: &'static str,
    is_single: bool,
    verbose: u8,
    /// Short ids, each once.
    modified: Vec<String>,
    refused: Vec<(String, String)>,
    /// Chosen jobs that were not tried because one before them was refused.
    skipped: usize,
}

impl Report {
    fn of(chosen: &Chosen, action: &Action, answers: Vec<Option<Answer>>) -> Self {
        let (mut modified, mut refused) = (Vec::new(), Vec::new());
        let (mut seen, mut skipped) = (BTreeSet::new(), 0);
        for (job, answer) in chosen.jobs.iter().zip(answers) {
            match answer {
                Some(Answer::Done { changed }) => {
                    modified.extend(changed.into_iter().filter(|id| seen.insert(id.clone())));
                }
                Some(Answer::Refused(refusal)) => refused.push((job.db_id.clone(), refusal.to_string())),
                None => skipped += 1,
            }
        }
        let (is_single, verbose) = (chosen.is_single, chosen.verbose);
        Self { doing: doing(action), is_single, verbose, modified, refused, skipped }
    }

    /// Returns whether the action was done to the job of this short id.
    pub(super) fn is_done(&self, db_id: &str) -> bool {
        self.modified.iter().any(|id| id == db_id)
    }

    /// Prints the report and returns how the command ends.
    pub(super) fn tell(self, session: &Session) -> Result<Exit, CliError> {
        if let (true, Some((id, why))) = (self.is_single, self.refused.first()) {
            let error = CliError::failed(format!("Error while {} for job {id}: {why}", self.doing));
            return Err(error.hint(format!("`jf job info {id}` tells more about the job")));
        }
        for (id, why) in &self.refused {
            session.remark(&format!("Error while {} for job {id}: {why}", self.doing))?;
        }
        if self.skipped > 0 {
            session.remark(&format!("{} jobs were not tried after that.", self.skipped))?;
        }
        session.show(&self)?;
        Ok(if self.refused.is_empty() { Exit::Success } else { Exit::Failed })
    }
}

/// Returns what is being done, in the word of jobflow-remote's messages.
fn doing(action: &Action) -> &'static str {
    match action {
        Action::Rerun(_) => "rerunning",
        Action::Retry => "retrying",
        Action::Pause => "pausing",
        Action::Resume => "resuming",
        Action::Stop => "stopping",
        Action::SetState(_) => "changing state",
        Action::Set(_) => "setting",
        Action::Delete(_) => "deleting",
    }
}

impl View for Report {
    fn json(&self) -> Value {
        let refused: Vec<Value> =
            self.refused.iter().map(|(id, why)| json!({"db_id": id, "error": why})).collect();
        json!({"modified": self.modified, "refused": refused, "not_tried": self.skipped})
    }

    fn blocks(&self) -> Vec<Block> {
        let text = if self.verbose > 0 {
            let ids: Vec<String> = self.modified.iter().map(|id| format!("'{id}'")).collect();
            format!("Operation completed. Modified jobs: [{}]", ids.join(", "))
        } else {
            format!("Operation completed: {} jobs modified", self.modified.len())
        };
        vec![Block::Text(text)]
    }
}
