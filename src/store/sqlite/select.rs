//! Filters and pages as statements that stay on an index.
//!
//! A filter is of one of two kinds, and each has its plan:
//!
//! - Narrow: it names jobs (by key, id, flow, name, metadata, …). The named rows are found by an index, the other
//!   conditions are checked on each, and the few that remain are sorted.
//! - Broad: nothing but states, workers, times and locks. The rows come from an index in the order of the page, and
//!   reading stops at the limit. By time of update there is one ordered stream per state, merged: so a listing of one
//!   rare state among 100 000 jobs costs no more than the page. By creation or number the walk may pass over many
//!   rows when the states asked for are rare.
//!
//! A `+` before a column keeps the planner from choosing that column's index.

use std::collections::BTreeMap;

use bson::Bson;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::model::Timestamp;
use crate::model::flow::FlowState;
use crate::model::query::{FlowFilter, JobFilter, Locked, Order, Page, SortKey};
use crate::model::state::State;

use super::connection::prepared;
use super::failure::Failure;
use super::metadata;
use super::names::{self, Name};
use super::rows::count;

/// What differs between jobs and flows.
struct Table {
    name: &'static str,
    id: &'static str,
    metadata: &'static str,
    metadata_id: &'static str,
}

const JOBS: Table = Table { name: "jobs", id: "number", metadata: "job_metadata", metadata_id: "job" };
const FLOWS: Table = Table { name: "flows", id: "id", metadata: "flow_metadata", metadata_id: "flow" };

/// A filter in SQL.
pub(super) struct Selection {
    table: &'static Table,
    states: Vec<&'static str>,
    narrow: Vec<String>,
    broad: Vec<String>,
    values: Vec<Value>,
}

/// Returns the selection of a filter for jobs.
pub(super) fn of_jobs(filter: &JobFilter) -> Selection {
    let mut selection = Selection::of(&JOBS, states(&filter.states));
    let keys: Vec<(&str, i32)> = filter.keys.iter().map(|key| (key.uuid.as_str(), key.index)).collect();
    selection.one_of(
        &keys,
        "SELECT number FROM jobs WHERE (uuid, idx) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))",
    );
    selection.one_of(&filter.uuids, "SELECT number FROM jobs WHERE uuid IN (SELECT value FROM json_each(?))");
    selection.prefixes(&filter.uuid_prefixes);
    selection.db_ids(&filter.db_ids, "SELECT number FROM jobs");
    selection
        .one_of(&filter.flows, "SELECT job FROM job_hosts WHERE host IN (SELECT value FROM json_each(?))");
    selection.one_of(
        filter.process_id.as_slice(),
        "SELECT number FROM jobs WHERE process_id IN (SELECT value FROM json_each(?))",
    );
    selection.named(filter.name.as_deref());
    selection.metadata(&filter.metadata);
    selection.locked(filter.locked);
    selection.updated(filter.updated_from, filter.updated_to);
    if !filter.workers.is_empty() {
        let list = selection.value(json(&filter.workers));
        selection.broad.push(format!("+worker IN (SELECT value FROM json_each({list}))"));
    }
    selection
}

/// Returns the selection of a filter for flows.
pub(super) fn of_flows(filter: &FlowFilter) -> Selection {
    let all = if filter.states.is_empty() { FlowState::ALL.as_slice() } else { &filter.states };
    let mut selection = Selection::of(&FLOWS, all.iter().map(|state| state.name()).collect());
    selection.one_of(&filter.uuids, "SELECT id FROM flows WHERE uuid IN (SELECT value FROM json_each(?))");
    selection.prefixes(&filter.uuid_prefixes);
    selection.db_ids(&filter.db_ids, "SELECT flow FROM jobs");
    selection
        .one_of(&filter.job_uuids, "SELECT flow FROM jobs WHERE uuid IN (SELECT value FROM json_each(?))");
    selection.named(filter.name.as_deref());
    selection.metadata(&filter.metadata);
    selection.locked(filter.locked);
    selection.updated(filter.updated_from, filter.updated_to);
    selection
}

fn states(asked: &[State]) -> Vec<&'static str> {
    let all = if asked.is_empty() { State::ALL.as_slice() } else { asked };
    all.iter().map(|state| state.stored_name()).collect()
}

