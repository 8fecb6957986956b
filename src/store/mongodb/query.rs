//! Listings and counts: filters in the words of the field become filters of the server.

use std::collections::BTreeMap;

use ::mongodb::Collection;
use ::mongodb::bson::{Bson, Document, doc};
use ::mongodb::options::Collation;
use futures::TryStreamExt as _;

use super::super::{Load, StoreError, Work, codec};
use super::Server;
use super::access::{Access, Fault, number, only};
use super::finish::{MOST_UUIDS, in_states};
use super::moves::{by_priority, is_due};
use super::names::{Name, parse};
use crate::model::Timestamp;
use crate::model::job::{FlowRecord, JobRecord};
use crate::model::query::{Detail, FlowFilter, JobFilter, Locked, Order, Page, SortKey};
use crate::model::state::State;

/// What a summary reads of a job: all but the function, its arguments, the stored data and the history.
const SUMMARY_FIELDS: [&str; 29] = [
    "uuid",
    "index",
    "db_id",
    "worker",
    "state",
    "remote",
    "parents",
    "previous_state",
    "error",
    "lock_id",
    "lock_time",
    "run_dir",
    "start_time",
    "end_time",
    "created_on",
    "updated_on",
    "priority",
    "exec_config",
    "resources",
    "job.name",
    "job.hosts",
    "job.metadata",
    "job.config.on_missing_references",
    "jobferry.attempt",
    "jobferry.outcome",
    codec::process_id::WHOLE,
    "jobferry.retries_used",
    "jobferry.settling",
    "_id",
];

fn projection(detail: Detail) -> Document {
    match detail {
        Detail::Full => Document::new(),
        Detail::Summary => SUMMARY_FIELDS.iter().map(|field| ((*field).to_owned(), Bson::Int32(1))).collect(),
    }
}

/// Numbers within texts count as numbers: the order of `9` and `10`, of `p-9` and `p-10`.
pub(super) fn numeric() -> Collation {
    Collation::builder().locale("en").numeric_ordering(true).build()
}

/// Returns jobs that a step may take in hand.
pub(super) async fn work(server: &Server, work: &Work) -> Result<Vec<JobRecord>, Fault> {
    if work.limit == 0 || work.workers.is_empty() || work.states.is_empty() {
        return Ok(Vec::new());
    }
    let filter = doc! {
        "state": in_states(&work.states), "worker": { "$in": &work.workers }, "lock_id": null,
        "remote.retry_time_limit": is_due(work.due),
    };
    let mut access = Access::plain(server);
    let projection = projection(work.detail);
    let found = access.find_some(&server.names.jobs, filter, projection, by_priority(), Some(work.limit));
    read_jobs(server, found.await?)
}

fn read_jobs(server: &Server, documents: Vec<Document>) -> Result<Vec<JobRecord>, Fault> {
    let records = documents.into_iter().map(|document| {
        let what = codec::describe_job(&document);
        codec::read_job(document).map_err(|fault| fault.in_document(&server.place, what).into())
    });
    records.collect()
}

/// Returns the jobs that pass the filter, in the order of the page.
pub(super) async fn jobs(
    server: &Server,
    filter: &JobFilter,
    page: &Page,
    detail: Detail,
) -> Result<Vec<JobRecord>, Fault> {
    let lists = [&filter.uuids, &filter.uuid_prefixes, &filter.db_ids, &filter.flows];
    let is_narrow =
        !filter.keys.is_empty() || filter.process_id.is_some() || lists.iter().any(|list| !list.is_empty());
    let listing = Listing {
        collection: server.jobs(),
        filter: job_filter(filter),
        projection: projection(detail),
        number_index: "db_id",
        number: "$db_id".into(),
        is_narrow,
    };
    read_jobs(server, listing.page(page).await?)
}

/// Returns the flows that pass the filter, in the order of the page.
pub(super) async fn flows(
    server: &Server,
    filter: &FlowFilter,
    page: &Page,
) -> Result<Vec<FlowRecord>, Fault> {
    let lists = [&filter.uuids, &filter.uuid_prefixes, &filter.db_ids, &filter.job_uuids];
    let listing = Listing {
        collection: server.flows(),
        filter: flow_filter(server, filter).await?,
        projection: Document::new(),
        number_index: "ids.0.0",
        number: doc! { "$first": { "$first": "$ids" } }.into(),
        is_narrow: lists.iter().any(|list| !list.is_empty()),
    };
    let documents = listing.page(page).await?;
    documents.into_iter().map(|document| read_flow(server, document)).collect()
}

