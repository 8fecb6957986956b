//! `Queue::finish` of jobs whose responses change their flow.

use jobferry::model::flow::FlowState;
use jobferry::model::ids::JobKey;
use jobferry::model::job::{Growth, NewJob, Stop};
use jobferry::model::state::{Event, State};
use jobferry::store::{Applied, Ending, StoreError};

use super::Bench;
use super::making::{
    Making as _, TO_DOWNLOADED, advance, at, complete, end_at, everything, flow, flow_state, insert, job,
    key, read, read_at, read_flow, state, step,
};

/// Returns the end of a job that is DOWNLOADED, with this response.
pub(super) async fn ending(bench: &Bench, uuid: &str, growth: Growth) -> Ending {
    advance(&bench.stores, &key(uuid), &TO_DOWNLOADED).await;
    Ending { step: step(&bench.stores, &key(uuid), Event::Complete, 20).await, growth }
}

pub(super) fn jobs_of(flow: &str, jobs: impl IntoIterator<Item = NewJob>) -> Vec<NewJob> {
    jobs.into_iter().map(|job| job.inside(&["inner", flow])).collect()
}

async fn finish(bench: &Bench, ending: &Ending) -> Applied {
    bench.stores.queue.finish(std::slice::from_ref(ending)).await.unwrap()[0]
}

/// A job replaced by another one and its own next index, which its child then waits for.
pub(super) async fn a_replacement(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("p", &[]), job("a", &["p"]), job("c", &["a"])])).await;
    complete(&bench.stores, "p").await;
    let new = jobs_of("f", [job("x", &["p"]), job("a", &["x"]).indexed(2)]);
    let ending = ending(bench, "a", Growth { jobs: new, ..Growth::default() }).await;
    assert_eq!(finish(bench, &ending).await, Applied::Done);
    assert_eq!(state(&bench.stores, "x").await, State::Ready, "its parent was done before");
    assert_eq!(read_at(&bench.stores, &JobKey::new("a", 2)).await.state, State::Waiting);
    assert_eq!(state(&bench.stores, "c").await, State::Waiting, "waits for the largest index");
    let stored = read_flow(&bench.stores, "f").await;
    assert_eq!(stored.jobs, ["p", "a", "c", "x"]);
    let keys: Vec<String> = stored.ids.iter().map(|id| id.key.to_string()).collect();
    assert_eq!(keys, ["p:1", "a:1", "c:1", "x:1", "a:2"]);
    assert_eq!(stored.parents.get_document("a").unwrap().get_array("2").unwrap(), &vec!["x".into()]);
    assert_eq!(stored.state, FlowState::Running);
    complete(&bench.stores, "x").await;
    end_at(&bench.stores, &JobKey::new("a", 2), Event::Complete).await;
    assert_eq!(state(&bench.stores, "c").await, State::Ready);
    complete(&bench.stores, "c").await;
    assert_eq!(flow_state(&bench.stores, "f").await, FlowState::Completed);
}

/// Children wait for the last jobs of a detour, the new jobs for the one that took it.
pub(super) async fn a_detour(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[]), job("c", &["a"]), job("lone", &[])])).await;
    let new = jobs_of("f", [job("d1", &["a"]), job("d2", &["d1"])]);
    let growth = Growth { jobs: new, detour_leaves: vec!["d2".into()], ..Growth::default() };
    let ending = ending(bench, "a", growth).await;
    assert_eq!(finish(bench, &ending).await, Applied::Done);
    assert_eq!(read(&bench.stores, "c").await.parents, ["a", "d2"]);
    assert_eq!(read(&bench.stores, "d1").await.parents, ["a"]);
    let stored = read_flow(&bench.stores, "f").await;
    let parents = |uuid: &str| stored.parents.get_document(uuid).unwrap().get_array("1").unwrap().clone();
    assert_eq!((parents("c"), parents("d2")), (vec!["a".into(), "d2".into()], vec!["d1".into()]));
    assert_eq!(
        (state(&bench.stores, "d1").await, state(&bench.stores, "c").await),
        (State::Ready, State::Waiting)
    );
    for uuid in ["d1", "d2", "lone"] {
        assert_eq!(flow_state(&bench.stores, "f").await, FlowState::Running);
        complete(&bench.stores, uuid).await;
    }
    complete(&bench.stores, "c").await;
    assert_eq!(flow_state(&bench.stores, "f").await, FlowState::Completed);
}

