//! [`Queue`] on SQLite: each method is one transaction of the functions beside this file.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::Connection;

use crate::model::Timestamp;
use crate::model::job::{FlowId, FlowRecord, JobRecord, NewFlow};
use crate::model::query::{Detail, FlowFilter, JobFilter, Page};
use crate::model::state::State;
use crate::store::{
    Applied, Claim, Ending, Lease, LeaseAnswer, LeaseClaim, Load, Move, Queue, StoreError, Work,
};

use super::connection::prepared;
use super::failure::Failure;
use super::moves::Due;
use super::rows::count;
use super::{SqliteStore, files, insert, lease, moves, rows, schema, select, settle};

/// Flows mended in one transaction, so that other writers need not wait for all of them.
const REPAIR_BATCH: usize = 200;

#[async_trait]
impl Queue for SqliteStore {
    async fn migrate(&self) -> Result<Vec<u32>, StoreError> {
        self.on_writer("migrate the schema", schema::migrate).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.read("answer", |connection| Ok(connection.pragma_query_value(None, "user_version", |_| Ok(()))?))
            .await
    }

    async fn insert_flow(&self, flow: &NewFlow) -> Result<Vec<FlowId>, StoreError> {
        let flow = flow.clone();
        let prefix = self.shared.settings.id_prefix.clone();
        self.write("insert a flow", move |connection| insert::insert(connection, &flow, &prefix)).await
    }

    async fn claim(&self, claim: &Claim) -> Result<u32, StoreError> {
        let claim = claim.clone();
        self.write("check out jobs", move |connection| moves::claim(connection, &claim)).await
    }

    async fn work(&self, work: &Work) -> Result<Vec<JobRecord>, StoreError> {
        let work = work.clone();
        self.read("find work", move |connection| find_work(connection, &work)).await
    }

    async fn apply(&self, moves: &[Move]) -> Result<Vec<Applied>, StoreError> {
        let moves = moves.to_vec();
        self.write("move jobs", move |connection| moves::apply_all(connection, &moves)).await
    }

    async fn finish(&self, endings: &[Ending]) -> Result<Vec<Applied>, StoreError> {
        let endings = endings.to_vec();
        let prefix = self.shared.settings.id_prefix.clone();
        self.write("end jobs", move |connection| settle::finish(connection, &endings, &prefix)).await
    }

    async fn repair(&self, at: Timestamp) -> Result<u64, StoreError> {
        let action = "repair flows";
        self.write(action, move |connection| files::drop_abandoned(connection, at)).await?;
        let flows = self.read(action, settle::unfinished_flows).await?;
        let mut mended = 0;
        for batch in flows.chunks(REPAIR_BATCH) {
            let batch = batch.to_vec();
            mended += self.write(action, move |connection| settle::repair(connection, &batch, at)).await?;
        }
        Ok(mended)
    }

    async fn load(&self, states: &[State]) -> Result<Load, StoreError> {
        let states = states.to_vec();
        self.read("count jobs", move |connection| load(connection, &states)).await
    }

    async fn jobs(
        &self,
        filter: &JobFilter,
        page: &Page,
        detail: Detail,
    ) -> Result<Vec<JobRecord>, StoreError> {
        let (filter, page) = (filter.clone(), *page);
        self.read("list jobs", move |connection| {
            let numbers = select::of_jobs(&filter).ids(connection, &page)?;
            rows::jobs(connection, &numbers, detail)
        })
        .await
    }

    async fn count_jobs(&self, filter: &JobFilter) -> Result<u64, StoreError> {
        Ok(self.count_jobs_by_state(filter).await?.values().sum())
    }

    async fn count_jobs_by_state(&self, filter: &JobFilter) -> Result<BTreeMap<State, u64>, StoreError> {
        let filter = filter.clone();
        self.read("count jobs", move |connection| {
            let counts = select::of_jobs(&filter).counts(connection)?;
            counts.into_iter().map(|(name, count)| Ok((state_of(&name)?, count))).collect()
        })
        .await
    }

    async fn flows(&self, filter: &FlowFilter, page: &Page) -> Result<Vec<FlowRecord>, StoreError> {
        let (filter, page) = (filter.clone(), *page);
        self.read("list flows", move |connection| {
            let ids = select::of_flows(&filter).ids(connection, &page)?;
            rows::flows(connection, &ids)
        })
        .await
    }

    async fn count_flows(&self, filter: &FlowFilter) -> Result<u64, StoreError> {
        let filter = filter.clone();
        self.read("count flows", move |connection| {
            Ok(select::of_flows(&filter).counts(connection)?.values().sum())
        })
        .await
    }

    async fn take_lease(&self, claim: &LeaseClaim) -> Result<LeaseAnswer, StoreError> {
        let claim = claim.clone();
        self.write("take the lease", move |connection| lease::take(connection, &claim)).await
    }

    async fn release_lease(&self, owner: &str) -> Result<(), StoreError> {
        let owner = owner.to_owned();
        self.write("release the lease", move |connection| lease::release(connection, &owner)).await
    }

    async fn lease(&self) -> Result<Option<Lease>, StoreError> {
        let now = self.shared.settings.clock.now();
        self.read("read the lease", move |connection| lease::read(connection, now)).await
    }
}

fn state_of(name: &str) -> Result<State, Failure> {
    name.parse().map_err(|error| Failure::unreadable("a job's state", &error))
}

/// Returns the most urgent jobs of all states and workers asked for: each pair gives its own, in order.
fn find_work(connection: &Connection, work: &Work) -> Result<Vec<JobRecord>, Failure> {
    let mut due = Vec::new();
    for state in &work.states {
        for worker in &work.workers {
            let part = Due { state: *state, worker, at: work.due, limit: work.limit };
            due.extend(part.jobs(connection)?);
        }
    }
    due.sort_unstable();
    due.dedup();
    let limit = usize::try_from(work.limit).unwrap_or(usize::MAX);
    let numbers: Vec<i64> = due.into_iter().take(limit).map(|job| job.number).collect();
    rows::jobs(connection, &numbers, work.detail)
}

fn load(connection: &Connection, states: &[State]) -> Result<Load, Failure> {
    let mut load = Load::new();
    let mut statement =
        prepared(connection, "SELECT worker, count(*) FROM jobs WHERE state = ?1 GROUP BY worker")?;
    for state in states {
        let mut rows = statement.query([state.stored_name()])?;
        while let Some(row) = rows.next()? {
            load.entry(row.get(0)?).or_default().insert(*state, count(row, 1)?);
        }
    }
    Ok(load)
}
