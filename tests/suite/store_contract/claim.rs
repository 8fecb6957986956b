//! `Queue::claim` and `Queue::work`.

use std::collections::HashSet;
use std::sync::Arc;

use jobferry::model::flow::FlowState;
use jobferry::model::job::HistoryEntry;
use jobferry::model::query::{Detail, JobFilter};
use jobferry::model::state::{Event, State};
use jobferry::store::{Applied, Change, Work};

use super::Bench;
use super::making::{
    BY, Making as _, advance, at, claim_of, flow, flow_state, insert, job, key, read, read_flow, step, uuids,
};

async fn checked_out(bench: &Bench) -> Vec<String> {
    uuids(&bench.stores, &JobFilter { states: vec![State::CheckedOut], ..JobFilter::default() }).await
}

fn work_of(states: &[State], workers: &[&str], limit: u32) -> Work {
    let workers = workers.iter().map(|worker| (*worker).into()).collect();
    Work { states: states.to_vec(), workers, due: at(100), limit, detail: Detail::Summary }
}

async fn found(bench: &Bench, work: &Work) -> Vec<String> {
    let jobs = bench.stores.queue.work(work).await.unwrap();
    jobs.into_iter().map(|job| job.key.uuid).collect()
}

pub(super) async fn most_urgent_first(bench: &Bench) {
    let mut old = flow(
        "f",
        [job("old", &[]), job("urgent", &[]).with_priority(5), job("least", &[]).with_priority(-1)],
    );
    old.created_on = at(1);
    let mut older = flow("g", [job("older", &[])]);
    older.created_on = at(0);
    insert(&bench.stores, old).await;
    insert(&bench.stores, older).await;
    let mut order = Vec::new();
    for _ in 0..4 {
        assert_eq!(bench.stores.queue.claim(&claim_of(&[("w", 1)], at(5))).await.unwrap(), 1);
        let now: HashSet<String> = checked_out(bench).await.into_iter().collect();
        order.extend(now.into_iter().filter(|uuid| !order.contains(uuid)).collect::<Vec<_>>());
    }
    assert_eq!(order, ["urgent", "older", "old", "least"]);
    assert_eq!(bench.stores.queue.claim(&claim_of(&[("w", 1)], at(5))).await.unwrap(), 0);
}

pub(super) async fn limits_hold(bench: &Bench) {
    let jobs = (0..12).map(|n| job(&format!("j{n}"), &[]).on(["w", "v", "x"][n % 3]));
    insert(&bench.stores, flow("f", jobs.collect::<Vec<_>>())).await;
    insert(&bench.stores, flow("g", [job("waits", &["j0"])])).await;
    let claim = claim_of(&[("w", 3), ("v", 0), ("nobody", 7)], at(5));
    assert_eq!(bench.stores.queue.claim(&claim).await.unwrap(), 3);
    let mut got = checked_out(bench).await;
    got.sort();
    assert_eq!(got, ["j0", "j3", "j6"], "of worker w, the first three");
    assert_eq!(bench.stores.queue.claim(&claim_of(&[("w", 100), ("x", 2)], at(5))).await.unwrap(), 3);
    assert_eq!(bench.stores.queue.claim(&claim_of(&[], at(5))).await.unwrap(), 0);
}

pub(super) async fn attempts_and_history_count(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[])])).await;
    for attempt in 1..=3 {
        bench.stores.queue.claim(&claim_of(&[("w", 1)], at(7))).await.unwrap();
        let job = read(&bench.stores, "a").await;
        assert_eq!((job.state, job.ferry.attempt, job.updated_on), (State::CheckedOut, attempt, at(7)));
        let entry = HistoryEntry {
            at: at(7),
            from: State::Ready,
            to: State::CheckedOut,
            attempt,
            reason: None,
            by: BY.into(),
        };
        assert_eq!(job.ferry.history.last(), Some(&entry));
        advance(&bench.stores, &key("a"), &[Event::Rerun]).await;
    }
    assert_eq!(read(&bench.stores, "a").await.ferry.history.len(), 6);
}

