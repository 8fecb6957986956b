//! The simulated cluster: disks, a scheduler with its queue, links that fail, all drawn from one seed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jobferry::model::ids::Token;
use jobferry::worker::layout;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

/// How often faults are drawn, in per cent of the calls; all zero once the world is calm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faults {
    pub(super) link_percent: u32,
    pub(super) store_percent: u32,
    pub(super) scheduler_percent: u32,
}

impl Faults {
    pub(super) const NONE: Self = Self { link_percent: 0, store_percent: 0, scheduler_percent: 0 };
}

pub(super) struct World {
    inner: Mutex<Inner>,
}

pub(super) struct Inner {
    begin: Instant,
    pub(super) random: StdRng,
    pub(super) faults: Faults,
    /// Contents of files by host and absolute path.
    pub(super) disks: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    pub(super) queue: Vec<Process>,
    next_id: u32,
    /// Bodies started, by token.
    pub(super) starts: BTreeMap<Token, u32>,
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
    pub(super) starts_at: Instant,
    pub(super) ends_at: Instant,
    /// The end marker is seen by others this much later: shared file systems lag.
    pub(super) lag: Duration,
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

impl World {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let mut random = StdRng::seed_from_u64(seed);
        let faults = Faults {
            link_percent: random.random_range(0..20),
            store_percent: random.random_range(0..10),
            scheduler_percent: random.random_range(0..30),
        };
        let inner = Inner {
            begin: Instant::now(),
            random,
            faults,
            disks: BTreeMap::new(),
            queue: Vec::new(),
            next_id: 1,
            starts: BTreeMap::new(),
            log: Vec::new(),
        };
        Arc::new(Self { inner: Mutex::new(inner) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(super) fn note(&self, text: String) {
        let mut inner = self.lock();
        let since = inner.begin.elapsed();
        inner.log.push(format!("{since:?} {text}"));
    }

    /// Returns a time between zero and `most`, short ones more often.
    pub(super) fn pause(&self, most: Duration) -> Duration {
        let part: f64 = self.lock().random.random_range(0.0..1.0);
        most.mul_f64(part * part * part)
    }

    pub(super) fn chance(&self, percent: u32) -> bool {
        self.lock().random.random_range(0..100) < percent
    }
}

impl Inner {
    pub(super) fn disk(&mut self, host: &str) -> &mut BTreeMap<String, Vec<u8>> {
        self.disks.entry(host.to_owned()).or_default()
    }

    /// Takes a submission: a new job in the queue.
    pub(super) fn submit(&mut self, host: &str, token: &Token, run_dir: &str) -> String {
        let id = self.next_id.to_string();
        self.next_id += 1;
        let now = Instant::now();
        let starts_at = now + Duration::from_millis(self.random.random_range(0..3_000));
        let ends_at = starts_at + Duration::from_millis(self.random.random_range(1..60_000));
        // Only a file system shared over a network lags.
        let most_lag = if host == "here" { 1 } else { 45_000 };
        let lag = Duration::from_millis(self.random.random_range(0..most_lag));
        let (host, run_dir, token) = (host.to_owned(), run_dir.to_owned(), token.clone());
        self.queue.push(Process {
            host,
            id: id.clone(),
            token,
            run_dir,
            starts_at,
            ends_at,
            lag,
            stage: Stage::Pending,
        });
        id
    }

    /// Lets happen what is due: starts, ends, markers that become visible.
    pub(super) fn advance(&mut self) {
        let now = Instant::now();
        let mut queue = std::mem::take(&mut self.queue);
        for process in &mut queue {
            if process.stage == Stage::Pending && process.starts_at <= now {
                self.start(process);
            }
            if process.stage == Stage::Running && process.ends_at <= now {
                process.stage = Stage::Ending;
            }
            if process.stage == Stage::Ending && process.ends_at + process.lag <= now {
                self.end(process);
            }
        }
        self.queue = queue;
    }

    fn start(&mut self, process: &mut Process) {
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
        *self.starts.entry(process.token.clone()).or_insert(0) += 1;
    }

    fn end(&mut self, process: &mut Process) {
        process.stage = Stage::Gone;
        let (host, run_dir, token) = (process.host.clone(), process.run_dir.clone(), process.token.clone());
        let disk = self.disk(&host);
        let Some(input) = disk.get(&format!("{run_dir}/{}", layout::INPUT)) else { return };
        let sum = super::program::sum(input);
        disk.insert(format!("{run_dir}/out.json"), format!("{{\"sum\":{sum}}}").into_bytes());
        for empty in [layout::STDOUT, layout::STDERR, layout::QUEUE_OUT, layout::QUEUE_ERR] {
            disk.insert(format!("{run_dir}/{empty}"), Vec::new());
        }
        let marker = super::program::end_marker(&token);
        disk.insert(format!("{run_dir}/{}", layout::END), marker.into_bytes());
        let work_dir = super::WORK_DIR;
        disk.insert(format!("{}/{token}", layout::spool(work_dir)), Vec::new());
    }
}
