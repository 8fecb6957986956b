//! `jf job list`

use bson::Bson;
use clap::{ArgGroup, Args, ValueEnum};
use serde_json::{Value, json};

use super::record::{self, one_line, run_time, state_cell};
use crate::cli::error::{CliError, Exit};
use crate::cli::output::json::plain;
use crate::cli::output::{Block, Cell, Table, View};
use crate::cli::query::{JobQuery, PageOptions};
use crate::cli::session::{Now, Session};
use crate::cli::time::Zone;
use crate::model::job::JobRecord;
use crate::model::query::{Detail, JobFilter, Locked, Order, Page, SortKey};
use crate::model::state::State;
use crate::store::Queue;

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which_states").args(["states", "error", "running"])))]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    query: JobQuery,
    /// Jobs in an error state (`REMOTE_ERROR`, `FAILED`)
    #[arg(short, long, help_heading = "Which jobs")]
    error: bool,
    /// Jobs that a runner has in hand (`CHECKED_OUT` to `DOWNLOADED`)
    #[arg(long, alias = "run", help_heading = "Which jobs")]
    running: bool,
    /// Jobs that somebody holds locked
    #[arg(short, long, help_heading = "Which jobs")]
    locked: bool,
    /// Jobs of the N latest flows
    #[arg(long, alias = "lf", value_name = "N", help_heading = "Which jobs")]
    latest_flow: Option<u32>,
    #[command(flatten)]
    page: PageOptions,
    /// Show more columns; twice for even more
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Show these columns, in this order
    #[arg(
        short = 'o',
        long = "output",
        value_name = "COLUMN,…",
        value_delimiter = ',',
        conflicts_with = "verbose"
    )]
    columns: Vec<Column>,
    /// Add a column with this entry of the stored data
    #[arg(long = "stored-data-key", alias = "sdk", value_name = "KEY")]
    stored_data_keys: Vec<String>,
    /// Print only how many jobs there are
    #[arg(long)]
    count: bool,
}

/// A column of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Column {
    DbId,
    Name,
    State,
    JobId,
    Worker,
    LastUpdated,
    QueueId,
    RunTime,
    RetryTime,
    PrevState,
    Locked,
    LockId,
    LockTime,
    Metadata,
}

const DEFAULT: [Column; 6] =
    [Column::DbId, Column::Name, Column::State, Column::JobId, Column::Worker, Column::LastUpdated];

pub(super) async fn run(args: ListArgs, session: &Session) -> Result<Exit, CliError> {
    let opened = session.open().await?;
    let queue = opened.queue();
    let now = session.now();
    let filter = args.filter(queue, &now).await?;
    if args.count {
        session.show(&Count { what: "jobs", count: queue.count_jobs(&filter).await? })?;
        return Ok(Exit::Success);
    }
    let detail = if args.stored_data_keys.is_empty() { Detail::Summary } else { Detail::Full };
    let page = args.page.page();
    let jobs = queue.jobs(&filter, &page, detail).await?;
    let limited = page.limit.filter(|limit| jobs.len() >= *limit as usize);
    let columns = args.columns(session)?;
    let zone = session.zone.clone();
    session.show(&JobList { jobs, columns, stored_data_keys: args.stored_data_keys, limited, now, zone })?;
    Ok(Exit::Success)
}

impl ListArgs {
    async fn filter(&self, queue: &dyn Queue, now: &Now) -> Result<JobFilter, CliError> {
        let mut filter = self.query.filter(queue, now).await?;
        if self.error {
            filter.states = vec![State::RemoteError, State::Failed];
        } else if self.running {
            filter.states = State::ACTIVE.to_vec();
        }
        filter.locked = self.locked.then_some(Locked::Held);
        if let Some(count) = self.latest_flow {
            let page =
                Page { sort: SortKey::CreatedOn, order: Order::Descending, limit: Some(count), skip: 0 };
            let flows = queue.flows(&crate::model::query::FlowFilter::default(), &page).await?;
            filter.flows.extend(flows.into_iter().map(|flow| flow.uuid));
            if filter.flows.is_empty() {
                return Err(CliError::failed("there are no flows yet").hint("`jf submit` adds one"));
            }
        }
        Ok(filter)
    }

    /// Returns the columns of the options; without them those of the settings.
    fn columns(&self, session: &Session) -> Result<Vec<Column>, CliError> {
        if !self.columns.is_empty() {
            return Ok(self.columns.clone());
        }
        let Some(names) = session.settings()?.cli_job_list_columns.filter(|_| self.verbose == 0) else {
            return Ok(Column::of_detail(self.verbose));
        };
        let column = |name: &String| {
            Column::from_str(name, true).map_err(|_| {
                CliError::input(format!("cli_job_list_columns of the settings names no column: {name}"))
                    .hint("`jf job list --help` names the columns")
            })
        };
        names.iter().map(column).collect()
    }
}

/// How many there are.
pub(in crate::cli) struct Count {
    pub(in crate::cli) what: &'static str,
    pub(in crate::cli) count: u64,
}

impl View for Count {
    fn json(&self) -> Value {
        json!({"count": self.count})
    }

    fn blocks(&self) -> Vec<Block> {
        vec![Block::Text(format!("Number of {}: {}", self.what, self.count))]
    }
}

struct JobList {
    jobs: Vec<JobRecord>,
    columns: Vec<Column>,
    stored_data_keys: Vec<String>,
    /// The limit, if the listing came to it.
    limited: Option<u32>,
    now: Now,
    zone: Zone,
}

