//! Slurm.
//!
//! A poll is one `squeue` for all jobs of the user (one targeted request to the controller, however many jobs), with
//! those that ended within `MinJobAge` (300 s unless the site says otherwise), their exit codes and comments. The token is
//! the job's comment, so a recycled id is never taken for ours. Older ends are asked from `sacct`; where accounting is
//! switched off it knows no job. Sources: the manual pages and sources of Slurm 22.05 to 25.05.

mod header;
mod records;
mod refusals;

use self::records::{Record, framed};
use super::{
    HeaderJob, JobVariables, NoAnswer, Observed, Printed, Question, Scheduler, Submission, Unsupported,
    Watched,
};
use crate::model::ids::Token;

/// The scheduler `slurm`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slurm;

const NAME: &str = "slurm";
const SUBMIT: &str = include_str!("submit.sh");
const QUEUE: &str = include_str!("queue.sh");
const ACCOUNTING: &str = include_str!("accounting.sh");
const CANCEL: &str = include_str!("cancel.sh");
const CHECK: &str = include_str!("check.sh");

impl Scheduler for Slurm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn job_variables(&self) -> Option<JobVariables> {
        Some(JobVariables { id: "SLURM_JOB_ID", restarts: "SLURM_RESTART_COUNT" })
    }

    fn header(&self, job: &HeaderJob<'_>) -> Result<String, Unsupported> {
        header::header(job)
    }

    fn submit_command(&self) -> &str {
        SUBMIT
    }

    fn read_submission(&self, printed: &Printed) -> Submission {
        refusals::read_submission(printed)
    }

    fn poll(&self, _watched: &[Watched]) -> Question {
        Question { script: QUEUE.to_owned(), input: String::new() }
    }

    fn read_poll(&self, printed: &Printed, watched: &[Watched]) -> Result<Vec<Observed>, NoAnswer> {
        let lines = framed(printed, "queue")?;
        let records = records::queue(&lines)?;
        records::observe(&records, watched)
    }

    fn find(&self, _tokens: &[Token]) -> Question {
        Question { script: QUEUE.to_owned(), input: String::new() }
    }

    fn read_find(&self, printed: &Printed, tokens: &[Token]) -> Result<Vec<Vec<String>>, NoAnswer> {
        let lines = framed(printed, "queue")?;
        let records = records::queue(&lines)?;
        records.complete()?;
        let ids_of = |token: &Token| {
            let mut ids: Vec<String> =
                records.all.iter().filter(|r| r.comment == token.as_str()).map(Record::base_id).collect();
            ids.dedup();
            ids
        };
        Ok(tokens.iter().map(ids_of).collect())
    }

    fn accounting(&self, watched: &[Watched]) -> Option<Question> {
        let since = records::first_day(watched);
        let ids = watched.iter().map(|job| format!("{}\n", job.id));
        Some(Question { script: ACCOUNTING.to_owned(), input: std::iter::once(since).chain(ids).collect() })
    }

    fn read_accounting(&self, printed: &Printed, watched: &[Watched]) -> Result<Vec<Observed>, NoAnswer> {
        if printed.stderr.contains("accounting storage is disabled") {
            return Ok(vec![Observed::Absent; watched.len()]);
        }
        let lines = framed(printed, "accounting")?;
        let records = records::accounting(&lines)?;
        records::observe(&records, watched)
    }

    fn cancel(&self, ids: &[String]) -> Question {
        Question { script: CANCEL.to_owned(), input: ids.iter().map(|id| format!("{id}\n")).collect() }
    }

    fn read_cancel(&self, printed: &Printed, _ids: &[String]) -> Result<(), NoAnswer> {
        match framed(printed, "cancel") {
            Err(_) if printed.exit_code == 0 && only_gone(printed) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    fn check(&self) -> Question {
        Question { script: CHECK.to_owned(), input: String::new() }
    }

    fn read_check(&self, printed: &Printed) -> Result<String, String> {
        let lines = framed(printed, "check").map_err(|error| error.why)?;
        let said = |word: &str| lines.iter().filter_map(|line| line.strip_prefix(word)).collect::<Vec<_>>();
        let faults = said("fault ");
        match said("version ").first() {
            Some(version) if faults.is_empty() => {
                Ok(format!("{version}; partitions: {}", said("partitions ").concat().trim()))
            }
            _ => Err(faults.join("; ")),
        }
    }
}

/// Returns whether `scancel` complained, and only about jobs that are gone.
fn only_gone(printed: &Printed) -> bool {
    let gone = |line: &str| {
        line.contains("Invalid job id specified") || line.contains("Job/step already completing or completed")
    };
    let whole = printed.stdout.lines().next_back().is_some_and(|line| line.starts_with("jobferry-end "));
    let mut complaints = printed.stderr.lines().filter(|line| line.contains("scancel:")).peekable();
    whole && complaints.peek().is_some() && complaints.all(gone)
}

#[cfg(test)]
mod tests;
