//! Locks of user actions on a standalone server, as the Python side sees them.

use std::time::Duration;

use bson::{Bson, Document, doc};
use jobferry::model::state::State;
use jobferry::store::actions::{Action, Locks, Mandate, Rerun};

use super::super::making::{at, flow, insert, job, key, read, state};
use super::{Dropped, Scratch};

/// What is left of a killed program is cleared once its time is over; what others hold is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_locks_of_ours_are_cleared() {
    let test = "expired_locks_of_ours_are_cleared";
    let Some(scratch) = Scratch::new(test, "JF_TEST_MONGODB_URI") else { return };
    let _dropped = Dropped(scratch.clone());
    let stores = scratch.open().await.into_stores();
    stores.queue.migrate().await.unwrap();
    insert(&stores, flow("f", [job("dead", &[]), job("alive", &[]), job("broken", &[]), job("python", &[])]))
        .await;
    let jobs = scratch.raw().await.collection::<Document>("jobs");
    let hold = async |uuid: &str, lock: &str, ours: Bson| {
        let set = doc! { "lock_id": lock, "lock_time": at(0), "jobferry_lock": ours };
        jobs.update_one(doc! { "uuid": uuid }, doc! { "$set": set }).await.unwrap();
    };
    hold("dead", "1", doc! { "id": "1", "until": at(10) }.into()).await;
    hold("alive", "2", doc! { "id": "2", "until": at(90) }.into()).await;
    hold("broken", "theirs", doc! { "id": "3", "until": at(10) }.into()).await;
    hold("python", "4", Bson::Null).await;
    stores.queue.repair(at(50)).await.unwrap();
    let mut held = Vec::new();
    for uuid in ["dead", "alive", "broken", "python"] {
        held.push(read(&stores, uuid).await.lock.is_some());
    }
    assert_eq!(held, [false, true, true, true]);
}

/// The Python side checks out jobs that are locked: a descendant that starts in the middle of a rerun keeps its
/// ancestor as it is, on every server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_is_checked_out_meanwhile_is_never_run_twice() {
    let test = "a_child_that_is_checked_out_meanwhile_is_never_run_twice";
    for variable in ["JF_TEST_MONGODB_URI", "JF_TEST_MONGODB_REPLICA_SET_URI"] {
        let Some(scratch) = Scratch::new(test, variable) else { return };
        let _dropped = Dropped(scratch.clone());
        let stores = scratch.open().await.into_stores();
        stores.queue.migrate().await.unwrap();
        let raw = scratch.raw().await.collection::<Document>("jobs");
        let mut ends = Vec::new();
        // From the very beginning to long after the end.
        for round in 0..14_u32 {
            let (parent, child) = (format!("p{round}"), format!("c{round}"));
            insert(&stores, flow(&format!("f{round}"), [job(&parent, &[]), job(&child, &[&parent])])).await;
            let set = async |uuid: &str, state: &str| {
                let set = doc! { "$set": { "state": state } };
                raw.update_one(doc! { "uuid": uuid }, set).await.unwrap();
            };
            set(&parent, "FAILED").await;
            set(&child, "READY").await;
            let checkout = async {
                tokio::time::sleep(Duration::from_micros(100 << round)).await;
                let set = doc! { "$set": { "state": "CHECKED_OUT" } };
                raw.update_one(doc! { "uuid": &child, "state": "READY" }, set).await.unwrap().modified_count
            };
            let mandate = Mandate { by: "user".into(), at: at(100), locks: Locks::Honour };
            let rerun = Action::Rerun(Rerun::default());
            let keys = [key(&parent)];
            let (taken, answers) = tokio::join!(checkout, stores.actions.act(&keys, &rerun, &mandate));
            let was_run_again = answers.unwrap()[0].refusal().is_none();
            let both = (state(&stores, &parent).await, state(&stores, &child).await);
            let expected = match (taken, was_run_again) {
                (1, false) => (State::Failed, State::CheckedOut),
                (0, true) => (State::Ready, State::Waiting),
                other => panic!("{variable}: {other:?} {both:?}"),
            };
            assert_eq!(both, expected, "{variable}");
            assert!(
                read(&stores, &parent).await.lock.is_none() && read(&stores, &child).await.lock.is_none()
            );
            ends.push(was_run_again);
        }
        assert!(ends.contains(&true), "{variable}");
    }
}