pub(super) async fn stops(bench: &Bench) {
    for (name, stop, expected) in [
        ("f", Stop::Children, [State::Stopped, State::Waiting, State::Ready]),
        ("g", Stop::Flow, [State::Stopped, State::Stopped, State::Stopped]),
    ] {
        let names = ["a", "child", "grandchild", "lone", "new"].map(|job| format!("{name}-{job}"));
        let [a, child, grandchild, lone, new] = names.each_ref().map(String::as_str);
        let jobs = [job(a, &[]), job(child, &[a]), job(grandchild, &[child]), job(lone, &[])];
        insert(&bench.stores, flow(name, jobs)).await;
        let growth = Growth { jobs: jobs_of(name, [job(new, &[a])]), stop, ..Growth::default() };
        let ending = ending(bench, a, growth).await;
        assert_eq!(finish(bench, &ending).await, Applied::Done);
        let mut states = Vec::new();
        for uuid in [child, grandchild, lone] {
            states.push(state(&bench.stores, uuid).await);
        }
        assert_eq!(states, expected, "{name}");
        assert_eq!(state(&bench.stores, new).await, State::Stopped);
        assert_eq!(read(&bench.stores, child).await.ferry.history.last().unwrap().to, State::Stopped);
        assert_eq!(flow_state(&bench.stores, name).await, FlowState::Stopped);
    }
}

pub(super) async fn growing_twice_is_once(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[]), job("c", &["a"])])).await;
    let new = jobs_of("f", [job("x", &["a"]), job("y", &["x"])]);
    let growth = Growth { jobs: new, detour_leaves: vec!["y".into()], stop: Stop::Nothing };
    let ending = ending(bench, "a", growth).await;
    assert_eq!(finish(bench, &ending).await, Applied::Done);
    let once = everything(&bench.stores).await;
    match bench.stores.queue.finish(std::slice::from_ref(&ending)).await {
        Ok(applied) => assert_eq!(applied, [Applied::Lost]),
        Err(error) => assert!(matches!(error, StoreError::Duplicate { .. }), "{error}"),
    }
    bench.stores.queue.repair(at(500)).await.unwrap();
    assert_eq!(everything(&bench.stores).await, once);
}

/// Somebody else's job is not touched, and the job that would bring it does not end.
pub(super) async fn a_known_job_is_refused(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[]), job("c", &["a"])])).await;
    insert(&bench.stores, flow("g", [job("x", &[])])).await;
    let growth = Growth { jobs: jobs_of("f", [job("n", &[]), job("x", &["a"])]), ..Growth::default() };
    let ending = ending(bench, "a", growth).await;
    bench.stores.queue.repair(at(400)).await.unwrap();
    let before = everything(&bench.stores).await;
    let refused = bench.stores.queue.finish(&[ending]).await;
    assert!(matches!(refused, Err(StoreError::Duplicate { .. })), "{refused:?}");
    bench.stores.queue.repair(at(500)).await.unwrap();
    assert_eq!(everything(&bench.stores).await, before);
}

/// Many jobs at once: their short ids are in their order.
pub(super) async fn a_thousand_new_jobs(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[])])).await;
    let names: Vec<String> = (0..1000).map(|n| format!("n{n}")).collect();
    let new = jobs_of("f", names.iter().map(|name| job(name, &["a"])));
    let ending = ending(bench, "a", Growth { jobs: new, ..Growth::default() }).await;
    assert_eq!(finish(bench, &ending).await, Applied::Done);
    let stored = read_flow(&bench.stores, "f").await;
    assert_eq!((stored.jobs.len(), stored.ids.len()), (1001, 1001));
    let order: Vec<&str> = stored.ids.iter().skip(1).map(|id| id.key.uuid.as_str()).collect();
    assert_eq!(order, names);
    let numbers: Vec<i64> = stored
        .ids
        .iter()
        .map(|id| id.db_id.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap())
        .collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    assert_eq!(state(&bench.stores, "n999").await, State::Ready);
}
