//! The file: its modes, its schema, and what goes wrong with it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::model::query::{Detail, JobFilter, Page};
use crate::store::{Queue as _, StoreError};

use super::super::{Dispatch, SqliteStore};
use super::{flow, job, open, settings};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn only_the_owner_can_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/store.sqlite");
    let store = open(&path, Dispatch::Inline);
    store.migrate().await.unwrap();
    store.insert_flow(&flow("f", vec![job("f", 0, &[])])).await.unwrap();
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for name in ["new/store.sqlite", "new/store.sqlite-wal", "new/store.sqlite-shm"] {
        assert_eq!(mode(&directory.path().join(name)), 0o600, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_start_together_migrate_once() {
    for _ in 0..5 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.sqlite");
        let programs: Vec<_> = (0..4)
            .map(|_| {
                let store = open(&path, Dispatch::Blocking);
                tokio::spawn(async move { store.migrate().await.unwrap() })
            })
            .collect();
        let mut ran = Vec::new();
        for program in programs {
            ran.extend(program.await.unwrap());
        }
        ran.sort_unstable();
        assert_eq!(ran, [1, 2, 3, 4]);
    }
}

#[tokio::test]
async fn a_strange_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let foreign = directory.path().join("foreign");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE jobs (x)").unwrap();
    let text = directory.path().join("text");
    std::fs::write(&text, "not a database, but long enough to be looked at as if it were one".repeat(50))
        .unwrap();
    for path in [foreign, text] {
        let before = std::fs::read(&path).unwrap();
        let error = match SqliteStore::open(settings(&path, Dispatch::Inline)) {
            Ok(store) => store.migrate().await.unwrap_err(),
            Err(error) => error,
        };
        assert!(matches!(error, StoreError::Unreadable { .. }), "{error:?}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}

#[tokio::test]
async fn a_newer_schema_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite");
    open(&path, Dispatch::Inline).migrate().await.unwrap();
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let error = open(&path, Dispatch::Inline).migrate().await.unwrap_err();
    insta::with_settings!({filters => vec![(r"/\S*/store.sqlite", "[store]")]}, {
        insta::assert_snapshot!(error, @"[store] has schema version 7, newer than the 4 this program knows");
    });
}

/// Runs a pragma on the connection that writes.
async fn pragma(store: &SqliteStore, sql: &'static str) {
    store.on_writer("set up a test", move |connection| Ok(connection.execute_batch(sql)?)).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_and_a_missing_right_are_refusals_and_leave_nothing() {
    for (setting, back, why) in [
        ("PRAGMA max_page_count = 60", "PRAGMA max_page_count = 100000", "full"),
        ("PRAGMA query_only = ON", "PRAGMA query_only = OFF", "readonly"),
    ] {
        let store = super::in_memory().await;
        pragma(&store, setting).await;
        let jobs: Vec<_> = (0..2000).map(|number| job("f", number, &[])).collect();
        let large = flow("f", jobs);
        let error = store.insert_flow(&large).await.unwrap_err();
        assert!(
            matches!(&error, StoreError::Refused { action: "insert a flow", source, .. }
            if source.to_string().contains(why)),
            "{error:?}"
        );
        assert!(error.is_passing());
        pragma(&store, back).await;
        let listed = store.jobs(&JobFilter::default(), &Page::default(), Detail::Full).await.unwrap();
        assert_eq!(listed, []);
        assert_eq!(store.insert_flow(&large).await.unwrap().len(), 2000);
    }
}

#[tokio::test]
async fn a_lock_that_stays_is_no_answer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite");
    let store = open(&path, Dispatch::Inline);
    store.migrate().await.unwrap();
    pragma(&store, "PRAGMA busy_timeout = 1").await;
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.insert_flow(&flow("f", vec![])).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    assert_eq!(
        store.jobs(&JobFilter::default(), &Page::default(), Detail::Full).await.unwrap(),
        [],
        "reads go on"
    );
    other.execute_batch("ROLLBACK").unwrap();
    store.insert_flow(&flow("f", vec![])).await.unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite");
    let store = open(&path, Dispatch::Inline);
    store.migrate().await.unwrap();
    let jobs: Vec<_> = (0..200).map(|number| job("f", number, &[])).collect();
    store.insert_flow(&flow("f", jobs)).await.unwrap();
    pragma(&store, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    drop(store);
    let mut bytes = std::fs::read(&path).unwrap();
    let behind_the_schema = bytes.len() / 2;
    bytes[behind_the_schema..].fill(0xAA);
    std::fs::write(&path, &bytes).unwrap();
    let store = open(&path, Dispatch::Inline);
    store.migrate().await.unwrap();
    let error = store.jobs(&JobFilter::default(), &Page::default(), Detail::Full).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unreadable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_killed_write_leaves_the_state_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite");
    let store = open(&path, Dispatch::Inline);
    store.migrate().await.unwrap();
    // What a kill leaves: the changes of a transaction that never committed.
    let killed = rusqlite::Connection::open(&path).unwrap();
    killed.execute_batch("BEGIN IMMEDIATE; DELETE FROM counters; PRAGMA cache_spill = 1").unwrap();
    drop(killed);
    assert_eq!(store.insert_flow(&flow("f", vec![job("f", 0, &[])])).await.unwrap()[0].db_id, "1");
}
