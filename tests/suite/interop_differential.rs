//! The same flows by the real jobflow-remote runner and by ours, on fresh databases, compared document by document.
//!
//! The flows are in tests/interop/flows.py; how they are compared is said in the scripts beside it.

use std::process::{Command, Stdio};

use crate::services::address;

/// Runs a script of tests/interop with the peer's Python; skips where that or a database is not to be had.
pub(crate) fn run_script(test: &str, script: &str, arguments: &[&str]) {
    let variables = ["JF_TEST_MONGODB_URI", "JF_TEST_MONGODB_REPLICA_SET_URI", "JF_TEST_PYTHON"];
    let Some(python) = address(test, "JF_TEST_PEER_PYTHON") else { return };
    if variables.iter().any(|variable| address(test, variable).is_none()) {
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
