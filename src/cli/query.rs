//! Options that choose jobs and flows, with the meanings of jobflow-remote's commands.

use std::collections::BTreeMap;
use std::str::FromStr;

use bson::Bson;
use clap::Args;

use super::error::CliError;
use super::select;
use super::session::Now;
use super::time::{self, LocalTime};
use crate::model::Timestamp;
use crate::model::flow::FlowState;
use crate::model::ids::JobKey;
use crate::model::query::{FlowFilter, JobFilter, Locked, Order, Page, SortKey};
use crate::model::state::State;
use crate::store::Queue;

/// Which jobs; all that is given has to hold.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which jobs")]
pub(super) struct JobQuery {
    /// Jobs of these uuids and indexes
    #[arg(long = "job-id", alias = "jid", value_name = "UUID:INDEX", value_parser = job_key)]
    job_ids: Vec<JobKey>,
    /// Jobs of these short ids
    #[arg(long = "db-id", alias = "did", value_name = "ID")]
    db_ids: Vec<String>,
    /// Jobs of these flows: uuid, short id of a member, or the beginning of a uuid
    #[arg(long = "flow-id", alias = "fid", value_name = "FLOW")]
    flow_ids: Vec<String>,
    /// Jobs in these states
    #[arg(short, long = "state", value_name = "STATE")]
    states: Vec<State>,
    /// Jobs of this name; *, ? and [...] match as in a shell
    #[arg(short, long)]
    name: Option<String>,
    /// Jobs of these workers
    #[arg(long = "worker", alias = "wk", value_name = "WORKER")]
    workers: Vec<String>,
    #[command(flatten)]
    metadata: MetadataQuery,
    #[command(flatten)]
    dates: DateQuery,
}

impl JobQuery {
    /// Returns the filter, with flows looked up in the store.
    pub(super) async fn filter(&self, queue: &dyn Queue, now: &Now) -> Result<JobFilter, CliError> {
        let mut flows = Vec::new();
        for id in &self.flow_ids {
            flows.push(select::flow(queue, id).await?.uuid);
        }
        let (updated_from, updated_to) = self.dates.range(now)?;
        Ok(JobFilter {
            keys: self.job_ids.clone(),
            db_ids: self.db_ids.clone(),
            flows,
            states: self.states.clone(),
            workers: self.workers.clone(),
            name: self.name.clone(),
            metadata: self.metadata.pairs(),
            updated_from,
            updated_to,
            ..JobFilter::default()
        })
    }
}

/// Which flows; all that is given has to hold.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which flows")]
pub(super) struct FlowQuery {
    /// Flows with these jobs
    #[arg(long = "job-id", alias = "jid", value_name = "UUID")]
    job_uuids: Vec<String>,
    /// Flows with members of these short ids
    #[arg(long = "db-id", alias = "did", value_name = "ID")]
    db_ids: Vec<String>,
    /// Flows of these uuids
    #[arg(long = "flow-id", alias = "fid", value_name = "UUID")]
    flow_ids: Vec<String>,
    /// Flows in these states
    #[arg(short, long = "state", value_name = "STATE")]
    states: Vec<FlowState>,
    /// Flows of this name; *, ? and [...] match as in a shell
    #[arg(short, long)]
    name: Option<String>,
    /// Flows that somebody holds locked
    #[arg(short, long)]
    locked: bool,
    #[command(flatten)]
    metadata: MetadataQuery,
    #[command(flatten)]
    dates: DateQuery,
}

impl FlowQuery {
    /// Returns the filter.
    pub(super) fn filter(&self, now: &Now) -> Result<FlowFilter, CliError> {
        let (updated_from, updated_to) = self.dates.range(now)?;
        Ok(FlowFilter {
            uuids: self.flow_ids.clone(),
            db_ids: self.db_ids.clone(),
            job_uuids: self.job_uuids.clone(),
            states: self.states.clone(),
            name: self.name.clone(),
            metadata: self.metadata.pairs(),
            updated_from,
            updated_to,
            locked: self.locked.then_some(Locked::Held),
            ..FlowFilter::default()
        })
    }
}

/// Entries that the metadata must have.
#[derive(Debug, Clone, Default, Args)]
struct MetadataQuery {
    /// Metadata that have these entries: k=v,k=v (values are texts) or a JSON object
    #[arg(long, alias = "meta", value_name = "K=V|JSON")]
    metadata: Option<Metadata>,
}

