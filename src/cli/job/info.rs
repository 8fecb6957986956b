//! `jf job info`

use clap::Args;
use serde_json::{Value, json};

use super::record::{self, one_line, state_cell, tone};
use crate::cli::error::{CliError, Exit};
use crate::cli::output::json::{document, plain};
use crate::cli::output::{Block, Cell, Table, Tone, View};
use crate::cli::select::{self, JobArg};
use crate::cli::session::{Now, Session};
use crate::cli::time::Zone;
use crate::model::flow::may_start;
use crate::model::job::JobRecord;
use crate::model::query::{Detail, JobFilter, Page};
use crate::model::state::State;
use crate::store::Queue;

#[derive(Debug, Args)]
pub(in crate::cli) struct InfoArgs {
    /// Short id (DB id), uuid, or the beginning of a uuid
    #[arg(required_unless_present = "pid")]
    id: Option<String>,
    /// Index of the job; without it the highest one
    index: Option<i32>,
    /// The job with this id in the scheduler's queue
    #[arg(long, value_name = "PROCESS_ID", conflicts_with = "id")]
    pid: Option<String>,
    /// Show fields without a value too
    #[arg(short = 'n', long)]
    show_none: bool,
    /// Show the scheduler's output, resources and execution settings; twice: the job's function and arguments
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

pub(super) async fn run(args: InfoArgs, session: &Session) -> Result<Exit, CliError> {
    let opened = session.open().await?;
    let queue = opened.queue();
    let job = find(&args, queue).await?;
    let parents = parents(&job, queue).await?;
    let info = JobInfo { job, parents, args, now: session.now(), zone: session.zone.clone() };
    session.show(&info)?;
    Ok(Exit::Success)
}

async fn find(args: &InfoArgs, queue: &dyn Queue) -> Result<JobRecord, CliError> {
    if let Some(id) = &args.id {
        let arg = JobArg { id: id.clone(), index: args.index };
        return select::job(queue, &arg, Detail::Full).await;
    }
    let filter = JobFilter { process_id: args.pid.clone(), ..JobFilter::default() };
    let newest = queue.jobs(&filter, &Page { limit: Some(1), ..Page::default() }, Detail::Full).await?.pop();
    newest.ok_or_else(|| {
        let id = args.pid.as_deref().unwrap_or_default();
        CliError::failed(format!("no job has the id {id} in a scheduler's queue"))
            .hint("`jf job list -v` shows the queue ids")
    })
}

/// Returns the parents, of each the one with the highest index.
async fn parents(job: &JobRecord, queue: &dyn Queue) -> Result<Vec<JobRecord>, CliError> {
    if job.parents.is_empty() {
        return Ok(Vec::new());
    }
    let filter = JobFilter { uuids: job.parents.clone(), ..JobFilter::default() };
    let all = queue.jobs(&filter, &Page { limit: None, ..Page::default() }, Detail::Summary).await?;
    let newest =
        |uuid: &String| all.iter().filter(|job| job.key.uuid == *uuid).max_by_key(|job| job.key.index);
    Ok(job.parents.iter().filter_map(newest).cloned().collect())
}

struct JobInfo {
    job: JobRecord,
    parents: Vec<JobRecord>,
    args: InfoArgs,
    now: Now,
    zone: Zone,
}

impl View for JobInfo {
    fn json(&self) -> Value {
        let mut value = record::full(&self.job, self.now.at);
        if let Value::Object(fields) = &mut value {
            fields
                .insert("waits_for".into(), self.waits_for().map(|parent| json!(parent.key.uuid)).collect());
            fields.insert("job".into(), document(&self.job.job));
        }
        value
    }

    fn blocks(&self) -> Vec<Block> {
        let title = format!("Job {} ({})", self.job.db_id, self.job.name());
        let mut blocks = vec![Block::Fields { title, fields: self.fields() }];
        if !self.job.ferry.history.is_empty() {
            blocks.push(Block::Table(self.history()));
        }
        blocks.extend(self.next_commands().into_iter().map(Block::Hint));
        blocks
    }
}

impl JobInfo {
    fn waits_for(&self) -> impl Iterator<Item = &JobRecord> {
        let waits = self.job.state == State::Waiting;
        self.parents.iter().filter(move |parent| {
            let newest = [(parent.key.uuid.clone(), parent.state)].into();
            waits && !may_start(std::slice::from_ref(&parent.key.uuid), self.job.on_missing(), &newest)
        })
    }

    fn fields(&self) -> Vec<(String, Cell)> {
        let mut fields = self.identity();
        fields.extend(self.trouble());
        fields.extend(self.circumstances());
        if self.args.verbose > 0 {
            fields.extend(self.details());
        }
        fields.retain(|(_, cell)| self.args.show_none || !cell.text.is_empty());
        fields
    }

    fn identity(&self) -> Vec<(String, Cell)> {
        let job = &self.job;
        vec![
            field("db_id", job.db_id.as_str()),
            field("uuid", job.key.uuid.as_str()),
            field("index", job.key.index.to_string()),
            field("name", job.name()),
            ("state".into(), state_cell(job)),
            field("waits for", self.waits_for().map(describe).collect::<Vec<_>>().join("\n")),
        ]
    }

