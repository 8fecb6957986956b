//! Every promise of the scheduler's documentation, held against each back end, with jobs that really run.

mod slurm_only;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use jobferry::model::Timestamp;
use jobferry::model::ids::{JobKey, Token};
use jobferry::scheduler::{
    NoAnswer, Observed, Phase, Printed, Scheduler, Status, Submission, Watched, by_name,
};
use jobferry::worker::submission::{Mode, ToSubmit, read_submissions, submission};

use crate::run_directories::{Job, Staged, ask, processes_with, until};
use crate::services::address;

/// A scheduler on this machine and a work directory.
struct Bench {
    scheduler: Arc<dyn Scheduler>,
    folder: tempfile::TempDir,
}

impl Bench {
    /// Returns nothing, and says so, where the scheduler cannot run here.
    fn of(name: &str, test: &str) -> Option<Self> {
        if name == "slurm" {
            address(test, "JF_TEST_SLURM")?;
        }
        Some(Self { scheduler: by_name(name).unwrap(), folder: tempfile::tempdir().unwrap() })
    }

    fn stage(&self, number: usize, job: &Job) -> Staged {
        job.stage(self.folder.path(), number, &*self.scheduler)
    }

    fn submit_as(&self, mode: Mode, staged: &[&Staged]) -> (Vec<Submission>, Printed) {
        let jobs: Vec<ToSubmit> = staged.iter().map(|it| to_submit(it, mode)).collect();
        let printed = ask(&submission(&*self.scheduler, &jobs));
        (read_submissions(&printed, &jobs, &*self.scheduler).unwrap(), printed)
    }

    fn submit(&self, staged: &Staged) -> Watched {
        match self.submit_as(Mode::First, &[staged]).0.remove(0) {
            Submission::Accepted { id } => watched(id, staged),
            other => panic!("{other:?}"),
        }
    }

    fn poll(&self, jobs: &[Watched]) -> Result<Vec<Observed>, NoAnswer> {
        self.scheduler.read_poll(&ask(&self.scheduler.poll(jobs)), jobs)
    }

    fn seen(&self, job: &Watched) -> Option<Status> {
        match self.poll(std::slice::from_ref(job)).unwrap().remove(0) {
            Observed::Seen(status) => Some(status),
            Observed::Absent => None,
        }
    }

    async fn until_running(&self, job: &Watched) {
        let running = || self.seen(job).filter(|status| status.phase == Phase::Running);
        until("it runs", running).await;
    }

    /// Waits until the scheduler no longer holds the job for alive, and returns its word for the end.
    async fn until_over(&self, job: &Watched) -> Option<Status> {
        until("it is over", || match self.seen(job) {
            None => Some(None),
            Some(status) if matches!(status.phase, Phase::Ended(_)) => Some(Some(status)),
            Some(_) => None,
        })
        .await
    }

    fn cancel(&self, jobs: &[&Watched]) {
        let ids: Vec<String> = jobs.iter().map(|job| job.id.clone()).collect();
        self.scheduler.read_cancel(&ask(&self.scheduler.cancel(&ids)), &ids).unwrap();
    }

    fn find(&self, tokens: &[Token]) -> Vec<Vec<String>> {
        self.scheduler.read_find(&ask(&self.scheduler.find(tokens)), tokens).unwrap()
    }
}

fn to_submit(staged: &Staged, mode: Mode) -> ToSubmit {
    ToSubmit { token: staged.token.clone(), run_dir: staged.run_dir.to_str().unwrap().to_owned(), mode }
}

fn watched(id: String, staged: &Staged) -> Watched {
    let run_dir = staged.run_dir.to_str().unwrap().to_owned();
    Watched { id, token: staged.token.clone(), run_dir, submitted: Some(Timestamp::now()) }
}

fn unknown(id: &str) -> Watched {
    let token = Token::new(&JobKey::new("nobody", 1), 1);
    Watched { id: id.to_owned(), token, run_dir: "/nowhere".to_owned(), submitted: None }
}

/// A command that lives until the file `go` is there.
const WAITS: &str = "echo up >up; while [ ! -e go ]; do sleep 0.05; done";

fn let_go(staged: &Staged) {
    fs::write(staged.run_dir.join("go"), "").unwrap();
}

async fn a_job_runs_and_ends(bench: Bench) {
    let staged = bench.stage(1, &Job::shell(WAITS));
    let job = bench.submit(&staged);
    bench.until_running(&job).await;
    until("its body runs", || staged.exists("up").then_some(())).await;
    assert_eq!(staged.start().scheduler_id.as_deref(), Some(job.id.as_str()), "the wrapper knows its id");
    let_go(&staged);
    until("the spool tells of it", || staged.in_spool().then_some(())).await;
    assert_eq!(staged.end().exit_code, 0);
    bench.until_over(&job).await;
}

async fn an_exit_code_is_the_jobs_own(bench: Bench) {
    let staged = bench.stage(1, &Job::shell("exit 3"));
    let job = bench.submit(&staged);
    until("it ended", || staged.in_spool().then_some(())).await;
    assert_eq!((staged.end().exit_code, staged.end().signal), (3, None));
    if let Some(Status { phase: Phase::Ended(ending), .. }) = bench.until_over(&job).await {
        assert_eq!(ending.exit_code, Some(3));
    }
}

