//! Bad days, through the real binaries: dead stores and hosts, full disks, missing rights, killed processes.
//!
//! Each case looks at what the user is told (the words, the exit code), and that nothing is left half-done.

mod attempts;
mod disk;
mod host;
mod runner;
mod store;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use regex::Regex;
use serde_json::Value;

use super::lab::{Lab, eventually};

/// More than any step of a runner takes on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Returns how a command ended and what it told the user, with all that is different each time taken out.
fn told(lab: &Lab, output: &Output) -> String {
    let code = output.status.code().map_or_else(|| "killed".to_owned(), |code| code.to_string());
    format!("exit: {code}\n{}", redact(lab, &String::from_utf8_lossy(&output.stderr)))
}

fn redact(lab: &Lab, text: &str) -> String {
    let text = text.replace(&lab.path("").display().to_string(), "[LAB]/");
    let rules = [
        (r"127\.0\.0\.1:\d+", "127.0.0.1:[PORT]"),
        (r"127\.0\.0\.1 port \d+", "127.0.0.1 port [PORT]"),
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[UUID]"),
        (r"/[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{2}/", "/[DIR]/"),
        (r"\.jobferry-put-[0-9a-f]{16}", ".jobferry-put-[HASH]"),
        (r"started on \S+", "started on [HOST]"),
        (r"after \d+ s", "after [N] s"),
    ];
    rules
        .iter()
        .fold(text, |text, (pattern, put)| Regex::new(pattern).unwrap().replace_all(&text, *put).into_owned())
}

/// Returns the lines of the runner's log of this level and worse, without times and fields.
fn logged(lab: &Lab, level: &str) -> Vec<String> {
    let log = lab.log();
    let lines = log.lines().filter(|line| line.contains(&format!(" {level} ")));
    lines.map(|line| redact(lab, line.split_once(level).unwrap().1.trim())).collect()
}

/// Returns every path below the folder, sorted, relative to it.
fn paths_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            }
            found.push(entry.path().strip_prefix(folder).unwrap().display().to_string());
        }
    }
    found.sort();
    found
}

/// Returns a port on which nobody listens.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A process of the test, killed at its end.
struct Process(Child);

impl Process {
    /// Starts it with its talk thrown away.
    fn start(mut command: Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    fn kill(&mut self) {
        drop(self.0.kill());
        self.0.wait().unwrap();
    }

    fn ends_within(&mut self, limit: Duration) -> Option<i32> {
        eventually("the process ends", limit, || self.0.try_wait().unwrap().is_some());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the project's jobs.
fn jobs(lab: &Lab) -> Vec<Value> {
    listed(&lab.json(&["job", "list", "-m", "0"]))
}

/// Returns the entries of a listing.
fn listed(listing: &Value) -> Vec<Value> {
    listing.as_array().unwrap_or_else(|| panic!("no list: {listing}")).clone()
}

/// Returns whether all jobs are in the state.
fn all(lab: &Lab, state: &str) -> bool {
    lab.states().iter().all(|(_, is)| is == state)
}

/// Returns the health of a host, as the runner of this machine tells it.
fn health(lab: &Lab, host: &str) -> Option<Value> {
    let status = lab.json(&["runner", "status"]);
    let hosts = status["hosts"].as_array()?.clone();
    hosts.into_iter().find(|one| one["host"] == host)
}

/// Returns the trouble of a host once the runner tells of it.
fn trouble(lab: &Lab, host: &str) -> Value {
    let mut found = Value::Null;
    eventually("the host's trouble is told", LIMIT, || {
        found = health(lab, host).map_or(Value::Null, |health| health["trouble"].clone());
        !found.is_null()
    });
    found
}

/// Says on one line that the test is left out, or fails where nothing may be.
fn skipped(test: &str, why: &str) {
    assert_ne!(std::env::var("JF_TEST_NO_SKIP").as_deref(), Ok("1"), "{why}");
    eprintln!("SKIPPED {test}: {why}");
}

/// Returns whether this is root, after saying so where it is not.
fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped(test, "only root can do this");
    }
    root
}

/// Returns a program on the PATH.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
