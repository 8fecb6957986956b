//! `jf submit`, and what is seen of the jobs once a runner has run them.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use jobferry::config::{self, Environment};
use jobferry::runner::process;
use jobferry::runner::supervisor::{Ended, Until};
use serde_json::{Value, json};

use crate::cli_environment::{Run, TestEnv};

const FLOW: &str = "\
flow: sum
defaults:
  env: {LANG: C}
jobs:
  first:
    command: [echo, '20']
    outputs:
      number: {text: stdout, type: integer}
  second:
    shell: |
      expr ${first.number} + 22
    files:
      note.txt: note.txt
    outputs:
      number: {text: stdout, type: integer}
";

fn with_flow() -> TestEnv {
    let place = TestEnv::with_project();
    place.write("sum.yaml", FLOW);
    place.write("note.txt", "read me\n");
    place
}

/// Runs everything that can be run, as a runner in this process.
async fn run_all(place: &TestEnv) {
    let environment = Environment::new([("PATH", "/usr/bin:/bin")], Some(place.path("")));
    let file = place.path("projects/lab.yaml");
    let loaded = config::load(&file, &place.path("projects"), &environment, &[]).unwrap();
    let until = Until::Idle { limit: Some(Duration::from_secs(60)) };
    assert_eq!(process::run(&loaded.project, until).await.unwrap(), Ended::Idle);
}

