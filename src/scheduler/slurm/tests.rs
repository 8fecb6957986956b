use bson::doc;
use proptest::prelude::*;

use super::super::{Ending, EndingKind, Phase, Status};
use super::*;
use crate::model::Timestamp;
use crate::model::ids::JobKey;
use crate::model::resources::Resources;

fn token(number: i32) -> Token {
    Token::new(&JobKey::new("u", number), 1)
}

fn job(id: &str, number: i32) -> Watched {
    let submitted = Some(Timestamp::from_millis(1_795_166_662_000));
    Watched { id: id.to_owned(), token: token(number), run_dir: "/w".into(), submitted }
}

fn printed(exit_code: i32, stdout: &str, stderr: &str) -> Printed {
    Printed { exit_code, stdout: stdout.to_owned(), stderr: stderr.to_owned() }
}

fn row(fields: [&str; 6]) -> String {
    let [id, state, exit_code, submitted, reason, comment] = fields;
    format!("{id:<50}{state:<25}{exit_code:<15}{submitted:<30}{reason:<80}{comment:<200}\n")
}

fn queue(rows: &[[&str; 6]]) -> Printed {
    let header = row(["JOBID", "STATE", "EXIT_CODE", "SUBMIT_TIME", "REASON", "COMMENT"]);
    let rows: String = rows.iter().map(|fields| row(*fields)).collect();
    printed(0, &format!("Welcome\njobferry-queue 1\n{header}{rows}jobferry-end 0\n"), "")
}

fn poll_one(rows: &[[&str; 6]], watched: Watched) -> Option<Status> {
    match Slurm.read_poll(&queue(rows), &[watched]).unwrap().remove(0) {
        Observed::Seen(status) => Some(status),
        Observed::Absent => None,
    }
}

const TIME: &str = "1795166662";

fn ended(kind: EndingKind, exit_code: Option<i32>, signal: Option<i32>) -> Phase {
    Phase::Ended(Ending { kind, exit_code, signal })
}

