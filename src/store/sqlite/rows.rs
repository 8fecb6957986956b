//! Rows and records: columns read in order, documents from BSON.

use std::str::FromStr;

use bson::{Bson, Document, doc};
use rusqlite::types::{FromSql, Value};
use rusqlite::{Connection, Row};

use crate::model::Timestamp;
use crate::model::ids::JobKey;
use crate::model::job::{Ferry, FlowId, FlowRecord, HistoryEntry, JobRecord, Lock, Remote};
use crate::model::query::Detail;
use crate::store::codec;

use super::connection::prepared;
use super::failure::Failure;

/// The columns of a row that have not been taken yet.
pub(super) struct Columns<'r, 's> {
    row: &'r Row<'s>,
    next: usize,
}

impl<'r, 's> Columns<'r, 's> {
    pub(super) fn of(row: &'r Row<'s>) -> Self {
        Self { row, next: 0 }
    }

    pub(super) fn take<T: FromSql>(&mut self) -> Result<T, Failure> {
        let value = self.row.get(self.next)?;
        self.next += 1;
        Ok(value)
    }

    pub(super) fn parsed<T: FromStr>(&mut self) -> Result<T, Failure>
    where
        T::Err: std::fmt::Display,
    {
        parse(&self.take::<String>()?)
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, Failure> {
        Ok(Timestamp::from_millis(self.take()?))
    }

    pub(super) fn optional_parsed<T: FromStr>(&mut self) -> Result<Option<T>, Failure>
    where
        T::Err: std::fmt::Display,
    {
        self.take::<Option<String>>()?.map(|text| parse(&text)).transpose()
    }

    fn optional_time(&mut self) -> Result<Option<Timestamp>, Failure> {
        Ok(self.take::<Option<i64>>()?.map(Timestamp::from_millis))
    }

    pub(super) fn optional_document(&mut self) -> Result<Option<Document>, Failure> {
        let value = self.row.get_ref(self.next)?;
        self.next += 1;
        let bytes = value.as_blob_or_null().map_err(|error| Failure::unreadable("a document", &error))?;
        bytes.map(decode).transpose()
    }

    pub(super) fn document(&mut self) -> Result<Document, Failure> {
        Ok(self.optional_document()?.unwrap_or_default())
    }

    pub(super) fn lock(&mut self) -> Result<Option<Lock>, Failure> {
        let id: Option<String> = self.take()?;
        let time = self.optional_time()?;
        Ok(id.map(|id| Lock { id, time }))
    }
}

fn parse<T: FromStr>(text: &str) -> Result<T, Failure>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| Failure::unreadable("a row", &error))
}

/// Returns the document's BSON.
pub(super) fn encode(document: &Document) -> Result<Vec<u8>, Failure> {
    document.to_vec().map_err(|error| Failure::unreadable("a document to be stored", &error))
}

pub(super) fn decode(bytes: &[u8]) -> Result<Document, Failure> {
    Document::from_reader(bytes).map_err(|error| Failure::unreadable("a stored document", &error))
}

/// Returns an `exec_config` as it is stored: in a document, because it may be a text or a document.
pub(super) fn wrap(exec_config: &Bson) -> Document {
    doc! {"value": exec_config.clone()}
}

/// Returns a field's value for its column.
pub(super) fn column_value(value: Bson) -> Result<Value, Failure> {
    match value {
        Bson::Null => Ok(Value::Null),
        Bson::String(text) => Ok(Value::Text(text)),
        Bson::Int32(number) => Ok(Value::Integer(i64::from(number))),
        Bson::Int64(number) => Ok(Value::Integer(number)),
        Bson::Boolean(flag) => Ok(Value::Integer(i64::from(flag))),
        Bson::DateTime(time) => Ok(Value::Integer(time.timestamp_millis())),
        Bson::Document(document) => Ok(Value::Blob(encode(&document)?)),
        other => Err(Failure::unreadable(
            "a field to be stored",
            &format!("{:?} has no column", other.element_type()),
        )),
    }
}

