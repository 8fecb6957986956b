//! `Queue::migrate`, and two programs on one database.

use jobferry::model::state::{Event, State};
use jobferry::store::{Applied, StoreError};

use super::Bench;
use super::making::{everything, flow, insert, job, key, state, step};

pub(super) async fn migrating_again_does_nothing(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[])])).await;
    let before = everything(&bench.stores).await;
    bench.stores.queue.ping().await.unwrap();
    assert_eq!(bench.stores.queue.migrate().await.unwrap(), [] as [u32; 0]);
    assert_eq!(everything(&bench.stores).await, before);
}

pub(super) async fn newer_is_refused(bench: &Bench) {
    bench.outside().set_schema_version(9_999).await;
    let error = bench.outside().second().await.queue.migrate().await.unwrap_err();
    assert!(matches!(error, StoreError::NewerSchema { found: 9_999, .. }), "{error:?}");
    assert!(!error.is_passing());
}

pub(super) async fn other_programs_see_it(bench: &Bench) {
    let second = bench.outside().second().await;
    assert_eq!(second.queue.migrate().await.unwrap(), [] as [u32; 0]);
    insert(&bench.stores, flow("f", [job("a", &[])])).await;
    let mine = step(&bench.stores, &key("a"), Event::CheckOut, 1).await;
    let theirs = step(&second, &key("a"), Event::CheckOut, 1).await;
    assert_eq!(second.queue.apply(&[theirs]).await.unwrap(), [Applied::Done]);
    assert_eq!(bench.stores.queue.apply(&[mine]).await.unwrap(), [Applied::Lost]);
    assert_eq!(state(&bench.stores, "a").await, State::CheckedOut);
}
