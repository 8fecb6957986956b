//! The end of a job and what follows from it: children released, the flow's state derived, in one step.
//!
//! With transactions all of it is stored at once. On a standalone server the move records that something follows
//! (`jobferry.settling`), each thing that follows can be done twice, and the record is cleared last; a restart finds
//! the record and does the rest.

use std::collections::{BTreeSet, HashMap};

use ::mongodb::bson::{Document, doc};

use super::super::{Applied, Ending, Move};
use super::access::{Access, Body, Command, Fault, only, transact};
use super::derive::derive_flows;
use super::grow;
use super::locks::Held;
use super::moves::{
    Also, apply_statements, attempt_of, by_key, flow_of, in_state, key_of, reporting, statement,
};
use super::{Server, Topology};
use crate::model::Timestamp;
use crate::model::flow::{OnMissing, may_start};
use crate::model::ids::JobKey;
use crate::model::state::{Event, State};

/// Moves in one transaction: enough that its cost is shared, few enough that it ends in well under a second.
const MOST_MOVES: usize = 200;

/// Uuids in one `$in`.
pub(super) const MOST_UUIDS: usize = 1000;

/// Who and when, for what follows from a move.
#[derive(Debug, Clone)]
pub(super) struct Signature {
    pub(super) at: Timestamp,
    pub(super) by: String,
}

/// Makes the moves with all that follows and returns what became of each.
pub(super) async fn finish(server: &Server, endings: &[Ending]) -> Result<Vec<Applied>, Fault> {
    let mut applied = Vec::with_capacity(endings.len());
    for some in endings.chunks(MOST_MOVES) {
        applied.extend(match server.topology().await? {
            Topology::Transactions => transact(server, &Finish { endings: some }).await?,
            Topology::Standalone => {
                let mut held = Held::nothing();
                let answer = finish_in_steps(server, some, &mut held).await;
                if some.iter().any(|ending| !ending.growth.is_nothing()) {
                    held.release(server).await?;
                }
                answer?
            }
        });
    }
    Ok(applied)
}

async fn finish_in_steps(
    server: &Server,
    endings: &[Ending],
    held: &mut Held,
) -> Result<Vec<Applied>, Fault> {
    let mut access = Access::plain(server);
    let ready = prepare(&mut access, endings, held).await?;
    let able: Vec<&Ending> =
        endings.iter().zip(&ready).filter(|(_, ready)| **ready).map(|(e, _)| e).collect();
    let statements = able.iter().map(|ending| Ok(reporting(ending_statement(ending)?)));
    let statements = statements.collect::<Result<Vec<_>, Fault>>()?;
    let mut outcomes = apply_statements(&mut access, &statements).await?.into_iter();
    let applied: Vec<Applied> = ready
        .iter()
        .map(|ready| if *ready { outcomes.next() } else { None }.unwrap_or(Applied::Lost))
        .collect();
    let done = endings.iter().zip(&applied).filter(|(_, applied)| **applied == Applied::Done);
    let done: Vec<JobKey> = done.map(|(ending, _)| ending.step.key.clone()).collect();
    settle(&mut access, &done, &signature(endings)).await?;
    Ok(applied)
}

/// Returns which endings can go on: their flow is not locked by others, or does not grow.
async fn prepare(access: &mut Access<'_>, endings: &[Ending], held: &mut Held) -> Result<Vec<bool>, Fault> {
    let mut ready = Vec::with_capacity(endings.len());
    for ending in endings {
        ready.push(grow::prepare(access, ending, held).await?);
    }
    Ok(ready)
}

/// Returns the update statement of the move, with the record of what follows from it.
fn ending_statement(ending: &Ending) -> Result<Document, Fault> {
    let mut statement = statement(&ending.step, Also::Settling)?;
    if let (Some(record), Ok(update)) = (grow::record_of(ending), statement.get_document_mut("u"))
        && let Ok(set) = update.get_document_mut("$set")
    {
        set.insert("jobferry.growth", record);
    }
    Ok(statement)
}

struct Finish<'a> {
    endings: &'a [Ending],
}

impl Body for Finish<'_> {
    type Answer = Vec<Applied>;

    async fn run(&self, access: &mut Access<'_>) -> Result<Vec<Applied>, Fault> {
        let mut present = present(access, self.endings).await?;
        let mut done = Vec::new();
        let mut statements = Vec::new();
        let mut applied = Vec::with_capacity(self.endings.len());
        for ending in self.endings {
            let step = &ending.step;
            let statement = ending_statement(ending)?;
            // Of two moves of one job the second one comes too late.
            let is_there = present.remove(&step.key) == Some((step.expected, step.attempt))
                && grow::prepare(access, ending, &mut Held::nothing()).await?;
            applied.push(if is_there { Applied::Done } else { Applied::Lost });
            if is_there {
                done.push(step.key.clone());
                statements.push(statement);
            }
        }
        let jobs = access.server.names.jobs.clone();
        access.write(Command::Update, &jobs, &statements).await?.all()?;
        settle(access, &done, &signature(self.endings)).await?;
        Ok(applied)
    }
}

