//! The main job, through the real binaries: submit, run, collect, on every store and kind of worker.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use super::lab::{Lab, Site, Store, eventually, example, talk};
use super::services::on_cluster;

fn diamond_completes(test: &str, store: Store, site: Site) {
    let Some(lab) = Lab::new(test, store, site) else { return };
    lab.ok(&["submit", example("flows/diamond.yaml").to_str().unwrap()]);
    lab.run_until_idle();
    let states = lab.states();
    assert!(states.len() >= 13, "{states:?}");
    assert!(states.iter().all(|(_, state)| state == "COMPLETED"), "{states:?}\n{}", lab.log());
    let flows = lab.json(&["flow", "list"]);
    assert!(flows.to_string().contains("COMPLETED"), "{flows}");
    assert_eq!(lab.output("report")["summary"], summary());
    assert_eq!(lab.output("total"), json!({"sum": 195.48}));
}

fn summary() -> serde_json::Value {
    json!({"mean": 5.43, "range": [5.4, 5.47], "unit": "angstrom", "text": "5 points, mean 5.43"})
}

#[test]
fn diamond_on_sqlite_and_this_machine() {
    diamond_completes("diamond_on_sqlite_and_this_machine", Store::Sqlite, Site::Here);
}

#[test]
fn diamond_on_standalone_mongodb_and_this_machine() {
    diamond_completes("diamond_on_standalone_mongodb_and_this_machine", Store::Standalone, Site::Here);
}

#[test]
fn diamond_on_a_replica_set_and_ssh() {
    diamond_completes("diamond_on_a_replica_set_and_ssh", Store::ReplicaSet, Site::SshShell);
}

#[test]
fn diamond_on_mongodb_and_slurm() {
    diamond_completes("diamond_on_mongodb_and_slurm", Store::Standalone, Site::SshSlurm);
}

