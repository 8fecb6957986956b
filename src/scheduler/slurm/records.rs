//! What `squeue` and `sacct` print, read into observations.

use super::super::{Ending, EndingKind, NoAnswer, Observed, Phase, Printed, Status, Watched};
use super::NAME;
use crate::model::ids::Token;

/// How far the clocks of cluster and runner may differ before a record counts as one of an older job with the same id.
const CLOCK_SLACK_SECONDS: i64 = 600;

pub(super) fn no_answer(why: String) -> NoAnswer {
    NoAnswer { scheduler: NAME, why }
}

/// Returns the lines between `jobferry-<what> 1` and `jobferry-end 0`.
pub(super) fn framed<'a>(printed: &'a Printed, what: &str) -> Result<Vec<&'a str>, NoAnswer> {
    let first = format!("jobferry-{what} 1");
    let mut lines: Vec<&str> = printed.stdout.lines().skip_while(|line| *line != first).skip(1).collect();
    if printed.exit_code == 0 && lines.pop() == Some("jobferry-end 0") {
        Ok(lines)
    } else {
        Err(no_answer(printed.complaint()))
    }
}

/// One job, array element or component.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record<'a> {
    pub(super) id: &'a str,
    state: &'a str,
    exit_code: Option<i32>,
    signal: Option<i32>,
    submitted_seconds: Option<i64>,
    reason: Option<&'a str>,
    pub(super) comment: &'a str,
}

/// All records of an answer, and whether a line could not be read: then a job that is not among them may be in it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Records<'a> {
    pub(super) all: Vec<Record<'a>>,
    unread: Option<&'a str>,
}

impl Records<'_> {
    /// Returns an error if a job may be in the answer that is not among the records.
    pub(super) fn complete(&self) -> Result<(), NoAnswer> {
        match self.unread {
            None => Ok(()),
            Some(line) => Err(no_answer(format!("cannot read the line {line:?}"))),
        }
    }
}

impl Record<'_> {
    /// Returns the id that `sbatch` printed: without the part that names an array element or a component.
    pub(super) fn base_id(&self) -> String {
        base(self.id).to_owned()
    }

    fn is_of(&self, job: &Watched) -> bool {
        if base(self.id) != base(&job.id) {
            return false;
        }
        if Token::parse(self.comment).is_some() {
            return self.comment == job.token.as_str();
        }
        // Without our comment (a site may replace it) an older record under this id is another job's.
        match (self.submitted_seconds, job.submitted) {
            (Some(seconds), Some(ours)) => seconds >= ours.timestamp_millis() / 1000 - CLOCK_SLACK_SECONDS,
            _ => true,
        }
    }

    fn status(&self) -> Status {
        let word = self.state.split_whitespace().next().unwrap_or(self.state);
        let mut phase = phase(word, self.reason.unwrap_or_default());
        if let Phase::Ended(ending) = &mut phase {
            ending.exit_code = self.exit_code.filter(|_| self.signal.is_none());
            ending.signal = self.signal;
        }
        Status { phase, word: word.to_owned(), reason: self.reason.map(str::to_owned) }
    }
}

fn base(id: &str) -> &str {
    id.split(['_', '+', ';', '.']).next().unwrap_or(id)
}

/// Columns of `queue.sh`: name in the header and width in bytes.
const COLUMNS: [(&str, usize); 6] =
    [("JOBID", 50), ("STATE", 25), ("EXIT_CODE", 15), ("SUBMIT_TIME", 30), ("REASON", 80), ("COMMENT", 200)];

/// Returns the records of a queue listing.
pub(super) fn queue<'a>(lines: &[&'a str]) -> Result<Records<'a>, NoAnswer> {
    let header = columns(lines.first().copied().unwrap_or_default());
    if header.is_none_or(|words| words != COLUMNS.map(|(name, _)| name)) {
        return Err(no_answer("the listing of squeue has no header".to_owned()));
    }
    Ok(collect(lines.iter().skip(1).copied(), queue_record))
}

