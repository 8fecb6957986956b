//! The lease. Some stores judge by their own clock, so the cases run at the present and do not wait: a lease of no
//! duration has run out at once.

use std::time::Duration;

use bson::DateTime;
use jobferry::store::{Holder, LeaseAnswer, LeaseClaim, Standing};

use super::Bench;
use super::making::at;

const LONG: Duration = Duration::from_secs(60);

fn claim(owner: &str, duration: Duration) -> LeaseClaim {
    let holder = Holder {
        host: "login1".into(),
        pid: 4_000_000_000,
        user: "ada".into(),
        project: "demo".into(),
        daemon_dir: "/home/ada/.jfremote/demo/daemon".into(),
        version: "0.1.0".into(),
        started: at(0),
    };
    LeaseClaim { owner: owner.into(), holder, duration, at: DateTime::now() }
}

async fn take(bench: &Bench, owner: &str, duration: Duration) -> LeaseAnswer {
    bench.stores.queue.take_lease(&claim(owner, duration)).await.unwrap()
}

pub(super) async fn one_owner_at_a_time(bench: &Bench) {
    assert_eq!(bench.stores.queue.lease().await.unwrap(), None);
    let owners: Vec<_> = (0..6)
        .map(|n| {
            let queue = std::sync::Arc::clone(&bench.stores.queue);
            tokio::spawn(async move { queue.take_lease(&claim(&format!("r{n}"), LONG)).await.unwrap() })
        })
        .collect();
    let mut winners = 0;
    for owner in owners {
        winners += usize::from(owner.await.unwrap() == LeaseAnswer::Yours);
    }
    assert_eq!(winners, 1);
    let lease = bench.stores.queue.lease().await.unwrap().unwrap();
    assert_eq!((lease.standing, &lease.holder), (Standing::Holds, &claim("", LONG).holder));
    let LeaseAnswer::Taken(told) = take(bench, "other", LONG).await else { panic!("two owners") };
    assert_eq!(told, lease);
}

pub(super) async fn runs_out(bench: &Bench) {
    assert_eq!(take(bench, "one", Duration::ZERO).await, LeaseAnswer::Yours);
    let lease = bench.stores.queue.lease().await.unwrap().unwrap();
    assert_eq!((lease.owner.as_str(), lease.standing), ("one", Standing::RanOut));
    assert_eq!(take(bench, "two", LONG).await, LeaseAnswer::Yours);
    assert!(matches!(take(bench, "one", LONG).await, LeaseAnswer::Taken(lease) if lease.owner == "two"));
}

pub(super) async fn renews_and_releases(bench: &Bench) {
    let queue = &bench.stores.queue;
    take(bench, "one", LONG).await;
    let first = queue.lease().await.unwrap().unwrap();
    assert_eq!(take(bench, "one", LONG * 2).await, LeaseAnswer::Yours);
    let second = queue.lease().await.unwrap().unwrap();
    assert!(second.expires > first.expires && second.renewed >= first.renewed);
    let duration = second.expires.timestamp_millis() - second.renewed.timestamp_millis();
    assert_eq!(duration, 120_000);
    queue.release_lease("two").await.unwrap();
    assert_eq!(queue.lease().await.unwrap(), Some(second), "another's release does nothing");
    queue.release_lease("one").await.unwrap();
    queue.release_lease("one").await.unwrap();
    assert_eq!(queue.lease().await.unwrap(), None);
    assert_eq!(take(bench, "two", LONG).await, LeaseAnswer::Yours);
}
