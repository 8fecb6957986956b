//! What a person or a reconciler asks of the queue: filters in the words of the field, never of a database.

use std::collections::BTreeMap;

use bson::Bson;

use super::Timestamp;
use super::flow::FlowState;
use super::ids::JobKey;
use super::state::State;

/// Which jobs; every filter that is set has to hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobFilter {
    pub keys: Vec<JobKey>,
    pub uuids: Vec<String>,
    /// Uuids that begin with one of these.
    pub uuid_prefixes: Vec<String>,
    pub db_ids: Vec<String>,
    /// Members, direct or nested, of these flows.
    pub flows: Vec<String>,
    pub states: Vec<State>,
    pub workers: Vec<String>,
    /// Name with `*`, `?` and `[...]` as in a shell; without them exactly this name.
    pub name: Option<String>,
    pub metadata: BTreeMap<String, Bson>,
    pub updated_from: Option<Timestamp>,
    pub updated_to: Option<Timestamp>,
    /// The scheduler's id.
    pub process_id: Option<String>,
    pub locked: Option<Locked>,
}

/// Whether somebody holds the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locked {
    Held,
    Free,
}

/// Which flows; every filter that is set has to hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FlowFilter {
    pub uuids: Vec<String>,
    pub uuid_prefixes: Vec<String>,
    /// Flows with a member of one of these short ids.
    pub db_ids: Vec<String>,
    /// Flows with one of these jobs as a member.
    pub job_uuids: Vec<String>,
    pub states: Vec<FlowState>,
    pub name: Option<String>,
    pub metadata: BTreeMap<String, Bson>,
    pub updated_from: Option<Timestamp>,
    pub updated_to: Option<Timestamp>,
    pub locked: Option<Locked>,
}

/// Order and size of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    pub sort: SortKey,
    pub order: Order,
    /// None is all.
    pub limit: Option<u32>,
    pub skip: u32,
}

impl Default for Page {
    fn default() -> Self {
        Self { sort: SortKey::UpdatedOn, order: Order::Descending, limit: Some(100), skip: 0 }
    }
}

/// What a listing is ordered by; ties are broken so that the order is always the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKey {
    CreatedOn,
    UpdatedOn,
    /// By the number in the short id, not by its text: 9 comes before 10.
    DbId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Ascending,
    Descending,
}

/// How much of a job document is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// All but the job's function, arguments, stored data and history.
    Summary,
    /// Everything.
    Full,
}
