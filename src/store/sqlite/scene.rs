//! What the rules of user actions look at.

use std::collections::BTreeSet;

use rusqlite::{Connection, Row, params};

use crate::model::flow::OnMissing;
use crate::model::ids::JobKey;
use crate::store::actions::rules::{FlowView, Member, Scene, Scope};

use super::connection::prepared;
use super::failure::Failure;
use super::rows::{Columns, parents};

/// Returns the jobs, all indexes of their uuids, their flows, and what the scope adds.
pub(super) fn load(connection: &Connection, keys: &[JobKey], scope: Scope) -> Result<Scene, Failure> {
    let mut loader = Loader { connection, seen: BTreeSet::new(), scene: Scene::default() };
    let uuids: BTreeSet<&str> = keys.iter().map(|key| key.uuid.as_str()).collect();
    for uuid in &uuids {
        loader.indexes(uuid)?;
    }
    match scope {
        Scope::Jobs => {}
        Scope::Parents => loader.parents()?,
        Scope::Children => loader.children(&uuids)?,
        Scope::Flows => {
            let flows: BTreeSet<String> = loader.scene.jobs.values().map(|job| job.flow.clone()).collect();
            for flow in &flows {
                loader.members(flow)?;
            }
        }
    }
    loader.flows()?;
    Ok(loader.scene)
}

/// Returns these flows with all their members; a flow that does not exist is left out.
pub(super) fn load_flows(connection: &Connection, uuids: &[String]) -> Result<Scene, Failure> {
    let mut loader = Loader { connection, seen: BTreeSet::new(), scene: Scene::default() };
    for uuid in uuids {
        loader.members(uuid)?;
        loader.flow(uuid)?;
    }
    Ok(loader.scene)
}

struct Loader<'c> {
    connection: &'c Connection,
    /// Uuids whose indexes were read.
    seen: BTreeSet<String>,
    scene: Scene,
}

impl Loader<'_> {
    fn indexes(&mut self, uuid: &str) -> Result<(), Failure> {
        if self.seen.insert(uuid.to_owned()) {
            for number in numbers(self.connection, "SELECT number FROM jobs WHERE uuid = ?1", [uuid])? {
                self.job(number)?;
            }
        }
        Ok(())
    }

    fn parents(&mut self) -> Result<(), Failure> {
        let parents: BTreeSet<String> =
            self.scene.jobs.values().flat_map(|job| job.parents.iter().cloned()).collect();
        parents.iter().try_for_each(|uuid| self.indexes(uuid))
    }

    fn children(&mut self, uuids: &BTreeSet<&str>) -> Result<(), Failure> {
        const CHILDREN: &str = "SELECT j.uuid FROM job_parents p CROSS JOIN jobs j ON j.number = p.child
                                 WHERE p.parent = ?1";
        for uuid in uuids {
            let mut statement = prepared(self.connection, CHILDREN)?;
            let children: BTreeSet<String> =
                statement.query_map([uuid], |row| row.get(0))?.collect::<Result<_, _>>()?;
            children.iter().try_for_each(|child| self.indexes(child))?;
        }
        Ok(())
    }

    fn members(&mut self, flow: &str) -> Result<(), Failure> {
        const MEMBERS: &str =
            "SELECT j.number FROM flows f CROSS JOIN jobs j ON j.flow = f.id WHERE f.uuid = ?1";
        for number in numbers(self.connection, MEMBERS, [flow])? {
            self.job(number)?;
        }
        Ok(())
    }

    fn job(&mut self, number: i64) -> Result<(), Failure> {
        let mut statement = prepared(
            self.connection,
            "SELECT j.uuid, j.idx, j.prefix || j.number, f.uuid, j.state, j.attempt, j.previous_state, j.on_missing,
                    j.lock_id, j.lock_time, j.worker, j.process_id, j.run_dir, d.exec_config, d.resources
               FROM jobs j CROSS JOIN flows f ON f.id = j.flow CROSS JOIN job_documents d ON d.job = j.number
              WHERE j.number = ?1",
        )?;
        let mut rows = statement.query([number])?;
        let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let mut job = member(row)?;
        job.parents = parents(self.connection, number)?;
        self.scene.jobs.insert(job.key.clone(), job);
        Ok(())
    }

    fn flows(&mut self) -> Result<(), Failure> {
        let flows: BTreeSet<String> = self.scene.jobs.values().map(|job| job.flow.clone()).collect();
        flows.iter().try_for_each(|uuid| self.flow(uuid))
    }

    fn flow(&mut self, uuid: &str) -> Result<(), Failure> {
        let mut statement = prepared(
            self.connection,
            "SELECT uuid, state, lock_id, lock_time, (SELECT count(*) FROM jobs WHERE flow = flows.id)
               FROM flows WHERE uuid = ?1",
        )?;
        let mut rows = statement.query(params![uuid])?;
        if let Some(row) = rows.next()? {
            let mut columns = Columns::of(row);
            let (uuid, state): (String, _) = (columns.take()?, columns.parsed()?);
            let (lock, members) = (columns.lock()?, columns.take::<i64>()?);
            let members = usize::try_from(members).unwrap_or_default();
            self.scene.flows.insert(uuid.clone(), FlowView { uuid, state, lock, members });
        }
        Ok(())
    }
}

fn numbers(connection: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<Vec<i64>, Failure> {
    let mut statement = prepared(connection, sql)?;
    let numbers = statement.query_map(values, |row| row.get(0))?;
    Ok(numbers.collect::<Result<_, _>>()?)
}

fn member(row: &Row<'_>) -> Result<Member, Failure> {
    let mut columns = Columns::of(row);
    Ok(Member {
        key: JobKey { uuid: columns.take()?, index: columns.take()? },
        db_id: columns.take()?,
        flow: columns.take()?,
        state: columns.parsed()?,
        attempt: columns.take()?,
        previous_state: columns.optional_parsed()?,
        on_missing: OnMissing::from_config(&columns.take::<String>()?),
        lock: columns.lock()?,
        worker: columns.take()?,
        process_id: columns.take()?,
        run_dir: columns.take()?,
        exec_config: columns.optional_document()?.and_then(|mut wrapped| wrapped.remove("value")),
        resources: columns.optional_document()?,
        parents: Vec::new(),
    })
}
