//! What the response of a completed job does to its flow.
//!
//! The new jobs are inserted before the job's own move, marked with its token (`jobferry.grown`): nobody sees them as
//! part of the flow, and nothing releases them. The move records what else is to be done (`jobferry.growth`).
//! [`settle`] then makes the marked jobs part of the flow, each step in a way that may be done twice, and takes the
//! mark away last. With transactions all of it is one; on a standalone server the flow is locked meanwhile, in the
//! way that the Python side sees, and [`super::repair`] finishes what a kill left: the marked jobs of a move that was
//! stored become part of the flow, those of a move that never was are removed.

use std::collections::BTreeSet;

use ::mongodb::bson::{Bson, Document, doc};

use super::super::actions::{Locks, Mandate};
use super::super::{Ending, Move, StoreError, codec};
use super::access::{Access, Command, Fault, durable, only};
use super::finish::{MOST_UUIDS, Signature, parents_of, state_of};
use super::insert::{take_numbers, with_id};
use super::locks::Held;
use super::moves::{attempt_of, by_key, flow_of, key_of};
use super::{Server, Topology};
use crate::model::Timestamp;
use crate::model::ids::{JobKey, Token};
use crate::model::job::{Growth, Stop};
use crate::model::state::{Event, State};

/// Makes ready what the ending adds to its flow, if anything; false when the flow is locked by somebody else or the
/// job is gone.
pub(super) async fn prepare(
    access: &mut Access<'_>,
    ending: &Ending,
    held: &mut Held,
) -> Result<bool, Fault> {
    if ending.growth.is_nothing() {
        return Ok(true);
    }
    let Some(flow) = flow_of_job(access, &ending.step.key).await? else { return Ok(false) };
    let is_ours = match access.server.topology().await? {
        Topology::Standalone => lock(access, flow, &ending.step, held).await?,
        Topology::Transactions => is_free(access, &flow).await?,
    };
    if is_ours {
        insert(access, ending).await?;
    }
    Ok(is_ours)
}

async fn flow_of_job(access: &mut Access<'_>, key: &JobKey) -> Result<Option<String>, Fault> {
    let jobs = access.server.names.jobs.clone();
    let filter = doc! { "uuid": &key.uuid, "index": key.index };
    Ok(access.find(&jobs, filter, only(&["job.hosts"])).await?.first().and_then(flow_of))
}

/// Inside a transaction: a lock that comes later meets the write of [`settle`] to the same document.
async fn is_free(access: &mut Access<'_>, flow: &str) -> Result<bool, Fault> {
    let flows = access.server.names.flows.clone();
    let filter = doc! { "uuid": flow, "lock_id": null };
    Ok(!access.find(&flows, filter, only(&["uuid"])).await?.is_empty())
}

async fn lock(access: &mut Access<'_>, flow: String, step: &Move, held: &mut Held) -> Result<bool, Fault> {
    let mandate = Mandate { by: step.by.clone(), at: step.at, locks: Locks::Honour };
    held.take(access.server, std::iter::empty(), std::iter::once(flow.clone()), &mandate).await?;
    let flows = access.server.names.flows.clone();
    let filter = doc! { "uuid": flow, "lock_id": &held.id };
    Ok(!access.find(&flows, filter, only(&["uuid"])).await?.is_empty())
}

async fn insert(access: &mut Access<'_>, ending: &Ending) -> Result<(), Fault> {
    let growth = &ending.growth;
    if growth.jobs.is_empty() {
        return Ok(());
    }
    let token = token_of(&ending.step);
    let there = already_there(access, growth, &token).await?;
    let first = take_numbers(access.server, growth.jobs.len()).await?;
    let mut documents = Vec::with_capacity(growth.jobs.len());
    for (number, job) in (first..).zip(&growth.jobs).filter(|(_, job)| !there.contains(&job.key)) {
        let db_id = format!("{}{number}", access.server.id_prefix);
        let mut document = with_id(codec::new_job_document(job, &db_id, ending.step.at));
        document.insert("state", State::Waiting.stored_name());
        let grown = doc! { "by": token.as_str(), "state": growth.first_state(job).stored_name() };
        codec::write_paths(&mut document, &doc! { "jobferry.grown": grown });
        documents.push(document);
    }
    let jobs = access.server.names.jobs.clone();
    access.write(Command::Insert, &jobs, &documents).await?.all()?;
    Ok(())
}

