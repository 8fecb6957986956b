//! The simulated clusters: disks, schedulers with their queues, faults, all drawn from one seed; and what they have
//! seen that must never be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jobferry::model::ids::{JobKey, Token};
use jobferry::worker::layout;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::story::WORK_DIR;

/// The limit of jobs in the queue away.
pub(super) const MOST_QUEUED_AWAY: u32 = 3;

/// How often an attempt of one job may end badly: as often as the jobs may be tried again.
pub(super) const MOST_FAILURES: u32 = 3;

/// A job that the user has stopped while it was being submitted is out of the queue after this time.
const CANCEL_LIMIT: Duration = Duration::from_secs(15);

/// How often faults are drawn, in per cent of the calls; all zero once the world is calm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faults {
    pub(super) link_percent: u32,
    pub(super) store_percent: u32,
    pub(super) scheduler_percent: u32,
    /// Attempts that end badly.
    pub(super) attempt_percent: u32,
    /// Jobs that are locked by somebody else.
    pub(super) lock_percent: u32,
    /// Of a thousand calls to the store, how many hang.
    pub(super) hang_permille: u32,
}

impl Faults {
    pub(super) const NONE: Self = Self {
        link_percent: 0,
        store_percent: 0,
        scheduler_percent: 0,
        attempt_percent: 0,
        lock_percent: 0,
        hang_permille: 0,
    };
}

pub(super) struct World {
    inner: Mutex<Inner>,
    /// The runners have made their last call.
    pub(super) killed: Notify,
}

pub(super) struct Inner {
    begin: Instant,
    pub(super) random: StdRng,
    pub(super) faults: Faults,
    /// Whether there are no more faults.
    pub(super) calm: bool,
    /// Whether the time of day jumps in this story; then leases are not what they seem.
    pub(super) jumps: bool,
    /// Calls until the runners are killed.
    pub(super) calls_left: Option<u32>,
    /// How many jobs the user will stop.
    pub(super) stops_left: u32,
    /// Attempts that the user wants to stop now.
    pub(super) wishes: Vec<Token>,
    /// Attempts that the user has stopped.
    pub(super) stopped: BTreeMap<Token, Instant>,
    /// Jobs that somebody else has locked, and until when.
    pub(super) locked: BTreeMap<JobKey, Instant>,
    /// Contents of files by host and absolute path.
    pub(super) disks: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    pub(super) queue: Vec<Process>,
    next_id: u32,
    /// Jobs submitted, by token.
    submissions: BTreeMap<Token, u32>,
    /// Bodies started, by token.
    pub(super) starts: BTreeMap<Token, u32>,
    /// Attempts that were drawn to end badly, and those that did.
    doomed: BTreeMap<JobKey, u32>,
    pub(super) failures: BTreeMap<JobKey, i32>,
    /// Jobs that the user has run again, because their directory was deleted before their submission was known.
    pub(super) reruns: BTreeMap<JobKey, i32>,
    /// What must never be.
    wrongs: Vec<String>,
    /// What happened, for the replay of a failing seed.
    pub(super) log: Vec<String>,
}

/// A job in the simulated scheduler.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) host: String,
    pub(super) id: String,
    pub(super) token: Token,
    pub(super) run_dir: String,
    /// The scheduler shows it from this time on.
    pub(super) visible_at: Instant,
    starts_at: Instant,
    ends_at: Instant,
    /// The end marker is seen by others this much later: shared file systems lag.
    lag: Duration,
    fate: Fate,
    pub(super) stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Pending,
    Running,
    /// The body is done, the marker not seen yet.
    Ending,
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Well,
    /// Exit code 1.
    Fails,
    /// Its machine dies: no end marker.
    Dies,
    /// Its run directory is deleted.
    Vanishes,
}

