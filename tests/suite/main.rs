//! The integration suite: one module per subject, one binary.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in the functions that tests share, and says on stderr what it leaves out"
)]

mod house;
mod interop_command_job;
mod run_directories;
mod scheduler_contract;
mod services;
mod simulation;
mod store_contract;
mod testbed;
mod transport_contract;
mod wrapper;