/// Returns which of the new jobs an earlier try of the same attempt has inserted; anybody else's job is refused.
async fn already_there(
    access: &mut Access<'_>,
    growth: &Growth,
    token: &Token,
) -> Result<BTreeSet<JobKey>, Fault> {
    let jobs = access.server.names.jobs.clone();
    let wanted: BTreeSet<&JobKey> = growth.jobs.iter().map(|job| &job.key).collect();
    let uuids: Vec<&str> = wanted.iter().map(|key| key.uuid.as_str()).collect();
    let mut there = BTreeSet::new();
    for some in uuids.chunks(MOST_UUIDS) {
        let filter = doc! { "uuid": { "$in": some } };
        for document in access.find(&jobs, filter, only(&["uuid", "index", "jobferry.grown.by"])).await? {
            let key = key_of(&document)?;
            let grown = document.get_document("jobferry").and_then(|ferry| ferry.get_document("grown"));
            let is_ours = grown.is_ok_and(|grown| grown.get_str("by").is_ok_and(|by| by == token.as_str()));
            if is_ours {
                there.insert(key);
            } else if wanted.contains(&key) {
                let place = access.server.place.clone();
                return Err(StoreError::Duplicate { place, uuid: key.to_string() }.into());
            }
        }
    }
    Ok(there)
}

fn token_of(step: &Move) -> Token {
    Token::new(&step.key, step.attempt)
}

/// Returns what the job's own move records of the growth besides the new jobs.
pub(super) fn record_of(ending: &Ending) -> Option<Document> {
    let growth = &ending.growth;
    let stop = match growth.stop {
        Stop::Nothing => Bson::Null,
        Stop::Children => "children".into(),
        Stop::Flow => "flow".into(),
    };
    let leaves: Vec<&str> = growth.detour_leaves.iter().map(String::as_str).collect();
    (!growth.is_nothing()).then(|| doc! { "detour_leaves": leaves, "stop": stop })
}

/// A job whose flow is to grow, as its document says.
struct Grower {
    key: JobKey,
    token: Token,
    flow: String,
    leaves: Vec<String>,
    stop: Stop,
    is_completed: bool,
}

/// Lets the flows of these ended jobs grow and returns the uuids of the new jobs.
///
/// Done twice it is done once: new jobs are found by their mark, which the last step takes away.
pub(super) async fn settle(
    access: &mut Access<'_>,
    uuids: &[&str],
    signature: &Signature,
) -> Result<Vec<String>, Fault> {
    let mut new = Vec::new();
    for grower in growers(access, uuids).await? {
        if grower.is_completed {
            new.extend(let_grow(access, &grower, signature).await?);
        } else {
            remove_marked(access.server, &grower.token).await?;
        }
        set_of_job(access, &grower.key, doc! { "$unset": { "jobferry.growth": "" } }).await?;
    }
    Ok(new)
}

async fn growers(access: &mut Access<'_>, uuids: &[&str]) -> Result<Vec<Grower>, Fault> {
    let jobs = access.server.names.jobs.clone();
    let filter = doc! { "uuid": { "$in": uuids }, "jobferry.growth": { "$exists": true } };
    let fields = ["uuid", "index", "state", "job.hosts", "jobferry.attempt", "jobferry.growth"];
    let documents = access.find(&jobs, filter, only(&fields)).await?;
    documents.iter().map(read_grower).collect()
}

