//! `jf job output`

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use crate::cli::error::{CliError, Exit};
use crate::cli::output::json::plain;
use crate::cli::output::{Block, View};
use crate::cli::select::{self, JobArg};
use crate::cli::session::Session;
use crate::model::query::Detail;
use crate::model::state::State;

#[derive(Debug, Args)]
pub(in crate::cli) struct OutputArgs {
    #[command(flatten)]
    job: JobArg,
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
    let Some(document) = opened.stores.job_store.outputs.output(&job.key).await? else {
        return Err(no_output(&job.db_id, job.state));
    };
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
