//! The simulated batch system: what its scripts print, and a scheduler that reads it.

use jobferry::model::ids::Token;
use jobferry::scheduler::{
    Ending, EndingKind, HeaderJob, NoAnswer, Observed, Phase, Printed, Question, Scheduler, Status,
    Submission, Unsupported, Watched,
};
use jobferry::worker::{end_marker, layout, submission};
use tokio::time::Instant;

use super::world::{Inner, Stage};

const NAME: &str = "simulated";
/// The last line of a complete answer.
const COMPLETE: &str = "complete";

pub(super) struct SimulatedScheduler;

impl Scheduler for SimulatedScheduler {
    fn name(&self) -> &'static str {
        NAME
    }

    fn header(&self, _: &HeaderJob<'_>) -> Result<String, Unsupported> {
        Ok(String::new())
    }

    fn submit_command(&self) -> &str {
        "simulated-submit"
    }

    fn read_submission(&self, printed: &Printed) -> Submission {
        match printed.exit_code {
            0 => Submission::Accepted { id: printed.stdout.trim().to_owned() },
            1 => Submission::Wait { why: printed.stdout.clone() },
            _ => Submission::Unclear { why: printed.stdout.clone() },
        }
    }

    fn poll(&self, watched: &[Watched]) -> Question {
        let input = watched.iter().map(|job| format!("{}\n", job.id)).collect();
        Question { script: "simulated-poll".into(), input }
    }

    fn read_poll(&self, printed: &Printed, watched: &[Watched]) -> Result<Vec<Observed>, NoAnswer> {
        let lines = complete_lines(printed)?;
        let observed = |job: &Watched| {
            let line = lines.iter().find_map(|line| line.strip_prefix(&format!("{} ", job.id)));
            line.map_or(Observed::Absent, |word| Observed::Seen(status(word)))
        };
        Ok(watched.iter().map(observed).collect())
    }

    fn find(&self, tokens: &[Token]) -> Question {
        let input = tokens.iter().map(|token| format!("{token}\n")).collect();
        Question { script: "simulated-find".into(), input }
    }

    fn read_find(&self, printed: &Printed, tokens: &[Token]) -> Result<Vec<Vec<String>>, NoAnswer> {
        let lines = complete_lines(printed)?;
        let ids = |token: &Token| {
            let start = format!("{token} ");
            lines.iter().filter_map(|line| line.strip_prefix(&start)).map(str::to_owned).collect()
        };
        Ok(tokens.iter().map(ids).collect())
    }

    fn accounting(&self, _: &[Watched]) -> Option<Question> {
        None
    }

    fn read_accounting(&self, _: &Printed, _: &[Watched]) -> Result<Vec<Observed>, NoAnswer> {
        Err(NoAnswer { scheduler: NAME, why: "there is no accounting".into() })
    }

    fn cancel(&self, ids: &[String]) -> Question {
        Question { script: "simulated-cancel".into(), input: ids.join("\n") }
    }

    fn read_cancel(&self, printed: &Printed, _: &[String]) -> Result<(), NoAnswer> {
        complete_lines(printed).map(drop)
    }

    fn check(&self) -> Question {
        Question { script: "simulated-check".into(), input: String::new() }
    }

    fn read_check(&self, _: &Printed) -> Result<String, String> {
        Ok("1".into())
    }
}

fn complete_lines(printed: &Printed) -> Result<Vec<&str>, NoAnswer> {
    let lines: Vec<&str> = printed.stdout.lines().collect();
    match lines.split_last() {
        Some((&COMPLETE, lines)) if printed.exit_code == 0 => Ok(lines.to_vec()),
        _ => Err(NoAnswer { scheduler: NAME, why: "cut".into() }),
    }
}

fn status(word: &str) -> Status {
    let phase = match word {
        "pending" => Phase::Pending,
        "running" => Phase::Running,
        _ => Phase::Ended(Ending { kind: EndingKind::Completed, exit_code: None, signal: None }),
    };
    Status { phase, word: word.to_owned(), reason: None }
}

/// Returns the exit code and the output of a script on the host. `silent` makes the scheduler fail to answer, in one
/// of the ways in which schedulers do.
pub(super) fn run(world: &mut Inner, host: &str, script: &str, input: &str, silent: bool) -> (i32, String) {
    if script == submission::submission(&SimulatedScheduler, &[]).script {
        return submit(world, host, input, silent);
    }
    if silent {
        let way = rand::RngExt::random_range(&mut world.random, 0..4);
        return match way {
            0 => (1, String::new()),
            1 => (0, String::new()),
            2 => (0, "Welcome to the cluster\n".into()),
            _ => (124, "1 run".into()),
        };
    }
    match script {
        "simulated-poll" => (0, poll(world, host, input)),
        "simulated-find" => (0, find(world, host, input)),
        "simulated-cancel" => {
            let ids: Vec<&str> = input.lines().collect();
            world.note(&format!("{host}: cancelled {ids:?}"));
            world.queue.retain(|process| process.host != host || !ids.contains(&process.id.as_str()));
            (0, format!("{COMPLETE}\n"))
        }
        // Making the spool directories: the world needs none.
        _ => (0, String::new()),
    }
}