/// Returns the records of an accounting listing, whose header comes once per command.
pub(super) fn accounting<'a>(lines: &[&'a str]) -> Result<Records<'a>, NoAnswer> {
    const HEADER: &str = "JobID|State|ExitCode|Submit|Comment";
    if !lines.contains(&HEADER) {
        return Err(no_answer("the listing of sacct has no header".to_owned()));
    }
    Ok(collect(lines.iter().copied().filter(|line| *line != HEADER), accounting_record))
}

fn collect<'a>(
    lines: impl Iterator<Item = &'a str>,
    read: impl Fn(&'a str) -> Option<Record<'a>>,
) -> Records<'a> {
    let mut records = Records { all: Vec::new(), unread: None };
    for line in lines {
        match read(line) {
            Some(record) => records.all.push(record),
            // The rest of a comment with a line break begins with something else than an id.
            None if line.starts_with(|c: char| c.is_ascii_digit()) => records.unread = Some(line),
            None => {}
        }
    }
    records
}

fn columns(line: &str) -> Option<[&str; 6]> {
    let mut rest = line;
    let mut words = [""; 6];
    for ((_, width), word) in COLUMNS.iter().zip(&mut words) {
        // The last column has its width too, but a comment that is not ASCII may be cut anywhere.
        let (field, after) = if *width < 200 { rest.split_at_checked(*width)? } else { (rest, "") };
        *word = field.trim();
        rest = after;
    }
    Some(words)
}

fn queue_record(line: &str) -> Option<Record<'_>> {
    let [id, state, exit_code, submitted, reason, comment] = columns(line)?;
    let is_id = id.starts_with(|c: char| c.is_ascii_digit()) && !id.contains(' ');
    // A status as wait(2) gives it: the exit code in the second byte, the signal in the first.
    let status: i32 = exit_code.parse().ok()?;
    let signal = status & 0x7f;
    let given = |text: &'static str, found: &str| (found != text && !found.is_empty()).then_some(());
    (is_id && is_state(state)).then(|| Record {
        id,
        state,
        exit_code: Some((status >> 8) & 0xff),
        signal: real_signal(signal),
        submitted_seconds: submitted.parse().ok(),
        reason: given("None", reason).map(|()| reason),
        comment,
    })
}

fn accounting_record(line: &str) -> Option<Record<'_>> {
    let mut fields = line.splitn(5, '|');
    let (id, state, exit) = (fields.next()?, fields.next()?, fields.next()?);
    let (submitted, comment) = (fields.next()?, fields.next()?);
    let (exit_code, signal) = exit.split_once(':')?;
    let signal: i32 = signal.parse().ok()?;
    is_state(state).then_some(Record {
        id,
        state,
        exit_code: Some(exit_code.parse().ok()?),
        signal: real_signal(signal),
        submitted_seconds: submitted.parse().ok(),
        reason: None,
        comment,
    })
}

/// Returns the signal; Slurm also puts 125 in its place, for a job that ran out of memory.
fn real_signal(number: i32) -> Option<i32> {
    (1..=64).contains(&number).then_some(number)
}

fn is_state(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
}

/// Returns the first day, in any time zone, on which one of the jobs may have been submitted, for `sacct`.
pub(super) fn first_day(watched: &[Watched]) -> String {
    const DAY_MILLISECONDS: i64 = 86_400_000;
    let oldest = watched.iter().filter_map(|job| job.submitted).map(|time| time.timestamp_millis()).min();
    let millisecond = oldest.unwrap_or_default().saturating_sub(2 * DAY_MILLISECONDS).max(0);
    let day = jiff::Timestamp::from_millisecond(millisecond).unwrap_or_default();
    format!("{}\n", day.strftime("%Y-%m-%d"))
}

