//! We and the real jobflow-remote on one database: what its runner and ours leave there, and what its tools make of ours.
//!
//! Each test is a script in tests/interop, run with the peer's Python; what it compares is said in the script.

use std::process::{Command, Stdio};

use crate::services::address;

/// Runs a script; skips where the peer's Python or a service is not to be had.
pub(crate) fn run_script(test: &str, script: &str, arguments: &[&str]) {
    let Some(python) = address(test, "JF_TEST_PEER_PYTHON") else { return };
    let needed = ["JF_TEST_MONGODB_URI", "JF_TEST_MONGODB_REPLICA_SET_URI", "JF_TEST_PYTHON"];
    if needed.iter().any(|variable| address(test, variable).is_none()) {
        return;
    }
    let path = format!("{}/tests/interop/{script}", env!("CARGO_MANIFEST_DIR"));
    let status = Command::new(python)
        .arg(path)
        .args(arguments)
        .env("JF_TEST_JF", env!("CARGO_BIN_EXE_jf"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .status()
        .expect("JF_TEST_PEER_PYTHON can be started");
    assert!(status.success(), "{script} ended with {status}; what it found is above");
}

#[test]
fn heavy_changes_planted_into_a_database_are_found() {
    run_script("heavy_changes_planted_into_a_database_are_found", "differential.py", &["--planted"]);
}

#[test]
fn heavy_each_side_sees_the_runner_of_the_other() {
    run_script("heavy_each_side_sees_the_runner_of_the_other", "python_view.py", &["runner"]);
}

#[test]
fn heavy_commands_survive_random_actions_of_the_python_controller() {
    let test = "heavy_commands_survive_random_actions_of_the_python_controller";
    run_script(test, "mixed_actions.py", &["--commands"]);
    run_script(test, "mixed_actions.py", &["--commands", "--replica-set"]);
}

#[test]
fn heavy_processes_end_when_the_python_controller_takes_their_jobs_away() {
    let test = "heavy_processes_end_when_the_python_controller_takes_their_jobs_away";
    run_script(test, "taken_away.py", &[]);
    run_script(test, "taken_away.py", &["--replica-set"]);
}

#[test]
fn heavy_our_runner_ends_flows_as_theirs_does() {
    run_script("heavy_our_runner_ends_flows_as_theirs_does", "differential.py", &[]);
}

#[test]
fn heavy_python_jobs_survive_random_actions_of_the_python_controller() {
    let test = "heavy_python_jobs_survive_random_actions_of_the_python_controller";
    run_script(test, "mixed_actions.py", &[]);
    run_script(test, "mixed_actions.py", &["--replica-set"]);
}

#[test]
fn heavy_python_tools_read_what_our_runner_wrote() {
    run_script("heavy_python_tools_read_what_our_runner_wrote", "python_view.py", &["results"]);
}

#[test]
fn heavy_one_runner_goes_on_where_the_other_was_stopped() {
    run_script("heavy_one_runner_goes_on_where_the_other_was_stopped", "python_view.py", &["turns"]);
}

#[test]
fn heavy_a_thousand_additions_take_time_in_proportion() {
    run_script("heavy_a_thousand_additions_take_time_in_proportion", "growth.py", &[]);
}
