//! Flows, jobs and moves for the cases. Uuids are short words: a store takes any text.

use std::collections::BTreeMap;

use bson::{Bson, DateTime, doc};
use jobferry::model::Timestamp;
use jobferry::model::flow::FlowState;
use jobferry::model::ids::JobKey;
use jobferry::model::job::{FlowRecord, JobRecord, NewFlow, NewJob};
use jobferry::model::query::{Detail, FlowFilter, JobFilter, Order, Page, SortKey};
use jobferry::model::state::{Event, State};
use jobferry::store::{Applied, Claim, Ending, Move, Stores};

pub(super) const BY: &str = "runner@host";

/// The events from READY to DOWNLOADED.
pub(super) const TO_DOWNLOADED: [Event; 6] =
    [Event::CheckOut, Event::Stage, Event::Submit, Event::Start, Event::End, Event::Collect];

/// Every row, by number.
pub(super) const ALL: Page = Page { sort: SortKey::DbId, order: Order::Ascending, limit: None, skip: 0 };

/// Returns the moment this many seconds after a fixed one.
pub(super) fn at(seconds: i64) -> Timestamp {
    DateTime::from_millis(1_760_000_000_000 + seconds * 1000)
}

pub(super) fn key(uuid: &str) -> JobKey {
    JobKey::new(uuid, 1)
}

/// Returns a job of worker `w`; its name is `job <uuid>`.
pub(super) fn job(uuid: &str, parents: &[&str]) -> NewJob {
    NewJob {
        key: key(uuid),
        worker: "w".into(),
        priority: 0,
        parents: parents.iter().map(|parent| (*parent).into()).collect(),
        exec_config: None,
        resources: None,
        job: doc! {
            "@module": "jobflow.core.job", "@class": "Job", "@version": "0.4.0",
            "function": {"@callable": "dict"}, "function_args": [], "function_kwargs": {"x": 1},
            "uuid": uuid, "index": 1, "name": format!("job {uuid}"), "metadata": {}, "hosts": [],
            "config": {"@class": "JobConfig", "on_missing_references": "error"},
        },
    }
}

pub(super) trait Making: Sized {
    fn named(self, name: &str) -> Self;
    fn on(self, worker: &str) -> Self;
    fn with_priority(self, priority: i32) -> Self;
    fn indexed(self, index: i32) -> Self;
    fn on_missing(self, rule: &str) -> Self;
    fn with_metadata(self, metadata: bson::Document) -> Self;
    fn inside(self, hosts: &[&str]) -> Self;
}

impl Making for NewJob {
    fn named(mut self, name: &str) -> Self {
        self.job.insert("name", name);
        self
    }

    fn on(mut self, worker: &str) -> Self {
        self.worker = worker.into();
        self
    }

    fn with_priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    fn indexed(mut self, index: i32) -> Self {
        self.key.index = index;
        self.job.insert("index", index);
        self
    }

    fn on_missing(mut self, rule: &str) -> Self {
        self.job.insert("config", doc! {"on_missing_references": rule});
        self
    }

    fn with_metadata(mut self, metadata: bson::Document) -> Self {
        self.job.insert("metadata", metadata);
        self
    }

    fn inside(mut self, hosts: &[&str]) -> Self {
        self.job.insert("hosts", hosts.iter().map(|host| Bson::from(*host)).collect::<Vec<_>>());
        self
    }
}

/// Returns the flow of these jobs, created at second 0; jobs without hosts get the flow as theirs.
pub(super) fn flow(uuid: &str, jobs: impl IntoIterator<Item = NewJob>) -> NewFlow {
    let with_host =
        |job: NewJob| if job.job.get_array("hosts").unwrap().is_empty() { job.inside(&[uuid]) } else { job };
    NewFlow {
        uuid: uuid.into(),
        name: format!("flow {uuid}"),
        metadata: doc! {},
        jobstore: None,
        jobs: jobs.into_iter().map(with_host).collect(),
        created_on: at(0),
    }
}

