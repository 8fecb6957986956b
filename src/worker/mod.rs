//! What lies in a run directory on a worker, and the scripts that go there: text in, text out.
//!
//! | file | written by | content |
//! |---|---|---|
//! | `jfremote_in.json` | staging | [`input`]: the job; also the mark by which a directory is known as ours |
//! | `submit.sh` | staging | [`script`]: directives and the wrapper |
//! | `.jobferry/body` | staging | [`script`]: what the job does |
//! | `.jobferry/execute.py` | staging | [`script::EXECUTE`]: runs a Python job |
//! | `.jobferry/submitting`, `submitted` | [`submission`] | intent, and the scheduler's answer |
//! | `.jobferry/start`, `end` | the wrapper | [`end_marker`]: who started it, and how it ended |
//! | `queue.out`, `queue.err` | the scheduler | what the script itself printed, and a Python job |
//! | `jfremote_out.json` | a Python job | its response or its error |
//! | `remote_job_data.*`, `additional_store_*` | a Python job | [`remote_store`]: its output |
//! | `stdout`, `stderr` | the job | what a command job printed |
//!
//! A run directory holds all that its job needs; names are in [`layout`].

pub mod end_marker;
pub mod input;
pub mod layout;
pub mod remote_store;
pub mod script;
pub mod submission;
