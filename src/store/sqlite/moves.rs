//! Moving jobs: compare, write the changed columns, append to the history.

use std::collections::BTreeSet;

use bson::{Bson, Document};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};

use crate::model::Timestamp;
use crate::model::flow::FlowState;
use crate::model::ids::JobKey;
use crate::model::job::{HISTORY_LIMIT, HistoryEntry};
use crate::model::state::{Event, State};
use crate::store::codec::{self, Written};
use crate::store::{Applied, Claim, Move};

use super::connection::prepared;
use super::failure::Failure;
use super::rows::{Columns, column_value, wrap};

/// What a job is before a move.
pub(super) struct Current {
    pub(super) number: i64,
    pub(super) flow: i64,
    pub(super) key: JobKey,
    pub(super) state: State,
    pub(super) attempt: i32,
    /// How many history entries there ever were.
    moves: i64,
    pub(super) lock: Option<String>,
}

impl Current {
    fn of_row(row: &Row<'_>) -> Result<Self, Failure> {
        let mut columns = Columns::of(row);
        Ok(Self {
            number: columns.take()?,
            flow: columns.take()?,
            key: JobKey { uuid: columns.take()?, index: columns.take()? },
            state: columns.parsed()?,
            attempt: columns.take()?,
            moves: columns.take()?,
            lock: columns.take()?,
        })
    }

    /// Returns the job with this key, if there is one.
    fn by_key(connection: &Connection, key: &JobKey) -> Result<Option<Self>, Failure> {
        let mut statement = prepared(
            connection,
            "SELECT number, flow, uuid, idx, state, attempt, moves, lock_id FROM jobs WHERE uuid = ?1 AND idx = ?2",
        )?;
        let mut rows = statement.query(params![key.uuid, key.index])?;
        rows.next()?.map(Self::of_row).transpose()
    }

    /// Returns the job with this number.
    pub(super) fn by_number(connection: &Connection, number: i64) -> Result<Self, Failure> {
        let mut statement = prepared(
            connection,
            "SELECT number, flow, uuid, idx, state, attempt, moves, lock_id FROM jobs WHERE number = ?1",
        )?;
        let mut rows = statement.query([number])?;
        Self::of_row(rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?)
    }

    /// Returns the move of `event` from what the job is now.
    pub(super) fn move_of(&self, event: Event, at: Timestamp, by: &str) -> Move {
        Move {
            key: self.key.clone(),
            expected: self.state,
            attempt: self.attempt,
            event: Some(event),
            changes: Vec::new(),
            reason: None,
            by: by.to_owned(),
            at,
        }
    }
}

/// Makes one move, unless somebody was first; returns what the job was before.
pub(super) fn apply(connection: &Connection, step: &Move) -> Result<Option<Current>, Failure> {
    let Some(current) = Current::by_key(connection, &step.key)? else { return Ok(None) };
    let as_expected = current.state == step.expected && current.attempt == step.attempt;
    if !as_expected || current.lock.is_some() {
        return Ok(None);
    }
    store(connection, &current, &codec::written(step)?)?;
    Ok(Some(current))
}

/// Makes the moves in order and returns what became of each.
pub(super) fn apply_all(connection: &Connection, moves: &[Move]) -> Result<Vec<Applied>, Failure> {
    moves.iter().map(|step| Ok(applied(apply(connection, step)?.as_ref()))).collect()
}

/// Returns the name of what [`apply`] returned.
pub(super) fn applied(before: Option<&Current>) -> Applied {
    before.map_or(Applied::Lost, |_| Applied::Done)
}

/// Writes a move that the state machine allowed.
pub(super) fn store(connection: &Connection, current: &Current, written: &Written) -> Result<(), Failure> {
    let moves = if written.entry.is_some() { current.moves + 1 } else { current.moves };
    update(connection, current.number, moves, &written.set)?;
    match &written.entry {
        Some(entry) => append(connection, current.number, moves, entry),
        None => Ok(()),
    }
}

fn update(connection: &Connection, number: i64, moves: i64, set: &Document) -> Result<(), Failure> {
    let mut sql = "UPDATE jobs SET moves = ?2".to_owned();
    let mut values = vec![Value::Integer(number), Value::Integer(moves)];
    for (path, value) in set {
        if matches!(path.as_str(), "exec_config" | "resources") {
            update_document(connection, number, path, value)?;
            continue;
        }
        values.push(column_value(value.clone())?);
        sql.extend([", ", column(path)?, " = ?", &values.len().to_string()]);
    }
    sql.push_str(" WHERE number = ?1");
    prepared(connection, &sql)?.execute(params_from_iter(values))?;
    Ok(())
}

/// Writes one of the fields that are kept with the constant part of the job.
fn update_document(connection: &Connection, number: i64, path: &str, value: &Bson) -> Result<(), Failure> {
    let (sql, value) = if path == "exec_config" {
        let wrapped = (*value != Bson::Null).then(|| Bson::Document(wrap(value)));
        ("UPDATE job_documents SET exec_config = ?2 WHERE job = ?1", wrapped.unwrap_or(Bson::Null))
    } else {
        ("UPDATE job_documents SET resources = ?2 WHERE job = ?1", value.clone())
    };
    prepared(connection, sql)?.execute(params![number, column_value(value)?])?;
    Ok(())
}

