//! One job, or one flow, from what a person types: short id, uuid, or the beginning of a uuid.

use clap::Args;

use super::error::CliError;
use super::output::visible::visible_line;
use crate::model::ids::JobKey;
use crate::model::job::{FlowRecord, JobRecord};
use crate::model::query::{Detail, FlowFilter, JobFilter, Order, Page, SortKey};
use crate::store::Queue;

/// Which job.
#[derive(Debug, Clone, Args)]
pub(super) struct JobArg {
    /// Short id (DB id), uuid, or the beginning of a uuid
    pub(super) id: String,
    /// Index of the job; without it the highest one
    pub(super) index: Option<i32>,
}

/// How many matches of a beginning are listed: enough to choose from, few enough for a screen.
const LISTED: u32 = 10;

/// Returns the job that `id` names.
///
/// A short id goes before the beginning of a uuid. A beginning that fits several jobs is an error that lists them.
pub(super) async fn job(queue: &dyn Queue, arg: &JobArg, detail: Detail) -> Result<JobRecord, CliError> {
    let exact = if is_uuid(&arg.id) {
        JobFilter { uuids: vec![arg.id.to_ascii_lowercase()], ..JobFilter::default() }
    } else {
        JobFilter { db_ids: vec![arg.id.clone()], ..JobFilter::default() }
    };
    let mut found = jobs(queue, &exact, detail).await?;
    if found.is_empty() && is_beginning(&arg.id) {
        let prefix = JobFilter { uuid_prefixes: vec![arg.id.to_ascii_lowercase()], ..JobFilter::default() };
        found = jobs(queue, &prefix, detail).await?;
    }
    let uuid = one_uuid(&arg.id, &found)?;
    let Some(index) = arg.index else {
        return newest(queue, found, &arg.id, detail).await;
    };
    let exactly = JobFilter { keys: vec![JobKey::new(uuid, index)], ..JobFilter::default() };
    let job = jobs(queue, &exactly, detail).await?.pop();
    job.ok_or_else(|| no_job(&format!("{} with index {index}", arg.id)))
}

async fn jobs(queue: &dyn Queue, filter: &JobFilter, detail: Detail) -> Result<Vec<JobRecord>, CliError> {
    Ok(queue.jobs(filter, &listed(), detail).await?)
}

/// Returns the job itself where a short id named it, else the one with the highest index.
async fn newest(
    queue: &dyn Queue,
    mut found: Vec<JobRecord>,
    id: &str,
    detail: Detail,
) -> Result<JobRecord, CliError> {
    if found.len() == usize::try_from(LISTED).unwrap_or(usize::MAX) {
        // More indexes than are listed: ask for all of them.
        let uuids = found.first().map(|job| job.key.uuid.clone()).into_iter().collect();
        let all = Page { limit: None, ..listed() };
        let filter = JobFilter { uuids, ..JobFilter::default() };
        found = queue.jobs(&filter, &all, detail).await?;
    }
    found.into_iter().max_by_key(|job| job.key.index).ok_or_else(|| no_job(id))
}

fn one_uuid(id: &str, found: &[JobRecord]) -> Result<String, CliError> {
    let first = found.first().ok_or_else(|| no_job(id))?;
    if found.iter().all(|job| job.key.uuid == first.key.uuid) {
        return Ok(first.key.uuid.clone());
    }
    let matches =
        found.iter().map(|job| format!("{}  {}  {}", job.db_id, job.key.uuid, visible_line(job.name())));
    Err(ambiguous(id, "jobs", matches))
}

/// Returns the flow that `id` names: its uuid, the short id of a member, or the beginning of its uuid.
pub(super) async fn flow(queue: &dyn Queue, id: &str) -> Result<FlowRecord, CliError> {
    let exact = if is_uuid(id) {
        FlowFilter { uuids: vec![id.to_ascii_lowercase()], ..FlowFilter::default() }
    } else {
        FlowFilter { db_ids: vec![id.to_owned()], ..FlowFilter::default() }
    };
    let mut found = flows(queue, &exact).await?;
    if found.is_empty() && is_beginning(id) {
        let prefix = FlowFilter { uuid_prefixes: vec![id.to_ascii_lowercase()], ..FlowFilter::default() };
        found = flows(queue, &prefix).await?;
    }
    if found.len() > 1 {
        return Err(ambiguous(
            id,
            "flows",
            found.iter().map(|flow| format!("{}  {}", flow.uuid, visible_line(&flow.name))),
        ));
    }
    found.pop().ok_or_else(|| {
        CliError::failed(format!("no flow has the id {id}")).hint("`jf flow list -m 0` shows all of them")
    })
}

/// Returns the flow with the job of this uuid (or its beginning, or its short id) as a member.
pub(super) async fn flow_of_job(queue: &dyn Queue, id: &str) -> Result<FlowRecord, CliError> {
    let job = job(queue, &JobArg { id: id.to_owned(), index: None }, Detail::Summary).await?;
    let uuids = job.flow_uuid().map(str::to_owned).into_iter().collect();
    let found = flows(queue, &FlowFilter { uuids, ..FlowFilter::default() }).await?;
    found
        .into_iter()
        .next()
        .ok_or_else(|| CliError::failed(format!("the flow of job {id} is not in the store")))
}

async fn flows(queue: &dyn Queue, filter: &FlowFilter) -> Result<Vec<FlowRecord>, CliError> {
    Ok(queue.flows(filter, &listed()).await?)
}

fn listed() -> Page {
    Page { sort: SortKey::CreatedOn, order: Order::Descending, limit: Some(LISTED), skip: 0 }
}

fn no_job(id: &str) -> CliError {
    CliError::failed(format!("no job has the id {id}")).hint("`jf job list -m 0` shows all of them")
}

fn ambiguous(id: &str, what: &str, matches: impl Iterator<Item = String>) -> CliError {
    let lines: Vec<String> = matches.collect();
    let more = if lines.len() >= LISTED as usize { "\n…" } else { "" };
    CliError::failed(format!("{id} is the beginning of several {what}:\n{}{more}", lines.join("\n")))
        .hint("type more of the id")
}

/// Returns whether `text` has the form of a whole uuid.
fn is_uuid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

/// Returns whether `text` can be the beginning of a uuid.
fn is_beginning(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_of_uuids_are_told_from_other_words() {
        assert!(
            is_uuid("358C9BA7-f72c-4cc9-aa2f-3e735e3e661e") && !is_uuid("358c9ba7f72c4cc9aa2f3e735e3e661e")
        );
        assert!(is_beginning("358c") && is_beginning("358C9ba7-f7") && is_beginning("12"));
        assert!(!is_beginning("") && !is_beginning("prefix1"));
    }
}
