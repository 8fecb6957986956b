//! Several programs at once, many jobs at once, and the Python side's runner.

use std::collections::HashMap;
use std::time::Duration;

use bson::{DateTime, Document, doc};
use jobferry::model::flow::FlowState;
use jobferry::model::ids::JobKey;
use jobferry::model::query::{Detail, JobFilter};
use jobferry::model::state::{Event, State};
use jobferry::store::mongodb::{Address, Collections, Location, MongoSettings, MongoStore};
use jobferry::store::{
    Applied, Holder, LeaseAnswer, LeaseClaim, Move, Queue as _, Standing, StoreError, Stores,
};

use super::super::making::{ALL, at, complete, end, flow, flow_state, insert, job, key, state, step};
use super::{Dropped, Scratch};

const STANDALONE: &str = "JF_TEST_MONGODB_URI";
const REPLICA_SET: &str = "JF_TEST_MONGODB_REPLICA_SET_URI";

async fn fresh(variable: &str) -> Option<(Scratch, Dropped, Stores)> {
    let scratch = Scratch::new("store_contract::mongodb::crowd", variable)?;
    let dropped = Dropped(scratch.clone());
    let stores = scratch.open().await.into_stores();
    stores.queue.migrate().await.unwrap();
    Some((scratch, dropped, stores))
}

fn check_out(uuid: &str, by: &str) -> Move {
    Move {
        key: key(uuid),
        expected: State::Ready,
        attempt: 0,
        event: Some(Event::CheckOut),
        changes: vec![],
        reason: None,
        by: by.into(),
        at: at(5),
    }
}

