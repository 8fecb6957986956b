//! `Queue::insert_flow`.

use bson::{Bson, doc};
use jobferry::model::flow::FlowState;
use jobferry::model::job::{Ferry, JobRecord, Remote};
use jobferry::model::state::State;
use jobferry::store::StoreError;

use super::Bench;
use super::making::{Making as _, at, complete, everything, flow, insert, job, key, read, read_flow};

fn number(db_id: &str) -> u64 {
    let digits: String = db_id.chars().rev().take_while(char::is_ascii_digit).collect();
    digits.chars().rev().collect::<String>().parse().unwrap()
}

pub(super) async fn ids_come_in_order(bench: &Bench) {
    let queue = &bench.stores.queue;
    let first = queue.insert_flow(&flow("f", [job("b", &[]), job("a", &["b"])])).await.unwrap();
    let second = queue.insert_flow(&flow("g", [job("c", &[])])).await.unwrap();
    let keys: Vec<&str> = first.iter().chain(&second).map(|id| id.key.uuid.as_str()).collect();
    assert_eq!(keys, ["b", "a", "c"]);
    let numbers: Vec<u64> = first.iter().chain(&second).map(|id| number(&id.db_id)).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert_eq!(numbers[1], numbers[0] + 1, "one submission has neighbouring numbers");
    assert_eq!(read(&bench.stores, "a").await.db_id, first[1].db_id);
    assert_eq!(read_flow(&bench.stores, "f").await.ids, first);
}

pub(super) async fn duplicates_leave_nothing(bench: &Bench) {
    let queue = &bench.stores.queue;
    insert(&bench.stores, flow("f", [job("a", &[])])).await;
    let before = everything(&bench.stores).await;
    for (name, again) in [
        ("the flow", flow("f", [job("b", &[])])),
        ("its second job", flow("g", [job("c", &[]), job("a", &[])])),
        ("within itself", flow("h", [job("d", &[]), job("d", &[])])),
    ] {
        let error = queue.insert_flow(&again).await.unwrap_err();
        assert!(matches!(error, StoreError::Duplicate { .. }), "{name}: {error:?}");
        assert_eq!(everything(&bench.stores).await, before, "{name}");
    }
    // The same uuid at the next index is another job.
    insert(&bench.stores, flow("g", [job("a", &[]).indexed(2)])).await;
}

pub(super) async fn first_states_and_fields(bench: &Bench) {
    let mut parent = job("a", &[]).on("cluster").with_priority(-3);
    parent.exec_config = Some(Bson::String("openmp".into()));
    parent.resources = Some(doc! {"ntasks": 4, "time": "1:00:00"});
    let mut child = job("b", &["a", "elsewhere"]);
    child.exec_config = Some(Bson::Document(doc! {"modules": ["gcc"], "pre_run": null}));
    let mut new = flow("f", [parent.clone(), child.clone()]);
    new.metadata = doc! {"project": {"tag": 1}};
    new.jobstore = Some("large".into());
    let serialized = new.jobs[0].job.clone();
    let ids = bench.stores.queue.insert_flow(&new).await.unwrap();
    let expected = JobRecord {
        key: key("a"),
        db_id: ids[0].db_id.clone(),
        worker: "cluster".into(),
        state: State::Ready,
        remote: Remote::default(),
        parents: vec![],
        previous_state: None,
        error: None,
        lock: None,
        run_dir: None,
        start_time: None,
        end_time: None,
        created_on: at(0),
        updated_on: at(0),
        priority: -3,
        exec_config: parent.exec_config,
        resources: parent.resources,
        stored_data: None,
        job: serialized,
        ferry: Ferry::default(),
    };
    assert_eq!(read(&bench.stores, "a").await, expected);
    let stored = read(&bench.stores, "b").await;
    assert_eq!((stored.state, stored.parents), (State::Waiting, vec!["a".into(), "elsewhere".into()]));
    assert_eq!(stored.exec_config, child.exec_config);
    let stored = read_flow(&bench.stores, "f").await;
    assert_eq!(stored.state, FlowState::Ready);
    assert_eq!((stored.metadata, stored.jobstore), (new.metadata, new.jobstore));
    assert_eq!((stored.name.as_str(), stored.created_on, stored.updated_on), ("flow f", at(0), at(0)));
}

pub(super) async fn an_empty_flow(bench: &Bench) {
    assert_eq!(bench.stores.queue.insert_flow(&flow("f", [])).await.unwrap(), []);
    assert_eq!(read_flow(&bench.stores, "f").await.jobs, [] as [String; 0]);
    insert(&bench.stores, flow("g", [job("a", &[])])).await;
    complete(&bench.stores, "a").await;
}
