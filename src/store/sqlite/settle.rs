//! What follows from the end of a job: children start, flows change their state.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use crate::model::Timestamp;
use crate::model::flow::{OnMissing, from_states};
use crate::model::ids::JobKey;
use crate::model::state::{Event, State};
use crate::store::codec;
use crate::store::{Applied, Ending, Move};

use super::connection::prepared;
use super::failure::Failure;
use super::grow;
use super::moves::{self, Current, optional_text};
use super::rows::Columns;

/// Who moves a child that [`repair`] finds waiting for nothing.
const MENDER: &str = "repair";

/// Makes the moves, and all that follows from those that were made.
pub(super) fn finish(
    connection: &Connection,
    endings: &[Ending],
    prefix: &str,
) -> Result<Vec<Applied>, Failure> {
    let mut answers = Vec::with_capacity(endings.len());
    let mut ended = Vec::new();
    let mut flows = BTreeSet::new();
    let mut new = Vec::new();
    for ending in endings {
        let before = match ending.growth.is_nothing() || !grow::flow_is_locked(connection, &ending.step.key)?
        {
            true => moves::apply(connection, &ending.step)?,
            false => None,
        };
        answers.push(moves::applied(before.as_ref()));
        if let Some(before) = before {
            new.extend(grow::grow(connection, before.flow, ending, prefix)?);
            flows.insert(before.flow);
            ended.push(&ending.step);
        }
    }
    if let Some(last) = ended.last() {
        flows.extend(release_new(connection, &new, last)?);
        flows.extend(release_children(connection, &ended)?);
        for flow in flows {
            settle_flow(connection, flow, last.at)?;
        }
    }
    Ok(answers)
}

/// Moves those new jobs to READY whose parents are done already, and returns their flows.
fn release_new(connection: &Connection, new: &[i64], step: &Move) -> Result<BTreeSet<i64>, Failure> {
    let mut flows = BTreeSet::new();
    for number in new {
        for job in waiting_job(connection, *number)? {
            if may_start(connection, &job)? {
                flows.insert(release(connection, job.number, step.at, &step.by)?);
            }
        }
    }
    Ok(flows)
}

/// Moves the children that may start to READY and returns their flows. Each child is looked at once per call.
fn release_children(connection: &Connection, ended: &[&Move]) -> Result<BTreeSet<i64>, Failure> {
    let mut looked_at = BTreeSet::new();
    let mut flows = BTreeSet::new();
    for step in ended {
        for child in waiting_children(connection, &step.key.uuid)? {
            if looked_at.insert(child.number) && may_start(connection, &child)? {
                flows.insert(release(connection, child.number, step.at, &step.by)?);
            }
        }
    }
    Ok(flows)
}

/// Moves the WAITING children of these parents that may start to READY and returns their flows.
pub(super) fn release_children_of(
    connection: &Connection,
    parents: &BTreeSet<String>,
    at: Timestamp,
    by: &str,
) -> Result<BTreeSet<i64>, Failure> {
    let mut flows = BTreeSet::new();
    for parent in parents {
        for child in waiting_children(connection, parent)? {
            if may_start(connection, &child)? {
                flows.insert(release(connection, child.number, at, by)?);
            }
        }
    }
    Ok(flows)
}

/// Moves those of these jobs that wait and may start to READY and returns their flows.
pub(super) fn release_jobs(
    connection: &Connection,
    keys: &BTreeSet<JobKey>,
    at: Timestamp,
    by: &str,
) -> Result<BTreeSet<i64>, Failure> {
    const ONE: &str = "SELECT number, on_missing FROM jobs
                        WHERE uuid = ?1 AND idx = ?2 AND state = ?3 AND lock_id IS NULL";
    let mut flows = BTreeSet::new();
    for key in keys {
        let state = State::Waiting.stored_name();
        for job in waiting(connection, ONE, params![key.uuid, key.index, state])? {
            if may_start(connection, &job)? {
                flows.insert(release(connection, job.number, at, by)?);
            }
        }
    }
    Ok(flows)
}

/// A job in WAITING that nobody holds.
struct Waiting {
    number: i64,
    on_missing: OnMissing,
}

fn waiting_children(connection: &Connection, parent: &str) -> Result<Vec<Waiting>, Failure> {
    waiting(
        connection,
        "SELECT j.number, j.on_missing FROM job_parents p CROSS JOIN jobs j ON j.number = p.child
          WHERE p.parent = ?1 AND j.state = ?2 AND j.lock_id IS NULL",
        params![parent, State::Waiting.stored_name()],
    )
}

