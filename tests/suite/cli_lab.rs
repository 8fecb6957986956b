//! A project whose store holds jobs in many states, with times and ids that never change.

use std::collections::BTreeMap;
use std::sync::Arc;

use bson::{Bson, Document, doc};
use jobferry::model::Timestamp;
use jobferry::model::clock::Clock;
use jobferry::model::ids::JobKey;
use jobferry::model::job::{JobRecord, NewFlow, NewJob, Outcome};
use jobferry::model::query::{Detail, JobFilter, Page};
use jobferry::model::state::{Event, State};
use jobferry::store::sqlite::{Dispatch, SqliteSettings, SqliteStore};
use jobferry::store::{Change, Claim, Move, OutputDocument, Stores};

use crate::cli_environment::TestEnv;

/// 2026-03-10 12:00 in Paris.
const START: i64 = 1_773_140_400_000;

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        minute(0)
    }
}

/// Returns the time so many minutes after the start.
fn minute(minutes: i64) -> Timestamp {
    Timestamp::from_millis(START + minutes * 60_000)
}

/// Returns a uuid that ends in the number and never changes.
pub(crate) fn uuid(kind: &str, number: u32) -> String {
    format!("{kind}000000-0000-5000-8000-{number:012}")
}

fn key(number: u32) -> JobKey {
    JobKey::new(uuid("ab", number), 1)
}

fn job(number: u32, name: &str, parents: &[u32], flow: &str) -> NewJob {
    let metadata = doc! {"tag": i32::try_from(number).unwrap()};
    NewJob {
        key: key(number),
        worker: if number == 4 { "cluster".into() } else { "here".into() },
        priority: 0,
        parents: parents.iter().map(|parent| uuid("ab", *parent)).collect(),
        exec_config: None,
        resources: Some(doc! {"ntasks": 4}),
        job: doc! {
            "@module": "jobflow.core.job", "@class": "Job", "uuid": uuid("ab", number), "index": 1,
            "name": name, "hosts": [flow], "metadata": metadata,
            "config": {"on_missing_references": "error"},
        },
    }
}

/// Returns a place with the project `lab` and its flows: `relaxation` (jobs 1 to 4: COMPLETED, FAILED, WAITING for the
/// failed one, REMOTE_ERROR on another worker) and `scan` (job 5, READY, whose uuid begins like the others').
pub(crate) async fn lab() -> TestEnv {
    let place = TestEnv::with_project();
    let stores = open(&place);
    stores.queue.migrate().await.unwrap();
    insert_relaxation(&stores).await;
    run_relaxation(&stores).await;
    let flow = uuid("f1", 2);
    insert(&stores, &flow, "scan", vec![job(5, "scan\u{1b}[2J", &[], &flow)], minute(60)).await;
    place
}

fn open(place: &TestEnv) -> Stores {
    let settings = SqliteSettings {
        path: place.path("lab.sqlite"),
        id_prefix: String::new(),
        dispatch: Dispatch::Inline,
        clock: Arc::new(Fixed),
    };
    SqliteStore::open(settings).unwrap().stores()
}

async fn insert(stores: &Stores, uuid: &str, name: &str, jobs: Vec<NewJob>, at: Timestamp) {
    let flow = NewFlow {
        uuid: uuid.to_owned(),
        name: name.to_owned(),
        metadata: doc! {"project": "oxides"},
        jobstore: None,
        jobs,
        created_on: at,
    };
    stores.queue.insert_flow(&flow).await.unwrap();
}

async fn insert_relaxation(stores: &Stores) {
    let flow = uuid("f0", 1);
    let jobs = vec![
        job(1, "relax", &[], &flow),
        job(2, "static", &[], &flow),
        job(3, "bands", &[1, 2], &flow),
        job(4, "phonons", &[], &flow),
    ];
    insert(stores, &flow, "relaxation", jobs, minute(0)).await;
}

async fn run_relaxation(stores: &Stores) {
    let room: BTreeMap<String, u32> = [("here".to_owned(), 9), ("cluster".to_owned(), 9)].into();
    let claim = Claim { room, at: minute(1), by: "runner@lab".into() };
    assert_eq!(stores.queue.claim(&claim).await.unwrap(), 3);
    for number in [1, 2] {
        let directory = Change::RunDir(format!("/work/{number}"));
        step(stores, number, Event::Stage, minute(2), vec![directory]).await;
        step(stores, number, Event::Submit, minute(3), vec![Change::ProcessId(Some(format!("10{number}")))])
            .await;
        step(stores, number, Event::Start, minute(4), vec![Change::StartTime(Some(minute(4)))]).await;
        let end = vec![Change::EndTime(Some(minute(75))), Change::Outcome(Some(outcome(number)))];
        step(stores, number, Event::EndHere, minute(75), end).await;
    }
    finish(stores, 1, Event::Complete, Vec::new()).await;
    finish(stores, 2, Event::Fail, vec![Change::Error(Some("the job ended with exit code 3".into()))]).await;
    let failed = vec![
        Change::PreviousState(Some(State::CheckedOut)),
        Change::RemoteError(Some("cannot connect to cluster: no route to host".into())),
    ];
    step(stores, 4, Event::StepFailed, minute(80), failed).await;
    put_output(stores).await;
}

fn outcome(number: u32) -> Outcome {
    let failed = number == 2;
    Outcome {
        exit_code: Some(if failed { 3 } else { 0 }),
        host: Some("node1".into()),
        stderr_tail: failed.then(|| "warning: step 7\nerror: no convergence\u{7}\n".into()),
        ..Outcome::default()
    }
}

async fn record(stores: &Stores, number: u32) -> JobRecord {
    let filter = JobFilter { keys: vec![key(number)], ..JobFilter::default() };
    stores.queue.jobs(&filter, &Page::default(), Detail::Full).await.unwrap().remove(0)
}

async fn step(stores: &Stores, number: u32, event: Event, at: Timestamp, changes: Vec<Change>) {
    let job = record(stores, number).await;
    let reason = if event == Event::StepFailed { "no route to host" } else { "" };
    let mut order = Move::of(&job, Some(event), at, "runner@lab").with(changes);
    if !reason.is_empty() {
        order = order.because(reason);
    }
    stores.queue.apply(&[order]).await.unwrap();
}

async fn finish(stores: &Stores, number: u32, event: Event, changes: Vec<Change>) {
    let job = record(stores, number).await;
    let order = Move::of(&job, Some(event), minute(76), "runner@lab").with(changes);
    stores.queue.finish(&[order.into()]).await.unwrap();
}

async fn put_output(stores: &Stores) {
    let output: Document = doc! {"energy": -1.5, "steps": [1, 2], "gap": f64::NAN};
    let document = doc! {"uuid": uuid("ab", 1), "index": 1, "output": Bson::Document(output)};
    stores.job_store.outputs.put_outputs(&[OutputDocument { key: key(1), document }]).await.unwrap();
}
