//! Names of files and directories on a worker.

use crate::model::ids::{JobKey, Token};

/// The job for whoever executes it, and the mark of a directory that JobFerry may replace or remove
/// (jobflow-remote 1.0).
pub const INPUT: &str = "jfremote_in.json";
/// The script for the scheduler.
pub const SUBMIT: &str = "submit.sh";
/// What `submit.sh` itself printed; a Python job's output too.
pub const QUEUE_OUT: &str = "queue.out";
pub const QUEUE_ERR: &str = "queue.err";
/// What a command job printed.
pub const STDOUT: &str = "stdout";
pub const STDERR: &str = "stderr";
/// Written by a Python job (jobflow-remote 1.0): its response or its error.
pub const PYTHON_RESULT: &str = "jfremote_out.json";
/// Begins the name of the file in which a Python job writes its output document; see [`super::remote_store`].
pub const PYTHON_OUTPUT: &str = "remote_job_data";
/// Begins the name of the file of an additional store; the store's name follows.
pub const ADDITIONAL_OUTPUT: &str = "additional_store_";
/// JobFerry's own folder, in a run directory and in a work directory.
pub const PRIVATE: &str = ".jobferry";
/// What the job does.
pub const BODY: &str = ".jobferry/body";
/// The shell text of a command job that has one.
pub const SHELL_TEXT: &str = ".jobferry/shell";
/// Runs a Python job, where the worker names no command of its own.
pub const EXECUTE: &str = ".jobferry/execute.py";
/// Taken once, by the one copy of `submit.sh` that runs the body.
pub const START: &str = ".jobferry/start";
/// Written last: how the body ended.
pub const END: &str = ".jobferry/end";
/// Taken before the scheduler is asked to take the job.
pub const SUBMITTING: &str = ".jobferry/submitting";
/// What the scheduler answered when it took the job.
pub const SUBMITTED: &str = ".jobferry/submitted";
/// Largest end marker or start record that is read; ours have some 400 bytes.
pub const MARKER_LIMIT_BYTES: u64 = 4096;

/// A job's uuid that would lead out of the work directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the job {0:?} has no usable uuid: it cannot be the name of a directory")]
pub struct UnsafeKey(pub String);

/// Returns the absolute run directory of `key` below `work_dir`, or an error for a uuid that is no plain name.
pub fn run_directory(work_dir: &str, key: &JobKey) -> Result<String, UnsafeKey> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if key.uuid.is_empty() || !key.uuid.chars().all(plain) {
        return Err(UnsafeKey(key.uuid.clone()));
    }
    Ok(format!("{}/{}", work_dir.trim_end_matches('/'), key.relative_directory()))
}

/// Returns the directory in which each ended attempt of a worker leaves an empty file named by its token.
pub fn spool(work_dir: &str) -> String {
    format!("{}/{PRIVATE}/ended", work_dir.trim_end_matches('/'))
}

/// Returns the file that the end of this attempt leaves in the spool.
pub fn spool_entry(work_dir: &str, token: &Token) -> String {
    format!("{}/{token}", spool(work_dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_directories_stay_below_the_work_directory() {
        let key = |uuid: &str| JobKey::new(uuid, 1);
        assert_eq!(run_directory("/w/", &key("358c9ba7")), Ok("/w/35/8c/9b/358c9ba7_1".to_owned()));
        for uuid in ["", "..", "../../etc", "a/b", "a b", "a\nb", "ä"] {
            assert_eq!(run_directory("/w", &key(uuid)), Err(UnsafeKey(uuid.to_owned())), "{uuid}");
        }
    }

    #[test]
    fn the_spool_is_named_by_tokens() {
        let token = Token::new(&JobKey::new("358c9ba7", 1), 2);
        assert_eq!(spool_entry("/w", &token), "/w/.jobferry/ended/358c9ba7_1_2");
    }
}