#[test]
fn every_state_word_has_its_phase() {
    let words = "PENDING PD RUNNING R SUSPENDED S COMPLETED CD CANCELLED CA FAILED F TIMEOUT TO NODE_FAIL NF PREEMPTED PR \
        BOOT_FAIL BF DEADLINE DL OUT_OF_MEMORY OOM COMPLETING CG CONFIGURING CF STAGE_OUT SO EXPEDITING RESIZING RS REQUEUED RQ \
        REQUEUE_FED RF REQUEUE_HOLD RH SPECIAL_EXIT SE STOPPED ST REVOKED RV RESV_DEL_HOLD RD SIGNALING SI LATER_WORD";
    let named = |word: &str| match records::phase(word, "") {
        Phase::Ended(ending) => format!("{:?}", ending.kind),
        other => format!("{other:?}"),
    };
    let mut phases: std::collections::BTreeMap<String, Vec<&str>> = std::collections::BTreeMap::new();
    for word in words.split_whitespace() {
        phases.entry(named(word)).or_default().push(word);
    }
    let table: Vec<String> =
        phases.iter().map(|(phase, words)| format!("{phase}: {}", words.join(" "))).collect();
    insta::assert_snapshot!(table.join("\n"), @r"
    Cancelled: CANCELLED CA REVOKED RV
    Completed: COMPLETED CD
    Failed: FAILED F
    Held: REQUEUE_HOLD RH SPECIAL_EXIT SE RESV_DEL_HOLD RD
    LaunchFailed: BOOT_FAIL BF
    NodeFailed: NODE_FAIL NF
    OutOfMemory: OUT_OF_MEMORY OOM
    Pending: PENDING PD REQUEUED RQ REQUEUE_FED RF
    Preempted: PREEMPTED PR
    Running: RUNNING R COMPLETING CG CONFIGURING CF STAGE_OUT SO EXPEDITING RESIZING RS SIGNALING SI
    Suspended: SUSPENDED S STOPPED ST
    TimedOut: TIMEOUT TO DEADLINE DL
    Unknown: LATER_WORD
    ");
}

#[test]
fn polls_tell_ends_apart() {
    for (state, exit, reason, expected) in [
        ("COMPLETED", "0", "None", ended(EndingKind::Completed, Some(0), None)),
        ("FAILED", "768", "NonZeroExitCode", ended(EndingKind::Failed, Some(3), None)),
        ("FAILED", "256", "BadConstraints", ended(EndingKind::LaunchFailed, Some(1), None)),
        ("FAILED", "11", "None", ended(EndingKind::Failed, None, Some(11))),
        ("TIMEOUT", "15", "TimeLimit", ended(EndingKind::TimedOut, None, Some(15))),
        ("OUT_OF_MEMORY", "125", "OutOfMemory", ended(EndingKind::OutOfMemory, Some(0), None)),
        ("CANCELLED", "0", "None", ended(EndingKind::Cancelled, Some(0), None)),
        ("PENDING", "0", "JobHeldUser", Phase::Held),
        ("PENDING", "0", "launch failed requeued held", Phase::Held),
        ("PENDING", "0", "Resources", Phase::Pending),
        ("NEW_WORD", "0", "None", Phase::Unknown),
    ] {
        let status = poll_one(&[["7", state, exit, TIME, reason, "u_1_1"]], job("7", 1)).unwrap();
        assert_eq!((status.phase, status.word.as_str()), (expected, state));
        assert_eq!(status.reason.as_deref(), (reason != "None").then_some(reason));
    }
}

#[test]
fn ids_are_matched_with_their_token() {
    let rows = [
        ["70", "RUNNING", "0", TIME, "None", "u_1_1"],
        ["7", "RUNNING", "0", TIME, "None", "u_2_1"],
        ["8", "RUNNING", "0", "1795000000", "None", "(null)"],
        ["9", "PENDING", "0", TIME, "Priority", "a site's note | x"],
    ];
    assert_eq!(poll_one(&rows, job("7", 1)), None, "another attempt's id");
    assert!(poll_one(&rows, job("7", 2)).is_some());
    assert!(poll_one(&rows, job("70", 1)).is_some());
    assert_eq!(poll_one(&rows, job("8", 3)), None, "older than our submission");
    assert!(poll_one(&rows, job("9", 4)).is_some(), "the site took the comment");
    assert_eq!(poll_one(&rows, job("10", 5)), None);
}

#[test]
fn arrays_and_components_are_where_their_liveliest_part_is() {
    let parts = |states: [&'static str; 3]| {
        let ids = ["7_1", "7_2", "7_[3-9%2]"];
        let rows: Vec<[&str; 6]> =
            ids.iter().zip(states).map(|(id, state)| [*id, state, "0", TIME, "None", "u_1_1"]).collect();
        poll_one(&rows, job("7", 1)).unwrap().word
    };
    assert_eq!(parts(["COMPLETED", "RUNNING", "PENDING"]), "RUNNING");
    assert_eq!(parts(["COMPLETED", "FAILED", "PENDING"]), "PENDING");
    assert_eq!(parts(["COMPLETED", "FAILED", "COMPLETED"]), "FAILED");
    assert!(poll_one(&[["7+1", "RUNNING", "0", TIME, "None", "u_1_1"]], job("7", 1)).is_some());
}

#[test]
fn an_answer_that_is_not_whole_is_none() {
    let jobs = [job("7", 1)];
    let whole = queue(&[["7", "RUNNING", "0", TIME, "None", "u_1_1"]]);
    for (length, _) in whole.stdout.trim_end().char_indices() {
        let cut = printed(0, &whole.stdout[..length], "");
        assert!(Slurm.read_poll(&cut, &jobs).is_err(), "{length}");
    }
    let failed = whole.stdout.replace("jobferry-end 0", "jobferry-end 1");
    let error = Slurm
        .read_poll(&printed(0, &failed, "slurm_load_jobs error: Socket timed out\n"), &jobs)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "no usable answer from slurm: exit code 0: slurm_load_jobs error: Socket timed out"
    );
    let headless = "jobferry-queue 1\njobferry-end 0\n";
    assert!(Slurm.read_poll(&printed(0, headless, ""), &jobs).is_err());
}