fn poll(world: &Inner, host: &str, input: &str) -> String {
    let ids: Vec<&str> = input.lines().collect();
    let now = Instant::now();
    let shown = world.queue.iter().filter(|p| p.host == host && p.visible_at <= now);
    let known = shown.filter(|p| ids.contains(&p.id.as_str()));
    let lines = known.filter_map(|process| {
        let word = match process.stage {
            Stage::Pending => "pending",
            Stage::Running => "running",
            Stage::Ending => "ended",
            Stage::Gone => return None,
        };
        Some(format!("{} {word}\n", process.id))
    });
    lines.chain([format!("{COMPLETE}\n")]).collect()
}

fn find(world: &Inner, host: &str, input: &str) -> String {
    let now = Instant::now();
    let shown = world.queue.iter().filter(|p| p.host == host && p.visible_at <= now);
    let known = shown.filter(|p| input.lines().any(|line| line == p.token.as_str()));
    known.map(|p| format!("{} {}\n", p.token, p.id)).chain([format!("{COMPLETE}\n")]).collect()
}

/// How one order of a submission goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    Limit,
    TimeOut,
    /// Accepted, but the scheduler's client did not learn of it.
    Unheard,
    /// The script dies before the scheduler was asked, or before the answer was written down.
    DiesBefore,
    DiesAfter,
}

/// Does what the submission script does, and prints what it prints.
fn submit(world: &mut Inner, host: &str, input: &str, faulty: bool) -> (i32, String) {
    let mut printed = "jobferry-submission 1\n".to_owned();
    let mut count = 0;
    let mut stop = false;
    for line in input.lines() {
        let mut words = line.splitn(3, ' ');
        let (mode, token) = (words.next().unwrap(), Token::parse(words.next().unwrap()).unwrap());
        let run_dir = words.next().unwrap().trim_end_matches('/');
        let trouble = if faulty { draw(world) } else { Trouble::None };
        let (word, code, out) = if stop {
            ("skipped", 0, String::new())
        } else {
            submit_one(world, host, mode, &token, run_dir, trouble)
        };
        world.note(&format!("{host}: {mode} {token}: {word} {code} {trouble:?}"));
        if word == "dead" {
            return (137, printed);
        }
        stop = stop || code == 124;
        let told = if out.is_empty() { String::new() } else { format!("o:{out}\n") };
        printed = format!("{printed}job {token} {word} {code}\n{told}");
        count += 1;
    }
    (0, printed + &format!("end {count}\n"))
}

fn draw(world: &mut Inner) -> Trouble {
    match rand::RngExt::random_range(&mut world.random, 0..6) {
        0 => Trouble::None,
        1 => Trouble::Limit,
        2 => Trouble::TimeOut,
        3 => Trouble::Unheard,
        4 => Trouble::DiesBefore,
        _ => Trouble::DiesAfter,
    }
}

fn submit_one(
    world: &mut Inner,
    host: &str,
    mode: &str,
    token: &Token,
    run_dir: &str,
    trouble: Trouble,
) -> (&'static str, i32, String) {
    let submitted = format!("{run_dir}/{}", layout::SUBMITTED);
    let submitting = format!("{run_dir}/{}", layout::SUBMITTING);
    let start = format!("{run_dir}/{}", layout::START);
    let disk = world.disk(host);
    if !disk.contains_key(&format!("{run_dir}/{}", layout::INPUT)) {
        return ("missing", 0, String::new());
    }
    if let Some(id) = disk.get(&submitted) {
        return ("known", 0, String::from_utf8(id.clone()).unwrap());
    }
    if let Some(start) = disk.get(&start)
        && let Ok(start) = end_marker::read_start(start, token)
    {
        return ("started", 0, start.scheduler_id.unwrap_or_default());
    }
    if mode == "first" && disk.contains_key(&submitting) {
        return ("held", 0, String::new());
    }
    disk.insert(submitting, Vec::new());
    match trouble {
        Trouble::Limit => ("ran", 1, "queue limit reached".into()),
        Trouble::TimeOut => ("ran", 124, "socket timed out".into()),
        Trouble::Unheard => {
            world.submit(host, token, run_dir);
            ("ran", 9, "socket timed out".into())
        }
        Trouble::DiesBefore => ("dead", 0, String::new()),
        Trouble::DiesAfter => {
            world.submit(host, token, run_dir);
            ("dead", 0, String::new())
        }
        Trouble::None => {
            let id = world.submit(host, token, run_dir);
            world.disk(host).insert(submitted, id.clone().into_bytes());
            ("ran", 0, id)
        }
    }
}
