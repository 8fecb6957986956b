//! The whole runner in one process from one seed: real runner, real SQLite (in memory), simulated cluster.
//!
//! Links break before, in the middle of and after an effect, the store fails in the same ways, the scheduler gives
//! every kind of useless answer, runners are killed between any two of their awaits, and two may run at once. After
//! a while the world grows calm; then everything has to come right in bounded time: each job started exactly once
//! per attempt, all completed, outputs right, histories legal.
//!
//! `JF_SEED=17 tests/run simulation_replay` replays one seed with its log.

mod batch;
mod faulty_store;
mod flow;
mod link;
mod program;
mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jobferry::model::Timestamp;
use jobferry::model::clock::Clock;
use jobferry::model::job::JobRecord;
use jobferry::model::query::{Detail, JobFilter, Page};
use jobferry::model::state::{Event, State};
use jobferry::runner::act::Act;
use jobferry::runner::lease::{Keeper, Standing};
use jobferry::runner::plan::{Downloads, HostPlan, Options, Place, Plan, Worker};
use jobferry::runner::supervisor::{self, Ended, Until};
use jobferry::store::sqlite::{Dispatch, SqliteSettings, SqliteStore};
use jobferry::store::{Holder, Stores};
use jobferry::worker::script::Setup;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::time::Instant;

use self::batch::SimulatedScheduler;
use self::faulty_store::FaultyStore;
use self::link::Link;
use self::world::{Faults, World};

const WORK_DIR: &str = "/work";

/// Seeds that every run of the suite plays.
const SEEDS: u64 = 500;

/// Runners killed before the world grows calm.
const MOST_LIVES: u32 = 6;

/// A calm world has everything done within this simulated time.
const CALM_LIMIT: Duration = Duration::from_secs(4 * 3600);

struct SimulatedClock {
    begin: Instant,
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        let since = i64::try_from(self.begin.elapsed().as_millis()).unwrap();
        Timestamp::from_millis(1_800_000_000_000 + since)
    }
}

#[test]
fn simulation_of_many_seeds() {
    for seed in 0..SEEDS {
        if let Err(failure) = play(seed).0 {
            panic!("seed {seed}: {failure}\nreplay it: JF_SEED={seed} tests/run simulation_replay");
        }
    }
}

#[test]
fn simulation_replay() {
    let Ok(seed) = std::env::var("JF_SEED") else { return };
    let (result, log) = play(seed.parse().unwrap());
    println!("{}", log.join("\n"));
    result.unwrap();
}

#[test]
fn simulation_is_the_same_each_time() {
    assert_eq!(play(7).1, play(7).1);
}

fn play(seed: u64) -> (Result<(), String>, Vec<String>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::new(seed);
        let result = story(&world).await;
        let log = std::mem::take(&mut world.lock().log);
        (result, log)
    })
}

async fn story(world: &Arc<World>) -> Result<(), String> {
    let clock: Arc<dyn Clock> = Arc::new(SimulatedClock { begin: Instant::now() });
    let settings = SqliteSettings {
        path: PathBuf::from(":memory:"),
        id_prefix: String::new(),
        dispatch: Dispatch::Inline,
        clock: Arc::clone(&clock),
    };
    let sqlite = Arc::new(SqliteStore::open(settings).unwrap());
    let stores = Stores { queue: sqlite.clone(), outputs: sqlite.clone(), files: sqlite };
    stores.queue.migrate().await.unwrap();
    stores.queue.insert_flow(&flow::sums(clock.now())).await.unwrap();
    let lives = world.lock().random.random_range(0..=MOST_LIVES);
    for life in 0..lives {
        let two = world.chance(30);
        let kill_after = world.pause(Duration::from_secs(240));
        world.note(format!(
            "life {life}: {} until {kill_after:?}",
            if two { "two runners" } else { "one runner" }
        ));
        let (first, second) = (format!("{life}-first"), format!("{life}-second"));
        let both = async {
            if two {
                tokio::join!(live(world, &stores, &clock, &first), live(world, &stores, &clock, &second)).0
            } else {
                live(world, &stores, &clock, &first).await
            }
        };
        // Dropping the runners is `kill -9` between any two of their awaits.
        let _ = tokio::time::timeout(kill_after, both).await;
    }
    world.lock().faults = Faults::NONE;
    world.note("calm".into());
    let last = live(world, &stores, &clock, "last");
    match tokio::time::timeout(CALM_LIMIT, last).await {
        Ok(Ended::Idle) => verify(world, &stores).await,
        Ok(other) => Err(format!("ended as {other:?}")),
        Err(_) => Err(format!("not idle after {CALM_LIMIT:?}: {:?}", stores.queue.load().await)),
    }
}

