//! New flows.
//!
//! With transactions a flow and its jobs appear at once. On a standalone server the flow comes first, as the Python
//! side expects, marked `jobferry.inserting`; its jobs come as WAITING, so that nobody can start one; then the mark is
//! taken away, which is the moment the flow exists, and the jobs without parents become READY. A kill before that
//! moment leaves a marked flow, which [`remove_unfinished`] removes; a kill after it leaves WAITING jobs without
//! parents, which [`super::repair::repair`] makes READY like any other job whose parents are all done.

use std::time::Duration;

use ::mongodb::bson::oid::ObjectId;
use ::mongodb::bson::{Bson, Document, doc};
use ::mongodb::options::ReturnDocument;

use super::super::{StoreError, codec};
use super::access::{Access, Body, Command, Fault, durable, number, only, transact};
use super::finish::{Signature, release};
use super::{Server, Topology};
use crate::model::Timestamp;
use crate::model::job::{FlowId, NewFlow};
use crate::model::state::State;

/// The server's `DuplicateKey`.
const DUPLICATE_KEY: i32 = 11000;

/// An insert that takes longer was killed: the largest flow that fits takes a minute.
const INSERT_LIMIT: Duration = Duration::from_secs(600);

/// Documents ready to be inserted.
struct Prepared {
    uuid: String,
    flow: Document,
    jobs: Vec<Document>,
    ids: Vec<FlowId>,
    at: Timestamp,
}

/// Inserts the flow and its jobs and returns their short ids.
pub(super) async fn insert_flow(server: &Server, flow: &NewFlow) -> Result<Vec<FlowId>, Fault> {
    let topology = server.topology().await?;
    let prepared = prepare(server, flow).await?;
    match topology {
        Topology::Transactions => transact(server, &prepared).await?,
        Topology::Standalone => insert_in_steps(server, &prepared).await?,
    }
    Ok(prepared.ids)
}

async fn prepare(server: &Server, flow: &NewFlow) -> Result<Prepared, Fault> {
    let first = take_numbers(server, flow.jobs.len()).await?;
    let db_ids = (first..).take(flow.jobs.len()).map(|number| format!("{}{number}", server.id_prefix));
    let db_ids: Vec<String> = db_ids.collect();
    let jobs = flow.jobs.iter().zip(&db_ids);
    let jobs = jobs.map(|(job, id)| with_id(codec::new_job_document(job, id, flow.created_on)));
    Ok(Prepared {
        uuid: flow.uuid.clone(),
        flow: with_id(codec::new_flow_document(flow, &db_ids)),
        jobs: jobs.collect(),
        ids: codec::flow_ids(flow, &db_ids),
        at: flow.created_on,
    })
}

pub(super) fn with_id(document: Document) -> Document {
    let mut whole = doc! { "_id": ObjectId::new() };
    whole.extend(document);
    whole
}

/// Returns the first of `count` numbers that nobody else gets. A failed insert leaves a gap.
pub(super) async fn take_numbers(server: &Server, count: usize) -> Result<i64, Fault> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let auxiliary = server.auxiliary();
    let step = i32::try_from(count).map_or(Bson::Int64(count), Bson::Int32);
    let taken = auxiliary
        .find_one_and_update(doc! { "next_id": { "$exists": true } }, doc! { "$inc": { "next_id": step } })
        .return_document(ReturnDocument::Before)
        .write_concern(durable())
        .await?;
    let first = taken.as_ref().and_then(|document| document.get("next_id")).and_then(number);
    first.ok_or_else(not_initialised)
}

/// Returns the fault of a database that was never set up.
pub(super) fn not_initialised() -> Fault {
    let text = "the database has not been set up for jobs yet; run `jf admin reset` or start a runner";
    Fault::Strange(text.to_owned())
}

impl Body for Prepared {
    type Answer = ();

    async fn run(&self, access: &mut Access<'_>) -> Result<(), Fault> {
        insert_one_flow(access, &self.uuid, self.flow.clone()).await?;
        insert_jobs(access, &self.jobs).await
    }
}

async fn insert_one_flow(access: &mut Access<'_>, uuid: &str, flow: Document) -> Result<(), Fault> {
    let flows = access.server.names.flows.clone();
    let reply = access.write(Command::Insert, &flows, &[flow]).await?;
    match reply.refusals.first() {
        Some(refusal) if refusal.code == DUPLICATE_KEY => Err(duplicate(access.server, uuid)),
        _ => reply.all().map(|_| ()),
    }
}

async fn insert_jobs(access: &mut Access<'_>, jobs: &[Document]) -> Result<(), Fault> {
    let collection = access.server.names.jobs.clone();
    let reply = access.write(Command::Insert, &collection, jobs).await?;
    // The index on db_id is unique too, but a number that was given twice is no fault of the caller.
    let same_uuid = |message: &str| message.contains("uuid_1_index_1");
    let refusal = reply.refusals.iter().find(|refusal| same_uuid(&refusal.message));
    match refusal.and_then(|refusal| jobs.get(refusal.place)) {
        Some(job) => Err(duplicate(access.server, job.get_str("uuid").unwrap_or_default())),
        None => reply.all().map(|_| ()),
    }
}

fn duplicate(server: &Server, uuid: &str) -> Fault {
    StoreError::Duplicate { place: server.place.clone(), uuid: uuid.to_owned() }.into()
}

