//! `jf execution run`: run the job of a run directory, here and now, as jobflow-remote's program of the same name does.
//!
//! Both programs are called `jf`: a worker's `execution_cmd`, or a run directory that jobflow-remote has made, may end up
//! here, and the directory of a command job may end up there. So this one runs both kinds of job and leaves the files
//! of jobflow-remote 1.0 (`jobs/run.py`), whoever reads them. It needs no project.

mod command;

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, Subcommand};

use super::error::{CliError, Exit};
use super::session::Session;
use crate::jobflow::command::CommandSpec;
use crate::jobflow::json;
use crate::worker::{layout, script};

#[derive(Debug, Subcommand)]
pub(super) enum ExecutionCommand {
    /// Run the job of a run directory; its files there say how it ended
    Run(RunArgs),
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The run directory, which holds `jfremote_in.json`
    #[arg(default_value = ".", value_name = "DIR")]
    run_dir: PathBuf,
}

impl ExecutionCommand {
    pub(super) fn run(self, session: &Session) -> Result<Exit, CliError> {
        match self {
            Self::Run(args) => run(&args.run_dir, session),
        }
    }
}

/// Ends with 0 when there is a response and with 1 when there is an error in its place; for a Python job with the exit
/// code of [`script::EXECUTE`].
fn run(run_dir: &Path, session: &Session) -> Result<Exit, CliError> {
    let run_dir = run_dir.canonicalize().map_err(|error| no_job(run_dir, &error))?;
    let input = std::fs::read(run_dir.join(layout::INPUT)).map_err(|error| no_job(&run_dir, &error))?;
    match command_job(&input)? {
        Some((job, spec)) => command::run(&run_dir, &job, &spec, session),
        None => Err(become_python(&run_dir)),
    }
}

fn no_job(run_dir: &Path, error: &std::io::Error) -> CliError {
    CliError::input(format!("{} is not a run directory: {}: {error}", run_dir.display(), layout::INPUT))
        .hint("`jf job info ID` names the run directory of a job")
}

/// Returns the job and its command, or nothing for a Python job. Input that cannot be read here is a Python job's: it may
/// be larger than what our reader takes.
fn command_job(input: &[u8]) -> Result<Option<(bson::Document, CommandSpec)>, CliError> {
    let Ok(bson::Bson::Document(mut input)) = json::parse(input) else { return Ok(None) };
    let Some(bson::Bson::Document(job)) = input.remove("job") else { return Ok(None) };
    let spec = CommandSpec::from_job(&job).map_err(CliError::input)?;
    Ok(spec.map(|spec| (job, spec)))
}

/// Puts our own program into the directory and becomes it; returns only why that failed.
fn become_python(run_dir: &Path) -> CliError {
    let program = run_dir.join(layout::EXECUTE);
    let folder = run_dir.join(layout::PRIVATE);
    if let Err(error) =
        std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&program, script::EXECUTE))
    {
        return CliError::failed(format!("cannot write {}: {error}", program.display()));
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", &script::python_program(script::Follows::Nothing)]).env(script::RUN_DIR, run_dir);
    CliError::failed(format!("cannot start sh: {}", shell.current_dir(run_dir).exec()))
}
