//! What only a batch system does: pending and held jobs, refusals, time limits.

use jobferry::model::ids::Token;
use jobferry::model::resources::Resources;
use jobferry::scheduler::{EndingKind, Observed, Phase, Submission};
use jobferry::worker::submission::Mode;

use super::{Bench, watched};
use crate::run_directories::{Job, Staged, ask, until};

fn tokens_of(staged: &[Staged]) -> Vec<Token> {
    staged.iter().map(|staged| staged.token.clone()).collect()
}

fn with(change: impl FnOnce(&mut Resources)) -> Job {
    Job::shell("echo start >>starts").with(|job| change(&mut job.resources))
}

fn verbatim(line: &str) -> Job {
    with(|resources| {
        resources.template.insert("qverbatim", line);
    })
}

#[tokio::test]
async fn a_held_job_is_cancelled_without_a_start() {
    let Some(bench) = Bench::of("slurm", "slurm_only::a_held_job") else { return };
    let staged = bench.stage(1, &verbatim("#SBATCH --hold"));
    let job = bench.submit(&staged);
    let status = bench.seen(&job).unwrap();
    assert_eq!((status.phase, status.reason.as_deref()), (Phase::Held, Some("JobHeldUser")));
    bench.cancel(&[&job]);
    let over = bench.until_over(&job).await.unwrap();
    assert!(matches!(&over.phase, Phase::Ended(ending) if ending.kind == EndingKind::Cancelled), "{over:?}");
    assert!(!staged.exists(".jobferry/start"));
}

#[tokio::test]
async fn a_pending_job_says_why() {
    let Some(bench) = Bench::of("slurm", "slurm_only::a_pending_job") else { return };
    let staged = bench.stage(1, &verbatim("#SBATCH --begin=now+1hour"));
    let job = bench.submit(&staged);
    // Until Slurm has looked at the job it may name another reason.
    let says_why = || bench.seen(&job).filter(|status| status.reason.as_deref() == Some("BeginTime"));
    assert_eq!(until("it says why", says_why).await.phase, Phase::Pending);
    bench.cancel(&[&job]);
    bench.until_over(&job).await;
}

#[tokio::test]
async fn what_cannot_run_is_refused_in_slurms_words() {
    let Some(bench) = Bench::of("slurm", "slurm_only::refused") else { return };
    let jobs = [
        with(|resources| resources.partition = Some("nowhere".into())),
        with(|resources| resources.memory_per_node_bytes = Some(1 << 50)),
        with(|resources| resources.gpus = Some(2)),
        verbatim("#SBATCH --no-such-option"),
        with(|resources| {
            resources.template.insert("time", "soon");
        }),
    ];
    let staged: Vec<_> = jobs.iter().enumerate().map(|(number, job)| bench.stage(number, job)).collect();
    let (answers, _) = bench.submit_as(Mode::First, &staged.iter().collect::<Vec<_>>());
    for (answer, job) in answers.iter().zip(&jobs) {
        assert!(matches!(answer, Submission::Refused { .. }), "{answer:?} {:?}", job.resources);
    }
    let said: Vec<&str> = answers
        .iter()
        .map(|answer| match answer {
            Submission::Refused { why } => why.as_str(),
            _ => "",
        })
        .collect();
    assert!(said[0].contains("invalid partition"), "{said:?}");
    // Slurm keeps a record of some of them; none is alive.
    for (staged, ids) in staged.iter().zip(bench.find(&tokens_of(&staged))) {
        for id in ids {
            let status = bench.seen(&watched(id, staged)).unwrap();
            assert!(
                matches!(&status.phase, Phase::Ended(end) if end.kind == EndingKind::LaunchFailed),
                "{status:?}"
            );
        }
        assert!(!staged.exists(".jobferry/start"));
    }
}

#[tokio::test]
async fn every_word_of_ours_is_a_directive_that_slurm_takes() {
    let Some(bench) = Bench::of("slurm", "slurm_only::directives") else { return };
    let staged = bench.stage(
        1,
        &with(|resources| {
            *resources = Resources {
                nodes: Some(1),
                tasks: Some(2),
                tasks_per_node: Some(2),
                cpus_per_task: Some(3),
                memory_per_node_bytes: Some((1 << 30) + 1),
                walltime_seconds: Some(90_061),
                partition: Some("main".into()),
                ..Resources::default()
            };
            resources.template.extend(bson::doc! {"requeue": false, "nodelist": "", "exclusive": false});
            resources.template.remove("nodelist");
        }),
    );
    let job = bench.submit(&staged);
    let listing =
        std::process::Command::new("scontrol").args(["-o", "show", "job", &job.id]).output().unwrap();
    let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
    for expected in [
        "TimeLimit=1-01:01:00",
        "NumTasks=2",
        "CPUs/Task=3",
        "MinMemoryNode=1025M",
        "Requeue=0",
        "JobName=a_job",
    ] {
        // Slurm keeps time limits in minutes and rounds up.
        let expected = expected.replace("1-01:01:00", "1-01:02:00");
        assert!(listing.contains(&expected), "{expected} is not in {listing}");
    }
    bench.until_over(&job).await;
}

#[tokio::test]
async fn where_accounting_is_off_it_knows_no_job() {
    let Some(bench) = Bench::of("slurm", "slurm_only::accounting") else { return };
    let job = bench.submit(&bench.stage(1, &Job::shell("true")));
    let jobs = [job.clone()];
    let printed = ask(&bench.scheduler.accounting(&jobs).unwrap());
    assert_eq!(bench.scheduler.read_accounting(&printed, &jobs), Ok(vec![Observed::Absent]));
    bench.until_over(&job).await;
}

#[tokio::test]
async fn no_controller_is_no_answer() {
    let Some(bench) = Bench::of("slurm", "slurm_only::no_controller") else { return };
    let staged = bench.stage(1, &Job::shell("true"));
    let job = bench.submit(&staged);
    bench.until_over(&job).await;
    let jobs = [job];
    let configuration = bench.folder.path().join("slurm.conf").display().to_string();
    std::fs::write(&configuration, "").unwrap();
    let broken = |question: &jobferry::scheduler::Question| {
        let mut question = question.clone();
        question.script = format!("export SLURM_CONF={configuration}\n{}", question.script);
        ask(&question)
    };
    let scheduler = &*bench.scheduler;
    assert!(scheduler.read_poll(&broken(&scheduler.poll(&jobs)), &jobs).is_err());
    assert!(scheduler.read_cancel(&broken(&scheduler.cancel(&[jobs[0].id.clone()])), &[]).is_err());
    assert!(scheduler.read_check(&broken(&scheduler.check())).unwrap_err().contains("does not answer"));
}
