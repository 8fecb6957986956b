//! What the other tests take for granted about the services they run against.

use std::net::TcpStream;

use crate::services::{address, on_cluster};

/// The variables that name our two databases.
const DATABASES: [&str; 2] = ["JF_TEST_MONGODB_URI", "JF_TEST_MONGODB_REPLICA_SET_URI"];

/// Returns host and port of an address such as `mongodb://127.0.0.1:27017/?replicaSet=rs0`.
fn host_and_port(uri: &str) -> (&str, &str) {
    let rest = uri.trim_start_matches("mongodb://");
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    host.split_once(':').unwrap_or((host, "27017"))
}

/// A line for bash that says `open` when somebody listens there, else why it could not connect.
fn knock(uri: &str) -> String {
    let (host, port) = host_and_port(uri);
    format!("bash -c '(exec 3<>/dev/tcp/{host}/{port}) && echo open' 2>&1")
}

#[test]
fn the_worker_account_has_no_route_to_the_database() {
    let test = "the_worker_account_has_no_route_to_the_database";
    let Some(_) = address(test, "JF_TEST_BARRIER") else { return };
    let Some(cluster) = address(test, "JF_TEST_SSH_CONFIG") else { return };
    for variable in DATABASES {
        let Some(uri) = address(test, variable) else { return };
        let (host, port) = host_and_port(&uri);
        TcpStream::connect(format!("{host}:{port}")).expect("the runner's side reaches the database");
        let answer = on_cluster(&cluster, &knock(&uri));
        let said = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert!(said.contains("Connection refused") && !said.contains("open"), "{variable}: {said}");
    }
}

#[test]
fn a_slurm_job_has_no_route_to_the_database() {
    let test = "a_slurm_job_has_no_route_to_the_database";
    let Some(_) = address(test, "JF_TEST_BARRIER") else { return };
    let Some(_) = address(test, "JF_TEST_SLURM") else { return };
    let Some(cluster) = address(test, "JF_TEST_SSH_CONFIG") else { return };
    let Some(uri) = address(test, "JF_TEST_MONGODB_URI") else { return };
    let job = format!(
        "printf '%s\\n' '#!/bin/bash' {:?} | sbatch --wait --output=barrier.%j --parsable",
        format!("{}; true", knock(&uri))
    );
    let answer = on_cluster(&cluster, &format!("cd \"$(mktemp -d)\" && {job} && cat barrier.*"));
    let said = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(
        said.contains("Connection refused") && !said.contains("open"),
        "{said}{}",
        String::from_utf8_lossy(&answer.stderr)
    );
}
