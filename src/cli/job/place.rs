//! The run directory of a job, reached the way the runner reaches it.

use std::sync::Arc;
use std::time::Duration;

use crate::cli::error::{CliError, Exit};
use crate::cli::select::{self, JobArg};
use crate::cli::session::Session;
use crate::model::job::JobRecord;
use crate::model::query::Detail;
use crate::runner::connect;
use crate::transport::{Answer, Operation, Transport};

/// A job's run directory on its worker.
pub(super) struct RunDirectory {
    pub(super) path: String,
    transport: Arc<dyn Transport>,
}

/// A job, and its run directory once there is one.
pub(super) async fn find(
    session: &Session,
    arg: &JobArg,
) -> Result<(JobRecord, Option<RunDirectory>), CliError> {
    let opened = session.open().await?;
    let job = select::job(opened.queue(), arg, Detail::Summary).await?;
    let Some(path) = job.run_dir.clone() else { return Ok((job, None)) };
    opened.project.chosen_worker(&job.worker)?;
    let transport = connect::transport_of(&opened.project, &job.worker)?;
    Ok((job, Some(RunDirectory { path, transport })))
}

/// Returns the job's run directory; an error says that there is none yet.
pub(super) async fn need(session: &Session, arg: &JobArg) -> Result<RunDirectory, CliError> {
    let (job, directory) = find(session, arg).await?;
    directory.ok_or_else(|| {
        CliError::failed(format!("job {} has no run directory yet; it is {}", job.db_id, job.state))
            .hint(format!("`jf job info {}` says where it is", job.db_id))
    })
}

impl RunDirectory {
    /// Performs one operation on the worker; a refusal of the host is an error.
    pub(super) async fn perform(&self, operation: Operation, limit: Duration) -> Result<Answer, CliError> {
        let answers = self.transport.perform(vec![operation], limit).await;
        self.transport.close().await;
        match answers?.pop() {
            Some(Answer::Failed(error)) => Err(CliError::failed(error)),
            Some(answer) => Ok(answer),
            None => {
                Err(CliError::new(Exit::Unreachable, format!("{} gave no answer", self.transport.host())))
            }
        }
    }
}