fn read_grower(document: &Document) -> Result<Grower, Fault> {
    let key = key_of(document)?;
    let growth = document.get_document("jobferry").and_then(|ferry| ferry.get_document("growth"));
    let growth = growth.cloned().unwrap_or_default();
    let leaves = growth.get_array("detour_leaves").map(Vec::as_slice).unwrap_or_default();
    Ok(Grower {
        token: Token::new(&key, attempt_of(document)),
        key,
        flow: flow_of(document).unwrap_or_default(),
        leaves: leaves.iter().filter_map(|leaf| leaf.as_str().map(str::to_owned)).collect(),
        stop: match growth.get_str("stop") {
            Ok("children") => Stop::Children,
            Ok("flow") => Stop::Flow,
            _ => Stop::Nothing,
        },
        is_completed: state_of(document)? == State::Completed,
    })
}

async fn let_grow(
    access: &mut Access<'_>,
    grower: &Grower,
    signature: &Signature,
) -> Result<Vec<String>, Fault> {
    let jobs = access.server.names.jobs.clone();
    let filter = doc! { "jobferry.grown.by": grower.token.as_str() };
    let fields = ["uuid", "index", "db_id", "parents", "jobferry.grown.state"];
    let order = doc! { "_id": 1 };
    let marked = access.find_some(&jobs, filter, only(&fields), order, None).await?;
    add_parents(access, grower).await?;
    add_to_flow(access, grower, &marked, signature.at).await?;
    stop(access, grower, signature).await?;
    unmark(access, &marked).await
}

/// Whoever waits for the job waits for the leaves of its detour as well; the new jobs themselves do not. Struck off
/// the record when it is done, because once the marks are gone it could not be told who is new.
async fn add_parents(access: &mut Access<'_>, grower: &Grower) -> Result<(), Fault> {
    if grower.leaves.is_empty() {
        return Ok(());
    }
    let jobs = access.server.names.jobs.clone();
    let statement = doc! {
        "q": { "parents": &grower.key.uuid, "jobferry.grown.by": { "$ne": grower.token.as_str() } },
        "u": { "$addToSet": { "parents": { "$each": &grower.leaves } } },
        "multi": true,
    };
    let children = access
        .find(
            &jobs,
            doc! { "parents": &grower.key.uuid, "jobferry.grown.by": { "$ne": grower.token.as_str() } },
            only(&["uuid", "index"]),
        )
        .await?;
    access.write(Command::Update, &jobs, &[statement]).await?.all()?;
    // The flow's own table of parents too, which the Python side reads when it runs a job again.
    let mut each = Document::new();
    for child in &children {
        let key = key_of(child)?;
        each.insert(format!("parents.{}.{}", key.uuid, key.index), doc! { "$each": &grower.leaves });
    }
    if !each.is_empty() {
        let flows = access.server.names.flows.clone();
        let statement = doc! { "q": { "uuid": &grower.flow }, "u": { "$addToSet": each } };
        access.write(Command::Update, &flows, &[statement]).await?.all()?;
    }
    set_of_job(access, &grower.key, doc! { "$set": { "jobferry.growth.detour_leaves": [] } }).await
}

async fn set_of_job(access: &mut Access<'_>, key: &JobKey, update: Document) -> Result<(), Fault> {
    let jobs = access.server.names.jobs.clone();
    let statement = doc! { "q": { "uuid": &key.uuid, "index": key.index }, "u": update, "hint": by_key() };
    access.write(Command::Update, &jobs, &[statement]).await?.all()?;
    Ok(())
}

async fn add_to_flow(
    access: &mut Access<'_>,
    grower: &Grower,
    marked: &[Document],
    at: Timestamp,
) -> Result<(), Fault> {
    let mut set = doc! { "updated_on": at };
    let (mut uuids, mut ids) = (Vec::new(), Vec::new());
    for job in marked {
        let key = key_of(job)?;
        set.insert(format!("parents.{}.{}", key.uuid, key.index), parents_of(job));
        let db_id = job.get_str("db_id").unwrap_or_default();
        ids.push(Bson::Array(vec![db_id.into(), key.uuid.as_str().into(), key.index.into()]));
        uuids.push(key.uuid);
    }
    if uuids.is_empty() {
        return Ok(());
    }
    let statement = doc! {
        "q": { "uuid": &grower.flow },
        "u": {
            "$addToSet": { "jobs": { "$each": uuids }, "ids": { "$each": ids } },
            "$set": set,
            "$inc": { "jobferry.revision": 1_i64 },
        },
    };
    let flows = access.server.names.flows.clone();
    access.write(Command::Update, &flows, &[statement]).await?.all()?;
    Ok(())
}

