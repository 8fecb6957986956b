//! Documents of a backup, written by this program or by jobflow-remote, become rows.

use bson::{Bson, Document, RawDocumentBuf};
use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::mpsc::Receiver;

use crate::model::Timestamp;
use crate::model::job::{FlowRecord, JobRecord, NewJob};
use crate::model::state::State;
use crate::store::admin::{Counts, Part, Received};
use crate::store::codec;

use super::connection::prepared;
use super::failure::Failure;
use super::{insert, metadata, rows};

/// Inserts all that is received, flows before their jobs, and returns how much it took.
///
/// Batches are left out: there is no place for them. Of the auxiliary documents only the counter is taken; it is
/// never put behind the jobs.
pub(super) fn restore(connection: &Connection, mut from: Receiver<Received>) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    while let Some(received) = from.blocking_recv() {
        let (part, document) = received?;
        let document = decode(&document)?;
        let taken = match part {
            Part::Flows => insert_flow(connection, document).map(|()| 1)?,
            Part::Jobs => insert_job(connection, document).map(|()| 1)?,
            Part::Batches => 0,
            Part::Auxiliary => set_counter(connection, &document)?,
        };
        counts.add(part, taken);
    }
    mark_leaves(connection)?;
    Ok(counts)
}

fn decode(document: &RawDocumentBuf) -> Result<Document, Failure> {
    Document::from_reader(document.as_bytes())
        .map_err(|error| Failure::unreadable("a document of the backup", &error))
}

fn milliseconds(time: Timestamp) -> i64 {
    time.timestamp_millis()
}

fn insert_flow(connection: &Connection, document: Document) -> Result<(), Failure> {
    let what = format!("the flow {} of the backup", document.get_str("uuid").unwrap_or("without a uuid"));
    let flow: FlowRecord = codec::read_flow(document).map_err(|error| Failure::unreadable(what, &error))?;
    let mut statement = prepared(
        connection,
        "INSERT INTO flows (uuid, name, state, lock_id, lock_time, created_on, updated_on, jobstore, metadata)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    let values = params![
        flow.uuid,
        flow.name,
        flow.state.name(),
        flow.lock.as_ref().map(|lock| &lock.id),
        flow.lock.as_ref().and_then(|lock| lock.time).map(milliseconds),
        milliseconds(flow.created_on),
        milliseconds(flow.updated_on),
        flow.jobstore,
        rows::encode(&flow.metadata)?,
    ];
    let id = statement.insert(values).map_err(|error| insert::duplicate(error, &flow.uuid))?;
    let mut statement =
        prepared(connection, "INSERT OR IGNORE INTO flow_metadata (key, value, flow) VALUES (?1, ?2, ?3)")?;
    for (key, value) in metadata::rows(&flow.metadata) {
        statement.execute(params![key, value, id])?;
    }
    Ok(())
}

fn insert_job(connection: &Connection, document: Document) -> Result<(), Failure> {
    let what = format!("{} of the backup", codec::describe_job(&document));
    let unreadable = |error: &dyn std::fmt::Display| Failure::unreadable(what.as_str(), error);
    let ferry = document.get_document(codec::FERRY);
    let outcome = ferry.ok().and_then(|ferry| ferry.get_document("outcome").ok().cloned());
    let job = codec::read_job(document).map_err(|error| unreadable(&error))?;
    let (prefix, number) = split(&job.db_id)
        .ok_or_else(|| unreadable(&format!("its short id {} ends in no number", job.db_id)))?;
    let flow = flow_of(connection, &job)?.ok_or_else(|| unreadable(&"its flow is not in the backup"))?;
    let mut statement = prepared(connection, INSERT_JOB)?;
    let values = params![
        number,
        prefix,
        job.key.uuid,
        job.key.index,
        flow,
        job.name(),
        job.worker,
        job.priority,
        insert::on_missing(&job.job),
        milliseconds(job.created_on),
        milliseconds(job.updated_on),
        job.state.stored_name(),
        job.previous_state.map(State::stored_name),
        job.ferry.attempt,
        job.ferry.retries_used,
        i64::try_from(job.ferry.history.len()).unwrap_or(i64::MAX),
        job.lock.as_ref().map(|lock| &lock.id),
        job.lock.as_ref().and_then(|lock| lock.time).map(milliseconds),
        job.remote.step_attempts,
        job.remote.retry_time_limit.map(milliseconds),
        job.remote.process_id,
        job.remote.queue_state,
        job.remote.prerun_cleanup,
        job.run_dir,
        job.start_time.map(milliseconds),
        job.end_time.map(milliseconds),
        job.remote.error,
        job.remote.queue_out,
        job.remote.queue_err,
        job.error,
        outcome.as_ref().map(rows::encode).transpose()?,
        job.stored_data.as_ref().map(rows::encode).transpose()?,
    ];
    statement.execute(values).map_err(|error| insert::duplicate(error, &job.key.uuid))?;
    insert_history(connection, number, &job)?;
    insert_rest(connection, number, job)
}