async fn a_signal_is_told(bench: Bench) {
    let staged = bench.stage(1, &Job::shell("kill -s SEGV $$"));
    bench.submit(&staged);
    until("it ended", || staged.in_spool().then_some(())).await;
    assert_eq!(staged.end().signal, Some(11));
}

async fn a_cancel_ends_the_whole_tree(bench: Bench) {
    let word = format!("8{}", std::process::id());
    let text = format!("(sleep {word} & sleep {word}) & setsid sleep {word} & sleep {word}");
    let staged = bench.stage(1, &Job::shell(&text));
    let job = bench.submit(&staged);
    until("all of it runs", || (processes_with(&word) == 4).then_some(())).await;
    bench.cancel(&[&job]);
    until("all of it is gone", || (processes_with(&word) == 0).then_some(())).await;
    until("its end is told", || staged.in_spool().then_some(())).await;
    assert_eq!(staged.end().signal, Some(15));
    bench.until_over(&job).await;
    bench.cancel(&[&job]);
}

async fn a_token_finds_its_job(bench: Bench) {
    let staged = [bench.stage(1, &Job::shell(WAITS)), bench.stage(2, &Job::shell(WAITS))];
    let jobs: Vec<Watched> = staged.iter().map(|staged| bench.submit(staged)).collect();
    for job in &jobs {
        bench.until_running(job).await;
    }
    let nobody = Token::new(&JobKey::new("nobody", 1), 1);
    let found = bench.find(&[jobs[1].token.clone(), nobody, jobs[0].token.clone()]);
    assert_eq!(found, [vec![jobs[1].id.clone()], vec![], vec![jobs[0].id.clone()]]);
    staged.iter().for_each(let_go);
    for job in &jobs {
        bench.until_over(job).await;
    }
}

async fn an_unknown_id_is_absent(bench: Bench) {
    let staged = bench.stage(1, &Job::shell(WAITS));
    let job = bench.submit(&staged);
    // A recycled id: the same number, another attempt.
    let recycled = Watched { id: job.id.clone(), ..unknown("") };
    let asked = [unknown("999999-1-abcdef01"), job.clone(), unknown("999999")];
    let observed = bench.poll(&asked).unwrap();
    assert!(
        matches!(observed.as_slice(), [Observed::Absent, Observed::Seen(_), Observed::Absent]),
        "{observed:?}"
    );
    if bench.scheduler.name() == "slurm" {
        assert_eq!(bench.poll(&[recycled]), Ok(vec![Observed::Absent]));
    }
    assert_eq!(bench.poll(&[]), Ok(vec![]));
    bench.cancel(&[&job, &unknown("999999-1-abcdef01")][..1]);
    bench.until_over(&job).await;
}

async fn asking_again_submits_once(bench: Bench) {
    let staged = bench.stage(1, &Job::shell("echo start >>starts"));
    let (first, _) = bench.submit_as(Mode::First, &[&staged]);
    until("it ended", || staged.in_spool().then_some(())).await;
    for mode in [Mode::First, Mode::Again] {
        assert_eq!(bench.submit_as(mode, &[&staged]).0, first);
    }
    // The runner or the script died before the answer was written down: the start record has the id.
    fs::remove_file(staged.run_dir.join(".jobferry/submitted")).unwrap();
    for mode in [Mode::First, Mode::Again] {
        assert_eq!(bench.submit_as(mode, &[&staged]).0, first);
    }
    // What was written down is no use: once that is known, the start record speaks.
    fs::write(staged.run_dir.join(".jobferry/submitted"), "?\njobferry-complete\n").unwrap();
    assert!(matches!(bench.submit_as(Mode::First, &[&staged]).0.as_slice(), [Submission::Unclear { .. }]));
    assert_eq!(bench.submit_as(Mode::Again, &[&staged]).0, first);
    assert_eq!(staged.read("starts"), "start\n");
}

async fn an_intent_without_an_answer_is_unclear(bench: Bench) {
    let staged = bench.stage(1, &Job::shell("echo start >>starts"));
    fs::write(staged.run_dir.join(".jobferry/submitting"), "first\n").unwrap();
    let (answers, _) = bench.submit_as(Mode::First, &[&staged]);
    assert!(matches!(answers.as_slice(), [Submission::Unclear { .. }]), "{answers:?}");
    assert_eq!(bench.find(std::slice::from_ref(&staged.token)), [Vec::<String>::new()]);
    let (answers, _) = bench.submit_as(Mode::Again, &[&staged]);
    assert!(matches!(answers.as_slice(), [Submission::Accepted { .. }]), "{answers:?}");
    until("it ended", || staged.in_spool().then_some(())).await;
    assert_eq!(staged.read("starts"), "start\n");
}

