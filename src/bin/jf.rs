//! The `jf` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    jobferry::cli::main(std::env::args_os())
}