/// Returns one observation per job. An answer in which a line could not be read says nothing of jobs not seen in it.
pub(super) fn observe(records: &Records<'_>, watched: &[Watched]) -> Result<Vec<Observed>, NoAnswer> {
    let mut by_id: std::collections::HashMap<&str, Vec<&Record<'_>>> = std::collections::HashMap::new();
    for record in &records.all {
        by_id.entry(base(record.id)).or_default().push(record);
    }
    watched
        .iter()
        .map(|job| {
            let candidates = by_id.get(base(&job.id)).into_iter().flatten();
            let statuses = candidates.filter(|record| record.is_of(job)).map(|record| record.status());
            match statuses.max_by_key(|status| liveness(&status.phase)) {
                Some(status) => Ok(Observed::Seen(status)),
                None => records.complete().map(|()| Observed::Absent),
            }
        })
        .collect()
}

/// Orders the parts of an array or of a heterogeneous job: the job is where its liveliest part is, and when all have
/// ended the worst end counts.
fn liveness(phase: &Phase) -> u8 {
    match phase {
        Phase::Running => 7,
        Phase::Unknown => 6,
        Phase::Suspended => 5,
        Phase::Pending => 4,
        Phase::Held => 3,
        Phase::Ended(ending) if ending.kind == EndingKind::Completed => 0,
        Phase::Ended(ending) if ending.kind == EndingKind::Cancelled => 1,
        Phase::Ended(_) => 2,
    }
}

/// Reasons of a pending job that starts only when a person acts.
const HELD_REASONS: &[&str] =
    &["JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue", "held", "DependencyNeverSatisfied"];

/// Reasons of a failed job that never ran: the node could not start it, or `sbatch` refused it and left a record.
const LAUNCH_REASONS: &[&str] = &["JobLaunchFailure", "BadConstraints"];

/// Returns the phase that a state's name (long or short, `squeue(1)`) means.
pub(super) fn phase(word: &str, reason: &str) -> Phase {
    let ended = |kind| Phase::Ended(Ending { kind, exit_code: None, signal: None });
    match word {
        "PENDING" | "PD" if HELD_REASONS.iter().any(|held| reason.contains(held)) => Phase::Held,
        "PENDING" | "PD" | "REQUEUED" | "RQ" | "REQUEUE_FED" | "RF" => Phase::Pending,
        "REQUEUE_HOLD" | "RH" | "SPECIAL_EXIT" | "SE" | "RESV_DEL_HOLD" | "RD" => Phase::Held,
        // Configuring: nodes boot for it. Completing: its processes end; the end comes next.
        "RUNNING" | "R" | "COMPLETING" | "CG" | "CONFIGURING" | "CF" | "STAGE_OUT" | "SO" | "RESIZING"
        | "RS" | "SIGNALING" | "SI" | "EXPEDITING" => Phase::Running,
        "SUSPENDED" | "S" | "STOPPED" | "ST" => Phase::Suspended,
        "COMPLETED" | "CD" => ended(EndingKind::Completed),
        "FAILED" | "F" if LAUNCH_REASONS.contains(&reason) => ended(EndingKind::LaunchFailed),
        "FAILED" | "F" => ended(EndingKind::Failed),
        "TIMEOUT" | "TO" | "DEADLINE" | "DL" => ended(EndingKind::TimedOut),
        "OUT_OF_MEMORY" | "OOM" => ended(EndingKind::OutOfMemory),
        "NODE_FAIL" | "NF" => ended(EndingKind::NodeFailed),
        "PREEMPTED" | "PR" => ended(EndingKind::Preempted),
        // Revoked: a sibling in another cluster of the federation has started.
        "CANCELLED" | "CA" | "REVOKED" | "RV" => ended(EndingKind::Cancelled),
        "BOOT_FAIL" | "BF" | "LAUNCH_FAILED" | "RECONFIG_FAIL" => ended(EndingKind::LaunchFailed),
        _ => Phase::Unknown,
    }
}