impl View for JobList {
    fn json(&self) -> Value {
        self.jobs.iter().map(|job| self.job_json(job)).collect()
    }

    fn blocks(&self) -> Vec<Block> {
        if self.jobs.is_empty() {
            return vec![Block::Text("No jobs match.".into())];
        }
        let table = JobTable {
            columns: self.columns.clone(),
            stored_data_keys: &self.stored_data_keys,
            zone: &self.zone,
            now: &self.now,
        };
        let mut blocks = vec![Block::Table(table.draw(None, &self.jobs))];
        if let Some(limit) = self.limited {
            blocks.push(Block::Hint(format!("Only {limit} jobs are shown; `-m 0` shows all.")));
        }
        if self.jobs.iter().any(|job| job.state.is_active() && job.remote.retry_time_limit.is_some()) {
            blocks.push(Block::Hint("Yellow states: the step failed and will be tried again.".into()));
        }
        if self.jobs.iter().any(|job| record::is_error(job.state)) {
            blocks.push(Block::Hint("`jf job info ID` tells more about an error.".into()));
        }
        blocks
    }
}

impl JobList {
    fn job_json(&self, job: &JobRecord) -> Value {
        let mut value = record::summary(job, self.now.at);
        if let (Value::Object(fields), false) = (&mut value, self.stored_data_keys.is_empty()) {
            let chosen = self
                .stored_data_keys
                .iter()
                .map(|key| (key.clone(), stored(job, key).map_or(Value::Null, plain)));
            fields.insert("stored_data".into(), Value::Object(chosen.collect()));
        }
        value
    }
}

/// Draws jobs as rows.
pub(in crate::cli) struct JobTable<'a> {
    columns: Vec<Column>,
    stored_data_keys: &'a [String],
    zone: &'a Zone,
    now: &'a Now,
}

impl<'a> JobTable<'a> {
    /// Returns the table with the columns that so many `-v` ask for.
    pub(in crate::cli) fn of_detail(verbose: u8, zone: &'a Zone, now: &'a Now) -> Self {
        Self { columns: Column::of_detail(verbose), stored_data_keys: &[], zone, now }
    }

    /// Returns the jobs under the columns, one row each.
    pub(in crate::cli) fn draw(&self, title: Option<String>, jobs: &[JobRecord]) -> Table {
        let zone_name = self.zone.name(&self.now.zoned);
        let titles = self.columns.iter().map(|column| column.title(&zone_name));
        Table {
            title,
            columns: titles.chain(self.stored_data_keys.iter().cloned()).collect(),
            rows: jobs.iter().map(|job| self.row(job)).collect(),
        }
    }

    fn row(&self, job: &JobRecord) -> Vec<Cell> {
        let cells = self.columns.iter().map(|column| column.cell(job, self.zone, self.now));
        let text = |key| stored(job, key).map(one_line).unwrap_or_default();
        cells.chain(self.stored_data_keys.iter().map(|key| text(key).into())).collect()
    }
}

fn stored<'a>(job: &'a JobRecord, key: &str) -> Option<&'a Bson> {
    job.stored_data.as_ref().and_then(|data| data.get(key))
}

impl Column {
    fn of_detail(verbose: u8) -> Vec<Self> {
        let mut columns = DEFAULT.to_vec();
        if verbose > 0 {
            columns.extend([Self::QueueId, Self::RunTime, Self::RetryTime, Self::PrevState]);
        }
        match verbose {
            0 => {}
            1 => columns.push(Self::Locked),
            _ => columns.extend([Self::LockId, Self::LockTime, Self::Metadata]),
        }
        columns
    }

    fn title(self, zone: &str) -> String {
        match self {
            Self::DbId => "DB id".into(),
            Self::Name => "Name".into(),
            Self::State => "State".into(),
            Self::JobId => "Job id  (Index)".into(),
            Self::Worker => "Worker".into(),
            Self::LastUpdated => format!("Last updated [{zone}]"),
            Self::QueueId => "Queue id".into(),
            Self::RunTime => "Run time [h:mm]".into(),
            Self::RetryTime => format!("Retry time [{zone}]"),
            Self::PrevState => "Prev state".into(),
            Self::Locked => "Locked".into(),
            Self::LockId => "Lock id".into(),
            Self::LockTime => format!("Lock time [{zone}]"),
            Self::Metadata => "Metadata".into(),
        }
    }

    fn cell(self, job: &JobRecord, zone: &Zone, now: &Now) -> Cell {
        let minute = |at| zone.minute(at);
        match self {
            Self::DbId => job.db_id.as_str().into(),
            Self::Name => job.name().into(),
            Self::State => state_cell(job),
            Self::JobId => format!("{}  ({})", job.key.uuid, job.key.index).into(),
            Self::Worker => job.worker.as_str().into(),
            Self::LastUpdated => minute(job.updated_on).into(),
            Self::QueueId => job.remote.process_id.clone().unwrap_or_default().into(),
            Self::RunTime => run_time(job, now.at).into(),
            Self::RetryTime => job.remote.retry_time_limit.map(minute).unwrap_or_default().into(),
            Self::PrevState => job.previous_state.map(State::name).unwrap_or_default().into(),
            Self::Locked => if job.lock.is_some() { "*" } else { "" }.into(),
            Self::LockId => job.lock.as_ref().map(|lock| lock.id.clone()).unwrap_or_default().into(),
            Self::LockTime => {
                job.lock.as_ref().and_then(|lock| lock.time).map(minute).unwrap_or_default().into()
            }
            Self::Metadata => job.job.get("metadata").map(one_line).unwrap_or_default().into(),
        }
    }
}
