//! Many submissions in one round trip: one fixed script, one line of input per job.
//!
//! Per job the script goes into the run directory and answers, in this order: what was answered before (the file
//! `submitted`), the id of a copy that already started (`start`), or what the scheduler says now. Before the scheduler
//! is asked the file `submitting` is taken; who finds it taken does not ask a second time unless the caller has looked
//! the token up and found nothing ([`Mode::Again`]); then the start record also goes before an answer that was no use. So
//! a lost answer, or a runner killed at any point, never leads to a second job in the queue.

use super::layout;
use crate::model::ids::Token;
use crate::scheduler::{NoAnswer, Printed, Question, Scheduler, Submission};

/// One job to be handed to the scheduler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToSubmit {
    pub token: Token,
    /// Absolute; staged before.
    pub run_dir: String,
    pub mode: Mode,
}

/// What the caller knows about earlier tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The first try, or a repeat of one whose answer was lost.
    First,
    /// The token was looked up ([`Scheduler::find`]) and nothing found, or the scheduler clearly said no before.
    Again,
}

const SCRIPT: &str = include_str!("submission.sh");
const FIRST_LINE: &str = "jobferry-submission 1";

/// Returns the one question that submits all these jobs.
///
/// Each must be staged. After a lost answer the same question may be asked again. Lines of output: at most 20 of
/// 500 characters per job and stream.
pub fn submission(scheduler: &dyn Scheduler, jobs: &[ToSubmit]) -> Question {
    let script = format!("jf_submit() {{\n{}\n}}\n{SCRIPT}", scheduler.submit_command());
    let input = jobs.iter().map(input_line).collect();
    Question { script, input }
}

fn input_line(job: &ToSubmit) -> String {
    let mode = match job.mode {
        Mode::First => "first",
        Mode::Again => "again",
    };
    // The slash keeps blanks at the end of the name; a line feed cannot be sent, and no directory will be found.
    format!("{mode} {} {}/\n", job.token, job.run_dir.replace('\n', "?"))
}

/// Returns how each submission ended, in the order of `jobs`; [`NoAnswer`] when what was printed is not the whole
/// answer to [`submission`] of these jobs, and any of them may have been submitted.
pub fn read_submissions(
    printed: &Printed,
    jobs: &[ToSubmit],
    scheduler: &dyn Scheduler,
) -> Result<Vec<Submission>, NoAnswer> {
    let no_answer = |why: String| NoAnswer { scheduler: scheduler.name(), why };
    let mut lines = printed.stdout.lines().skip_while(|line| *line != FIRST_LINE).skip(1).peekable();
    let mut submissions = Vec::with_capacity(jobs.len());
    for job in jobs {
        let head = lines.next().ok_or_else(|| no_answer(cut(printed, submissions.len())))?;
        let (word, exit_code) = read_head(head, &job.token)
            .ok_or_else(|| no_answer(format!("{head:?} is not the answer for {}", job.token)))?;
        let mut answer = Printed { exit_code, stdout: String::new(), stderr: String::new() };
        while let Some(line) = lines.next_if(|line| line.starts_with("o:") || line.starts_with("e:")) {
            let (stream, text) = line.split_at(2);
            let target = if stream == "o:" { &mut answer.stdout } else { &mut answer.stderr };
            target.push_str(text);
            target.push('\n');
        }
        submissions.push(meaning(word, &answer, scheduler));
    }
    if lines.next() != Some(&format!("end {}", jobs.len())) {
        return Err(no_answer(cut(printed, submissions.len())));
    }
    Ok(submissions)
}

fn cut(printed: &Printed, read: usize) -> String {
    let last = printed.stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no message");
    format!("the answer ends after {read} jobs (exit code {}: {last})", printed.exit_code)
}

fn read_head<'a>(line: &'a str, token: &Token) -> Option<(&'a str, i32)> {
    let rest = line.strip_prefix("job ")?.strip_prefix(token.as_str())?.strip_prefix(' ')?;
    let (word, exit_code) = rest.split_once(' ')?;
    Some((word, exit_code.parse().ok()?))
}

fn meaning(word: &str, answer: &Printed, scheduler: &dyn Scheduler) -> Submission {
    match word {
        "ran" | "known" => scheduler.read_submission(answer),
        "started" => match answer.stdout.trim() {
            "" => Submission::Unclear { why: "it has started, but its start record names no id".to_owned() },
            id => Submission::Accepted { id: id.to_owned() },
        },
        "held" => Submission::Unclear {
            why: format!("an earlier submission left {} without an answer", layout::SUBMITTING),
        },
        "missing" => Submission::Missing {
            why: "its run directory is gone, although its work directory is there: run the job again"
                .to_owned(),
        },
        "unreachable" => {
            Submission::NotTried { why: "its work directory cannot be entered: is it mounted?".to_owned() }
        }
        "storage" => Submission::NotTried {
            why: format!("{} cannot be written: is the disk full?", layout::SUBMITTING),
        },
        "skipped" => {
            Submission::NotTried { why: "not tried: the scheduler did not answer in time".to_owned() }
        }
        other => Submission::Unclear { why: format!("unknown answer {other:?}") },
    }
}

#[cfg(test)]
#[path = "submission/tests.rs"]
mod tests;
