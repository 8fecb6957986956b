//! The integration suite: one module per subject, one binary.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in the functions that tests share, and says on stderr what it leaves out"
)]

mod bad_days;
mod blobs_contract;
mod cli_actions;
mod cli_admin;
mod cli_environment;
mod cli_flow;
mod cli_init;
mod cli_job;
mod cli_lab;
mod cli_main;
mod cli_parts;
mod cli_project;
mod cli_submit;
mod cli_submit_jobflow;
mod end_to_end;
mod executor;
mod house;
mod interop_command_job;
mod interop_parts;
mod interop_peer;
mod interop_read_flows;
mod lab;
mod run_directories;
mod scheduler_contract;
mod services;
mod simulation;
mod store_combinations;
mod store_contract;
mod testbed;
mod transport_contract;
mod user_actions;
mod wrapper;
