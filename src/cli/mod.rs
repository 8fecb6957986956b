//! The command line: `jf`, and `runner`, which is `jf runner`.
//!
//! A command reads its options, asks the stores, fills a view and hands it to the one [`output::Output`]. stdout is
//! data, stderr is talk. Options and meanings are those of jobflow-remote 1.0 where it has the same command; its
//! short options of several letters (`-did`) are read by [`short_options`]. Exit codes: [`error::Exit`].

mod act;
mod admin;
mod backup;
mod confirm;
mod demo;
mod directories;
pub mod error;
mod execution;
mod flow;
mod init;
mod job;
mod left_behind;
pub mod output;
mod project;
mod query;
mod runner;
mod select;
pub mod session;
mod short_options;
mod submit;
mod time;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use error::{CliError, Exit};
use session::{GlobalOptions, Session};

/// Take thousands of simulations through clusters without losing one
#[derive(Debug, Parser)]
#[command(name = "jf", version, infer_long_args = false, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    options: GlobalOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List, show, change and delete jobs, their outputs and files
    #[command(subcommand)]
    Job(job::JobCommand),
    /// List, show, change and delete flows
    #[command(subcommand)]
    Flow(flow::FlowCommand),
    /// List, show and check projects
    #[command(subcommand)]
    Project(project::ProjectCommand),
    /// Start, stop, run and look at the daemon
    #[command(subcommand)]
    Runner(runner::RunnerCommand),
    /// Reset, unlock and upgrade the store
    #[command(subcommand)]
    Admin(admin::AdminCommand),
    /// Save the jobs and flows of the store, and bring them back
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// Run the job of a run directory, as workers do
    #[command(subcommand, hide = true)]
    Execution(execution::ExecutionCommand),
    Init(init::InitArgs),
    Submit(submit::SubmitArgs),
    Demo(demo::DemoArgs),
}

impl Command {
    async fn run(self, session: &Session) -> Result<Exit, CliError> {
        match self {
            Self::Job(command) => command.run(session).await,
            Self::Flow(command) => command.run(session).await,
            Self::Project(command) => command.run(session).await,
            Self::Runner(command) => command.run(session).await,
            Self::Admin(command) => command.run(session).await,
            Self::Backup(command) => command.run(session).await,
            Self::Execution(command) => command.run(session),
            Self::Init(args) => init::run(args, session),
            Self::Submit(args) => submit::run(args, session).await,
            Self::Demo(args) => demo::run(args, session).await,
        }
    }
}

/// Runs `jf` with this command line, the program's name first, and returns its exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match parse(args) {
        Ok(cli) => execute(cli).into(),
        Err(error) => {
            // A closed pipe leaves nobody to tell.
            drop(error.print());
            if error.use_stderr() { Exit::Usage.into() } else { Exit::Success.into() }
        }
    }
}

/// Runs `runner` with this command line: `jf runner` with the rest of it.
pub fn main_of_runner(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let name = args.next().unwrap_or_else(|| "runner".into());
    let rest: Vec<OsString> = args.collect();
    if rest.first().is_some_and(|first| first == "--version" || first == "-V") {
        return main([name].into_iter().chain(rest));
    }
    main([name, "runner".into()].into_iter().chain(rest))
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut command = short_options::shown(Cli::command()).after_help(exit_codes());
    let line = short_options::expand(&command, args);
    Cli::from_arg_matches(&command.try_get_matches_from_mut(line)?)
}

fn execute(cli: Cli) -> Exit {
    let session = Session::new(cli.options);
    match run(cli.command, &session) {
        Ok(exit) => exit,
        Err(error) if error.is_broken_pipe() => Exit::Success,
        Err(error) => {
            let colours = session.options.color.allows(std::io::stderr().is_terminal());
            error.print(colours, session.trace());
            error.exit
        }
    }
}

/// Runs the command on this thread: starting workers would cost more than most commands take.
fn run(command: Command, session: &Session) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(command.run(session));
    // What still runs in the background (a connection that closes) must not hold the prompt back.
    runtime.shutdown_background();
    result
}

fn exit_codes() -> String {
    let lines: String =
        Exit::ALL.iter().map(|exit| format!("  {:>3}  {}\n", exit.code(), exit.meaning())).collect();
    format!("Exit codes:\n{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verify_cli() {
        Cli::command().debug_assert();
    }
}