#[test]
fn a_line_that_cannot_be_read_spoils_only_what_it_may_hide() {
    let mut answer = queue(&[["7", "RUNNING", "0", TIME, "None", "u_1_1"]]);
    answer.stdout = answer.stdout.replace("jobferry-end", "8   half\njobferry-end");
    assert!(Slurm.read_poll(&answer, &[job("7", 1)]).is_ok());
    assert!(Slurm.read_poll(&answer, &[job("7", 1), job("8", 2)]).is_err());
    assert!(Slurm.read_find(&answer, &[token(2)]).is_err());
    answer.stdout = answer.stdout.replace("8   half", "second line of a comment");
    assert_eq!(Slurm.read_poll(&answer, &[job("8", 2)]), Ok(vec![Observed::Absent]));
}

#[test]
fn tokens_are_found_in_comments() {
    let rows = [
        ["7", "RUNNING", "0", TIME, "None", "u_1_1"],
        ["8", "FAILED", "0", TIME, "None", "u_1_1"],
        ["9", "FAILED", "0", TIME, "None", "u_1_12"],
    ];
    let found = Slurm.read_find(&queue(&rows), &[token(1), token(2)]).unwrap();
    assert_eq!(found, [vec!["7".to_owned(), "8".to_owned()], vec![]]);
}

fn accounting(rows: &str) -> Printed {
    let text = format!("jobferry-accounting 1\nJobID|State|ExitCode|Submit|Comment\n{rows}jobferry-end 0\n");
    printed(0, &text, "")
}

#[test]
fn accounting_tells_old_ends() {
    for (fields, expected) in [
        ("COMPLETED|0:0", ended(EndingKind::Completed, Some(0), None)),
        ("FAILED|3:0", ended(EndingKind::Failed, Some(3), None)),
        ("FAILED|0:11", ended(EndingKind::Failed, None, Some(11))),
        ("CANCELLED by 1000|0:15", ended(EndingKind::Cancelled, None, Some(15))),
        ("TIMEOUT|0:0", ended(EndingKind::TimedOut, Some(0), None)),
        ("OUT_OF_MEMORY|0:125", ended(EndingKind::OutOfMemory, Some(0), None)),
        ("NODE_FAIL|1:0", ended(EndingKind::NodeFailed, Some(1), None)),
        ("PREEMPTED|0:15", ended(EndingKind::Preempted, None, Some(15))),
        ("BOOT_FAIL|0:0", ended(EndingKind::LaunchFailed, Some(0), None)),
        ("DEADLINE|0:0", ended(EndingKind::TimedOut, Some(0), None)),
    ] {
        let answer = accounting(&format!("7|{fields}|{TIME}|\n"));
        let observed = Slurm.read_accounting(&answer, &[job("7", 1), job("8", 2)]).unwrap();
        let [Observed::Seen(status), Observed::Absent] = observed.as_slice() else { panic!("{observed:?}") };
        assert_eq!(status.phase, expected, "{fields}");
    }
    let recycled = accounting("7|COMPLETED|0:0|1700000000|\n");
    assert_eq!(Slurm.read_accounting(&recycled, &[job("7", 1)]), Ok(vec![Observed::Absent]));
}

#[test]
fn accounting_that_is_off_or_broken_is_recognised() {
    let jobs = [job("7", 1)];
    let off = printed(0, "jobferry-accounting 1\njobferry-end 1\n", "Slurm accounting storage is disabled\n");
    assert_eq!(Slurm.read_accounting(&off, &jobs), Ok(vec![Observed::Absent]));
    let broken =
        printed(0, "jobferry-accounting 1\njobferry-end 1\n", "sacct: error: slurm_persist_conn_open\n");
    assert!(Slurm.read_accounting(&broken, &jobs).is_err());
    assert!(
        Slurm.read_accounting(&printed(0, "jobferry-accounting 1\njobferry-end 0\n", ""), &jobs).is_err()
    );
}