fn read_flow(server: &Server, document: Document) -> Result<FlowRecord, Fault> {
    let what = format!("the flow {}", document.get_str("uuid").unwrap_or("without a uuid"));
    codec::read_flow(document).map_err(|fault| fault.in_document(&server.place, what).into())
}

/// What is listed, whatever the order.
struct Listing {
    collection: Collection<Document>,
    filter: Document,
    projection: Document,
    /// The path of the short id, as the index on it says it.
    number_index: &'static str,
    /// The same as an expression.
    number: Bson,
    /// Whether few documents pass, so that an index on what is asked for beats one on the order.
    is_narrow: bool,
}

impl Listing {
    async fn page(self, page: &Page) -> Result<Vec<Document>, Fault> {
        // A limit of nothing is no limit to the server.
        if page.limit == Some(0) {
            return Ok(Vec::new());
        }
        // Where numbers within texts count as numbers, `w1` equals `w01`: right for an order, wrong for a filter.
        let would_blur = page.sort == SortKey::DbId && !self.filter.is_empty();
        if self.is_narrow || would_blur {
            self.sorted_here(page).await
        } else {
            self.sorted_by_index(page).await
        }
    }

    /// Walks an index in the order of the page until enough documents have passed.
    async fn sorted_by_index(self, page: &Page) -> Result<Vec<Document>, Fault> {
        let direction = if page.order == Order::Ascending { 1 } else { -1 };
        let field = match page.sort {
            SortKey::CreatedOn => "created_on",
            SortKey::UpdatedOn => "updated_on",
            SortKey::DbId => self.number_index,
        };
        let sort = doc! { field: direction, "_id": direction };
        let find = self.collection.find(self.filter).projection(self.projection).sort(sort);
        let find = find.skip(u64::from(page.skip)).limit(page.limit.map_or(0, i64::from));
        let find = if page.sort == SortKey::DbId { find.collation(numeric()) } else { find };
        Ok(find.await?.try_collect().await?)
    }

    /// Reads the sort keys of all that pass, sorts them here, and reads the documents of the page.
    ///
    /// The server would either sort whole documents in memory or walk the whole collection in the order of the page.
    async fn sorted_here(self, page: &Page) -> Result<Vec<Document>, Fault> {
        let key = match page.sort {
            SortKey::CreatedOn => "$created_on".into(),
            SortKey::UpdatedOn => "$updated_on".into(),
            SortKey::DbId => self.number,
        };
        let cursor = self.collection.find(self.filter).projection(doc! { "key": key }).await?;
        let mut found: Vec<Document> = cursor.try_collect().await?;
        found.sort_by_cached_key(SortValue::of);
        if page.order == Order::Descending {
            found.reverse();
        }
        let limit = page.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let skip = usize::try_from(page.skip).unwrap_or(usize::MAX);
        let ids = found.iter().skip(skip).take(limit).filter_map(|document| document.get("_id").cloned());
        in_order(&self.collection, ids.collect(), self.projection).await
    }
}

/// Returns the documents with these `_id`s, in their order; those deleted meanwhile are left out.
async fn in_order(
    collection: &Collection<Document>,
    ids: Vec<Bson>,
    projection: Document,
) -> Result<Vec<Document>, Fault> {
    let mut documents = Vec::with_capacity(ids.len());
    for some in ids.chunks(MOST_UUIDS) {
        let cursor = collection.find(doc! { "_id": { "$in": some } }).projection(projection.clone()).await?;
        let found: Vec<Document> = cursor.try_collect().await?;
        let mut by_id: BTreeMap<String, Document> = BTreeMap::new();
        for document in found {
            by_id.insert(document.get("_id").map(ToString::to_string).unwrap_or_default(), document);
        }
        documents.extend(some.iter().filter_map(|id| by_id.remove(&id.to_string())));
    }
    Ok(documents)
}

/// What documents are sorted by: a time, or a short id by its prefix and number; then the `_id`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SortValue {
    time: Option<Timestamp>,
    prefix: String,
    number: Option<u64>,
    id: String,
}