/// Three programs make the same 2500 moves: each move is told to exactly one of them, the one in the history.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_move_has_one_winner() {
    let Some((scratch, _dropped, stores)) = fresh(STANDALONE).await else { return };
    let uuids: Vec<String> = (0..2500).map(|n| format!("j{n}")).collect();
    insert(&stores, flow("f", uuids.iter().map(|uuid| job(uuid, &[])).collect::<Vec<_>>())).await;
    let mut programs = Vec::new();
    for by in ["one", "two", "three"] {
        let store = scratch.open().await;
        let moves: Vec<Move> = uuids.iter().map(|uuid| check_out(uuid, by)).collect();
        programs.push(tokio::spawn(async move { (by, store.apply(&moves).await.unwrap()) }));
    }
    let mut winners: HashMap<&str, &str> = HashMap::new();
    for program in programs {
        let (by, applied) = program.await.unwrap();
        for (uuid, applied) in uuids.iter().zip(applied) {
            if applied == Applied::Done {
                assert_eq!(winners.insert(uuid, by), None, "{uuid} was given twice");
            }
        }
    }
    assert_eq!(winners.len(), 2500);
    let jobs = stores.queue.jobs(&JobFilter::default(), &ALL, Detail::Full).await.unwrap();
    assert_eq!(jobs.len(), 2500, "a lost move leaves no document");
    for job in jobs {
        assert_eq!(job.ferry.history.len(), 1);
        assert_eq!(job.ferry.history[0].by, winners[job.key.uuid.as_str()]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_of_a_job_that_is_not_there_is_lost() {
    let Some((scratch, _dropped, stores)) = fresh(STANDALONE).await else { return };
    assert_eq!(stores.queue.apply(&[check_out("nobody", "b")]).await.unwrap(), [Applied::Lost]);
    let jobs = scratch.raw().await.collection::<Document>("jobs");
    assert_eq!(jobs.count_documents(doc! {}).await.unwrap(), 0);
}

/// Two programs end the parents of one child at the same time: it is released once and the flow's state is right.
async fn two_ends_meet(variable: &str) {
    let Some((scratch, _dropped, stores)) = fresh(variable).await else { return };
    for round in 0..10 {
        let name = |part: &str| format!("{part}{round}");
        let parents = [name("a"), name("b")];
        let child = job(&name("c"), &[&parents[0], &parents[1]]);
        insert(&stores, flow(&name("f"), [job(&parents[0], &[]), job(&parents[1], &[]), child])).await;
        let mut programs = Vec::new();
        for parent in &parents {
            super::super::making::advance(&stores, &key(parent), &super::super::making::TO_DOWNLOADED).await;
            let ended = step(&stores, &key(parent), Event::Complete, 20).await;
            let store = scratch.open().await;
            programs.push(tokio::spawn(async move { store.finish(&[ended.into()]).await.unwrap() }));
        }
        for program in programs {
            assert_eq!(program.await.unwrap(), [Applied::Done]);
        }
        assert_eq!(state(&stores, &name("c")).await, State::Ready);
        assert_eq!(super::super::making::read(&stores, &name("c")).await.ferry.history.len(), 1);
        assert_eq!(flow_state(&stores, &name("f")).await, FlowState::Running);
        complete(&stores, &name("c")).await;
        assert_eq!(flow_state(&stores, &name("f")).await, FlowState::Completed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_ends_meet_standalone() {
    two_ends_meet(STANDALONE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_ends_meet_in_transactions() {
    two_ends_meet(REPLICA_SET).await;
}

/// The state of a flow of more than 500 jobs is found from a few of them, and is the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_flow_has_the_state_of_its_jobs() {
    let Some((scratch, _dropped, stores)) = fresh(REPLICA_SET).await else { return };
    let mut jobs: Vec<_> = (0..600).map(|n| job(&format!("p{n}"), &[])).collect();
    jobs.push(job("sink", &["p0", "p1"]));
    insert(&stores, flow("f", jobs)).await;
    let raw = scratch.raw().await.collection::<Document>("jobs");
    let set = async |filter: Document, state: &str| {
        raw.update_many(filter, doc! { "$set": { "state": state } }).await.unwrap();
    };
    complete(&stores, "p2").await;
    assert_eq!(flow_state(&stores, "f").await, FlowState::Running);
    for (number, (kept, flow)) in
        [("PAUSED", FlowState::Paused), ("USER_STOPPED", FlowState::Stopped), ("FAILED", FlowState::Failed)]
            .into_iter()
            .enumerate()
    {
        set(doc! { "uuid": "p9" }, kept).await;
        complete(&stores, &format!("p{}", 3 + number)).await;
        assert_eq!(flow_state(&stores, "f").await, flow);
    }
    set(doc! { "uuid": { "$nin": ["p9", "p0", "p1", "sink", "p599"] } }, "COMPLETED").await;
    set(doc! { "uuid": "p9" }, "COMPLETED").await;
    end(&stores, "p0", Event::Fail).await;
    assert_eq!(flow_state(&stores, "f").await, FlowState::Failed);
    set(doc! { "uuid": "sink" }, "COMPLETED").await;
    complete(&stores, "p1").await;
    assert_eq!(flow_state(&stores, "f").await, FlowState::Failed, "p599 is still to come");
    complete(&stores, "p599").await;
    assert_eq!(flow_state(&stores, "f").await, FlowState::Completed, "only leaves count");
}

fn claim(owner: &str) -> LeaseClaim {
    let holder = Holder {
        host: "login1".into(),
        pid: 7,
        user: "ada".into(),
        project: "demo".into(),
        daemon_dir: "/d".into(),
        version: "0.1.0".into(),
        started: at(0),
    };
    LeaseClaim { owner: owner.into(), holder, duration: Duration::from_secs(60), at: DateTime::now() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_of_the_python_side_holds_the_lease() {
    let Some((scratch, _dropped, stores)) = fresh(STANDALONE).await else { return };
    let auxiliary = scratch.raw().await.collection::<Document>("jf_auxiliary");
    let document = doc! { "running_runner": { "$exists": true } };
    let python = doc! {
        "processes_info": { "supervisord": { "pid": 4711 } }, "hostname": "vm", "mac_address": "02:fc", "user": "root",
        "daemon_dir": "/home/user/jf/daemon", "project_name": "demo", "start_time": at(1), "last_pinged": at(2),
        "runner_options": {},
    };
    let show = async |runner: bson::Bson| {
        let set = doc! { "$set": { "running_runner": runner } };
        auxiliary.update_one(document.clone(), set).await.unwrap();
    };
    show(python.clone().into()).await;
    let LeaseAnswer::Taken(lease) = stores.queue.take_lease(&claim("me")).await.unwrap() else {
        panic!("taken from a live runner")
    };
    assert_eq!((lease.holder.host.as_str(), lease.holder.pid, lease.standing), ("vm", 4711, Standing::Holds));
    assert_eq!(stores.queue.lease().await.unwrap(), Some(lease));
    show(bson::Bson::Null).await;
    assert_eq!(stores.queue.take_lease(&claim("me")).await.unwrap(), LeaseAnswer::Yours);
    let shown = auxiliary.find_one(document.clone()).await.unwrap().unwrap();
    let shown = shown.get_document("running_runner").unwrap();
    for field in python.keys() {
        assert!(shown.contains_key(field), "{field} is what `jf runner info` of the Python side may read");
    }
    assert_eq!(shown.get_str("hostname").unwrap(), "login1");
    let pings = auxiliary.find_one(doc! { "runner_pings": { "$exists": true } }).await.unwrap().unwrap();
    assert_eq!(pings.get_array("runner_pings").unwrap().len(), 1);
    // `jf runner reset`: our runner shows itself again with the next renewal.
    show(bson::Bson::Null).await;
    assert_eq!(stores.queue.take_lease(&claim("me")).await.unwrap(), LeaseAnswer::Yours);
    // A Python runner that was started all the same makes ours stand back.
    show(python.into()).await;
    assert!(matches!(stores.queue.take_lease(&claim("me")).await.unwrap(), LeaseAnswer::Taken(_)));
    stores.queue.release_lease("me").await.unwrap();
    let lease = stores.queue.lease().await.unwrap().unwrap();
    assert_eq!(lease.holder.host, "vm", "the release leaves the other's document alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrating_takes_a_database_of_the_python_side() {
    let Some(scratch) = Scratch::new("store_contract::mongodb::crowd", STANDALONE) else { return };
    let _dropped = Dropped(scratch.clone());
    let raw = scratch.raw().await;
    let text = include_str!("../../../fixtures/documents/jf_auxiliary.json");
    let values: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
    let documents = values.into_iter().map(|value| match bson::Bson::try_from(value).unwrap() {
        bson::Bson::Document(document) => document,
        other => panic!("{other}"),
    });
    raw.collection::<Document>("jf_auxiliary").insert_many(documents).await.unwrap();
    let unique = doc! { "createIndexes": "jobs", "indexes": [
        { "key": { "uuid": 1, "index": 1 }, "name": "uuid_1_index_1", "unique": true, "background": true },
    ] };
    raw.run_command(unique).await.unwrap();
    let stores = scratch.open().await.into_stores();
    assert_eq!(stores.queue.migrate().await.unwrap(), [1, 2]);
    let ids = stores.queue.insert_flow(&flow("f", [job("a", &[])])).await.unwrap();
    assert_eq!(ids[0].db_id, "pp-87", "goes on where the Python side was");
    let auxiliary = raw.collection::<Document>("jf_auxiliary");
    assert_eq!(auxiliary.count_documents(doc! {}).await.unwrap(), 5, "its four and our schema");
}

/// Jobs that the Python side submitted have no `jobferry`: they go through a whole life all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_of_the_python_side_are_moved() {
    let Some((scratch, _dropped, stores)) = fresh(REPLICA_SET).await else { return };
    insert(&stores, flow("f", [job("a", &[]), job("b", &["a"])])).await;
    let raw = scratch.raw().await;
    let bare = doc! { "$unset": { "jobferry": "" } };
    raw.collection::<Document>("jobs").update_many(doc! {}, bare).await.unwrap();
    complete(&stores, "a").await;
    complete(&stores, "b").await;
    assert_eq!(flow_state(&stores, "f").await, FlowState::Completed);
    let lost = check_out("a", "b");
    assert_eq!(
        stores.queue.apply(&[Move { key: JobKey::new("a", 2), ..lost }]).await.unwrap(),
        [Applied::Lost]
    );
}

#[tokio::test]
async fn a_server_that_is_away_is_said_to_be() {
    let location = Location {
        address: Address::Uri("mongodb://me:s3cret@127.0.0.1:9/db?serverSelectionTimeoutMS=200".into()),
        database: None,
    };
    let settings = MongoSettings {
        queue: location.clone(),
        collections: Collections::default(),
        outputs: location,
        outputs_collection: "outputs".into(),
        id_prefix: String::new(),
    };
    let store = MongoStore::open(settings).await.unwrap();
    let error = store.ping().await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }) && error.is_passing());
    assert_eq!(error.to_string(), "the store mongodb://127.0.0.1:9/db does not answer");
    assert!(!format!("{error:?}").contains("s3cret"));
}
