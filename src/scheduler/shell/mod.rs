//! No batch system: processes of the host itself.
//!
//! A job is the wrapper's process and session. Its id is `<pid>-<start time>-<boot>`: field 22 of `/proc/PID/stat`
//! (clock ticks since boot, Linux `proc(5)`) and the first part of the boot id, so that a recycled pid or a rebooted
//! host is never taken for it. All processes of a job carry its token in the variable `JF_TOKEN` of their environment:
//! that is how a job is found whose id was lost, how one counts as running whose wrapper was killed but whose program
//! lives on, and how a cancel reaches processes that left the session. A process that cleans its environment *and*
//! leaves the session before it is cancelled is out of reach.
//!
//! It needs `/proc` (Linux) and `setsid`. Nothing is reserved or enforced: counts of cpus, memory and time are taken
//! as statements about the job, while things that do not exist here (partitions, accounts, several nodes) are
//! refused.

use super::{
    HeaderJob, NoAnswer, Observed, Phase, Printed, Question, Scheduler, Status, Submission, Unsupported,
    Watched,
};
use crate::model::ids::Token;

/// The scheduler `shell`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shell;

const NAME: &str = "shell";
const SUBMIT: &str = include_str!("submit.sh");
const POLL: &str = include_str!("poll.sh");
const FIND: &str = include_str!("find.sh");
const CANCEL: &str = include_str!("cancel.sh");
const CHECK: &str = include_str!("check.sh");
/// Keys of jobflow-remote's header template that mean something here; the first three are set by the layout.
const TEMPLATE_KEYS: &[&str] = &["job_name", "qout_path", "qerr_path", "qverbatim"];

impl Scheduler for Shell {
    fn name(&self) -> &'static str {
        NAME
    }

    fn header(&self, job: &HeaderJob<'_>) -> Result<String, Unsupported> {
        let fields = unsupported(job);
        if !fields.is_empty() {
            return Err(Unsupported { scheduler: NAME, fields });
        }
        let verbatim = job.resources.template.get_str("qverbatim").unwrap_or_default();
        Ok(verbatim.lines().map(|line| format!("{line}\n")).collect())
    }

    fn submit_command(&self) -> &str {
        SUBMIT
    }

    fn read_submission(&self, printed: &Printed) -> Submission {
        let id = printed.stdout.lines().map(str::trim).rfind(|line| !line.is_empty());
        match (printed.exit_code, id) {
            (0, Some(id)) if is_id(id) => Submission::Accepted { id: id.to_owned() },
            (0, _) => Submission::Unclear { why: "the worker printed no process id".to_owned() },
            // The command itself says no before it starts anything.
            (REFUSED, _) => Submission::Refused { why: printed.complaint() },
            // No process could be made: a limit of the host or of the user.
            _ if printed.stderr.contains("fork") => Submission::Wait { why: printed.complaint() },
            _ => Submission::Unclear { why: printed.complaint() },
        }
    }

    fn poll(&self, watched: &[Watched]) -> Question {
        let line = |job: &Watched| format!("{} {} {}/\n", job.id, job.token, job.run_dir.replace('\n', "?"));
        Question { script: POLL.to_owned(), input: watched.iter().map(line).collect() }
    }

    fn read_poll(&self, printed: &Printed, watched: &[Watched]) -> Result<Vec<Observed>, NoAnswer> {
        let lines = framed(printed, "poll")?;
        if lines.len() != watched.len() {
            return Err(no_answer(format!("{} lines for {} jobs", lines.len(), watched.len())));
        }
        lines.iter().zip(watched).map(|(line, job)| observed(line, job)).collect()
    }

    fn find(&self, tokens: &[Token]) -> Question {
        let input = tokens.iter().map(|token| format!("JF_TOKEN={token}\n")).collect();
        Question { script: FIND.to_owned(), input }
    }

    fn read_find(&self, printed: &Printed, tokens: &[Token]) -> Result<Vec<Vec<String>>, NoAnswer> {
        let lines = framed(printed, "find")?;
        let processes = lines
            .iter()
            .map(|line| Process::parse(line).ok_or_else(|| no_answer(format!("cannot read {line:?}"))))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(tokens.iter().map(|token| ids_of(token, &processes)).collect())
    }

    fn accounting(&self, _watched: &[Watched]) -> Option<Question> {
        None
    }

    fn read_accounting(&self, _printed: &Printed, _watched: &[Watched]) -> Result<Vec<Observed>, NoAnswer> {
        Err(no_answer("processes leave no accounting".to_owned()))
    }

    fn cancel(&self, ids: &[String]) -> Question {
        Question { script: CANCEL.to_owned(), input: ids.iter().map(|id| format!("{id}\n")).collect() }
    }

    fn read_cancel(&self, printed: &Printed, ids: &[String]) -> Result<(), NoAnswer> {
        let lines = framed(printed, "cancel")?;
        if lines == [format!("ordered {}", ids.len())] {
            Ok(())
        } else {
            Err(no_answer(format!("not all of {} jobs were told to end: {}", ids.len(), lines.join(" "))))
        }
    }

    fn check(&self) -> Question {
        Question { script: CHECK.to_owned(), input: String::new() }
    }

    fn read_check(&self, printed: &Printed) -> Result<String, String> {
        let lines = framed(printed, "check").map_err(|error| error.why)?;
        let faults: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("fault ")).collect();
        match lines.iter().find_map(|line| line.strip_prefix("version ")) {
            Some(version) if faults.is_empty() => Ok(version.to_owned()),
            _ => Err(faults.join("; ")),
        }
    }
}