#[test]
fn accounting_asks_from_before_the_oldest_submission() {
    let question = Slurm.accounting(&[job("7", 1), job("8", 2)]).unwrap();
    assert_eq!(question.input, "2026-11-18\n7\n8\n");
}

#[test]
fn submissions_are_classified() {
    let kind = |exit_code, stdout: &str, stderr: &str| match Slurm
        .read_submission(&printed(exit_code, stdout, stderr))
    {
        Submission::Accepted { id } => id,
        Submission::Wait { .. } | Submission::NotTried { .. } | Submission::Missing { .. } => {
            "wait".to_owned()
        }
        Submission::Refused { .. } => "refused".to_owned(),
        Submission::Unclear { .. } => "unclear".to_owned(),
    };
    let error = |text: &str| kind(1, "", &format!("sbatch: error: Batch job submission failed: {text}\n"));
    assert_eq!(kind(0, "123\n", "sbatch: warning: x 9\n"), "123");
    assert_eq!(kind(0, "123;cluster\n", ""), "123");
    assert_eq!(kind(0, "Welcome 2 you\n\nSubmitted batch job 42\nbye\n", ""), "42");
    assert_eq!(kind(0, "hello\n", ""), "unclear");
    assert_eq!(kind(1, "123\n", ""), "unclear");
    assert_eq!(kind(124, "", ""), "unclear");
    assert_eq!(error("Socket timed out on send/recv operation"), "unclear");
    assert_eq!(error("Something nobody has heard of"), "unclear");
    for text in [
        "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "AssocMaxSubmitJobLimit",
        "QOSMaxSubmitJobPerUserLimit",
        "Slurm temporarily unable to accept job, sleeping and retrying",
        "Unable to contact slurm controller (connect failure)",
    ] {
        assert_eq!(error(text), "wait", "{text}");
    }
    for text in [
        "Invalid partition name specified",
        "Invalid account or account/partition combination specified",
        "Invalid qos specification",
        "Requested node configuration is not available",
        "Invalid generic resource (gres) specification",
        "More processors requested than permitted",
        "Requested time limit is invalid (missing or exceeds some limit)",
        "User's group not permitted to use this partition",
    ] {
        assert_eq!(error(text), "refused", "{text}");
    }
    assert_eq!(kind(1, "", "sbatch: unrecognized option '--x'\n"), "refused");
    assert_eq!(kind(127, "", "sbatch is not on the PATH of this host: load the module\n"), "refused");
}

#[test]
fn cancelling_what_is_gone_is_no_failure() {
    let ids = ["7".to_owned()];
    let answer = |code: i32, stderr: &str| {
        Slurm.read_cancel(&printed(0, &format!("jobferry-cancel 1\njobferry-end {code}\n"), stderr), &ids)
    };
    assert_eq!(answer(0, ""), Ok(()));
    assert_eq!(answer(1, "scancel: error: Kill job error on job id 7: Invalid job id specified\n"), Ok(()));
    assert!(
        answer(1, "scancel: error: Kill job error on job id 7: Unable to contact slurm controller\n")
            .is_err()
    );
    assert!(answer(1, "").is_err());
}

fn header(name: &str, run_dir: &str, resources: &Resources) -> Result<String, Unsupported> {
    Slurm.header(&HeaderJob { name, run_dir, resources })
}