async fn insert_in_steps(server: &Server, prepared: &Prepared) -> Result<(), Fault> {
    let mut access = Access::plain(server);
    // A repeated call after a failure finds what the first one left.
    remove_marked(server, doc! { "uuid": &prepared.uuid, "jobferry.inserting": { "$ne": null } }).await?;
    let mark = ObjectId::new();
    let mut flow = prepared.flow.clone();
    flow.insert(codec::FERRY, doc! { "inserting": { "by": mark, "since": prepared.at } });
    insert_one_flow(&mut access, &prepared.uuid, flow).await?;
    let waiting: Vec<Document> = prepared.jobs.iter().cloned().map(as_waiting).collect();
    if let Err(fault) = insert_jobs(&mut access, &waiting).await {
        undo(server, prepared, mark).await?;
        return Err(fault);
    }
    if !unmark(&mut access, &prepared.uuid, mark).await? {
        undo(server, prepared, mark).await?;
        return Err(Fault::Strange(
            "the insert took so long that it was taken for dead; run it again".into(),
        ));
    }
    make_roots_ready(&mut access, prepared).await
}

/// Unlike a release by a parent, this is part of the submission: it leaves no history.
async fn make_roots_ready(access: &mut Access<'_>, prepared: &Prepared) -> Result<(), Fault> {
    let statement = doc! {
        "q": {
            "job.hosts": &prepared.uuid, "state": State::Waiting.stored_name(), "parents": { "$size": 0 },
            "lock_id": null, "jobferry.attempt": 0,
        },
        "u": { "$set": { "state": State::Ready.stored_name() } },
        "multi": true,
    };
    let jobs = access.server.names.jobs.clone();
    access.write(Command::Update, &jobs, &[statement]).await?.all()?;
    Ok(())
}

fn as_waiting(mut job: Document) -> Document {
    job.insert("state", State::Waiting.stored_name());
    job
}

/// Returns whether the mark was still there and is gone now.
async fn unmark(access: &mut Access<'_>, uuid: &str, mark: ObjectId) -> Result<bool, Fault> {
    let statement = doc! {
        "q": { "uuid": uuid, "jobferry.inserting.by": mark },
        "u": { "$unset": { "jobferry": "" } },
    };
    let flows = access.server.names.flows.clone();
    Ok(access.write(Command::Update, &flows, &[statement]).await?.all()? == 1)
}

/// Removes exactly the documents that this insert made.
async fn undo(server: &Server, prepared: &Prepared, mark: ObjectId) -> Result<(), Fault> {
    let jobs = server.jobs();
    let ids: Vec<&Bson> = prepared.jobs.iter().filter_map(|job| job.get("_id")).collect();
    for some in ids.chunks(super::finish::MOST_UUIDS) {
        jobs.delete_many(doc! { "_id": { "$in": some } }).write_concern(durable()).await?;
    }
    let flows = server.flows();
    flows.delete_one(doc! { "jobferry.inserting.by": mark }).write_concern(durable()).await?;
    Ok(())
}

/// Removes what inserts left that were killed before the flow existed; returns how many flows.
pub(super) async fn remove_unfinished(server: &Server, at: Timestamp) -> Result<u64, Fault> {
    let limit = i64::try_from(INSERT_LIMIT.as_millis()).unwrap_or(i64::MAX);
    let since = Timestamp::from_millis(at.timestamp_millis().saturating_sub(limit));
    remove_marked(server, doc! { "jobferry.inserting.since": { "$lt": since } }).await
}

async fn remove_marked(server: &Server, filter: Document) -> Result<u64, Fault> {
    let mut access = Access::plain(server);
    let found = access.find(&server.names.flows, filter, only(&["uuid", "jobferry.inserting"])).await?;
    let mut removed: u64 = 0;
    for flow in &found {
        let uuid = flow.get_str("uuid").unwrap_or_default();
        let mark = flow.get_document("jobferry").and_then(|f| f.get_document("inserting"));
        let Some(mark) = mark.ok().and_then(|mark| mark.get("by")) else { continue };
        // Another mark makes the insert's last step fail, so that it cannot come to life any more.
        let removal = ObjectId::new();
        let statement = doc! {
            "q": { "uuid": uuid, "jobferry.inserting.by": mark },
            "u": { "$set": { "jobferry.inserting.by": removal } },
        };
        if access.write(Command::Update, &server.names.flows, &[statement]).await?.all()? == 0 {
            continue;
        }
        let jobs = server.jobs();
        jobs.delete_many(doc! { "job.hosts": uuid }).write_concern(durable()).await?;
        let flows = server.flows();
        flows.delete_one(doc! { "jobferry.inserting.by": removal }).write_concern(durable()).await?;
        removed = removed.saturating_add(1);
    }
    Ok(removed)
}

/// Makes READY the jobs of these flows whose parents are all done; returns how many.
pub(super) async fn release_waiting(
    access: &mut Access<'_>,
    flows: &[String],
    signature: &Signature,
) -> Result<u64, Fault> {
    let filter = doc! {
        "job.hosts": { "$in": flows }, "state": State::Waiting.stored_name(), "jobferry.grown": null,
    };
    Ok(release(access, filter, signature).await?.count)
}