impl SortValue {
    fn of(document: &Document) -> Self {
        let text = document.get_str("key").unwrap_or_default();
        let digits = text.len().saturating_sub(text.trim_end_matches(|c: char| c.is_ascii_digit()).len());
        let (prefix, number) = text.split_at_checked(text.len().saturating_sub(digits)).unwrap_or((text, ""));
        Self {
            time: document.get_datetime("key").ok().copied(),
            prefix: prefix.to_owned(),
            number: number.parse().ok(),
            id: document.get("_id").map(ToString::to_string).unwrap_or_default(),
        }
    }
}

/// Returns how many jobs pass the filter.
pub(super) async fn count_jobs(server: &Server, filter: &JobFilter) -> Result<u64, Fault> {
    count(&server.jobs(), job_filter(filter)).await
}

/// Returns how many flows pass the filter.
pub(super) async fn count_flows(server: &Server, filter: &FlowFilter) -> Result<u64, Fault> {
    count(&server.flows(), flow_filter(server, filter).await?).await
}

/// Counts keys of the primary index where everything counts: the server would read all documents.
async fn count(collection: &Collection<Document>, filter: Document) -> Result<u64, Fault> {
    let count = if filter.is_empty() {
        collection.count_documents(filter).hint(::mongodb::options::Hint::Name("_id_".to_owned())).await?
    } else {
        collection.count_documents(filter).await?
    };
    Ok(count)
}

/// Returns how many jobs there are in each state.
pub(super) async fn count_by_state(
    server: &Server,
    filter: &JobFilter,
) -> Result<BTreeMap<State, u64>, Fault> {
    let mut filter = job_filter(filter);
    if filter.is_empty() {
        // A condition that always holds makes the server count keys of an index instead of reading documents.
        filter.insert("state", doc! { "$gte": "" });
    }
    let groups = [doc! { "$match": filter }, doc! { "$group": { "_id": "$state", "count": { "$sum": 1 } } }];
    let mut counts = BTreeMap::new();
    let cursor = server.jobs().aggregate(groups).await?;
    for group in cursor.try_collect::<Vec<Document>>().await? {
        let state = state(server, group.get_str("_id").unwrap_or_default())?;
        let place = counts.entry(state).or_insert(0_u64);
        *place = place.saturating_add(counted(&group));
    }
    Ok(counts)
}

/// Returns how many jobs each worker has in each of these states.
pub(super) async fn load(server: &Server, states: &[State]) -> Result<Load, Fault> {
    let by_worker = doc! { "_id": { "worker": "$worker", "state": "$state" }, "count": { "$sum": 1 } };
    let groups = [doc! { "$match": { "state": in_states(states) } }, doc! { "$group": by_worker }];
    let mut load = Load::new();
    let cursor = server.jobs().aggregate(groups).await?;
    for group in cursor.try_collect::<Vec<Document>>().await? {
        let id = group.get_document("_id").cloned().unwrap_or_default();
        let state = state(server, id.get_str("state").unwrap_or_default())?;
        let worker = id.get_str("worker").unwrap_or_default().to_owned();
        let place = load.entry(worker).or_default().entry(state).or_insert(0);
        *place = place.saturating_add(counted(&group));
    }
    Ok(load)
}

fn counted(group: &Document) -> u64 {
    let count = group.get("count").and_then(number).unwrap_or_default();
    u64::try_from(count).unwrap_or_default()
}

fn state(server: &Server, name: &str) -> Result<State, Fault> {
    name.parse().map_err(|error: crate::model::state::UnknownState| {
        let (place, what) = (server.place.clone(), "the state of a job".to_owned());
        StoreError::Unreadable { place, what, why: error.to_string() }.into()
    })
}

/// Conditions that all have to hold.
#[derive(Default)]
struct Conditions(Vec<Document>);

impl Conditions {
    fn add(&mut self, field: &str, value: impl Into<Bson>) {
        self.0.push(doc! { field: value.into() });
    }

    fn add_in(&mut self, field: &str, values: &[String]) {
        match values {
            [] => {}
            [one] => self.add(field, one.as_str()),
            several => self.add(field, doc! { "$in": several }),
        }
    }

