//! A host that refuses, is unknown, or has a key that nobody knows; and what the others do meanwhile.

use std::process::Command;
use std::time::Duration;

use insta::assert_snapshot;
use serde_json::Value;

use super::{LIMIT, Process, all, free_port, is_root, jobs, program, redact, skipped, trouble};
use crate::lab::{Lab, Site, Store, eventually};
use crate::services::address;

/// Writes a project with a worker here and one on `far`, whose OpenSSH configuration is this.
fn two_workers(lab: &Lab, far: &str, configuration: &str, work_dir: &str) {
    let file = lab.write(
        "ssh_config",
        &format!("{configuration}\nHost *\n  BatchMode yes\n  StrictHostKeyChecking yes\n"),
    );
    let text = format!(
        "workers:\n  here: {{type: local, scheduler_type: shell, work_dir: {}}}\n  \
         away:\n    type: remote\n    host: {far}\n    scheduler_type: shell\n    work_dir: {work_dir}\n    \
         jobferry: {{ssh_config_file: {}}}\n",
        lab.path("work").display(),
        file.display(),
    );
    lab.write_project(&text);
}

/// Returns what `jf project check` finds bad about the hosts.
fn bad_hops(lab: &Lab) -> String {
    let checked = lab.jf(&["project", "check", "--json"]);
    assert_eq!(checked.status.code(), Some(4), "{}", String::from_utf8_lossy(&checked.stdout));
    let report: Value = serde_json::from_slice(&checked.stdout).unwrap();
    let bad = report["hops"].as_array().unwrap().iter().filter(|hop| hop["ok"] == false);
    let text = |hop: &Value, key: &str| hop[key].as_str().unwrap_or_default().to_owned();
    let lines = bad.map(|hop| {
        format!(
            "{} {}: {}\n{}\n",
            text(hop, "what"),
            text(hop, "place"),
            text(hop, "detail"),
            text(hop, "advice")
        )
    });
    redact(lab, &lines.collect::<String>())
}