fn states(place: &TestEnv) -> Vec<String> {
    let jobs = place.jf("job list --json --sort db_id -revs").json();
    jobs.as_array().unwrap().iter().map(|job| job["state"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_flow_file_is_submitted_run_and_looked_at() {
    let place = with_flow();
    assert_snapshot!(place.jf("submit sum.yaml").without_chance(), @r"
        exit: 0
        ----- stdout
        Submitted flow sum ([UUID]): 2 jobs, 1 to 2
        `jf flow info 1` follows it; a runner (`runner start`) runs it.
        ----- stderr
        ");
    assert_eq!(states(&place), ["READY", "WAITING"]);
    run_all(&place).await;
    assert_eq!(states(&place), ["COMPLETED", "COMPLETED"]);
    assert_eq!(place.jf("job output 2 --json").json()["number"], 42);
    assert_snapshot!(place.jf("job queue-out 1 --json"), @r#"
        exit: 0
        ----- stdout
        {
          "queue_out": "",
          "queue_err": "",
          "stdout": "20\n",
          "stderr": ""
        }
        ----- stderr
        "#);
    let listing = place.jf("job files ls 2 --json").json();
    let files: Vec<&str> = listing["files"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(files.contains(&"note.txt") && files.contains(&"stdout"), "{files:?}");
    let copied = place.jf("job files get 2 note.txt stdout -p copies");
    assert_eq!(copied.code, Some(0), "{copied}");
    assert_eq!(std::fs::read_to_string(place.path("copies/note.txt")).unwrap(), "read me\n");
    assert_eq!(place.jf("job files get 2 nothing.txt -p copies").code, Some(1));
}

#[tokio::test]
async fn a_failed_command_is_told_with_its_exit_code_and_last_words() {
    let place = TestEnv::with_project();
    let mut command = place.command("submit --json --name fails --env WHY=because --");
    command.args(["sh", "-c", "echo no $WHY >&2; exit 3"]);
    let submitted = place.run(command).json();
    assert_eq!(submitted["jobs"][0]["name"], "fails");
    run_all(&place).await;
    let info = place.jf("job info 1 --json").json();
    assert_eq!((&info["state"], &info["exit_code"]), (&json!("FAILED"), &json!(3)));
    assert_eq!(info["stderr_tail"], "no because\n");
    let text = place.jf("job info 1");
    assert!(
        text.stdout.contains("stderr (end) = no because") && text.stdout.contains("exit code = 3"),
        "{text}"
    );
}

#[test]
fn resources_of_one_command_reach_the_job() {
    let place = TestEnv::with_project();
    let line = "submit --json --cpus 4 --memory 2GB --time 30m --gpus 1 --partition main --account a1 --priority 7 -- hostname";
    let _submitted = place.jf(line).json();
    let info = place.jf("job info 1 --json").json();
    assert_eq!(info["priority"], 7);
    assert_snapshot!(format!("{:#}", info["resources"]), @r#"
        {
          "cpus_per_task": 4,
          "memory": 2147483648,
          "gpus": 1,
          "time": "1800s",
          "partition": "main",
          "account": "a1"
        }
        "#);
}

#[test]
fn a_dry_run_shows_everything_and_writes_nothing() {
    let place = with_flow();
    let run = place.jf("submit --dry-run sum.yaml").without_chance();
    assert_eq!(run.code, Some(0), "{run}");
    let table: Vec<&str> = run.stdout.lines().take(4).collect();
    assert_snapshot!(table.join("\n"), @r"
        Flow sum: 2 jobs; nothing is written
         Name  Worker  After  Resources
         first  here
         second  here  first
        ");
    for shown in ["submit.sh of second:", "exec echo 20", "jf_first_number='<first.number>'"] {
        assert!(run.stdout.contains(shown), "{shown}: {run}");
    }
    let json = place.jf("submit --dry-run --json sum.yaml").json();
    assert_eq!(json["jobs"][1]["after"], json!(["first"]));
    assert!(!place.path("lab.sqlite").exists() && !place.path("projects/lab").exists());
}

#[test]
fn a_faulty_flow_is_refused_with_all_its_faults() {
    let place = TestEnv::with_project();
    place.write(
        "bad.yaml",
        "jobs:\n  a:\n    comand: [echo]\n  b:\n    command: [cat, '${a.out}', '${c.x}']\n",
    );
    assert_snapshot!(place.jf("submit bad.yaml"), @r"
        exit: 6
        ----- stdout
        ----- stderr
        error: bad.yaml has 4 faults; nothing was submitted:
            bad.yaml:3:5: the job does nothing: it has neither `command` nor `shell` (in jobs.a)
              |
            3 |     comand: [echo]
              |     ^ for example command: [echo, hello]
            bad.yaml:3:5: the key `comand` is not known here (in jobs.a)
              |
            3 |     comand: [echo]
              |     ^^^^^^ did you mean `command`?
            bad.yaml:5:20: ${a.out}: the job `a` has no output `out` (in jobs.b.command[1])
              |
            5 |     command: [cat, '${a.out}', '${c.x}']
              |                    ^^^^^^^^^^ declare it under `outputs` of `a`
            bad.yaml:5:32: ${c.x}: there is no job `c` (in jobs.b.command[2])
              |
            5 |     command: [cat, '${a.out}', '${c.x}']
              |                                ^^^^^^^^ for a shell variable write $c or $${c}
        hint: `jf submit --format-help` explains the format
        ");
    place.write("empty.yaml", "");
    assert_snapshot!(place.jf("submit empty.yaml"), @r"
        exit: 6
        ----- stdout
        ----- stderr
        error: empty.yaml has a fault; nothing was submitted:
            empty.yaml:1:1: the file is empty
              hint: see `jf submit --format-help` for what a flow file looks like
        hint: `jf submit --format-help` explains the format
        ");
    assert_snapshot!(place.jf("submit nowhere.yaml"), @r"
        exit: 6
        ----- stdout
        ----- stderr
        error: cannot read nowhere.yaml: No such file or directory (os error 2)
        ");
    assert!(!place.path("lab.sqlite").exists(), "nothing is written");
}

#[test]
fn files_and_names_that_are_not_there_are_told_before_anything_is_written() {
    let place = TestEnv::with_project();
    place.write("lost.yaml", "jobs:\n  a:\n    command: [cat, x]\n    files:\n      x: lost.txt\n");
    assert_snapshot!(place.jf("submit lost.yaml"), @r"
        exit: 6
        ----- stdout
        ----- stderr
        error: lost.yaml has a fault; nothing was submitted:
            lost.yaml:5:10: cannot read lost.txt: No such file or directory (os error 2)
              |
            5 |       x: lost.txt
              |          ^^^^^^^^
        hint: `jf submit --format-help` explains the format
        ");
    place.write("worker.yaml", "jobs:\n  a:\n    command: [echo]\n    worker: heer\n");
    assert_snapshot!(place.jf("submit worker.yaml"), @r"
        exit: 6
        ----- stdout
        ----- stderr
        error: the project `lab` has no worker `heer`
        hint: did you mean `here`?
        ");
    assert_snapshot!(place.jf("submit -w there -- echo"), @r"
        exit: 6
        ----- stdout
        ----- stderr
        error: the project `lab` has no worker `there`
        hint: did you mean `here`?
        ");
    assert!(!place.path("lab.sqlite").exists(), "nothing is written");
}

#[test]
fn a_flow_can_come_from_stdin_in_every_format() {
    let place = TestEnv::with_project();
    let flows = [
        ("jobs: {a: {command: [echo]}}", ""),
        (r#"{"jobs": {"a": {"command": ["echo"]}}}"#, ""),
        ("[jobs.a]\ncommand = ['echo']\n", "--format toml"),
    ];
    for (flow, options) in flows {
        let mut command = place.command(&format!("submit --json {options} -"));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(flow.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{flow}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(states(&place), ["READY"; 3]);
}

#[test]
fn wrong_command_lines_are_refused() {
    let place = TestEnv::with_project();
    assert_snapshot!(place.jf("submit"), @r"
        exit: 2
        ----- stdout
        ----- stderr
        error: the following required arguments were not provided:
          <FLOW_FILE>

        Usage: jf submit [OPTIONS] <FLOW_FILE>
               jf submit [OPTIONS] -- <PROGRAM> [ARG]...

        For more information, try '--help'.
        ");
    place.write("flow.yaml", "jobs: {one: {command: ['true']}}\n");
    assert_snapshot!(place.jf("submit --cpus 4 flow.yaml"), @r"
        exit: 2
        ----- stdout
        ----- stderr
        error: the options for one command do not go with a flow file
        hint: write them into the flow file, under `defaults`; `jf submit --format-help` explains it
        ");
    assert_snapshot!(place.jf("submit --memory lots -- echo"), @r"
        exit: 2
        ----- stdout
        ----- stderr
        error: invalid value 'lots' for '--memory <SIZE>': `lots` is no amount of memory: write for example 500MB, 2GB or 1.5TB

        For more information, try '--help'.
        ");
    assert_snapshot!(place.jf("submit --env X -- echo"), @r"
        exit: 2
        ----- stdout
        ----- stderr
        error: invalid value 'X' for '--env <K=V>': expected NAME=VALUE

        For more information, try '--help'.
        ");
}

#[test]
fn the_format_explains_itself() {
    let place = TestEnv::empty();
    let schema = place.jf("submit --schema").json();
    assert!(jsonschema::meta::is_valid(&schema), "{schema:#}");
    let help = place.jf("submit --format-help");
    assert!(help.code == Some(0) && help.stdout.contains("command:"), "{help}");
}

/// Waits for a file, at most as long as a slow machine may need.
fn wait_for(path: &Path) {
    let begin = Instant::now();
    while !path.exists() {
        assert!(begin.elapsed() < Duration::from_secs(30), "{} did not come", path.display());
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_with_what_became_of_the_jobs() {
    let place = with_flow();
    let good = followed(&place, &["sum.yaml"]).await;
    assert_eq!(good.code, Some(0), "{good}");
    assert!(good.stdout.contains("Flow sum: 2 COMPLETED"), "{good}");
    assert!(good.stderr.contains("no runner is at work"), "{good}");
    let bad = followed(&place, &["--", "false"]).await;
    assert_eq!(bad.code, Some(3), "{bad}");
    assert!(bad.stdout.contains("Flow false: 1 FAILED"), "{bad}");
}

/// Runs `jf submit --wait` beside a runner.
async fn followed(place: &TestEnv, words: &[&str]) -> Run {
    let mut command = place.command("submit --wait");
    command.args(words);
    let before = states(place).len();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| place.run(command));
        let begin = Instant::now();
        while states(place).len() == before {
            assert!(begin.elapsed() < Duration::from_secs(30), "the flow did not come");
        }
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(run_all(place)));
        waiting.join().unwrap()
    })
}

#[test]
fn ctrl_c_leaves_the_jobs_running_and_says_so() {
    let place = TestEnv::with_project();
    let mut command = place.command("submit --wait -- sleep 100");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&place.path("lab.sqlite"));
    let begin = Instant::now();
    while states(&place) != ["READY"] {
        assert!(begin.elapsed() < Duration::from_secs(30), "the job did not come");
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("the jobs go on; `jf flow info"), "{stderr}");
    assert_eq!(states(&place), ["READY"]);
}