/// Stops the jobs that have not begun and that nobody holds. The new ones are inserted as stopped.
async fn stop(access: &mut Access<'_>, grower: &Grower, signature: &Signature) -> Result<(), Fault> {
    let mut filter = match grower.stop {
        Stop::Nothing => return Ok(()),
        Stop::Children => doc! { "parents": &grower.key.uuid },
        Stop::Flow => doc! { "job.hosts": &grower.flow },
    };
    filter.extend(doc! {
        "state": super::finish::in_states(State::PAUSABLE), "lock_id": null, "jobferry.grown": null,
    });
    let jobs = access.server.names.jobs.clone();
    let found = access.find(&jobs, filter, only(&["uuid", "index", "state", "jobferry.attempt"])).await?;
    let mut statements = Vec::with_capacity(found.len());
    for job in &found {
        let step = Move {
            key: key_of(job)?,
            expected: state_of(job)?,
            attempt: attempt_of(job),
            event: Some(Event::StopByJob),
            changes: Vec::new(),
            reason: None,
            by: signature.by.clone(),
            at: signature.at,
        };
        statements.push(super::moves::statement(&step, super::moves::Also::Nothing)?);
    }
    access.write(Command::Update, &jobs, &statements).await?.all()?;
    Ok(())
}

/// The moment the new jobs are part of the flow and may be released.
async fn unmark(access: &mut Access<'_>, marked: &[Document]) -> Result<Vec<String>, Fault> {
    let mut uuids = Vec::with_capacity(marked.len());
    let mut statements = Vec::with_capacity(marked.len());
    for job in marked {
        let key = key_of(job)?;
        let grown = job.get_document("jobferry").and_then(|ferry| ferry.get_document("grown"));
        let state = grown.and_then(|grown| grown.get_str("state")).unwrap_or("WAITING");
        statements.push(doc! {
            "q": { "uuid": &key.uuid, "index": key.index, "jobferry.grown": { "$exists": true } },
            "u": { "$set": { "state": state }, "$unset": { "jobferry.grown": "" } },
            "hint": by_key(),
        });
        uuids.push(key.uuid);
    }
    let jobs = access.server.names.jobs.clone();
    access.write(Command::Update, &jobs, &statements).await?.all()?;
    Ok(uuids)
}

async fn remove_marked(server: &Server, token: &Token) -> Result<(), Fault> {
    let filter = doc! { "jobferry.grown.by": token.as_str() };
    server.jobs().delete_many(filter).write_concern(durable()).await?;
    Ok(())
}

/// Removes the marked jobs of attempts that will never be completed any more: their job has gone on without them.
///
/// Those of an attempt that waits for its completion are left: it will use them. Returns how many attempts.
pub(super) async fn remove_orphans(server: &Server) -> Result<u64, Fault> {
    let filter = doc! { "jobferry.grown.by": { "$exists": true } };
    let tokens = server.jobs().distinct("jobferry.grown.by", filter).await?;
    let mut removed: u64 = 0;
    for token in tokens.iter().filter_map(Bson::as_str).filter_map(Token::parse) {
        let Some((key, attempt)) = token.parts() else { continue };
        let may_come = doc! {
            "uuid": &key.uuid, "index": key.index, "jobferry.attempt": attempt,
            "$or": [{ "state": State::Downloaded.stored_name() }, { "jobferry.growth": { "$exists": true } }],
        };
        if server.jobs().find_one(may_come).await?.is_none() {
            remove_marked(server, &token).await?;
            removed = removed.saturating_add(1);
        }
    }
    Ok(removed)
}
