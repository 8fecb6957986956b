//! Measurements, run by hand: `cargo test --release --lib store::sqlite::tests::speed -- --ignored --nocapture`.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::model::query::{Detail, FlowFilter, JobFilter, Page};
use crate::model::state::{Event, State};
use crate::store::{Claim, Move, Queue as _, Work};

use super::super::Dispatch;
use super::{at, flow, job, open};

const JOBS: usize = 10_000;
const BATCH: usize = 100;

#[tokio::test]
#[ignore = "a measurement"]
async fn ten_thousand_jobs() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let path = directory.path().join("store.sqlite");
    let store = open(&path, Dispatch::Blocking);
    store.migrate().await.unwrap();
    for number in 0..10 {
        let name = format!("f{number}");
        let mut jobs: Vec<_> = (0..JOBS - 1).map(|number| job(&name, number, &[])).collect();
        let parents: Vec<String> = jobs.iter().map(|job| job.key.uuid.clone()).collect();
        jobs.push(job(&name, JOBS - 1, &parents));
        let start = Instant::now();
        store.insert_flow(&flow(&name, jobs)).await.unwrap();
        println!("insert a flow of {JOBS}: {:?}", start.elapsed());
    }
    lives(&store).await;
    let start = Instant::now();
    println!("repair mended {}: {:?}", store.repair(at(9)).await.unwrap(), start.elapsed());
    listings(&path).await;
}

/// Brings jobs through their lives, a batch at a time.
async fn lives(store: &super::SqliteStore) {
    let start = Instant::now();
    let mut ended = 0;
    while ended < 2000 {
        let room = BTreeMap::from([("w".to_owned(), u32::try_from(BATCH).unwrap())]);
        store.claim(&Claim { room, at: at(1), by: "me".into() }).await.unwrap();
        let mut state = State::CheckedOut;
        for event in [Event::Stage, Event::Submit, Event::EndHere, Event::Complete] {
            let work = Work {
                states: vec![state],
                workers: vec!["w".into()],
                due: at(2),
                limit: 1000,
                detail: Detail::Full,
            };
            let jobs = store.work(&work).await.unwrap();
            let moves: Vec<_> = jobs.iter().map(|job| Move::step(job, event, at(3), "me")).collect();
            if event == Event::Complete {
                store.finish(&moves.into_iter().map(Into::into).collect::<Vec<_>>()).await
            } else {
                store.apply(&moves).await
            }
            .unwrap();
            state = crate::model::state::next(state, event).unwrap();
        }
        ended += BATCH;
    }
    let each = start.elapsed() / u32::try_from(ended).unwrap();
    println!("{ended} lives in batches of {BATCH}: {:?}, {each:?} each", start.elapsed());
}

async fn listings(path: &std::path::Path) {
    let start = Instant::now();
    let store = open(path, Dispatch::Blocking);
    store.migrate().await.unwrap();
    println!("open and migrate: {:?}", start.elapsed());
    let few = JobFilter { states: vec![State::Failed, State::Completed], ..JobFilter::default() };
    let named = JobFilter { name: Some("*99".into()), ..JobFilter::default() };
    let flows = JobFilter { flows: vec!["f3".into()], ..JobFilter::default() };
    for (what, filter) in
        [("all", JobFilter::default()), ("two states", few), ("*99", named), ("a flow", flows)]
    {
        let start = Instant::now();
        let jobs = store.jobs(&filter, &Page::default(), Detail::Summary).await.unwrap().len();
        let listed = start.elapsed();
        let start = Instant::now();
        let count = store.count_jobs(&filter).await.unwrap();
        println!("{what}: list {jobs} {listed:?}, count {count} {:?}", start.elapsed());
    }
    let start = Instant::now();
    store.flows(&FlowFilter::default(), &Page::default()).await.unwrap();
    println!("list 10 flows of {JOBS}: {:?}", start.elapsed());
    let start = Instant::now();
    store.load(&State::ALL).await.unwrap();
    println!("load: {:?}", start.elapsed());
}
