//! What a batch system is asked, and what its words mean: text in, text out.
//!
//! A scheduler makes shell scripts and reads what they print. It starts no process and opens no socket; the runner
//! sends its [`Question`]s through a transport. One file per batch system: [`shell`] and [`slurm`].
//!
//! **Silence is not a result.** Reading an answer gives, per job, what the scheduler *said* ([`Observed::Seen`]), or
//! that it answered and the job was not in it ([`Observed::Absent`]); an answer that is incomplete, cut, noise or an
//! error is [`NoAnswer`] for all of them, and changes nothing anywhere.

pub mod shell;
pub mod slurm;

use std::sync::Arc;

use crate::model::Timestamp;
use crate::model::ids::Token;
use crate::model::resources::Resources;

/// Returns the scheduler that project files call `name`, or nothing for a name that is unknown here.
pub fn by_name(name: &str) -> Option<Arc<dyn Scheduler>> {
    match name {
        "shell" => Some(Arc::new(shell::Shell)),
        "slurm" => Some(Arc::new(slurm::Slurm)),
        _ => None,
    }
}

/// The names that [`by_name`] knows.
pub const NAMES: &[&str] = &["shell", "slurm"];

/// One batch system.
pub trait Scheduler: Send + Sync {
    /// Returns the name as project files have it, for example `slurm`.
    fn name(&self) -> &'static str;

    /// Returns the environment variables in which a running job finds itself; none where there is no batch system
    /// and the id is made from the process.
    fn job_variables(&self) -> Option<JobVariables> {
        None
    }

    /// Returns the directives at the head of the submit script, each line ended, or every field of `job` that this
    /// scheduler cannot express.
    fn header(&self, job: &HeaderJob<'_>) -> Result<String, Unsupported>;

    /// Returns the POSIX shell command that submits `submit.sh` of the current directory and prints the new id.
    ///
    /// It is run once per job with `JF_TOKEN` (the token) and `JF_RUN_DIR` in its environment; it must hand the
    /// token to the scheduler, so that [`Scheduler::find`] finds it. Its standard error is `.jobferry/submit.err`. Exit
    /// code 124 says that the scheduler does not answer: then the other jobs of the round trip are not tried.
    fn submit_command(&self) -> &str;

    /// Returns what the printed text of one [`Scheduler::submit_command`] means.
    fn read_submission(&self, printed: &Printed) -> Submission;

    /// Returns the one question about all these jobs.
    fn poll(&self, watched: &[Watched]) -> Question;

    /// Returns one observation per watched job, in their order.
    fn read_poll(&self, printed: &Printed, watched: &[Watched]) -> Result<Vec<Observed>, NoAnswer>;

    /// Returns the question whether attempts with these tokens are known, queued or ended.
    fn find(&self, tokens: &[Token]) -> Question;

    /// Returns, for each token in its order, the ids of the jobs that carry it; empty where the scheduler answered and
    /// knows none.
    fn read_find(&self, printed: &Printed, tokens: &[Token]) -> Result<Vec<Vec<String>>, NoAnswer>;

    /// Returns the question about jobs that left the queue (accounting); none where there is no such thing.
    fn accounting(&self, watched: &[Watched]) -> Option<Question>;

    /// Returns one observation per watched job, in their order.
    fn read_accounting(&self, printed: &Printed, watched: &[Watched]) -> Result<Vec<Observed>, NoAnswer>;

    /// Returns the order to end these jobs, with all their processes.
    fn cancel(&self, ids: &[String]) -> Question;

    /// Returns whether the order was taken; an id that is already gone is no failure.
    fn read_cancel(&self, printed: &Printed, ids: &[String]) -> Result<(), NoAnswer>;

    /// Returns the question that a check of the worker asks: is the client there, which version, is the service up.
    fn check(&self) -> Question;

    /// Returns the version, or what is wrong in words for people with what to do about it.
    fn read_check(&self, printed: &Printed) -> Result<String, String>;
}

/// Names of environment variables of a running job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobVariables {
    /// Its id.
    pub id: &'static str,
    /// How often the scheduler has started it again under the same id.
    pub restarts: &'static str,
}

/// What a header is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct HeaderJob<'a> {
    pub name: &'a str,
    pub run_dir: &'a str,
    pub resources: &'a Resources,
}

/// Fields of a job that a scheduler cannot express, all of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the scheduler {scheduler} cannot express: {}", fields.join(", "))]
pub struct Unsupported {
    pub scheduler: &'static str,
    pub fields: Vec<String>,
}

/// A script for the host and its standard input. The script is short whatever the number of jobs; ids and tokens are
/// in the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub script: String,
    pub input: String,
}

/// What a script printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    pub exit_code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// How a submission ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submission {
    /// The job is in the queue under this id.
    Accepted { id: String },
    /// Not now: a limit of the queue or of the user. To be tried again later; no fault of the job.
    Wait { why: String },
    /// The scheduler was not asked this time; what earlier tries came to is as unknown as before.
    NotTried { why: String },
    /// Its run directory is not there, although the work directory is.
    Missing { why: String },
    /// Never like this: an unknown partition, too many nodes, an invalid account.
    Refused { why: String },
    /// It may or may not be in the queue: look its token up.
    Unclear { why: String },
}

/// A job that a poll asks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    pub id: String,
    pub token: Token,
    pub run_dir: String,
    /// When it was submitted, by the runner's clock: an older record under the same id is another job's.
    pub submitted: Option<Timestamp>,
}

/// What an answer says about one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    Seen(Status),
    /// The answer is complete and the job is not in it. Proves nothing by itself.
    Absent,
}

/// A scheduler's word for where a job is. Not a job's state: `model::state` decides what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub phase: Phase,
    /// The scheduler's own word, for people and logs.
    pub word: String,
    /// Why it is pending or held, where the scheduler says so.
    pub reason: Option<String>,
}

/// The phases that all schedulers share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    Pending,
    Held,
    Running,
    Suspended,
    /// Ended, and how, as far as the scheduler knows.
    Ended(Ending),
    /// A word this program does not know. The job is alive until proven otherwise.
    Unknown,
}

/// How a job ended, by the scheduler's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub kind: EndingKind,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
}

/// The classes of an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndingKind {
    Completed,
    Failed,
    TimedOut,
    OutOfMemory,
    NodeFailed,
    Preempted,
    Cancelled,
    LaunchFailed,
}

impl Status {
    /// Returns a status without a reason.
    fn new(phase: Phase, word: &str) -> Self {
        Self { phase, word: word.to_owned(), reason: None }
    }
}

impl Printed {
    /// Returns the last line of what went wrong, for a message.
    fn complaint(&self) -> String {
        let last = |text: &str| text.lines().rfind(|line| !line.trim().is_empty()).map(str::to_owned);
        let words =
            last(&self.stderr).or_else(|| last(&self.stdout)).unwrap_or_else(|| "no message".to_owned());
        format!("exit code {}: {}", self.exit_code, words.chars().take(500).collect::<String>())
    }
}

/// The question was not answered: an error, a time-out, noise, a cut answer. Nothing is known about any job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no usable answer from {scheduler}: {why}")]
pub struct NoAnswer {
    pub scheduler: &'static str,
    pub why: String,
}