    /// What went wrong, if anything did: how the attempt ended, what the job and the runner's step said.
    fn trouble(&self) -> Vec<(String, Cell)> {
        let job = &self.job;
        let outcome = job.ferry.outcome.clone().unwrap_or_default();
        let bad = |key: &str, text: Option<String>| {
            (key.to_owned(), Cell::new(text.unwrap_or_default(), Tone::Bad))
        };
        let exit_tone = if outcome.exit_code == Some(0) { Tone::Plain } else { Tone::Bad };
        let exit_code = outcome.exit_code.map(|code| code.to_string()).unwrap_or_default();
        vec![
            ("exit code".into(), Cell::new(exit_code, exit_tone)),
            bad("signal", outcome.signal.map(|number| number.to_string())),
            bad("error", job.error.clone()),
            bad("remote error", job.remote.error.clone()),
            field("failed in", job.previous_state.map(State::name).unwrap_or_default()),
            field("step attempts", positive(job.remote.step_attempts)),
            field("next try", self.second(job.remote.retry_time_limit)),
            field("stderr (end)", outcome.stderr_tail.unwrap_or_default()),
            field(
                "scheduler",
                outcome.scheduler_state.or_else(|| job.remote.queue_state.clone()).unwrap_or_default(),
            ),
            field("host", outcome.host.unwrap_or_default()),
        ]
    }

    fn circumstances(&self) -> Vec<(String, Cell)> {
        let job = &self.job;
        let lock = job.lock.as_ref();
        vec![
            field("worker", job.worker.as_str()),
            field("queue id", job.remote.process_id.clone().unwrap_or_default()),
            field("run_dir", job.run_dir.clone().unwrap_or_default()),
            field("attempt", job.ferry.attempt.to_string()),
            field("retries used", positive(job.ferry.retries_used)),
            field("priority", job.priority.to_string()),
            field("created_on", self.second(Some(job.created_on))),
            field("updated_on", self.second(Some(job.updated_on))),
            field("start_time", self.second(job.start_time)),
            field("end_time", self.second(job.end_time)),
            field("run time", record::run_time(job, self.now.at)),
            field("parents", self.parents.iter().map(describe).collect::<Vec<_>>().join("\n")),
            field("flow", job.flow_uuid().unwrap_or_default()),
            field(
                "metadata",
                job.job.get("metadata").map(one_line).filter(|text| text != "{}").unwrap_or_default(),
            ),
            field("lock_id", lock.map(|lock| lock.id.clone()).unwrap_or_default()),
            field("lock_time", self.second(lock.and_then(|lock| lock.time))),
            field("stored_data", job.stored_data.as_ref().map(indented).unwrap_or_default()),
        ]
    }

    fn details(&self) -> Vec<(String, Cell)> {
        let job = &self.job;
        let mut fields = vec![
            field("queue_out", job.remote.queue_out.clone().unwrap_or_default()),
            field("queue_err", job.remote.queue_err.clone().unwrap_or_default()),
            field("resources", job.resources.as_ref().map(indented).unwrap_or_default()),
            field(
                "exec_config",
                job.exec_config.as_ref().map(|value| format!("{:#}", plain(value))).unwrap_or_default(),
            ),
        ];
        if self.args.verbose > 1 {
            fields.push(field("job", indented(&job.job)));
        }
        fields
    }

    fn history(&self) -> Table {
        let columns = [
            format!("Time [{}]", self.zone.name(&self.now.zoned)),
            "From".into(),
            "To".into(),
            "Attempt".into(),
            "By".into(),
            "Why".into(),
        ];
        let rows = self.job.ferry.history.iter().map(|entry| {
            vec![
                self.zone.second(entry.at).into(),
                entry.from.name().into(),
                Cell::new(entry.to.name(), tone(entry.to)),
                entry.attempt.to_string().into(),
                entry.by.as_str().into(),
                entry.reason.clone().unwrap_or_default().into(),
            ]
        });
        Table { title: Some("History".into()), columns: columns.to_vec(), rows: rows.collect() }
    }

    fn second(&self, at: Option<crate::model::Timestamp>) -> String {
        at.map(|at| self.zone.second(at)).unwrap_or_default()
    }

    /// Returns what the reader may type next, by the job's state.
    fn next_commands(&self) -> Vec<String> {
        let id = &self.job.db_id;
        let look = format!(
            "`jf job queue-out {id}` prints what the job wrote, `jf job files ls {id}` lists its files."
        );
        match self.job.state {
            State::Completed => vec![format!("`jf job output {id}` prints the output.")],
            State::Failed => vec![look],
            State::RemoteError => vec![
                format!("`jf project check -w {}` tries the way to the worker.", self.job.worker),
                format!("`jf job queue-out {id}` prints what the job wrote, if it ran."),
            ],
            State::Ready | State::Terminated | State::Downloaded | State::CheckedOut | State::Uploaded => {
                vec!["`jf runner status` says whether a runner is at work.".into()]
            }
            State::Running | State::BatchRunning => vec![look],
            State::Waiting => self
                .waits_for()
                .next()
                .map(|parent| format!("`jf job info {}` tells about what it waits for.", parent.db_id))
                .into_iter()
                .collect(),
            State::Submitted
            | State::BatchSubmitted
            | State::Paused
            | State::Stopped
            | State::UserStopped => Vec::new(),
        }
    }
}

fn field(key: &str, text: impl Into<Cell>) -> (String, Cell) {
    (key.to_owned(), text.into())
}

fn positive(number: i32) -> String {
    if number > 0 { number.to_string() } else { String::new() }
}

fn describe(job: &JobRecord) -> String {
    format!("{}  {}  {}", job.db_id, job.name(), job.state)
}

fn indented(stored: &bson::Document) -> String {
    format!("{:#}", document(stored))
}