    /// A range of texts, which an index on the field can answer.
    fn add_prefixes(&mut self, field: &str, prefixes: &[String]) {
        let ranges = prefixes.iter().map(|prefix| {
            let end = format!("{prefix}{}", char::MAX);
            doc! { field: { "$gte": prefix, "$lte": end } }
        });
        let ranges: Vec<Document> = ranges.collect();
        if !ranges.is_empty() {
            self.0.push(doc! { "$or": ranges });
        }
    }

    fn add_name(&mut self, field: &str, name: Option<&str>) {
        match name.map(parse) {
            None => {}
            Some(Name::Exact(name)) => self.add(field, name),
            Some(Name::Pattern(pattern)) => self.add(field, doc! { "$regex": pattern, "$options": "s" }),
        }
    }

    fn add_metadata(&mut self, field: &str, metadata: &BTreeMap<String, Bson>) {
        for (key, value) in metadata {
            self.add(&format!("{field}.{key}"), value.clone());
        }
    }

    fn add_updated(&mut self, from: Option<Timestamp>, to: Option<Timestamp>) {
        if let Some(from) = from {
            self.add("updated_on", doc! { "$gte": from });
        }
        if let Some(to) = to {
            self.add("updated_on", doc! { "$lte": to });
        }
    }

    /// "Held" in the words of the partial index on held documents.
    fn add_locked(&mut self, locked: Option<Locked>) {
        match locked {
            None => {}
            Some(Locked::Held) => self.add("lock_id", doc! { "$type": "string" }),
            Some(Locked::Free) => self.add("lock_id", Bson::Null),
        }
    }

    fn into_filter(mut self) -> Document {
        match self.0.len() {
            0 => Document::new(),
            1 => self.0.remove(0),
            _ => doc! { "$and": self.0 },
        }
    }
}

pub(super) fn job_filter(filter: &JobFilter) -> Document {
    let mut conditions = Conditions::default();
    if !filter.keys.is_empty() {
        let keys = filter.keys.iter().map(|key| doc! { "uuid": &key.uuid, "index": key.index });
        conditions.0.push(doc! { "$or": keys.collect::<Vec<_>>() });
    }
    conditions.add_in("uuid", &filter.uuids);
    conditions.add_prefixes("uuid", &filter.uuid_prefixes);
    conditions.add_in("db_id", &filter.db_ids);
    conditions.add_in("job.hosts", &filter.flows);
    if !filter.states.is_empty() {
        conditions.add("state", in_states(&filter.states));
    }
    conditions.add_in("worker", &filter.workers);
    conditions.add_name("job.name", filter.name.as_deref());
    conditions.add_metadata("job.metadata", &filter.metadata);
    conditions.add_updated(filter.updated_from, filter.updated_to);
    if let Some(id) = &filter.process_id {
        conditions.add("remote.process_id", codec::process_id::shown(id));
    }
    conditions.add_locked(filter.locked);
    conditions.into_filter()
}

pub(super) async fn flow_filter(server: &Server, filter: &FlowFilter) -> Result<Document, Fault> {
    let mut conditions = Conditions::default();
    conditions.add_in("uuid", &filter.uuids);
    conditions.add_prefixes("uuid", &filter.uuid_prefixes);
    if !filter.db_ids.is_empty() {
        let members = uuids_of(server, &filter.db_ids).await?;
        conditions.add("jobs", doc! { "$in": members });
    }
    conditions.add_in("jobs", &filter.job_uuids);
    if !filter.states.is_empty() {
        let names: Vec<&str> = filter.states.iter().map(|state| state.name()).collect();
        conditions.add("state", doc! { "$in": names });
    }
    conditions.add_name("name", filter.name.as_deref());
    conditions.add_metadata("metadata", &filter.metadata);
    conditions.add_updated(filter.updated_from, filter.updated_to);
    conditions.add_locked(filter.locked);
    Ok(conditions.into_filter())
}

/// No index reaches the short ids within a flow's `ids`, an array of arrays; the jobs know them.
async fn uuids_of(server: &Server, db_ids: &[String]) -> Result<Vec<String>, Fault> {
    let filter = doc! { "db_id": { "$in": db_ids } };
    let found = Access::plain(server).find(&server.names.jobs, filter, only(&["uuid"])).await?;
    Ok(found.iter().filter_map(|job| job.get_str("uuid").ok().map(str::to_owned)).collect())
}