/// Exit code of `submit.sh` of this folder when it refuses.
const REFUSED: i32 = 69;

fn no_answer(why: String) -> NoAnswer {
    NoAnswer { scheduler: NAME, why }
}

fn unsupported(job: &HeaderJob<'_>) -> Vec<String> {
    let resources = job.resources;
    let mut fields: Vec<String> = [
        ("nodes (more than one)", resources.nodes.is_some_and(|nodes| nodes > 1)),
        ("gpu_type", resources.gpu_type.is_some()),
        ("partition", resources.partition.is_some()),
        ("account", resources.account.is_some()),
        ("qos", resources.qos.is_some()),
    ]
    .into_iter()
    .filter(|(_, asked)| *asked)
    .map(|(field, _)| field.to_owned())
    .collect();
    fields.extend(resources.template.keys().filter(|key| !TEMPLATE_KEYS.contains(&key.as_str())).cloned());
    fields
}

fn is_id(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    match parts.as_slice() {
        [pid, start, boot] => number(pid) && number(start) && boot.bytes().all(|b| b.is_ascii_hexdigit()),
        _ => false,
    }
}

/// Returns the lines between `jobferry-<what> 1` and the closing line that counts them.
fn framed<'a>(printed: &'a Printed, what: &str) -> Result<Vec<&'a str>, NoAnswer> {
    let first = format!("jobferry-{what} 1");
    let mut lines: Vec<&str> = printed.stdout.lines().skip_while(|line| *line != first).skip(1).collect();
    let last = lines.pop();
    if let Some(fault) = lines.iter().chain(&last).find_map(|line| line.strip_prefix("unsupported ")) {
        return Err(no_answer(fault.to_owned()));
    }
    if printed.exit_code != 0 || last != Some(format!("end {}", lines.len()).as_str()) {
        return Err(no_answer(format!("the answer is not complete ({})", printed.complaint())));
    }
    Ok(lines)
}

fn observed(line: &str, job: &Watched) -> Result<Observed, NoAnswer> {
    match line.split_once(' ') {
        Some((id, word)) if id == job.id => Ok(match word {
            "gone" => Observed::Absent,
            // The wrapper was killed; what it started lives on.
            "left" => Observed::Seen(Status {
                phase: Phase::Running,
                word: "left".to_owned(),
                reason: Some("its wrapper was killed, its processes live on".to_owned()),
            }),
            "stopped" => Observed::Seen(Status::new(Phase::Suspended, word)),
            "running" => Observed::Seen(Status::new(Phase::Running, word)),
            other => Observed::Seen(Status::new(Phase::Unknown, other)),
        }),
        _ => Err(no_answer(format!("{line:?} is not the answer for {}", job.id))),
    }
}

/// A process that carries a token.
struct Process<'a> {
    token: &'a str,
    id: &'a str,
    started: u64,
    is_wrapper: bool,
}

impl<'a> Process<'a> {
    /// Reads `<token> <id> <wrapper|other>`.
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split(' ');
        let (token, id, kind) = (words.next()?, words.next()?, words.next()?);
        let started = id.split('-').nth(1)?.parse().ok()?;
        is_id(id).then_some(Self { token, id, started, is_wrapper: kind == "wrapper" })
    }
}

/// Returns the ids of the wrappers with this token; where they are gone, the id of the oldest process with it.
fn ids_of(token: &Token, processes: &[Process<'_>]) -> Vec<String> {
    let mut ours: Vec<&Process<'_>> = processes.iter().filter(|p| p.token == token.as_str()).collect();
    ours.sort_by_key(|process| process.started);
    let wrappers: Vec<String> = ours.iter().filter(|p| p.is_wrapper).map(|p| p.id.to_owned()).collect();
    if wrappers.is_empty() { ours.first().map(|p| p.id.to_owned()).into_iter().collect() } else { wrappers }
}

#[cfg(test)]
mod tests;
