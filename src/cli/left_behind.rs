//! What deleted jobs leave behind: outputs, parts of outputs, files.

use std::collections::{BTreeMap, BTreeSet};

use super::directories;
use super::error::{CliError, Exit};
use super::session::{OpenProject, Session};
use crate::model::ids::JobKey;
use crate::model::job::{FlowRecord, JobRecord};
use crate::model::query::{FlowFilter, Page};

/// Returns the flows of these jobs.
pub(super) async fn flows_of(project: &OpenProject, jobs: &[JobRecord]) -> Result<Vec<FlowRecord>, CliError> {
    let uuids: BTreeSet<String> = jobs.iter().filter_map(JobRecord::flow_uuid).map(str::to_owned).collect();
    if uuids.is_empty() {
        return Ok(Vec::new());
    }
    let filter = FlowFilter { uuids: uuids.into_iter().collect(), ..FlowFilter::default() };
    Ok(project.queue().flows(&filter, &Page { limit: None, ..Page::default() }).await?)
}

/// Removes the outputs of deleted jobs with all their parts, from the job stores of their flows.
pub(super) async fn remove_outputs(
    session: &Session,
    project: &OpenProject,
    flows: &[FlowRecord],
    gone: &[&JobRecord],
) -> Result<(), CliError> {
    let named: BTreeMap<&str, Option<&str>> =
        flows.iter().map(|flow| (flow.uuid.as_str(), flow.jobstore.as_deref())).collect();
    let mut by_store: BTreeMap<Option<&str>, Vec<JobKey>> = BTreeMap::new();
    for job in gone {
        let store = job.flow_uuid().and_then(|uuid| named.get(uuid).copied()).flatten();
        by_store.entry(store).or_default().push(job.key.clone());
    }
    for (name, keys) in by_store {
        let Some(store) = project.stores.job_store_of(name) else {
            let name = name.unwrap_or_default();
            session
                .remark(&format!("Outputs stay in the job store {name}, which the project does not have."))?;
            continue;
        };
        // The document last: it says which parts there are.
        for blobs in store.additional.values() {
            blobs.remove_blobs(&keys).await?;
        }
        store.outputs.remove_outputs(&keys).await?;
    }
    Ok(())
}

/// Removes the directories of deleted jobs; those whose process is still to be ended go after it, by the runner.
pub(super) async fn remove_files(
    session: &Session,
    project: &OpenProject,
    gone: &[&JobRecord],
) -> Result<Exit, CliError> {
    let orders = project.stores.cancellations.cancellations().await?;
    let later: BTreeSet<_> = orders.into_iter().map(|order| order.token).collect();
    let now: Vec<&JobRecord> = gone.iter().copied().filter(|job| !later.contains(&job.token())).collect();
    let removed = directories::remove(project, &now).await;
    for (id, directory, why) in &removed.kept {
        session.remark(&format!("The files of job {id} stay in {directory}: {why}"))?;
    }
    Ok(if removed.kept.is_empty() { Exit::Success } else { Exit::Failed })
}
