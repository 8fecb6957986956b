//! `Queue::finish`.

use jobferry::model::flow::FlowState;
use jobferry::model::ids::JobKey;
use jobferry::model::state::{Event, State};
use jobferry::store::{Applied, Change};

use super::Bench;
use super::making::{
    BY, Making as _, TO_DOWNLOADED, advance, at, complete, end, end_at, endings, everything, flow,
    flow_state, insert, job, key, read, read_at, state, step,
};

pub(super) async fn twice_is_once(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[]), job("b", &["a"])])).await;
    advance(&bench.stores, &key("a"), &TO_DOWNLOADED).await;
    let ended =
        step(&bench.stores, &key("a"), Event::Complete, 20).await.with([Change::EndTime(Some(at(19)))]);
    let queue = &bench.stores.queue;
    assert_eq!(queue.finish(&[ended.clone().into()]).await.unwrap(), [Applied::Done]);
    let once = everything(&bench.stores).await;
    assert_eq!(queue.finish(&[ended.into()]).await.unwrap(), [Applied::Lost]);
    assert_eq!(everything(&bench.stores).await, once);
    let (jobs, flows) = once;
    assert!(jobs.iter().all(|job| !job.ferry.settling));
    assert_eq!((jobs[0].state, jobs[0].end_time), (State::Completed, Some(at(19))));
    let child = &jobs[1];
    assert_eq!((child.state, child.updated_on), (State::Ready, at(20)));
    let entry = &child.ferry.history[0];
    assert_eq!((entry.from, entry.to, entry.at, entry.attempt), (State::Waiting, State::Ready, at(20), 0));
    assert_eq!(entry.by, BY);
    assert_eq!(
        (flows[0].state, flows[0].updated_on),
        (FlowState::Running, at(20)),
        "was READY: nobody claimed"
    );
}

pub(super) async fn children_wait_for_all_parents(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[]), job("b", &[]), job("c", &["a", "b"]), job("d", &["c"])]))
        .await;
    complete(&bench.stores, "b").await;
    assert_eq!(state(&bench.stores, "c").await, State::Waiting);
    complete(&bench.stores, "a").await;
    assert_eq!(state(&bench.stores, "c").await, State::Ready);
    assert_eq!(state(&bench.stores, "d").await, State::Waiting);
    assert_eq!(flow_state(&bench.stores, "f").await, FlowState::Running);
    complete(&bench.stores, "c").await;
    complete(&bench.stores, "d").await;
    assert_eq!(flow_state(&bench.stores, "f").await, FlowState::Completed);
}

pub(super) async fn failed_parents_by_rule(bench: &Bench) {
    let jobs = [
        job("a", &[]),
        job("strict", &["a"]),
        job("none", &["a"]).on_missing("none"),
        job("pass", &["a"]).on_missing("pass"),
        job("odd", &["a"]).on_missing("whatever"),
    ];
    insert(&bench.stores, flow("f", jobs)).await;
    end(&bench.stores, "a", Event::Fail).await;
    let mut states = Vec::new();
    for uuid in ["a", "strict", "none", "pass", "odd"] {
        states.push(state(&bench.stores, uuid).await);
    }
    assert_eq!(states, [State::Failed, State::Waiting, State::Ready, State::Ready, State::Waiting]);
    assert_eq!(flow_state(&bench.stores, "f").await, FlowState::Failed);
    complete(&bench.stores, "none").await;
    assert_eq!(flow_state(&bench.stores, "f").await, FlowState::Failed);
}

pub(super) async fn the_largest_index_decides(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[]), job("a", &[]).indexed(2), job("c", &["a"])])).await;
    end(&bench.stores, "a", Event::Complete).await;
    assert_eq!(state(&bench.stores, "c").await, State::Waiting, "index 2 is still to come");
    end_at(&bench.stores, &JobKey::new("a", 2), Event::Complete).await;
    assert_eq!(state(&bench.stores, "c").await, State::Ready);
    insert(&bench.stores, flow("g", [job("p", &[]), job("p", &[]).indexed(2), job("q", &["p"])])).await;
    end_at(&bench.stores, &JobKey::new("p", 2), Event::Complete).await;
    assert_eq!(state(&bench.stores, "q").await, State::Ready, "only the largest counts");
    assert_eq!(read_at(&bench.stores, &JobKey::new("p", 1)).await.state, State::Ready);
}

pub(super) async fn a_batch_ends_many(bench: &Bench) {
    let parents: Vec<String> = (0..20).map(|n| format!("p{n}")).collect();
    let names: Vec<&str> = parents.iter().map(String::as_str).collect();
    let mut jobs: Vec<_> = names.iter().map(|name| job(name, &[])).collect();
    jobs.push(job("gather", &names));
    insert(&bench.stores, flow("f", jobs)).await;
    let mut moves = Vec::new();
    for name in &names {
        advance(&bench.stores, &key(name), &TO_DOWNLOADED).await;
        moves.push(step(&bench.stores, &key(name), Event::Complete, 30).await);
    }
    assert_eq!(bench.stores.queue.finish(&endings(&moves)).await.unwrap(), vec![Applied::Done; 20]);
    let child = read(&bench.stores, "gather").await;
    assert_eq!((child.state, child.ferry.history.len()), (State::Ready, 1), "released once");
    assert_eq!(flow_state(&bench.stores, "f").await, FlowState::Running);
    complete(&bench.stores, "gather").await;
    assert_eq!(flow_state(&bench.stores, "f").await, FlowState::Completed);
}

pub(super) async fn lost_moves_release_nothing(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[]), job("b", &[]), job("c", &["a"]), job("d", &["b"])]))
        .await;
    for uuid in ["a", "b"] {
        advance(&bench.stores, &key(uuid), &TO_DOWNLOADED).await;
    }
    let mut late = step(&bench.stores, &key("a"), Event::Complete, 20).await;
    late.attempt += 1;
    let good = step(&bench.stores, &key("b"), Event::Complete, 20).await;
    assert_eq!(
        bench.stores.queue.finish(&endings(&[late, good])).await.unwrap(),
        [Applied::Lost, Applied::Done]
    );
    assert_eq!(state(&bench.stores, "a").await, State::Downloaded);
    assert_eq!(state(&bench.stores, "c").await, State::Waiting);
    assert_eq!(state(&bench.stores, "d").await, State::Ready);
}

/// One child of many parents that end one after the other, the last one first.
pub(super) async fn a_gathering_child(bench: &Bench) {
    let parents: Vec<String> = (0..8).map(|n| format!("p{n}")).collect();
    let names: Vec<&str> = parents.iter().map(String::as_str).collect();
    let mut jobs: Vec<_> = names.iter().map(|name| job(name, &[])).collect();
    jobs.push(job("gather", &names).on_missing("none"));
    insert(&bench.stores, flow("f", jobs)).await;
    for (place, name) in names.iter().enumerate().rev() {
        assert_eq!(state(&bench.stores, "gather").await, State::Waiting, "{place} parents to come");
        end(&bench.stores, name, if place % 2 == 0 { Event::Complete } else { Event::Fail }).await;
    }
    assert_eq!(state(&bench.stores, "gather").await, State::Ready);
}

pub(super) async fn other_flows_children_start(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[])])).await;
    insert(&bench.stores, flow("g", [job("b", &["a"])])).await;
    complete(&bench.stores, "a").await;
    assert_eq!(state(&bench.stores, "b").await, State::Ready);
    assert_eq!(flow_state(&bench.stores, "f").await, FlowState::Completed);
    assert_eq!(flow_state(&bench.stores, "g").await, FlowState::Ready);
}
