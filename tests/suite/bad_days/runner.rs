//! Runners that are told to stop, lose their terminal, or are not alone.

use std::process::Command;
use std::time::Duration;

use super::{LIMIT, Process, all, program, skipped};
use crate::lab::{Lab, Site, Store, eventually, finish, talk};

/// A flow of so many jobs that note their start and run until the file `go` is there, or for half a minute.
fn waiting_jobs(lab: &Lab, count: u32) -> String {
    let folder = lab.path("");
    let folder = folder.display();
    format!(
        "flow: waiting\njobs:\n  one:\n    for: {{n: {{from: 1, to: {count}}}}}\n    \
         shell: 'echo ${{n}} >> {folder}/starts; i=0; while [ ! -e {folder}/go ] && [ $i -lt 300 ]; do sleep 0.1; i=$((i + 1)); done'\n"
    )
}

/// Returns the numbers of the jobs that started, sorted.
fn starts(lab: &Lab) -> Vec<u32> {
    let text = std::fs::read_to_string(lab.path("starts")).unwrap_or_default();
    let mut numbers: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_runner_that_is_told_to_stop_leaves_its_jobs_to_the_next() {
    let lab = Lab::new("", Store::Sqlite, Site::Here).unwrap();
    lab.ok(&["submit", lab.write("waiting.yaml", &waiting_jobs(&lab, 30)).to_str().unwrap()]);
    let mut runner = Process::start(lab.command("runner", &["run"]));
    eventually("all run", LIMIT, || starts(&lab).len() == 30);
    runner.signal("TERM");
    assert_eq!(runner.ends_within(Duration::from_secs(5)), Some(0), "{}", lab.log());
    assert!(!all(&lab, "COMPLETED"));
    std::fs::write(lab.path("go"), "").unwrap();
    lab.run_until_idle();
    assert!(all(&lab, "COMPLETED"), "{:?}", lab.states());
    assert_eq!(starts(&lab), (1..=30).collect::<Vec<_>>(), "each started once");
}

#[test]
fn the_daemon_outlives_its_terminal() {
    let test = "the_daemon_outlives_its_terminal";
    if program("script").is_none() {
        return skipped(test, "there is no script(1) to make a terminal with");
    }
    let lab = Lab::new(test, Store::Sqlite, Site::Here).unwrap();
    let start = lab.command("runner", &["start"]);
    let mut terminal = Command::new("script");
    let line = format!("{} start", start.get_program().display());
    terminal
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env_clear()
        .env("SHELL", "/bin/sh");
    terminal.envs(start.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let started = finish(terminal);
    assert!(started.status.success(), "{}", talk(&started));
    let pid = lab.json(&["runner", "status"])["daemon_pid"].as_u64().unwrap().to_string();
    // Some shells also tell whatever they once started.
    assert!(Command::new("kill").args(["-s", "HUP", &pid]).status().unwrap().success());
    lab.ok(&["submit", "--", "true"]);
    eventually("the daemon runs the job", LIMIT, || all(&lab, "COMPLETED"));
    assert_eq!(lab.json(&["runner", "status"])["daemon_pid"].as_u64().unwrap().to_string(), pid);
    let stopped = finish(lab.command("runner", &["stop"]));
    assert!(stopped.status.success(), "{}", talk(&stopped));
}

/// Writes the project with a short lease, once for each of two daemon directories.
fn for_two_runners(lab: &Lab) {
    for daemon in ["one", "two"] {
        let text = format!(
            "name: lab\nbase_dir: {0}\ndaemon_dir: {0}/{daemon}\nlog_dir: {0}/log-{daemon}\njobferry: {{lease_seconds: 4}}\n\
             {1}    max_jobs: 4\n",
            lab.path("base").display(),
            lab.worker_text(""),
        );
        lab.write(&format!("{daemon}/lab.yaml"), &text);
        lab.write("projects/lab.yaml", &text);
    }
}

fn runner_of(lab: &Lab, daemon: &str) -> Process {
    let mut command = lab.command("runner", &["run", "--until-idle", "--max-seconds", "100"]);
    command.env("JFREMOTE_PROJECTS_FOLDER", lab.path(daemon));
    Process::start(command)
}

#[test]
fn the_second_runner_waits_and_takes_over_from_a_killed_one() {
    let lab = Lab::new("", Store::Sqlite, Site::Here).unwrap();
    for_two_runners(&lab);
    let flow = waiting_jobs(&lab, 24).replace("$i -lt 300", "$i -lt 5");
    lab.ok(&["submit", lab.write("waiting.yaml", &flow).to_str().unwrap()]);
    let mut first = runner_of(&lab, "one");
    eventually("the first runs jobs", LIMIT, || starts(&lab).len() >= 4);
    let mut second = runner_of(&lab, "two");
    let log = || {
        let files = std::fs::read_dir(lab.path("base/log-two")).into_iter().flatten().flatten();
        files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect::<String>()
    };
    eventually("the second waits", LIMIT, || log().contains("acts for this project; this one waits"));
    let acting = lab.json(&["runner", "status"])["lease"]["pid"].clone();
    assert_eq!(acting.as_u64(), Some(first.0.id().into()));
    first.kill();
    // The lease of 4 s, a quarter of it between two questions, and a loaded machine.
    eventually("the second acts", Duration::from_secs(15), || {
        log().contains("this runner acts for project lab")
    });
    assert_eq!(second.ends_within(Duration::from_secs(100)), Some(0), "{}", log());
    assert!(all(&lab, "COMPLETED"), "{:?}", lab.states());
    assert_eq!(starts(&lab), (1..=24).collect::<Vec<_>>(), "each started once");
}