async fn live(world: &Arc<World>, stores: &Stores, clock: &Arc<dyn Clock>, owner: &str) -> Ended {
    let seed = world.lock().random.random();
    let random = rand::rngs::StdRng::seed_from_u64(seed);
    let stores = FaultyStore::stores(stores.clone(), world);
    let act = Act::new(plan(world), stores, Arc::clone(clock), format!("runner@{owner}"), random);
    let holder = Holder {
        host: owner.to_owned(),
        pid: 1,
        user: "simulated".into(),
        project: "simulated".into(),
        daemon_dir: "/daemon".into(),
        version: "0".into(),
        started: clock.now(),
    };
    let keeper = Keeper { owner: owner.to_owned(), holder, predecessors: None };
    let (standing, _) = watch::channel(Standing::Unknown);
    let (_keep, stop) = watch::channel(false);
    supervisor::run(&act, &keeper, Until::Idle { limit: None }, &standing, stop).await
}

fn plan(world: &Arc<World>) -> Plan {
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
    let host = |name: &str, place, max_jobs| HostPlan {
        transport: Link::new(world, name, false),
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
    Plan {
        project: "simulated".into(),
        hosts: vec![host("here", Place::Here, None), host("away", Place::Away, Some(3))],
        exec_configs: BTreeMap::new(),
        here: Link::new(world, "here", true),
        options,
    }
}

async fn verify(world: &Arc<World>, stores: &Stores) -> Result<(), String> {
    let page = Page { limit: None, ..Page::default() };
    let jobs = stores.queue.jobs(&JobFilter::default(), &page, Detail::Full).await.unwrap();
    for job in &jobs {
        verify_job(job)?;
        let starts =
            world.lock().starts.iter().filter(|(token, _)| token.parts().unwrap().0 == job.key).count();
        let most = world.lock().starts.get(&job.token()).copied();
        if starts != 1 || most != Some(1) {
            return Err(format!("job {} was started {most:?} times in {starts} attempts", job.name()));
        }
    }
    let last = jobs.iter().find(|job| job.name() == "g").ok_or("no job g")?;
    let output = stores.outputs.output(&last.key).await.unwrap().ok_or("g has no output")?;
    let sum = output.output().as_document().and_then(|outputs| outputs.get("sum")).cloned();
    match sum {
        Some(bson::Bson::Int32(sum)) if i64::from(sum) == flow::EXPECTED => Ok(()),
        Some(bson::Bson::Int64(flow::EXPECTED)) => Ok(()),
        other => Err(format!("g came to {other:?}")),
    }
}

/// Every move in the history is one that the state machine allows, and each begins where the last one ended.
fn verify_job(job: &JobRecord) -> Result<(), String> {
    if job.state != State::Completed {
        return Err(format!("job {} is {}: {:?} {:?}", job.name(), job.state, job.error, job.remote.error));
    }
    let mut state = if job.parents.is_empty() { State::Ready } else { State::Waiting };
    for entry in &job.ferry.history {
        let legal =
            EVENTS.iter().any(|event| jobferry::model::state::next(entry.from, *event) == Ok(entry.to));
        if entry.from != state || !legal {
            return Err(format!("job {} moved from {state} by {entry:?}", job.name()));
        }
        state = entry.to;
    }
    if state == job.state { Ok(()) } else { Err(format!("the history of {} ends in {state}", job.name())) }
}

const EVENTS: [Event; 9] = [
    Event::Release,
    Event::CheckOut,
    Event::Stage,
    Event::Submit,
    Event::Start,
    Event::End,
    Event::EndHere,
    Event::Collect,
    Event::Complete,
];