/// Returns state and attempt of the jobs of these moves that nobody has locked.
async fn present(
    access: &mut Access<'_>,
    endings: &[Ending],
) -> Result<HashMap<JobKey, (State, i32)>, Fault> {
    let uuids: BTreeSet<&str> = endings.iter().map(|ending| ending.step.key.uuid.as_str()).collect();
    let uuids: Vec<&str> = uuids.into_iter().collect();
    let filter = doc! { "uuid": { "$in": uuids }, "lock_id": null };
    let projection = only(&["uuid", "index", "state", "jobferry.attempt"]);
    let jobs = access.server.names.jobs.clone();
    let documents = access.find(&jobs, filter, projection).await?;
    let pairs = documents.iter().map(|job| Ok((key_of(job)?, (state_of(job)?, attempt_of(job)))));
    pairs.collect()
}

/// Returns the state of a projected job document.
pub(super) fn state_of(document: &Document) -> Result<State, Fault> {
    let state = document.get_str("state").unwrap_or_default();
    state.parse().map_err(|error: crate::model::state::UnknownState| Fault::Strange(error.to_string()))
}

fn signature(endings: &[Ending]) -> Signature {
    let at = endings.iter().map(|ending| ending.step.at).max().unwrap_or(Timestamp::from_millis(0));
    let by = endings.first().map(|ending| ending.step.by.clone()).unwrap_or_default();
    Signature { at, by }
}

/// Does all that follows from the end of these jobs, then clears their `settling`.
///
/// A child that somebody has locked cannot be released now: its parents stay `settling`, so that
/// [`super::repair::repair`] comes back to it.
pub(super) async fn settle(
    access: &mut Access<'_>,
    finished: &[JobKey],
    signature: &Signature,
) -> Result<(), Fault> {
    for some in finished.chunks(MOST_MOVES) {
        let uuids: Vec<&str> = some.iter().map(|key| key.uuid.as_str()).collect();
        let mut flows = flows_of(access, &uuids).await?;
        let new = grow::settle(access, &uuids, signature).await?;
        let filter = match new.is_empty() {
            true => doc! { "parents": { "$in": &uuids }, "state": State::Waiting.stored_name() },
            false => doc! {
                "$or": [{ "parents": { "$in": &uuids } }, { "uuid": { "$in": new } }],
                "state": State::Waiting.stored_name(), "jobferry.grown": null,
            },
        };
        let released = release(access, filter, signature).await?;
        flows.extend(released.flows);
        derive_flows(access, flows.into_iter().collect(), signature.at).await?;
        clear_settling(access, some, &released.held_by).await?;
    }
    Ok(())
}

async fn flows_of(access: &mut Access<'_>, uuids: &[&str]) -> Result<BTreeSet<String>, Fault> {
    let jobs = access.server.names.jobs.clone();
    let filter = doc! { "uuid": { "$in": uuids } };
    let documents = access.find(&jobs, filter, only(&["uuid", "job.hosts"])).await?;
    Ok(documents.iter().filter_map(flow_of).collect())
}

async fn clear_settling(
    access: &mut Access<'_>,
    finished: &[JobKey],
    held_by: &BTreeSet<String>,
) -> Result<(), Fault> {
    let settled = finished.iter().filter(|key| !held_by.contains(&key.uuid));
    let statements = settled.map(|key| {
        doc! {
            "q": { "uuid": &key.uuid, "index": key.index },
            "u": { "$set": { "jobferry.settling": false } },
            "hint": by_key(),
        }
    });
    let statements: Vec<Document> = statements.collect();
    let jobs = access.server.names.jobs.clone();
    access.write(Command::Update, &jobs, &statements).await?.all()?;
    Ok(())
}

/// What came of an attempt to release children.
#[derive(Debug, Default)]
pub(super) struct Released {
    pub(super) count: u64,
    /// Flows of the children, which need not be those of the parents.
    pub(super) flows: BTreeSet<String>,
    /// Parents of children that may start but are locked.
    held_by: BTreeSet<String>,
}

struct Child {
    key: JobKey,
    attempt: i32,
    parents: Vec<String>,
    on_missing: OnMissing,
    flow: Option<String>,
    is_locked: bool,
}