/// The worker's account cannot reach the database: what it needs is in its run directory.
#[test]
fn the_worker_has_no_route_to_the_database() {
    let test = "the_worker_has_no_route_to_the_database";
    let Some(uri) = super::services::address(test, "JF_TEST_MONGODB_URI") else { return };
    let Some(configuration) = super::services::address(test, "JF_TEST_SSH_CONFIG") else { return };
    let address = uri.trim_start_matches("mongodb://").split(['/', '?']).next().unwrap().to_owned();
    let (host, port) = address.split_once(':').unwrap();
    let output =
        on_cluster(&configuration, &format!("bash -c 'exec 3<>/dev/tcp/{host}/{port}' 2>&1; echo code $?"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("refused") && said.contains("code 1"), "{said}");
}

const FAILING: &str = "
flow: half
jobs:
  good: {command: [echo, fine], outputs: {text: {text: stdout}}}
  bad: {shell: 'echo some words >&2; echo last words >&2; exit 3'}
  after_good: {command: [echo, '${good.text}'], outputs: {text: {text: stdout}}}
  after_bad: {command: [echo, never], after: [bad]}
";

#[test]
fn a_failing_job_keeps_its_children_waiting_and_nobody_else() {
    let lab = Lab::new("", Store::Sqlite, Site::Here).unwrap();
    let flow = lab.write("half.yaml", FAILING);
    lab.ok(&["submit", flow.to_str().unwrap()]);
    lab.run_until_idle();
    let states = lab.states();
    let expected =
        [("after_bad", "WAITING"), ("after_good", "COMPLETED"), ("bad", "FAILED"), ("good", "COMPLETED")];
    assert_eq!(states, expected.map(|(name, state)| (name.to_owned(), state.to_owned())));
    let jobs = lab.json(&["job", "list", "-n", "bad"]);
    let id = jobs["jobs"][0]["db_id"].as_str().or_else(|| jobs[0]["db_id"].as_str()).unwrap().to_owned();
    let info = lab.ok(&["job", "info", &id]);
    assert!(info.contains("exit code 3") && info.contains("last words"), "{info}");
}

#[test]
fn submit_and_wait_tells_by_its_exit_code_how_the_jobs_ended() {
    let lab = Lab::new("", Store::Sqlite, Site::Here).unwrap();
    let mut runner = lab.command("runner", &["run"]).spawn().unwrap();
    let good = lab.jf(&["submit", "--wait", "--", "true"]);
    let bad = lab.jf(&["submit", "--wait", "--", "false"]);
    runner.kill().unwrap();
    runner.wait().unwrap();
    assert_eq!(good.status.code(), Some(0), "{}", talk(&good));
    assert_eq!(bad.status.code(), Some(3), "{}", talk(&bad));
}

/// How often the runner is killed before it may finish.
const KILLS: u32 = 20;

/// A run of 100 jobs whose runner is killed again and again: all end well, each started exactly once.
fn every_job_starts_once(test: &str, store: Store, site: Site) {
    let Some(lab) = Lab::new(test, store, site) else { return };
    // So few at once that twenty lives of a runner are not enough for all.
    lab.write_project(&lab.worker_text("    max_jobs: 3\n"));
    let starts = format!("{}/starts", lab.work_dir);
    let flow = lab.write("hundred.yaml", &hundred(&starts));
    lab.ok(&["submit", flow.to_str().unwrap()]);
    let mut random = StdRng::seed_from_u64(20);
    for kill in 0..KILLS {
        let mut runner = lab.start_runner();
        wait(Duration::from_millis(random.random_range(20..900)));
        assert!(
            runner.try_wait().unwrap().is_none(),
            "all was done before kill {kill}: the jobs are too quick"
        );
        runner.kill().unwrap();
        runner.wait().unwrap();
    }
    // Nobody has to unlock anything: the lease of the killed runner ends by itself.
    lab.run_until_idle();
    let states = lab.states();
    assert_eq!(states.len(), 101);
    assert!(states.iter().all(|(_, state)| state == "COMPLETED"), "{states:?}\n{}", lab.log());
    let started = lab.worker_file(&starts);
    let mut numbers: Vec<u32> = started.lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
    assert_eq!(lab.output("sum")["total"], json!(5050));
}

fn hundred(starts: &str) -> String {
    format!(
        "
flow: hundred
jobs:
  number:
    for: {{n: {{from: 1, to: 100}}}}
    shell: 'echo ${{n}} >> {starts}; sleep 0.4; echo ${{n}}'
    outputs: {{n: {{regex: '([0-9]+)', in: stdout, type: integer}}}}
  sum:
    shell: 'tr -d \"[] \" < numbers | tr , \"\\n\" | awk \"{{ s += \\$1 }} END {{ print s }}\"'
    files: {{numbers: {{json: '${{number.n}}'}}}}
    outputs: {{total: {{regex: '([0-9]+)', in: stdout, type: integer}}}}
"
    )
}

#[expect(clippy::disallowed_methods, reason = "the moment of the kill is a real time")]
fn wait(duration: Duration) {
    std::thread::sleep(duration);
}

#[test]
fn heavy_kills_of_the_runner_on_sqlite() {
    every_job_starts_once("heavy_kills_of_the_runner_on_sqlite", Store::Sqlite, Site::Here);
}

#[test]
fn heavy_kills_of_the_runner_on_standalone_mongodb() {
    every_job_starts_once("heavy_kills_of_the_runner_on_standalone_mongodb", Store::Standalone, Site::Here);
}

#[test]
fn heavy_kills_of_the_runner_over_ssh_with_slurm() {
    every_job_starts_once("heavy_kills_of_the_runner_over_ssh_with_slurm", Store::ReplicaSet, Site::SshSlurm);
}

#[test]
fn the_daemon_starts_tells_its_status_and_stops() {
    let lab = Lab::new("", Store::Sqlite, Site::Here).unwrap();
    let started = super::lab::finish(lab.command("runner", &["start"]));
    assert!(started.status.success(), "{}", talk(&started));
    let again = super::lab::finish(lab.command("runner", &["start"]));
    assert_eq!(again.status.code(), Some(1), "{}", talk(&again));
    lab.ok(&["submit", "--", "true"]);
    eventually("the job completes", Duration::from_secs(30), || {
        lab.states().iter().all(|(_, s)| s == "COMPLETED")
    });
    let status = lab.json(&["runner", "status"]);
    assert_eq!(status["running"], json!(true), "{status}");
    let stopped = super::lab::finish(lab.command("runner", &["stop"]));
    assert!(stopped.status.success(), "{}", talk(&stopped));
    let status = lab.json(&["runner", "status"]);
    assert_eq!(status["running"], json!(false), "{status}");
}

/// Jobs of the test that counts round trips: at two per job it would come to twice the number allowed.
const COUNTED_JOBS: u64 = 600;

#[test]
fn heavy_round_trips_to_a_host_are_fewer_than_its_jobs() {
    let Some(lab) =
        Lab::new("heavy_round_trips_to_a_host_are_fewer_than_its_jobs", Store::Sqlite, Site::SshShell)
    else {
        return;
    };
    let text = format!(
        "flow: many\njobs:\n  one: {{for: {{n: {{from: 1, to: {COUNTED_JOBS}}}}}, command: ['true']}}\n"
    );
    let flow = lab.write("many.yaml", &text);
    lab.ok(&["submit", flow.to_str().unwrap()]);
    let started = super::lab::finish(lab.command("runner", &["start"]));
    assert!(started.status.success(), "{}", talk(&started));
    let completed = || lab.json(&["job", "list", "--count", "-s", "COMPLETED"]).to_string();
    let all = COUNTED_JOBS.to_string();
    eventually("all jobs complete", Duration::from_secs(170), || completed().contains(&all));
    let status = lab.json(&["runner", "status"]);
    let round_trips = status["hosts"][0]["round_trips"].as_u64().unwrap();
    drop(super::lab::finish(lab.command("runner", &["stop"])));
    // Each job was uploaded, submitted, found to have ended, and fetched.
    assert!(round_trips < COUNTED_JOBS, "{round_trips} round trips for {COUNTED_JOBS} jobs");
}
