//! Random sequences of claims, moves, ends and repairs, against a model of a few lines.

use std::collections::HashMap;

use jobferry::model::flow::{FlowState, Member, OnMissing, derive, may_start};
use jobferry::model::state::{Event, State, next};
use jobferry::store::sqlite::Dispatch;
use jobferry::store::{Applied, Move, Stores};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use super::making::{BY, Making as _, at, claim_of, endings, everything, flow, job, read};

/// Uuid, parents, rule, worker, priority: a diamond, a chain and a lone job, in two flows.
const JOBS: [(&str, &[&str], &str, &str, i32); 8] = [
    ("a", &[], "error", "w", 0),
    ("b", &["a"], "error", "w", 1),
    ("c", &["a"], "none", "v", 0),
    ("d", &["b", "c"], "pass", "w", 0),
    ("e", &["d"], "error", "w", 0),
    ("p", &[], "error", "v", 2),
    ("q", &["p", "a"], "none", "w", 0),
    ("r", &[], "error", "w", 0),
];

/// The first five jobs are of flow `f`, the others of `g`.
const FIRST_OF_G: usize = 5;

#[derive(Debug, Clone)]
enum Command {
    Claim { worker: &'static str, room: u32 },
    Apply { job: usize, event: Event, behind: i32 },
    Finish { job: usize, event: Event, behind: i32 },
    Live { job: usize, end: Event },
    Repair,
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    use Event as E;
    let events = proptest::sample::select(vec![
        E::CheckOut,
        E::Stage,
        E::Submit,
        E::Start,
        E::End,
        E::EndHere,
        E::Collect,
        E::Complete,
        E::Fail,
        E::TryAgain,
        E::StepFailed,
        E::Retry(State::Downloaded),
        E::Pause,
        E::StopByJob,
        E::StopByUser,
        E::ResumeReady,
        E::ResumeWaiting,
        E::Rerun,
        E::RerunAncestor,
        E::Force(State::Completed),
    ]);
    let ends = proptest::sample::select(vec![E::Complete, E::Complete, E::Fail]);
    let behind = prop_oneof![9 => Just(0), 1 => Just(1)];
    let of_job = || 0..JOBS.len();
    let command = prop_oneof![
        2 => (any::<bool>(), 0..3_u32)
            .prop_map(|(w, room)| Command::Claim { worker: if w { "w" } else { "v" }, room }),
        4 => (of_job(), events.clone(), behind.clone())
            .prop_map(|(job, event, behind)| Command::Apply { job, event, behind }),
        2 => (of_job(), events, behind).prop_map(|(job, event, behind)| Command::Finish { job, event, behind }),
        6 => (of_job(), ends).prop_map(|(job, end)| Command::Live { job, end }),
        1 => Just(Command::Repair),
    ];
    proptest::collection::vec(command, 1..40)
}

#[derive(Debug, Clone, PartialEq)]
struct Job {
    state: State,
    attempt: i32,
    moves: usize,
}

/// What the store should hold.
#[derive(Debug, Clone, PartialEq)]
struct Model {
    jobs: Vec<Job>,
    flows: [FlowState; 2],
}

impl Model {
    fn new() -> Self {
        let state = |parents: &[&str]| if parents.is_empty() { State::Ready } else { State::Waiting };
        let jobs = JOBS.iter().map(|(_, parents, ..)| Job { state: state(parents), attempt: 0, moves: 0 });
        Self { jobs: jobs.collect(), flows: [FlowState::Ready; 2] }
    }

    /// Returns whether the move is made; none where the state machine refuses it.
    fn apply(&mut self, job: usize, event: Event, behind: i32) -> Option<bool> {
        let job = &mut self.jobs[job];
        if behind != 0 {
            return Some(false);
        }
        job.state = next(job.state, event).ok()?;
        job.moves += 1;
        job.attempt += i32::from(event == Event::CheckOut);
        Some(true)
    }

    fn claim(&mut self, worker: &str, room: u32) {
        let mut ready: Vec<usize> = (0..JOBS.len())
            .filter(|place| JOBS[*place].3 == worker && self.jobs[*place].state == State::Ready)
            .collect();
        ready.sort_by_key(|place| -JOBS[*place].4);
        for place in ready.into_iter().take(room as usize) {
            self.apply(place, Event::CheckOut, 0);
            let flow = &mut self.flows[usize::from(place >= FIRST_OF_G)];
            if *flow == FlowState::Ready {
                *flow = FlowState::Running;
            }
        }
    }

