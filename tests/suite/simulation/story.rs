//! One seed's story: runners live and die in a faulty world, then one runs in a calm world until all is done.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jobferry::model::Timestamp;
use jobferry::model::clock::Clock;
use jobferry::model::state::{Event, State};
use jobferry::runner::act::Act;
use jobferry::runner::lease::{Keeper, Standing};
use jobferry::runner::plan::{Downloads, HostPlan, Options, Place, Plan, Worker};
use jobferry::runner::supervisor::{self, Ended, Until};
use jobferry::store::sqlite::{Dispatch, SqliteSettings, SqliteStore};
use jobferry::store::{Applied, Change, Holder, Move, Stores};
use jobferry::transport::Transport;
use jobferry::worker::script::Setup;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::time::Instant;

use super::batch::SimulatedScheduler;
use super::faulty_store::FaultyStore;
use super::link::Link;
use super::world::{Faults, MOST_QUEUED_AWAY, World};
use super::{flow, verify};

pub(super) const WORK_DIR: &str = "/work";

/// Runners killed before the world grows calm.
const MOST_LIVES: u32 = 6;

/// A killed runner has made at most so many calls.
const MOST_CALLS: u32 = 600;

/// A calm world has everything done within this simulated time.
const CALM_LIMIT: Duration = Duration::from_secs(2 * 3600);

/// How often the user looks.
const USER_PAUSE: Duration = Duration::from_secs(5);

/// How long the user leaves a stopped job alone: its copy in the queue is to be cancelled first, because one that starts
/// in the directory of the next attempt takes the next attempt's start lock.
const RESUME_AFTER: Duration = Duration::from_secs(30);

const DAY_MS: i64 = 24 * 3600 * 1000;

/// The store of some seeds, one after the other, and its clock.
pub(super) struct Cabinet {
    stores: Stores,
    clock: Arc<SimulatedClock>,
}

/// A time of day that may jump.
pub(super) struct SimulatedClock {
    set: Mutex<Option<(Instant, i64)>>,
}

impl SimulatedClock {
    fn set(&self, offset_ms: i64) {
        let mut set = self.set.lock().unwrap();
        let begin = set.map_or_else(Instant::now, |(begin, _)| begin);
        *set = Some((begin, offset_ms));
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        let set = *self.set.lock().unwrap();
        let (since, offset_ms) = set.map_or((0, 0), |(begin, offset)| (begin.elapsed().as_millis(), offset));
        Timestamp::from_millis(1_800_000_000_000 + i64::try_from(since).unwrap() + offset_ms)
    }
}

impl Cabinet {
    pub(super) fn new() -> Self {
        let clock = Arc::new(SimulatedClock { set: Mutex::new(None) });
        let settings = SqliteSettings {
            path: PathBuf::from(":memory:"),
            id_prefix: String::new(),
            dispatch: Dispatch::Inline,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
        };
        let stores = SqliteStore::open(settings).unwrap().stores();
        futures::executor::block_on(stores.queue.migrate()).unwrap();
        Self { stores, clock }
    }
}

/// Plays one seed and returns its log too.
pub(super) fn play(seed: u64, cabinet: &Cabinet) -> (Result<(), String>, Vec<String>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        *cabinet.clock.set.lock().unwrap() = None;
        cabinet.clock.set(0);
        let world = World::new(seed);
        let result = Story { seed, world: Arc::clone(&world), cabinet }.tell().await;
        let log = std::mem::take(&mut world.lock().log);
        (result, log)
    })
}

struct Story<'a> {
    seed: u64,
    world: Arc<World>,
    cabinet: &'a Cabinet,
}

