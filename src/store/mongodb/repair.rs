//! Finishing what a killed process left half-done.

use ::mongodb::bson::doc;

use super::Server;
use super::access::{Access, Fault, only};
use super::derive::derive_flows;
use super::finish::{Signature, settle, unsettled};
use super::grow;
use super::insert::{release_waiting, remove_unfinished};
use super::locks::clear_expired;
use super::migrations::restore_indexes;
use crate::model::Timestamp;
use crate::model::flow::FlowState;

/// Flows that are mended together.
const MOST_FLOWS: usize = 50;

/// Mends jobs and flows and returns how many.
pub(super) async fn repair(server: &Server, at: Timestamp) -> Result<u64, Fault> {
    let signature = Signature { at, by: "repair".to_owned() };
    restore_indexes(server).await?;
    let mut mended = remove_unfinished(server, at).await?;
    mended = mended.saturating_add(clear_expired(server, at).await?);
    let jobs = unsettled(server).await?;
    let mut access = Access::plain(server);
    settle(&mut access, &jobs, &signature).await?;
    mended = mended.saturating_add(u64::try_from(jobs.len()).unwrap_or(u64::MAX));
    mended = mended.saturating_add(grow::remove_orphans(server).await?);
    for flows in unfinished_flows(server).await?.chunks(MOST_FLOWS) {
        mended = mended.saturating_add(release_waiting(&mut access, flows, &signature).await?);
        mended = mended.saturating_add(derive_flows(&mut access, flows.to_vec(), at).await?);
    }
    Ok(mended)
}

/// Returns the uuids of the flows that can still change by themselves; an insert in progress is left alone.
async fn unfinished_flows(server: &Server) -> Result<Vec<String>, Fault> {
    let states = FlowState::ALL.into_iter().filter(|state| *state != FlowState::Completed);
    let states: Vec<&str> = states.map(FlowState::name).collect();
    let filter = doc! { "state": { "$in": states }, "jobferry.inserting": null };
    let flows = Access::plain(server).find(&server.names.flows, filter, only(&["uuid"])).await?;
    Ok(flows.iter().filter_map(|flow| flow.get_str("uuid").ok().map(str::to_owned)).collect())
}
