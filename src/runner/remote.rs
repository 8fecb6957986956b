//! Small bridges between what schedulers and workers say and what transports carry.

use std::time::Duration;

use super::plan::HostPlan;
use crate::scheduler::{Printed, Question};
use crate::transport::{Answer, Command, Fetched, Operation};

/// The limit of a round trip on a host whose workers name none.
const DEFAULT_LIMIT: Duration = Duration::from_secs(60);

/// Returns the limit of one command on the host: the largest of its workers'.
pub fn limit_of(host: &HostPlan) -> Duration {
    host.workers.iter().map(|worker| worker.command_limit).max().unwrap_or(DEFAULT_LIMIT)
}

/// Returns the operation that asks the question.
pub fn question(question: Question, limit: Duration) -> Operation {
    Operation::Run(Command { script: question.script, input: question.input.into_bytes(), limit })
}

/// Returns what a command printed; none when it was not even run.
pub fn printed(answer: &Answer) -> Option<Printed> {
    let Answer::Ran(ran) = answer else { return None };
    let stdout = String::from_utf8_lossy(&ran.stdout).into_owned();
    Some(Printed { exit_code: ran.exit_code, stdout, stderr: ran.stderr.clone() })
}

/// Returns the paths of the files that were fetched; none when the answer is no answer to a fetch.
pub fn fetched_paths(answer: &Answer) -> Option<Vec<String>> {
    let Answer::Fetched(files) = answer else { return None };
    let path = |file: &'_ Fetched| match file {
        Fetched::File { path, .. } => Some(path.clone()),
        Fetched::Missing { .. } | Fetched::TooLarge { .. } => None,
    };
    Some(files.iter().filter_map(path).collect())
}

/// Returns the order to make these directories, with their parents.
pub fn make_directories(directories: &[String]) -> Question {
    // A line feed in the name of a work directory is refused when the project file is read.
    let script = "while IFS= read -r directory; do mkdir -p -- \"$directory\" || exit 1; done".to_owned();
    Question { script, input: directories.iter().map(|directory| format!("{directory}\n")).collect() }
}