fn json(list: &impl serde::Serialize) -> Value {
    // Lists of texts and numbers have no form that JSON cannot take.
    Value::Text(serde_json::to_string(list).unwrap_or_else(|_| "[]".to_owned()))
}

impl Selection {
    fn of(table: &'static Table, mut states: Vec<&'static str>) -> Self {
        states.sort_unstable();
        states.dedup();
        Self { table, states, narrow: Vec::new(), broad: Vec::new(), values: Vec::new() }
    }

    /// Returns the placeholder of a new value.
    fn value(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("?{}", self.values.len())
    }

    /// Keeps the rows that `query` finds, in which `?` is the list; an empty list keeps all.
    fn one_of<T: serde::Serialize>(&mut self, list: &[T], query: &str) {
        if !list.is_empty() {
            let place = self.value(json(&list));
            self.keep(&query.replace('?', &place));
        }
    }

    fn keep(&mut self, query: &str) {
        self.narrow.push(format!("{} IN ({query})", self.table.id));
    }

    fn prefixes(&mut self, prefixes: &[String]) {
        if prefixes.is_empty() {
            return;
        }
        let Table { name, id, .. } = self.table;
        let parts: Vec<String> = prefixes.iter().map(|prefix| self.within("uuid", prefix)).collect();
        let queries: Vec<String> =
            parts.iter().map(|part| format!("SELECT {id} FROM {name} WHERE {part}")).collect();
        self.keep(&queries.join(" UNION ALL "));
    }

    /// Returns the condition that the column begins with `prefix`, as a range of its index.
    fn within(&mut self, column: &str, prefix: &str) -> String {
        let from = self.value(Value::Text(prefix.to_owned()));
        // No character sorts behind this one.
        let to = self.value(Value::Text(format!("{prefix}\u{10FFFF}")));
        format!("{column} >= {from} AND {column} < {to}")
    }

    /// Short ids are a prefix and a number; where the number begins is tried at each of the last digits.
    fn db_ids(&mut self, db_ids: &[String], select: &str) {
        if db_ids.is_empty() {
            return;
        }
        let numbers: Vec<i64> = db_ids.iter().flat_map(|db_id| numbers_in(db_id)).collect();
        let numbers = self.value(json(&numbers));
        let texts = self.value(json(&db_ids));
        self.keep(&format!(
            "{select} WHERE number IN (SELECT value FROM json_each({numbers}))
              AND prefix || number IN (SELECT value FROM json_each({texts}))"
        ));
    }

    fn named(&mut self, name: Option<&str>) {
        let Table { name: table, id, .. } = self.table;
        let condition = match name.map(names::parse) {
            None => return,
            Some(Name::Exact(name)) => format!("name = {}", self.value(Value::Text(name))),
            Some(Name::Pattern { prefix, glob }) => {
                let range = self.within("name", &prefix);
                format!("{range} AND name GLOB {}", self.value(Value::Text(glob)))
            }
        };
        self.keep(&format!("SELECT {id} FROM {table} WHERE {condition}"));
    }

    fn metadata(&mut self, wanted: &BTreeMap<String, Bson>) {
        for (key, value) in wanted {
            let key = self.value(Value::Text(key.clone()));
            let value = self.value(Value::Text(metadata::searchable(value)));
            let Table { metadata, metadata_id, .. } = self.table;
            self.keep(&format!("SELECT {metadata_id} FROM {metadata} WHERE key = {key} AND value = {value}"));
        }
    }

    fn locked(&mut self, locked: Option<Locked>) {
        let Table { name, id, .. } = self.table;
        match locked {
            None => {}
            Some(Locked::Held) => self.keep(&format!("SELECT {id} FROM {name} WHERE lock_id IS NOT NULL")),
            Some(Locked::Free) => self.broad.push("lock_id IS NULL".to_owned()),
        }
    }

    fn updated(&mut self, from: Option<Timestamp>, to: Option<Timestamp>) {
        for (time, sign) in [(from, ">="), (to, "<=")] {
            if let Some(time) = time {
                let time = self.value(Value::Integer(time.timestamp_millis()));
                self.broad.push(format!("updated_on {sign} {time}"));
            }
        }
    }

