//! What users do, each batch in one transaction.

use async_trait::async_trait;
use rusqlite::{Connection, params};

use crate::model::flow::FlowState;
use crate::model::ids::JobKey;
use crate::store::actions::rules::{self, Plan, Removal};
use crate::store::actions::{Action, Answer, Deletion, Locks, MOST_JOBS, Mandate, Refusal, UserActions};
use crate::store::{Applied, StoreError};

use super::connection::prepared;
use super::failure::Failure;
use super::{SqliteStore, cancellations, moves, scene, settle};

/// Flows deleted in one transaction.
const MOST_FLOWS: usize = 20;

#[async_trait]
impl UserActions for SqliteStore {
    async fn act(
        &self,
        jobs: &[JobKey],
        action: &Action,
        mandate: &Mandate,
    ) -> Result<Vec<Answer>, StoreError> {
        let mut answers = Vec::with_capacity(jobs.len());
        for some in jobs.chunks(MOST_JOBS) {
            let (some, action, mandate) = (some.to_vec(), action.clone(), mandate.clone());
            let body = move |connection: &Connection| act(connection, &some, &action, &mandate);
            answers.extend(self.write("change jobs", body).await?);
        }
        Ok(answers)
    }

    async fn delete_flows(
        &self,
        flows: &[String],
        deletion: Deletion,
        mandate: &Mandate,
    ) -> Result<Vec<Answer>, StoreError> {
        let mut answers = Vec::with_capacity(flows.len());
        for some in flows.chunks(MOST_FLOWS) {
            let (some, mandate) = (some.to_vec(), mandate.clone());
            let body = move |connection: &Connection| delete_flows(connection, &some, deletion, &mandate);
            answers.extend(self.write("delete flows", body).await?);
        }
        Ok(answers)
    }

    async fn set_flow_store(
        &self,
        flow: &str,
        store: Option<&str>,
        mandate: &Mandate,
    ) -> Result<Answer, StoreError> {
        let (flow, store) = (flow.to_owned(), store.map(str::to_owned));
        let (at, locks) = (mandate.at, mandate.locks);
        let body = move |connection: &Connection| {
            let view = scene::load_flows(connection, std::slice::from_ref(&flow))?.flows.remove(&flow);
            let Some(view) = view else { return Ok(Answer::Refused(Refusal::NoSuchFlow(flow))) };
            if let Some(lock) = view.lock.filter(|_| locks == Locks::Honour) {
                return Ok(Answer::Refused(Refusal::FlowLocked { uuid: flow, lock }));
            }
            if view.state != FlowState::Ready {
                return Ok(Answer::Refused(Refusal::FlowNotReady(view.state)));
            }
            let sql = "UPDATE flows SET jobstore = ?2, updated_on = ?3 WHERE uuid = ?1";
            prepared(connection, sql)?.execute(params![flow, store, at.timestamp_millis()])?;
            Ok(Answer::Done { changed: Vec::new() })
        };
        self.write("change a flow", body).await
    }
}

fn act(
    connection: &Connection,
    keys: &[JobKey],
    action: &Action,
    mandate: &Mandate,
) -> Result<Vec<Answer>, Failure> {
    let scene = scene::load(connection, keys, rules::scope(action))?;
    let plan = rules::plan(&scene, keys, action, mandate, None);
    cancellations::order(connection, &plan.cancellations)?;
    if mandate.locks == Locks::Break {
        unlock(connection, &plan)?;
    }
    for step in &plan.moves {
        if moves::applied(moves::apply(connection, step)?.as_ref()) == Applied::Lost {
            // Nobody else can have written since the scene was loaded.
            return Err(Failure::unreadable(step.key.to_string(), &"it changed within a transaction"));
        }
    }
    for removal in &plan.removals {
        remove(connection, removal)?;
    }
    let at = mandate.at;
    let mut flows = numbers_of_flows(connection, &plan)?;
    flows.extend(settle::release_children_of(connection, &plan.settled, at, &mandate.by)?);
    flows.extend(settle::release_jobs(connection, &plan.orphans, at, &mandate.by)?);
    for flow in flows {
        if !plan.removals.is_empty() {
            find_leaves(connection, flow)?;
        }
        settle::settle_flow(connection, flow, at)?;
    }
    Ok(plan.answers)
}

