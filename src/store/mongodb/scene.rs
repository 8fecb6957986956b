//! What the rules of user actions look at.

use std::collections::BTreeSet;

use ::mongodb::bson::{Bson, Document, doc};

use super::access::{Access, Fault, number, only};
use super::finish::{MOST_UUIDS, parents_of, state_of};
use super::moves::{attempt_of, flow_of, key_of};
use crate::model::flow::{FlowState, OnMissing};
use crate::model::ids::JobKey;
use crate::model::job::Lock;
use crate::store::actions::rules::{FlowView, Member, Scene, Scope};
use crate::store::codec::process_id;

const FIELDS: [&str; 17] = [
    "uuid",
    "index",
    "db_id",
    "state",
    "previous_state",
    "parents",
    "lock_id",
    "lock_time",
    "worker",
    "run_dir",
    "remote.process_id",
    process_id::WHOLE,
    "exec_config",
    "resources",
    "job.hosts",
    "job.config.on_missing_references",
    "jobferry.attempt",
];

/// Returns the jobs, all indexes of their uuids, their flows, and what the scope adds.
pub(super) async fn load(access: &mut Access<'_>, keys: &[JobKey], scope: Scope) -> Result<Scene, Fault> {
    let mut scene = Scene::default();
    let uuids: BTreeSet<String> = keys.iter().map(|key| key.uuid.clone()).collect();
    add(access, &mut scene, "uuid", &uuids).await?;
    match scope {
        Scope::Jobs => {}
        Scope::Parents => {
            let parents = scene.jobs.values().flat_map(|job| job.parents.iter().cloned()).collect();
            add(access, &mut scene, "uuid", &parents).await?;
        }
        Scope::Children => {
            add(access, &mut scene, "parents", &uuids).await?;
            let children = scene.jobs.keys().map(|key| key.uuid.clone());
            let children: BTreeSet<String> = children.filter(|uuid| !uuids.contains(uuid)).collect();
            add(access, &mut scene, "uuid", &children).await?;
        }
        Scope::Flows => {
            let flows = flows_of(&scene);
            add(access, &mut scene, "job.hosts", &flows).await?;
        }
    }
    let flows = flows_of(&scene);
    add_flows(access, &mut scene, &flows).await?;
    Ok(scene)
}

/// Returns these flows with all their members; a flow that does not exist is left out.
pub(super) async fn load_flows(access: &mut Access<'_>, uuids: &[String]) -> Result<Scene, Fault> {
    let mut scene = Scene::default();
    let uuids = uuids.iter().cloned().collect();
    add(access, &mut scene, "job.hosts", &uuids).await?;
    add_flows(access, &mut scene, &uuids).await?;
    Ok(scene)
}

fn flows_of(scene: &Scene) -> BTreeSet<String> {
    scene.jobs.values().map(|job| job.flow.clone()).collect()
}

/// Adds the jobs that have one of the values in the field.
async fn add(
    access: &mut Access<'_>,
    scene: &mut Scene,
    field: &str,
    values: &BTreeSet<String>,
) -> Result<(), Fault> {
    let jobs = access.server.names.jobs.clone();
    let values: Vec<&String> = values.iter().collect();
    for some in values.chunks(MOST_UUIDS) {
        let filter = doc! { field: { "$in": some } };
        for document in access.find(&jobs, filter, only(&FIELDS)).await? {
            let job = member(&document)?;
            scene.jobs.insert(job.key.clone(), job);
        }
    }
    Ok(())
}

fn member(document: &Document) -> Result<Member, Fault> {
    let text = |field: &str| document.get_str(field).ok().map(str::to_owned);
    let config = document.get_document("job").and_then(|job| job.get_document("config"));
    let on_missing = config.and_then(|config| config.get_str("on_missing_references"));
    let stored_id = |part: &str| {
        let id = document.get_document(part).ok()?.get_str("process_id").ok()?;
        Some(id.to_owned())
    };
    let exec_config = document.get("exec_config").filter(|value| **value != Bson::Null);
    Ok(Member {
        key: key_of(document)?,
        db_id: text("db_id").unwrap_or_default(),
        flow: flow_of(document).unwrap_or_default(),
        state: state_of(document)?,
        attempt: attempt_of(document),
        previous_state: text("previous_state").and_then(|name| name.parse().ok()),
        parents: parents_of(document),
        on_missing: on_missing.map_or(OnMissing::Error, OnMissing::from_config),
        lock: lock_of(document),
        worker: text("worker").unwrap_or_default(),
        process_id: process_id::join(stored_id("remote"), stored_id("jobferry")),
        run_dir: text("run_dir"),
        exec_config: exec_config.cloned(),
        resources: document.get_document("resources").ok().cloned(),
    })
}

fn lock_of(document: &Document) -> Option<Lock> {
    let id = document.get_str("lock_id").ok()?.to_owned();
    Some(Lock { id, time: document.get_datetime("lock_time").ok().copied() })
}

async fn add_flows(
    access: &mut Access<'_>,
    scene: &mut Scene,
    uuids: &BTreeSet<String>,
) -> Result<(), Fault> {
    let mut projection = only(&["uuid", "state", "lock_id", "lock_time"]);
    projection.insert("members", doc! { "$size": { "$ifNull": ["$ids", []] } });
    let flows = access.server.names.flows.clone();
    let uuids: Vec<&String> = uuids.iter().collect();
    for some in uuids.chunks(MOST_UUIDS) {
        // A flow that is being inserted is not there yet.
        let filter = doc! { "uuid": { "$in": some }, "jobferry.inserting": null };
        for document in access.find(&flows, filter, projection.clone()).await? {
            let view = flow_view(&document)?;
            scene.flows.insert(view.uuid.clone(), view);
        }
    }
    Ok(())
}

fn flow_view(document: &Document) -> Result<FlowView, Fault> {
    let state: Result<FlowState, _> = document.get_str("state").unwrap_or_default().parse();
    let members = document.get("members").and_then(number).unwrap_or_default();
    Ok(FlowView {
        uuid: document.get_str("uuid").unwrap_or_default().to_owned(),
        state: state.map_err(|error| Fault::Strange(error.to_string()))?,
        lock: lock_of(document),
        members: usize::try_from(members).unwrap_or_default(),
    })
}
