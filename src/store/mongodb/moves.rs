//! Moves of jobs: every one a compare-and-set on state, attempt and a free lock.

use std::collections::{BTreeMap, BTreeSet};

use ::mongodb::bson::{Bson, Document, doc};

use super::super::codec;
use super::super::{Applied, Claim, Move};
use super::Server;
use super::access::{Access, Command, Fault, Refusal, Reply, only};
use crate::model::Timestamp;
use crate::model::ids::JobKey;
use crate::model::job::HISTORY_LIMIT;
use crate::model::state::{Event, State};

/// The server's `InvalidIdField`.
const INVALID_ID: i32 = 53;

/// How often a claim looks again for jobs in place of those that somebody else took meanwhile, once it has some.
const CLAIM_ROUNDS: u32 = 3;

/// The same while it has none: an empty answer says that nothing is left. In each of these rounds others took jobs.
const EMPTY_ROUNDS: u32 = 100;

/// What a statement does besides the move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Also {
    Nothing,
    /// Records that what follows from the move is still to be done.
    Settling,
}

/// Makes the moves and returns what became of each, exactly, in one round trip a batch.
///
/// The `update` command says how many of its statements matched, not which. So each statement is an upsert that
/// cannot succeed: where nothing matches, the document to be inserted has an array for its `_id`, which the server
/// refuses, by the statement's number. Nothing is ever inserted.
pub(super) async fn apply(
    access: &mut Access<'_>,
    moves: &[Move],
    also: Also,
) -> Result<Vec<Applied>, Fault> {
    let statements = moves.iter().map(|step| Ok(reporting(statement(step, also)?)));
    apply_statements(access, &statements.collect::<Result<Vec<_>, Fault>>()?).await
}

/// Sends reporting statements and returns what became of each.
pub(super) async fn apply_statements(
    access: &mut Access<'_>,
    statements: &[Document],
) -> Result<Vec<Applied>, Fault> {
    let jobs = access.server.names.jobs.clone();
    let reply = access.write(Command::Update, &jobs, statements).await?;
    let matched = reply.matched;
    let mut applied = vec![Applied::Done; statements.len()];
    for place in refused(reply)? {
        if let Some(place) = applied.get_mut(place) {
            *place = Applied::Lost;
        }
    }
    let done = applied.iter().filter(|result| **result == Applied::Done).count();
    if u64::try_from(done).is_ok_and(|done| done == matched) {
        Ok(applied)
    } else {
        Err(Fault::Strange(format!("{done} moves were taken and {matched} jobs were changed")))
    }
}

/// Returns the update statement as one that tells when it matches nothing.
pub(super) fn reporting(mut statement: Document) -> Document {
    statement.insert("upsert", true);
    if let Ok(update) = statement.get_document_mut("u") {
        update.insert("$setOnInsert", doc! { "_id": [] });
    }
    statement
}

/// Returns the places of the reporting statements that matched nothing.
pub(super) fn refused(reply: Reply) -> Result<Vec<usize>, Fault> {
    let place = |refusal: Refusal| match refusal.code {
        INVALID_ID => Ok(refusal.place),
        _ => Err(Fault::Strange(refusal.message)),
    };
    reply.refusals.into_iter().map(place).collect()
}

/// Returns the update statement of one move.
pub(super) fn statement(step: &Move, also: Also) -> Result<Document, Fault> {
    let written = codec::written(step)?;
    let mut set = written.set;
    codec::process_id::divide(&mut set);
    if also == Also::Settling {
        set.insert("jobferry.settling", true);
    }
    let mut update = doc! { "$set": set };
    if let Some(entry) = written.entry {
        let kept = i32::try_from(HISTORY_LIMIT).unwrap_or(i32::MAX).saturating_neg();
        let entry = codec::history_document(&entry);
        update.insert("$push", doc! { "jobferry.history": { "$each": [entry], "$slice": kept } });
    }
    Ok(doc! { "q": expected(step), "u": update, "hint": by_key() })
}

/// Returns the index that finds one job. Named in each statement, so that the server does not weigh all its indexes
/// against each other for every job.
pub(super) fn by_key() -> Document {
    doc! { "uuid": 1, "index": 1 }
}

fn expected(step: &Move) -> Document {
    doc! {
        "uuid": &step.key.uuid,
        "index": step.key.index,
        "state": in_state(step.expected),
        "lock_id": null,
        "jobferry.attempt": in_attempt(step.attempt),
    }
}

/// Returns the condition on a stored state; databases of before 1.0 may still say TERMINATED.
pub(super) fn in_state(state: State) -> Bson {
    if state == State::Terminated {
        doc! { "$in": [state.stored_name(), state.name()] }.into()
    } else {
        state.stored_name().into()
    }
}

/// Jobs that the Python side submitted have no `jobferry` yet: that is attempt 0.
fn in_attempt(attempt: i32) -> Bson {
    if attempt == 0 { doc! { "$in": [0, null] }.into() } else { attempt.into() }
}

/// Returns the condition that no step of the job is put off beyond `due`.
pub(super) fn is_due(due: Timestamp) -> Document {
    doc! { "$not": { "$gt": due } }
}

