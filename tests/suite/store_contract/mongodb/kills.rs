//! What a process that is killed in the middle leaves, and what the next one makes of it.
//!
//! The killed process is a runtime of its own that is taken away with all its tasks, at whatever await they are, as
//! soon as an onlooker sees a certain moment in the database.

use std::time::Duration;

use bson::{Document, doc};
use futures::TryStreamExt as _;
use jobferry::model::ids::JobKey;
use jobferry::model::job::NewFlow;
use jobferry::model::query::{Detail, FlowFilter, JobFilter};
use jobferry::model::state::{Event, State};
use jobferry::store::{Applied, Change, Move, Stores};
use mongodb::Database;

use super::super::making::{ALL, BY, at, endings, flow, insert, job, key, state};
use super::{Dropped, Scratch};

const STANDALONE: &str = "JF_TEST_MONGODB_URI";
const REPLICA_SET: &str = "JF_TEST_MONGODB_REPLICA_SET_URI";

/// A moment that never comes is a failure, not a test that hangs.
const LIMIT: Duration = Duration::from_secs(60);

async fn fresh(variable: &str) -> Option<(Scratch, Dropped, Stores)> {
    let scratch = Scratch::new("store_contract::mongodb::kills", variable)?;
    let dropped = Dropped(scratch.clone());
    let stores = scratch.open().await.into_stores();
    stores.queue.migrate().await.unwrap();
    Some((scratch, dropped, stores))
}

