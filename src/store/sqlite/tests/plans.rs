//! Every statement stays on an index.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bson::doc;
use rusqlite::Connection;

use crate::model::flow::FlowState;
use crate::model::ids::Token;
use crate::model::job::HISTORY_LIMIT;
use crate::model::query::{Detail, FlowFilter, JobFilter, Locked, Order, Page, SortKey};
use crate::model::state::{Event, State};
use crate::store::actions::{
    Action, Cancellation, Cancellations as _, Deletion, Locks, Mandate, Processes, Properties, Rerun,
    UserActions as _,
};
use crate::store::{
    BlobDocument, Blobs as _, Change, Claim, FileSource, Files as _, Holder, LeaseClaim, Move, NewFile,
    OutputDocument, Outputs as _, Queue as _, Work,
};

use super::super::{SqliteBlobs, SqliteStore};
use super::{at, flow, in_memory, job};

thread_local! {
    static SEEN: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

/// Remembers a statement that was prepared on this thread.
pub(in super::super) fn record(sql: &str) {
    SEEN.with_borrow_mut(|seen| seen.insert(sql.to_owned()));
}

/// Calls every method; the store is `Inline`, so that all happens on this thread.
async fn use_everything(store: &SqliteStore) {
    let jobs = vec![job("f", 0, &[]), job("f", 1, &["f-0".into()])];
    store.insert_flow(&flow("f", jobs)).await.unwrap();
    use_queue(store).await;
    use_filters(store).await;
    use_outputs_and_files(store).await;
    use_actions(store).await;
}

async fn use_actions(store: &SqliteStore) {
    let jobs = vec![job("g", 0, &[]), job("g", 1, &["g-0".into()]), job("g", 2, &["g-1".into()])];
    store.insert_flow(&flow("g", jobs)).await.unwrap();
    let deletion = Deletion { processes: Processes::End, remove_directory: true };
    let properties = Properties {
        worker: Some("w".into()),
        exec_config: Some("e".into()),
        resources: Some(doc! {}),
        ..Properties::default()
    };
    let actions = [
        Action::SetState(State::Running),
        Action::Rerun(Rerun::default()),
        Action::SetState(State::Failed),
        Action::Rerun(Rerun { force: true, keep_files: false }),
        Action::Pause,
        Action::Set(Box::new(properties)),
        Action::Resume,
        Action::Stop,
        Action::Delete(deletion),
    ];
    let key = crate::model::ids::JobKey::new("g-0", 1);
    for locks in [Locks::Honour, Locks::Break] {
        for action in &actions {
            let mandate = Mandate { by: "me".into(), at: at(9), locks };
            store.act(std::slice::from_ref(&key), action, &mandate).await.unwrap();
        }
    }
    let mandate = Mandate { by: "me".into(), at: at(9), locks: Locks::Honour };
    store.set_flow_store("g", Some("other"), &mandate).await.unwrap();
    let order = Cancellation {
        token: Token::new(&key, 1),
        worker: "w".into(),
        process_id: None,
        run_dir: None,
        remove_directory: false,
        ordered_on: at(9),
        by: "me".into(),
    };
    store.order_cancellations(std::slice::from_ref(&order)).await.unwrap();
    assert_eq!(store.cancellations().await.unwrap().len(), 1);
    store.clear_cancellations(&[order.token]).await.unwrap();
    store.delete_flows(&["g".into()], deletion, &mandate).await.unwrap();
    store.remove_outputs(&[key]).await.unwrap();
}

async fn use_queue(store: &SqliteStore) {
    let room = BTreeMap::from([("w".to_owned(), 1)]);
    store.claim(&Claim { room, at: at(1), by: "me".into() }).await.unwrap();
    let work = Work {
        states: vec![State::CheckedOut],
        workers: vec!["w".into()],
        due: at(1),
        limit: 5,
        detail: Detail::Full,
    };
    for _ in 0..HISTORY_LIMIT {
        let jobs = store.work(&work).await.unwrap();
        let rerun = Move::of(&jobs[0], Some(Event::Rerun), at(2), "me").with([Change::Error(None)]);
        let mut again = rerun.clone();
        (again.expected, again.event) = (State::Ready, Some(Event::CheckOut));
        store.apply(&[rerun, again]).await.unwrap();
    }
    let events = [Event::Stage, Event::Submit, Event::EndHere, Event::Complete];
    let page = Page { sort: SortKey::DbId, order: Order::Ascending, ..Page::default() };
    for event in events {
        let jobs = store.jobs(&JobFilter::default(), &page, Detail::Full).await.unwrap();
        store.finish(&[Move::of(&jobs[0], Some(event), at(3), "me").into()]).await.unwrap();
    }
    store.repair(at(4)).await.unwrap();
    store.load(&State::ALL).await.unwrap();
    store.ping().await.unwrap();
    let holder = Holder {
        host: "h".into(),
        pid: 1,
        user: "u".into(),
        project: "p".into(),
        daemon_dir: "d".into(),
        version: "v".into(),
        started: at(0),
    };
    let claim = LeaseClaim { owner: "me".into(), holder, duration: Duration::from_secs(1), at: at(0) };
    store.take_lease(&claim).await.unwrap();
    store.release_lease("me").await.unwrap();
}

fn job_filters() -> Vec<JobFilter> {
    let none = JobFilter::default;
    let text = || vec!["x".to_owned()];
    vec![
        none(),
        JobFilter { keys: vec![crate::model::ids::JobKey::new("x", 1)], ..none() },
        JobFilter { uuids: text(), ..none() },
        JobFilter { uuid_prefixes: vec!["x".into(), "y".into()], ..none() },
        JobFilter { db_ids: vec!["p17".into()], ..none() },
        JobFilter { flows: text(), states: vec![State::Ready], ..none() },
        JobFilter { states: vec![State::Failed, State::RemoteError], ..none() },
        JobFilter { workers: text(), updated_from: Some(at(0)), ..none() },
        JobFilter { name: Some("exact".into()), ..none() },
        JobFilter { name: Some("be*".into()), ..none() },
        JobFilter { name: Some("*end".into()), ..none() },
        JobFilter { metadata: BTreeMap::from([("n".into(), 1.into()), ("m".into(), 2.into())]), ..none() },
        JobFilter { updated_from: Some(at(0)), updated_to: Some(at(1)), ..none() },
        JobFilter { process_id: Some("1".into()), ..none() },
        JobFilter { locked: Some(Locked::Held), ..none() },
        JobFilter { locked: Some(Locked::Free), ..none() },
    ]
}

fn flow_filters() -> Vec<FlowFilter> {
    let none = FlowFilter::default;
    vec![
        none(),
        FlowFilter { uuids: vec!["x".into()], ..none() },
        FlowFilter { uuid_prefixes: vec!["x".into()], ..none() },
        FlowFilter { db_ids: vec!["1".into()], ..none() },
        FlowFilter { job_uuids: vec!["x".into()], ..none() },
        FlowFilter { states: vec![FlowState::Failed], ..none() },
        FlowFilter { name: Some("f*".into()), ..none() },
        FlowFilter { metadata: BTreeMap::from([("kind".into(), "test".into())]), ..none() },
        FlowFilter { updated_from: Some(at(0)), updated_to: Some(at(1)), ..none() },
        FlowFilter { locked: Some(Locked::Held), ..none() },
        FlowFilter { locked: Some(Locked::Free), ..none() },
    ]
}

async fn use_filters(store: &SqliteStore) {
    for sort in [SortKey::CreatedOn, SortKey::UpdatedOn, SortKey::DbId] {
        for order in [Order::Ascending, Order::Descending] {
            let page = Page { sort, order, ..Page::default() };
            for filter in job_filters() {
                store.jobs(&filter, &page, Detail::Summary).await.unwrap();
                store.count_jobs(&filter).await.unwrap();
            }
            for filter in flow_filters() {
                store.flows(&filter, &page).await.unwrap();
                store.count_flows(&filter).await.unwrap();
            }
        }
    }
}

async fn use_outputs_and_files(store: &SqliteStore) {
    let key = crate::model::ids::JobKey::new("x", 1);
    let output = OutputDocument { key: key.clone(), document: doc! {"output": 1} };
    store.put_outputs(&[output]).await.unwrap();
    store.newest_outputs(&["x".into()]).await.unwrap();
    store.output(&key).await.unwrap();
    let blobs = SqliteBlobs::new(store.clone(), "data");
    let blob = BlobDocument { blob_uuid: "b".into(), job: key.clone(), document: doc! {"data": 1} };
    blobs.put_blobs(&[blob]).await.unwrap();
    blobs.get_blobs(&["b".into()]).await.unwrap();
    crate::store::BlobIndex::uuids_of(&blobs, std::slice::from_ref(&key)).await.unwrap();
    blobs.remove_blobs(&[key]).await.unwrap();
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let file = |sha256: &str, bytes: &[u8]| NewFile {
        sha256: sha256.into(),
        source: FileSource::Bytes(bytes.into()),
    };
    store.put_files(&[file(empty, b"")]).await.unwrap();
    store.put_files(&[file("wrong", b"x")]).await.unwrap_err();
    let directory = tempfile::tempdir().unwrap();
    store.get_file(empty, &directory.path().join("file")).await.unwrap();
}

/// Returns the steps of the plan that are not look-ups in an index.
fn faults(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let nulls = vec![rusqlite::types::Null; statement.parameter_count()];
    let steps =
        statement.query_map(rusqlite::params_from_iter(nulls), |row| row.get::<_, String>(3)).unwrap();
    steps.map(Result::unwrap).filter(|step| !is_fine(sql, step)).collect()
}

fn is_fine(sql: &str, step: &str) -> bool {
    // A narrow filter sorts, or counts, the few rows that it names.
    let narrow = ["WHERE number IN (SELECT", "WHERE id IN (SELECT"].iter().any(|form| sql.contains(form));
    if step.starts_with("USE TEMP B-TREE") {
        return narrow;
    }
    let Some(scanned) = step.strip_prefix("SCAN ") else { return true };
    // A list from the caller; the held rows and the orders, all of which are wanted.
    let list = scanned.starts_with("json_each") || scanned.ends_with("_locked") || scanned == "cancellations";
    // A broad filter sorted by creation or number walks along the order and stops at the limit.
    let walk = ["jobs USING INDEX jobs_by_creation", "flows USING INDEX flows_by_creation", "jobs", "flows"];
    list || (sql.contains(" LIMIT ") && !narrow && walk.contains(&scanned))
}

#[tokio::test]
async fn every_statement_stays_on_an_index() {
    let store = in_memory().await;
    use_everything(&store).await;
    let seen = SEEN.with_borrow(Clone::clone);
    assert!(seen.len() > 80, "{} statements: not all methods were called", seen.len());
    let faults = store
        .write("explain", move |connection| {
            Ok(seen.into_iter().map(|sql| (faults(connection, &sql), sql)).collect::<Vec<_>>())
        })
        .await
        .unwrap();
    let faults: Vec<_> = faults.into_iter().filter(|(faults, _)| !faults.is_empty()).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The streams of a listing by time of update are merged without sorting.
#[tokio::test]
async fn the_default_listing_is_merged_from_the_index() {
    let store = in_memory().await;
    let page = Page::default();
    store.jobs(&JobFilter::default(), &page, Detail::Summary).await.unwrap();
    let sql = SEEN.with_borrow(|seen| seen.iter().find(|sql| sql.contains("UNION ALL")).cloned().unwrap());
    let steps = store
        .write("explain", move |connection| {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let nulls = vec![rusqlite::types::Null; statement.parameter_count()];
            let steps =
                statement.query_map(rusqlite::params_from_iter(nulls), |row| row.get::<_, String>(3))?;
            Ok(steps.collect::<Result<Vec<_>, _>>()?)
        })
        .await
        .unwrap();
    let searches = steps.iter().filter(|step| step.contains("COVERING INDEX jobs_by_state (state=?)"));
    assert_eq!(searches.count(), State::ALL.len(), "{steps:#?}");
    assert!(!steps.iter().any(|step| step.contains("B-TREE")), "{steps:#?}");
}
