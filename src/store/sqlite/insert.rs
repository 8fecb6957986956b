//! Inserting a flow with its jobs.

use std::collections::{HashMap, HashSet};

use bson::{Bson, Document};
use rusqlite::{Connection, ErrorCode, params};

use crate::model::Timestamp;
use crate::model::flow::FlowState;
use crate::model::job::{FlowId, NewFlow, NewJob};
use crate::model::state::State;
use crate::store::codec;

use super::connection::prepared;
use super::failure::Failure;
use super::{metadata, rows};

/// Inserts the flow and its jobs and returns their short ids.
pub(super) fn insert(connection: &Connection, flow: &NewFlow, prefix: &str) -> Result<Vec<FlowId>, Failure> {
    let id = insert_flow(connection, flow)?;
    let first = take_numbers(connection, flow.jobs.len())?;
    let shape = Shape::of(&flow.jobs);
    let mut ids = Vec::with_capacity(flow.jobs.len());
    for (number, job) in (first..).zip(&flow.jobs) {
        let leaf = shape.is_leaf(job);
        let place =
            Place { flow: id, number, prefix, leaf, state: job.first_state(), created_on: flow.created_on };
        insert_job(connection, job, &place)?;
        ids.push(FlowId { db_id: format!("{prefix}{number}"), key: job.key.clone() });
    }
    Ok(ids)
}

/// Where a new job goes, and how it begins.
pub(super) struct Place<'a> {
    pub(super) flow: i64,
    pub(super) number: i64,
    pub(super) prefix: &'a str,
    pub(super) leaf: bool,
    pub(super) state: State,
    pub(super) created_on: Timestamp,
}

/// Inserts a job with all that belongs to it.
pub(super) fn insert_job(connection: &Connection, job: &NewJob, place: &Place<'_>) -> Result<(), Failure> {
    insert_row(connection, job, place)?;
    insert_document(connection, place.number, job)?;
    insert_links(connection, place.number, job)
}

/// Which uuids of some jobs are parents, and the largest index of each.
pub(super) struct Shape<'a> {
    parents: HashSet<&'a str>,
    newest: HashMap<&'a str, i32>,
}

impl<'a> Shape<'a> {
    pub(super) fn of(jobs: &'a [NewJob]) -> Self {
        let parents = jobs.iter().flat_map(|job| job.parents.iter().map(String::as_str)).collect();
        let mut newest = HashMap::new();
        for job in jobs {
            let largest = newest.entry(job.key.uuid.as_str()).or_insert(job.key.index);
            *largest = job.key.index.max(*largest);
        }
        Self { parents, newest }
    }

    pub(super) fn is_leaf(&self, job: &NewJob) -> bool {
        let uuid = job.key.uuid.as_str();
        !self.parents.contains(uuid) && self.newest.get(uuid) == Some(&job.key.index)
    }
}

fn insert_flow(connection: &Connection, flow: &NewFlow) -> Result<i64, Failure> {
    let created = flow.created_on.timestamp_millis();
    let mut statement = prepared(
        connection,
        "INSERT INTO flows (uuid, name, state, created_on, updated_on, jobstore, metadata)
         VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6)",
    )?;
    let document = rows::encode(&flow.metadata)?;
    let state = FlowState::Ready.name();
    let values = params![flow.uuid, flow.name, state, created, flow.jobstore, document];
    let id = statement.insert(values).map_err(|error| duplicate(error, &flow.uuid))?;
    let mut statement =
        prepared(connection, "INSERT OR IGNORE INTO flow_metadata (key, value, flow) VALUES (?1, ?2, ?3)")?;
    for (key, value) in metadata::rows(&flow.metadata) {
        statement.execute(params![key, value, id])?;
    }
    Ok(id)
}

pub(super) fn duplicate(error: rusqlite::Error, uuid: &str) -> Failure {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => Failure::Duplicate { uuid: uuid.to_owned() },
        _ => error.into(),
    }
}

/// Returns the first of `count` numbers that nobody else gets.
pub(super) fn take_numbers(connection: &Connection, count: usize) -> Result<i64, Failure> {
    let count = i64::try_from(count).map_err(|error| Failure::unreadable("the number of jobs", &error))?;
    let mut statement =
        prepared(connection, "UPDATE counters SET next = next + ?1 WHERE name = 'job' RETURNING next - ?1")?;
    Ok(statement.query_row([count], |row| row.get(0))?)
}

fn insert_row(connection: &Connection, job: &NewJob, place: &Place<'_>) -> Result<(), Failure> {
    let mut statement = prepared(
        connection,
        "INSERT INTO jobs (number, prefix, uuid, idx, flow, leaf, name, worker, priority, on_missing,
                           created_on, updated_on, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11, ?12)",
    )?;
    let created = place.created_on.timestamp_millis();
    let name = job.job.get_str("name").unwrap_or_default();
    let values = params![
        place.number,
        place.prefix,
        job.key.uuid,
        job.key.index,
        place.flow,
        place.leaf,
        name,
        job.worker,
        job.priority,
        on_missing(&job.job),
        created,
        place.state.stored_name(),
    ];
    statement.execute(values).map_err(|error| duplicate(error, &job.key.uuid))?;
    Ok(())
}

pub(super) fn on_missing(job: &Document) -> &str {
    job.get_document("config").and_then(|config| config.get_str("on_missing_references")).unwrap_or("error")
}

pub(super) fn insert_document(connection: &Connection, number: i64, job: &NewJob) -> Result<(), Failure> {
    let mut statement = prepared(
        connection,
        "INSERT INTO job_documents (job, exec_config, resources, summary, document) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let exec_config = job.exec_config.as_ref().map(|config| rows::encode(&rows::wrap(config))).transpose()?;
    let resources = job.resources.as_ref().map(rows::encode).transpose()?;
    let summary = rows::encode(&codec::summary_of_job(&job.job))?;
    statement.execute(params![number, exec_config, resources, summary, rows::encode(&job.job)?])?;
    Ok(())
}

/// Inserts what points from the job to others: parents, flows around it, metadata.
pub(super) fn insert_links(connection: &Connection, number: i64, job: &NewJob) -> Result<(), Failure> {
    let mut statement =
        prepared(connection, "INSERT INTO job_parents (child, position, parent) VALUES (?1, ?2, ?3)")?;
    for (position, parent) in (0_i64..).zip(&job.parents) {
        statement.execute(params![number, position, parent])?;
    }
    let mut statement = prepared(connection, "INSERT OR IGNORE INTO job_hosts (host, job) VALUES (?1, ?2)")?;
    for host in job.job.get_array("hosts").ok().into_iter().flatten().filter_map(Bson::as_str) {
        statement.execute(params![host, number])?;
    }
    let mut statement =
        prepared(connection, "INSERT OR IGNORE INTO job_metadata (key, value, job) VALUES (?1, ?2, ?3)")?;
    for (key, value) in job.job.get_document("metadata").map(metadata::rows).unwrap_or_default() {
        statement.execute(params![key, value, number])?;
    }
    Ok(())
}