/// Returns a column that is a count, which is never negative.
pub(super) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.unsigned_abs())
}

const SUMMARY: &str = "
    SELECT j.uuid, j.idx, j.prefix || j.number, j.worker, j.state,
           j.step_attempts, j.queue_state, j.process_id, j.retry_time_limit, j.remote_error, j.prerun_cleanup,
           j.queue_out, j.queue_err, j.previous_state, j.error, j.lock_id, j.lock_time, j.run_dir,
           j.start_time, j.end_time, j.created_on, j.updated_on, j.priority, d.exec_config, d.resources,
           NULL, d.summary, j.attempt, j.outcome, j.retries_used
      FROM jobs j CROSS JOIN job_documents d ON d.job = j.number WHERE j.number = ?1";

const FULL: &str = "
    SELECT j.uuid, j.idx, j.prefix || j.number, j.worker, j.state,
           j.step_attempts, j.queue_state, j.process_id, j.retry_time_limit, j.remote_error, j.prerun_cleanup,
           j.queue_out, j.queue_err, j.previous_state, j.error, j.lock_id, j.lock_time, j.run_dir,
           j.start_time, j.end_time, j.created_on, j.updated_on, j.priority, d.exec_config, d.resources,
           j.stored_data, d.document, j.attempt, j.outcome, j.retries_used
      FROM jobs j CROSS JOIN job_documents d ON d.job = j.number WHERE j.number = ?1";

/// Returns the jobs with these numbers, in this order.
pub(super) fn jobs(
    connection: &Connection,
    numbers: &[i64],
    detail: Detail,
) -> Result<Vec<JobRecord>, Failure> {
    numbers.iter().map(|number| job(connection, *number, detail)).collect()
}

fn job(connection: &Connection, number: i64, detail: Detail) -> Result<JobRecord, Failure> {
    let sql = if detail == Detail::Full { FULL } else { SUMMARY };
    let mut statement = prepared(connection, sql)?;
    let mut rows = statement.query([number])?;
    let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let mut record = job_of_row(&mut Columns::of(row))?;
    record.parents = parents(connection, number)?;
    if detail == Detail::Full {
        record.ferry.history = history(connection, number)?;
    }
    Ok(record)
}

fn job_of_row(columns: &mut Columns<'_, '_>) -> Result<JobRecord, Failure> {
    Ok(JobRecord {
        key: JobKey { uuid: columns.take()?, index: columns.take()? },
        db_id: columns.take()?,
        worker: columns.take()?,
        state: columns.parsed()?,
        remote: remote(columns)?,
        parents: Vec::new(),
        previous_state: columns.optional_parsed()?,
        error: columns.take()?,
        lock: columns.lock()?,
        run_dir: columns.take()?,
        start_time: columns.optional_time()?,
        end_time: columns.optional_time()?,
        created_on: columns.time()?,
        updated_on: columns.time()?,
        priority: columns.take()?,
        exec_config: columns.optional_document()?.and_then(|mut wrapped| wrapped.remove("value")),
        resources: columns.optional_document()?,
        stored_data: columns.optional_document()?,
        job: columns.document()?,
        ferry: ferry(columns)?,
    })
}

fn remote(columns: &mut Columns<'_, '_>) -> Result<Remote, Failure> {
    Ok(Remote {
        step_attempts: columns.take()?,
        queue_state: columns.take()?,
        process_id: columns.take()?,
        retry_time_limit: columns.optional_time()?,
        error: columns.take()?,
        prerun_cleanup: columns.take()?,
        queue_out: columns.take()?,
        queue_err: columns.take()?,
    })
}

/// A job here is never `settling`: what follows from its end is in the same transaction.
fn ferry(columns: &mut Columns<'_, '_>) -> Result<Ferry, Failure> {
    let attempt = columns.take()?;
    let outcome = columns.optional_document()?.map(codec::read_outcome).transpose();
    let outcome = outcome.map_err(|error| Failure::unreadable("an outcome", &error))?;
    let retries_used = columns.take()?;
    Ok(Ferry { attempt, outcome, retries_used, settling: false, history: Vec::new() })
}

