//! The state of flows, derived from their jobs.
//!
//! The write is a compare-and-set on the flow's state and `jobferry.revision`, which are read before the jobs: of two
//! that derive at the same time, the one that saw the older jobs cannot overwrite the other.

use std::collections::{BTreeMap, HashMap};

use ::mongodb::bson::{Bson, Document, doc};

use super::access::{Access, Command, Fault, number, only};
use super::finish::{in_states, is_state, parents_of, state_of};
use super::moves::{flow_of, key_of};
use crate::model::Timestamp;
use crate::model::flow::{FlowState, Member, derive};
use crate::model::state::State;

/// Flows whose jobs are read together.
const MOST_FLOWS: usize = 50;

/// From this size on, a flow's state is found from a few chosen jobs where that is enough.
const LARGE: i64 = 500;

/// Jobs among which an unfinished leaf of a large flow is looked for.
const CANDIDATES: u32 = 32;

/// Fresh looks at flows that somebody else changed meanwhile; the next end of a job looks again anyway.
const ROUNDS: u32 = 5;

struct Flow {
    uuid: String,
    state: String,
    revision: Option<i64>,
    members: i64,
}

/// Derives the flows' states again and returns how many changed.
///
/// Flows that are still being inserted, and flows without jobs (the Python side inserts a flow before its jobs), are
/// left as they are.
pub(super) async fn derive_flows(
    access: &mut Access<'_>,
    uuids: Vec<String>,
    at: Timestamp,
) -> Result<u64, Fault> {
    let mut changed: u64 = 0;
    for some in uuids.chunks(MOST_FLOWS) {
        for _ in 0..ROUNDS {
            let flows = flows(access, some).await?;
            let statements = changes(access, &flows, at).await?;
            let wanted = u64::try_from(statements.len()).unwrap_or(u64::MAX);
            let collection = access.server.names.flows.clone();
            let written = access.write(Command::Update, &collection, &statements).await?.all()?;
            changed = changed.saturating_add(written);
            if written >= wanted {
                break;
            }
        }
    }
    Ok(changed)
}

async fn flows(access: &mut Access<'_>, uuids: &[String]) -> Result<Vec<Flow>, Fault> {
    let filter = doc! { "uuid": { "$in": uuids }, "jobferry.inserting": null };
    let mut projection = only(&["uuid", "state", "jobferry.revision"]);
    projection.insert("members", doc! { "$size": { "$ifNull": ["$ids", []] } });
    let collection = access.server.names.flows.clone();
    let documents = access.find(&collection, filter, projection).await?;
    Ok(documents.iter().map(read_flow).collect())
}

fn read_flow(document: &Document) -> Flow {
    let ferry = document.get_document("jobferry").ok();
    Flow {
        uuid: document.get_str("uuid").unwrap_or_default().to_owned(),
        state: document.get_str("state").unwrap_or_default().to_owned(),
        revision: ferry.and_then(|ferry| ferry.get("revision")).and_then(number),
        members: document.get("members").and_then(number).unwrap_or_default(),
    }
}

/// Returns the update statements of the flows whose state is no longer what their jobs say.
async fn changes(access: &mut Access<'_>, flows: &[Flow], at: Timestamp) -> Result<Vec<Document>, Fault> {
    let mut states: HashMap<&str, FlowState> = HashMap::new();
    let mut to_read = Vec::new();
    for flow in flows {
        match flow.members >= LARGE {
            true => match sample(access, &flow.uuid).await? {
                Some(members) => drop(states.insert(&flow.uuid, derive(&members))),
                None => to_read.push(flow.uuid.clone()),
            },
            false => to_read.push(flow.uuid.clone()),
        }
    }
    let members = members(access, &to_read).await?;
    for flow in flows {
        if let Some(members) = members.get(&flow.uuid) {
            states.insert(&flow.uuid, derive(members));
        }
    }
    let changed = flows.iter().filter_map(|flow| Some((flow, *states.get(flow.uuid.as_str())?)));
    let changed = changed.filter(|(flow, state)| flow.state != state.name());
    Ok(changed.map(|(flow, state)| change(flow, state, at)).collect())
}