/// Checks out READY jobs and returns how many.
pub(super) async fn claim(server: &Server, claim: &Claim) -> Result<u32, Fault> {
    let mut room: BTreeMap<String, u32> = claim.room.clone();
    let mut claimed: u32 = 0;
    for round in 1..=EMPTY_ROUNDS {
        let found = ready(server, claim, &room).await?;
        if found.is_empty() {
            break;
        }
        let lost = check_out(server, claim, &found, &mut room).await?;
        let found = u32::try_from(found.len()).unwrap_or(u32::MAX);
        claimed = claimed.saturating_add(found.saturating_sub(lost));
        if lost == 0 || (claimed > 0 && round >= CLAIM_ROUNDS) {
            break;
        }
    }
    Ok(claimed)
}

/// A READY job that may be claimed.
struct Ready {
    key: JobKey,
    worker: String,
    attempt: i32,
    flow: Option<String>,
}

async fn ready(server: &Server, claim: &Claim, room: &BTreeMap<String, u32>) -> Result<Vec<Ready>, Fault> {
    let wanted = room.iter().filter(|(_, room)| **room > 0);
    let found = wanted.map(|(worker, room)| ready_of_worker(server, claim.at, worker, *room));
    let found = futures::future::try_join_all(found).await?;
    found.iter().flatten().map(read_ready).collect()
}

async fn ready_of_worker(
    server: &Server,
    at: Timestamp,
    worker: &str,
    room: u32,
) -> Result<Vec<Document>, Fault> {
    let filter = doc! {
        "state": State::Ready.stored_name(), "worker": worker, "lock_id": null,
        "remote.retry_time_limit": is_due(at),
    };
    let projection = only(&["uuid", "index", "worker", "job.hosts", "jobferry.attempt"]);
    let sort = by_priority();
    Access::plain(server).find_some(&server.names.jobs, filter, projection, sort, Some(room)).await
}

/// Highest priority first, then oldest; jobs of one flow, which are of one moment, in their order.
pub(super) fn by_priority() -> Document {
    doc! { "priority": -1, "created_on": 1, "_id": 1 }
}

fn read_ready(document: &Document) -> Result<Ready, Fault> {
    let key = key_of(document)?;
    let worker = document.get_str("worker").unwrap_or_default().to_owned();
    let flow = flow_of(document);
    Ok(Ready { key, worker, attempt: attempt_of(document), flow })
}

/// Returns the key of a projected job document.
pub(super) fn key_of(document: &Document) -> Result<JobKey, Fault> {
    let uuid = document.get_str("uuid").ok();
    let index = document.get("index").and_then(super::access::number).and_then(|i| i32::try_from(i).ok());
    match (uuid, index) {
        (Some(uuid), Some(index)) => Ok(JobKey::new(uuid, index)),
        _ => Err(Fault::Strange(format!("{} has no uuid or no index", codec::describe_job(document)))),
    }
}

/// Returns the uuid of the flow that has the job, from a projected job document.
pub(super) fn flow_of(document: &Document) -> Option<String> {
    let hosts = document.get_document("job").ok()?.get_array("hosts").ok()?;
    hosts.last()?.as_str().map(str::to_owned)
}

/// Returns the attempt of a projected job document.
pub(super) fn attempt_of(document: &Document) -> i32 {
    let attempt = document.get_document("jobferry").ok().and_then(|ferry| ferry.get("attempt"));
    attempt.and_then(super::access::number).and_then(|n| i32::try_from(n).ok()).unwrap_or_default()
}

/// Returns how many of the found jobs somebody else took first; takes the others off the room.
async fn check_out(
    server: &Server,
    claim: &Claim,
    found: &[Ready],
    room: &mut BTreeMap<String, u32>,
) -> Result<u32, Fault> {
    let moves: Vec<Move> = found.iter().map(|job| check_out_move(claim, job)).collect();
    let applied = apply(&mut Access::plain(server), &moves, Also::Nothing).await?;
    let mut flows = BTreeSet::new();
    let mut lost: u32 = 0;
    for (job, applied) in found.iter().zip(applied) {
        if applied == Applied::Lost {
            lost = lost.saturating_add(1);
            continue;
        }
        flows.extend(job.flow.clone());
        if let Some(left) = room.get_mut(&job.worker) {
            *left = left.saturating_sub(1);
        }
    }
    start_flows(server, flows.into_iter().collect(), claim.at).await?;
    Ok(lost)
}

fn check_out_move(claim: &Claim, job: &Ready) -> Move {
    Move {
        key: job.key.clone(),
        expected: State::Ready,
        attempt: job.attempt,
        event: Some(Event::CheckOut),
        changes: Vec::new(),
        reason: None,
        by: claim.by.clone(),
        at: claim.at,
    }
}

async fn start_flows(server: &Server, flows: Vec<String>, at: Timestamp) -> Result<(), Fault> {
    if flows.is_empty() {
        return Ok(());
    }
    let statement = doc! {
        "q": { "uuid": { "$in": flows }, "state": "READY" },
        "u": { "$set": { "state": "RUNNING", "updated_on": at }, "$inc": { "jobferry.revision": 1 } },
        "multi": true,
    };
    let write = [statement];
    Access::plain(server).write(Command::Update, &server.names.flows, &write).await?.all()?;
    Ok(())
}