    /// Returns the ids of the rows of the page, in its order.
    pub(super) fn ids(mut self, connection: &Connection, page: &Page) -> Result<Vec<i64>, Failure> {
        let limit = self.value(Value::Integer(page.limit.map_or(-1, i64::from)));
        let skip = self.value(Value::Integer(i64::from(page.skip)));
        let streams = if self.narrow.is_empty() && page.sort == SortKey::UpdatedOn {
            self.one_per_state()
        } else {
            self.one_for_all(page.sort)
        };
        let direction = if page.order == Order::Ascending { "ASC" } else { "DESC" };
        let sql = format!("{streams} ORDER BY 2 {direction}, 1 {direction} LIMIT {limit} OFFSET {skip}");
        let mut statement = prepared(connection, &sql)?;
        let ids = statement.query_map(params_from_iter(self.values), |row| row.get(0))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// Returns a query with one branch per state, each of which comes from its index in order.
    fn one_per_state(&mut self) -> String {
        let Table { name, id, .. } = self.table;
        let branches: Vec<String> = std::mem::take(&mut self.states)
            .into_iter()
            .map(|state| {
                let state = self.value(Value::Text(state.to_owned()));
                let conditions = [&[format!("state = {state}")], self.broad.as_slice()].concat();
                format!("SELECT {id}, updated_on FROM {name} WHERE {}", conditions.join(" AND "))
            })
            .collect();
        branches.join(" UNION ALL ")
    }

    fn one_for_all(&mut self, sort: SortKey) -> String {
        let Table { name, id, .. } = self.table;
        let key = match sort {
            SortKey::CreatedOn => "created_on",
            SortKey::UpdatedOn => "updated_on",
            SortKey::DbId => id,
        };
        format!("SELECT {id}, {key} FROM {name} WHERE {}", self.conditions().join(" AND "))
    }

    /// Returns all conditions, of which none but the narrow ones may choose the index.
    fn conditions(&mut self) -> Vec<String> {
        let states = self.value(json(&self.states));
        let mut conditions = std::mem::take(&mut self.narrow);
        conditions.push(format!("+state IN (SELECT value FROM json_each({states}))"));
        conditions.extend(self.broad.iter().map(|condition| condition.replace("updated_on", "+updated_on")));
        conditions
    }

    /// Returns how many rows there are in each state that has any.
    pub(super) fn counts(mut self, connection: &Connection) -> Result<BTreeMap<String, u64>, Failure> {
        if self.narrow.is_empty() {
            return self.counts_by_index(connection);
        }
        let name = self.table.name;
        let conditions = self.conditions().join(" AND ");
        let sql = format!("SELECT state, count(*) FROM {name} WHERE {conditions} GROUP BY +state");
        let mut statement = prepared(connection, &sql)?;
        let counts =
            statement.query_map(params_from_iter(self.values), |row| Ok((row.get(0)?, count(row, 1)?)))?;
        Ok(counts.collect::<Result<_, _>>()?)
    }

    fn counts_by_index(mut self, connection: &Connection) -> Result<BTreeMap<String, u64>, Failure> {
        let place = self.value(Value::Null);
        let conditions = [&[format!("state = {place}")], self.broad.as_slice()].concat().join(" AND ");
        let sql = format!("SELECT count(*) FROM {} WHERE {conditions}", self.table.name);
        let mut statement = prepared(connection, &sql)?;
        let mut counts = BTreeMap::new();
        for state in self.states {
            self.values.pop();
            self.values.push(Value::Text(state.to_owned()));
            let number = statement.query_row(params_from_iter(&self.values), |row| count(row, 0))?;
            if number > 0 {
                counts.insert(state.to_owned(), number);
            }
        }
        Ok(counts)
    }
}

/// Returns each number that `db_id` may end in, without leading zeros.
fn numbers_in(db_id: &str) -> Vec<i64> {
    let digits = db_id.len() - db_id.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let ends = (1..=digits).filter_map(|length| db_id.get(db_id.len() - length..));
    ends.filter(|end| !end.starts_with('0')).filter_map(|end| end.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_short_id_may_begin_at_any_digit() {
        assert_eq!(numbers_in("17"), [7, 17]);
        assert_eq!(numbers_in("p1-205"), [5, 205]);
        assert_eq!(numbers_in("abc"), [] as [i64; 0]);
    }
}
