//! `Queue::repair`.

use jobferry::model::flow::FlowState;
use jobferry::model::state::{Event, State};

use super::Bench;
use super::making::{
    TO_DOWNLOADED, advance, at, everything, flow, flow_state, insert, job, key, read, state,
};

/// A job that ended without what follows from it: `apply` makes the move alone.
pub(super) async fn half_done_is_finished(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[]), job("b", &["a"]), job("c", &["b"])])).await;
    insert(&bench.stores, flow("g", [job("d", &[])])).await;
    for uuid in ["a", "d"] {
        advance(&bench.stores, &key(uuid), &TO_DOWNLOADED).await;
        advance(&bench.stores, &key(uuid), &[Event::Complete]).await;
    }
    assert_eq!(state(&bench.stores, "b").await, State::Waiting);
    let mended = bench.stores.queue.repair(at(50)).await.unwrap();
    assert_eq!(mended, 3, "one child, two flows");
    let child = read(&bench.stores, "b").await;
    assert_eq!((child.state, child.updated_on, child.ferry.history.len()), (State::Ready, at(50), 1));
    assert_eq!(state(&bench.stores, "c").await, State::Waiting);
    assert_eq!(flow_state(&bench.stores, "f").await, FlowState::Running);
    assert_eq!(flow_state(&bench.stores, "g").await, FlowState::Completed);
    assert_eq!(bench.stores.queue.repair(at(60)).await.unwrap(), 0);
    assert_eq!(read(&bench.stores, "b").await, child);
}

pub(super) async fn nothing_to_do_is_nothing(bench: &Bench) {
    assert_eq!(bench.stores.queue.repair(at(1)).await.unwrap(), 0);
    insert(&bench.stores, flow("f", [job("a", &[]), job("b", &["a"])])).await;
    insert(&bench.stores, flow("g", [job("c", &[])])).await;
    super::making::end(&bench.stores, "c", Event::Fail).await;
    let before = everything(&bench.stores).await;
    assert_eq!(bench.stores.queue.repair(at(50)).await.unwrap(), 0);
    assert_eq!(everything(&bench.stores).await, before);
}
