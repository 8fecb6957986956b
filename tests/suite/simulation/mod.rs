//! The whole runner in one process from one seed: real runner, real SQLite (in memory), simulated clusters.
//!
//! What goes wrong, as the seed says: links break before, in the middle of and after an effect, or hang; the store
//! fails in the same ways, or hangs longer than the lease; the scheduler gives every kind of useless answer, takes a
//! job without saying so, shows it late, or has its client die half-way; attempts fail, die with their machine
//! (no end marker) or lose their directory; somebody else holds the lock of a job; a user stops a job while it is
//! being submitted; clocks jump by a day; runners are killed at any of their calls, before or after the effect, and
//! two may run at once.
//!
//! What must hold at every step: no attempt is submitted or started twice, no two attempts of a job run at the same
//! time, no more jobs are in a queue than its worker allows, only the holder of the lease talks to hosts. After a
//! while the world grows calm; then everything has to come right in bounded time: all jobs completed by the first
//! attempt that ended well, outputs right, histories legal, nothing left in a queue.
//!
//! | command | does |
//! |---|---|
//! | `tests/run simulation` | plays the first seeds |
//! | `JF_SEED=17 tests/run simulation_replay` | replays one seed with its log |
//! | `JF_SEEDS=1000..101000 cargo test --test suite -- simulation_of_many_seeds` | plays these seeds, for a night |

mod batch;
mod faulty_store;
mod flow;
mod link;
mod program;
mod story;
mod verify;
mod world;

use std::ops::Range;

use self::story::{Cabinet, play};

/// Seeds that every run of the suite plays.
const SEEDS: Range<u64> = 0..500;

/// A store serves this many seeds before it is made anew: making one costs as much as playing a seed.
const SEEDS_OF_CABINET: usize = 50;

const THREADS: usize = 2;

#[test]
fn simulation_of_many_seeds() {
    let seeds = seeds();
    let mut failures: Vec<(u64, String)> = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..THREADS)
            .map(|part| {
                let seeds: Vec<u64> = seeds.clone().skip(part).step_by(THREADS).collect();
                scope.spawn(move || seeds.chunks(SEEDS_OF_CABINET).flat_map(play_some).collect::<Vec<_>>())
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    failures.sort();
    if let Some((seed, failure)) = failures.first() {
        let (failed, all) = (failures.len(), seeds.end - seeds.start);
        let more: Vec<u64> = failures.iter().skip(1).map(|(seed, _)| *seed).take(9).collect();
        panic!(
            "{failed} of {all} seeds fail. Seed {seed}: {failure}\nreplay it: JF_SEED={seed} tests/run \
             simulation_replay\nmore: {more:?}"
        );
    }
}

/// Returns the seeds that fail, and how.
fn play_some(seeds: &[u64]) -> Vec<(u64, String)> {
    let mut cabinet = Cabinet::new();
    let mut failures = Vec::new();
    for seed in seeds {
        if let Err(failure) = play(*seed, &cabinet).0 {
            failures.push((*seed, failure));
            // What is left of a failed seed must not disturb the next one.
            cabinet = Cabinet::new();
        }
    }
    failures
}

/// Returns the seeds of `JF_SEEDS`: how many, or from and to.
fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("JF_SEEDS") else { return SEEDS };
    let number = |text: &str| text.parse().expect("JF_SEEDS is a number, or two with .. between");
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => 0..number(&text),
    }
}

#[test]
fn simulation_replay() {
    let Ok(seed) = std::env::var("JF_SEED") else { return };
    let (result, log) = play(seed.parse().unwrap(), &Cabinet::new());
    println!("{}", log.join("\n"));
    result.unwrap();
}

#[test]
fn simulation_is_the_same_each_time() {
    let used = Cabinet::new();
    for seed in 1..5 {
        play(seed, &used).0.unwrap();
    }
    assert_eq!(play(7, &used).1, play(7, &Cabinet::new()).1);
}