    fn finish(&mut self, job: usize, event: Event, behind: i32) -> Option<bool> {
        let done = self.apply(job, event, behind)?;
        if done {
            let mut flows = vec![usize::from(job >= FIRST_OF_G)];
            for (child, (_, parents, ..)) in JOBS.iter().enumerate() {
                if parents.contains(&JOBS[job].0) && self.release(child) {
                    flows.push(usize::from(child >= FIRST_OF_G));
                }
            }
            flows.into_iter().for_each(|flow| self.settle(flow));
        }
        Some(done)
    }

    fn release(&mut self, child: usize) -> bool {
        let newest: HashMap<String, State> =
            JOBS.iter().zip(&self.jobs).map(|((uuid, ..), job)| ((*uuid).into(), job.state)).collect();
        let (_, parents, rule, ..) = JOBS[child];
        let parents: Vec<String> = parents.iter().map(|parent| (*parent).into()).collect();
        let free = self.jobs[child].state == State::Waiting
            && may_start(&parents, OnMissing::from_config(rule), &newest);
        free && self.apply(child, Event::Release, 0) == Some(true)
    }

    fn settle(&mut self, flow: usize) {
        let members: Vec<Member> = (0..JOBS.len())
            .filter(|place| usize::from(*place >= FIRST_OF_G) == flow)
            .map(|place| Member {
                uuid: JOBS[place].0.into(),
                index: 1,
                parents: JOBS[place].1.iter().map(|parent| (*parent).into()).collect(),
                state: self.jobs[place].state,
            })
            .collect();
        self.flows[flow] = derive(&members);
    }

    fn repair(&mut self) {
        for flow in 0..2 {
            if self.flows[flow] != FlowState::Completed {
                for job in (0..JOBS.len()).filter(|place| usize::from(*place >= FIRST_OF_G) == flow) {
                    self.release(job);
                }
                self.settle(flow);
            }
        }
    }
}

async fn insert_jobs(stores: &Stores) {
    let made = JOBS.map(|(uuid, parents, rule, worker, priority)| {
        job(uuid, parents).on_missing(rule).on(worker).with_priority(priority)
    });
    let (f, g) = made.split_at(FIRST_OF_G);
    super::making::insert(stores, flow("f", f.to_vec())).await;
    super::making::insert(stores, flow("g", g.to_vec())).await;
}

async fn holds(stores: &Stores) -> Model {
    let (jobs, flows) = everything(stores).await;
    let jobs = jobs.into_iter().map(|job| Job {
        state: job.state,
        attempt: job.ferry.attempt,
        moves: job.ferry.history.len(),
    });
    Model { jobs: jobs.collect(), flows: [flows[0].state, flows[1].state] }
}

async fn step(stores: &Stores, model: &mut Model, command: &Command) {
    let queue = &stores.queue;
    let of = async |job: usize, event, behind| {
        let record = read(stores, JOBS[job].0).await;
        let made = Move::of(&record, Some(event), at(1), BY);
        [Move { attempt: made.attempt - behind, ..made }]
    };
    let name = |done| if done { Applied::Done } else { Applied::Lost };
    match *command {
        Command::Claim { worker, room } => {
            queue.claim(&claim_of(&[(worker, room)], at(1))).await.unwrap();
            model.claim(worker, room);
        }
        Command::Apply { job, event, behind } => {
            let answer = queue.apply(&of(job, event, behind).await).await.ok();
            assert_eq!(answer, model.apply(job, event, behind).map(|done| vec![name(done)]));
        }
        Command::Finish { job, event, behind } => {
            let answer = queue.finish(&endings(&of(job, event, behind).await)).await.ok();
            assert_eq!(answer, model.finish(job, event, behind).map(|done| vec![name(done)]));
        }
        Command::Live { job, end } => {
            for event in [Event::CheckOut, Event::Stage, Event::Submit, Event::EndHere, end] {
                let legal = model.finish(job, event, 0).is_some();
                assert_eq!(queue.finish(&endings(&of(job, event, 0).await)).await.is_ok(), legal);
            }
        }
        Command::Repair => {
            queue.repair(at(2)).await.unwrap();
            model.repair();
        }
    }
}

#[test]
fn any_sequence_ends_as_the_model_says() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&commands(), |commands| {
        runtime.block_on(async {
            let benches =
                [super::sqlite::memory().await.unwrap(), super::sqlite::in_file(Dispatch::Blocking).await];
            for bench in benches {
                let mut model = Model::new();
                insert_jobs(&bench.stores).await;
                for command in &commands {
                    step(&bench.stores, &mut model, command).await;
                    assert_eq!(holds(&bench.stores).await, model, "after {command:?}");
                }
            }
        });
        Ok(())
    });
    outcome.unwrap();
}
