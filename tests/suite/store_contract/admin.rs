//! What an administrator does to a store, and copies of one store in another of any kind.

use std::any::Any;
use std::path::Path;

use bson::{Document, doc};
use jobferry::model::ids::JobKey;
use jobferry::model::job::JobRecord;
use jobferry::model::query::{FlowFilter, JobFilter, Locked};
use jobferry::model::state::{Event, State};
use jobferry::store::admin::{
    Admin, Counts, Direction, IndexMade, Inventory, NewIndex, Obstacle, Part, RunnerLock, Scope, UpgradeStep,
};
use jobferry::store::backup::{self, BackupError, Compression};
use jobferry::store::sqlite::Dispatch;
use jobferry::store::{Applied, FileSource, NewFile, OutputDocument, Queue as _, Stores};
use sha2::{Digest as _, Sha256};

use super::making::{
    BY, Making as _, advance, at, claim_of, complete, end, everything, flow, insert, job, key, read, state,
    step,
};
use super::{mongodb, sqlite};

/// A store of one kind, empty and migrated.
struct Store {
    stores: Stores,
    admin: Box<dyn Admin>,
    /// None for SQLite.
    scratch: Option<mongodb::Scratch>,
    #[expect(dead_code, reason = "kept for its destructor: a temporary directory, a database to drop")]
    kept: Box<dyn Any + Send + Sync>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Standalone,
    ReplicaSet,
}

const KINDS: [Kind; 3] = [Kind::Sqlite, Kind::Standalone, Kind::ReplicaSet];

async fn open(kind: Kind) -> Option<Store> {
    let variable = match kind {
        Kind::Sqlite => return Some(open_sqlite().await),
        Kind::Standalone => "JF_TEST_MONGODB_URI",
        Kind::ReplicaSet => "JF_TEST_MONGODB_REPLICA_SET_URI",
    };
    let scratch = mongodb::Scratch::new("store_contract::admin", variable)?;
    let store = scratch.open().await;
    store.migrate().await.unwrap();
    let stores = store.clone().into_stores();
    let kept = Box::new(mongodb::Dropped(scratch.clone()));
    Some(Store { stores, admin: Box::new(store), scratch: Some(scratch), kept })
}

async fn open_sqlite() -> Store {
    let directory = tempfile::tempdir().unwrap();
    let store = sqlite::open(&directory.path().join("lab.sqlite"), Dispatch::Blocking);
    store.migrate().await.unwrap();
    Store { stores: store.stores(), admin: Box::new(store), scratch: None, kept: Box::new(directory) }
}

async fn hold(store: &Store, key: &JobKey) {
    // A job that came from somewhere else with its lock.
    let folder = tempfile::tempdir().unwrap();
    let made = backup::create(&*store.admin, folder.path(), Compression::None).await.unwrap();
    for (name, is_it) in [("jobs", true), ("flows", false)] {
        let path = made.folder.join(format!("{name}.bson"));
        let mut documents = documents(&path);
        for document in &mut documents {
            if !is_it || document.get_str("uuid").unwrap() == key.uuid {
                document.insert("lock_id", "somebody");
                document.insert("lock_time", at(5));
            }
        }
        std::fs::write(path, documents.iter().flat_map(|one| one.to_vec().unwrap()).collect::<Vec<u8>>())
            .unwrap();
    }
    store.admin.reset(Scope::Queue).await.unwrap();
    backup::restore(&*store.admin, &backup::find(folder.path()).await.unwrap()).await.unwrap();
}

fn documents(path: &Path) -> Vec<Document> {
    let bytes = std::fs::read(path).unwrap();
    let mut rest = bytes.as_slice();
    let mut documents = Vec::new();
    while !rest.is_empty() {
        documents.push(Document::from_reader(&mut rest).unwrap());
    }
    documents
}

