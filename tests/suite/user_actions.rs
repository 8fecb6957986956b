//! What users do to running jobs, through the real binaries: processes end, and each attempt starts at most once.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::lab::{Lab, Site, Store, eventually, talk};
use super::services::on_cluster;

const LIMIT: Duration = Duration::from_secs(90);

/// Runs a line of shell where the jobs run.
fn there(site: Site, line: &str) -> String {
    let output = match site {
        Site::Here => Command::new("sh").args(["-c", line]).output().unwrap(),
        Site::SshShell | Site::SshSlurm => on_cluster(&std::env::var("JF_TEST_SSH_CONFIG").unwrap(), line),
    };
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the pid of each attempt by its token; an attempt that started twice fails the test.
fn starts(site: Site, file: &str) -> BTreeMap<String, String> {
    let mut starts = BTreeMap::new();
    for line in there(site, &format!("cat {file} 2>/dev/null")).lines() {
        let (token, pid) = line.split_once(' ').unwrap();
        assert_eq!(starts.insert(token.to_owned(), pid.to_owned()), None, "{token} started twice");
    }
    starts
}

fn jobs(lab: &Lab) -> BTreeMap<String, Value> {
    let jobs = lab.json(&["job", "list", "-m", "0"]);
    let jobs = jobs["jobs"].as_array().or_else(|| jobs.as_array()).unwrap().clone();
    jobs.into_iter().map(|job| (job["name"].as_str().unwrap().to_owned(), job)).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Stops, runs again and deletes running jobs: their processes end, the second attempt runs, everything is in its place.
fn processes_end(test: &str, store: Store, site: Site) {
    let Some(lab) = Lab::new(test, store, site) else { return };
    let file = format!("{}/starts", lab.work_dir);
    let job =
        format!("shell: 'echo $JF_TOKEN $$ >> {file}; case $JF_TOKEN in *_1) sleep 300; echo over;; esac'");
    let flow =
        format!("flow: three\njobs:\n  stopped: {{{job}}}\n  again: {{{job}}}\n  deleted: {{{job}}}\n");
    lab.ok(&["submit", lab.write("three.yaml", &flow).to_str().unwrap()]);
    let mut runner = lab.start_runner();
    eventually("all three run", LIMIT, || {
        jobs(&lab).values().all(|job| job["state"] == "RUNNING") && starts(site, &file).len() == 3
    });
    let before = jobs(&lab);
    let directory =
        text(&lab.json(&["job", "info", before["deleted"]["db_id"].as_str().unwrap()])["run_dir"]);
    lab.ok(&["job", "stop", "-n", "stopped"]);
    assert!(lab.ok(&["job", "rerun", "-n", "again"]).contains("Operation completed: 1 jobs modified"));
    lab.ok(&["job", "delete", "-n", "deleted", "-fi"]);
    let ended = runner.wait().unwrap();
    assert!(ended.success(), "{}", lab.log());

    let after = jobs(&lab);
    assert_eq!(after["stopped"]["state"], "USER_STOPPED", "{}", lab.log());
    assert_eq!(after["again"]["state"], "COMPLETED", "{}", lab.log());
    assert!(!after.contains_key("deleted"));
    let started = starts(site, &file);
    let tokens: Vec<&String> = started.keys().collect();
    let mut expected: Vec<String> =
        before.values().map(|job| format!("{}_1_1", text(&job["uuid"]))).collect();
    expected.push(format!("{}_1_2", text(&before["again"]["uuid"])));
    expected.sort();
    assert_eq!(tokens, expected.iter().collect::<Vec<_>>());
    // What the wrappers started is gone with them.
    let first = started.iter().filter(|(token, _)| token.ends_with("_1_1")).map(|(_, pid)| pid.as_str());
    let pids = first.collect::<Vec<_>>().join(" ");
    let alive =
        || there(site, &format!("for pid in {pids}; do [ -e /proc/$pid ] && echo $pid; pgrep -P $pid; done"));
    eventually("all processes have ended", LIMIT, || alive().is_empty());
    assert_eq!(there(site, &format!("ls -d {directory} 2>/dev/null")), "", "the directory goes with its job");
}

#[test]
fn taken_from_sqlite_and_this_machine() {
    processes_end("taken_from_sqlite_and_this_machine", Store::Sqlite, Site::Here);
}

#[test]
fn taken_from_standalone_mongodb_and_this_machine() {
    processes_end("taken_from_standalone_mongodb_and_this_machine", Store::Standalone, Site::Here);
}

#[test]
fn taken_from_a_replica_set_and_ssh() {
    processes_end("taken_from_a_replica_set_and_ssh", Store::ReplicaSet, Site::SshShell);
}

#[test]
fn taken_from_mongodb_and_slurm() {
    processes_end("taken_from_mongodb_and_slurm", Store::Standalone, Site::SshSlurm);
}

/// A job that was stopped while no runner ran: the next one ends its process.
#[test]
fn the_next_runner_ends_what_was_stopped_meanwhile() {
    let lab = Lab::new("", Store::Sqlite, Site::Here).unwrap();
    let file = format!("{}/starts", lab.work_dir);
    let flow = format!("flow: one\njobs:\n  one: {{shell: 'echo $JF_TOKEN $$ >> {file}; sleep 300'}}\n");
    lab.ok(&["submit", lab.write("one.yaml", &flow).to_str().unwrap()]);
    let mut runner = lab.start_runner();
    eventually("it runs", LIMIT, || {
        jobs(&lab)["one"]["state"] == "RUNNING" && starts(Site::Here, &file).len() == 1
    });
    runner.kill().unwrap();
    runner.wait().unwrap();
    let output = lab.jf(&["job", "stop", jobs(&lab)["one"]["db_id"].as_str().unwrap()]);
    assert!(output.status.success(), "{}", talk(&output));
    let pid = starts(Site::Here, &file).into_values().next().unwrap();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "nobody has ended it yet");
    lab.run_until_idle();
    eventually("it ends", LIMIT, || !std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(jobs(&lab)["one"]["state"], "USER_STOPPED");
}
