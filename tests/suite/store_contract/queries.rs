//! `Queue::jobs`, the counts and the load.

use std::collections::BTreeMap;

use bson::{Bson, doc};
use jobferry::model::ids::JobKey;
use jobferry::model::query::{Detail, JobFilter, Locked, Order, Page, SortKey};
use jobferry::model::state::{Event, State};
use jobferry::store::{Applied, Change, Move};

use super::Bench;
use super::making::{
    ALL, BY, Making as _, advance, at, complete, end, flow, insert, job, key, read, step, uuids,
    uuids_of_page,
};

fn none() -> JobFilter {
    JobFilter::default()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

async fn check(bench: &Bench, table: &[(JobFilter, &[&str])]) {
    for (filter, expected) in table {
        assert_eq!(uuids(&bench.stores, filter).await, *expected, "{filter:?}");
        let count = bench.stores.queue.count_jobs(filter).await.unwrap();
        assert_eq!(count, expected.len() as u64, "{filter:?}");
        let by_update = Page { sort: SortKey::UpdatedOn, ..ALL };
        let mut sorted = uuids_of_page(&bench.stores, filter, &by_update).await;
        sorted.sort();
        let mut expected = texts(expected);
        expected.sort();
        assert_eq!(sorted, expected, "by time of update: {filter:?}");
    }
}

/// aa1 COMPLETED, aa2 `CHECKED_OUT` with a process, b READY on `v`, c:1 FAILED and c:2 READY in a nested flow.
async fn some_jobs(bench: &Bench) {
    let stores = &bench.stores;
    insert(stores, flow("f", [job("aa1", &[]), job("aa2", &["aa1"]), job("b", &[]).on("v")])).await;
    let nested = [job("c", &[]).inside(&["inner", "g"]), job("c", &[]).indexed(2).inside(&["g"])];
    insert(stores, flow("g", nested)).await;
    complete(stores, "aa1").await;
    end(stores, "c", Event::Fail).await;
    let out =
        step(stores, &key("aa2"), Event::CheckOut, 20).await.with([Change::ProcessId(Some("99".into()))]);
    assert_eq!(stores.queue.apply(&[out]).await.unwrap(), [Applied::Done]);
}

pub(super) async fn each_filter(bench: &Bench) {
    some_jobs(bench).await;
    let db_id = read(&bench.stores, "aa2").await.db_id;
    let keys = vec![JobKey::new("c", 2), key("aa1"), JobKey::new("b", 2)];
    check(
        bench,
        &[
            (none(), &["aa1", "aa2", "b", "c", "c"]),
            (JobFilter { keys, ..none() }, &["aa1", "c"]),
            (JobFilter { uuids: texts(&["c", "b", "zz"]), ..none() }, &["b", "c", "c"]),
            (JobFilter { uuid_prefixes: texts(&["aa", "aa1", "b"]), ..none() }, &["aa1", "aa2", "b"]),
            (JobFilter { uuid_prefixes: texts(&["zz"]), ..none() }, &[]),
            (JobFilter { db_ids: vec![db_id.clone(), "x-77".into()], ..none() }, &["aa2"]),
            (JobFilter { db_ids: vec![format!("x{db_id}")], ..none() }, &[]),
            (JobFilter { flows: texts(&["g"]), ..none() }, &["c", "c"]),
            (JobFilter { flows: texts(&["inner"]), ..none() }, &["c"]),
            (JobFilter { flows: texts(&["f", "inner"]), ..none() }, &["aa1", "aa2", "b", "c"]),
            (JobFilter { states: vec![State::Ready], ..none() }, &["b", "c"]),
            (JobFilter { states: vec![State::Failed, State::Completed], ..none() }, &["aa1", "c"]),
            (JobFilter { workers: texts(&["v", "u"]), ..none() }, &["b"]),
            (JobFilter { process_id: Some("99".into()), ..none() }, &["aa2"]),
            (JobFilter { updated_from: Some(at(10)), ..none() }, &["aa1", "aa2", "c"]),
            (JobFilter { updated_from: Some(at(11)), updated_to: Some(at(20)), ..none() }, &["aa2"]),
            (JobFilter { updated_to: Some(at(9)), ..none() }, &["b", "c"]),
            (JobFilter { locked: Some(Locked::Held), ..none() }, &[]),
            (JobFilter { locked: Some(Locked::Free), workers: texts(&["v"]), ..none() }, &["b"]),
            (JobFilter { flows: texts(&["f"]), states: vec![State::Ready], ..none() }, &["b"]),
            (JobFilter { uuids: texts(&["b"]), db_ids: vec![db_id], ..none() }, &[]),
        ],
    )
    .await;
}

pub(super) async fn by_lock(bench: &Bench) {
    some_jobs(bench).await;
    bench.outside().hold(&key("b"), Some("holder")).await;
    check(
        bench,
        &[
            (JobFilter { locked: Some(Locked::Held), ..none() }, &["b"]),
            (JobFilter { locked: Some(Locked::Free), ..none() }, &["aa1", "aa2", "c", "c"]),
            (JobFilter { locked: Some(Locked::Free), uuids: texts(&["b", "c"]), ..none() }, &["c", "c"]),
        ],
    )
    .await;
}

pub(super) async fn pages_and_sorts(bench: &Bench) {
    let jobs: Vec<_> = (1..=12).map(|n| job(&format!("j{n}"), &[])).collect();
    insert(&bench.stores, flow("f", jobs)).await;
    let mut early = flow("g", [job("early", &[])]);
    early.created_on = at(-5);
    insert(&bench.stores, early).await;
    for (seconds, uuid) in [(30, "j3"), (20, "j12"), (20, "j7")] {
        let out = step(&bench.stores, &key(uuid), Event::CheckOut, seconds).await;
        bench.stores.queue.apply(&[out]).await.unwrap();
    }
    let page = |sort, order, limit, skip| Page { sort, order, limit, skip };
    let (up, down) = (Order::Ascending, Order::Descending);
    let table: [(Page, &[&str]); 8] = [
        (page(SortKey::UpdatedOn, down, Some(4), 0), &["j3", "j12", "j7", "j11"]),
        (page(SortKey::UpdatedOn, down, Some(3), 2), &["j7", "j11", "j10"]),
        (page(SortKey::UpdatedOn, up, Some(2), 0), &["early", "j1"]),
        (page(SortKey::CreatedOn, up, Some(2), 0), &["early", "j1"]),
        (page(SortKey::CreatedOn, down, Some(2), 0), &["j12", "j11"]),
        (page(SortKey::DbId, down, Some(5), 0), &["early", "j12", "j11", "j10", "j9"]),
        (page(SortKey::DbId, up, None, 11), &["j12", "early"]),
        (page(SortKey::DbId, up, Some(0), 0), &[]),
    ];
    for (page, expected) in table {
        assert_eq!(uuids_of_page(&bench.stores, &none(), &page).await, expected, "{page:?}");
    }
    let narrow = JobFilter { flows: texts(&["f"]), ..none() };
    let page = page(SortKey::UpdatedOn, down, Some(3), 1);
    assert_eq!(uuids_of_page(&bench.stores, &narrow, &page).await, ["j12", "j7", "j11"]);
}

pub(super) async fn names_with_wildcards(bench: &Bench) {
    let names = [
        ("a", "relax"),
        ("b", "relax 2"),
        ("c", "Relax"),
        ("d", "static[1]"),
        ("e", "x.y+z"),
        ("g", "50%_ok"),
    ];
    let jobs: Vec<_> = names.iter().map(|(uuid, name)| job(uuid, &[]).named(name)).collect();
    insert(&bench.stores, flow("f", jobs)).await;
    let table: [(&str, &[&str]); 14] = [
        ("relax", &["a"]),
        ("relax*", &["a", "b"]),
        ("*elax", &["a", "c"]),
        ("?elax", &["a", "c"]),
        ("[rR]elax", &["a", "c"]),
        ("[!r]elax", &["c"]),
        ("[a-r]elax*", &["a", "b"]),
        ("relax ?", &["b"]),
        ("*", &["a", "b", "c", "d", "e", "g"]),
        ("x.y+?", &["e"]),
        ("x?y*", &["e"]),
        ("x*y+x", &[]),
        ("50%_*", &["g"]),
        ("*[[]1]", &["d"]),
    ];
    for (name, expected) in table {
        let filter = JobFilter { name: Some(name.into()), ..none() };
        assert_eq!(uuids(&bench.stores, &filter).await, expected, "{name}");
    }
}

pub(super) async fn metadata(bench: &Bench) {
    let jobs = [
        job("a", &[]).with_metadata(doc! {"tag": "x", "n": 1, "deep": {"level": 2}, "on": true}),
        job("b", &[]).with_metadata(doc! {"tag": "x", "n": 2_i64, "list": ["p", "q"]}),
        job("c", &[]).with_metadata(doc! {"tag": "y".repeat(5000), "n": 1.5}),
    ];
    insert(&bench.stores, flow("f", jobs)).await;
    let wanted = |pairs: &[(&str, Bson)]| JobFilter {
        metadata: pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect(),
        ..none()
    };
    check(
        bench,
        &[
            (wanted(&[("tag", "x".into())]), &["a", "b"]),
            (wanted(&[("tag", "x".into()), ("n", Bson::Int32(2))]), &["b"]),
            (wanted(&[("n", Bson::Double(1.0))]), &["a"]),
            (wanted(&[("n", "1".into())]), &[]),
            (wanted(&[("n", Bson::Double(1.5))]), &["c"]),
            (wanted(&[("deep.level", Bson::Int32(2))]), &["a"]),
            (wanted(&[("list", "q".into())]), &["b"]),
            (wanted(&[("on", Bson::Boolean(true))]), &["a"]),
            (wanted(&[("tag", "y".repeat(5000).into())]), &["c"]),
            (wanted(&[("tag", "y".repeat(4999).into())]), &[]),
        ],
    )
    .await;
}

pub(super) async fn counts(bench: &Bench) {
    some_jobs(bench).await;
    let queue = &bench.stores.queue;
    let counted = |pairs: &[(State, u64)]| pairs.iter().copied().collect::<BTreeMap<_, _>>();
    let all = [(State::Ready, 2), (State::CheckedOut, 1), (State::Completed, 1), (State::Failed, 1)];
    assert_eq!(queue.count_jobs_by_state(&none()).await.unwrap(), counted(&all));
    let of_f = JobFilter { flows: texts(&["f"]), ..none() };
    let in_f = [(State::Ready, 1), (State::CheckedOut, 1), (State::Completed, 1)];
    assert_eq!(queue.count_jobs_by_state(&of_f).await.unwrap(), counted(&in_f));
    let ready = JobFilter { states: vec![State::Ready, State::Running], workers: texts(&["v"]), ..none() };
    assert_eq!(queue.count_jobs_by_state(&ready).await.unwrap(), counted(&[(State::Ready, 1)]));
}

pub(super) async fn load_counts_what_is_asked_for(bench: &Bench) {
    some_jobs(bench).await;
    insert(&bench.stores, flow("h", [job("w1", &["none"]), job("w2", &[])])).await;
    advance(&bench.stores, &key("w2"), &[Event::Pause]).await;
    let load = bench.stores.queue.load(&[State::Waiting, State::Ready, State::CheckedOut]).await.unwrap();
    let w = BTreeMap::from([(State::Waiting, 1), (State::Ready, 1), (State::CheckedOut, 1)]);
    let v = BTreeMap::from([(State::Ready, 1)]);
    assert_eq!(load, BTreeMap::from([("w".to_owned(), w), ("v".to_owned(), v)]));
    let paused = bench.stores.queue.load(&[State::Paused, State::Running]).await.unwrap();
    assert_eq!(paused, BTreeMap::from([("w".to_owned(), BTreeMap::from([(State::Paused, 1)]))]));
}

pub(super) async fn summaries_leave_out_the_large(bench: &Bench) {
    insert(&bench.stores, flow("f", [job("a", &[]).with_metadata(doc! {"k": 1}).inside(&["inner", "f"])]))
        .await;
    advance(&bench.stores, &key("a"), &[Event::CheckOut]).await;
    let full = read(&bench.stores, "a").await;
    let stored = Move::of(&full, None, at(2), BY).with([Change::StoredData(Some(doc! {"x": 1}))]);
    bench.stores.queue.apply(&[stored]).await.unwrap();
    let mut expected = read(&bench.stores, "a").await;
    assert_eq!(expected.stored_data, Some(doc! {"x": 1}));
    let summary = bench.stores.queue.jobs(&none(), &ALL, Detail::Summary).await.unwrap().remove(0);
    expected.stored_data = None;
    expected.ferry.history.clear();
    expected.job = doc! {
        "name": "job a", "metadata": {"k": 1}, "hosts": ["inner", "f"], "config": {"on_missing_references": "error"},
    };
    assert_eq!(summary, expected);
    assert_eq!((summary.name(), summary.flow_uuid()), ("job a", Some("f")));
}