impl MetadataQuery {
    fn pairs(&self) -> BTreeMap<String, Bson> {
        self.metadata.clone().map(|metadata| metadata.0).unwrap_or_default()
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Metadata(BTreeMap<String, Bson>);

impl FromStr for Metadata {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim_start().starts_with('{') {
            let object: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))?;
            let pairs = object.into_iter().map(|(key, value)| {
                Bson::try_from(value).map(|value| (key, value)).map_err(|error| error.to_string())
            });
            return pairs.collect::<Result<_, _>>().map(Self);
        }
        let pairs = text.split(',').map(|pair| match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), Bson::String(value.to_owned()))),
            _ => Err(format!("`{pair}` is not of the form key=value")),
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }
}

/// When the documents were last updated; local time.
#[derive(Debug, Clone, Default, Args)]
struct DateQuery {
    /// Updated at or after this local time: 2026-11-20, 2026-11-20T14:30:00 or 14:30:00
    #[arg(long = "start-date", alias = "sdate", value_name = "TIME", conflicts_with_all = ["days", "hours"])]
    start: Option<LocalTime>,
    /// Updated at or before this local time
    #[arg(long = "end-date", alias = "edate", value_name = "TIME", conflicts_with_all = ["days", "hours"])]
    end: Option<LocalTime>,
    /// Updated in the last N days
    #[arg(long, alias = "ds", value_name = "N")]
    days: Option<u32>,
    /// Updated in the last N hours; adds to the days
    #[arg(long, alias = "hs", value_name = "N")]
    hours: Option<u32>,
}

impl DateQuery {
    fn range(&self, now: &Now) -> Result<(Option<Timestamp>, Option<Timestamp>), CliError> {
        let moment = |local: LocalTime| {
            local.resolve(&now.zoned).ok_or_else(|| CliError::usage("the date is before or after all time"))
        };
        if self.days.is_some() || self.hours.is_some() {
            let from = time::ago(&now.zoned, self.days.unwrap_or(0), self.hours.unwrap_or(0));
            return Ok((from, None));
        }
        Ok((self.start.map(moment).transpose()?, self.end.map(moment).transpose()?))
    }
}

/// How much of a listing is shown, and in which order.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "How much, in which order")]
pub(super) struct PageOptions {
    /// Show at most N; 0 shows all
    #[arg(short, long, value_name = "N", default_value_t = 100)]
    max_results: u32,
    /// Newest (highest) first by this
    #[arg(long, value_name = "FIELD", default_value = "updated_on")]
    sort: SortField,
    /// Oldest (lowest) first
    #[arg(long, alias = "revs")]
    reverse_sort: bool,
}

impl PageOptions {
    /// Returns the page of the listing.
    pub(super) fn page(&self) -> Page {
        let order = if self.reverse_sort { Order::Ascending } else { Order::Descending };
        let limit = (self.max_results > 0).then_some(self.max_results);
        Page { sort: self.sort.key(), order, limit, skip: 0 }
    }
}

/// What a listing is ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum SortField {
    CreatedOn,
    UpdatedOn,
    DbId,
}

impl SortField {
    /// Returns the store's word for it.
    pub(super) fn key(self) -> SortKey {
        match self {
            Self::CreatedOn => SortKey::CreatedOn,
            Self::UpdatedOn => SortKey::UpdatedOn,
            Self::DbId => SortKey::DbId,
        }
    }
}

fn job_key(text: &str) -> Result<JobKey, String> {
    let parsed = text.rsplit_once(':').and_then(|(uuid, index)| Some(JobKey::new(uuid, index.parse().ok()?)));
    parsed.filter(|key| !key.uuid.is_empty()).ok_or_else(|| "expected UUID:INDEX".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_json_or_pairs_of_text() {
        let pairs: Metadata = "tag=1,run=a=b".parse().unwrap();
        let expected = [("run", "a=b"), ("tag", "1")];
        assert_eq!(pairs.0, expected.map(|(k, v)| (k.to_owned(), Bson::from(v))).into());
        let json: Metadata = r#"{"tag": 1}"#.parse().unwrap();
        assert_eq!(json.0.get("tag").and_then(Bson::as_i32), Some(1));
        for wrong in ["", "tag", "=1", "{", "a=1,,b=2"] {
            assert!(wrong.parse::<Metadata>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn job_keys_need_an_index() {
        assert_eq!(job_key("ab-c:2"), Ok(JobKey::new("ab-c", 2)));
        assert!(job_key("ab-c").is_err() && job_key(":1").is_err() && job_key("a:b").is_err());
    }
}
