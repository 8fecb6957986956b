//! What the response of a completed job does to its flow: new jobs, more parents for its children, stopped jobs.

use rusqlite::{Connection, params};

use crate::model::ids::JobKey;
use crate::model::job::{Growth, Stop};
use crate::model::state::{Event, State};
use crate::store::{Ending, Move, codec};

use super::connection::prepared;
use super::failure::Failure;
use super::insert::{Place, Shape, insert_job, take_numbers};
use super::moves::{self, Current};

/// Returns whether somebody holds the flow of this job.
pub(super) fn flow_is_locked(connection: &Connection, key: &JobKey) -> Result<bool, Failure> {
    let mut statement = prepared(
        connection,
        "SELECT f.lock_id IS NOT NULL FROM jobs j JOIN flows f ON f.id = j.flow WHERE j.uuid = ?1 AND j.idx = ?2",
    )?;
    let mut rows = statement.query(params![key.uuid, key.index])?;
    Ok(rows.next()?.map(|row| row.get(0)).transpose()?.unwrap_or(false))
}

/// Does to `flow` what the response of the ended job says and returns the numbers of the new jobs.
///
/// Inside the transaction that ends the job, so that it happens once.
pub(super) fn grow(
    connection: &Connection,
    flow: i64,
    ending: &Ending,
    prefix: &str,
) -> Result<Vec<i64>, Failure> {
    let (step, growth) = (&ending.step, &ending.growth);
    add_parents(connection, &step.key.uuid, &growth.detour_leaves)?;
    let new = insert(connection, flow, ending, prefix)?;
    stop(connection, flow, step, growth.stop)?;
    Ok(new)
}

/// Makes everybody who waits for the job wait for these as well, behind the parents they have.
fn add_parents(connection: &Connection, uuid: &str, leaves: &[String]) -> Result<(), Failure> {
    let mut statement = prepared(
        connection,
        "INSERT INTO job_parents (child, position, parent)
         SELECT p.child, (SELECT max(position) + 1 FROM job_parents o WHERE o.child = p.child), ?2
           FROM job_parents p WHERE p.parent = ?1",
    )?;
    for leaf in leaves {
        statement.execute(params![uuid, leaf])?;
    }
    Ok(())
}

fn insert(connection: &Connection, flow: i64, ending: &Ending, prefix: &str) -> Result<Vec<i64>, Failure> {
    let growth = &ending.growth;
    if growth.jobs.is_empty() {
        return Ok(Vec::new());
    }
    let first = take_numbers(connection, growth.jobs.len())?;
    let shape = Shape::of(&growth.jobs);
    let mut numbers = Vec::with_capacity(growth.jobs.len());
    for (number, job) in (first..).zip(&growth.jobs) {
        let leaf = shape.is_leaf(job) && !is_waited_for(connection, flow, &job.key.uuid)?;
        let state = growth.first_state(job);
        insert_job(
            connection,
            job,
            &Place { flow, number, prefix, leaf, state, created_on: ending.step.at },
        )?;
        numbers.push(number);
    }
    no_longer_leaves(connection, flow, growth)?;
    Ok(numbers)
}

/// A new job may be a parent of one that was there before it: the next index of a job that others wait for.
fn is_waited_for(connection: &Connection, flow: i64, uuid: &str) -> Result<bool, Failure> {
    let mut statement = prepared(
        connection,
        "SELECT 1 FROM job_parents p JOIN jobs j ON j.number = p.child WHERE p.parent = ?1 AND j.flow = ?2",
    )?;
    Ok(statement.exists(params![uuid, flow])?)
}

/// Jobs that were there before and are parents now, or are not the largest index of their uuid any more.
fn no_longer_leaves(connection: &Connection, flow: i64, growth: &Growth) -> Result<(), Failure> {
    let mut parents =
        prepared(connection, "UPDATE jobs SET leaf = 0 WHERE uuid = ?1 AND flow = ?2 AND leaf = 1")?;
    let mut older = prepared(
        connection,
        "UPDATE jobs SET leaf = 0 WHERE uuid = ?1 AND flow = ?2 AND idx < ?3 AND leaf = 1",
    )?;
    for job in &growth.jobs {
        for parent in &job.parents {
            parents.execute(params![parent, flow])?;
        }
        older.execute(params![job.key.uuid, flow, job.key.index])?;
    }
    Ok(())
}

/// Stops the jobs that have not begun and that nobody holds.
fn stop(connection: &Connection, flow: i64, step: &Move, stop: Stop) -> Result<(), Failure> {
    let numbers = match stop {
        Stop::Nothing => Vec::new(),
        Stop::Children => stoppable(
            connection,
            "SELECT j.number FROM job_parents p CROSS JOIN jobs j ON j.number = p.child
              WHERE p.parent = ?1 AND j.state IN (?2, ?3) AND j.lock_id IS NULL",
            params![step.key.uuid, State::Waiting.stored_name(), State::Ready.stored_name()],
        )?,
        Stop::Flow => stoppable(
            connection,
            "SELECT number FROM jobs WHERE flow = ?1 AND state IN (?2, ?3) AND lock_id IS NULL",
            params![flow, State::Waiting.stored_name(), State::Ready.stored_name()],
        )?,
    };
    for number in numbers {
        let job = Current::by_number(connection, number)?;
        let written = codec::written(&job.move_of(Event::StopByJob, step.at, &step.by))?;
        moves::store(connection, &job, &written)?;
    }
    Ok(())
}

fn stoppable(connection: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<Vec<i64>, Failure> {
    let mut statement = prepared(connection, sql)?;
    let numbers = statement.query_map(values, |row| row.get(0))?;
    Ok(numbers.collect::<Result<_, _>>()?)
}