fn waiting_job(connection: &Connection, number: i64) -> Result<Vec<Waiting>, Failure> {
    waiting(
        connection,
        "SELECT number, on_missing FROM jobs WHERE number = ?1 AND state = ?2 AND lock_id IS NULL",
        params![number, State::Waiting.stored_name()],
    )
}

fn waiting_members(connection: &Connection, flow: i64) -> Result<Vec<Waiting>, Failure> {
    waiting(
        connection,
        "SELECT number, on_missing FROM jobs WHERE flow = ?1 AND leaf IN (0, 1) AND state = ?2 AND lock_id IS NULL",
        params![flow, State::Waiting.stored_name()],
    )
}

fn waiting(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<Waiting>, Failure> {
    let mut statement = prepared(connection, sql)?;
    let jobs = statement.query_map(values, |row| {
        let on_missing = OnMissing::from_config(&row.get::<_, String>(1)?);
        Ok(Waiting { number: row.get(0)?, on_missing })
    })?;
    Ok(jobs.collect::<Result<_, _>>()?)
}

/// Returns whether every parent's largest index is in a state that lets the child start.
///
/// The rule is that of [`crate::model::flow::may_start`], asked parent by parent, the last one first: it is mostly
/// the last to end, so a child that gathers thousands of parents costs one look until then.
fn may_start(connection: &Connection, child: &Waiting) -> Result<bool, Failure> {
    let mut statement = prepared(
        connection,
        "SELECT (SELECT state FROM jobs WHERE uuid = p.parent ORDER BY idx DESC LIMIT 1)
           FROM job_parents p WHERE p.child = ?1 ORDER BY p.position DESC",
    )?;
    let mut rows = statement.query([child.number])?;
    while let Some(row) = rows.next()? {
        let state = Columns::of(row).optional_parsed::<State>()?;
        if !state.is_some_and(|state| child.on_missing.accepts(state)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Moves a waiting job to READY and returns its flow.
fn release(connection: &Connection, number: i64, at: Timestamp, by: &str) -> Result<i64, Failure> {
    let child = Current::by_number(connection, number)?;
    let written = codec::written(&child.move_of(Event::Release, at, by))?;
    moves::store(connection, &child, &written)?;
    Ok(child.flow)
}

/// Derives the flow's state from its jobs and returns whether it was another.
///
/// Costs one look-up per state that occurs, whatever the number of jobs.
pub(super) fn settle_flow(connection: &Connection, flow: i64, at: Timestamp) -> Result<bool, Failure> {
    let leaves = states(connection, flow, Part::Leaves)?;
    let mut present = states(connection, flow, Part::Inner)?;
    present.extend(&leaves);
    moves::set_flow_state(connection, flow, from_states(&present, &leaves), at)
}

/// A part of a flow's jobs; the value of the column `leaf`.
#[derive(Clone, Copy)]
enum Part {
    Inner = 0,
    Leaves = 1,
}

/// Returns the states that occur in a part of a flow, hopping over the index from each to the next.
fn states(connection: &Connection, flow: i64, part: Part) -> Result<BTreeSet<State>, Failure> {
    const NEXT: &str =
        "SELECT state FROM jobs WHERE flow = ?1 AND leaf = ?2 AND state > ?3 ORDER BY state LIMIT 1";
    let mut states = BTreeSet::new();
    let mut last = String::new();
    while let Some(name) = optional_text(connection, NEXT, params![flow, part as i64, last])? {
        states.insert(name.parse().map_err(|error| Failure::unreadable("a job's state", &error))?);
        last = name;
    }
    Ok(states)
}

/// Returns the flows whose state is not COMPLETED.
pub(super) fn unfinished_flows(connection: &Connection) -> Result<Vec<i64>, Failure> {
    let mut statement = prepared(
        connection,
        "SELECT id FROM flows
          WHERE state IN ('WAITING', 'READY', 'RUNNING', 'FAILED', 'PAUSED', 'STOPPED')",
    )?;
    let ids = statement.query_map([], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// Releases jobs that wait for nothing, derives the flows' states, and returns how many of both were mended.
pub(super) fn repair(connection: &Connection, flows: &[i64], at: Timestamp) -> Result<u64, Failure> {
    let mut mended = 0;
    for flow in flows {
        for child in waiting_members(connection, *flow)? {
            if may_start(connection, &child)? {
                release(connection, child.number, at, MENDER)?;
                mended += 1;
            }
        }
        mended += u64::from(settle_flow(connection, *flow, at)?);
    }
    Ok(mended)
}