pub(super) async fn not_due_is_left_alone(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[]), job("b", &[])])).await;
    let wait = read(&bench.stores, "a").await;
    let wait = jobferry::store::Move::of(&wait, None, at(1), BY).with([Change::RetryTimeLimit(Some(at(50)))]);
    assert_eq!(bench.stores.queue.apply(&[wait]).await.unwrap(), [Applied::Done]);
    let ready = work_of(&[State::Ready], &["w"], 9);
    assert_eq!(found(bench, &Work { due: at(49), ..ready.clone() }).await, ["b"]);
    assert_eq!(found(bench, &Work { due: at(50), ..ready }).await, ["a", "b"]);
    assert_eq!(bench.stores.queue.claim(&claim_of(&[("w", 5)], at(49))).await.unwrap(), 1);
    assert_eq!(checked_out(bench).await, ["b"]);
    assert_eq!(bench.stores.queue.claim(&claim_of(&[("w", 5)], at(50))).await.unwrap(), 1);
}

pub(super) async fn two_owners_never_share(bench: &Bench) {
    const JOBS: usize = 60;
    let jobs: Vec<_> = (0..JOBS).map(|n| job(&format!("j{n}"), &[])).collect();
    insert(&bench.stores, flow("f", jobs)).await;
    let mut owners = Vec::new();
    for owner in ["one", "two", "three"] {
        let queue = match &bench.outside {
            Some(outside) => outside.second().await.queue,
            None => Arc::clone(&bench.stores.queue),
        };
        owners.push(tokio::spawn(async move {
            let mut mine = 0;
            loop {
                let mut claim = claim_of(&[("w", 4)], at(5));
                claim.by = owner.into();
                let got = queue.claim(&claim).await.unwrap();
                assert!(got <= 4, "{got}");
                if got == 0 {
                    return (owner, mine);
                }
                mine += got as usize;
            }
        }));
    }
    let mut all = 0;
    let jobs = |owner: &'static str| async move {
        let jobs =
            bench.stores.queue.jobs(&JobFilter::default(), &super::making::ALL, Detail::Full).await.unwrap();
        assert!(jobs.iter().all(|job| job.ferry.attempt == 1 && job.ferry.history.len() == 1));
        jobs.iter().filter(|job| job.ferry.history[0].by == owner).count()
    };
    for owner in owners {
        let (owner, mine) = owner.await.unwrap();
        assert_eq!(jobs(owner).await, mine, "what {owner} was told is what it has");
        all += mine;
    }
    assert_eq!(all, JOBS);
}

pub(super) async fn flows_become_running(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[]), job("b", &[])])).await;
    insert(&bench.stores, flow("g", [job("c", &[]).on("v")])).await;
    bench.stores.queue.claim(&claim_of(&[("w", 1)], at(5))).await.unwrap();
    let running = read_flow(&bench.stores, "f").await;
    assert_eq!((running.state, running.updated_on), (FlowState::Running, at(5)));
    assert_eq!(flow_state(&bench.stores, "g").await, FlowState::Ready);
    bench.stores.queue.claim(&claim_of(&[("w", 1)], at(6))).await.unwrap();
    assert_eq!(read_flow(&bench.stores, "f").await.updated_on, at(5), "written once");
}

pub(super) async fn work_is_sorted_and_limited(bench: &Bench) {
    let jobs = [
        job("a", &[]),
        job("b", &[]).on("v").with_priority(2),
        job("c", &[]).with_priority(1),
        job("d", &[]).on("x").with_priority(9),
        job("e", &[]),
    ];
    insert(&bench.stores, flow("f", jobs)).await;
    for uuid in ["a", "b", "c", "d"] {
        advance(&bench.stores, &key(uuid), &[Event::CheckOut]).await;
    }
    let stage = step(&bench.stores, &key("c"), Event::Stage, 8).await;
    bench.stores.queue.apply(&[stage]).await.unwrap();
    let both = [State::CheckedOut, State::Uploaded];
    assert_eq!(found(bench, &work_of(&both, &["w", "v"], 9)).await, ["b", "c", "a"]);
    assert_eq!(found(bench, &work_of(&both, &["w", "v"], 2)).await, ["b", "c"]);
    assert_eq!(found(bench, &work_of(&[State::Uploaded], &["w", "v"], 9)).await, ["c"]);
    assert_eq!(found(bench, &work_of(&both, &[], 9)).await, [] as [&str; 0]);
    let full = Work { detail: Detail::Full, ..work_of(&[State::Uploaded], &["w"], 9) };
    assert_eq!(bench.stores.queue.work(&full).await.unwrap(), [read(&bench.stores, "c").await]);
}