/// Two flows: jobs that are COMPLETED, FAILED, READY, WAITING and under way, one of the index 2, metadata, configurations.
async fn fill(stores: &Stores) {
    let mut configured = job("b", &["a"]).with_metadata(doc! {"tag": [1, {"x": "y"}]});
    configured.exec_config =
        Some(doc! {"modules": ["m"], "export": null, "pre_run": null, "post_run": null}.into());
    configured.resources = Some(doc! {"nodes": 2, "wide": 5_000_000_000_i64});
    let again = job("a", &[]).indexed(2).with_priority(7);
    let mut first = flow("f", [job("a", &[]), configured, again, job("c", &["b", "a"]), job("e", &[])]);
    first.metadata = doc! {"project": "paint"};
    first.jobstore = Some("elsewhere".into());
    insert(stores, first).await;
    insert(stores, flow("g", [job("x", &[]), job("y", &["x"])])).await;
    stores.queue.claim(&claim_of(&[("w", 1)], at(1))).await.unwrap();
    complete(stores, "e").await;
    end(stores, "x", Event::Fail).await;
}

async fn put_more(stores: &Stores) {
    let content = b"content".to_vec();
    let sha256 = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    stores.files.put_files(&[NewFile { sha256, source: FileSource::Bytes(content) }]).await.unwrap();
    let output = OutputDocument { key: key("e"), document: doc! {"uuid": "e", "index": 1, "output": 5} };
    stores.job_store.outputs.put_outputs(&[output]).await.unwrap();
}