#[test]
fn check_says_which_hop_and_what_to_do() {
    let lab = Lab::new("", Store::Sqlite, Site::Here).unwrap();
    let refusing = format!("Host refusing\n  HostName 127.0.0.1\n  Port {}", free_port());
    two_workers(&lab, "refusing", &refusing, "/tmp/nowhere");
    assert_snapshot!(bad_hops(&lab), @r"
    host refusing: cannot connect to refusing: nothing listens on that port (ssh: connect to host 127.0.0.1 port [PORT]: Connection refused)
    check host and port, and that the host is up: `ssh -F [LAB]/ssh_config -- refusing`
    ");
    two_workers(&lab, "nowhere.invalid", "", "/tmp/nowhere");
    let said = bad_hops(&lab);
    // The words of the resolver depend on the network of this machine.
    let said = regex::Regex::new(r"(Could not resolve hostname nowhere.invalid): .*\)")
        .unwrap()
        .replace(&said, "$1)");
    assert_snapshot!(said, @r"
    host nowhere.invalid: cannot connect to nowhere.invalid: the host name is not known (ssh: Could not resolve hostname nowhere.invalid)
    check the name, and the network of this machine: `ssh -F [LAB]/ssh_config -- nowhere.invalid`
    ");
}

#[test]
fn check_says_that_the_key_of_the_host_is_not_known() {
    let test = "check_says_that_the_key_of_the_host_is_not_known";
    let Some(port) = address(test, "JF_TEST_SSH_PORT") else { return };
    let lab = Lab::new(test, Store::Sqlite, Site::Here).unwrap();
    let unknown = format!(
        "Host stranger\n  HostName 127.0.0.1\n  Port {port}\n  UserKnownHostsFile /dev/null\n  GlobalKnownHostsFile /dev/null"
    );
    two_workers(&lab, "stranger", &unknown, "/tmp/nowhere");
    assert_snapshot!(bad_hops(&lab), @r"
    host stranger: cannot connect to stranger: the host's key is not known (Host key verification failed.)
    connect once by hand and compare the fingerprint with the one its administrators publish: `ssh -F [LAB]/ssh_config -- stranger`
    ");
}

/// An SSH server like the test bed's, on a port of its own.
fn sshd(lab: &Lab, bed: &std::path::Path, port: u16) -> Process {
    let configuration = std::fs::read_to_string(bed.join("sshd_config")).unwrap();
    let lines = configuration
        .lines()
        .map(|line| if line.starts_with("Port ") { format!("Port {port}\n") } else { format!("{line}\n") });
    let file = lab.write("sshd_config", &lines.collect::<String>());
    let mut command = Command::new(program("sshd").unwrap_or_else(|| "/usr/sbin/sshd".into()));
    command.args(["-D", "-e", "-f"]).arg(file);
    let process = Process::start(command);
    eventually("sshd listens", LIMIT, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    process
}

#[test]
fn a_dead_host_holds_up_nobody_else_and_goes_on_when_it_comes() {
    let test = "a_dead_host_holds_up_nobody_else_and_goes_on_when_it_comes";
    let Some(bed) = address(test, "JF_TEST_SSH_CONFIG") else { return };
    if !is_root(test) {
        return;
    }
    let bed = std::path::Path::new(&bed).parent().unwrap().to_owned();
    if !bed.join("sshd_config").is_file() {
        return skipped(test, "the SSH server is not one of tests/services");
    }
    let (Some(work), Some(key), Some(user)) = (
        address(test, "JF_TEST_SSH_WORK_DIR"),
        address(test, "JF_TEST_SSH_KEY"),
        address(test, "JF_TEST_SSH_USER"),
    ) else {
        return;
    };
    let lab = Lab::new(test, Store::Sqlite, Site::Here).unwrap();
    let port = free_port();
    let host_key = std::fs::read_to_string(bed.join("host_key.pub")).unwrap();
    let known = lab.write("known_hosts", &format!("[127.0.0.1]:{port} {host_key}"));
    let configuration = format!(
        "Host far\n  HostName 127.0.0.1\n  Port {port}\n  User {user}\n  IdentityFile {key}\n  IdentitiesOnly yes\n  \
         UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null",
        known.display()
    );
    let work_dir = format!("{work}/{}", uuid::Uuid::new_v4().simple());
    two_workers(&lab, "far", &configuration, &work_dir);
    let flow = "flow: two\njobs:\n  near: {for: {n: [1, 2, 3]}, worker: here, shell: 'echo ${n}'}\n  \
                distant: {for: {n: [1, 2, 3]}, worker: away, shell: 'echo ${n}', retries: 2}\n";
    lab.ok(&["submit", lab.write("two.yaml", flow).to_str().unwrap()]);
    let mut runner = Process::start(lab.command("runner", &["run", "--until-idle", "--max-seconds", "120"]));
    eventually("the jobs here complete", LIMIT, || near(&lab).iter().all(|state| state == "COMPLETED"));
    let trouble = trouble(&lab, "far");
    assert!(trouble["since_ms"].as_i64().unwrap() > 0, "{trouble}");
    assert_snapshot!(redact(&lab, trouble["why"].as_str().unwrap()), @"cannot connect to far: nothing listens on that port (ssh: connect to host 127.0.0.1 port [PORT]: Connection refused)");
    assert_snapshot!(redact(&lab, trouble["hint"].as_str().unwrap()), @"check host and port, and that the host is up: `ssh -F [LAB]/ssh_config -- far`");
    for job in jobs(&lab).iter().filter(|job| job["worker"] == "away") {
        assert!(job["state"] == "READY" || job["state"] == "CHECKED_OUT", "{job}");
        let info = lab.json(&["job", "info", job["db_id"].as_str().unwrap()]);
        assert!(info["retries_used"].as_i64().unwrap_or(0) == 0 && info["remote_error"].is_null(), "{info}");
    }
    let server = sshd(&lab, &bed, port);
    assert_eq!(runner.ends_within(Duration::from_secs(120)), Some(0), "{}", lab.log());
    assert!(all(&lab, "COMPLETED"), "{:?}", lab.states());
    let tree = Command::new("rm").arg("-rf").arg(&work_dir).status();
    assert!(tree.unwrap().success());
    drop(server);
}

fn near(lab: &Lab) -> Vec<String> {
    let jobs = jobs(lab);
    let here = jobs.iter().filter(|job| job["worker"] == "here");
    here.map(|job| job["state"].as_str().unwrap().to_owned()).collect()
}
