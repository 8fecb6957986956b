//! Removing run directories on workers: only those that hold the input of a job, one round trip per worker.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::CliError;
use super::session::OpenProject;
use crate::model::job::JobRecord;
use crate::model::state::State;
use crate::runner::connect;
use crate::transport::{Answer, Operation};
use crate::worker::layout;

/// States in which nobody needs the directory any more (jobflow-remote's `cleanable_states`).
pub(super) const CLEANABLE: &[State] = &[State::Completed, State::Failed, State::RemoteError];

/// How long a worker may take to remove directories: many small files on a shared file system take their time.
const LIMIT: Duration = Duration::from_secs(1800);

/// What became of the directories.
#[derive(Debug, Default)]
pub(super) struct Removed {
    /// Short id of the job, and its directory.
    pub(super) done: Vec<(String, String)>,
    /// The same, and why it is still there.
    pub(super) kept: Vec<(String, String, String)>,
}

/// Removes the run directories of these jobs; those without one are left out.
///
/// A directory that does not exist counts as removed; one without `jfremote_in.json` is not ours and stays.
pub(super) async fn remove(project: &OpenProject, jobs: &[&JobRecord]) -> Removed {
    let mut by_worker: BTreeMap<&str, Vec<(&JobRecord, &str)>> = BTreeMap::new();
    for job in jobs {
        if let Some(directory) = &job.run_dir {
            by_worker.entry(&job.worker).or_default().push((job, directory));
        }
    }
    let mut removed = Removed::default();
    for (worker, group) in by_worker {
        match on_worker(project, worker, &group).await {
            Ok(answers) => {
                for ((job, directory), answer) in group.iter().zip(answers) {
                    removed.note(&job.db_id, directory, answer);
                }
            }
            Err(error) => {
                let (why, _) = error.story();
                let kept = |(job, directory): &(&JobRecord, &str)| {
                    (job.db_id.clone(), (*directory).to_owned(), why.clone())
                };
                removed.kept.extend(group.iter().map(kept));
            }
        }
    }
    removed
}

async fn on_worker(
    project: &OpenProject,
    worker: &str,
    group: &[(&JobRecord, &str)],
) -> Result<Vec<Answer>, CliError> {
    project.project.chosen_worker(worker)?;
    let transport = connect::transport_of(&project.project, worker)?;
    let tree = |(_, directory): &(&JobRecord, &str)| Operation::RemoveTree {
        directory: (*directory).to_owned(),
        marker: layout::INPUT.to_owned(),
    };
    let answers = transport.perform(group.iter().map(tree).collect(), LIMIT).await;
    transport.close().await;
    Ok(answers?)
}

impl Removed {
    fn note(&mut self, db_id: &str, directory: &str, answer: Answer) {
        let (id, directory) = (db_id.to_owned(), directory.to_owned());
        match answer {
            Answer::Done => self.done.push((id, directory)),
            Answer::Failed(error) => self.kept.push((id, directory, error.message)),
            other => self.kept.push((id, directory, format!("unexpected answer: {other:?}"))),
        }
    }
}
