//! `jf job queue-out`

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::place;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Block, View};
use crate::cli::select::JobArg;
use crate::cli::session::Session;
use crate::transport::{Answer, Destination, Fetch, FetchFile, Fetched, Operation, Part};
use crate::worker::layout;

#[derive(Debug, Args)]
pub(in crate::cli) struct QueueOutArgs {
    #[command(flatten)]
    job: JobArg,
}

/// What of each file is shown: the end, since that is where errors are, and no more than a terminal keeps.
const SHOWN_BYTES: u64 = 1024 * 1024;

/// How long the worker may take to send four ends of files.
const LIMIT: Duration = Duration::from_secs(60);

/// The files shown: what the scheduler's script printed, then what a command job printed.
const FILES: [&str; 4] = [layout::QUEUE_OUT, layout::QUEUE_ERR, layout::STDOUT, layout::STDERR];

pub(super) async fn run(args: QueueOutArgs, session: &Session) -> Result<Exit, CliError> {
    let (_, directory) = place::find(session, &args.job).await?;
    let Some(directory) = directory else {
        session.remark("The remote folder has not been created yet")?;
        session.show(&Printed::default())?;
        return Ok(Exit::Success);
    };
    let part = Part::Tail(SHOWN_BYTES);
    let file = |path: &str| FetchFile { path: path.to_owned(), limit_bytes: SHOWN_BYTES, part };
    let fetch = Fetch {
        directory: directory.path.clone(),
        files: FILES.into_iter().map(file).collect(),
        into: Destination::Memory,
    };
    match directory.perform(Operation::Fetch(fetch), LIMIT).await? {
        Answer::Fetched(files) => session.show(&Printed { directory: directory.path, files })?,
        other => return Err(CliError::failed(format!("unexpected answer: {other:?}"))),
    }
    Ok(Exit::Success)
}

#[derive(Default)]
struct Printed {
    directory: String,
    files: Vec<Fetched>,
}

impl View for Printed {
    fn json(&self) -> Value {
        let mut texts: Map<String, Value> = FILES.iter().map(|name| (key(name), Value::Null)).collect();
        for file in &self.files {
            if let Fetched::File { path, content, .. } = file {
                texts.insert(key(path), json!(String::from_utf8_lossy(content)));
            }
        }
        Value::Object(texts)
    }

    fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        for file in &self.files {
            let Fetched::File { path, content, size_bytes, .. } = file else { continue };
            let shown = content.len() as u64;
            let cut = if shown < *size_bytes {
                format!(" (the last {shown} of {size_bytes} bytes)")
            } else {
                String::new()
            };
            blocks.push(Block::Hint(format!("{}/{path}{cut}:", self.directory)));
            blocks.push(Block::Text(String::from_utf8_lossy(content).trim_end().to_owned()));
        }
        if blocks.is_empty() && !self.directory.is_empty() {
            blocks.push(Block::Text(format!("Nothing was written in {} yet.", self.directory)));
        }
        blocks
    }
}

/// Returns the file's name as a JSON field: `queue_out`.
fn key(name: &str) -> String {
    name.replace('.', "_")
}