impl World {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let mut random = StdRng::seed_from_u64(seed);
        let faults = Faults {
            link_percent: random.random_range(0..20),
            store_percent: random.random_range(0..10),
            scheduler_percent: random.random_range(0..30),
            attempt_percent: random.random_range(0..30),
            lock_percent: random.random_range(0..10),
            hang_permille: random.random_range(0..10),
        };
        let inner = Inner {
            begin: Instant::now(),
            faults,
            jumps: random.random_range(0..100) < 15,
            stops_left: random.random_range(0..=2),
            random,
            calls_left: None,
            wishes: Vec::new(),
            calm: false,
            stopped: BTreeMap::new(),
            locked: BTreeMap::new(),
            disks: BTreeMap::new(),
            queue: Vec::new(),
            next_id: 1,
            submissions: BTreeMap::new(),
            starts: BTreeMap::new(),
            doomed: BTreeMap::new(),
            failures: BTreeMap::new(),
            reruns: BTreeMap::new(),
            wrongs: Vec::new(),
            log: Vec::new(),
        };
        Arc::new(Self { inner: Mutex::new(inner), killed: Notify::new() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(super) fn note(&self, text: impl FnOnce() -> String) {
        self.lock().note(&text());
    }

    /// Returns a time between zero and `most`, short ones more often.
    pub(super) fn pause(&self, most: Duration) -> Duration {
        self.lock().pause(most)
    }

    pub(super) fn chance(&self, percent: u32) -> bool {
        self.lock().chance(percent)
    }

    /// Returns the first thing seen that must never be.
    pub(super) fn verdict(&self) -> Result<(), String> {
        self.lock().wrongs.first().map_or(Ok(()), |wrong| Err(wrong.clone()))
    }

    /// A place where a runner may be killed: then this never returns.
    pub(super) async fn may_die(&self) {
        let left = {
            let mut inner = self.lock();
            if let Some(left) = inner.calls_left.as_mut() {
                *left = left.saturating_sub(1);
            }
            inner.calls_left
        };
        if left == Some(0) {
            self.note(|| "killed".to_owned());
            self.killed.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

impl Inner {
    pub(super) fn note(&mut self, text: &str) {
        let since = self.begin.elapsed();
        self.log.push(format!("{since:?} {text}"));
    }

    pub(super) fn wrong(&mut self, text: String) {
        self.note(&text);
        self.wrongs.push(text);
    }

    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn pause(&mut self, most: Duration) -> Duration {
        let part: f64 = self.random.random_range(0.0..1.0);
        most.mul_f64(part * part * part)
    }

    pub(super) fn disk(&mut self, host: &str) -> &mut BTreeMap<String, Vec<u8>> {
        self.disks.entry(host.to_owned()).or_default()
    }

    /// Returns the ids of the jobs that are pending or running.
    pub(super) fn alive(&self) -> Vec<String> {
        self.queue.iter().filter(|process| process.is_alive()).map(|process| process.id.clone()).collect()
    }

    /// Takes a submission: a new job in the queue.
    pub(super) fn submit(&mut self, host: &str, token: &Token, run_dir: &str) -> String {
        let id = self.next_id.to_string();
        self.next_id += 1;
        let away = host != "here";
        let late = if self.chance(self.faults.scheduler_percent / 2) { 1 } else { 0 };
        let visible_at =
            Instant::now() + self.pause(Duration::from_millis(if away { 15_000 } else { 1_500 }) * late);
        let starts_at = Instant::now() + self.pause(Duration::from_secs(100));
        let ends_at = starts_at + self.pause(Duration::from_secs(200));
        // Only a file system shared over a network lags.
        let lag = self.pause(Duration::from_secs(if away { 45 } else { 0 }));
        self.note(&format!("{token} is {id} in the queue {host}"));
        let (host, run_dir, token) = (host.to_owned(), run_dir.to_owned(), token.clone());
        let submissions = self.submissions.entry(token.clone()).or_insert(0);
        *submissions += 1;
        if *submissions > 1 {
            self.wrong(format!("{token} was submitted twice"));
        }
        if self.calm && self.stops_left > 0 && self.chance(30) {
            self.stops_left -= 1;
            self.wishes.push(token.clone());
        }
        let (fate, stage) = (Fate::Well, Stage::Pending);
        let process = Process {
            host,
            id: id.clone(),
            token,
            run_dir,
            visible_at,
            starts_at,
            ends_at,
            lag,
            fate,
            stage,
        };
        self.queue.push(process);
        let queued = self.queue.iter().filter(|process| process.host == "away" && process.is_alive()).count();
        if queued > MOST_QUEUED_AWAY as usize {
            self.wrong(format!("{queued} jobs are in the queue away"));
        }
        id
    }

    /// Lets happen what is due: starts, ends, markers that become visible.
    pub(super) fn advance(&mut self) {
        let now = Instant::now();
        let mut queue = std::mem::take(&mut self.queue);
        for at in 0..queue.len() {
            let mut process = queue[at].clone();
            if process.stage == Stage::Gone {
                continue;
            }
            if process.stage == Stage::Pending && process.starts_at <= now {
                let others = queue.iter().any(|other| {
                    other.id != process.id && other.stage == Stage::Running && other.key() == process.key()
                });
                self.start(&mut process, others);
            }
            if process.stage == Stage::Running && process.ends_at <= now {
                process.stage = Stage::Ending;
            }
            if process.stage == Stage::Ending && process.ends_at + process.lag <= now {
                self.end(&mut process);
            }
            queue[at] = process;
        }
        self.queue = queue;
    }

    fn start(&mut self, process: &mut Process, others: bool) {
        let lock = format!("{}/{}", process.run_dir, layout::START);
        let input = format!("{}/{}", process.run_dir, layout::INPUT);
        let disk = self.disk(&process.host);
        if disk.contains_key(&lock) || !disk.contains_key(&input) {
            // A second copy, or its directory is gone: it ends at once and touches nothing.
            process.stage = Stage::Gone;
            return;
        }
        disk.insert(lock, super::program::start_record(&process.token, &process.id).into_bytes());
        process.stage = Stage::Running;
        process.fate = self.fate(&process.key());
        self.note(&format!("{} starts, its fate: {:?}", process.token, process.fate));
        let starts = self.starts.entry(process.token.clone()).or_insert(0);
        *starts += 1;
        if *starts > 1 {
            self.wrong(format!("{} was started twice", process.token));
        }
        if others {
            self.wrong(format!("{} started beside another attempt", process.token));
        }
    }

    fn fate(&mut self, key: &JobKey) -> Fate {
        let doomed = self.doomed.get(key).copied().unwrap_or(0);
        if doomed >= MOST_FAILURES || !self.chance(self.faults.attempt_percent) {
            return Fate::Well;
        }
        self.doomed.insert(key.clone(), doomed + 1);
        match self.random.random_range(0..4) {
            0 => Fate::Dies,
            1 => Fate::Vanishes,
            _ => Fate::Fails,
        }
    }

    fn end(&mut self, process: &mut Process) {
        process.stage = Stage::Gone;
        self.note(&format!("{} ends", process.token));
        if self.stopped.get(&process.token).is_some_and(|at| process.ends_at > *at + CANCEL_LIMIT) {
            self.wrong(format!("{} was stopped and went on", process.token));
        }
        if process.fate != Fate::Well {
            *self.failures.entry(process.key()).or_insert(0) += 1;
        }
        let start = format!("{}/", process.run_dir);
        let disk = self.disk(&process.host);
        match process.fate {
            Fate::Dies => {}
            Fate::Vanishes => disk.retain(|path, _| !path.starts_with(&start)),
            Fate::Well => leave_results(disk, process, 0),
            Fate::Fails => leave_results(disk, process, 1),
        }
    }
}

fn leave_results(disk: &mut BTreeMap<String, Vec<u8>>, process: &Process, exit_code: i32) {
    let (run_dir, token) = (&process.run_dir, &process.token);
    let Some(input) = disk.get(&format!("{run_dir}/{}", layout::INPUT)) else { return };
    if exit_code == 0 {
        let sum = super::program::sum(input);
        disk.insert(format!("{run_dir}/out.json"), format!("{{\"sum\":{sum}}}").into_bytes());
    }
    for empty in [layout::STDOUT, layout::STDERR, layout::QUEUE_OUT, layout::QUEUE_ERR] {
        disk.insert(format!("{run_dir}/{empty}"), Vec::new());
    }
    let marker = super::program::end_marker(token, exit_code);
    disk.insert(format!("{run_dir}/{}", layout::END), marker.into_bytes());
    disk.insert(layout::spool_entry(WORK_DIR, token), Vec::new());
}

impl Process {
    fn key(&self) -> JobKey {
        self.token.parts().unwrap().0
    }

    fn is_alive(&self) -> bool {
        matches!(self.stage, Stage::Pending | Stage::Running)
    }
}