impl Story<'_> {
    async fn tell(&self) -> Result<(), String> {
        let (world, queue) = (&self.world, &self.cabinet.stores.queue);
        let sums = flow::sums(self.seed, self.cabinet.clock.now());
        let flow = sums.uuid.clone();
        queue.insert_flow(&sums).await.unwrap();
        let lives = world.lock().random.random_range(0..=MOST_LIVES);
        for life in 0..lives {
            self.one_life(life).await;
            world.verdict()?;
        }
        self.calm_down();
        let ended = tokio::time::timeout(CALM_LIMIT, self.last_life(&flow)).await;
        world.verdict()?;
        match ended {
            Ok(Ended::Idle | Ended::Stopped) => {
                verify::all(world, &self.cabinet.stores, self.seed, &flow).await
            }
            Ok(Ended::OutOfTime) => Err("the last runner ran out of time".into()),
            Err(_) => {
                let load = queue.load(&State::ALL).await;
                Err(format!("not done after {CALM_LIMIT:?}: {load:?}"))
            }
        }
    }

    /// One or two runners, until they are killed.
    async fn one_life(&self, life: u32) {
        let world = &self.world;
        let two = world.chance(30);
        let kill_after = world.pause(Duration::from_secs(240));
        let calls = world.chance(60).then(|| world.lock().random.random_range(1..=MOST_CALLS));
        world.lock().calls_left = calls;
        world.note(|| format!("life {life}: two: {two}, until {kill_after:?} or {calls:?} calls"));
        let (first, second) = (format!("{life}-first"), format!("{life}-second"));
        let (_stop, stopped) = watch::channel(false);
        let both = async {
            let first = self.live(&first, Until::Stopped, stopped.clone());
            if two {
                let second = self.live(&second, Until::Stopped, stopped.clone());
                tokio::join!(first, second);
            } else {
                first.await;
            }
        };
        // Dropping the runners is `kill -9` between any two of their awaits.
        tokio::select! {
            biased;
            () = world.killed.notified() => {}
            _ = tokio::time::timeout(kill_after, both) => {}
            () = self.jump() => {}
        }
        world.lock().calls_left = None;
    }

    /// Lets the clock jump from time to time, where the seed says so.
    async fn jump(&self) {
        loop {
            tokio::time::sleep(Duration::from_secs(7)).await;
            if self.world.lock().jumps && self.world.chance(15) {
                let days = self.world.lock().random.random_range(-1..=1);
                self.world.note(|| format!("the clock is {days} days off"));
                self.cabinet.clock.set(days * DAY_MS);
            }
        }
    }

    fn calm_down(&self) {
        let mut world = self.world.lock();
        world.faults = Faults::NONE;
        world.calm = true;
        world.locked.clear();
        if world.jumps {
            // Times of a day that never came would have to be waited for.
            self.cabinet.clock.set(2 * DAY_MS);
        }
        drop(world);
        self.world.note(|| "calm".to_owned());
    }

    async fn last_life(&self, flow: &str) -> Ended {
        let (stop, stopped) = watch::channel(false);
        if self.world.chance(25) {
            self.world.lock().stops_left = 0;
            let ended = self.live("last", Until::Idle { limit: None }, stopped.clone()).await;
            if self.look_and_resume(flow).await {
                return ended;
            }
        }
        let user = async {
            while !self.look_and_resume(flow).await {
                tokio::time::sleep(USER_PAUSE).await;
            }
            stop.send_replace(true);
        };
        tokio::join!(self.live("very-last", Until::Stopped, stopped), user).0
    }

    /// Returns whether all is done. Jobs that the user has stopped are resumed.
    async fn look_and_resume(&self, flow: &str) -> bool {
        let queue = &self.cabinet.stores.queue;
        let moving = |state: &State| !state.is_final() && *state != State::Waiting;
        let moving: Vec<State> = State::ALL.into_iter().filter(moving).collect();
        let moves_on = !queue.load(&moving).await.unwrap().is_empty();
        if !moves_on && self.world.lock().stopped.values().all(|at| at.elapsed() > RESUME_AFTER) {
            let jobs = verify::jobs(&self.cabinet.stores, flow).await;
            if jobs.iter().all(|job| job.state == State::Completed) {
                return true;
            }
            for job in &jobs {
                let gone = job.remote.error.as_ref().is_some_and(|error| error.contains("is gone"));
                let event = match job.state {
                    State::UserStopped => Event::ResumeReady,
                    State::RemoteError if gone => Event::Rerun,
                    _ => continue,
                };
                let again = Move::of(job, Some(event), self.cabinet.clock.now(), "user");
                let again = again.with([
                    Change::RemoteError(None),
                    Change::StepAttempts(0),
                    Change::RetryTimeLimit(None),
                ]);
                assert_eq!(queue.apply(&[again]).await.unwrap(), [Applied::Done]);
                self.world.note(|| format!("{event:?} of {}", job.name()));
                if event == Event::Rerun {
                    *self.world.lock().reruns.entry(job.key.clone()).or_insert(0) += 1;
                }
            }
        }
        false
    }

    async fn live(&self, owner: &str, until: Until, stop: watch::Receiver<bool>) -> Ended {
        let seed = self.world.lock().random.random();
        let random = rand::rngs::StdRng::seed_from_u64(seed);
        let stores = FaultyStore::stores(self.cabinet.stores.clone(), &self.world);
        let clock = Arc::clone(&self.cabinet.clock) as Arc<dyn Clock>;
        // An owner's name is never used again, not even in the next story.
        let owner = format!("{}-{owner}", self.seed);
        let act = Act::new(self.plan(&owner), stores, clock, format!("runner@{owner}"), random);
        let holder = Holder {
            host: owner.clone(),
            pid: 1,
            user: "simulated".into(),
            project: "simulated".into(),
            daemon_dir: "/daemon".into(),
            version: "0".into(),
            started: self.cabinet.clock.now(),
        };
        let keeper = Keeper { owner, holder, predecessors: None };
        let (standing, _) = watch::channel(Standing::Unknown);
        supervisor::run(&act, &keeper, until, &standing, stop).await
    }

    fn plan(&self, owner: &str) -> Plan {
        let worker = |name: &str, max_jobs| Worker {
            name: name.to_owned(),
            scheduler: Arc::new(SimulatedScheduler),
            work_dir: WORK_DIR.to_owned(),
            resources: bson::Document::new(),
            setup: Setup::default(),
            max_jobs,
            command_limit: Duration::from_secs(60),
            poll_floor: Duration::from_secs(1),
            keep_attempts: Some(3),
            download_delay: None,
        };
        let link = |name: &str| Link::new(&self.world, &self.cabinet.stores, name, owner);
        let host = |name: &str, place, max_jobs| HostPlan {
            transport: link(name) as Arc<dyn Transport>,
            place,
            workers: vec![worker(name, max_jobs)],
        };
        let options = Options {
            checkout_every: Duration::from_secs(30),
            poll_every: Duration::from_secs(30),
            advance_every: Duration::from_secs(30),
            max_step_attempts: 3,
            retry_pauses: vec![Duration::from_secs(30)],
            lease: Duration::from_secs(30),
            tmp_dir: PathBuf::from("/tmp"),
            downloads: Downloads::Keep,
        };
        let away = host("away", Place::Away, Some(MOST_QUEUED_AWAY));
        Plan {
            remote_store: jobferry::worker::remote_store::RemoteStore::default(),
            project: "simulated".into(),
            hosts: vec![host("here", Place::Here, None), away],
            exec_configs: BTreeMap::new(),
            here: Link::reliable(&self.world, &self.cabinet.stores),
            options,
        }
    }
}