/// Makes READY those WAITING jobs of the filter whose parents are all done.
pub(super) async fn release(
    access: &mut Access<'_>,
    filter: Document,
    signature: &Signature,
) -> Result<Released, Fault> {
    let children = children(access, filter).await?;
    let newest = newest_states(access, &children).await?;
    let may_start = children.iter().filter(|child| may_start(&child.parents, child.on_missing, &newest));
    let (locked, free): (Vec<&Child>, Vec<&Child>) = may_start.partition(|child| child.is_locked);
    let held_by = locked.into_iter().flat_map(|child| child.parents.clone()).collect();
    let moves: Vec<Move> = free.iter().map(|child| release_move(child, signature)).collect();
    let flows = free.into_iter().filter_map(|child| child.flow.clone()).collect();
    Ok(Released { count: make_ready(access, &moves).await?, flows, held_by })
}

/// In a transaction nobody can come between the look and the move; else a lost move is no loss: whoever took the
/// child to another state knew more.
async fn make_ready(access: &mut Access<'_>, moves: &[Move]) -> Result<u64, Fault> {
    if moves.is_empty() {
        return Ok(0);
    }
    let statements = moves.iter().map(|step| statement(step, Also::Nothing));
    let statements = statements.collect::<Result<Vec<_>, _>>()?;
    let jobs = access.server.names.jobs.clone();
    access.write(Command::Update, &jobs, &statements).await?.all()
}

fn release_move(child: &Child, signature: &Signature) -> Move {
    Move {
        key: child.key.clone(),
        expected: State::Waiting,
        attempt: child.attempt,
        event: Some(Event::Release),
        changes: Vec::new(),
        reason: None,
        by: signature.by.clone(),
        at: signature.at,
    }
}

async fn children(access: &mut Access<'_>, filter: Document) -> Result<Vec<Child>, Fault> {
    const FIELDS: [&str; 7] = [
        "uuid",
        "index",
        "parents",
        "lock_id",
        "job.hosts",
        "job.config.on_missing_references",
        "jobferry.attempt",
    ];
    let jobs = access.server.names.jobs.clone();
    let documents = access.find(&jobs, filter, only(&FIELDS)).await?;
    documents.iter().map(read_child).collect()
}

fn read_child(document: &Document) -> Result<Child, Fault> {
    let config = document.get_document("job").and_then(|job| job.get_document("config"));
    let on_missing = config.and_then(|config| config.get_str("on_missing_references"));
    Ok(Child {
        key: key_of(document)?,
        attempt: attempt_of(document),
        parents: parents_of(document),
        on_missing: on_missing.map_or(OnMissing::Error, OnMissing::from_config),
        flow: flow_of(document),
        is_locked: document.get_str("lock_id").is_ok(),
    })
}

/// Returns the parents of a projected job document.
pub(super) fn parents_of(document: &Document) -> Vec<String> {
    let parents = document.get_array("parents").map(Vec::as_slice).unwrap_or_default();
    parents.iter().filter_map(|uuid| uuid.as_str().map(str::to_owned)).collect()
}

/// Returns the state of the largest index of each parent.
async fn newest_states(access: &mut Access<'_>, children: &[Child]) -> Result<HashMap<String, State>, Fault> {
    let parents: BTreeSet<&str> =
        children.iter().flat_map(|child| child.parents.iter().map(String::as_str)).collect();
    let parents: Vec<&str> = parents.into_iter().collect();
    let mut newest: HashMap<String, (i32, State)> = HashMap::new();
    let jobs = access.server.names.jobs.clone();
    for some in parents.chunks(MOST_UUIDS) {
        let filter = doc! { "uuid": { "$in": some } };
        for document in access.find(&jobs, filter, only(&["uuid", "index", "state"])).await? {
            let (key, state) = (key_of(&document)?, state_of(&document)?);
            let place = newest.entry(key.uuid).or_insert((key.index, state));
            if place.0 <= key.index {
                *place = (key.index, state);
            }
        }
    }
    Ok(newest.into_iter().map(|(uuid, (_, state))| (uuid, state)).collect())
}

/// Returns the keys of the jobs whose end was stored and what follows was not.
pub(super) async fn unsettled(server: &Server) -> Result<Vec<JobKey>, Fault> {
    let mut access = Access::plain(server);
    let filter = doc! { "jobferry.settling": true };
    let documents = access.find(&server.names.jobs, filter, only(&["uuid", "index"])).await?;
    documents.iter().map(key_of).collect()
}

/// Returns the condition on a job in one of these states.
pub(super) fn in_states(states: &[State]) -> Document {
    let mut names: Vec<&str> = states.iter().map(|state| state.stored_name()).collect();
    if states.contains(&State::Terminated) {
        names.push(State::Terminated.name());
    }
    doc! { "$in": names }
}

/// Returns whether a stored state is the one, for single states.
pub(super) fn is_state(state: State) -> Document {
    doc! { "state": in_state(state) }
}