/// Runs `work` in a runtime of its own until `moment` holds or the work has ended, then takes the runtime away.
async fn killed_at<W, M>(scratch: &Scratch, work: impl FnOnce(Stores) -> W + Send + 'static, moment: M)
where
    W: Future<Output = ()> + Send + 'static,
    M: AsyncFn(&Database) -> bool,
{
    let raw = scratch.raw().await;
    let victim = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut scratch = scratch.clone();
    let separator = if scratch.uri.contains('?') { '&' } else { '?' };
    scratch.uri = format!("{}{separator}appName={}", scratch.uri, scratch.name);
    let work = victim.spawn(async move { work(scratch.open().await.into_stores()).await });
    let watch = async {
        while !work.is_finished() && !moment(&raw).await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, watch).await.expect("the moment comes");
    let gone = tokio::task::spawn_blocking(move || victim.shutdown_timeout(LIMIT));
    gone.await.unwrap();
    tokio::time::timeout(LIMIT, quiet(&raw)).await.expect("the server ends what the killed process sent");
}

/// Returns when the server has done what it received from the killed process and has closed its connections, and ends
/// the transaction that was left open: by itself the server does so after `transactionLifetimeLimitSeconds`, a minute.
pub(super) async fn quiet(raw: &Database) {
    let admin = raw.client().database("admin");
    loop {
        let all = doc! { "$currentOp": { "idleSessions": true, "idleConnections": true } };
        let theirs = doc! { "$match": { "appName": raw.name() } };
        let left = admin.aggregate([all, theirs]).await.unwrap();
        let left: Vec<Document> = left.try_collect().await.unwrap();
        if left.is_empty() {
            return;
        }
        let sessions = left.iter().filter(|operation| operation.contains_key("transaction"));
        for session in sessions.filter_map(|operation| operation.get_document("lsid").ok()) {
            let open = doc! { "id": session.get("id").unwrap().clone() };
            drop(admin.run_command(doc! { "killSessions": [open] }).await);
        }
        tokio::task::yield_now().await;
    }
}

async fn count(raw: &Database, collection: &str, filter: Document) -> u64 {
    raw.collection::<Document>(collection).count_documents(filter).await.unwrap()
}

fn large_flow() -> NewFlow {
    let jobs = (0..3000).map(|n| {
        if n % 2 == 0 { job(&format!("p{n}"), &[]) } else { job(&format!("c{n}"), &[&format!("p{}", n - 1)]) }
    });
    flow("f", jobs.collect::<Vec<_>>())
}

async fn insert_killed_at(variable: &str, moment: impl AsyncFn(&Database) -> bool) {
    let Some((scratch, _dropped, stores)) = fresh(variable).await else { return };
    insert(&stores, flow("other", [job("o", &[])])).await;
    let inserting = async |stores: Stores| drop(stores.queue.insert_flow(&large_flow()).await);
    killed_at(&scratch, inserting, moment).await;
    // While the insert may still be going on nobody touches it; later it is all there or gone.
    stores.queue.repair(at(1)).await.unwrap();
    stores.queue.repair(at(3600)).await.unwrap();
    let raw = scratch.raw().await;
    let jobs = count(&raw, "jobs", doc! { "job.hosts": "f" }).await;
    let flows = count(&raw, "flows", doc! { "uuid": "f" }).await;
    assert!((flows, jobs) == (1, 3000) || (flows, jobs) == (0, 0), "{flows} flows, {jobs} jobs");
    if flows == 1 {
        assert_eq!(count(&raw, "jobs", doc! { "job.hosts": "f", "state": "READY" }).await, 1500);
        assert_eq!(count(&raw, "flows", doc! { "jobferry.inserting": { "$ne": null } }).await, 0);
    } else {
        insert(&stores, large_flow()).await;
    }
    assert_eq!(state(&stores, "o").await, State::Ready);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_insert_killed_after_the_flow() {
    insert_killed_at(STANDALONE, async |raw| count(raw, "flows", doc! { "uuid": "f" }).await > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_insert_killed_among_the_jobs() {
    let some = doc! { "job.hosts": "f" };
    insert_killed_at(STANDALONE, async |raw| count(raw, "jobs", some.clone()).await > 1000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_insert_killed_as_it_becomes_visible() {
    let visible = doc! { "uuid": "f", "jobferry.inserting": null };
    insert_killed_at(STANDALONE, async |raw| count(raw, "flows", visible.clone()).await > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_insert_killed_in_its_transaction() {
    let begun = doc! { "next_id": { "$gt": 1000 } };
    insert_killed_at(REPLICA_SET, async |raw| count(raw, "jf_auxiliary", begun.clone()).await > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_insert_can_be_repeated_at_once() {
    let Some((scratch, _dropped, stores)) = fresh(STANDALONE).await else { return };
    let inserting = async |stores: Stores| drop(stores.queue.insert_flow(&large_flow()).await);
    killed_at(&scratch, inserting, async |raw| count(raw, "jobs", doc! {}).await > 0).await;
    let raw = scratch.raw().await;
    if count(&raw, "flows", doc! { "jobferry.inserting": { "$ne": null } }).await == 1 {
        assert_eq!(count(&raw, "jobs", doc! { "state": "READY" }).await, 0, "nobody may start a half flow");
        assert_eq!(stores.queue.insert_flow(&large_flow()).await.unwrap().len(), 3000);
    }
    assert_eq!(count(&raw, "jobs", doc! { "state": "READY" }).await, 1500);
}

fn ended(key: JobKey) -> Move {
    Move {
        key,
        expected: State::Downloaded,
        attempt: 1,
        event: Some(Event::Complete),
        changes: vec![Change::EndTime(Some(at(19)))],
        reason: None,
        by: BY.into(),
        at: at(20),
    }
}

/// 600 parents, each with a child; all parents are DOWNLOADED and are ended in one call, which is killed.
async fn finish_killed_at(variable: &str, moment: impl AsyncFn(&Database) -> bool) {
    let Some((scratch, _dropped, stores)) = fresh(variable).await else { return };
    let pairs = (0..600).flat_map(|n| {
        let (parent, child) = (format!("p{n}"), format!("c{n}"));
        [job(&parent, &[]), job(&child, &[&parent])]
    });
    insert(&stores, flow("f", pairs.collect::<Vec<_>>())).await;
    let raw = scratch.raw().await;
    let downloaded = doc! { "$set": { "state": "DOWNLOADED", "jobferry.attempt": 1 } };
    raw.collection::<Document>("jobs").update_many(doc! { "state": "READY" }, downloaded).await.unwrap();
    let moves: Vec<Move> = (0..600).map(|n| ended(key(&format!("p{n}")))).collect();
    let theirs = moves.clone();
    let finishing = async move |stores: Stores| drop(stores.queue.finish(&endings(&theirs)).await);
    killed_at(&scratch, finishing, moment).await;
    stores.queue.repair(at(50)).await.unwrap();
    all_follows(&stores).await;
    let applied = stores.queue.finish(&endings(&moves)).await.unwrap();
    assert_eq!(applied.len(), 600);
    assert!(applied.contains(&Applied::Lost), "some were stored before the kill");
    all_follows(&stores).await;
    assert_eq!(count(&raw, "jobs", doc! { "state": "READY" }).await, 600);
    let histories = doc! { "state": "COMPLETED", "jobferry.history": { "$size": 1 } };
    assert_eq!(count(&raw, "jobs", histories).await, 600, "each ended once");
}

/// Every child of a COMPLETED parent is READY, every other WAITING; nothing is left to settle.
async fn all_follows(stores: &Stores) {
    let jobs = stores.queue.jobs(&JobFilter::default(), &ALL, Detail::Summary).await.unwrap();
    let completed = |uuid: &str| jobs.iter().any(|job| job.key.uuid == uuid && job.state == State::Completed);
    for child in jobs.iter().filter(|job| !job.parents.is_empty()) {
        let expected = if completed(&child.parents[0]) { State::Ready } else { State::Waiting };
        assert_eq!(child.state, expected, "{}", child.key);
    }
    assert!(jobs.iter().all(|job| !job.ferry.settling));
    let flows = stores.queue.flows(&FlowFilter::default(), &ALL).await.unwrap();
    assert_eq!(flows[0].state, jobferry::model::flow::FlowState::Running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_killed_before_what_follows() {
    let some = doc! { "state": "COMPLETED" };
    finish_killed_at(STANDALONE, async |raw| count(raw, "jobs", some.clone()).await > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_killed_after_the_children() {
    let some = doc! { "state": "READY" };
    finish_killed_at(STANDALONE, async |raw| count(raw, "jobs", some.clone()).await > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_killed_between_transactions() {
    let some = doc! { "state": "COMPLETED" };
    finish_killed_at(REPLICA_SET, async |raw| count(raw, "jobs", some.clone()).await > 0).await;
}

/// A process that dies while it changes the schema holds up the next one for seconds, not for good.
#[tokio::test(flavor = "multi_thread")]
async fn the_lock_of_a_dead_migration_ends_by_itself() {
    let Some(scratch) = Scratch::new("the_lock_of_a_dead_migration_ends_by_itself", STANDALONE) else {
        return;
    };
    let _dropped = Dropped(scratch.clone());
    let locked = async |raw: &Database| {
        let lock = doc! { "jobferry_schema.lock": { "$exists": true } };
        raw.collection::<Document>("jf_auxiliary").find_one(lock).await.unwrap().is_some()
    };
    let migrate = |stores: Stores| async move { drop(stores.queue.migrate().await) };
    killed_at(&scratch, migrate, locked).await;
    let stores = scratch.open().await.into_stores();
    let migrated =
        tokio::time::timeout(LIMIT, stores.queue.migrate()).await.expect("within the limit").unwrap();
    assert!(migrated == [1, 2] || migrated.is_empty(), "{migrated:?}");
}