/// Returns the parents of the job with this number, in order.
pub(super) fn parents(connection: &Connection, number: i64) -> Result<Vec<String>, Failure> {
    let mut statement =
        prepared(connection, "SELECT parent FROM job_parents WHERE child = ?1 ORDER BY position")?;
    let parents = statement.query_map([number], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(parents)
}

fn history(connection: &Connection, number: i64) -> Result<Vec<HistoryEntry>, Failure> {
    let mut statement = prepared(
        connection,
        "SELECT at, from_state, to_state, attempt, reason, moved_by FROM history WHERE job = ?1 ORDER BY position",
    )?;
    let mut rows = statement.query([number])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row);
        entries.push(HistoryEntry {
            at: columns.time()?,
            from: columns.parsed()?,
            to: columns.parsed()?,
            attempt: columns.take()?,
            reason: columns.take()?,
            by: columns.take()?,
        });
    }
    Ok(entries)
}

/// Returns the flows with these ids, in this order.
pub(super) fn flows(connection: &Connection, ids: &[i64]) -> Result<Vec<FlowRecord>, Failure> {
    ids.iter().map(|id| flow(connection, *id)).collect()
}

fn flow(connection: &Connection, id: i64) -> Result<FlowRecord, Failure> {
    let mut statement = prepared(
        connection,
        "SELECT uuid, state, name, lock_id, lock_time, created_on, updated_on, metadata, jobstore
           FROM flows WHERE id = ?1",
    )?;
    let mut rows = statement.query([id])?;
    let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let mut columns = Columns::of(row);
    let mut flow = FlowRecord {
        uuid: columns.take()?,
        jobs: Vec::new(),
        state: columns.parsed()?,
        name: columns.take()?,
        lock: columns.lock()?,
        created_on: columns.time()?,
        updated_on: columns.time()?,
        metadata: columns.document()?,
        parents: Document::new(),
        ids: Vec::new(),
        jobstore: columns.take()?,
    };
    add_members(connection, id, &mut flow)?;
    Ok(flow)
}

/// Fills in the members, in the order of their numbers, which is that of submission. One row per parent of a
/// member, and one for a member without.
fn add_members(connection: &Connection, id: i64, flow: &mut FlowRecord) -> Result<(), Failure> {
    let mut statement = prepared(
        connection,
        "SELECT j.number, j.prefix || j.number, j.uuid, j.idx, p.parent
           FROM jobs j LEFT JOIN job_parents p ON p.child = j.number
          WHERE j.flow = ?1 ORDER BY j.number, p.position",
    )?;
    let mut rows = statement.query([id])?;
    let mut member = Member::default();
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row);
        let number = columns.take()?;
        if number != member.number {
            std::mem::take(&mut member).add_to(flow);
            let db_id = columns.take()?;
            let key = JobKey { uuid: columns.take()?, index: columns.take()? };
            member = Member { number, id: Some(FlowId { db_id, key }), parents: Vec::new() };
        }
        member.parents.extend(row.get::<_, Option<String>>(4)?);
    }
    member.add_to(flow);
    Ok(())
}

/// A member of a flow whose rows are being read.
#[derive(Default)]
struct Member {
    /// Numbers of jobs begin at 1.
    number: i64,
    id: Option<FlowId>,
    parents: Vec<String>,
}

impl Member {
    fn add_to(self, flow: &mut FlowRecord) {
        let Some(id) = self.id else { return };
        if !flow.parents.contains_key(&id.key.uuid) {
            flow.parents.insert(id.key.uuid.clone(), Document::new());
            flow.jobs.push(id.key.uuid.clone());
        }
        if let Some(Bson::Document(indexes)) = flow.parents.get_mut(&id.key.uuid) {
            indexes.insert(id.key.index.to_string(), self.parents);
        }
        flow.ids.push(id);
    }
}