fn change(flow: &Flow, state: FlowState, at: Timestamp) -> Document {
    let revision = flow.revision.map_or(Bson::Null, Bson::Int64);
    let next = flow.revision.unwrap_or_default().saturating_add(1);
    doc! {
        "q": { "uuid": &flow.uuid, "state": &flow.state, "jobferry.revision": revision },
        "u": { "$set": { "state": state.name(), "updated_on": at, "jobferry.revision": next } },
    }
}

/// Returns all jobs of each flow that has any.
async fn members(access: &mut Access<'_>, flows: &[String]) -> Result<BTreeMap<String, Vec<Member>>, Fault> {
    let mut members: BTreeMap<String, Vec<Member>> = BTreeMap::new();
    if flows.is_empty() {
        return Ok(members);
    }
    let filter = doc! { "job.hosts": { "$in": flows }, "jobferry.grown": null };
    let jobs = access.server.names.jobs.clone();
    for document in access.find(&jobs, filter, only(&MEMBER_FIELDS)).await? {
        if let Some(flow) = flow_of(&document) {
            members.entry(flow).or_default().push(member(&document)?);
        }
    }
    Ok(members)
}

const MEMBER_FIELDS: [&str; 5] = ["uuid", "index", "parents", "state", "job.hosts"];

fn member(document: &Document) -> Result<Member, Fault> {
    let key = key_of(document)?;
    let parents = parents_of(document);
    Ok(Member { uuid: key.uuid, index: key.index, parents, state: state_of(document)? })
}

/// Returns a few jobs that have the same derived state as the whole flow, or nothing if only all of them will do.
///
/// Once some job has started and some leaf is not COMPLETED, only the presence of states counts: so that leaf, one
/// started job and one job of each state that decides stand for all. This spares reading 100 000 jobs at the end of
/// each one of them.
async fn sample(access: &mut Access<'_>, flow: &str) -> Result<Option<Vec<Member>>, Fault> {
    let Some(leaf) = unfinished_leaf(access, flow).await? else { return Ok(None) };
    let started: Vec<State> = State::ALL.into_iter().filter(|s| !State::PAUSABLE.contains(s)).collect();
    let Some(started) = one(access, flow, doc! { "state": in_states(&started) }).await? else {
        return Ok(None);
    };
    let mut members = vec![leaf, started];
    for deciding in [State::Failed, State::Stopped, State::UserStopped, State::Paused] {
        members.extend(one(access, flow, is_state(deciding)).await?);
    }
    Ok(Some(members))
}

async fn one(access: &mut Access<'_>, flow: &str, state: Document) -> Result<Option<Member>, Fault> {
    let mut filter = doc! { "job.hosts": flow };
    filter.extend(state);
    let jobs = access.server.names.jobs.clone();
    let found = access.find_some(&jobs, filter, only(&MEMBER_FIELDS), Document::new(), Some(1)).await?;
    found.first().map(member).transpose()
}

/// Returns a job of the flow that is not COMPLETED, is nobody's parent and has no larger index, if one is found among
/// the youngest.
async fn unfinished_leaf(access: &mut Access<'_>, flow: &str) -> Result<Option<Member>, Fault> {
    let jobs = access.server.names.jobs.clone();
    let unfinished: Vec<State> = State::ALL.into_iter().filter(|s| *s != State::Completed).collect();
    let filter = doc! { "job.hosts": flow, "state": in_states(&unfinished) };
    let youngest = doc! { "_id": -1 };
    let found = access.find_some(&jobs, filter, only(&MEMBER_FIELDS), youngest, Some(CANDIDATES)).await?;
    let mut candidates: Vec<Member> = found.iter().map(member).collect::<Result<_, _>>()?;
    let uuids: Vec<String> = candidates.iter().map(|candidate| candidate.uuid.clone()).collect();
    let children = doc! { "parents": { "$in": &uuids } };
    for child in access.find(&jobs, children, only(&["parents"])).await? {
        let parents = parents_of(&child);
        candidates.retain(|candidate| !parents.contains(&candidate.uuid));
    }
    let same = doc! { "uuid": { "$in": &uuids } };
    for other in access.find(&jobs, same, only(&["uuid", "index"])).await? {
        let key = key_of(&other)?;
        candidates.retain(|candidate| candidate.uuid != key.uuid || candidate.index >= key.index);
    }
    Ok(candidates.pop())
}