#[test]
fn our_words_become_directives() {
    let resources = Resources {
        nodes: Some(2),
        tasks: Some(8),
        tasks_per_node: Some(4),
        cpus_per_task: Some(3),
        memory_per_node_bytes: Some((1 << 30) + 1),
        memory_per_cpu_bytes: Some(2 << 30),
        gpus: Some(2),
        gpu_type: Some("a100".into()),
        walltime_seconds: Some(90_061),
        partition: Some("main".into()),
        account: Some("p 1".into()),
        qos: Some("high".into()),
        template: doc! {
            "constraint": "a&b", "exclusive": true, "requeue": false, "mail_user": "a@b", "priority": 5, "array": "1-3",
            "hint": "nomultithread", "licenses": "x:2", "nodelist": "n[1-3]", "exclude_nodes": "n4", "qverbatim": "#SBATCH --x",
        },
    };
    insta::assert_snapshot!(header("a b|c\n\"d\"", "/w/x y%j", &resources).unwrap(), @r##"
    #SBATCH --partition=main
    #SBATCH --job-name=a_b_c__d_
    #SBATCH --nodes=2
    #SBATCH --ntasks=8
    #SBATCH --ntasks-per-node=4
    #SBATCH --cpus-per-task=3
    #SBATCH --mem=1025M
    #SBATCH --mem-per-cpu=2G
    #SBATCH --hint=nomultithread
    #SBATCH --time=1-1:1:1
    #SBATCH --exclude=n4
    #SBATCH --account="p 1"
    #SBATCH --mail-user=a@b
    #SBATCH --constraint=a&b
    #SBATCH --no-requeue
    #SBATCH --nodelist=n[1-3]
    #SBATCH --licenses=x:2
    #SBATCH --output="/w/x y%%j/queue.out"
    #SBATCH --error="/w/x y%%j/queue.err"
    #SBATCH --qos=high
    #SBATCH --priority=5
    #SBATCH --array=1-3
    #SBATCH --exclusive
    #SBATCH --gpus=a100:2
    #SBATCH --x
    "##);
}

#[test]
fn template_keys_and_qresources_give_the_same_directives() {
    let ours = doc! {"nodes": 2, "tasks_per_node": 3, "cpus": 2, "memory_per_cpu": "1GB", "time": "1-1:1:1", "partition": "main"};
    let template = doc! {
        "nodes": 2, "ntasks_per_node": 3, "cpus_per_task": 2, "mem_per_cpu": "1G", "time": "1-1:1:1", "partition": "main",
    };
    let qresources = doc! {
        "@class": "QResources", "nodes": 2, "processes_per_node": 3, "threads_per_process": 2, "memory_per_thread": 1024,
        "time_limit": 90_061, "queue_name": "main", "process_placement": "EVENLY_DISTRIBUTED",
    };
    let directives = |document| header("n", "/w", &Resources::from_document(&document).unwrap()).unwrap();
    let expected = directives(ours);
    assert_eq!(directives(template), expected);
    assert_eq!(directives(qresources), expected);
}

#[test]
fn everything_that_cannot_be_expressed_is_said_at_once() {
    let resources = Resources {
        gpu_type: Some("a100".into()),
        template: doc! {"partitoin": "x", "rerunnable": true, "mem": {"a": 1}, "account": "a\nb"},
        ..Resources::default()
    };
    assert_eq!(
        header("n", "/w", &resources).unwrap_err().to_string(),
        "the scheduler slurm cannot express: partitoin (did you mean partition?), rerunnable, gpu_type without gpus, \
         mem: { \"a\": 1 }, account: line breaks"
    );
}

proptest! {
    #[test]
    fn memory_is_never_less_than_asked_for_and_at_most_one_unit_more(bytes in 1_u64..1 << 50) {
        let resources = Resources { memory_per_node_bytes: Some(bytes), ..Resources::default() };
        let text = header("n", "/w", &resources).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix("#SBATCH --mem=")).unwrap();
        let given = crate::model::resources::parse_bytes(value).unwrap();
        prop_assert!(given >= bytes && given < bytes + (1 << 20));
    }

    #[test]
    fn noise_never_panics(noise in "(\\PC|\n|jobferry-(queue|accounting|cancel) 1\n|jobferry-end 0\n|7\\|){0,12}") {
        let noise = printed(0, &noise, "");
        let jobs = [job("7", 1)];
        let _ignored = (Slurm.read_poll(&noise, &jobs), Slurm.read_accounting(&noise, &jobs));
        let _ignored = (Slurm.read_find(&noise, &[token(1)]), Slurm.read_submission(&noise));
    }
}
