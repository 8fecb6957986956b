//! Which flows a command is for.

use clap::Args;

use crate::cli::error::CliError;
use crate::cli::query::FlowQuery;
use crate::cli::select;
use crate::cli::session::{OpenProject, Session};
use crate::model::job::{FlowRecord, JobRecord};
use crate::model::query::{Detail, FlowFilter, JobFilter, Page};

/// One flow.
#[derive(Debug, Clone, Args)]
pub(super) struct FlowArg {
    /// Short id (DB id) of a job of the flow, uuid of the flow, or its beginning
    id: String,
    /// The uuid is that of a job of the flow
    #[arg(short, long)]
    job: bool,
}

/// Returns the flow.
pub(super) async fn find(project: &OpenProject, arg: &FlowArg) -> Result<FlowRecord, CliError> {
    if !arg.job {
        return select::flow(project.queue(), &arg.id).await;
    }
    let filter = FlowFilter { job_uuids: vec![arg.id.to_ascii_lowercase()], ..FlowFilter::default() };
    let found = project.queue().flows(&filter, &Page::default()).await?.pop();
    found.ok_or_else(|| {
        CliError::failed(format!("no flow has the job {}", arg.id)).hint("`jf flow list` shows the flows")
    })
}

/// Returns all flows of the query.
pub(super) async fn flows(
    session: &Session,
    project: &OpenProject,
    query: &FlowQuery,
) -> Result<Vec<FlowRecord>, CliError> {
    let filter = query.filter(&session.now())?;
    Ok(project.queue().flows(&filter, &Page { limit: None, ..Page::default() }).await?)
}

/// Returns all jobs of these flows.
pub(super) async fn jobs(project: &OpenProject, flows: &[FlowRecord]) -> Result<Vec<JobRecord>, CliError> {
    if flows.is_empty() {
        return Ok(Vec::new());
    }
    let flows = flows.iter().map(|flow| flow.uuid.clone()).collect();
    let filter = JobFilter { flows, ..JobFilter::default() };
    Ok(project.queue().jobs(&filter, &Page { limit: None, ..Page::default() }, Detail::Summary).await?)
}
