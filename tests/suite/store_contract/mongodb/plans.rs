//! Every statement that the store sends is answered by an index: the server's profiler saw each of them.

use std::collections::{BTreeMap, BTreeSet};

use bson::{Bson, Document, doc};
use futures::TryStreamExt as _;
use jobferry::model::flow::FlowState;
use jobferry::model::query::{Detail, FlowFilter, JobFilter, Locked, Order, Page, SortKey};
use jobferry::model::state::{Event, State};
use jobferry::store::{FileSource, NewFile, OutputDocument, Stores, Work};

use super::super::making::{
    Making as _, TO_DOWNLOADED, advance, at, claim_of, end, endings, flow, insert, job, key, step,
};
use super::{Dropped, Scratch};

/// More than the size from which a flow's state is found from a few chosen jobs.
const MANY: usize = 520;

/// The server itself prefers an index that leaves so few documents that sorting them costs nothing.
const FEW: i32 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standalone() {
    check("JF_TEST_MONGODB_URI").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_set() {
    check("JF_TEST_MONGODB_REPLICA_SET_URI").await;
}

async fn check(variable: &str) {
    let Some(scratch) = Scratch::new("store_contract::mongodb::plans", variable) else { return };
    let _dropped = Dropped(scratch.clone());
    let stores = scratch.open().await.into_stores();
    stores.queue.migrate().await.unwrap();
    fill(&stores).await;
    let raw = scratch.raw().await;
    raw.run_command(doc! { "profile": 2 }).await.unwrap();
    use_everything(&stores).await;
    raw.run_command(doc! { "profile": 0 }).await.unwrap();
    let profile = raw.collection::<Document>("system.profile").find(doc! {}).await.unwrap();
    let entries: Vec<Document> = profile.try_collect().await.unwrap();
    let mut seen = BTreeSet::new();
    for entry in &entries {
        let collection = entry.get_str("ns").unwrap().split_once('.').unwrap().1.to_owned();
        let plan = entry.get_str("planSummary").unwrap_or_default();
        // The five documents of jf_auxiliary are found by a key that they have: no index could be smaller.
        if collection != "jf_auxiliary" {
            assert!(!plan.contains("COLLSCAN"), "no index for {entry}");
            let sorted = entry.get_bool("hasSortStage").unwrap_or(false);
            let examined = entry.get_i32("docsExamined").unwrap_or_default();
            assert!(!sorted || examined <= FEW, "sorted in memory: {entry}");
        }
        seen.insert(collection);
    }
    for collection in ["jobs", "flows", "outputs", "jobferry_files.chunks", "jobferry_files.files"] {
        assert!(seen.contains(collection), "{collection} is not among {seen:?}");
    }
}

async fn fill(stores: &Stores) {
    let jobs =
        (0..MANY).map(|n| job(&format!("m{n}"), &[]).on(["w", "v"][n % 2]).with_priority(n as i32 % 3));
    let last = job("m-last", &["m0", "m1"]);
    insert(stores, flow("many", jobs.chain([last]).collect::<Vec<_>>())).await;
    for n in 0..12 {
        let name = |part: &str| format!("{part}{n}");
        let mut new = flow(&name("f"), [job(&name("a"), &[]), job(&name("b"), &[&name("a")])]);
        new.metadata = doc! { "kind": "relax" };
        insert(stores, new).await;
    }
    for n in 0..3 {
        end(stores, &format!("a{n}"), Event::Complete).await;
    }
    end(stores, "a3", Event::Fail).await;
    for uuid in ["m0", "a4"] {
        advance(stores, &key(uuid), &TO_DOWNLOADED).await;
    }
}

async fn use_everything(stores: &Stores) {
    let queue = &stores.queue;
    insert(stores, flow("new", [job("n", &[])])).await;
    assert_eq!(queue.claim(&claim_of(&[("w", 2), ("v", 3)], at(30))).await.unwrap(), 5);
    for states in [vec![State::Downloaded], vec![State::CheckedOut, State::Terminated, State::Running]] {
        let workers = vec!["v".to_owned(), "w".to_owned()];
        let work = Work { states, workers, due: at(40), limit: 10, detail: Detail::Summary };
        assert!(!queue.work(&work).await.unwrap().is_empty());
    }
    let mut moves = Vec::new();
    for uuid in ["m0", "a4"] {
        moves.push(step(stores, &key(uuid), Event::Complete, 50).await);
    }
    queue.finish(&endings(&moves)).await.unwrap();
    queue.apply(&moves).await.unwrap();
    queue.repair(at(60)).await.unwrap();
    queue.load(&State::ALL).await.unwrap();
    list_jobs(stores).await;
    list_flows(stores).await;
    keep_contents(stores).await;
}

fn pages() -> Vec<Page> {
    let sorts = [SortKey::CreatedOn, SortKey::UpdatedOn, SortKey::DbId];
    let both = |sort| [Order::Ascending, Order::Descending].map(|order| (sort, order));
    let page = |(sort, order)| Page { sort, order, limit: Some(5), skip: 1 };
    sorts.into_iter().flat_map(both).map(page).collect()
}

async fn list_jobs(stores: &Stores) {
    let none = JobFilter::default;
    let one = |text: &str| vec![text.to_owned()];
    let metadata = BTreeMap::from([("kind".to_owned(), Bson::from("x"))]);
    let filters = [
        none(),
        JobFilter { keys: vec![key("a1"), key("a2")], ..none() },
        JobFilter { uuids: one("a1"), ..none() },
        JobFilter { uuid_prefixes: one("a"), ..none() },
        JobFilter { db_ids: one("pp-3"), ..none() },
        JobFilter { flows: one("many"), ..none() },
        JobFilter { flows: one("f1"), states: vec![State::Ready, State::Waiting], ..none() },
        JobFilter { process_id: Some("7".into()), ..none() },
        JobFilter { updated_from: Some(at(1)), updated_to: Some(at(99)), ..none() },
    ];
    // These leave the choice between the index on the filter and the one on the order to the server.
    let by_count = [
        JobFilter { states: vec![State::Completed], ..none() },
        JobFilter { states: vec![State::Ready, State::Running], workers: one("w"), ..none() },
        JobFilter { name: Some("job a*".into()), ..none() },
        JobFilter { metadata, ..none() },
        JobFilter { locked: Some(Locked::Held), ..none() },
    ];
    for filter in &filters {
        for page in pages() {
            stores.queue.jobs(filter, &page, Detail::Summary).await.unwrap();
        }
    }
    for filter in filters.iter().chain(&by_count) {
        stores.queue.count_jobs(filter).await.unwrap();
        stores.queue.count_jobs_by_state(filter).await.unwrap();
    }
}

async fn list_flows(stores: &Stores) {
    let none = FlowFilter::default;
    let one = |text: &str| vec![text.to_owned()];
    let filters = [
        none(),
        FlowFilter { uuids: one("f1"), ..none() },
        FlowFilter { uuid_prefixes: one("f"), ..none() },
        FlowFilter { db_ids: one("pp-3"), ..none() },
        FlowFilter { job_uuids: one("a1"), ..none() },
        FlowFilter { updated_from: Some(at(1)), ..none() },
    ];
    let by_count = [
        FlowFilter { states: vec![FlowState::Ready], ..none() },
        FlowFilter { name: Some("flow*".into()), ..none() },
        FlowFilter { metadata: BTreeMap::from([("kind".to_owned(), "relax".into())]), ..none() },
        FlowFilter { locked: Some(Locked::Held), ..none() },
    ];
    for filter in &filters {
        for page in pages() {
            stores.queue.flows(filter, &page).await.unwrap();
        }
    }
    for filter in filters.iter().chain(&by_count) {
        stores.queue.count_flows(filter).await.unwrap();
    }
}

async fn keep_contents(stores: &Stores) {
    let outputs = (0..5).map(|n| {
        let document = doc! { "uuid": format!("a{n}"), "index": 1, "output": n };
        OutputDocument { key: key(&format!("a{n}")), document }
    });
    stores.job_store.outputs.put_outputs(&outputs.collect::<Vec<_>>()).await.unwrap();
    stores.job_store.outputs.newest_outputs(&["a1".into(), "a2".into()]).await.unwrap();
    stores.job_store.outputs.output(&key("a1")).await.unwrap();
    let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824".to_owned();
    let file = NewFile { sha256: sha256.clone(), source: FileSource::Bytes(b"hello".to_vec()) };
    stores.files.put_files(&[file]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    stores.files.get_file(&sha256, &directory.path().join("f")).await.unwrap();
}
