//! `jf job output`

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use crate::cli::error::{CliError, Exit};
use crate::cli::output::json::plain;
use crate::cli::output::{Block, View};
use crate::cli::select::{self, JobArg};
use crate::cli::session::{OpenProject, Session};
use crate::model::job::JobRecord;
use crate::model::query::{Detail, FlowFilter, Page};
use crate::model::state::State;
use crate::store::JobStore;
use crate::store::blobs::{BlobError, Incomplete, load_blobs};

#[derive(Debug, Args)]
pub(in crate::cli) struct OutputArgs {
    #[command(flatten)]
    job: JobArg,
    /// Put the parts that are kept in additional stores in their place
    #[arg(short, long)]
    load: bool,
    /// Write the output as JSON to this file instead
    #[arg(short = 'p', long, value_name = "FILE")]
    path: Option<PathBuf>,
    /// Act on this project
    // Without the short form: here `-p` is the path, as in jobflow-remote.
    #[arg(id = "project", long = "project", value_name = "NAME")]
    _project: Option<String>,
}

pub(super) async fn run(args: OutputArgs, session: &Session) -> Result<Exit, CliError> {
    let opened = session.open().await?;
    let job = select::job(opened.queue(), &args.job, Detail::Summary).await?;
    let store = job_store_of(&opened, &job).await?;
    let Some(mut document) = store.outputs.output(&job.key).await? else {
        return Err(no_output(&job.db_id, job.state));
    };
    if args.load {
        let mut incomplete = load_blobs(store, std::slice::from_mut(&mut document)).await?;
        if let Some(Incomplete { why, .. }) = incomplete.pop() {
            return Err(cannot_load(&job.db_id, &why));
        }
    }
    let output = OutputView(plain(document.output()));
    let Some(path) = args.path else {
        session.show(&output)?;
        return Ok(Exit::Success);
    };
    std::fs::write(&path, format!("{:#}\n", output.0))
        .map_err(|source| CliError::failed(format!("cannot write {}: {source}", path.display())))?;
    session.remark(&format!("written to {}", path.display()))?;
    Ok(Exit::Success)
}

/// Returns the job store of the job's flow.
async fn job_store_of<'a>(opened: &'a OpenProject, job: &JobRecord) -> Result<&'a JobStore, CliError> {
    if opened.stores.optional.is_empty() {
        // Saves a question where there is only one.
        return Ok(&opened.stores.job_store);
    }
    let uuids = job.flow_uuid().map(str::to_owned).into_iter().collect();
    let filter = FlowFilter { uuids, ..FlowFilter::default() };
    let flow = opened.queue().flows(&filter, &Page::default()).await?.pop();
    let name = flow.and_then(|flow| flow.jobstore);
    opened.stores.job_store_of(name.as_deref()).ok_or_else(|| {
        let name = name.unwrap_or_default();
        let error = CliError::failed(format!(
            "the output is in the job store `{name}`, which the project does not have"
        ));
        error.hint("add it to optional_jobstores in the project file")
    })
}

fn cannot_load(id: &str, why: &BlobError) -> CliError {
    let error = CliError::failed(format!("the output of job {id} cannot be put together: {why}"));
    match why {
        BlobError::NoSuchStore { .. } => error.hint(
            "`jf project check` tells of the project's additional stores; without --load the rest of the output is shown",
        ),
        BlobError::NoSuchBlob { .. } | BlobError::Unusable { .. } => {
            error.hint("without --load the rest of the output is shown")
        }
    }
}

fn no_output(id: &str, state: State) -> CliError {
    let error = CliError::failed(format!("job {id} has no output; it is {state}"));
    error.hint(format!("`jf job info {id}` says where it is"))
}

struct OutputView(Value);

impl View for OutputView {
    fn json(&self) -> Value {
        self.0.clone()
    }

    fn blocks(&self) -> Vec<Block> {
        match &self.0 {
            Value::String(text) => vec![Block::Text(text.clone())],
            other => vec![Block::Text(format!("{other:#}"))],
        }
    }
}
