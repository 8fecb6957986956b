//! jobflow's JSON on our side: serialized jobs, references, and jobs that are commands.
//!
//! Nothing here touches a file, a clock or a socket. The documents are those of jobflow 0.4 as jobflow-remote 1.0
//! stores them, so that one resolver and one database serve Python jobs and command jobs alike:
//!
//! - [`document`] writes a serialized `Job` that Python tools decode without any package of ours;
//! - [`command`] is the command inside it: read when the job is staged, and asked for its outputs when it has ended;
//! - [`reference`](mod@reference) finds `OutputReference`s and puts the outputs in their place;
//! - [`flow`](mod@flow) reads serialized flows, and [`run_config`] says where and how each job of one runs;
//! - [`response`] is what a Python job reports, [`stored_output`] what it leaves for the stores of outputs;
//! - [`blobs`] finds the large parts of outputs that are kept apart from them, and puts them back;
//! - [`json`] reads JSON as Python writes it (`NaN`, `Infinity`), [`monty`] reads its dates,
//!   [`extended`] finds the values of MongoDB in it, and [`text`] writes values for programs to read.

pub mod blobs;
pub mod command;
pub mod document;
pub mod extended;
pub mod flow;
pub mod json;
pub mod monty;
pub mod reference;
pub mod response;
pub mod run_config;
pub mod stored_output;
pub mod text;