/// Returns the column of a field of the job document.
fn column(path: &str) -> Result<&'static str, Failure> {
    Ok(match path {
        "state" => "state",
        "updated_on" => "updated_on",
        "previous_state" => "previous_state",
        "error" => "error",
        "run_dir" => "run_dir",
        "start_time" => "start_time",
        "end_time" => "end_time",
        "stored_data" => "stored_data",
        "remote.step_attempts" => "step_attempts",
        "remote.queue_state" => "queue_state",
        "remote.process_id" => "process_id",
        "remote.retry_time_limit" => "retry_time_limit",
        "remote.error" => "remote_error",
        "remote.prerun_cleanup" => "prerun_cleanup",
        "remote.queue_out" => "queue_out",
        "remote.queue_err" => "queue_err",
        "jobferry.attempt" => "attempt",
        "jobferry.outcome" => "outcome",
        "jobferry.retries_used" => "retries_used",
        "worker" => "worker",
        "priority" => "priority",
        other => return Err(Failure::unreadable("a change", &format!("the field {other} has no column"))),
    })
}

fn append(connection: &Connection, number: i64, position: i64, entry: &HistoryEntry) -> Result<(), Failure> {
    const LIMIT: i64 = HISTORY_LIMIT as i64;
    let mut statement = prepared(
        connection,
        "INSERT INTO history (job, position, at, from_state, to_state, attempt, reason, moved_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    statement.execute(params![
        number,
        position,
        entry.at.timestamp_millis(),
        entry.from.stored_name(),
        entry.to.stored_name(),
        entry.attempt,
        entry.reason,
        entry.by,
    ])?;
    if position > LIMIT {
        let mut statement = prepared(connection, "DELETE FROM history WHERE job = ?1 AND position <= ?2")?;
        statement.execute([number, position - LIMIT])?;
    }
    Ok(())
}

/// Checks out READY jobs and returns how many.
pub(super) fn claim(connection: &Connection, claim: &Claim) -> Result<u32, Failure> {
    let mut flows = BTreeSet::new();
    let mut claimed = 0;
    for (worker, room) in &claim.room {
        let due = Due { state: State::Ready, worker, at: claim.at, limit: *room };
        for job in due.jobs(connection)? {
            let current = Current::by_number(connection, job.number)?;
            let written = codec::written(&current.move_of(Event::CheckOut, claim.at, &claim.by))?;
            store(connection, &current, &written)?;
            flows.insert(current.flow);
            claimed += 1;
        }
    }
    for flow in flows {
        mark_running(connection, flow, claim.at)?;
    }
    Ok(claimed)
}

fn mark_running(connection: &Connection, flow: i64, at: Timestamp) -> Result<(), Failure> {
    let mut statement =
        prepared(connection, "UPDATE flows SET state = ?2, updated_on = ?3 WHERE id = ?1 AND state = ?4")?;
    let (to, from) = (FlowState::Running.name(), FlowState::Ready.name());
    statement.execute(params![flow, to, at.timestamp_millis(), from])?;
    Ok(())
}

/// Which jobs of one worker in one state may be taken in hand.
pub(super) struct Due<'a> {
    pub(super) state: State,
    pub(super) worker: &'a str,
    pub(super) at: Timestamp,
    pub(super) limit: u32,
}

/// A job that may be taken in hand; the first is the most urgent.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DueJob {
    priority: std::cmp::Reverse<i32>,
    created_on: i64,
    pub(super) number: i64,
}

impl Due<'_> {
    /// Returns unlocked jobs that are due, the most urgent first.
    pub(super) fn jobs(&self, connection: &Connection) -> Result<Vec<DueJob>, Failure> {
        let mut statement = prepared(
            connection,
            "SELECT priority, created_on, number FROM jobs
              WHERE state = ?1 AND worker = ?2 AND lock_id IS NULL
                AND (retry_time_limit IS NULL OR retry_time_limit <= ?3)
              ORDER BY priority DESC, created_on, number LIMIT ?4",
        )?;
        let values = params![self.state.stored_name(), self.worker, self.at.timestamp_millis(), self.limit];
        let jobs = statement.query_map(values, |row| {
            let priority = std::cmp::Reverse(row.get(0)?);
            Ok(DueJob { priority, created_on: row.get(1)?, number: row.get(2)? })
        })?;
        Ok(jobs.collect::<Result<_, _>>()?)
    }
}

/// Returns whether the flow is in this state already; otherwise writes it.
pub(super) fn set_flow_state(
    connection: &Connection,
    flow: i64,
    state: FlowState,
    at: Timestamp,
) -> Result<bool, Failure> {
    let mut statement =
        prepared(connection, "UPDATE flows SET state = ?2, updated_on = ?3 WHERE id = ?1 AND state <> ?2")?;
    Ok(statement.execute(params![flow, state.name(), at.timestamp_millis()])? > 0)
}

/// Returns one text of one row, if there is one.
pub(super) fn optional_text(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> Result<Option<String>, Failure> {
    Ok(prepared(connection, sql)?.query_row(values, |row| row.get(0)).optional()?)
}