pub(super) async fn insert(stores: &Stores, flow: NewFlow) {
    stores.queue.insert_flow(&flow).await.unwrap();
}

/// Returns the whole job at index 1.
pub(super) async fn read(stores: &Stores, uuid: &str) -> JobRecord {
    read_at(stores, &key(uuid)).await
}

pub(super) async fn read_at(stores: &Stores, key: &JobKey) -> JobRecord {
    let filter = JobFilter { keys: vec![key.clone()], ..JobFilter::default() };
    let mut jobs = stores.queue.jobs(&filter, &ALL, Detail::Full).await.unwrap();
    assert_eq!(jobs.len(), 1, "{key}");
    jobs.remove(0)
}

pub(super) async fn state(stores: &Stores, uuid: &str) -> State {
    read(stores, uuid).await.state
}

pub(super) async fn read_flow(stores: &Stores, uuid: &str) -> FlowRecord {
    let filter = FlowFilter { uuids: vec![uuid.into()], ..FlowFilter::default() };
    let mut flows = stores.queue.flows(&filter, &ALL).await.unwrap();
    assert_eq!(flows.len(), 1, "{uuid}");
    flows.remove(0)
}

pub(super) async fn flow_state(stores: &Stores, uuid: &str) -> FlowState {
    read_flow(stores, uuid).await.state
}

/// Returns every document of the queue.
pub(super) async fn everything(stores: &Stores) -> (Vec<JobRecord>, Vec<FlowRecord>) {
    let jobs = stores.queue.jobs(&JobFilter::default(), &ALL, Detail::Full).await.unwrap();
    (jobs, stores.queue.flows(&FlowFilter::default(), &ALL).await.unwrap())
}

pub(super) async fn uuids(stores: &Stores, filter: &JobFilter) -> Vec<String> {
    uuids_of_page(stores, filter, &ALL).await
}

pub(super) async fn uuids_of_page(stores: &Stores, filter: &JobFilter, page: &Page) -> Vec<String> {
    let jobs = stores.queue.jobs(filter, page, Detail::Summary).await.unwrap();
    jobs.into_iter().map(|job| job.key.uuid).collect()
}

/// Returns the claim of this much room for each worker.
pub(super) fn claim_of(room: &[(&str, u32)], at: Timestamp) -> Claim {
    let room: BTreeMap<String, u32> = room.iter().map(|(worker, room)| ((*worker).into(), *room)).collect();
    Claim { room, at, by: BY.into() }
}

/// Returns the move of the job as it is now.
pub(super) async fn step(stores: &Stores, key: &JobKey, event: Event, seconds: i64) -> Move {
    Move::of(&read_at(stores, key).await, Some(event), at(seconds), BY)
}

/// Makes the job take the events, one second each, from second 1 on.
pub(super) async fn advance(stores: &Stores, key: &JobKey, events: &[Event]) {
    for (seconds, event) in (1..).zip(events) {
        let step = step(stores, key, *event, seconds).await;
        assert_eq!(stores.queue.apply(&[step]).await.unwrap(), [Applied::Done], "{key} {event:?}");
    }
}

/// Brings the job from READY to the end by `event`, at second 10.
pub(super) async fn end(stores: &Stores, uuid: &str, event: Event) {
    end_at(stores, &key(uuid), event).await;
}

/// Returns the ends that these moves are, of jobs whose responses say nothing.
pub(super) fn endings(moves: &[Move]) -> Vec<Ending> {
    moves.iter().cloned().map(Ending::from).collect()
}

pub(super) async fn end_at(stores: &Stores, key: &JobKey, event: Event) {
    advance(stores, key, &TO_DOWNLOADED).await;
    let step = step(stores, key, event, 10).await;
    assert_eq!(stores.queue.finish(&[step.into()]).await.unwrap(), [Applied::Done], "{key}");
}

pub(super) async fn complete(stores: &Stores, uuid: &str) {
    end(stores, uuid, Event::Complete).await;
}