fn numbers_of_flows(
    connection: &Connection,
    plan: &Plan,
) -> Result<std::collections::BTreeSet<i64>, Failure> {
    let mut statement = prepared(connection, "SELECT id FROM flows WHERE uuid = ?1")?;
    let number = |uuid: &String| Ok(statement.query_row([uuid], |row| row.get(0))?);
    plan.flows.iter().map(number).collect()
}

fn unlock(connection: &Connection, plan: &Plan) -> Result<(), Failure> {
    let mut statement = prepared(
        connection,
        "UPDATE jobs SET lock_id = NULL, lock_time = NULL WHERE uuid = ?1 AND idx = ?2",
    )?;
    for key in plan.causes.keys() {
        statement.execute(params![key.uuid, key.index])?;
    }
    let mut statement =
        prepared(connection, "UPDATE flows SET lock_id = NULL, lock_time = NULL WHERE uuid = ?1")?;
    for uuid in &plan.held_flows {
        statement.execute([uuid])?;
    }
    Ok(())
}

/// Deletes a job and, with its last index, its place among the parents of others.
fn remove(connection: &Connection, removal: &Removal) -> Result<(), Failure> {
    let key = &removal.key;
    let sql = "SELECT number FROM jobs WHERE uuid = ?1 AND idx = ?2";
    let number: i64 = prepared(connection, sql)?.query_row(params![key.uuid, key.index], |row| row.get(0))?;
    delete_rows(connection, number)?;
    if removal.is_last {
        prepared(connection, "DELETE FROM job_parents WHERE parent = ?1")?.execute([&key.uuid])?;
    }
    Ok(())
}

fn delete_rows(connection: &Connection, number: i64) -> Result<(), Failure> {
    const TABLES: [&str; 6] = [
        "DELETE FROM history WHERE job = ?1",
        "DELETE FROM job_metadata WHERE job = ?1",
        "DELETE FROM job_hosts WHERE job = ?1",
        "DELETE FROM job_parents WHERE child = ?1",
        "DELETE FROM job_documents WHERE job = ?1",
        "DELETE FROM jobs WHERE number = ?1",
    ];
    for sql in TABLES {
        prepared(connection, sql)?.execute([number])?;
    }
    Ok(())
}

/// Finds again which jobs of the flow are leaves: the largest index of its uuid, and nobody's parent.
fn find_leaves(connection: &Connection, flow: i64) -> Result<(), Failure> {
    let mut statement = prepared(
        connection,
        "UPDATE jobs SET leaf = NOT EXISTS (SELECT 1 FROM jobs o WHERE o.uuid = jobs.uuid AND o.idx > jobs.idx)
                            AND NOT EXISTS (SELECT 1 FROM job_parents p CROSS JOIN jobs c ON c.number = p.child
                                             WHERE p.parent = jobs.uuid AND c.flow = jobs.flow)
          WHERE flow = ?1",
    )?;
    statement.execute([flow])?;
    Ok(())
}

fn delete_flows(
    connection: &Connection,
    uuids: &[String],
    deletion: Deletion,
    mandate: &Mandate,
) -> Result<Vec<Answer>, Failure> {
    let scene = scene::load_flows(connection, uuids)?;
    let plan = rules::plan_flows(&scene, uuids, deletion, mandate, None);
    cancellations::order(connection, &plan.cancellations)?;
    for uuid in &plan.flows {
        let id: i64 = prepared(connection, "SELECT id FROM flows WHERE uuid = ?1")?
            .query_row([uuid], |row| row.get(0))?;
        let jobs: Vec<i64> = prepared(connection, "SELECT number FROM jobs WHERE flow = ?1")?
            .query_map([id], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        jobs.iter().try_for_each(|number| delete_rows(connection, *number))?;
        prepared(connection, "DELETE FROM flow_metadata WHERE flow = ?1")?.execute([id])?;
        prepared(connection, "DELETE FROM flows WHERE id = ?1")?.execute([id])?;
    }
    Ok(plan.answers)
}
