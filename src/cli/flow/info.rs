//! `jf flow info`

use clap::Args;
use serde_json::Value;

use super::record;
use crate::cli::error::{CliError, Exit};
use crate::cli::job::{list::JobTable, record as job_record};
use crate::cli::output::{Block, View};
use crate::cli::query::SortField;
use crate::cli::select;
use crate::cli::session::{Now, Session};
use crate::cli::time::Zone;
use crate::model::job::{FlowRecord, JobRecord};
use crate::model::query::{Detail, JobFilter, Order, Page};

#[derive(Debug, Args)]
pub(in crate::cli) struct InfoArgs {
    /// Uuid of the flow or its beginning, or the short id of one of its jobs
    id: String,
    /// ID is the uuid of a job, or its beginning
    #[arg(short, long)]
    job: bool,
    /// Order of the jobs
    #[arg(long, value_name = "FIELD", default_value = "db_id")]
    jobs_sort: SortField,
    /// Newest (highest) job first
    #[arg(long, alias = "jrevs")]
    jobs_reverse_sort: bool,
    /// Show more columns; twice for even more
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

pub(super) async fn run(args: InfoArgs, session: &Session) -> Result<Exit, CliError> {
    let opened = session.open().await?;
    let queue = opened.queue();
    let flow = if args.job {
        select::flow_of_job(queue, &args.id).await?
    } else {
        select::flow(queue, &args.id).await?
    };
    let order = if args.jobs_reverse_sort { Order::Descending } else { Order::Ascending };
    let page = Page { sort: args.jobs_sort.key(), order, limit: None, skip: 0 };
    let filter = JobFilter { flows: vec![flow.uuid.clone()], ..JobFilter::default() };
    let jobs = queue.jobs(&filter, &page, Detail::Summary).await?;
    let info = FlowInfo { flow, jobs, verbose: args.verbose, now: session.now(), zone: session.zone.clone() };
    session.show(&info)?;
    Ok(Exit::Success)
}

struct FlowInfo {
    flow: FlowRecord,
    jobs: Vec<JobRecord>,
    verbose: u8,
    now: Now,
    zone: Zone,
}

impl View for FlowInfo {
    fn json(&self) -> Value {
        let mut value = record::summary(&self.flow);
        if let Value::Object(fields) = &mut value {
            let jobs = self.jobs.iter().map(|job| job_record::summary(job, self.now.at)).collect();
            fields.insert("jobs".into(), jobs);
        }
        value
    }

    fn blocks(&self) -> Vec<Block> {
        let title = format!("Flow: {} - {} - {}", self.flow.name, self.flow.uuid, self.flow.state);
        let table = JobTable::of_detail(self.verbose, &self.zone, &self.now).draw(Some(title), &self.jobs);
        let failed = self.jobs.iter().find(|job| job_record::is_error(job.state));
        let hint =
            failed.map(|job| Block::Hint(format!("`jf job info {}` tells more about the error.", job.db_id)));
        [Block::Table(table)].into_iter().chain(hint).collect()
    }
}
