//! Flow documents.

use std::collections::BTreeMap;

use bson::doc;
use jobferry::model::flow::FlowState;
use jobferry::model::query::{FlowFilter, Locked, Order, Page, SortKey};
use jobferry::model::state::Event;

use super::Bench;
use super::making::{
    ALL, Making as _, advance, at, complete, end, flow, flow_state, insert, job, key, read_flow,
};

async fn found(bench: &Bench, filter: FlowFilter) -> Vec<String> {
    let flows = bench.stores.queue.flows(&filter, &ALL).await.unwrap();
    assert_eq!(bench.stores.queue.count_flows(&filter).await.unwrap(), flows.len() as u64, "{filter:?}");
    flows.into_iter().map(|flow| flow.uuid).collect()
}

pub(super) async fn states_are_derived(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[]), job("b", &[]), job("c", &["a"]).on_missing("none")]))
        .await;
    let stores = &bench.stores;
    end(stores, "a", Event::Fail).await;
    assert_eq!(flow_state(stores, "f").await, FlowState::Failed);
    complete(stores, "b").await;
    assert_eq!(flow_state(stores, "f").await, FlowState::Failed);
    complete(stores, "c").await;
    assert_eq!(flow_state(stores, "f").await, FlowState::Completed, "all leaves are");

    insert(stores, flow("g", [job("p", &[]), job("q", &[]), job("r", &[])])).await;
    advance(stores, &key("q"), &[Event::Pause]).await;
    complete(stores, "p").await;
    assert_eq!(flow_state(stores, "g").await, FlowState::Paused);
    advance(stores, &key("r"), &[Event::StopByUser]).await;
    advance(stores, &key("q"), &[Event::ResumeReady]).await;
    complete(stores, "q").await;
    assert_eq!(flow_state(stores, "g").await, FlowState::Stopped);

    insert(stores, flow("h", [job("x", &[]), job("y", &[])])).await;
    advance(stores, &key("y"), &[Event::CheckOut, Event::StepFailed]).await;
    complete(stores, "x").await;
    assert_eq!(flow_state(stores, "h").await, FlowState::Running, "a remote error fails no flow");
}

pub(super) async fn lists_members_and_parents(bench: &Bench) {
    let jobs = [job("a", &[]), job("b", &["a", "x"]), job("a", &["b"]).indexed(2)];
    let ids = bench.stores.queue.insert_flow(&flow("f", jobs)).await.unwrap();
    let stored = read_flow(&bench.stores, "f").await;
    assert_eq!(stored.jobs, ["a", "b"]);
    assert_eq!(stored.ids, ids);
    assert_eq!(stored.parents, doc! {"a": {"1": [], "2": ["b"]}, "b": {"1": ["a", "x"]}});
    assert_eq!(stored.lock, None);
}

pub(super) async fn filters(bench: &Bench) {
    let stores = &bench.stores;
    let mut first = flow("f1", [job("a", &[]), job("a", &[]).indexed(2)]);
    first.metadata = doc! {"kind": "relax", "n": 1};
    first.name = "relax one".into();
    let ids = stores.queue.insert_flow(&first).await.unwrap();
    let mut second = flow("f2", [job("b", &[])]);
    second.metadata = doc! {"kind": "relax", "n": 2};
    second.created_on = at(1);
    insert(stores, second).await;
    insert(stores, flow("g", [job("c", &[])])).await;
    complete(stores, "c").await;
    let none = FlowFilter::default;
    let text = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let metadata = |n: i32| BTreeMap::from([("kind".to_owned(), "relax".into()), ("n".to_owned(), n.into())]);
    let table: [(FlowFilter, &[&str]); 13] = [
        (none(), &["f1", "f2", "g"]),
        (FlowFilter { uuids: text(&["g", "f1", "no"]), ..none() }, &["f1", "g"]),
        (FlowFilter { uuid_prefixes: text(&["f"]), ..none() }, &["f1", "f2"]),
        (FlowFilter { db_ids: vec![ids[1].db_id.clone()], ..none() }, &["f1"]),
        (FlowFilter { db_ids: text(&["no-1"]), ..none() }, &[]),
        (FlowFilter { job_uuids: text(&["a", "c"]), ..none() }, &["f1", "g"]),
        (FlowFilter { states: vec![FlowState::Completed], ..none() }, &["g"]),
        (FlowFilter { states: vec![FlowState::Completed, FlowState::Ready], ..none() }, &["f1", "f2", "g"]),
        (FlowFilter { name: Some("relax*".into()), ..none() }, &["f1"]),
        (FlowFilter { name: Some("flow g".into()), ..none() }, &["g"]),
        (FlowFilter { metadata: metadata(2), ..none() }, &["f2"]),
        (FlowFilter { updated_from: Some(at(1)), updated_to: Some(at(1)), ..none() }, &["f2"]),
        (FlowFilter { locked: Some(Locked::Held), ..none() }, &[]),
    ];
    for (filter, expected) in table {
        assert_eq!(found(bench, filter.clone()).await, expected, "{filter:?}");
    }
}

pub(super) async fn sorting(bench: &Bench) {
    for (uuid, created) in [("f", 5), ("g", 3), ("h", 5)] {
        let mut new = flow(uuid, [job(&format!("j{uuid}"), &[])]);
        new.created_on = at(created);
        insert(&bench.stores, new).await;
    }
    complete(&bench.stores, "jg").await;
    let table = [
        (SortKey::CreatedOn, Order::Ascending, ["g", "f", "h"]),
        (SortKey::CreatedOn, Order::Descending, ["h", "f", "g"]),
        (SortKey::UpdatedOn, Order::Descending, ["g", "h", "f"]),
        (SortKey::DbId, Order::Descending, ["h", "g", "f"]),
    ];
    for (sort, order, expected) in table {
        for skip in 0..3 {
            let page = Page { sort, order, limit: Some(2), skip };
            let flows = bench.stores.queue.flows(&FlowFilter::default(), &page).await.unwrap();
            let uuids: Vec<String> = flows.into_iter().map(|flow| flow.uuid).collect();
            let wanted: Vec<&str> = expected.into_iter().skip(skip as usize).take(2).collect();
            assert_eq!(uuids, wanted, "{page:?}");
        }
    }
}