async fn many_jobs_go_in_one_round_trip(bench: Bench) {
    let staged: Vec<Staged> =
        (0..60).map(|number| bench.stage(number, &Job::shell("echo start >>starts"))).collect();
    let mut all: Vec<&Staged> = staged.iter().collect();
    let mut nowhere = bench.stage(100, &Job::shell("true"));
    nowhere.run_dir = PathBuf::from("/no/where");
    all.insert(30, &nowhere);
    let (mut answers, _) = bench.submit_as(Mode::First, &all);
    assert!(matches!(answers.remove(30), Submission::NotTried { .. }));
    assert!(answers.iter().all(|answer| matches!(answer, Submission::Accepted { .. })), "{answers:?}");
    for one in &staged {
        until("it ended", || one.in_spool().then_some(())).await;
        assert_eq!(one.read("starts"), "start\n");
    }
}

async fn odd_names_and_paths_do_no_harm(mut bench: Bench) {
    bench.folder = tempfile::Builder::new().prefix("odd %j ü'\"$x ").tempdir().unwrap();
    let job = Job::shell("echo here").with(|job| job.name = "a|b \"c\" $d\n#e ü -- ".to_owned());
    let staged = bench.stage(1, &job);
    let watched = bench.submit(&staged);
    until("it ended", || staged.in_spool().then_some(())).await;
    assert_eq!(staged.read("stdout"), "here\n");
    assert_eq!((staged.read("queue.out"), staged.read("queue.err")), (String::new(), String::new()));
    bench.until_over(&watched).await;
}

async fn a_cut_answer_is_no_answer(bench: Bench) {
    let staged = bench.stage(1, &Job::shell(WAITS));
    let (_, submitted) = bench.submit_as(Mode::First, &[&staged]);
    let jobs = [to_submit(&staged, Mode::First)];
    let found = read_submissions(&submitted, &jobs, &*bench.scheduler).unwrap();
    let Some(Submission::Accepted { id }) = found.first() else { panic!("{found:?}") };
    let job = watched(id.clone(), &staged);
    bench.until_running(&job).await;
    let (jobs_watched, tokens, ids) = ([job.clone()], [job.token.clone()], [job.id.clone()]);
    let scheduler = &*bench.scheduler;
    each_cut(&submitted, |cut| read_submissions(cut, &jobs, scheduler).is_err());
    each_cut(&ask(&scheduler.poll(&jobs_watched)), |cut| scheduler.read_poll(cut, &jobs_watched).is_err());
    each_cut(&ask(&scheduler.find(&tokens)), |cut| scheduler.read_find(cut, &tokens).is_err());
    each_cut(&ask(&scheduler.cancel(&ids)), |cut| scheduler.read_cancel(cut, &ids).is_err());
    bench.until_over(&job).await;
}

/// Checks that every beginning of an answer, and the whole with a failure or noise in its place, is refused.
fn each_cut(printed: &Printed, is_refused: impl Fn(&Printed) -> bool) {
    assert!(!is_refused(printed), "the whole answer is good: {printed:?}");
    let whole = printed.stdout.trim_end();
    for (at, _) in whole.char_indices() {
        let cut = Printed { stdout: whole[..at].to_owned(), ..printed.clone() };
        assert!(is_refused(&cut), "cut at {at}: {cut:?}");
    }
    for noise in ["Welcome to the cluster\n", "\u{0}\u{fffd}\n", "end 1\njobferry-end 0\n"] {
        assert!(is_refused(&Printed { stdout: noise.to_owned(), ..printed.clone() }));
    }
    let banner = Printed { stdout: format!("Welcome!\n\n{}", printed.stdout), ..printed.clone() };
    assert!(!is_refused(&banner), "a banner before it does no harm");
}

async fn the_check_names_a_version(bench: Bench) {
    let version = bench.scheduler.read_check(&ask(&bench.scheduler.check())).unwrap();
    assert!(version.chars().any(|c| c.is_ascii_digit()), "{version}");
}

macro_rules! contract {
    ($($scheduler:ident: [$($test:ident),* $(,)?];)*) => {
        $(mod $scheduler {
            $(#[tokio::test]
            async fn $test() {
                let name = concat!("scheduler_contract::", stringify!($scheduler), "::", stringify!($test));
                if let Some(bench) = super::Bench::of(stringify!($scheduler), name) {
                    super::$test(bench).await;
                }
            })*
        })*
    };
}

contract! {
    shell: [
        a_job_runs_and_ends, an_exit_code_is_the_jobs_own, a_signal_is_told, a_cancel_ends_the_whole_tree,
        a_token_finds_its_job, an_unknown_id_is_absent, asking_again_submits_once, an_intent_without_an_answer_is_unclear,
        many_jobs_go_in_one_round_trip, odd_names_and_paths_do_no_harm, a_cut_answer_is_no_answer,
        the_check_names_a_version,
    ];
    slurm: [
        a_job_runs_and_ends, an_exit_code_is_the_jobs_own, a_signal_is_told, a_cancel_ends_the_whole_tree,
        a_token_finds_its_job, an_unknown_id_is_absent, asking_again_submits_once, an_intent_without_an_answer_is_unclear,
        many_jobs_go_in_one_round_trip, odd_names_and_paths_do_no_harm, a_cut_answer_is_no_answer,
        the_check_names_a_version,
    ];
}
