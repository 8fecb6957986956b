//! This machine: files by system calls, scripts by `sh` in a process group of their own.
//!
//! Nothing is forced to disk (`fsync`): what a system call has taken survives the end of this program, however it ends,
//! because the kernel holds it; and a machine that loses power loses its running jobs too, which the runner then finds
//! without an end marker. Forcing 500 small run directories to disk would take seconds.

mod files;
mod process;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, timeout_at};

use super::{Answer, Operation, OperationError, Transport, TransportError, paths};

/// The transport to this machine.
#[derive(Debug, Default)]
pub struct LocalTransport {
    round_trips: AtomicU64,
}

impl LocalTransport {
    /// Returns a transport; nothing is opened or started.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Tells file operations on their own thread that nobody waits for them any more: set when dropped.
struct Abandon(Arc<AtomicBool>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl Transport for LocalTransport {
    async fn perform(&self, batch: Vec<Operation>, limit: Duration) -> Result<Vec<Answer>, TransportError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        let abandoned = Arc::new(AtomicBool::new(false));
        let _abandon = Abandon(Arc::clone(&abandoned));
        let work = perform_all(batch, &abandoned);
        match timeout_at(Instant::now() + limit, work).await {
            Ok(answers) => answers,
            Err(_) => Err(TransportError::TimedOut { host: self.host().to_owned(), limit }),
        }
    }

    async fn close(&self) {}

    fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }

    fn host(&self) -> &'static str {
        "localhost"
    }
}

/// Performs a batch: each row of operations on files with one hop to a thread that may block.
async fn perform_all(
    batch: Vec<Operation>,
    abandoned: &Arc<AtomicBool>,
) -> Result<Vec<Answer>, TransportError> {
    let mut answers = Vec::with_capacity(batch.len());
    let mut row = Vec::new();
    for operation in batch {
        match operation {
            Operation::Run(command) => {
                answers.append(&mut perform_files(std::mem::take(&mut row), abandoned).await?);
                let answer = match paths::check_script(&command.script) {
                    Ok(()) => process::run(&command).await,
                    Err(refused) => Err(refused),
                };
                answers.push(answer.map_or_else(Answer::Failed, Answer::Ran));
            }
            other => row.push(other),
        }
    }
    answers.append(&mut perform_files(row, abandoned).await?);
    Ok(answers)
}

async fn perform_files(
    row: Vec<Operation>,
    abandoned: &Arc<AtomicBool>,
) -> Result<Vec<Answer>, TransportError> {
    if row.is_empty() {
        return Ok(Vec::new());
    }
    let abandoned = Arc::clone(abandoned);
    let work = move || {
        row.iter()
            .map(|operation| {
                if abandoned.load(Ordering::Relaxed) {
                    return Answer::Failed(OperationError::refused("the time for this batch was over"));
                }
                files::perform(operation, &abandoned).unwrap_or_else(Answer::Failed)
            })
            .collect()
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| TransportError::Lost { host: "localhost".to_owned(), message: error.to_string() })
}
