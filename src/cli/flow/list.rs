//! `jf flow list`

use std::collections::HashMap;

use clap::Args;
use serde_json::{Value, json};

use super::record::{self, first_db_id, state_cell};
use crate::cli::error::{CliError, Exit};
use crate::cli::job::list::Count;
use crate::cli::output::{Block, Cell, Table, View};
use crate::cli::query::{FlowQuery, PageOptions};
use crate::cli::session::{Now, Session};
use crate::cli::time::Zone;
use crate::model::job::{FlowRecord, JobRecord};
use crate::model::query::{Detail, JobFilter, Order, Page, SortKey};
use crate::model::state::State;
use crate::store::Queue;

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    query: FlowQuery,
    #[command(flatten)]
    page: PageOptions,
    /// Show workers, states of the jobs and metadata too
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Print only how many flows there are
    #[arg(long)]
    count: bool,
}

pub(super) async fn run(args: ListArgs, session: &Session) -> Result<Exit, CliError> {
    let opened = session.open().await?;
    let queue = opened.queue();
    let now = session.now();
    let filter = args.query.filter(&now)?;
    if args.count {
        session.show(&Count { what: "flows", count: queue.count_flows(&filter).await? })?;
        return Ok(Exit::Success);
    }
    let page = args.page.page();
    let flows = queue.flows(&filter, &page).await?;
    let limited = page.limit.filter(|limit| flows.len() >= *limit as usize);
    let members = if args.verbose > 0 { Some(members(queue, &flows).await?) } else { None };
    session.show(&FlowList { flows, members, limited, now, zone: session.zone.clone() })?;
    Ok(Exit::Success)
}

/// Returns the jobs of the flows by the flow's uuid, in one question.
async fn members(
    queue: &dyn Queue,
    flows: &[FlowRecord],
) -> Result<HashMap<String, Vec<JobRecord>>, CliError> {
    let mut members: HashMap<String, Vec<JobRecord>> = HashMap::new();
    if flows.is_empty() {
        return Ok(members);
    }
    let filter =
        JobFilter { flows: flows.iter().map(|flow| flow.uuid.clone()).collect(), ..JobFilter::default() };
    let page = Page { sort: SortKey::DbId, order: Order::Ascending, limit: None, skip: 0 };
    for job in queue.jobs(&filter, &page, Detail::Summary).await? {
        if let Some(flow) = job.flow_uuid() {
            members.entry(flow.to_owned()).or_default().push(job);
        }
    }
    Ok(members)
}

struct FlowList {
    flows: Vec<FlowRecord>,
    /// Jobs by flow, where they were asked for.
    members: Option<HashMap<String, Vec<JobRecord>>>,
    limited: Option<u32>,
    now: Now,
    zone: Zone,
}

impl View for FlowList {
    fn json(&self) -> Value {
        self.flows.iter().map(|flow| self.flow_json(flow)).collect()
    }

    fn blocks(&self) -> Vec<Block> {
        if self.flows.is_empty() {
            return vec![Block::Text("No flows match.".into())];
        }
        let updated = format!("Last updated [{}]", self.zone.name(&self.now.zoned));
        let mut columns: Vec<String> =
            ["DB id", "Name", "State", "Flow id", "Num Jobs", &updated].map(str::to_owned).into();
        if self.members.is_some() {
            columns.extend(["Workers", "Job states", "Flow metadata"].map(str::to_owned));
        }
        let rows = self.flows.iter().map(|flow| self.row(flow)).collect();
        let mut blocks = vec![Block::Table(Table { title: None, columns, rows })];
        if let Some(limit) = self.limited {
            blocks.push(Block::Hint(format!("Only {limit} flows are shown; `-m 0` shows all.")));
        }
        blocks
    }
}

impl FlowList {
    fn row(&self, flow: &FlowRecord) -> Vec<Cell> {
        let mut cells = vec![
            first_db_id(flow).into(),
            flow.name.as_str().into(),
            state_cell(flow.state),
            flow.uuid.as_str().into(),
            flow.ids.len().to_string().into(),
            self.zone.minute(flow.updated_on).into(),
        ];
        if let Some(jobs) = self.jobs(flow) {
            let codes: Vec<&str> = jobs.iter().map(|job| short_code(job.state)).collect();
            cells.extend([
                workers(jobs).join(", ").into(),
                codes.join("-").into(),
                record::summary(flow).get("metadata").map(Value::to_string).unwrap_or_default().into(),
            ]);
        }
        cells
    }

    fn jobs(&self, flow: &FlowRecord) -> Option<&[JobRecord]> {
        let members = self.members.as_ref()?;
        Some(members.get(&flow.uuid).map(Vec::as_slice).unwrap_or_default())
    }

    fn flow_json(&self, flow: &FlowRecord) -> Value {
        let mut value = record::summary(flow);
        if let (Value::Object(fields), Some(jobs)) = (&mut value, self.jobs(flow)) {
            fields.insert("workers".into(), json!(workers(jobs)));
            fields.insert("job_states".into(), jobs.iter().map(|job| job.state.name()).collect());
        }
        value
    }
}

fn workers(jobs: &[JobRecord]) -> Vec<&str> {
    let mut workers: Vec<&str> = Vec::new();
    for job in jobs {
        if !workers.contains(&job.worker.as_str()) {
            workers.push(&job.worker);
        }
    }
    workers
}

/// Returns the state in one to four letters, as jobflow-remote 1.0 has them (`jobs/state.py`).
fn short_code(state: State) -> &'static str {
    match state {
        State::Waiting => "W",
        State::Ready => "R",
        State::CheckedOut => "CE",
        State::Uploaded => "U",
        State::Submitted => "SU",
        State::Running => "RU",
        State::Terminated => "RF",
        State::Downloaded => "D",
        State::RemoteError => "RERR",
        State::Completed => "C",
        State::Failed => "F",
        State::Paused => "P",
        State::Stopped => "ST",
        State::UserStopped => "CA",
        State::BatchSubmitted => "BS",
        State::BatchRunning => "BR",
    }
}
