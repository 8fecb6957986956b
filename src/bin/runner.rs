//! The `runner` command: `jf runner …` for service units.

use std::process::ExitCode;

fn main() -> ExitCode {
    jobferry::cli::main_of_runner(std::env::args_os())
}