async fn copy(from: &Store, to: &Store, compression: Compression) -> Counts {
    let folder = tempfile::tempdir().unwrap();
    let made = backup::create(&*from.admin, folder.path(), compression).await.unwrap();
    let found = backup::find(folder.path()).await.unwrap();
    assert_eq!(found.counts, made.counts);
    let taken = backup::restore(&*to.admin, &found).await.unwrap();
    assert_eq!((taken.jobs, taken.flows), (made.counts.jobs, made.counts.flows));
    made.counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_each_store_goes_into_each_other() {
    for from in KINDS {
        for to in KINDS {
            let (Some(source), Some(target)) = (open(from).await, open(to).await) else { continue };
            fill(&source.stores).await;
            let counts = copy(&source, &target, Compression::Gzip).await;
            assert_eq!(counts, Counts { flows: 2, jobs: 7, batches: 0, auxiliary: 4 }, "{from:?}");
            assert_eq!(everything(&target.stores).await, everything(&source.stores).await, "{from:?} {to:?}");
            goes_on(&target.stores, &format!("{from:?} to {to:?}")).await;
        }
    }
}

/// The counter, the parents and the flow's state are alive, not only shown.
async fn goes_on(stores: &Stores, what: &str) {
    insert(stores, flow("h", [job("z", &[])])).await;
    assert!(read(stores, "z").await.db_id.ends_with('8'), "{what}");
    let urgent = JobKey::new("a", 2);
    advance(stores, &urgent, &[Event::Stage, Event::Submit, Event::Start, Event::End, Event::Collect]).await;
    let last = step(stores, &urgent, Event::Complete, 10).await;
    assert_eq!(stores.queue.finish(&[last.into()]).await.unwrap(), [Applied::Done], "{what}");
    complete(stores, "a").await;
    assert_eq!(state(stores, "b").await, State::Ready, "{what}");
    let history = read(stores, "e").await.ferry.history;
    assert!(history.len() > 6 && history.iter().all(|entry| entry.by == BY), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_use_takes_no_backup_and_a_backup_is_not_overwritten() {
    for kind in KINDS {
        let (Some(source), Some(target)) = (open(kind).await, open(kind).await) else { continue };
        fill(&source.stores).await;
        let folder = tempfile::tempdir().unwrap();
        let made = backup::create(&*source.admin, folder.path(), Compression::None).await.unwrap();
        let again = backup::create(&*source.admin, folder.path(), Compression::Gzip).await;
        assert!(matches!(again, Err(BackupError::Exists(path)) if path == made.folder), "{kind:?}");
        assert_eq!(std::fs::read_dir(&made.folder).unwrap().count(), 4);
        insert(&target.stores, flow("other", [job("o", &[])])).await;
        let before = everything(&target.stores).await;
        let found = backup::find(&made.folder).await.unwrap();
        let refused = backup::restore(&*target.admin, &found).await;
        assert!(matches!(refused, Err(BackupError::NotEmpty(_))), "{kind:?} {refused:?}");
        assert_eq!(everything(&target.stores).await, before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_a_backup_are_for_this_account_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let source = open_sqlite().await;
    let folder = tempfile::tempdir().unwrap();
    let made = backup::create(&*source.admin, folder.path(), Compression::Gzip).await.unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&made.folder), 0o700);
    for file in std::fs::read_dir(&made.folder).unwrap().flatten() {
        assert_eq!(mode(&file.path()), 0o600, "{file:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_leaves_an_empty_store_that_works() {
    for kind in KINDS {
        let Some(store) = open(kind).await else { continue };
        fill(&store.stores).await;
        put_more(&store.stores).await;
        let full = Inventory { jobs: 7, flows: 2, batches: 0, files: 1, outputs: 1, next_number: 8 };
        assert_eq!(store.admin.inventory().await.unwrap(), full, "{kind:?}");
        for (scope, outputs) in [(Scope::Queue, 1), (Scope::Outputs, 0), (Scope::Outputs, 0)] {
            store.admin.reset(scope).await.unwrap();
            let empty = Inventory { outputs, next_number: 1, ..Inventory::default() };
            assert_eq!(store.admin.inventory().await.unwrap(), empty, "{kind:?} {scope:?}");
        }
        assert_eq!(store.stores.queue.migrate().await.unwrap(), Vec::<u32>::new());
        assert_eq!(store.stores.queue.lease().await.unwrap(), None);
        fill(&store.stores).await;
        assert!(read(&store.stores, "a").await.db_id.ends_with('1'), "{kind:?}");
        let twice = store.stores.queue.insert_flow(&flow("f", [job("a", &[])])).await;
        assert!(twice.is_err(), "{kind:?}: the unique indexes are there");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_are_taken_from_what_was_asked_for() {
    for kind in KINDS {
        let Some(store) = open(kind).await else { continue };
        fill(&store.stores).await;
        hold(&store, &key("c")).await;
        let lock = async || read(&store.stores, "c").await.lock.map(|lock| lock.id);
        assert_eq!(lock().await.as_deref(), Some("somebody"), "{kind:?}");
        let others = JobFilter { uuids: vec!["b".into()], ..JobFilter::default() };
        assert_eq!(store.admin.unlock_jobs(&others).await.unwrap(), 0);
        assert_eq!(lock().await.as_deref(), Some("somebody"), "{kind:?}");
        assert_eq!(store.admin.unlock_jobs(&JobFilter::default()).await.unwrap(), 1);
        assert_eq!(lock().await, None, "{kind:?}");
        let held = FlowFilter { locked: Some(Locked::Held), ..FlowFilter::default() };
        assert_eq!(store.stores.queue.count_flows(&held).await.unwrap(), 2, "{kind:?}");
        let one = FlowFilter { uuids: vec!["g".into()], ..FlowFilter::default() };
        assert_eq!(store.admin.unlock_flows(&one).await.unwrap(), 1);
        assert_eq!(store.admin.unlock_flows(&FlowFilter::default()).await.unwrap(), 1);
        assert_eq!(store.stores.queue.count_flows(&held).await.unwrap(), 0, "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lock_of_the_running_runner_is_taken() {
    for kind in [Kind::Standalone, Kind::ReplicaSet] {
        let Some(store) = open(kind).await else { continue };
        let auxiliary = store.scratch.as_ref().unwrap().raw().await.collection::<Document>("jf_auxiliary");
        assert_eq!(store.admin.unlock_runner().await.unwrap(), RunnerLock::NotLocked);
        let document = doc! {"running_runner": {"$exists": true}};
        let set = doc! {"$set": {"lock_id": "x", "lock_time": at(1)}};
        auxiliary.update_one(document.clone(), set).await.unwrap();
        assert_eq!(store.admin.unlock_runner().await.unwrap(), RunnerLock::Unlocked);
        let found = auxiliary.find_one(document.clone()).await.unwrap().unwrap();
        let is_null = |field: &str| found.get(field) == Some(&bson::Bson::Null);
        assert!(is_null("lock_id") && is_null("lock_time"), "{found}");
        auxiliary.delete_one(document).await.unwrap();
        assert_eq!(store.admin.unlock_runner().await.unwrap(), RunnerLock::NoDocument);
    }
    assert_eq!(open_sqlite().await.admin.unlock_runner().await.unwrap(), RunnerLock::NotLocked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_are_made_and_rebuilt() {
    let index = NewIndex {
        part: Part::Jobs,
        key: "job.size".into(),
        direction: Direction::Descending,
        unique: false,
    };
    let sqlite = open_sqlite().await;
    assert_eq!(sqlite.admin.create_index(&index).await.unwrap(), IndexMade::Fixed);
    sqlite.admin.rebuild_indexes().await.unwrap();
    let Some(store) = open(Kind::Standalone).await else { return };
    let database = store.scratch.as_ref().unwrap().raw().await;
    let names = async |collection: &str| {
        database.collection::<Document>(collection).list_index_names().await.unwrap()
    };
    let standard = (names("jobs").await, names("flows").await);
    // Twice, and on collections that are not there yet.
    for _ in 0..2 {
        assert_eq!(store.admin.create_index(&index).await.unwrap(), IndexMade::Created);
    }
    assert!(names("jobs").await.contains(&"job.size_-1".to_owned()));
    database.collection::<Document>("flows").drop_index("uuid_1").await.unwrap();
    database.collection::<Document>("batches").drop().await.unwrap();
    store.admin.rebuild_indexes().await.unwrap();
    assert_eq!((names("jobs").await, names("flows").await), standard);
    assert_eq!(names("batches").await.len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_database_is_upgraded() {
    for kind in [Kind::Standalone, Kind::ReplicaSet] {
        let Some(store) = open(kind).await else { continue };
        fill(&store.stores).await;
        assert_eq!(store.admin.plan_upgrade().await.unwrap().steps, [], "a database of ours is up to date");
        let database = make_old(&store).await;
        // Opening it must not make it look newer than it is.
        reopened(&store).await;
        let plan = store.admin.plan_upgrade().await.unwrap();
        let steps = [
            UpgradeStep::States(2),
            UpgradeStep::PreviousStates(1),
            UpgradeStep::BatchProcesses(1),
            UpgradeStep::Version("1.0.1".into()),
        ];
        assert_eq!((plan.from.clone(), plan.steps.as_slice()), (None, steps.as_slice()), "{kind:?}");
        let obstacles = [Obstacle::OldBatchProcesses(1), Obstacle::RunningBatches(1)];
        assert_eq!(plan.obstacles, obstacles);
        assert_eq!(store.admin.plan_upgrade().await.unwrap(), plan, "looking changes nothing");

        store.admin.upgrade().await.unwrap();
        let plan = store.admin.plan_upgrade().await.unwrap();
        assert_eq!((plan.from.as_deref(), plan.steps), (Some("1.0.1"), vec![]), "{kind:?}");
        let jobs = database.collection::<Document>("jobs");
        let renamed = jobs.count_documents(doc! {"state": "RUN_FINISHED"}).await.unwrap();
        let previous = jobs.count_documents(doc! {"previous_state": "RUN_FINISHED"}).await.unwrap();
        assert_eq!((renamed, previous), (2, 1));
    }
    assert_eq!(open_sqlite().await.admin.plan_upgrade().await.unwrap().steps, []);
}

/// Makes of the store what a release before 1.0 would have left.
async fn make_old(store: &Store) -> ::mongodb::Database {
    let database = store.scratch.as_ref().unwrap().raw().await;
    let jobs = database.collection::<Document>("jobs");
    let set = |field: &str| doc! {"$set": {field: "TERMINATED"}};
    jobs.update_many(doc! {"uuid": {"$in": ["b", "c"]}}, set("state")).await.unwrap();
    jobs.update_one(doc! {"uuid": "y"}, set("previous_state")).await.unwrap();
    let auxiliary = database.collection::<Document>("jf_auxiliary");
    for field in ["jobflow_remote_version", "jobferry_schema"] {
        auxiliary.delete_one(doc! {field: {"$exists": true}}).await.unwrap();
    }
    auxiliary.insert_one(doc! {"batch_processes": {"w": {"12": "uid"}, "v": {}}}).await.unwrap();
    let batch = doc! {"batch_uid": "u", "batch_state": "RUNNING", "worker": "w"};
    database.collection::<Document>("batches").insert_one(batch).await.unwrap();
    database
}

async fn reopened(store: &Store) -> Vec<JobRecord> {
    let again = store.scratch.as_ref().unwrap().open().await.into_stores();
    again.queue.migrate().await.unwrap();
    everything(&again).await.0
}