/// All columns but `leaf`, which is known when all jobs are there.
const INSERT_JOB: &str = "
    INSERT INTO jobs (number, prefix, uuid, idx, flow, leaf, name, worker, priority, on_missing, created_on, updated_on,
                      state, previous_state, attempt, retries_used, moves, lock_id, lock_time, step_attempts,
                      retry_time_limit, process_id, queue_state, prerun_cleanup, run_dir, start_time, end_time,
                      remote_error, queue_out, queue_err, error, outcome, stored_data)
    VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,
            ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32)";

fn flow_of(connection: &Connection, job: &JobRecord) -> Result<Option<i64>, Failure> {
    let mut statement = prepared(connection, "SELECT id FROM flows WHERE uuid = ?1")?;
    let uuid = job.flow_uuid().unwrap_or_default();
    Ok(statement.query_row([uuid], |row| row.get(0)).optional()?)
}

/// Returns the prefix and the number of a short id.
fn split(db_id: &str) -> Option<(&str, i64)> {
    let prefix = db_id.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = db_id.get(prefix.len()..)?;
    let number = digits.parse().ok()?;
    // `p-07` would come back as `p-7`.
    (!digits.starts_with('0')).then_some((prefix, number))
}

fn insert_history(connection: &Connection, number: i64, job: &JobRecord) -> Result<(), Failure> {
    let mut statement = prepared(
        connection,
        "INSERT INTO history (job, position, at, from_state, to_state, attempt, reason, moved_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for (position, entry) in (1_i64..).zip(&job.ferry.history) {
        statement.execute(params![
            number,
            position,
            milliseconds(entry.at),
            entry.from.stored_name(),
            entry.to.stored_name(),
            entry.attempt,
            entry.reason,
            entry.by,
        ])?;
    }
    Ok(())
}

fn insert_rest(connection: &Connection, number: i64, job: JobRecord) -> Result<(), Failure> {
    let job = NewJob {
        key: job.key,
        worker: job.worker,
        priority: job.priority,
        parents: job.parents,
        exec_config: job.exec_config,
        resources: job.resources,
        job: job.job,
    };
    insert::insert_document(connection, number, &job)?;
    insert::insert_links(connection, number, &job)
}

/// Takes the counter of short ids and returns 1, or 0 for another document.
fn set_counter(connection: &Connection, document: &Document) -> Result<u64, Failure> {
    let next = match document.get("next_id") {
        Some(Bson::Int32(next)) => i64::from(*next),
        Some(Bson::Int64(next)) => *next,
        _ => return Ok(0),
    };
    connection.execute(
        "UPDATE counters SET next = max(?1, (SELECT coalesce(max(number), 0) + 1 FROM jobs)) WHERE name = 'job'",
        [next],
    )?;
    Ok(1)
}

fn mark_leaves(connection: &Connection) -> Result<(), Failure> {
    connection.execute(
        "UPDATE jobs SET leaf = 1
          WHERE NOT EXISTS (SELECT 1 FROM jobs n WHERE n.uuid = jobs.uuid AND n.idx > jobs.idx)
            AND NOT EXISTS (SELECT 1 FROM job_parents p JOIN jobs c ON c.number = p.child
                             WHERE p.parent = jobs.uuid AND c.flow = jobs.flow)",
        [],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn short_ids_are_a_prefix_and_a_number() {
        assert_eq!(split("17"), Some(("", 17)));
        assert_eq!(split("pp-17"), Some(("pp-", 17)));
        assert_eq!(split("p2-9"), Some(("p2-", 9)));
        for wrong in ["", "pp-", "pp-07", "0", "1x"] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
    }
}
