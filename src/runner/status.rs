//! What a running runner tells about itself: a small file in the daemon directory, replaced every few seconds.
//!
//! The lease and the numbers of jobs are in the store, where every machine can read them; what only the process
//! knows (its hosts' health, its counters) is here.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::act::Act;
use super::breaker::Breaker;

/// The file's name in the daemon directory.
pub const STATUS_FILE: &str = "status.json";

/// What the process knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub version: String,
    pub pid: u32,
    /// The lease's owner, to be compared with the store's.
    pub owner: String,
    /// Milliseconds since 1970, UTC.
    pub written_at_ms: i64,
    pub hosts: Vec<HostReport>,
}

/// One host's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    pub host: String,
    pub workers: Vec<String>,
    /// Milliseconds since 1970, UTC; none before the first answer.
    pub last_answer_ms: Option<i64>,
    pub trouble: Option<TroubleReport>,
    /// Round trips so far.
    pub round_trips: u64,
}

/// Why a host is paused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TroubleReport {
    pub since_ms: i64,
    pub next_try_ms: i64,
    pub faults: u32,
    pub why: String,
    pub hint: Option<String>,
}

/// Returns the report of the runner as it is now.
pub fn report(act: &Act, owner: &str) -> Report {
    let healths = act.healths();
    let now = (Instant::now(), act.now().timestamp_millis());
    let hosts = act.plan.hosts.iter().map(|host| {
        let name = host.transport.host().to_owned();
        let breaker = healths.get(&name).cloned().unwrap_or_default();
        let (workers, round_trips) = (host.worker_names(), host.transport.round_trips());
        let last_answer_ms = breaker.last_answer().map(|at| in_milliseconds(at, now));
        HostReport { host: name, workers, last_answer_ms, trouble: trouble(&breaker, now), round_trips }
    });
    Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        owner: owner.to_owned(),
        written_at_ms: now.1,
        hosts: hosts.collect(),
    }
}

fn trouble(breaker: &Breaker, now: (Instant, i64)) -> Option<TroubleReport> {
    breaker.trouble().map(|trouble| TroubleReport {
        since_ms: in_milliseconds(trouble.since, now),
        next_try_ms: in_milliseconds(trouble.until, now),
        faults: trouble.faults,
        why: trouble.why.clone(),
        hint: trouble.hint.clone(),
    })
}

/// Returns the time of day of a moment, given one moment of which both are known.
fn in_milliseconds(at: Instant, (now, now_ms): (Instant, i64)) -> i64 {
    let millis = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let past = millis(now.saturating_duration_since(at));
    let future = millis(at.saturating_duration_since(now));
    now_ms.saturating_sub(past).saturating_add(future)
}

/// Replaces the status file. A reader sees the old one or the new one, never a part.
pub fn write(daemon_dir: &Path, report: &Report) -> std::io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(daemon_dir)?;
    serde_json::to_writer_pretty(&mut file, report)?;
    file.write_all(b"\n")?;
    file.persist(path(daemon_dir)).map(drop).map_err(|error| error.error)
}

/// Returns the last report in the daemon directory; none when there is none that can be read.
pub fn read(daemon_dir: &Path) -> Option<Report> {
    serde_json::from_slice(&std::fs::read(path(daemon_dir)).ok()?).ok()
}

/// Removes the report, so that nobody takes it for a living runner's.
pub fn remove(daemon_dir: &Path) -> std::io::Result<()> {
    std::fs::remove_file(path(daemon_dir))
}

fn path(daemon_dir: &Path) -> PathBuf {
    daemon_dir.join(STATUS_FILE)
}
